"""PyTorch's names: ``weight_ih_l0``, ``weight_hh_l0``, ... of `nn.LSTM`; `nn.LSTMCell`'s."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from rnncli.model.activations import SIGMOID, TANH
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell
from rnncli.model.cells.gates import two_biases
from rnncli.model.errors import InputError, shown
from rnncli.model.formats.parts import Part, Stack
from rnncli.model.formats.spec import CellSpec, LayerSpec, Layout, cell_of
from rnncli.model.formats.tensors import Tensors
from rnncli.model.layers import Recurrent, name_of

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
# The gates of a GRU are r z n.
LAYOUT = Layout(transposed=True, orders={"gru": (1, 0, 2)})
# What its modules always do; the activation of `nn.RNN` may be tanh or relu.
_FIXED: dict[str, dict[str, Any]] = {
    "lstm": {"activation": TANH, "recurrent_activation": SIGMOID},
    "gru": {"activation": TANH, "recurrent_activation": SIGMOID, "reset": "after"},
}
# What makes weights of them.
UNMADE = "save the model after remove_parametrizations or remove_weight_norm of torch.nn.utils"
_ENDS = {"forward": "", "backward": "_reverse"}

# The matches of a module's names, by where a tensor belongs (the end of its name) and its role.
_Names = dict[str, dict[str, re.Match[str]]]


def find_stacks(tensors: Tensors) -> list[Stack]:
    """Find the modules that hold recurrent layers."""
    modules: dict[str, _Names] = {}
    made: dict[str, list[str]] = {}
    for match in filter(None, map(_MADE_OF.fullmatch, tensors.entries)):
        made.setdefault(match["module"] or "", []).append(match[0])
    for match in filter(None, map(_NAME.fullmatch, tensors.entries)):
        names = modules.setdefault(match["stem"], {})
        names.setdefault(match["end"], {})[match["role"]] = match
    found = {stem[:-1]: partial(_parts, tensors, stem, names) for stem, names in modules.items()}
    found |= {module: partial(_made, module, names) for module, names in made.items()}
    return [Stack((module,), find) for module, find in found.items()]


def name_tensors(layers: Sequence[Recurrent]) -> dict[str, Floats]:
    """Name the arrays of layers as the state of an `nn.RNN`, `nn.LSTM` or `nn.GRU`.

    The bias is written as ``bias_ih``; ``bias_hh`` is -0.0, which changes
    no bit of the sum, but for the `b_n` of a GRU.
    """
    directions = [layer.direction for layer in layers]
    hint = "write .npz"
    if "backward" in directions or len(set(directions)) > 1:
        got = ", ".join(directions)
        layers_named = "layers that are all forward or all bidirectional"
        raise InputError("", f"PyTorch's names are for {layers_named}, got {got}", hint)
    for layer in layers:
        if layer.direction == "bidirectional" and layer.merge != "concat":
            what = f"PyTorch concatenates the directions of a layer, got merge {layer.merge}"
            raise InputError("", what, hint)
        if any(cell.settings.get("reset") == "before" for cell in layer.cells):
            raise InputError("", "PyTorch's GRU resets after the product, got reset before", hint)
    return {
        f"{role}_l{number}{_ENDS[direction]}": array
        for number, layer in enumerate(layers)
        for direction, cell in zip(layer.directions, layer.cells, strict=True)
        for role, array in _arrays(cell).items()
    }


def _arrays(cell: Cell) -> dict[str, Floats]:
    b_x, b_r = two_biases(cell.weights)
    arrays = cell.weights.arrays | {"b_x": b_x, "b_r": b_r}
    return {
        name: LAYOUT.theirs(arrays[role], name_of(cell))
        for name, role in _ROLES.items()
        if role in arrays
    }


def _made(module: str, names: Sequence[str]) -> tuple[Sequence[Part], Sequence[str]]:
    """Return a module that computes its weights, which is not done here."""
    what = f"computes its weights from others ({shown(names[0])}), which is not read"
    return [Part(module, "", names, why=what, hint=UNMADE, needed=True)], []


def _parts(tensors: Tensors, stem: str, names: _Names) -> tuple[Sequence[Part], Sequence[str]]:
    """Name all tensors that must be there for those that are."""
    matches = [match for roles in names.values() for match in roles.values()]
    numbers = {match["layer"] for match in matches}
    if None in numbers and len(numbers) > 1:
        first, second, *_ = (next(iter(roles.values()))[0] for roles in names.values())
        raise tensors.both(first, second)
    present = {"weight_ih", "weight_hh"} | {match["role"] for match in matches}
    if "bias_ih" in present or "bias_hh" in present:
        present |= {"bias_ih", "bias_hh"}
    roles = {name: role for name, role in _ROLES.items() if name in present}
    two = any(match["reverse"] for match in matches)
    settings = {"direction": "bidirectional", "merge": "concat"} if two else {}
    top = max((int(number) for number in numbers if number is not None), default=None)
    ends = [""] if top is None else [f"_l{number}" for number in range(top + 1)]
    found = [
        [
            {role: f"{stem}{name}{end}{reverse}" for name, role in roles.items()}
            for reverse in (_ENDS.values() if two else ("",))
        ]
        for end in ends
    ]
    # All layers of a module are of one kind.
    kinds = (cell_of(tensors, names, LAYOUT) for layer in found for names in layer)
    kind = next(filter(None, kinds), "")
    fixed = _FIXED.get(kind, {})
    layers = [
        LayerSpec(tuple(CellSpec(names, kind, fixed, LAYOUT) for names in layer), settings)
        for layer in found
    ]
    class_ = f"nn.{kind.upper()}{'Cell' if top is None else ''}" if kind else ""
    return [Part(stem[:-1], class_, [match[0] for match in matches], layers)], []
