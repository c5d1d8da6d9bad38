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
from rnncli.model.formats.found import CellDraft, Draft, FileLayer, Part, read_floats
from rnncli.model.layers import Dense, Layer, Recurrent, Stateless, name_of

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
# What makes weights of what they are computed from.
UNMADE = "save the model after remove_parametrizations or remove_weight_norm of torch.nn.utils"
# The names of a linear layer above a stack.
HEAD = {"W": "head.weight", "b": "head.bias"}
_HINT = "write .npz"

Arrays = Mapping[str, NDArray[Any]]


def has_modules(names: Iterable[str]) -> bool:
    """Return whether some names are of recurrent modules."""
    return any(_NAME.fullmatch(name) or _MADE_OF.fullmatch(name) for name in names)


def find_modules(path: str, arrays: Arrays) -> list[Part]:
    """Find the modules that hold recurrent layers."""
    modules: dict[str, list[re.Match[str]]] = {}
    for match in filter(None, map(_NAME.fullmatch, arrays)):
        modules.setdefault(match["stem"], []).append(match)
    made: dict[str, list[str]] = {}
    for match in filter(None, map(_MADE_OF.fullmatch, arrays)):
        made.setdefault(match["module"] or "", []).append(match[0])
    parts = {}
    for stem, matches in modules.items():
        name, own = stem[:-1], {match[0]: arrays[match[0]] for match in matches}
        try:
            kind, layers = _read_module(path, stem, matches, arrays)
            parts[name] = Part(name, kind, own, layers)
        except InputError as error:
            if len(modules) == 1 and not made:
                raise
            parts[name] = Part(name, "", own, (), explain(path, error), error.hint, needed=True)
    for name, names in made.items():
        why = f"computes its weights from others ({shown(names[0])}), which is not read"
        own = {each: arrays[each] for each in names}
        parts[name] = Part(name, "", own, why=why, hint=UNMADE, needed=True)
    return list(parts.values())


def _read_module(
    path: str, stem: str, matches: Sequence[re.Match[str]], arrays: Arrays
) -> tuple[str, list[Draft]]:
    """Return the class of a module and its layers, all of whose arrays must be there."""
    roles = {"weight_ih", "weight_hh", *(match["role"] for match in matches)}
    if roles & {"bias_ih", "bias_hh"}:
        roles |= {"bias_ih", "bias_hh"}
    numbers = [int(match["layer"]) for match in matches if match["layer"]]
    if numbers and len(numbers) < len(matches):
        names = [next(m[0] for m in matches if bool(m["end"]) is end) for end in (False, True)]
        what = f"expected one of the two, {' or '.join(map(shown, names))}, got both"
        raise InputError(path, what)
    two = any(match["reverse"] for match in matches)
    settings = {"direction": "bidirectional", "merge": "concat"} if two else {}
    layers = []
    for end in [f"_l{number}" for number in range(max(numbers) + 1)] if numbers else [""]:
        cells = []
        for way in ("", "_reverse") if two else ("",):
            names_of = {role: f"{stem}{role}{end}{way}" for role in _ROLES if role in roles}
            cells.append(_read_cell(path, names_of, arrays))
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
    expected = {"weight_ih": (rows, "I"), "weight_hh": shape, "weight_hr": (P, H)}
    for role, array in theirs.items():
        wanted, got = expected.get(role, (rows,)), array.shape
        pairs = zip(wanted, got, strict=False)
        if len(got) != len(wanted) or any(size not in (other, "I") for size, other in pairs):
            text = str(wanted).replace("'", "")
            what = f"expected shape {text}, as {shown(names['weight_hh'])} is {shape}, got {got}"
            hint = " (transposed?)" if got[1:] == (rows,) else ""
            raise InputError(f"{path}: {shown(names[role])}", what, hint)
    ours = {_ROLES[role]: _order(array.T, kind) for role, array in theirs.items()}
    W_hh, biases = ours["W_hh"], tuple(ours.pop(role) for role in ("b_x", "b_r") if role in ours)
    if biases:
        ours |= summed(biases[0], biases[1], H if kind == "gru" else 0)
    b_h = ours.setdefault("b_h", np.zeros(rows, W_hh.dtype))
    with np.errstate(over="ignore"):
        if not np.isfinite(b_h.astype(W_hh.dtype)).all():
            what = f"the sum with {shown(names['bias_ih'])} is not finite"
            raise InputError(f"{path}: {shown(names['bias_hh'])}", what)
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


def output_size(layer: FileLayer) -> int:
    """Count the values that a layer gives a step; 0 where the layer below tells it."""
    if isinstance(layer, Draft):
        return len(layer.cells) * len(layer.cells[0].weights.W_hh)
    return layer.output_size if isinstance(layer, Stateless) else 0


def name_arrays(layers: Sequence[Layer]) -> dict[str, Floats]:
    """Name the arrays of a stack as the state of an `nn.RNN`, `nn.LSTM` or `nn.GRU`, and its head.

    The bias is written as ``bias_ih``; ``bias_hh`` is -0.0, which changes
    no bit of the sum, but for the `b_n` of a GRU. A linear layer above is
    ``head``.
    """
    recurrent = [layer for layer in layers if isinstance(layer, Recurrent)]
    head = layers[-1] if isinstance(layers[-1], Dense) and len(layers) > 1 else None
    others = [layer for layer in layers if layer is not head and layer not in recurrent]
    if others:
        what = f"PyTorch's names are for recurrent layers and a dense one above, got {others[0]!r}"
        raise InputError("", what, _HINT)
    _check_names(recurrent)
    named = {}
    for number, layer in enumerate(recurrent):
        for end, cell in zip(("", "_reverse"), layer.cells, strict=False):
            b_x, b_r = two_biases(cell.weights)
            arrays = cell.weights.arrays | {"b_x": b_x, "b_r": b_r}
            for role, ours in _ROLES.items():
                if ours in arrays:
                    name = f"{role}_l{number}{end}"
                    named[name] = _order(arrays[ours], name_of(cell)).T
    return named | ({} if head is None else {HEAD["W"]: head.W.T, HEAD["b"]: head.b})


def _check_names(layers: Sequence[Recurrent]) -> None:
    """Raise InputError where PyTorch has no such module."""
    directions = [layer.direction for layer in layers]
    cells = [cell for layer in layers for cell in layer.cells]
    kinds = dict.fromkeys(
        name_of(cell) + " with W_hr" * ("W_hr" in cell.weights.arrays) for cell in cells
    )
    roles = [role for cell in cells for role in cell.weights.arrays]
    unnamed = [role for role in roles if role not in (*WEIGHT_NAMES, "b_n", "W_hr")]
    merges = [layer.merge for layer in layers if len(layer.cells) == 2 and layer.merge != "concat"]
    what = ""
    if unnamed:
        what = f"PyTorch has no name for {unnamed[0]}"
    elif len(kinds) > 1:
        what = f"PyTorch's names are for layers of one kind, got {', '.join(kinds)}"
    elif "backward" in directions or len(set(directions)) > 1:
        named = "layers that are all forward or all bidirectional"
        what = f"PyTorch's names are for {named}, got {', '.join(directions)}"
    elif merges:
        what = f"PyTorch concatenates the directions of a layer, got merge {merges[0]}"
    elif any(cell.settings.get("reset") == "before" for cell in cells):
        what = "PyTorch's GRU resets after the product, got reset before"
    if what:
        raise InputError("", what, _HINT)
