"""Types and shapes of a file's tensors, checked before any is read."""

from collections.abc import Mapping
from typing import NamedTuple

from rnncli.model.cells import CELLS, extra_shapes, weight_shapes
from rnncli.model.errors import InputError, shown
from rnncli.model.formats.spec import CellSpec, LayerSpec
from rnncli.model.formats.tensors import FLOATS, Tensors
from rnncli.model.layers import LAYERS, merged_size


class Sizes(NamedTuple):
    """How many values a layer takes and gives at a step, and those of its cells.

    None is what its neighbours tell, or what it does not have.
    """

    input_size: int | None = None
    output_size: int | None = None
    hidden_size: int | None = None
    projected_size: int | None = None


def checked_sizes(tensors: Tensors, layer: LayerSpec) -> tuple[int, int] | None:
    """Check types and shapes of a layer's tensors before any is read.

    Return how many values a recurrent layer takes and one direction gives at
    a step; a layer without state checks shapes itself.
    """
    for name in layer.tensors.values():
        _check_entry(tensors, name, layer.tensors)
    if not layer.cells:
        return None
    sizes = [_checked_cell(tensors, cell) for cell in layer.cells]
    forward, backward = (cell.tensors["W_xh"] for cell in (layer.cells[0], layer.cells[-1]))
    expected, got = tensors.entries[forward].shape, tensors.entries[backward].shape
    if got != expected:
        because = f"as {shown(forward)} has it forward"
        raise InputError(
            tensors.place(backward), f"expected shape {expected} backward too, {because}, got {got}"
        )
    if sizes[0] != sizes[-1]:
        place = tensors.place(layer.cells[-1].tensors["W_hh"])
        what = f"expected {sizes[0][1]} values a step backward too, as forward, got {sizes[-1][1]}"
        raise InputError(place, what)
    return sizes[0]


def sizes_of(tensors: Tensors, layer: LayerSpec) -> Sizes:
    """Return how many values a layer takes and gives at a step, as far as its tensors tell."""
    sizes = checked_sizes(tensors, layer)
    if sizes:
        I, P = sizes
        cell = layer.cells[0]
        width = cell.layout.turned(tensors.entries[cell.tensors["W_hh"]].shape)[1]
        settings = {"direction": "forward", "merge": "concat", **layer.settings}
        O = merged_size(P, settings["direction"], settings["merge"])
        return Sizes(I, O, width // CELLS[cell.cell].gates, P)
    if not layer.tensors:
        return Sizes(layer.settings.get("size"), layer.settings.get("size"))
    first = layer.tensors[LAYERS[layer.kind].array_names[0]]
    I, *others = layer.layout.turned(tensors.entries[first].shape) or (None,)
    return Sizes(1 if layer.kind == "embedding" else I, others[0] if others else I)


def _checked_cell(tensors: Tensors, cell: CellSpec) -> tuple[int, int]:
    for name in cell.tensors.values():
        _check_entry(tensors, name, cell.tensors)
    shapes = {role: tensors.entries[name].shape for role, name in cell.tensors.items()}
    turned = cell.layout.turned
    gates = [each.gates for kind, each in CELLS.items() if cell.cell in (kind, "")]
    P, width = turned(shapes["W_hh"]) if len(shapes["W_hh"]) == 2 else (0, 0)
    H = width // gates[0]
    if not cell.cell or P < 1 or H < 1 or width != gates[0] * (H if "W_hr" in shapes else P):
        rows = "P" if "W_hr" in shapes else "H"
        fitting = " or ".join(
            "({}, {})".format(*turned((rows, "H" if G == 1 else f"{G} H"))) for G in gates
        )
        place = tensors.place(cell.tensors["W_hh"])
        raise InputError(place, f"expected shape {fitting}, got {shapes['W_hh']}")
    because = f"as {shown(cell.tensors['W_hh'])} is {shapes['W_hh']}"
    I, columns = turned(shapes["W_xh"]) if len(shapes["W_xh"]) == 2 else (0, 0)
    if I < 1 or columns != width:
        shape = "({}, {})".format(*turned(("I", width)))
        hint = " (transposed?)" if width == I else ""
        raise InputError(
            tensors.place(cell.tensors["W_xh"]),
            f"expected shape {shape}, {because}, got {shapes['W_xh']}{hint}",
        )
    expected = weight_shapes(I, H, gates[0], P) | extra_shapes(H, P)
    expected |= {"b_x": (width,), "b_r": (width,), "b_xr": (2, width)}
    for role, got in shapes.items():
        if turned(got) != expected[role]:
            what = f"expected shape {turned(expected[role])}, {because}, got {got}"
            raise InputError(tensors.place(cell.tensors[role]), what)
    return I, P


def _check_entry(tensors: Tensors, name: str, others: Mapping[str, str]) -> None:
    """Check that a tensor is there, and of floats."""
    if name not in tensors.entries:
        beside = [other for other in others.values() if other in tensors.entries]
        with_what = ", ".join(shown(tensors.prefix + other) for other in beside)
        missing = shown(tensors.prefix + name)
        what = f"has no {missing}, which goes with {with_what or 'the layers that it has'}"
        raise InputError(tensors.path, what)
    dtype = tensors.entries[name].dtype
    if dtype not in FLOATS:
        raise InputError(tensors.place(name), f"expected floats ({', '.join(FLOATS)}), got {dtype}")
