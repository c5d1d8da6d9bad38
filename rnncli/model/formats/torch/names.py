"""PyTorch's names: ``weight_ih_l0``, ``weight_hh_l0``, ... of `nn.LSTM`; `nn.LSTMCell`'s."""

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import SIGMOID, TANH
from rnncli.model.arrays import Floats, reorder
from rnncli.model.cells import WEIGHT_NAMES, Weights, split_bias, sum_biases
from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.contents import CellDraft, Component, Draft, read_floats
from rnncli.model.layers import Dense, Layer, name_of

_ROLES = {
    "weight_ih": "W_xh",
    "weight_hh": "W_hh",
    "weight_hr": "W_hr",
    "bias_ih": "b_x",
    "bias_hh": "b_r",
}
_NAME = re.compile(
    rf"(?P<stem>(?:.*[./_])?)(?P<role>{'|'.join(_ROLES)})"
    r"(?:_l(?P<layer>0|[1-9][0-9]{0,3})(?P<reverse>_reverse)?)?",
    re.DOTALL,
)
_WEIGHTS, _BIASES = {"weight_ih", "weight_hh"}, {"bias_ih", "bias_hh"}
# The cell by its number of gates, and what its modules always do; an `nn.RNN` has tanh or relu.
_CELLS: dict[int, tuple[str, dict[str, Any]]] = {
    1: ("rnn", {}),
    3: ("gru", {"activation": TANH, "recurrent_activation": SIGMOID, "reset": "after"}),
    4: ("lstm", {"activation": TANH, "recurrent_activation": SIGMOID}),
}
# The names of a linear layer above a stack.
HEAD = {"W": "head.weight", "b": "head.bias"}

Arrays = Mapping[str, NDArray[Any]]


def find_modules(
    path: str, arrays: Arrays, known: Mapping[str, Mapping[str, Any]] = {}
) -> list[Component]:
    """Find the modules that hold recurrent layers; the cells of some have known settings."""
    # The names by role, in each layer and direction of each module; a cell is its layer -1.
    modules: dict[str, dict[tuple[int, str], dict[str, str]]] = {}
    for match in filter(None, map(_NAME.fullmatch, arrays)):
        cells = modules.setdefault(match["stem"], {})
        way = int(match["layer"] or -1), match["reverse"] or ""
        cells.setdefault(way, {})[match["role"]] = match[0]
    components = []
    for stem, cells in modules.items():
        group = {name: arrays[name] for names in cells.values() for name in names.values()}
        numbers = [*range(max(cells)[0] + 1)] or [-1]
        ways = ("", "_reverse") if any(way for _, way in cells) else ("",)
        roles = {*next(iter(cells.values()))}
        complete = roles - {"weight_hr"} in (_WEIGHTS, _WEIGHTS | _BIASES)
        complete = complete and all(names.keys() == roles for names in cells.values())
        if not complete or cells.keys() != {*product(numbers, ways)}:
            what = "expected weight_ih, weight_hh and both biases or none, in layers from 0"
            raise InputError(path, f"{what}, got {listed(group)}")
        settings = {"direction": "bidirectional", "merge": "concat"} if ways[1:] else {}
        layers = []
        for number in numbers:
            names = [cells[number, way] for way in ways]
            drafts = [_read_cell(path, arrays, each, known.get(stem[:-1], {})) for each in names]
            layers.append(Draft(tuple(drafts), settings))
        kind = f"nn.{drafts[0].kind.upper()}{'Cell' if -1 in numbers else ''}"
        components.append(Component(stem[:-1], kind, group, layers))
    return components


def _read_cell(
    path: str, arrays: Arrays, names: Mapping[str, str], known: Mapping[str, Any]
) -> CellDraft:
    """Lay out the arrays of a cell, whose names stand by their roles, as ours."""
    theirs = {role: read_floats(path, name, arrays[name]) for role, name in names.items()}
    shapes = {role: array.shape for role, array in theirs.items()}
    rows, P = (*shapes["weight_hh"], 0, 0)[:2]
    H = rows // 4 if "weight_hr" in theirs else P
    kind, settings = _CELLS.get(rows // H if H else 0, ("", {}))
    lengths = {shape[:1] for role, shape in shapes.items() if role != "weight_hr"}
    if not kind or rows % H or len(lengths) > 1:
        what = f"expected the shapes of nn.RNN, nn.LSTM or nn.GRU, got {shapes}"
        raise InputError(f"{path}: {shown(names['weight_hh'])}", what)
    ours = {_ROLES[role]: _order(array.T, kind) for role, array in theirs.items()}
    biases = tuple(ours.pop(role) for role in ("b_x", "b_r") if role in ours)
    if biases:
        ours |= sum_biases(biases[0], biases[1], H if kind == "gru" else 0)
    ours.setdefault("b_h", np.zeros(rows, ours["W_hh"].dtype))
    by_role = {_ROLES[role]: name for role, name in names.items()}
    return CellDraft(kind, Weights(**ours), {**settings, **known}, biases=biases, names=by_role)


def _order(array: Floats, kind: str) -> Floats:
    """Order the gates of an array of ours as PyTorch does, or back: a GRU's are r z n."""
    return reorder(array, (1, 0, 2)) if kind == "gru" else array


def name_arrays(layers: Sequence[Layer]) -> dict[str, Floats]:
    """Name the arrays of a stack as the state of an `nn.RNN`, `nn.LSTM` or `nn.GRU`, and its head.

    The bias is written as ``bias_ih``; ``bias_hh`` is -0.0, which changes
    no bit of the sum, but for the `b_n` of a GRU. A linear layer above is
    ``head``.
    """
    head = layers[-1] if isinstance(layers[-1], Dense) else None
    stack = layers[: len(layers) - (head is not None)]
    cells = [cell for layer in stack for cell in layer.cells]
    kinds = {(name_of(cell), "W_hr" in cell.weights.arrays) for cell in cells}
    ways = {
        str(layer.settings.get("merge")) if layer.cells[1:] else layer.directions for layer in stack
    }
    fits = all(
        cell.settings.get("reset") != "before"
        and {*cell.weights.arrays} <= {*WEIGHT_NAMES, "b_n", "W_hr"}
        for cell in cells
    )
    if not fits or len(kinds) != 1 or ways not in ({("forward",)}, {"concat"}):
        what = "a stack of one kind, all forward or all both ways, and a dense layer above"
        raise InputError("", f"PyTorch's names are for {what}, got {list(layers)}", "write .npz")
    named = {}
    for number, layer in enumerate(stack):
        for end, cell in zip(("", "_reverse"), layer.cells, strict=False):
            b_x, b_r = split_bias(cell.weights)
            arrays = cell.weights.arrays | {"b_x": b_x, "b_r": b_r}
            for role in (role for role in _ROLES if _ROLES[role] in arrays):
                array = _order(arrays[_ROLES[role]], name_of(cell))
                named[f"{role}_l{number}{end}"] = array.T
    return named | ({} if head is None else {HEAD["W"]: head.W.T, HEAD["b"]: head.b})
