"""Objects that PyTorch saved: arrays under dotted names, and modules, as layers."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.activations import parse
from rnncli.model.errors import InputError, shown
from rnncli.model.formats.containers.pickled import Instance
from rnncli.model.formats.contents import Budget, Component, Contents
from rnncli.model.formats.names import find_arrays, pick_arrays
from rnncli.model.formats.torch.names import find_modules

# What a tensor takes of the budget, of which an object and a character of a name take 1.
_TENSOR = 200
_DEPTH = 64
_WHY = "needs code that is not in the file (torch.onnx.export writes it)"
# What TorchScript's names of classes begin with, and what it adds to tell them from others.
_SCRIPT, _MANGLED = "__torch__.", re.compile(r"\A__torch__\.|___torch_mangle_[0-9]+\.")
# Attributes with a module's parameters, buffers and modules, and with functions called around it.
_MEMBERS = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


class Module(NamedTuple):
    """A module, without the modules in it."""

    name: str  # its path from the root of the file
    class_: str  # its full name in the file
    settings: Mapping[Any, Any]  # its attributes

    def read_settings(self) -> dict[str, Any] | None:
        """Return the settings of the cells of a module of PyTorch; None for another module."""
        kind = _MANGLED.sub("", self.class_)
        if not kind.startswith("torch.nn.modules.rnn.") or any(map(self.settings.get, _HOOKS)):
            return None
        mode = str(self.settings.get("mode", self.settings.get("nonlinearity"))).lower()
        mode = mode.removeprefix("rnn_")
        return {"activation": parse(mode)} if mode in ("tanh", "relu") else {}


class Objects:
    """Arrays and modules in a saved object, under dotted names of keys, indices and attributes."""

    def __init__(
        self, path: str, value: Any, budget: Budget, code: Mapping[str, str], constants: Any
    ) -> None:
        self.path, self.code, self.constants, self._budget = path, code, constants, budget
        self.arrays: dict[str, Any] = {}
        self.modules: dict[str, Module] = {}
        self._visit("", value)

    def pick(self, path: str, layer: str | None) -> Contents:
        """Find the layers, by the code of TorchScript or else by the names of arrays."""
        arrays = pick_arrays(self.arrays, path, layer)
        stem = "" if layer is None else f"{layer.rstrip('./')}."
        modules = {n: m for n, m in self.modules.items() if f"{n}.".startswith(stem)}
        settings = {name: module.read_settings() for name, module in modules.items()}
        known = {name: each for name, each in settings.items() if each is not None}
        unread, refused = [name for name in modules if name not in known], list[Component]()
        if self.code and modules and (len(modules) > 1 or not stem):
            from rnncli.model.formats.torch.script import find_script  # 5 ms of few files

            contents = find_script(self, modules)
            refused = [each for each in contents.components if each.needed]
        else:
            contents = find_arrays(arrays, path, known, ordered=True)
            if any(each.recurrent and each.name in modules for each in contents.components):
                for name in unread:
                    group = {n: a for n, a in arrays.items() if n.rpartition(".")[0] == name}
                    kind = modules[name].class_
                    refused.append(Component(name, kind, group, why=_WHY, needed=True))
        if refused:
            recurrent = [m for m in find_modules(path, arrays, known) if m.name not in unread]
            contents = Contents([*recurrent, *refused])
        return contents._replace(title="PyTorch")

    def _visit(self, name: str, value: Any, depth: int = 0) -> None:
        """Look through a value."""
        self._budget.spend(1 + len(name))
        if isinstance(value, np.ndarray):
            self._budget.spend(_TENSOR)
            if name in self.arrays:
                raise InputError(f"{self.path}: {shown(name)}", "is in the file twice")
            self.arrays[name] = value
            return
        items = self._open(name, value) if isinstance(value, Instance) else value
        items = dict(enumerate(items)) if isinstance(items, list | tuple) else items
        if not isinstance(items, dict) or {"state", "param_groups"} <= items.keys():
            return  # a plain value, or an optimizer
        if depth == _DEPTH:
            raise InputError(self.path, f"holds objects in each other, {_DEPTH} deep")
        self._budget.spend(len(items))
        # Scalars alone, such as a loss, are of a checkpoint and not of the model in it.
        weights = any(isinstance(each, np.ndarray) and each.ndim for each in items.values())
        for key, item in items.items():
            if weights or not isinstance(item, np.ndarray):
                self._visit(f"{name}.{key}" if name else str(key), item, depth + 1)

    def _open(self, name: str, instance: Instance) -> dict[Any, Any]:
        """Return the items of an object, or the tensors and modules of a module."""
        state: dict[Any, Any] = instance.state if isinstance(instance.state, dict) else {}
        if "quantized" in instance.kind or instance.kind == "torch.ScriptObject":
            what, hint = "is quantized, which is not read", "save the model before it is quantized"
            raise InputError(f"{self.path}: {shown(name)}", what, hint)
        members = state
        if not instance.kind.startswith(_SCRIPT):
            if not all(isinstance(state.get(key), dict) for key in _MEMBERS):
                return instance.items or {}
            members = {name: each for key in _MEMBERS for name, each in state[key].items()}
        self._budget.spend(_TENSOR + len(state) + len(members))
        self.modules[name] = Module(name, instance.kind, state)
        return {n: each for n, each in members.items() if isinstance(each, np.ndarray | Instance)}
