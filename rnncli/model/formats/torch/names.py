"""PyTorch's names: ``weight_ih_l0``, ``weight_hh_l0``, ... of `nn.LSTM`; `nn.LSTMCell`'s."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import SIGMOID, TANH
from rnncli.model.arrays import Floats
from rnncli.model.cells import WEIGHT_NAMES, Weights
from rnncli.model.cells.gates import ordered, summed, two_biases
from rnncli.model.errors import InputError, listed, sentence, shown, verbatim
from rnncli.model.formats.found import CellDraft, Draft, Part, read_floats
from rnncli.model.layers import Dense, Layer, Recurrent, name_of

_NAME = re.compile(
    r"(?P<stem>(?:.*[./_])?)(?P<role>weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)"
    r"(?:_l(?P<layer>0|[1-9][0-9]{0,3})(?P<reverse>_reverse)?)?",
    re.DOTALL,
)
_ROLES = {
    "weight_ih": "W_xh",
    "weight_hh": "W_hh",
    "weight_hr": "W_hr",
    "bias_ih": "b_x",
    "bias_hh": "b_r",
}
# The cell by its number of gates, and what its modules always do; an `nn.RNN` has tanh or relu.
_CELLS: dict[int, tuple[str, dict[str, Any]]] = {
    1: ("rnn", {}),
    3: ("gru", {"activation": TANH, "recurrent_activation": SIGMOID, "reset": "after"}),
    4: ("lstm", {"activation": TANH, "recurrent_activation": SIGMOID}),
}
_WRITTEN = {*WEIGHT_NAMES, "b_n", "W_hr"}
# The names of a linear layer above a stack.
HEAD = {"W": "head.weight", "b": "head.bias"}

Arrays = Mapping[str, NDArray[Any]]


def has_modules(names: Iterable[str]) -> bool:
    """Return whether some names are of recurrent modules."""
    return any(map(_NAME.fullmatch, names))


def find_modules(path: str, arrays: Arrays) -> list[Part]:
    """Find the modules that hold recurrent layers."""
    modules: dict[str, dict[str, NDArray[Any]]] = {}
    for match in filter(None, map(_NAME.fullmatch, arrays)):
        modules.setdefault(match["stem"], {})[match[0]] = arrays[match[0]]
    parts = []
    for stem, own in modules.items():
        try:
            layers = _read_module(path, stem, own)
            kind = f"nn.{layers[0].cells[0].kind.upper()}"
            cell = "" if any("_l" in name[len(stem) :] for name in own) else "Cell"
            parts.append(Part(stem[:-1], kind + cell, own, layers))
        except InputError as error:
            if len(modules) == 1:
                raise
            why = explain(path, error)
            parts.append(Part(stem[:-1], "", own, why=why, hint=error.hint, needed=True))
    return parts


def _read_module(path: str, stem: str, arrays: Arrays) -> list[Draft]:
    """Return the layers of a module, all of whose arrays must be there."""
    matches = [match for match in map(_NAME.fullmatch, arrays) if match]
    roles = {"weight_ih", "weight_hh", *(match["role"] for match in matches)}
    if roles & {"bias_ih", "bias_hh"}:
        roles |= {"bias_ih", "bias_hh"}
    numbers = [int(match["layer"]) for match in matches if match["layer"]]
    ends = [f"_l{number}" for number in range(max(numbers) + 1)] if numbers else [""]
    two = any(match["reverse"] for match in matches)
    settings = {"direction": "bidirectional", "merge": "concat"} if two else {}
    layers, left = [], dict(arrays)
    for end in ends:
        cells = []
        for way in ("", "_reverse") if two else ("",):
            names = {role: f"{stem}{role}{end}{way}" for role in _ROLES if role in roles}
            if missing := [name for name in names.values() if name not in arrays]:
                what = f"has no {shown(missing[0])}, which goes with {listed(arrays)}"
                raise InputError(path, what)
            cells.append(_read_cell(path, {role: (n, left.pop(n)) for role, n in names.items()}))
        layers.append(Draft(tuple(cells), settings))
    if left or len({cell.kind for layer in layers for cell in layer.cells}) > 1:
        raise InputError(path, f"mixes cells or layers of several kinds: {listed(arrays)}")
    return layers


def _read_cell(path: str, named: Mapping[str, tuple[str, NDArray[Any]]]) -> CellDraft:
    """Lay out the arrays of a cell, which stand with their names by their roles, as ours."""
    theirs = {role: read_floats(path, name, array) for role, (name, array) in named.items()}
    shape = theirs["weight_hh"].shape
    rows, P = shape if len(shape) == 2 else (0, 0)
    H = rows // 4 if "weight_hr" in theirs else P
    kind, settings = _CELLS.get(rows // H if H else 0, ("", {}))
    fits = {"weight_ih": (rows, *theirs["weight_ih"].shape[-1:]), "weight_hr": (P, H)}
    fits["weight_hh"] = rows, P
    wrong = [role for role, each in theirs.items() if each.shape != fits.get(role, (rows,))]
    if not kind or rows % H or wrong:
        role = [*wrong, "weight_hh"][0]
        what = f"expected shapes of nn.RNN, nn.LSTM or nn.GRU, got {theirs[role].shape}"
        raise InputError(f"{path}: {shown(named[role][0])}", what)
    ours = {_ROLES[role]: _order(array.T, kind) for role, array in theirs.items()}
    biases = tuple(ours.pop(role) for role in ("b_x", "b_r") if role in ours)
    if biases:
        ours |= summed(biases[0], biases[1], H if kind == "gru" else 0)
    ours.setdefault("b_h", np.zeros(rows, ours["W_hh"].dtype))
    names = {_ROLES[role]: name for role, (name, _) in named.items()}
    return CellDraft(kind, Weights(**ours), settings, biases=biases, names=names)


def _order(array: Floats, kind: str) -> Floats:
    """Order the gates of an array of ours as PyTorch does, or back: a GRU's are r z n."""
    return ordered(array, (1, 0, 2)) if kind == "gru" else array


def explain(path: str, error: InputError) -> str:
    """Write an error of a place in the file without the path."""
    return sentence(error.place.removeprefix(path).removeprefix(": "), error.what, "")


def way_out(recurrent: Sequence[str]) -> str:
    """Write the hint for a file of which only recurrent modules can be run."""
    whole, names = "torch.onnx.export writes the whole model", verbatim(listed(recurrent))
    which = f"NAME runs one of {names}" if len(recurrent) > 1 else f"{names} runs that alone"
    return f"`layer` {which}, {whole}" if any(recurrent) else whole


def name_arrays(layers: Sequence[Layer]) -> dict[str, Floats]:
    """Name the arrays of a stack as the state of an `nn.RNN`, `nn.LSTM` or `nn.GRU`, and its head.

    The bias is written as ``bias_ih``; ``bias_hh`` is -0.0, which changes
    no bit of the sum, but for the `b_n` of a GRU. A linear layer above is
    ``head``.
    """
    recurrent = [layer for layer in layers if isinstance(layer, Recurrent)]
    head = layers[-1] if isinstance(layers[-1], Dense) and len(layers) > 1 else None
    cells = [cell for layer in recurrent for cell in layer.cells]
    roles = {role for cell in cells for role in cell.weights.arrays}
    kinds = {(name_of(cell), "W_hr" in cell.weights.arrays) for cell in cells}
    ways = {(layer.direction, layer.merge * (len(layer.cells) - 1)) for layer in recurrent}
    before = any(cell.settings.get("reset") == "before" for cell in cells)
    others = len(layers) > len(recurrent) + (head is not None)
    one_way = ways in ({("forward", "")}, {("bidirectional", "concat")})
    if others or before or len(kinds) != 1 or not one_way or not roles <= _WRITTEN:
        what = "a stack of one kind, all forward or all both ways, and a dense layer above"
        raise InputError("", f"PyTorch's names are for {what}, got {list(layers)}", "write .npz")
    named = {}
    for number, layer in enumerate(recurrent):
        for end, cell in zip(("", "_reverse"), layer.cells, strict=False):
            b_x, b_r = two_biases(cell.weights)
            arrays = cell.weights.arrays | {"b_x": b_x, "b_r": b_r}
            for role in (role for role in _ROLES if _ROLES[role] in arrays):
                array = _order(arrays[_ROLES[role]], name_of(cell))
                named[f"{role}_l{number}{end}"] = array.T
    return named | ({} if head is None else {HEAD["W"]: head.W.T, HEAD["b"]: head.b})
