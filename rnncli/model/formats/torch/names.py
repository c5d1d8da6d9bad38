"""PyTorch's names of arrays: ``weight_ih_l0``, ``weight_hh_l0``, ... of `nn.LSTM`; `nn.LSTMCell`'s.

Names and shapes do not tell what a model does between its modules. So only
what leaves little open is read, and a note says so: an embedding below a
recurrent module and a linear layer above. A file of more is refused.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import dropwhile, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import SIGMOID, TANH, parse
from rnncli.model.arrays import Floats, name_type, reorder
from rnncli.model.cells import CELLS, WEIGHT_NAMES, Cell, Weights, split_bias, sum_biases
from rnncli.model.contents import (
    Component,
    Contents,
    make_cell,
    make_layer,
    no_layer,
    read_floats,
)
from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.model.layers import Dense, Embedding, Layer, Recurrent, name_of

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
# What the modules of cells always do; an `nn.RNN` has tanh or relu.
_SETTINGS: dict[str, dict[str, Any]] = {
    "rnn": {},
    "gru": {"activation": TANH, "recurrent_activation": SIGMOID, "reset": "after"},
    "lstm": {"activation": TANH, "recurrent_activation": SIGMOID},
}
_GATES = {CELLS[kind].gates: kind for kind in _SETTINGS}
# The names of a linear layer above a stack.
HEAD = {"W": "head.weight", "b": "head.bias"}
_EXPECTED = ": expected PyTorch's names (weight_ih_l0, ...), or W_xh, W_hh and b_h in an .npz file"
_UNREAD = "has values of type {}, which is not read"
_WHY = "a state dict does not tell how they are joined: export the model with torch.onnx.export"
_NUMBERS = "biuf"  # kinds of the types that are read
_AROUND = {"nn.Embedding": "an embedding below", "nn.Linear": "a linear layer above"}

# The prefix of TorchScript's class names, and the mark that makes a name unique.
_MANGLED = re.compile(r"\A__torch__\.|___torch_mangle_[0-9]+\.")
# Attributes with functions that are called around a module.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
# Modules that do no more than a state dict with their arrays tells.
_PLAIN = re.compile(
    r"torch\.nn\.modules\."
    r"((dropout|container|loss)\.\w+|linear\.(Linear|Identity)|sparse\.Embedding)"
)

Arrays = Mapping[str, NDArray[Any]]


def read_mode(mode: str) -> dict[str, Any]:
    """Return the settings of cells by the mode of their module, such as ``RNN_TANH``."""
    name = mode.lower().removeprefix("rnn_")
    return {"activation": parse(name)} if name in ("tanh", "relu") else {}


class Module(NamedTuple):
    """A module, without the modules in it."""

    name: str  # its path from the root of the file
    class_: str  # its full name in the file
    settings: Mapping[Any, Any]  # its attributes

    def read_settings(self) -> dict[str, Any] | None:
        """Return the settings of the cells of a recurrent module; None for another module."""
        kind = _MANGLED.sub("", self.class_)
        if not kind.startswith("torch.nn.modules.rnn.") or any(map(self.settings.get, _HOOKS)):
            return None
        return read_mode(str(self.settings.get("mode", self.settings.get("nonlinearity"))))

    def is_plain(self, arrays: Collection[str]) -> bool:
        """Return whether its arrays, as a state dict has them, tell what it does.

        A class of the user's own, without arrays, may only join its modules.
        """
        if any(map(self.settings.get, _HOOKS)) or self.settings.get("max_norm") is not None:
            return False
        if self.class_.startswith("torch."):
            return bool(_PLAIN.fullmatch(self.class_))
        return not arrays


def find_arrays(
    arrays: Arrays, path: str, known: Mapping[str, Mapping[str, Any]] = {}, *, ordered: bool = False
) -> Contents:
    """Find the recurrent layers among arrays, an embedding below and a linear layer above.

    `known` has settings of the cells of modules. `ordered` says that arrays
    stand in the order in which their modules were defined.
    """
    components = find_modules(path, arrays, known)
    used = {name for each in components for name in each.arrays}
    groups = _group({name: array for name, array in arrays.items() if name not in used})
    if len(components) != 1:
        why = "is no recurrent layer by its names"
        components += [Component(owner, "", group, why=why) for owner, group in groups.items()]
        return Contents(components, ordered=False, expected=_EXPECTED)
    (recurrent,) = components
    later = {*dropwhile(lambda name: name not in used, arrays)} if ordered else set[str]()
    module, notes = verbatim(shown(recurrent.name)), list[str]()
    by_kind = {recurrent.kind: recurrent}
    for owner, group in groups.items():
        loss = re.search("loss|criterion", owner, re.IGNORECASE)
        if all(a.ndim < 2 if loss else not a.ndim and a.dtype.kind != "f" for a in group.values()):
            continue  # a count, or weights of a loss
        kind = _find_kind(owner, group, recurrent, above=not later.isdisjoint(group))
        if not kind or kind in by_kind:
            refused = [
                Component(name, "", a, (), _find_reason(a), needed=True)
                for name, a in groups.items()
            ]
            refused.sort(key=lambda each: each.why == _WHY)
            return Contents([recurrent, *refused], ordered=False)
        W, *b = (read_floats(path, name, group[name]) for name in sorted(group, reverse=True))
        layer = Embedding(W) if kind == "nn.Embedding" else Dense(W.T, b[0] if b else None)
        by_kind[kind] = Component(owner, kind, group, [layer])
    order = ("nn.Embedding", recurrent.kind, "nn.Linear")
    chain = [by_kind[kind] for kind in order if kind in by_kind]
    ends = {recurrent.kind: ":tanh", "nn.Linear": ":softmax"}
    joined = ",".join(f"{each.name}{ends.get(each.kind, '')}" for each in chain)
    for kind, each in by_kind.items():
        if each is recurrent:
            continue
        what = (
            f"{verbatim(shown(each.name))} is read as {_AROUND[kind]} {module}, as the shapes fit"
        )
        ways_out = f"`layer` {module} takes that alone"
        if kind == "nn.Linear":
            what += ", without activations"
            ways_out = f"`chain` {verbatim(joined)} has them, {ways_out}"
        notes.append(f"{what}: {ways_out}")
    return Contents(chain, notes=notes)


def _find_reason(arrays: Arrays) -> str:
    """Return the reason why a module is refused."""
    odd = [name_type(array) for array in arrays.values() if array.dtype.kind not in _NUMBERS]
    return _UNREAD.format(shown(odd[0])) if odd else _WHY


def _find_kind(owner: str, arrays: Arrays, recurrent: Component, *, above: bool) -> str:
    """Decide by its shape whether a module is an embedding below, a linear layer above, or neither.

    `above` says that it was defined after the recurrent module.
    """
    if any(array.dtype.kind not in _NUMBERS for array in arrays.values()):
        return ""
    takes, gives = recurrent.layers[0].input_size, recurrent.layers[-1].output_size
    shapes = {name.rpartition(".")[2]: array.shape for name, array in arrays.items()}
    weight = shapes.pop("weight", ())
    if len(weight) != 2 or shapes not in ({}, {"bias": weight[:1]}):
        return ""
    table = not shapes and weight[1] == takes
    if table and "emb" in owner.lower():
        return "nn.Embedding"
    # One that also fits below must be known to stand above.
    sure = above or not (table or weight[0] == takes)
    return "nn.Linear" if weight[1] == gives and sure else ""


def pick_arrays(arrays: Arrays, path: str, layer: str | None) -> Arrays:
    """Keep the arrays whose names begin ``layer.`` or ``layer/``; None keeps all."""
    if layer is None:
        return arrays
    stem = layer.rstrip("./")
    picked = {name: a for name, a in arrays.items() if name.startswith((f"{stem}.", f"{stem}/"))}
    if not picked:
        raise no_layer(path, stem, _group(arrays))
    return picked


def _group(arrays: Arrays) -> dict[str, dict[str, NDArray[Any]]]:
    """Group arrays by their modules; one of no module has its own name."""
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        groups.setdefault(re.split(r"[./][^./]*\Z", name)[0], {})[name] = array
    return groups


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
        layers = []
        for number in numbers:
            names = [cells[number, way] for way in ways]
            mode = known.get(stem[:-1], {})
            layers.append(read_layer(path, arrays, names, mode, merge="concat"))
        kind = f"nn.{name_of(layers[0].cells[0]).upper()}{'Cell' if -1 in numbers else ''}"
        components.append(Component(stem[:-1], kind, group, layers))
    return components


def read_layer(
    path: str, arrays: Arrays, names: Sequence[Mapping[str, str]], known: Mapping[str, Any],
    **settings: str,
) -> Recurrent:  # fmt: skip
    """Make a layer of arrays, whose names stand by their roles for each direction.

    `known` are settings of its cells.
    """
    cells = [_read_cell(path, arrays, each, known) for each in names]
    ours = {_ROLES[role]: name for role, name in names[-1].items()}
    return make_layer(path, cells, ours, **settings)


def _read_cell(
    path: str, arrays: Arrays, names: Mapping[str, str], known: Mapping[str, Any]
) -> Cell:
    """Make a cell of arrays, whose names stand by their roles."""
    theirs = {role: read_floats(path, name, arrays[name]) for role, name in names.items()}
    shapes = {role: array.shape for role, array in theirs.items()}
    rows, P = (*shapes["weight_hh"], 0, 0)[:2]
    H = rows // 4 if "weight_hr" in theirs else P
    kind = _GATES.get(rows // H if H else 0, "")
    lengths = {shape[:1] for role, shape in shapes.items() if role != "weight_hr"}
    if not kind or rows % H or len(lengths) > 1:
        what = f"expected the shapes of nn.RNN, nn.LSTM or nn.GRU, got {shapes}"
        raise InputError(f"{path}: {shown(names['weight_hh'])}", what)
    ours = {_ROLES[role]: _order(array.T, kind) for role, array in theirs.items()}
    biases = tuple(ours.pop(role) for role in ("b_x", "b_r") if role in ours)
    if biases:
        ours |= sum_biases(biases[0], biases[1], H if kind == "gru" else 0)
    ours.setdefault("b_h", np.zeros(rows, ours["W_hh"].dtype))
    settings, by_role = {**_SETTINGS[kind], **known}, {_ROLES[r]: n for r, n in names.items()}
    return make_cell(path, kind, Weights(**ours), settings, by_role, biases)


def _order(array: Floats, kind: str) -> Floats:
    """Order the gates of an array of ours as PyTorch does, or back: it exchanges two at most."""
    return reorder(array, CELLS[kind].find_gates("torch"))


def name_arrays(layers: Sequence[Layer]) -> dict[str, Floats]:
    """Name the arrays of a stack as the state of an `nn.RNN`, `nn.LSTM` or `nn.GRU`, and its head.

    The bias is written as ``bias_ih``; ``bias_hh`` is -0.0, which changes
    no bit of the sum, but for the `b_n` of a GRU. A linear layer above is
    ``head``.
    """
    head: Any = layers[-1] if name_of(layers[-1]) == "dense" else None
    stack = layers[: len(layers) - (head is not None)]
    cells = [cell for layer in stack for cell in layer.cells]
    kinds = {(name_of(cell), "W_hr" in cell.weights.arrays) for cell in cells}
    ways = {
        str(layer.settings.get("merge")) if layer.cells[1:] else layer.directions for layer in stack
    }
    fits = all(
        name_of(cell) in _SETTINGS
        and cell.settings.get("reset") != "before"
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


def find_unsaid(layers: Sequence[Layer]) -> list[str]:
    """Return a sentence about the settings of layers that PyTorch's names do not tell."""
    unsaid: dict[str, None] = {}
    for cell in (cell for layer in layers for cell in layer.cells):
        usual = CELLS[name_of(cell)](cell.weights).settings
        unsaid |= {f"{n} {value}": None for n, value in cell.settings.items() if value != usual[n]}
    if isinstance(layers[-1], Dense) and str(layers[-1].activation) != "linear":
        unsaid[f"activation {layers[-1].activation} of the head"] = None
    what = "rnn reads it from the metadata, tell other programs"
    return [f"tensor names cannot record {', '.join(unsaid)}: {what}"] if unsaid else []
