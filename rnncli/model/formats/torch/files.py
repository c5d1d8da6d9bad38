"""PyTorch's own files: ``.pt`` and its kin, as ``torch.save`` and ``torch.jit.save`` write them."""

import io
import re
from collections.abc import Callable
from functools import cache, partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.containers import most_unpacked
from rnncli.model.formats.containers.pickled import Global, read_pickle
from rnncli.model.formats.containers.zips import FIRST, open_zip, read_member
from rnncli.model.formats.found import Budget, widen_bfloat16
from rnncli.model.formats.torch.objects import Objects

# What torch calls storages, and how their values lie in the file: bfloat16 as two bytes.
_CODES = {"Double": "<f8", "Float": "<f4", "Half": "<f2", "BFloat16": "V2", "Bool": "?"}
_CODES |= {"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1"}
_CODES |= {"ComplexFloat": "<c8", "ComplexDouble": "<c16"}
_MOST_AXES = 32
# What looking through an object may take, see `Objects`.
_MOST_WORK = 4_000_000
# Before 1.6: this number, the version of the format and what machine wrote it come first.
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_EXPECTED = "expected a file that torch.save wrote"
_BIG_ENDIAN = "is not of little-endian values", "write it anew on a usual machine"


def read(data: bytes, path: str) -> Objects:
    """Read a file that PyTorch wrote."""
    budget = Budget(path, _MOST_WORK, most_unpacked(len(data)))
    if data.startswith(FIRST):
        return Objects(path, *_read_zip(data, path, budget), budget)
    if data.startswith(b"\x80"):
        return Objects(path, _read_pickles(data, path, budget), {}, budget)
    raise InputError(path, _EXPECTED)


def _read_zip(data: bytes, path: str, budget: Budget) -> tuple[Any, dict[str, Any]]:
    """Return the saved object, the code of TorchScript by its module, and its constants."""
    with open_zip(path, io.BytesIO(data)) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        pickles = [name for name in sizes if re.fullmatch(r"[^/]*/data\.pkl", name)]
        if len(pickles) != 1:
            raise InputError(path, f"{_EXPECTED}, got a zip archive of {listed(pickles or sizes)}")
        Budget(path, 0, most_unpacked(len(data))).spend(0, sum(sizes.values()))
        top = pickles[0].removesuffix("data.pkl")

        def content(name: str) -> bytes:
            if name not in sizes:
                raise InputError(path, f"has no {shown(name)}")
            return read_member(path, archive, name, sizes[name])

        def load(name: str) -> Any:
            """Load a pickle, whose storages stand in the folder of its name."""
            storages = cache(lambda key: memoryview(content(f"{top}{name}/{key}")))

            def persistent(found: Any) -> NDArray[Any]:
                key, dtype, count = _read_storage(found)
                return _view_values(path, key, storages(key), dtype, count)

            pickled, place = content(f"{top}{name}.pkl"), f"{path}: {shown(f'{top}{name}.pkl')}"
            return read_pickle(place, pickled, _list_calls(budget), persistent)[0]

        if f"{top}byteorder" in sizes and content(f"{top}byteorder") != b"little":
            raise InputError(path, *_BIG_ENDIAN)
        code: dict[str, Any] = {
            match[1].replace("/", "."): content(match[0]).decode(errors="replace")
            for match in map(re.compile(r"[^/]*/code/(.*)\.py").fullmatch, sizes)
            if match
        }
        if f"{top}constants.pkl" in sizes:
            code["CONSTANTS"] = load("constants")
        return load("data"), code


def _read_pickles(data: bytes, path: str, budget: Budget) -> Any:
    """Read a file as PyTorch before 1.6 wrote it: five pickles, and then the storages."""
    storages: dict[str, tuple[str, np.dtype[Any], int]] = {}
    values: dict[str, NDArray[Any]] = {}

    def persistent(found: Any) -> Any:
        if found[0] == "module":  # a class, and its source text
            return found[1]
        storage = _read_storage(found)
        if storages.setdefault(storage[0], storage) != storage:
            raise ValueError(f"two storages {shown(storage[0])}")
        return values.get(storage[0])

    magic, at = read_pickle(path, data, {})
    version, at = read_pickle(path, data, {}, start=at) if magic == _MAGIC else (None, at)
    if version != _VERSION:
        raise InputError(path, f"{_EXPECTED}, got another pickle")
    machine, start = read_pickle(path, data, {}, start=at)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise InputError(path, *_BIG_ENDIAN)
    _, at = read_pickle(path, data, {}, persistent, start)  # tells how long the storages are
    keys, at = read_pickle(path, data, {}, start=at)
    for key in map(str, keys if isinstance(keys, list) else ()):
        if key not in storages:
            raise InputError(path, f"damaged: storage {shown(key)} is none")
        _, dtype, count = storages[key]
        at += 8  # before it stands its length
        values[key] = _view_values(path, key, memoryview(data)[at:], dtype, count)
        at += values[key].nbytes
    return read_pickle(path, data, _list_calls(budget), persistent, start)[0]


def _read_storage(found: Any) -> tuple[str, np.dtype[Any], int]:
    """Return the key of a storage, the type of its values and how many there are."""
    kind, class_, key, _, count, *view = found
    if kind != "storage" or type(class_) is not Global or type(key) is not str:
        raise ValueError("a persistent id that is no storage")
    name = class_.name.rpartition(".")[2].removesuffix("Storage")
    whole = type(count) is int and count >= 0 and not any(each is not None for each in view)
    if name not in _CODES or not whole:
        raise ValueError(f"storage {shown(key)} of {shown(class_.name)} is not read")
    return key, np.dtype(_CODES[name]), count


def _view_values(
    path: str, key: str, content: memoryview, dtype: np.dtype[Any], count: int
) -> NDArray[Any]:
    """View the values of a storage."""
    if len(content) < count * dtype.itemsize:
        what = f"expected {count * dtype.itemsize:,} bytes, got {len(content):,}"
        raise InputError(f"{path}: storage {shown(key)}", what)
    return np.require(np.frombuffer(content, dtype, count), requirements="A")


def _view_tensor(
    budget: Budget, values: Any, offset: Any, shape: Any, strides: Any, *more: Any
) -> NDArray[Any]:
    """View values of a storage as ``torch._utils._rebuild_tensor_v2`` does."""
    for sizes in (shape, strides, (offset,)):
        plain = type(sizes) in (tuple, list) and len(sizes) <= _MOST_AXES
        if not plain or not all(type(size) is int and size >= 0 for size in sizes):
            raise ValueError("a tensor of no shape or strides")
    # A tensor may stand where a storage should: only values side by side are all there.
    stored = isinstance(values, np.ndarray) and values.ndim == 1 and values.flags.c_contiguous
    if not stored or len(shape) != len(strides) or more[2:] not in ((), ({},), (None,)):
        raise ValueError("a tensor of no storage, of other strides than its shape, or negated")
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and offset + reach >= len(values):
        what = f"a tensor of shape {tuple(shape)} at {offset} in a storage of {len(values)}"
        raise ValueError(shown(what, 200))
    # Some tensors share their values, and others repeat them.
    budget.spend(0, prod(max(1, size) for size in shape) * max(1, values.itemsize))
    if 0 in shape:
        return np.zeros(shape, values.dtype)
    steps = [stride * values.itemsize for stride in strides]
    array = np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False)
    return widen_bfloat16(array.view("<u2")) if array.dtype == "V2" else array


def _list_calls(budget: Budget) -> dict[str, Callable[..., Any]]:
    """List the functions that take the place of PyTorch's in a pickle."""
    tensor = partial(_view_tensor, budget)
    calls: dict[str, Callable[..., Any]] = {
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_parameter": lambda value, *_: value,
        "torch._utils._rebuild_parameter_with_state": lambda value, *_: value,
        # A tensor that has attributes, without these.
        "torch._tensor._rebuild_from_type_v2": lambda function, _, args, *__: calls[function.name](
            *args
        ),
        "torch.jit._pickle.restore_type_tag": lambda value, *_: value,
        "torch.jit._pickle.build_tensorlist": lambda value: value,
    }
    return calls
