"""PyTorch's own files: ``.pt`` and its kin, as ``torch.save`` and ``torch.jit.save`` write them."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import make_unread, widen_bfloat16
from rnncli.model.contents import Component, Contents
from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.model.formats.containers.budget import Budget
from rnncli.model.formats.containers.pickled import Global, Instance, read_pickle
from rnncli.model.formats.containers.zips import FIRST, most_unpacked, open_zip, read_member
from rnncli.model.formats.torch.names import Module, find_arrays, find_modules, pick_arrays

# PyTorch's names of storages, and their values in the file: bfloat16 as two bytes.
_CODES: dict[str, Any] = {
    "Double": "<f8",
    "Float": "<f4",
    "Half": "<f2",
    "BFloat16": "V2",
    "Bool": "?",
}
_CODES |= {"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1"}
_CODES |= {"ComplexFloat": "<c8", "ComplexDouble": "<c16", "Untyped": [("bytes", "u1")]}
# Storages of quantized tensors, whose values are not read.
_CODES |= {kind: [(kind.lower(), "u1")] for kind in ("QInt8", "QUInt8", "QUInt4x2", "QUInt2x4")}
_CODES["QInt32"] = [("qint32", "<i4")]
# The budget for the objects of a file.
MOST_WORK = 4_000_000
# Files before PyTorch 1.6 begin with this number, the format's version, and the machine's type.
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_EXPECTED = "expected a file that torch.save wrote on a usual (little-endian) machine"
# Units of the budget that a tensor takes; an object, or a character of a name, takes one.
_TENSOR = 200
_DEPTH = 64
_QUANTIZED = "is quantized, which is not read: save the model before it is quantized"
_WHY = "its class is not in the file: export the model with torch.onnx.export"
# The prefix of TorchScript's class names.
_SCRIPT = "__torch__."
# Attributes with a module's parameters, buffers and modules.
_MEMBERS = ("_parameters", "_buffers", "_modules")


class Objects:
    """Arrays and modules in a saved object, under dotted names of keys, indices and attributes."""

    def __init__(
        self, path: str, value: Any, budget: Budget, code: Mapping[str, str], constants: Any
    ) -> None:
        self.path, self.code, self.constants, self._budget = path, code, constants, budget
        self.arrays: dict[str, Any] = {}
        self.modules: dict[str, Module] = {}
        self.quantized: dict[str, str] = {}  # kinds of modules, by their names
        self._visit("", value)

    def find_layers(self, layer: str | None, output: str) -> Contents:
        """Find the layers, by the code of TorchScript or else by the names of arrays."""
        path = self.path
        stem = "" if layer is None else f"{layer.rstrip('./')}."
        kinds = {name: kind for name, kind in self.quantized.items() if f"{name}.".startswith(stem)}
        quantized = [Component(n, k, why=_QUANTIZED, needed=True) for n, k in kinds.items()]
        below = {name: array for name, array in self.arrays.items() if name.startswith(stem)}
        arrays = below if quantized else pick_arrays(self.arrays, path, layer)
        modules = {n: m for n, m in self.modules.items() if f"{n}.".startswith(stem)}
        settings = {name: module.read_settings() for name, module in modules.items()}
        known = {name: each for name, each in settings.items() if each is not None}
        unread, refused = [name for name in modules if name not in known], list[Component]()
        if self.code and modules and (len(modules) > 1 or not stem):
            from rnncli.model.formats.torch.script import find_script  # 5 ms of few files

            code, constants = self.code, self.constants
            contents = find_script(path, self.arrays, modules, code, constants, output)
            refused = [each for each in contents.components if each.needed]
        else:
            contents = find_arrays(arrays, path, known, ordered=True)
            if any(each.recurrent and each.name in modules for each in contents.components):
                contents, refused = _read_as_state_dict(contents, arrays, modules, unread)
        if refused or not self.code:
            refused = quantized + refused
        if refused:
            recurrent = [m for m in find_modules(path, arrays, known) if m.name not in unread]
            contents = Contents([*recurrent, *refused], outputs=contents.outputs)
        return contents._replace(title="PyTorch")

    def _visit(self, name: str, value: Any, depth: int = 0) -> None:
        """Collect the arrays and the modules in a value."""
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
        """Return the items of an object; a module's are its tensors and modules."""
        state: dict[Any, Any] = instance.state if isinstance(instance.state, dict) else {}
        if "quantized" in instance.kind or instance.kind == "torch.ScriptObject":
            self.quantized[name] = instance.kind
            return {}
        members = state
        if not instance.kind.startswith(_SCRIPT):
            if not all(isinstance(state.get(key), dict) for key in _MEMBERS):
                return instance.items or {}
            members = {name: each for key in _MEMBERS for name, each in state[key].items()}
        self._budget.spend(_TENSOR + len(state) + len(members))
        self.modules[name] = Module(name, instance.kind, state)
        return {n: each for n, each in members.items() if isinstance(each, np.ndarray | Instance)}


def _read_as_state_dict(
    contents: Contents,
    arrays: Mapping[str, Any],
    modules: Mapping[str, Module],
    unread: Sequence[str],
) -> tuple[Contents, list[Component]]:
    """Add a note about classes that are not in the file, or else return what is refused."""
    components, classes = list[Component](), dict[str, None]()
    kinds = {each.name: each.kind for each in contents.components if each.layers}
    plain = True
    for name in unread:
        group = {n: a for n, a in arrays.items() if n.rpartition(".")[0] == name}
        class_ = modules[name].class_
        components.append(Component(name, class_, group, why=_WHY, needed=True))
        kind = f"nn.{class_.rpartition('.')[2]}"
        plain = plain and modules[name].is_plain(group) and kinds.get(name, kind) == kind
        classes |= {} if class_.startswith("torch.") else {class_: None}
    if not plain:
        return contents, components
    note = f"does not hold the code of {verbatim(listed(classes))}: it is read as a state dict"
    return contents._replace(notes=[*contents.notes, *[note][: len(classes)]]), []


def read(data: bytes, path: str, layer: str | None, output: str) -> Contents:
    """Read a file that PyTorch wrote."""
    return read_objects(data, path).find_layers(layer, output)


def read_objects(data: bytes, path: str) -> Objects:
    """Read the arrays and the modules of a file."""
    budget = Budget(path, MOST_WORK, most_unpacked(len(data)))
    if data.startswith(FIRST):
        return Objects(path, *_read_zip(data, path, budget))
    if data.startswith(b"\x80"):
        return Objects(path, _read_pickles(data, path, budget), budget, {}, ())
    raise InputError(path, _EXPECTED)


def read_saved(data: bytes, path: str, budget: Budget) -> Any:
    """Read the object that ``torch.save`` wrote as an archive."""
    return _read_zip(data, path, budget)[0]


def _read_zip(data: bytes, path: str, budget: Budget) -> tuple[Any, Budget, dict[str, str], Any]:
    """Read an archive: a pickle, and the code and the constants that TorchScript adds."""
    archive, code = open_zip(path, data), dict[str, str]()
    names = archive.namelist()
    tops = [n.removesuffix("data.pkl") for n in names if re.fullmatch(r"[^/]*/data\.pkl", n)]
    if len(tops) != 1:
        raise InputError(path, f"{_EXPECTED}, got a zip archive of {listed(names)}")
    (top,) = tops
    read = cache(lambda name: read_member(path, archive, name))

    def load(name: str) -> Any:
        """Load a pickle, whose storages stand in the folder of its name."""

        def persistent(id_: Any) -> NDArray[Any]:
            key, dtype, count = _read_storage(id_)
            return np.frombuffer(read(f"{name}/{key}"), dtype, count)

        pickled, where = read(f"{name}.pkl"), f"{path}: {shown(f'{name}.pkl')}"
        return read_pickle(where, pickled, _list_calls(budget), persistent)[0]

    if f"{top}byteorder" in names and read(f"{top}byteorder") != b"little":
        raise InputError(path, _EXPECTED)
    for name in names:
        if match := re.fullmatch(r"[^/]*/code/(.*)\.py", name):
            code[match[1].replace("/", ".")] = read(name).decode(errors="replace")
    constants = load(f"{top}constants") if f"{top}constants.pkl" in names else ()
    return load(f"{top}data"), budget, code, constants


def _read_pickles(data: bytes, path: str, budget: Budget) -> Any:
    """Read a file as PyTorch before 1.6 wrote it: five pickles, and then the storages."""
    storages: dict[str, tuple[str, np.dtype[Any], int]] = {}
    starts: dict[str, int] = {}

    def persistent(id_: Any) -> Any:
        if id_[0] == "module":  # a class, and its source text
            return id_[1]
        key, dtype, count = storage = _read_storage(id_)
        if storages.setdefault(key, storage) != storage:
            raise ValueError(f"two storages {shown(key)}")
        return np.frombuffer(data, dtype, count, starts[key]) if starts else None

    magic, end = read_pickle(path, data, {})
    version, end = read_pickle(path, data, {}, start=end) if magic == _MAGIC else (None, end)
    machine, start = read_pickle(path, data, {}, start=end) if version == _VERSION else ({}, end)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise InputError(path, _EXPECTED)
    _, end = read_pickle(path, data, {}, persistent, start)  # reads how long the storages are
    keys, end = read_pickle(path, data, {}, start=end)
    for key in map(str, keys if isinstance(keys, list) else ()):
        if key not in storages:
            raise InputError(path, f"damaged: storage {shown(key)} is none")
        starts[key] = end + 8  # behind its length
        end += 8 + storages[key][1].itemsize * storages[key][2]
    return read_pickle(path, data, _list_calls(budget), persistent, start)[0]


def _read_storage(id_: Any) -> tuple[str, np.dtype[Any], int]:
    """Return the key of a storage, the type of its values and how many there are."""
    kind, class_, key, _, count, *view = id_
    if kind != "storage" or type(class_) is not Global or type(key) is not str:
        raise ValueError("a persistent id that is no storage")
    name = class_.rpartition(".")[2].removesuffix("Storage")
    is_plain = type(count) is int and count >= 0 and not any(each is not None for each in view)
    if name not in _CODES or not is_plain:
        raise ValueError(f"storage {shown(key)} of {shown(class_)} is not read")
    return key, np.dtype(_CODES[name]), count


def view_storage(
    budget: Budget, values: Any, offset: Any, shape: Any, strides: Any
) -> NDArray[Any]:
    """View values of a storage as an array of this shape."""
    # A tensor may stand where a storage should: only values side by side are all there.
    stored = isinstance(values, np.ndarray) and values.ndim == 1 and values.flags.c_contiguous
    if not stored or not all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)):
        raise ValueError("a tensor of no storage, shape or strides")
    reach = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 not in shape and reach >= len(values):
        raise ValueError(f"a tensor of {len(values)} values that takes value {reach}")
    # Some tensors share their values, and others repeat them.
    budget.spend(0, prod(shape) * values.itemsize)
    steps = [stride * values.itemsize for stride in strides]
    array = np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False)
    array = widen_bfloat16(array.view("<u2")) if array.dtype == "V2" else array
    return np.require(array, requirements="A")


def _list_calls(budget: Budget) -> dict[str, Callable[..., Any]]:
    """List the functions that replace PyTorch's in a pickle."""

    def view(values: Any, offset: Any, shape: Any, strides: Any, *more: Any) -> NDArray[Any]:
        """View values of a storage as ``torch._utils._rebuild_tensor_v2`` does."""
        if more[2:] not in ((), ({},), (None,)):
            raise ValueError("a tensor that is negated")
        return view_storage(budget, values, offset, shape, strides)

    first = (
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch.jit._pickle.build_tensorlist",
        "torch.jit._pickle.restore_type_tag",
    )
    return {
        "collections.OrderedDict": lambda *_: {},
        "torch._utils._rebuild_tensor_v2": view,
        "torch._utils._rebuild_qtensor": lambda values, _, shape, *__: make_unread(
            shape, values.dtype.names[0]
        ),
        "torch._utils._rebuild_tensor_v3": lambda _, __, shape, *more: make_unread(
            shape, more[3].removeprefix("torch.")
        ),
        **dict.fromkeys(first, lambda value, *_: value),
    }
