"""What ONNX graphs compute of constants and sizes, and how much of it is computed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_graphs import Graph

from rnncli.model.errors import InputError
from rnncli.model.formats import load_network

Build = Callable[[Graph], str]
MANY = 2**20


def load(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    load_network(path)


def zeros(graph: Graph, *shape: str) -> str:
    """Take zeros of such a shape for the initial state of a node."""
    whole = graph.add("Concat", *shape, axis=0)
    start = graph.add("ConstantOfShape", whole)
    return graph.recurrent("RNN", "x", "", "", start)


def sizes(graph: Graph, place: int) -> str:
    """Return a size of x, as PyTorch's exporter takes it."""
    size = graph.add("Gather", graph.add("Shape", "x"), graph.array(place), axis=0)
    return graph.add("Unsqueeze", size, graph.array([0]))


def repeated(graph: Graph, op: str, value: str, times: int, **attributes: Any) -> str:
    """Apply an operator to a value and itself, and again."""
    for _ in range(times):
        value = graph.add(op, value, value, **attributes)
    return value


def of(graph: Graph, start: str) -> str:
    """Take a value for the initial state of a node."""
    return graph.recurrent("RNN", "x", "", "", start)


COMPUTED: dict[str, Build] = {
    "a shape": lambda g: zeros(g, g.array([1]), sizes(g, 1), g.array([3])),
    "a part of it": lambda g: of(
        g,
        g.add(
            "Slice",
            g.add(
                "Expand",
                g.array(np.float32(0)),
                g.add(
                    "Concat",
                    g.array([2]),
                    g.add("Shape", "x", start=1, end=2),
                    g.array([3]),
                    axis=0,
                ),
            ),
            *(g.array([k]) for k in (0, 1, 0)),
        ),
    ),
    "a shape that is chosen": lambda g: of(
        g,
        g.add(
            "Expand",
            g.array(np.zeros((1, 1, 3), np.float32)),
            g.add(
                "Where",
                g.add("Equal", g.array([2, 0, 2]), g.array([2, 2, 2])),
                g.array([1, 1, 1]),
                g.add("Concat", g.array([7]), sizes(g, 1), g.array([9]), axis=0),
            ),
        ),
    ),
    "a size that is compared": lambda g: of(
        g,
        g.add(
            "Expand",
            g.array(np.zeros((1, 1, 3), np.float32)),
            g.add("Where", g.add("Equal", sizes(g, 1), g.array([-1])), g.array([7]), sizes(g, 1)),
        ),
    ),
    "a quotient": lambda g: zeros(
        g, g.add("Div", g.array([7]), g.array([4])), sizes(g, 1), g.array([3])
    ),
    "steps that are counted": lambda g: zeros(
        g,
        g.array([1]),
        sizes(g, 1),
        g.add("Slice", g.add("Range", *map(g.array, (1, 7, 2))), g.array([1]), g.array([2])),
    ),
    "steps from the last": lambda g: zeros(
        g,
        g.add("Slice", g.array([3, 2, 1]), *(g.array([k]) for k in (-1, -9, 0, -4))),
        sizes(g, 1),
        g.array([3]),
    ),
    "the first from before it": lambda g: g.add(
        "Add",
        g.rows(),
        g.add("Slice", g.draw(3), *(g.array([k]) for k in (-9, -9, 0, -1))),
    ),
    "one of two": lambda g: zeros(
        g, g.add("Split", g.array([1, 8, 9]), axis=0), sizes(g, 1), g.array([3])
    ),
}
REFUSED: list[tuple[str, Build]] = [
    (
        "Concat_2: Concat: its inputs do not fit it",
        lambda g: g.add("Add", g.rows(), g.add("Concat", g.draw(1, 2), g.draw(2, 3), axis=0)),
    ),
    (
        "Div_3: Div: its inputs do not fit it",
        lambda g: g.add("Relu", g.add("Div", sizes(g, 0), g.array([0]))),
    ),
    (
        "Cast_3: casts a size that is not known",
        lambda g: g.add("Relu", g.add("Cast", sizes(g, 0), to=1)),
    ),
    (
        "Slice_2: Slice: goes back to an end",
        lambda g: g.add(
            "Add",
            g.rows(),
            g.add("Slice", g.draw(3), *(g.array([k]) for k in (-1, 2**31 - 1, 0, -1))),
        ),
    ),
    (
        "Expand_5: repeats values as often as the",
        lambda g: g.add("Add", g.rows(), g.add("Expand", g.draw(3), sizes(g, 0))),
    ),
    (
        "Equal_3: compares a size that is not known",
        lambda g: g.add("Relu", g.add("Equal", sizes(g, 0), g.array([5]))),
    ),
    (
        "Expand_0: Expand: shapes do not fit each",
        lambda g: g.add("Relu", g.add("Expand", g.draw(3), g.array([2]))),
    ),
    (
        "Mul_4: multiplies too many sizes",
        lambda g: g.add("Relu", repeated(g, "Mul", g.add("Shape", "x"), 200)),
    ),
    (
        "Concat_16: needs more values to be",
        lambda g: g.add("Relu", repeated(g, "Concat", g.draw(9), 200, axis=0)),
    ),
    (
        "Add_2: needs more values to be computed",
        lambda g: g.add("Relu", repeated(g, "Add", g.array(np.zeros(MANY, np.float32)), 99)),
    ),
    (
        "Expand_0: needs more values to be computed",
        lambda g: g.add("Relu", g.add("Expand", g.draw(1), g.array([MANY, MANY]))),
    ),
    ("Unsqueeze_15: has more than 16 axes", lambda g: chain(g, "Unsqueeze", 40, g.array([0]))),
    ("Relu_1001: comes after more than 1,000", lambda g: chain(g, "Relu", 1200)),
]


def chain(graph: Graph, op: str, times: int, *rest: str) -> str:
    """Apply an operator to rows, and again."""
    rows = graph.rows()
    for _ in range(times):
        rows = graph.add(op, rows, *rest)
    return rows


@pytest.mark.parametrize("case", COMPUTED)
def test_what_is_computed(case: str, tmp_path: Path) -> None:
    graph = Graph()
    load(tmp_path, graph.model(COMPUTED[case](graph)))


@pytest.mark.parametrize(("why", "build"), REFUSED)
def test_what_is_not_computed(why: str, build: Build, tmp_path: Path) -> None:
    graph = Graph()
    with pytest.raises(InputError, match=rf"\A.+: {why}.*\Z"):
        load(tmp_path, graph.model(build(graph)))


@pytest.mark.slow
def test_nodes_without_end(tmp_path: Path) -> None:
    graph = Graph()
    first = graph.recurrent("RNN")
    weights = ("tensor_0", "tensor_1")
    last = [graph.add("RNN", "x", *weights) for _ in range(1_001)][-1]
    load(tmp_path, graph.model(first))
    with pytest.raises(InputError, match="RNN_1001: comes after 1,000 others of its kind"):
        load(tmp_path, graph.model(last))


def shared(graph: Graph, W: str) -> str:
    """Run layers of 1,200 units that have all weights from one tensor."""
    rows = "x"
    for _ in range(4):
        rows = graph.add("Squeeze", graph.add("RNN", rows, W, W), graph.array([1]))
    return rows


def filled(graph: Graph, W: str) -> str:
    """Divide many features, which takes two rows as long."""
    weights = graph.add("Reshape", W, graph.array([3, -1]))
    rows = graph.add("MatMul", graph.rows("RNN", size=1200), weights)
    for _ in range(4):
        rows = graph.add("Div", rows, graph.array(np.float32(2)))
    return rows


# Weights of 4 bytes: (4 layers x 2) 1,200 x 1,200; 3 x (1,200 + 3 + 480,000) and 4 x 2 x 480,000.
@pytest.mark.parametrize(("build", "total"), [(shared, 46_080_000), (filled, 21_134_436)])
def test_layers_that_take_far_more_than_the_file(
    build: Callable[[Graph, str], str], total: int, tmp_path: Path
) -> None:
    graph = Graph()
    W = graph.add("ConstantOfShape", graph.array([1, 1200, 1200]))
    data = graph.model(build(graph, W), inputs={"x": ("T", "N", 1200)})
    assert len(data) < 100_000
    with pytest.raises(InputError, match=rf"holds layers of {total:,} bytes, over 3 times its own"):
        load(tmp_path, data)
