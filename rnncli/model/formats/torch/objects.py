"""What is in an object that PyTorch saved: tensors under dotted names, and modules."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnncli.model.errors import InputError, shown
from rnncli.model.formats.containers.pickled import Instance
from rnncli.model.formats.parts import Part
from rnncli.model.formats.torch.modules import HOOKS, QUANTIZED, SEQUENTIAL, Module
from rnncli.model.formats.torch.stored import Tensor

# What looking through an object may take: a tensor `_TENSOR`, a character of a name 1, so many of
# code 1. Objects that stand in several places are looked through in each.
_MOST_WORK = 4_000_000
_TENSOR = 200
_CODE = 50
_DEPTH = 64
# How TorchScript names classes: some with a number that no other has.
SCRIPT = "__torch__."
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
_TEXT_MOST = 100


class Objects:
    """Tensors and modules in a saved object.

    Attributes
    ----------
    tensors : dict
        By name: keys, indices, and names of modules and parameters, with dots
        between.
    owners : dict
        Names of tensors by what holds them: the whole of a state dict.
    modules : list of Module
        Those that have tensors of their own, or no others in them.
    others : list of Part
        What is known not to be of a model, or not to be read.
    classes : dict
        Class of each module by its name, also of those that hold others.
    code : callable
        As for `Stored`.
    """

    def __init__(self, path: str, value: Any, code: Callable[[str], str]) -> None:
        self.path, self.code = path, code
        self.tensors: dict[str, Tensor] = {}
        self.owners: dict[str, list[str]] = {}
        self.modules: list[Module] = []
        self.others: list[Part] = []
        self.classes: dict[str, str] = {}
        self._work = _MOST_WORK
        self._open: set[int] = set()
        self._constants: dict[str, dict[str, Any]] = {}
        self._visit("", value, "")

    def _spend(self, work: int) -> None:
        self._work -= work
        if self._work < 0:
            raise InputError(self.path, "holds too many objects, or one in too many places")

    def _visit(self, name: str, value: Any, owner: str, holder: str = "") -> None:
        """Look through a value, unless it stands within itself."""
        self._spend(1)
        if isinstance(value, Tensor):
            self._add(name, value, owner)
        elif isinstance(value, Instance | dict | list | tuple) and id(value) not in self._open:
            self._spend(len(name))
            if len(self._open) >= _DEPTH:
                raise InputError(self.path, f"holds objects in each other, {_DEPTH} deep")
            self._open.add(id(value))
            if isinstance(value, Instance):
                self._instance(name, value, holder)
            else:
                self._items(name, value)
            self._open.remove(id(value))

    def _add(self, name: str, tensor: Tensor, owner: str) -> None:
        self._spend(_TENSOR + len(name))
        if name in self.tensors:
            raise InputError(f"{self.path}: {shown(name)}", "is in the file twice")
        self.tensors[name] = tensor
        self.owners.setdefault(owner, []).append(name)

    def _items(self, name: str, value: Mapping[Any, Any] | Sequence[Any]) -> None:
        if isinstance(value, dict) and {"state", "param_groups"} <= value.keys():
            self.others.append(Part(name, "optimizer", why="is no part of the model"))
            return
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            self._visit(_joined(name, key), item, name)

    def _instance(self, name: str, instance: Instance, holder: str) -> None:
        state: dict[Any, Any] = instance.state if isinstance(instance.state, dict) else {}
        kind = instance.kind
        if kind == _OBJECT and isinstance(instance.state, tuple):  # weights, and the class
            kind = next((each for each in instance.state if type(each) is str), "")
        if kind.startswith(_PACKED):
            self.others.append(Part(name, "", **QUANTIZED))
        elif kind.endswith(_ARRAY):
            self.others.append(Part(name, "NumPy array", why="is no tensor of PyTorch"))
        elif instance.kind.startswith(SCRIPT):
            inner = {key: value for key, value in state.items() if isinstance(value, Instance)}
            self._module(name, instance.kind, state, state, inner, holder)
        elif all(isinstance(state.get(key), dict) for key in _HELD):
            parameters, buffers, inner = (state[key] for key in _HELD)
            self._module(name, instance.kind, state, parameters | buffers, inner, holder)
        else:
            self._items(name, instance.items or {})

    def _module(
        self,
        name: str,
        class_: str,
        state: Mapping[Any, Any],
        held: Mapping[Any, Any],
        inner: Mapping[Any, Any],
        holder: str,
    ) -> None:
        """Add a module of some tensors, and those in it."""
        self._spend(_TENSOR + len(state) + len(held) + len(inner))
        tensors = [_joined(name, key) for key, value in held.items() if isinstance(value, Tensor)]
        self.classes[name] = class_
        kind = _MANGLED.sub("", class_.removeprefix(SCRIPT))
        settings = {key: value for key, value in state.items() if _is_plain(value)}
        if class_ != kind:
            settings |= self._said(class_)
        settings[HOOKS] = any(state.get(key) for key in (HOOKS, "_forward_pre_hooks"))
        if tensors or not any(isinstance(value, Instance) for value in inner.values()):
            self.modules.append(Module(name, kind, settings, tensors, holder))
        for key, value in held.items():
            if isinstance(value, Tensor):
                self._add(_joined(name, key), value, name)
        for key, value in inner.items():
            within = f"{name}." if kind == SEQUENTIAL else ""
            self._visit(_joined(name, key), value, name, within)

    def _said(self, class_: str) -> dict[str, Any]:
        """Return what the code of a class of TorchScript says of its settings."""
        if class_ not in self._constants:
            text = self.code(class_)
            self._spend(len(text) // _CODE)
            self._constants[class_] = _constants(text, class_.rpartition(".")[2])
        return self._constants[class_]


def _joined(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


def _is_plain(value: Any) -> bool:
    if type(value) is str:
        return len(value) <= _TEXT_MOST
    return value is None or type(value) in (bool, int, float)


def _constants(text: str, name: str) -> dict[str, Any]:
    body = text.partition(f"class {name}(Module):\n")[2].partition("\nclass ")[0]
    found = {match[1]: _constant(match[2]) for match in _CONSTANT.finditer(body)}
    called = set(_CALLED.findall(body))
    if "mode" not in found and len(called) == 1:  # a module that was traced
        found["nonlinearity"] = called.pop()
    return found


def _constant(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text.startswith('"'):
        return text[1:-1]
    try:
        return float(text)
    except ValueError:
        return text
