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
from itertools import pairwise
from typing import Any, NamedTuple

from rnncli.model.activations import ACTIVATIONS, parse
from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.model.formats.parts import NOTHING, Model, Part
from rnncli.model.formats.spec import LayerSpec
from rnncli.model.formats.tensors import Derived, Tensors, deviation
from rnncli.model.formats.torch.heads import embedding, fit, linear, way_out
from rnncli.model.formats.torch.names import UNMADE, find_stacks
from rnncli.model.layers import row_activation

_MODULES = "torch.nn.modules."
# A setting: whether there are functions that are called before or after its own code.
HOOKS = "_forward_hooks"
SEQUENTIAL = f"{_MODULES}container.Sequential"
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
_NOTHING = (
    "dropout.",
    "loss.",
    "linear.Identity",
    "container.Sequential",
    "container.ModuleList",
    "container.ModuleDict",
)


class Module(NamedTuple):
    """A module, without those that stand in it.

    Parameters
    ----------
    name : str
        Its path from the root of the file.
    kind : str
        Full name of its class.
    settings : mapping
        Its attributes that are plain values.
    tensors : sequence of str
        Names of its own.
    holder : str
        What the names of its siblings begin with, where they stand in an
        `nn.Sequential`.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    tensors: Sequence[str]
    holder: str = ""

    @property
    def stem(self) -> str:
        """What the names of its tensors begin with."""
        return f"{self.name}." if self.name else ""

    @property
    def title(self) -> str:
        """Its class as people write it: ``nn.LSTM``."""
        own = self.kind.startswith(_MODULES)
        return f"nn.{self.kind.rpartition('.')[2]}" if own else shown(self.kind)


class Chain(NamedTuple):
    """Names of modules, each given what the one before gives, and which row is returned alone."""

    names: Sequence[str]
    last: str | None = None


def is_recurrent(tensors: Tensors, module: Module) -> bool:
    """Return whether a module has weights of recurrent layers, by their names or its class."""
    return bool(_QUANTIZED.match(module.kind) or find_stacks(_own(tensors, module)))


def find_model(
    tensors: Tensors,
    modules: Sequence[Module],
    classes: Mapping[str, str],
    layer: str | None,
    read: Callable[[str], Chain] | None,
) -> Model:
    """Find the layers that modules are."""
    derived: dict[str, Derived] = {}
    parts = [_part(tensors, module, derived) for module in modules]
    whole = Model(tensors.with_derived(derived), parts, "PyTorch", expected=_EXPECTED)
    model = whole.picked(layer)
    top = "" if layer is None else layer.rstrip("./")
    if any(part.recurrent for part in model.parts):
        alone = layer is not None and [part.name for part in model.parts] == [top]
        if read and top in classes and not alone:
            model = _called(model, partial(read, top))
        else:
            within = {
                name: kind
                for name, kind in classes.items()
                if layer is None or name == top or name.startswith(f"{top}.")
            }
            model = _chained(model, modules, within)
    return model._replace(notes=[*model.notes, *_unread(modules, model.parts)])


def _called(model: Model, read: Callable[[], Chain]) -> Model:
    """Return a model of the modules that the code of `forward` calls, one after the other."""
    if any(part.needed for part in model.parts):
        return model
    parts = {part.name: part for part in model.parts}
    try:
        chain = read()
        called = [parts.get(name, Part(name, "", why="is not known")) for name in chain.names]
        for part in called:
            if not part.layers:
                title = f"{shown(part.name)} ({part.kind})" if part.kind else shown(part.name)
                raise InputError("", f"calls {title}, which {part.why or 'does nothing'}")
        if why := _misfit(model.tensors, called):
            raise InputError("", why)
    except InputError as error:
        inner = [part.name for part in model.parts if part.recurrent]
        code = Part("forward", "code", why=error.what, hint=way_out(inner), needed=True)
        return model._replace(parts=[*model.parts, code], ordered=False)
    rest = [
        part._replace(layers=(), why=part.why or "is not called by forward")
        for part in model.parts
        if part.name not in chain.names
    ]
    return model._replace(parts=[*called, *rest], last=chain.last)


def _chained(model: Model, modules: Sequence[Module], classes: Mapping[str, str]) -> Model:
    """Return a model whose parts are a chain in the order of their definition, or is refused."""
    inner = [part.name for part in model.parts if part.recurrent]
    others = [part for part in model.parts if not part.recurrent and part.why != NOTHING]
    why = _unjoined(model, {module.name: module for module in modules})
    if why and others:
        hint = way_out(inner)
        kept = [
            part._replace(layers=(), why=why, hint=hint, needed=True)
            if part in others and not part.needed
            else part
            for part in model.parts
        ]
        return model._replace(parts=kept, ordered=False)
    if why:
        return model._replace(ordered=False)
    taken = [part.name for part in model.parts if part.layers]
    joined = _joined_by(taken, classes)
    if not joined:
        return model
    names = verbatim(listed(taken))
    note = f"{joined}: {names} is assumed to be all of it"
    if taken[1:]:
        hint = f"`layer` {verbatim(inner[0])} takes that alone" if inner[0] else ""
        hint = "`layer` NAME takes one of them alone" if inner[1:] else hint
        note = f"{joined}: {names} are assumed in the order of their definition"
        note = f"{note}; {hint}" if hint else note
    return model._replace(notes=[note, *_over_rows(modules, model.parts)])


def _joined_by(names: Sequence[str], classes: Mapping[str, str]) -> str:
    """Return why the file does not say how modules are joined, or nothing if it does."""
    above = {
        name: kind
        for name, kind in classes.items()
        if name not in names and any(each.startswith(f"{name}." if name else "") for each in names)
    }
    for kind in above.values():
        if not kind.startswith("torch."):
            return f"the forward of {verbatim(shown(kind))} is not in the file"
    chains = [name for name, kind in above.items() if kind == SEQUENTIAL]
    prefixes = [f"{name}." if name else "" for name in chains]
    if not names[1:] or any(all(each.startswith(p) for each in names) for p in prefixes):
        return ""
    return "the file does not tell how its modules are joined"


def _unread(modules: Sequence[Module], parts: Sequence[Part]) -> list[str]:
    """Return a sentence for each module that may compute more than its class in PyTorch does."""
    taken = {part.name for part in parts if part.layers}
    notes = []
    for module in modules:
        if module.name in taken:
            name = verbatim(shown(module.name)) if module.name else "it"
            if not module.kind.startswith(_MODULES):
                title = verbatim(module.title)
                notes.append(f"{name} is of a class of its own ({title}), whose code is not read")
            if module.settings.get(HOOKS):
                notes.append(f"{name} has hooks, whose code is not read")
    return notes


def _over_rows(modules: Sequence[Module], parts: Sequence[Part]) -> list[str]:
    """Return a sentence for each softmax that goes over the values of a row only if it is one."""
    taken = {part.name for part in parts if part.layers}
    return [
        f"{verbatim(shown(each.name))} is taken over the values of each row, though dim 1 is that "
        "only where a model gives one row a sequence"
        for each in modules
        if each.name in taken and each.kind.endswith("oftmax") and each.settings.get("dim") == 1
    ]


def _unjoined(model: Model, modules: Mapping[str, Module]) -> str:
    """Return why the parts are not taken for a chain; nothing if they are."""
    for part in model.parts:
        if not part.layers and part.why != NOTHING:
            label = f"{shown(part.name)} ({part.kind})" if part.name else part.kind
            return f"{label} {part.why}"
    taken = [part for part in model.parts if part.layers]
    if why := _misfit(model.tensors, taken):
        return why
    for below, above in pairwise(taken):
        holders = {modules[part.name].holder for part in (below, above)}
        if below.kind == above.kind == "nn.Linear" and (len(holders) > 1 or "" in holders):
            between = f"between {shown(below.name)} and {shown(above.name)}"
            return f"the file does not say what its code does {between}"
    return ""


def _misfit(tensors: Tensors, parts: Sequence[Part]) -> str:
    """Return which part does not take what the one below gives; nothing if all do."""
    for below, above in pairwise(parts):
        if not fit(tensors, [*below.layers, *above.layers]):
            return f"{shown(above.name)} does not take as many values as {shown(below.name)} gives"
    return ""


def _part(tensors: Tensors, module: Module, derived: dict[str, Derived]) -> Part:
    """Return what a module is here, or why it is not run."""
    part = Part(module.name, module.title, module.tensors)
    kind = module.kind.removeprefix(_MODULES)
    try:
        if _QUANTIZED.match(module.kind):
            return part._replace(**QUANTIZED)
        if is_recurrent(tensors, module):
            return _recurrent(tensors, module, part)
        if module.kind.startswith(_MODULES) and kind.startswith(_NOTHING):
            return part._replace(why=NOTHING)
        make = _KINDS.get(module.kind, _unknown)
        return part._replace(layers=[make(tensors, module, derived)])
    except InputError as error:
        return part._replace(why=error.what, hint=error.hint, needed=True)
    except ValueError as error:
        return part._replace(why=str(error))


def _own(tensors: Tensors, module: Module) -> Tensors:
    return tensors._replace(entries={name: tensors.entries[name] for name in module.tensors})


def _recurrent(tensors: Tensors, module: Module, part: Part) -> Part:
    """Return the part that names of its tensors tell of, and what the module says beside."""
    mode = module.settings.get("mode")
    if module.kind.startswith("torch.nn.utils.parametrize."):
        raise InputError("", "computes its weights from others, which is not read", UNMADE)
    if not module.kind.startswith(f"{_MODULES}rnn.") and mode is None:
        raise InputError("", f"is of a class that PyTorch does not have ({part.kind})")
    (stack,) = find_stacks(_own(tensors, module))
    ((found, *_), _) = stack.find()
    found = found._replace(name=part.name, kind=part.kind)
    # Where there is a mode, a module goes by that alone.
    named = module.settings.get("nonlinearity") if mode is None else mode
    given = str(named).removeprefix("RNN_").lower()
    if given not in ("tanh", "relu"):
        return found
    known = {"activation": parse(given)}
    layers = [
        layer._replace(
            cells=tuple(cell._replace(settings={**cell.settings, **known}) for cell in layer.cells)
        )
        for layer in found.layers
    ]
    return found._replace(layers=layers)


def _linear(tensors: Tensors, module: Module, _: dict[str, Derived]) -> LayerSpec:
    return linear(tensors, module.stem)


def _embedding(_: Tensors, module: Module, __: dict[str, Derived]) -> LayerSpec:
    if module.settings.get("max_norm") is not None:
        raise ValueError("changes rows that are long (max_norm)")
    return embedding(module.stem)


def _batch_norm(tensors: Tensors, module: Module, derived: dict[str, Derived]) -> LayerSpec:
    roles = {"running_mean": "center", "weight": "factor", "bias": "shift"}
    names = {role: f"{module.stem}{name}" for name, role in roles.items()}
    variance, scale = f"{module.stem}running_var", f"{module.stem}scale"
    if not {variance, names["center"]} <= tensors.entries.keys():
        raise ValueError("has no statistics of its own")
    root = partial(deviation, _number(module, "eps"))
    derived[scale] = Derived([variance], tensors.entries[variance], root)
    found = {role: name for role, name in names.items() if name in tensors.entries}
    return LayerSpec(kind="normalization", tensors={**found, "scale": scale})


def _layer_norm(tensors: Tensors, module: Module, _: dict[str, Derived]) -> LayerSpec:
    names = {"factor": f"{module.stem}weight", "shift": f"{module.stem}bias"}
    found = {role: name for role, name in names.items() if name in tensors.entries}
    if "factor" not in found or len(tensors.entries[found["factor"]].shape) != 1:
        raise ValueError("has no weight for each value of a row")
    settings = {"epsilon": _number(module, "eps")}
    return LayerSpec(kind="layer_normalization", tensors=found, settings=settings)


def _number(module: Module, name: str) -> float:
    value = module.settings.get(name)
    if isinstance(value, int | float):
        return float(value)
    raise ValueError(f"does not say its {name}")


def _activation(_: Tensors, module: Module, __: dict[str, Derived]) -> LayerSpec:
    name = module.kind.rpartition(".")[2]
    for setting, allowed in _REQUIRED.get(name, {}).items():
        given = module.settings.get(setting)
        if given not in allowed:
            raise ValueError(f"has {setting} {shown(str(given))}, which is not read")
    text = "gelu_tanh" if module.settings.get("approximate") == "tanh" else _ACTIVATIONS[name]
    try:
        text = text.format_map(module.settings)
    except KeyError as error:
        raise ValueError(f"does not say its {error.args[0]}") from error
    return LayerSpec(kind="activation", settings={"activation": row_activation(text)})


def _unknown(_: Tensors, __: Module, ___: dict[str, Derived]) -> LayerSpec:
    raise ValueError("is not known")


_KINDS: dict[str, Callable[[Tensors, Module, dict[str, Derived]], LayerSpec]] = {
    f"{_MODULES}linear.Linear": _linear,
    f"{_MODULES}sparse.Embedding": _embedding,
    f"{_MODULES}batchnorm.BatchNorm1d": _batch_norm,
    f"{_MODULES}normalization.LayerNorm": _layer_norm,
    **{f"{_MODULES}activation.{name}": _activation for name in _ACTIVATIONS},
}
