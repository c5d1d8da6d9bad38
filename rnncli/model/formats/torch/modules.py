"""Whole modules of PyTorch: their classes say what a state dict does not.

An `nn.RNN` says its activation, and modules without weights are there. What
a model does between its modules is in its code. TorchScript holds it, see
`script`. A pickle does not: its modules are taken for a chain in the order of
their definition, with a note, only if all of them are known and fit each
other.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.activations import ACTIVATIONS, parse
from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.model.formats.found import NOTHING, Draft, FileLayer, Found, Part, input_size
from rnncli.model.formats.names import make_matrix, make_part, take_array
from rnncli.model.formats.torch.names import (
    UNMADE,
    Arrays,
    find_modules,
    has_modules,
    output_size,
    way_out,
)
from rnncli.model.layers import (
    LayerNormalization,
    Normalization,
    Pointwise,
    row_activation,
)

_MODULES = "torch.nn.modules."
# A setting: whether there are functions that are called before or after its own code.
HOOKS = "_forward_hooks"
# What TorchScript's names of classes begin with.
SCRIPT = "__torch__."
_SEQUENTIAL = "container.Sequential"
QUANTIZED: dict[str, Any] = {
    "why": "is quantized, which is not read",
    "hint": "save the model before it is quantized",
    "needed": True,
}
_QUANTIZED = re.compile(r"torch\..*quantized.*\.rnn\.")
_EXPECTED = ": expected nn.RNN, nn.LSTM, nn.GRU or their cells"
# Activations here, with the settings of the module filled in.
_ACTIVATIONS = {kind.torch: name for name, kind in ACTIVATIONS.items() if kind.torch} | {
    "Hardsigmoid": f"hard_sigmoid:{1 / 6},0.5",
    "LeakyReLU": "leaky_relu:{negative_slope}",
    "ELU": "elu:{alpha}",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
}
# Settings that must be as here; of a softmax those that go over the values of a row, be it of
# one step or of all.
_REQUIRED: dict[str, dict[str, tuple[Any, ...]]] = {
    "GELU": {"approximate": (None, "none", "tanh")},  # None before PyTorch 1.12
    "Softplus": {"beta": (1,), "threshold": (20,)},
    "Softmax": {"dim": (-1, 1, 2)},
    "LogSoftmax": {"dim": (-1, 1, 2)},
}
# Modules, or files of modules, that leave rows as they are.
_NOTHING = ("dropout.", "loss.", "linear.Identity", "container.Sequential", "container.Module")


class Module(NamedTuple):
    """A module, without those that stand in it."""

    name: str  # its path from the root of the file
    kind: str  # full name of its class
    settings: Mapping[str, Any]  # its attributes that are plain values
    arrays: Arrays  # its own, by their paths

    @property
    def is_recurrent(self) -> bool:
        """Whether it has weights of recurrent layers, by their names or its class."""
        return bool(_QUANTIZED.match(self.kind)) or has_modules(self.arrays)


def find_code(class_: str, code: Mapping[str, str]) -> str:
    """Find the text of a class of TorchScript; nothing where there is none."""
    module, _, name = class_.rpartition(".")
    _, head, text = code.get(module, "").partition(f"class {name}(Module):\n")
    return head + text.partition("\nclass ")[0].partition("\ndef ")[0]


def find_layers(
    path: str,
    modules: Sequence[Module],
    classes: Mapping[str, str],
    code: Mapping[str, str],
    layer: str | None,
) -> Found:
    """Find the layers that modules are, with the code of those of TorchScript."""
    parts = [_read_module(path, module) for module in modules]
    found = Found(parts, "PyTorch", expected=_EXPECTED).pick(path, layer)
    names, top = [part.name for part in found.parts], (layer or "").rstrip("./")
    by_name = {module.name: module for module in modules}
    if any(part.recurrent for part in found.parts):
        scripted = all(kind.startswith(SCRIPT) for kind in classes.values())
        if scripted and top in classes and (layer is None or names != [top]):
            from rnncli.model.formats.torch.script import read_forward  # 5 ms of few files

            found = _keep_called(found, partial(read_forward, classes, code, modules, top))
        else:
            prefix = f"{top}." if layer else ""
            within = [name for name in classes if name == top or name.startswith(prefix)]
            found = _assume_chain(found, by_name, {name: classes[name] for name in within})
    notes = [*found.notes]
    for part in found.parts:
        if part.layers:
            name = verbatim(shown(part.name)) if part.name else "it"
            if not by_name[part.name].kind.startswith(_MODULES):
                title = verbatim(part.kind)
                notes.append(f"{name} is of a class of its own ({title}), whose code is not read")
            if by_name[part.name].settings.get(HOOKS):
                notes.append(f"{name} has hooks, whose code is not read")
    return found._replace(notes=notes)


def _keep_called(found: Found, read: Callable[[], tuple[Sequence[str], str | None]]) -> Found:
    """Keep the modules that the code of `forward` calls, one after the other."""
    if any(part.needed for part in found.parts):
        return found
    parts = {part.name: part for part in found.parts}
    unknown = Part("", "", why="is not known")
    try:
        names, last = read()
        called = [parts.get(name, unknown._replace(name=name)) for name in names]
        idle = [part.name for part in called if part.why == NOTHING]  # such as a loss
        why = f"calls {listed(idle)}, which is not read" if idle else _find_gap(called)
    except InputError as error:
        why = error.what
    if why:
        hint = way_out([part.name for part in found.parts if part.recurrent])
        code = Part("forward", "code", why=why, hint=hint, needed=True)
        return found._replace(parts=[*found.parts, code], ordered=False)
    rest = [
        part._replace(layers=(), why=part.why or "is not called by forward")
        for part in found.parts
        if part.name not in names
    ]
    return found._replace(parts=[*called, *rest], last=last)


def _assume_chain(found: Found, modules: Mapping[str, Module], classes: Mapping[str, str]) -> Found:
    """Take the parts for a chain in the order of their definition, or refuse them."""
    inner = [part.name for part in found.parts if part.recurrent]
    if why := _find_gap(found.parts, classes):
        hint = way_out(inner)
        parts = [
            part
            if part.recurrent or part.needed or part.why == NOTHING
            else Part(part.name, part.kind, part.arrays, (), why, hint, needed=True)
            for part in found.parts
        ]
        return found._replace(parts=parts, ordered=False)
    taken = [part.name for part in found.parts if part.layers]
    joined = _explain_order(taken, classes)
    if not joined:
        return found
    names = verbatim(listed(taken))
    notes = [f"{joined}: {names} is assumed to be all of it"]
    if taken[1:]:
        hint = f"; `layer` {verbatim(inner[0])} takes that alone" if inner[0] else ""
        hint = "; `layer` NAME takes one of them alone" if inner[1:] else hint
        notes = [f"{joined}: {names} are assumed in the order of their definition{hint}"]
    for name in taken:
        if modules[name].kind.endswith("oftmax") and modules[name].settings.get("dim") == 1:
            what = "is taken over the values of each row, though dim 1 is that only where a model"
            notes.append(f"{verbatim(shown(name))} {what} gives one row a sequence")
    return found._replace(notes=notes)


def _explain_order(names: Sequence[str], classes: Mapping[str, str]) -> str:
    """Say why the order of modules is not in the file; nothing where it is."""
    others = {name: kind for name, kind in classes.items() if name not in names}
    above = {f"{name}." if name else "": kind for name, kind in others.items()}
    inside = {prefix: [name.startswith(prefix) for name in names] for prefix in above}
    for prefix, kind in above.items():
        if any(inside[prefix]) and not kind.startswith("torch."):
            return f"the forward of {verbatim(shown(kind))} is not in the file"
    whole = [kind for prefix, kind in above.items() if all(inside[prefix])]
    if not names[1:] or any(kind.endswith(_SEQUENTIAL) for kind in whole):
        return ""
    return "the file does not tell how its modules are joined"


def _find_gap(parts: Sequence[Part], classes: Mapping[str, str] | None = None) -> str:
    """Say what keeps parts from being a chain; nothing where they are one.

    Without classes, what stands between them is known.
    """
    below, width = Part("", ""), None
    for part in parts:
        if not part.layers and part.why != NOTHING:
            label = f"{shown(part.name)} ({part.kind})" if part.name and part.kind else ""
            return f"{label or shown(part.name or part.kind)} {part.why}"
        for layer in part.layers:
            takes = input_size(layer)
            if width and takes not in (None, width):
                more = f"as many values as {shown(below.name)} gives"
                return f"{shown(part.name)} does not take {more}"
            width = output_size(layer) or width
        if classes is not None and below.kind == part.kind == "nn.Linear":
            inside, *others = {each.name.rpartition(".")[0] for each in (below, part)}
            if others or not classes.get(inside, "").endswith(_SEQUENTIAL):
                between = f"between {shown(below.name)} and {shown(part.name)}"
                return f"the file does not say what its code does {between}"
        below = part if part.layers else below
    return ""


def _read_module(path: str, module: Module) -> Part:
    """Make the layer of a module, or say why it is not run."""
    own, kind = module.kind.startswith(_MODULES), module.kind.removeprefix(_MODULES)
    title = f"nn.{kind.rpartition('.')[2]}" if own else shown(kind)
    part = Part(module.name, title, module.arrays)
    if _QUANTIZED.match(module.kind):
        return part._replace(**QUANTIZED)
    if module.is_recurrent:
        return _read_recurrent(path, module, part)
    if own and kind.startswith(_NOTHING):
        return part._replace(why=NOTHING)
    if not own or kind not in _KINDS:
        return part._replace(why="is not known")
    make = partial(_KINDS[kind], path, part, module.settings)
    return make_part(path, part, make)._replace(needed=False)


def _read_recurrent(path: str, module: Module, part: Part) -> Part:
    """Make the layers that names of arrays tell of, with the activation that the module says."""
    mode = module.settings.get("mode")
    if module.kind.startswith("torch.nn.utils.parametrize."):
        why = "computes its weights from others, which is not read"
        return part._replace(why=why, hint=UNMADE, needed=True)
    if not module.kind.startswith(f"{_MODULES}rnn.") and mode is None:
        why = f"is of a class that PyTorch does not have ({part.kind})"
        return part._replace(why=why, needed=True)
    try:
        found = find_modules(path, module.arrays)[0]
    except InputError as error:
        return part._replace(why=error.what, hint=error.hint, needed=True)
    # Where there is a mode, a module goes by that alone.
    named = module.settings.get("nonlinearity") if mode is None else mode
    given = str(named).removeprefix("RNN_").lower()
    known = {"activation": parse(given)} if given in ("tanh", "relu") else {}
    layers = []
    for draft in found.layers:
        if isinstance(draft, Draft):
            cells = [c._replace(settings={**c.settings, **known}) for c in draft.cells]
            layers.append(draft._replace(cells=tuple(cells)))
    return found._replace(name=part.name, kind=part.kind, layers=layers)


def _make_matrix(path: str, part: Part, settings: Mapping[str, Any]) -> FileLayer:
    if settings.get("max_norm") is not None:
        raise ValueError("changes rows that are long (max_norm)")
    return make_matrix(path, part)


def _make_batch_norm(path: str, part: Part, settings: Mapping[str, Any]) -> FileLayer:
    names = ("running_mean", "running_var", "bias", "weight")
    mean, variance, shift, factor = (take_array(path, part.arrays, name) for name in names)
    if mean is None or variance is None:
        raise ValueError("has no statistics of its own")
    variance = variance.astype(np.float64)
    with np.errstate(invalid="ignore"):  # of a negative variance, whose root is not finite
        return Normalization(mean, np.sqrt(variance + _read_epsilon(settings)), shift, factor)


def _make_layer_norm(path: str, part: Part, settings: Mapping[str, Any]) -> FileLayer:
    factor, shift = (take_array(path, part.arrays, name) for name in ("weight", "bias"))
    if factor is None or factor.ndim != 1:
        raise ValueError("has no weight for each value of a row")
    return LayerNormalization(factor, shift, _read_epsilon(settings))


def _read_epsilon(settings: Mapping[str, Any]) -> float:
    if not isinstance(settings.get("eps"), int | float):
        raise ValueError("does not say its eps")
    return float(settings["eps"])


def _make_activation(_: str, part: Part, settings: Mapping[str, Any]) -> FileLayer:
    name = part.kind.removeprefix("nn.")
    for setting, allowed in _REQUIRED.get(name, {}).items():
        if settings.get(setting) not in allowed:
            given = shown(str(settings.get(setting)))
            raise ValueError(f"has {setting} {given}, which is not read")
    text = "gelu_tanh" if settings.get("approximate") == "tanh" else _ACTIVATIONS[name]
    try:
        return partial(Pointwise, row_activation(text.format_map(settings)))
    except KeyError as error:
        raise ValueError(f"does not say its {error.args[0]}") from error


_KINDS: dict[str, Callable[[str, Part, Mapping[str, Any]], FileLayer]] = {
    "linear.Linear": _make_matrix,
    "sparse.Embedding": _make_matrix,
    "batchnorm.BatchNorm1d": _make_batch_norm,
    "normalization.LayerNorm": _make_layer_norm,
    **{f"activation.{name}": _make_activation for name in _ACTIVATIONS},
}
