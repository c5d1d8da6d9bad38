"""Several inputs of rows as one, whose columns stand side by side in the order of the file."""

from collections.abc import Collection, Iterator, Mapping

from rnncli.model.errors import shown
from rnncli.model.graph import Graph, Node


def join_inputs(graph: Graph, needed: Collection[str]) -> Iterator[tuple[Graph, dict[str, int]]]:
    """Yield the graph with inputs of rows joined to the first one, and the width of each.

    They have the same axes of steps and sequences, and features; or none, for a number a step.
    """
    shapes = {
        name: shape
        for name, shape in graph.inputs.items()
        if shape and len(shape) in (2, 3) and name in needed and name not in graph.arrays
    }
    groups: dict[tuple[int, ...], dict[str, int]] = {}
    for name, shape in shapes.items():
        lead = tuple(size if isinstance(size, int) else 0 for size in shape[:2])
        width = (*shape, 1)[2]
        if isinstance(width, int):
            groups.setdefault(lead, {})[name] = width
    for widths in groups.values():
        if len(widths) > 1:
            yield _join(graph, widths), widths


def _join(graph: Graph, widths: Mapping[str, int]) -> Graph:
    """Join inputs: one input is split into the values that they were."""
    joint, shapes = name_joint(widths), dict[str, tuple[int | str, ...] | None]()
    nodes = list[Node]()
    for name, shape in graph.inputs.items():
        if name not in widths:
            shapes[name] = shape
        elif shape and joint not in shapes:
            shapes[joint] = (*shape[:2], sum(widths.values()))
    values = [f"{joint}/{name}" for name in widths]
    known = {"axis": 2, "split": [*widths.values()]}
    nodes.append(Node("Split", "", "", [joint], values, known))
    for value, name in zip(values, widths, strict=True):
        if name in graph.whole:
            nodes.append(Node("Whole", "", "", [value], [f"{value}/whole"], {"name": name}))
        last, flat = nodes[-1].outputs[0] if name in graph.whole else value, graph.inputs[name]
        squeezed = flat is not None and len(flat) == 2
        op, axes = ("Squeeze", {"axes": [2]}) if squeezed else ("Identity", {})
        nodes.append(Node(op, "", "", [last], [name], axes))
    return graph._replace(nodes=[*nodes, *graph.nodes], inputs=shapes)


def name_joint(names: Collection[str]) -> str:
    """Return the name of several inputs as one."""
    return " + ".join(names)


def describe_inputs(widths: Mapping[str, int]) -> list[str]:
    """Return a sentence about which columns are which input, if there are several."""
    if not widths:
        return []
    end, columns = 0, list[str]()
    for name, width in widths.items():
        end += width
        columns.append(
            f"{shown(name)} {end}" if width == 1 else f"{shown(name)} {end - width + 1}-{end}"
        )
    return [f"takes {end} columns, its inputs side by side: {', '.join(columns)}"]
