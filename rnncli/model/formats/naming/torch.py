"""PyTorch's names: ``weight_ih_l0``, ``weight_hh_l0``, ... of `nn.RNN`; `nn.RNNCell`'s."""

import re
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN
from rnncli.model.formats.naming.stack import Stack, gated
from rnncli.model.formats.tensors import Entry, NamedCell, NamedLayer, NamedNetwork, shown
from rnncli.model.network import Network

_NAME = re.compile(
    r"(?:(?P<module>.*)\.)?(?P<role>weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)"
    r"(?:_l(?P<layer>0|[1-9][0-9]{0,3})(?P<reverse>_reverse)?)?",
    re.DOTALL,
)


class _Place(NamedTuple):
    """Where a tensor belongs in its module; a cell's own have no layer."""

    layer: int | None
    reverse: bool


# Tensor names of a module, by place and role.
_Names = dict[_Place, dict[str, str]]


def find_stacks(entries: Mapping[str, Entry]) -> list[Stack]:
    """Find the modules that hold recurrent layers."""
    modules: dict[str, _Names] = {}
    for name in entries:
        match = _NAME.fullmatch(name)
        if match:
            layer = match["layer"]
            place = _Place(None if layer is None else int(layer), bool(match["reverse"]))
            names = modules.setdefault(match["module"] or "", {})
            names.setdefault(place, {})[match["role"]] = name
    return [
        Stack((module,), _gated(names, entries), partial(_network, module, names))
        for module, names in modules.items()
    ]


def name_tensors(network: Network) -> dict[str, Floats]:
    """Name a network's arrays as the state of an `nn.RNN`.

    The bias is written as ``bias_ih``; ``bias_hh`` is -0.0, which changes
    no bit of the sum.

    Raises
    ------
    ValueError
        The names would tell of another network: there is none for one
        direction backward, for another merge than concat, or for layers of
        different directions.
    """
    directions = {layer.direction for layer in network.layers}
    if "backward" in directions or len(directions) > 1:
        got = ", ".join(layer.direction for layer in network.layers)
        raise ValueError(
            "PyTorch's names are for layers that are all forward or all bidirectional, got "
            f"{got}: take --naming keras, or write .npz"
        )
    for layer in network.layers:
        if layer.direction == "bidirectional" and layer.merge != "concat":
            raise ValueError(
                f"PyTorch concatenates the directions of a layer, got merge {layer.merge}: "
                "take --naming keras, or write .npz"
            )
    tensors: dict[str, Floats] = {}
    for part in network.parts():
        end = f"_l{part.layer - 1}{'_reverse' if part.direction == 'backward' else ''}"
        tensors |= {f"{role}{end}": array for role, array in _arrays(part.cell).items()}
    return tensors


def _arrays(cell: RNN) -> dict[str, Floats]:
    W_xh, W_hh, b_h = cell.weights
    return {
        "weight_ih": W_xh.T,
        "weight_hh": W_hh.T,
        "bias_ih": b_h,
        "bias_hh": np.full_like(b_h, -0.0),
    }


def _gated(names: _Names, entries: Mapping[str, Entry]) -> str | None:
    """Say what the module's tensors show it to be, if it is no simple layer."""
    for roles in names.values():
        if "weight_hr" in roles:
            return f"{shown(roles['weight_hr'])} is of an LSTM with projections (proj_size)"
        if "weight_hh" in roles:
            shape = entries[roles["weight_hh"]].shape
            kind = gated(shape[::-1])
            if kind:
                return f"{shown(roles['weight_hh'])} has shape {shape}, as {kind}'s"
    return None


def _network(module: str, names: _Names) -> NamedNetwork:
    """Name all tensors that must be there for those that are."""
    biased = any("bias" in role for roles in names.values() for role in roles)
    two = any(place.reverse for place in names)
    numbers = {place.layer for place in names}
    if None in numbers and len(numbers) > 1:
        first, second, *_ = (shown(next(iter(roles.values()))) for roles in names.values())
        raise ValueError(f"expected one of the two, {first} or {second}, got both")
    top = max((number for number in numbers if number is not None), default=None)
    layers = [None] if top is None else range(top + 1)
    found = tuple(
        NamedLayer(
            tuple(
                _cell(module, _Place(layer, reverse), biased=biased)
                for reverse in (False, True)[: 1 + two]
            ),
            *(("bidirectional", "concat") if two else ()),
        )
        for layer in layers
    )
    return NamedNetwork(found, transposed=True)


def _cell(module: str, place: _Place, *, biased: bool) -> NamedCell:
    stem = f"{module}." if module else ""
    end = "" if place.layer is None else f"_l{place.layer}"
    if place.reverse:
        end += "_reverse"
    biases = (f"{stem}bias_ih{end}", f"{stem}bias_hh{end}") if biased else ()
    return NamedCell(f"{stem}weight_ih{end}", f"{stem}weight_hh{end}", biases)
