"""PyTorch's own files: ``.pt`` and its kin, as ``torch.save`` and ``torch.jit.save`` write them."""

import io
import re
from collections.abc import Callable
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.containers import most_unpacked
from rnncli.model.formats.containers.pickled import Global, read_pickle
from rnncli.model.formats.containers.zips import FIRST, open_zip, read_member
from rnncli.model.formats.contents import Budget, widen_bfloat16
from rnncli.model.formats.torch.objects import Objects

if TYPE_CHECKING:
    from zipfile import ZipFile

# PyTorch's names of storages, and their values in the file: bfloat16 as two bytes.
_CODES = {"Double": "<f8", "Float": "<f4", "Half": "<f2", "BFloat16": "V2", "Bool": "?"}
_CODES |= {"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1"}
# Work of looking through an object, see `Objects`.
_MOST_WORK = 4_000_000
# Before 1.6: this number, the version of the format and what machine wrote it come first.
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_EXPECTED = "expected a file that torch.save wrote on a usual (little-endian) machine"


def read(data: bytes, path: str) -> Objects:
    """Read a file that PyTorch wrote."""
    budget = Budget(path, _MOST_WORK, most_unpacked(len(data)))
    if data.startswith(FIRST):
        with open_zip(path, io.BytesIO(data)) as archive:
            return _read_zip(path, archive, most_unpacked(len(data)), budget)
    if data.startswith(b"\x80"):
        return Objects(path, _read_pickles(data, path, budget), budget, {}, ())
    raise InputError(path, _EXPECTED)


def _read_zip(path: str, archive: "ZipFile", most: int, budget: Budget) -> Objects:
    """Read an archive: a pickle, its storages, and what TorchScript adds."""
    names, code = archive.namelist(), {}
    tops = [n.removesuffix("data.pkl") for n in names if re.fullmatch(r"[^/]*/data\.pkl", n)]
    if len(tops) != 1:
        raise InputError(path, f"{_EXPECTED}, got a zip archive of {listed(names)}")
    (top,) = tops
    Budget(path, 0, most).spend(0, sum(info.file_size for info in archive.infolist()))
    read = cache(lambda name: read_member(path, archive, name, most))

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
    return Objects(path, load(f"{top}data"), budget, code, constants)


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


def _list_calls(budget: Budget) -> dict[str, Callable[..., Any]]:
    """List the functions that replace PyTorch's in a pickle."""

    def view(values: Any, offset: Any, shape: Any, strides: Any, *more: Any) -> NDArray[Any]:
        """View values of a storage as ``torch._utils._rebuild_tensor_v2`` does."""
        # A tensor may stand where a storage should: only values side by side are all there.
        stored = isinstance(values, np.ndarray) and values.ndim == 1 and values.flags.c_contiguous
        numbers = all(type(n) is int and n >= 0 for n in (offset, *shape, *strides))
        # The rest may say that the tensor is negated.
        if not stored or not numbers or more[2:] not in ((), ({},), (None,)):
            raise ValueError("a tensor of no storage, shape or strides, or negated")
        reach = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if 0 not in shape and reach >= len(values):
            raise ValueError(f"a tensor of {len(values)} values that takes value {reach}")
        # Some tensors share their values, and others repeat them.
        budget.spend(0, prod(shape) * values.itemsize)
        steps = [stride * values.itemsize for stride in strides]
        array = np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False)
        array = widen_bfloat16(array.view("<u2")) if array.dtype == "V2" else array
        return np.require(array, requirements="A")

    first = (
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch.jit._pickle.build_tensorlist",
        "torch.jit._pickle.restore_type_tag",
    )
    return {
        "collections.OrderedDict": lambda *_: {},
        "torch._utils._rebuild_tensor_v2": view,
        **dict.fromkeys(first, lambda value, *_: value),
    }
