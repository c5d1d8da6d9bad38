"""Objects that PyTorch saved: arrays under dotted names, and modules."""

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.model.formats.containers.pickled import Instance
from rnncli.model.formats.found import Budget, Found, Part
from rnncli.model.formats.names import find_arrays, pick_arrays
from rnncli.model.formats.torch.modules import (
    HOOKS,
    QUANTIZED,
    SCRIPT,
    Module,
    find_code,
    find_layers,
)
from rnncli.model.formats.torch.names import has_modules, way_out

# What a tensor takes of the budget, of which an object and a character of a name take 1, and so
# many characters of code.
_TENSOR = 200
_CODE = 50
_DEPTH = 64
_TEXT_MOST = 100
# How TorchScript names some classes: with a number that no other has.
_MANGLED = re.compile(r"___torch_mangle_[0-9]+\.")
_CONSTANT = re.compile(r"^  (\w+) : Final\[\w+\] = (.+)$", re.MULTILINE)
_CALLED = re.compile(r"torch\.rnn_(tanh|relu)(?:_cell)?\(")
_WORDS = {"True": True, "False": False, "None": None}
# Weights of a quantized recurrent module, in TorchScript and in a state dict.
_PACKED = "__torch__.torch.classes.rnn."
_OBJECT = "torch.ScriptObject"
# What a pickle makes an array of NumPy by, whichever its version.
_ARRAY = "multiarray._reconstruct"
# Where a module has parameters, buffers and modules.
_HELD = ("_parameters", "_buffers", "_modules")


class Objects:
    """Arrays and modules in a saved object, under dotted names of keys, indices and attributes."""

    def __init__(self, path: str, value: Any, code: Mapping[str, str], budget: Budget) -> None:
        self.path, self.code, self._budget = path, code, budget  # code of TorchScript, by module
        self.arrays: dict[str, NDArray[Any]] = {}
        self.owners: dict[str, list[str]] = {}  # names of arrays by what holds them
        self.modules: list[Module] = []  # that have arrays of their own, or no others in them
        self.classes: dict[str, str] = {}  # of all modules, by their names
        self.others: list[Part] = []  # known not to be of a model, or not to be read
        self._open: set[int] = set()
        self._visit("", value, "")

    def pick(self, path: str, layer: str | None) -> Found:
        """Find the layers: of modules, if some of them are recurrent, or else of a state dict."""
        own = {name for module in self.modules for name in module.arrays}
        prefix = f"{layer.rstrip('./')}." if layer else ""
        beside = self.arrays.keys() - own
        loose = prefix and any(name.startswith(prefix) for name in beside)
        if not loose and any(module.is_recurrent for module in self.modules):
            found = find_layers(path, self.modules, self.classes, self.code, layer)
            rest = [] if layer else self._list_rest(own)
        else:
            arrays = pick_arrays(self.arrays, path, layer)
            dicts = [arrays.keys() & names for names in self.owners.values()]
            dicts = [names for names in dicts if has_modules(names)]
            known = dicts[0] if len(dicts) == 1 else arrays.keys()
            of_dict = {name: arrays[name] for name in arrays if name in known}
            found = find_arrays(of_dict, path, ordered=True)._replace(title="PyTorch")
            rest = self._list_rest(known | (self.arrays.keys() - arrays.keys()), prefix)
        inner = [part.name for part in found.parts if part.recurrent]
        tops = {name.partition(".")[0] for name in inner}
        passed = []
        for number, part in enumerate(rest):
            floats = [array for array in part.arrays.values() if array.dtype.kind == "f"]
            if inner and any(array.ndim > 1 for array in floats):
                # Matrices may be other modules of the model.
                names = inner if part.name.partition(".")[0] in tops else sorted(tops)
                rest[number] = part._replace(hint=way_out(names), needed=True)
            elif any(array.ndim for array in floats):
                passed.append(part.name)
        what = f"passes over {verbatim(listed(passed))}, which the file has beside the model"
        notes = [*found.notes, what] if passed else found.notes
        return found._replace(parts=[*found.parts, *rest], notes=notes)

    def _list_rest(self, known: Container[str], prefix: str = "") -> list[Part]:
        """List what is in the file beside the model."""
        parts = [part for part in self.others if part.name.startswith(prefix)]
        for owner, names in self.owners.items():
            left = {name: self.arrays[name] for name in names if name not in known}
            groups = {name: {name: array} for name, array in left.items()}
            for name, own in ({owner: left} if owner and left else groups).items():
                parts.append(Part(name, "", own, why="stands beside the model"))
        return parts

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
            if isinstance(value, Instance):
                self._visit_instance(name, value)
            else:
                self._visit_items(name, value)
            self._open.remove(id(value))

    def _visit_items(self, name: str, value: Mapping[Any, Any] | Sequence[Any]) -> None:
        if isinstance(value, dict) and {"state", "param_groups"} <= value.keys():
            self.others.append(Part(name, "optimizer", why="is no part of the model"))
            return
        self._budget.spend(len(value))
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(item, np.ndarray | Instance | dict | list | tuple):
                self._visit(_join(name, key), item, name)

    def _visit_instance(self, name: str, instance: Instance) -> None:
        state: dict[Any, Any] = instance.state if isinstance(instance.state, dict) else {}
        kind = instance.kind
        if kind == _OBJECT and isinstance(instance.state, tuple):  # weights, and the class
            kind = next((each for each in instance.state if type(each) is str), "")
        if kind.startswith(_PACKED):
            self.others.append(Part(name, "", **QUANTIZED))
        elif kind.endswith(_ARRAY):
            self.others.append(Part(name, "NumPy array", why="is no tensor of PyTorch"))
        elif kind.startswith(SCRIPT):
            self._visit_module(name, kind, state, state, state)
        elif all(isinstance(state.get(key), dict) for key in _HELD):
            parameters, buffers, inner = (state[key] for key in _HELD)
            self._visit_module(name, kind, state, parameters | buffers, inner)
        else:
            self._visit_items(name, instance.items or {})

    def _visit_module(
        self,
        name: str,
        class_: str,
        state: Mapping[Any, Any],
        tensors: Mapping[Any, Any],
        modules: Mapping[Any, Any],
    ) -> None:
        """Add a module of some tensors, and those in it."""
        self._budget.spend(_TENSOR + len(state) + len(tensors) + len(modules))
        self.classes[name] = class_
        kind = _MANGLED.sub("", class_.removeprefix(SCRIPT))
        settings = {key: value for key, value in state.items() if _is_plain(value)}
        if class_ != kind:
            settings |= self._read_constants(class_)
        settings[HOOKS] = any(state.get(key) for key in (HOOKS, "_forward_pre_hooks"))
        own = {_join(name, key): a for key, a in tensors.items() if isinstance(a, np.ndarray)}
        inner = {key: value for key, value in modules.items() if isinstance(value, Instance)}
        if own or not inner:
            self.modules.append(Module(name, kind, settings, own))
        for each, array in own.items():
            self._visit(each, array, name)
        for key, value in inner.items():
            self._visit(_join(name, key), value, name)

    def _read_constants(self, class_: str) -> dict[str, Any]:
        """Read what the code of a class of TorchScript says of its settings."""
        self._budget.spend(len(self.code.get(class_.rpartition(".")[0], "")) // _CODE)
        body = find_code(class_, self.code)
        found = {match[1]: _parse_constant(match[2]) for match in _CONSTANT.finditer(body)}
        called = set(_CALLED.findall(body))
        if "mode" not in found and len(called) == 1:  # a module that was traced
            found["nonlinearity"] = called.pop()
        return found


def _join(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


def _is_plain(value: Any) -> bool:
    short = type(value) is str and len(value) <= _TEXT_MOST
    return short or value is None or type(value) in (bool, int, float)


def _parse_constant(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text.startswith('"'):
        return text[1:-1]
    try:
        return float(text)
    except ValueError:
        return text
