"""Whole modules of PyTorch: a recurrent one says its activation, the code of others is needed.

TorchScript holds that code, see `script`; a pickle does not.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from rnncli.model.activations import parse
from rnncli.model.errors import listed, shown
from rnncli.model.formats.found import Draft, Found, Part
from rnncli.model.formats.torch.names import Arrays, find_modules, has_modules, way_out

_EXPECTED = ": expected nn.RNN, nn.LSTM, nn.GRU or their cells"
# What TorchScript's names of classes begin with, and how it tells some of them from others.
SCRIPT, _MANGLED = "__torch__.", re.compile(r"___torch_mangle_[0-9]+\.")
_MODULES = "torch.nn.modules."
# Functions that are called before or after the code of a module.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


class Module(NamedTuple):
    """A module, without those that stand in it."""

    name: str  # its path from the root of the file
    class_: str  # its full name in the file
    settings: Mapping[Any, Any]  # its attributes
    arrays: Arrays  # its own, by their paths

    @property
    def kind(self) -> str:
        """The full name of its class, without what TorchScript adds."""
        return _MANGLED.sub("", self.class_.removeprefix(SCRIPT))


def find_layers(
    path: str, modules: Mapping[str, Module], code: Mapping[str, Any], layer: str | None
) -> Found:
    """Find the layers that modules are, with the code of those of TorchScript."""
    from rnncli.model.formats.torch.script import find_script  # 5 ms of few files

    top = (layer or "").rstrip("./")
    within = {n: m for n, m in modules.items() if not layer or f"{n}.".startswith(f"{top}.")}
    if not within:
        every = [Part(name, module.kind, needed=True) for name, module in modules.items() if name]
        return Found(every).pick(path, layer)
    parts = [_read_module(path, module) for module in within.values()]
    recurrent = [part for part in parts if part.recurrent or part.needed]
    found, hint = Found(recurrent, expected=_EXPECTED), way_out([p.name for p in recurrent])
    roots = [n for n in within if not n or n.rpartition(".")[0] not in within]
    script = len(roots) == 1 and within[roots[0]].class_.startswith(SCRIPT)
    alone = len(within) == 1 and bool(recurrent) and (bool(layer) or not script)
    if not recurrent or alone:
        return found
    if script and not any(part.needed for part in recurrent):
        return find_script(path, modules, code, roots[0], hint)
    kinds = listed(dict.fromkeys(shown(within[name].kind) for name in roots))
    why = f"is of a whole model ({kinds}), whose code is not in the file"
    others = [
        part._replace(why=why, hint=hint, needed=True)
        for part in parts
        if part not in recurrent and (part.arrays or part.name in roots)
    ]
    return found._replace(parts=[*recurrent, *others], ordered=False)


def _read_module(path: str, module: Module) -> Part:
    """Make the layers of a recurrent module, with the activation that it says."""
    own, kind = module.kind.startswith(_MODULES), module.kind.removeprefix(_MODULES)
    part = Part(module.name, f"nn.{kind.rpartition('.')[2]}" if own else shown(kind), module.arrays)
    if not has_modules(module.arrays):
        return part
    found, *more = find_modules(path, module.arrays)
    left = [*(module.arrays.keys() - found.arrays.keys()), *(each.name for each in more)]
    if any(module.settings.get(each) for each in _HOOKS) or not kind.startswith("rnn."):
        why = f"the code of {part.kind}, or of its hooks, is not in the file"
        return part._replace(why=why, hint="save its state_dict()", needed=True)
    if left or found.needed:
        why = found.why or f"has arrays that are not read: {listed(left)}"
        return part._replace(why=why, needed=True)
    said = module.settings.get("mode", module.settings.get("nonlinearity"))
    function = str(said).removeprefix("RNN_").lower()
    known = {"activation": parse(function)} if function in ("tanh", "relu") else {}
    drafts = [each for each in found.layers if isinstance(each, Draft)]
    cells = [[c._replace(settings={**c.settings, **known}) for c in d.cells] for d in drafts]
    layers = [Draft(tuple(own), draft.settings) for draft, own in zip(drafts, cells, strict=True)]
    return part._replace(layers=layers)
