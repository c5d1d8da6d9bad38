"""Objects that PyTorch saved: arrays under dotted names, and modules."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, shown
from rnncli.model.formats.containers.pickled import Instance
from rnncli.model.formats.found import Budget, Found, Part
from rnncli.model.formats.names import find_arrays, pick_arrays
from rnncli.model.formats.torch.modules import SCRIPT, Module, find_layers
from rnncli.model.formats.torch.names import has_modules, way_out

# What a tensor takes of the budget, of which an object and a character of a name take 1.
_TENSOR = 200
_DEPTH = 64
# Classes of quantized modules and of their weights; TorchScript names these by a text.
_QUANTIZED = re.compile(r"torch\.(.*quantized.*\.rnn\.|classes\.rnn\.)")
# Where a module has parameters, buffers and modules.
_HELD = ("_parameters", "_buffers", "_modules")


class Objects:
    """Arrays and modules in a saved object, under dotted names of keys, indices and attributes."""

    def __init__(self, path: str, value: Any, code: Mapping[str, Any], budget: Budget) -> None:
        self.path, self.code, self._budget = path, code, budget  # code of TorchScript, by module
        self.arrays: dict[str, NDArray[Any]] = {}
        self.owners: dict[str, list[str]] = {}  # names of arrays by what holds them
        self.modules: dict[str, Module] = {}
        self.others: list[Part] = []  # not to be read
        self._open: set[int] = set()
        self._visit("", value, "")

    def pick(self, path: str, layer: str | None) -> Found:
        """Find the layers: of modules, if some of them are recurrent, or else of a state dict."""
        own = {name for module in self.modules.values() for name in module.arrays}
        beside = {name: array for name, array in self.arrays.items() if name not in own}
        prefix = f"{layer.rstrip('./')}." if layer else ""
        picked = layer and any(name.startswith(prefix) for name in beside)
        if not picked and any(has_modules(module.arrays) for module in self.modules.values()):
            found = find_layers(path, self.modules, self.code, layer)
            beside = {} if layer else beside
        else:
            arrays = pick_arrays(self.arrays, path, layer)
            dicts = [names for names in self.owners.values() if has_modules({*names} & {*arrays})]
            known = arrays.keys() & dicts[0] if len(dicts) == 1 else arrays.keys()
            of_dict = {name: array for name, array in arrays.items() if name in known}
            found = find_arrays(of_dict, path, ordered=True)
            beside = {name: array for name, array in arrays.items() if name not in known}
        others = [part for part in self.others if part.name.startswith(prefix)]
        part = Part("", "", why="stands beside the model", needed=True)
        part = part._replace(hint=way_out([each.name for each in found.parts if each.recurrent]))
        others += [part._replace(name=n, arrays={n: a}) for n, a in beside.items() if a.ndim]
        return found._replace(title="PyTorch", parts=[*found.parts, *others])

    def _visit(self, name: str, value: Any, owner: str) -> None:
        """Look through a value, unless it stands within itself."""
        self._budget.spend(1 + len(name))
        if isinstance(value, np.ndarray):
            self._budget.spend(_TENSOR)
            if name in self.arrays:
                raise InputError(f"{self.path}: {shown(name)}", "is in the file twice")
            self.arrays[name] = value
            self.owners.setdefault(owner, []).append(name)
        elif isinstance(value, Instance | dict | list | tuple) and id(value) not in self._open:
            if len(self._open) >= _DEPTH:
                raise InputError(self.path, f"holds objects in each other, {_DEPTH} deep")
            self._open.add(id(value))
            opened = self._open_instance(name, value) if isinstance(value, Instance) else value
            items = dict(enumerate(opened)) if isinstance(opened, list | tuple) else opened
            self._budget.spend(len(items))
            if not {"state", "param_groups"} <= items.keys():  # of an optimizer
                for key, item in items.items():
                    self._visit(f"{name}.{key}" if name else str(key), item, name)
            self._open.remove(id(value))

    def _open_instance(self, name: str, instance: Instance) -> Mapping[Any, Any]:
        """Return the items of an object, or the tensors and modules of a module."""
        state: dict[Any, Any] = instance.state if isinstance(instance.state, dict) else {}
        texts = instance.state if isinstance(instance.state, tuple) else ()
        if any(type(each) is str and _QUANTIZED.search(each) for each in (instance.kind, *texts)):
            why, hint = "is quantized, which is not read", "save the model before it is quantized"
            self.others.append(Part(name, "", why=why, hint=hint, needed=True))
            return {}
        tensors = modules = state
        if not instance.kind.startswith(SCRIPT):
            if not all(isinstance(state.get(key), dict) for key in _HELD):
                return instance.items or {}
            parameters, buffers, modules = (state[key] for key in _HELD)
            tensors = parameters | buffers
        self._budget.spend(_TENSOR + len(state) + len(tensors) + len(modules))
        prefix = f"{name}." if name else ""
        own = {key: each for key, each in tensors.items() if isinstance(each, np.ndarray)}
        named = {f"{prefix}{key}": array for key, array in own.items()}
        self.modules[name] = Module(name, instance.kind, state, named)
        return own | {key: each for key, each in modules.items() if isinstance(each, Instance)}
