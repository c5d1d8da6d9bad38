"""Objects that PyTorch saved: arrays under dotted names, and modules, as layers."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.activations import parse
from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.containers.pickled import Instance
from rnncli.model.formats.found import Budget, Found, Part
from rnncli.model.formats.names import find_arrays, pick_arrays
from rnncli.model.formats.torch.names import Arrays, find_modules, has_modules, way_out

# What a tensor takes of the budget, of which an object and a character of a name take 1.
_TENSOR = 200
_DEPTH = 64
_WHY = "stands beside a recurrent module, and the code that joins them is not in the file"
# What TorchScript's names of classes begin with, and what it adds to tell them from others.
_SCRIPT, _MANGLED = "__torch__.", re.compile(r"\A__torch__\.|___torch_mangle_[0-9]+\.")
_MODULES = "torch.nn.modules."
# Where a module has parameters, buffers and modules, and functions called around its code.
_HELD = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


class Script(NamedTuple):
    """The code of TorchScript by its module, and its constants."""

    code: Mapping[str, str]
    constants: Any


class Module(NamedTuple):
    """A module, without those that stand in it."""

    name: str  # its path from the root of the file
    class_: str  # its full name in the file
    kind: str  # that without what TorchScript adds
    settings: Mapping[Any, Any]  # its attributes
    arrays: Arrays  # its own, by their paths


class Objects:
    """Arrays and modules in a saved object, under dotted names of keys, indices and attributes."""

    def __init__(self, path: str, value: Any, script: Script, budget: Budget) -> None:
        self.path, self._script, self._budget = path, script, budget
        self.arrays: dict[str, Any] = {}
        self._owners: dict[str, str] = {}  # what holds each array
        self.modules: dict[str, Module] = {}
        self._visit("", value, "")

    def pick(self, path: str, layer: str | None) -> Found:
        """Find the layers: of modules, if some of them are recurrent, or else of a state dict."""
        arrays = pick_arrays(self.arrays, path, layer)
        stem = "" if layer is None else f"{layer.rstrip('./')}."
        modules = {n: m for n, m in self.modules.items() if f"{n}.".startswith(stem)}
        roots = [m for n, m in modules.items() if not n or n.rpartition(".")[0] not in modules]
        inner = [module for module in modules.values() if has_modules(module.arrays)]
        names = [name for module in inner for name in module.arrays] or arrays
        dicts = [*dict.fromkeys(self._owners[name] for name in names if has_modules([name]))]
        others: dict[str, dict[str, Any]] = {}
        if inner:
            others |= {m.name or shown(m.kind): {} for m in roots if m not in inner}
        for name, array in arrays.items():
            if dicts and self._owners[name] not in dicts and array.ndim:
                others.setdefault(self._owners[name] or name, {})[name] = array
        script = len(roots) == 1 and roots[0].class_.startswith(_SCRIPT)
        if inner and script and (len(modules) > 1 or not stem):
            from rnncli.model.formats.torch.script import find_script  # 5 ms of few files

            found, others = find_script(path, modules, self._script, roots[0].name), {}
        elif inner:
            found = Found([self._read_module(module) for module in inner], ordered=False)
        else:
            known = {n: a for n, a in arrays.items() if not dicts or self._owners[n] in dicts}
            found = find_arrays(known, path, ordered=True)
        beside = [Part(name, "", own, why=_WHY, needed=True) for name, own in others.items()]
        hint = way_out(dicts)
        parts = [p._replace(hint=p.hint or hint * p.needed) for p in (*found.parts, *beside)]
        return found._replace(title="PyTorch", parts=parts)

    def _read_module(self, module: Module) -> Part:
        """Make the layers of a recurrent module, with the activation that it says."""
        kind, settings = module.kind.removeprefix(_MODULES), module.settings
        part = Part(module.name, f"nn.{kind.rpartition('.')[2]}", module.arrays)
        if any(settings.get(each) for each in _HOOKS) or not kind.startswith("rnn."):
            why = f"the code of {shown(kind)}, or of its hooks, is not in the file"
            return part._replace(why=why, hint="save its state_dict()", needed=True)
        mode = str(settings.get("mode", settings.get("nonlinearity"))).lower().removeprefix("rnn_")
        known = {"activation": parse(mode)} if mode in ("tanh", "relu") else {}
        found, *_ = find_modules(self.path, module.arrays, known)
        if left := module.arrays.keys() - found.arrays.keys():
            return part._replace(why=f"has arrays that are not read: {listed(left)}", needed=True)
        return part._replace(layers=found.layers)

    def _visit(self, name: str, value: Any, owner: str, depth: int = 0) -> None:
        """Look through a value."""
        self._budget.spend(1 + len(name))
        if isinstance(value, np.ndarray):
            self._budget.spend(_TENSOR)
            if name in self.arrays:
                raise InputError(f"{self.path}: {shown(name)}", "is in the file twice")
            self.arrays[name], self._owners[name] = value, owner
            return
        items = self._open(name, value) if isinstance(value, Instance) else value
        items = dict(enumerate(items)) if isinstance(items, list | tuple) else items
        if not isinstance(items, dict) or {"state", "param_groups"} <= items.keys():
            return  # a plain value, or an optimizer
        if depth == _DEPTH:
            raise InputError(self.path, f"holds objects in each other, {_DEPTH} deep")
        self._budget.spend(len(items))
        for key, item in items.items():
            self._visit(f"{name}.{key}" if name else str(key), item, name, depth + 1)

    def _open(self, name: str, instance: Instance) -> dict[Any, Any]:
        """Return the items of an object, or the tensors and modules of a module."""
        state: dict[Any, Any] = instance.state if isinstance(instance.state, dict) else {}
        if "quantized" in instance.kind or instance.kind == "torch.ScriptObject":
            what, hint = "is quantized, which is not read", "save the model before it is quantized"
            raise InputError(f"{self.path}: {shown(name)}", what, hint)
        held = state
        if not instance.kind.startswith(_SCRIPT):
            if not all(isinstance(state.get(key), dict) for key in _HELD):
                return instance.items or {}
            held = {name: each for key in _HELD for name, each in state[key].items()}
        self._budget.spend(_TENSOR + len(state) + len(held))
        prefix = f"{name}." if name else ""
        tensors = {key: each for key, each in held.items() if isinstance(each, np.ndarray)}
        named = {f"{prefix}{key}": array for key, array in tensors.items()}
        kind = _MANGLED.sub("", instance.kind)
        self.modules[name] = Module(name, instance.kind, kind, state, named)
        return tensors | {key: each for key, each in held.items() if isinstance(each, Instance)}
