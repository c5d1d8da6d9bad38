"""PyTorch's names: ``weight_ih_l0``, ``weight_hh_l0``, ... of `nn.RNN`; `nn.RNNCell`'s."""

import re
from collections.abc import Sequence
from functools import partial

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell
from rnncli.model.errors import InputError, shown
from rnncli.model.formats.spec import CellSpec, Found, LayerSpec, Stack, gated
from rnncli.model.formats.tensors import Tensors
from rnncli.model.layers import Recurrent

_NAME = re.compile(
    r"(?:(?P<module>.*)\.)?(?P<role>weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)"
    r"(?P<end>(?:_l(?P<layer>0|[1-9][0-9]{0,3})(?P<reverse>_reverse)?)?)",
    re.DOTALL,
)
_ENDS = {"forward": "", "backward": "_reverse"}

# The matches of a module's names, by where a tensor belongs (the end of its name) and its role.
_Names = dict[str, dict[str, re.Match[str]]]


def find_stacks(tensors: Tensors) -> list[Stack]:
    """Find the modules that hold recurrent layers."""
    modules: dict[str, _Names] = {}
    for match in filter(None, map(_NAME.fullmatch, tensors.entries)):
        names = modules.setdefault(match["module"] or "", {})
        names.setdefault(match["end"], {})[match["role"]] = match
    return [
        Stack((module,), _gated(tensors, names), partial(_layers, tensors, module, names))
        for module, names in modules.items()
    ]


def name_tensors(layers: Sequence[Recurrent]) -> dict[str, Floats]:
    """Name the arrays of layers as the state of an `nn.RNN`.

    The bias is written as ``bias_ih``; ``bias_hh`` is -0.0, which changes
    no bit of the sum.

    Raises
    ------
    InputError
        The names would tell of other layers: there is none for one
        direction backward, for another merge than concat, or for layers of
        different directions.
    """
    directions = [layer.direction for layer in layers]
    hint = "take `naming` keras, or write .npz"
    if "backward" in directions or len(set(directions)) > 1:
        got = ", ".join(directions)
        layers_named = "layers that are all forward or all bidirectional"
        raise InputError("", f"PyTorch's names are for {layers_named}, got {got}", hint)
    for layer in layers:
        if layer.direction == "bidirectional" and layer.merge != "concat":
            what = f"PyTorch concatenates the directions of a layer, got merge {layer.merge}"
            raise InputError("", what, hint)
    return {
        f"{role}_l{number}{_ENDS[direction]}": array
        for number, layer in enumerate(layers)
        for direction, cell in zip(layer.directions, layer.cells, strict=True)
        for role, array in _arrays(cell).items()
    }


def _arrays(cell: Cell) -> dict[str, Floats]:
    W_xh, W_hh, b_h = cell.weights[:3]
    return {
        "weight_ih": W_xh.T,
        "weight_hh": W_hh.T,
        "bias_ih": b_h,
        "bias_hh": np.full_like(b_h, -0.0),
    }


def _gated(tensors: Tensors, names: _Names) -> str | None:
    """Return what the module's tensors show it to be, if it is no simple layer."""
    for roles in names.values():
        if "weight_hr" in roles:
            return f"{shown(roles['weight_hr'][0])} is of an LSTM with projections (proj_size)"
    found = [roles["weight_hh"][0] for roles in names.values() if "weight_hh" in roles]
    return gated(tensors, found, transposed=True)


def _layers(tensors: Tensors, module: str, names: _Names) -> Found:
    """Name all tensors that must be there for those that are."""
    matches = [match for roles in names.values() for match in roles.values()]
    numbers = {match["layer"] for match in matches}
    if None in numbers and len(numbers) > 1:
        first, second, *_ = (shown(next(iter(roles.values()))[0]) for roles in names.values())
        raise InputError(tensors.path, f"expected one of the two, {first} or {second}, got both")
    stem = f"{module}." if module else ""
    roles = ["weight_ih", "weight_hh"]
    if any("bias" in match["role"] for match in matches):
        roles += ["bias_ih", "bias_hh"]
    two = any(match["reverse"] for match in matches)
    settings = {"direction": "bidirectional", "merge": "concat"} if two else {}
    top = max((int(number) for number in numbers if number is not None), default=None)
    ends = [""] if top is None else [f"_l{number}" for number in range(top + 1)]
    found = []
    for end in ends:
        cells = []
        for reverse in _ENDS.values() if two else ("",):
            W_xh, W_hh, *biases = (f"{stem}{role}{end}{reverse}" for role in roles)
            cells.append(CellSpec(W_xh, W_hh, tuple(biases)))
        found.append(LayerSpec(tuple(cells), settings, transposed=True))
    return found, []
