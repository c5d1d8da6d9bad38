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
    r"(?P<end>(?:_l(?P<layer>0|[1-9][0-9]{0,3})(?P<reverse>_reverse)?)?)",
    re.DOTALL,
)
# Names of what a weight is computed from: by `weight_norm`, `spectral_norm` and other
# parametrizations, by pruning, or by fastai's dropout of weights.
_MADE_OF = re.compile(
    r"(?:(?P<module>.*?)\.)?(?:parametrizations\.)?"
    r"(?:weight|bias)_(?:ih|hh|hr)(?:_l[0-9]+)?(?:_reverse)?(?:_g|_u|_v|_orig|_raw|\.original[01]?)",
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
# The names of a linear layer above a stack.
HEAD = {"W": "head.weight", "b": "head.bias"}

Arrays = Mapping[str, NDArray[Any]]


def has_modules(names: Iterable[str]) -> bool:
    """Return whether some names are of recurrent modules."""
    return any(_NAME.fullmatch(name) or _MADE_OF.fullmatch(name) for name in names)


def find_modules(path: str, arrays: Arrays) -> list[Part]:
    """Find the modules that hold recurrent layers."""
    modules: dict[str, dict[str, NDArray[Any]]] = {}
    made: dict[str, list[str]] = {}
    for name, array in arrays.items():
        if match := _NAME.fullmatch(name):
            modules.setdefault(match["stem"], {})[name] = array
        elif match := _MADE_OF.fullmatch(name):
            made.setdefault(match["module"] or "", []).append(name)
    parts = {}
    for stem, own in modules.items():
        name = stem[:-1]
        try:
            kind, layers = _read_module(path, stem, own)
            parts[name] = Part(name, kind, own, layers)
        except InputError as error:
            if len(modules) == 1 and not made:
                raise
            parts[name] = Part(name, "", own, (), explain(path, error), error.hint, needed=True)
    for name, names in made.items():
        why = f"computes its weights from others ({shown(names[0])}), which is not read"
        hint = (
            "save the model after remove_parametrizations or remove_weight_norm of torch.nn.utils"
        )
        own = {each: arrays[each] for each in names}
        parts[name] = Part(name, "", own, why=why, hint=hint, needed=True)
    return list(parts.values())


def _read_module(path: str, stem: str, arrays: Arrays) -> tuple[str, list[Draft]]:
    """Return the class of a module and its layers, all of whose arrays must be there."""
    matches = [match for match in map(_NAME.fullmatch, arrays) if match]
    roles = {"weight_ih", "weight_hh", *(match["role"] for match in matches)}
    if roles & {"bias_ih", "bias_hh"}:
        roles |= {"bias_ih", "bias_hh"}
    numbers = [int(match["layer"]) for match in matches if match["layer"]]
    if numbers and len(numbers) < len(matches):
        raise InputError(path, f"mixes names of a cell and of layers: {listed(arrays)}")
    two = any(match["reverse"] for match in matches)
    settings = {"direction": "bidirectional", "merge": "concat"} if two else {}
    layers = []
    for end in [f"_l{number}" for number in range(max(numbers) + 1)] if numbers else [""]:
        cells = []
        for way in ("", "_reverse") if two else ("",):
            names = {role: f"{stem}{role}{end}{way}" for role in _ROLES if role in roles}
            cells.append(_read_cell(path, names, arrays))
        layers.append(Draft(tuple(cells), settings))
    kind, *others = dict.fromkeys(cell.kind for layer in layers for cell in layer.cells)
    if others:
        what = f"expected layers of one kind, got {kind} and {others[0]}"
        raise InputError(f"{path}: {shown(stem[:-1])}" if stem else path, what)
    return f"nn.{kind.upper()}{'' if numbers else 'Cell'}", layers


def _read_cell(path: str, names: Mapping[str, str], arrays: Arrays) -> CellDraft:
    """Lay out the arrays of a cell, whose names are given by their roles, as ours."""
    for name in names.values():
        if name not in arrays:
            there = [each for each in names.values() if each in arrays]
            goes = listed(there) if there else "the layers that it has"
            raise InputError(path, f"has no {shown(name)}, which goes with {goes}")
    theirs = {role: read_floats(path, name, arrays[name]) for role, name in names.items()}
    shape, projects = theirs["weight_hh"].shape, "weight_hr" in names
    rows, P = shape if len(shape) == 2 else (0, 0)
    H = rows // 4 if projects else P
    kind, settings = _CELLS.get(rows // H if H else 0, ("", {}))
    if not kind or not P or rows % H:
        fits = "(4 H, P)" if projects else "(H, H), (3 H, H) or (4 H, H)"
        place = f"{path}: {shown(names['weight_hh'])}"
        raise InputError(place, f"expected shape {fits}, got {shape}")
    I = theirs["weight_ih"].shape[-1:]
    expected = {"weight_ih": (rows, *I), "weight_hh": shape, "weight_hr": (P, H)}
    for role, array in theirs.items():
        if array.shape != expected.get(role, (rows,)):
            fits = f"({rows}, I)" if role == "weight_ih" else str(expected.get(role, (rows,)))
            what = f"expected shape {fits}, as {shown(names['weight_hh'])} is {shape}"
            raise InputError(f"{path}: {shown(names[role])}", f"{what}, got {array.shape}")
    ours = {_ROLES[role]: _order(array.T, kind) for role, array in theirs.items()}
    biases = tuple(ours.pop(role) for role in ("b_x", "b_r") if role in ours)
    if biases:
        ours |= summed(biases[0], biases[1], H if kind == "gru" else 0)
    ours.setdefault("b_h", np.zeros(rows, ours["W_hh"].dtype))
    own = {_ROLES[role]: name for role, name in names.items()}
    return CellDraft(kind, Weights(**ours), settings, biases=biases, names=own)


def _order(array: Floats, kind: str) -> Floats:
    """Order the gates of an array of ours as PyTorch does, or back: a GRU's are r z n."""
    return ordered(array, (1, 0, 2)) if kind == "gru" else array


def explain(path: str, error: InputError) -> str:
    """Write an error of a place in the file without the path."""
    return sentence(error.place.removeprefix(path).removeprefix(": "), error.what, "")


def way_out(recurrent: Sequence[str]) -> str:
    """Write the hint for a file of which only recurrent modules can be run."""
    whole = "torch.onnx.export writes the whole model"
    names = verbatim(listed(recurrent))
    if len(recurrent) > 1:
        return f"`layer` NAME runs one of {names}, {whole}"
    return f"`layer` {names} runs that alone, {whole}" if recurrent and recurrent[0] else whole


def name_arrays(layers: Sequence[Layer]) -> dict[str, Floats]:
    """Name the arrays of a stack as the state of an `nn.RNN`, `nn.LSTM` or `nn.GRU`, and its head.

    The bias is written as ``bias_ih``; ``bias_hh`` is -0.0, which changes
    no bit of the sum, but for the `b_n` of a GRU. A linear layer above is
    ``head``.
    """
    recurrent = [layer for layer in layers if isinstance(layer, Recurrent)]
    head = layers[-1] if isinstance(layers[-1], Dense) and len(layers) > 1 else None
    others = [layer for layer in layers if layer is not head and layer not in recurrent]
    cells = [cell for layer in recurrent for cell in layer.cells]
    known = (*WEIGHT_NAMES, "b_n", "W_hr")
    unnamed = [role for cell in cells for role in cell.weights.arrays if role not in known]
    kinds = {(name_of(cell), "W_hr" in cell.weights.arrays) for cell in cells}
    directions = {layer.direction for layer in recurrent}
    merges = [each.merge for each in recurrent if len(each.cells) == 2 and each.merge != "concat"]
    before = [cell for cell in cells if cell.settings.get("reset") == "before"]
    for wrong, what in (
        (others, f"are for recurrent layers and a dense one above, got {[*others, 0][0]!r}"),
        (unnamed, f"have no name for {[*unnamed, 0][0]}"),
        (len(kinds) > 1, "are for layers of one kind"),
        (len(directions) > 1 or "backward" in directions, "are for all forward or all both ways"),
        (merges, f"are for directions that are concatenated, got merge {[*merges, 0][0]}"),
        (before, "are for a GRU that resets after the product, got reset before"),
    ):
        if wrong:
            raise InputError("", f"PyTorch's names {what}", "write .npz")
    named = {}
    for number, layer in enumerate(recurrent):
        for end, cell in zip(("", "_reverse"), layer.cells, strict=False):
            b_x, b_r = two_biases(cell.weights)
            arrays = cell.weights.arrays | {"b_x": b_x, "b_r": b_r}
            for role in (role for role in _ROLES if _ROLES[role] in arrays):
                array = _order(arrays[_ROLES[role]], name_of(cell))
                named[f"{role}_l{number}{end}"] = array.T
    return named | ({} if head is None else {HEAD["W"]: head.W.T, HEAD["b"]: head.b})
