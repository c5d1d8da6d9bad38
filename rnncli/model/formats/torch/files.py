"""PyTorch's own files: ``.pt`` and its kin, as ``torch.save`` and ``torch.jit.save`` write them."""

import io
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache, partial
from math import prod
from typing import Any
from zipfile import ZIP_STORED, ZipInfo

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.containers import most_unpacked
from rnncli.model.formats.containers.pickled import Global, read_pickle
from rnncli.model.formats.containers.zips import FIRST, damage, open_zip, read_member
from rnncli.model.formats.found import Budget, widen_bfloat16
from rnncli.model.formats.torch import objects

# What torch calls storages, and how their values lie in the file.
_CODES = {"Double": "<f8", "Float": "<f4", "Half": "<f2", "BFloat16": "<u2", "Bool": "?"}
_CODES |= {"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1"}
_CODES |= {"ComplexFloat": "<c8", "ComplexDouble": "<c16"}
_CODES |= {"QInt8": "i1", "QUInt8": "u1", "QInt32": "<i4"}
_PICKLE_MOST = 16 * 2**20
# Of all of it together, which is packed; more is not looked at.
_CODE_MOST = 4 * 2**20
_MOST_AXES = 32
_MOST_VALUES = 2**40
# What looking through an object may take, see `Objects`.
_MOST_WORK = 4_000_000
# Before 1.6: this number, the version of the format and what machine wrote it come first.
_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_EXPECTED = "expected a file that torch.save wrote"
_BIG_ENDIAN = "is not of little-endian values", "write it anew on a usual machine"

# A saved object, of plain values, `Tensor` and `Instance`; and the code of TorchScript by module.
_Saved = tuple[Any, dict[str, str]]


class Storage:
    """Values in a row, of which tensors are made; none where their type is not known."""

    def __init__(self, key: str, name: str, count: int) -> None:
        self.key, self.name, self.count = key, name, count
        self.code = np.dtype(_CODES.get(name, "V0"))
        self.values: NDArray[Any] | None = None

    def fill(self, path: str, content: bytes | memoryview) -> None:
        """View the values."""
        if len(content) < self.count * self.code.itemsize:
            what = f"expected {self.count * self.code.itemsize:,} bytes, got {len(content):,}"
            raise InputError(f"{path}: storage {shown(self.key)}", what)
        if self.code.itemsize:
            values = np.frombuffer(content, self.code, self.count)
            self.values = np.require(values, requirements="A")


class Tensor(objects.Tensor):
    """A tensor: which values of a storage it has."""

    def __init__(
        self,
        storage: Storage,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        negated: bool,
    ) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides
        self.negated = negated

    def array(self, budget: Budget) -> NDArray[Any]:
        """View the values; bfloat16 becomes float32."""
        code, values = self.storage.code, self.storage.values
        # Some tensors share their values, and others repeat them.
        budget.spend(0, prod(self.shape) * max(1, code.itemsize))
        if 0 in self.shape or not code.itemsize:
            return np.zeros(self.shape, code)
        if values is None:
            raise ValueError(f"has no storage {shown(self.storage.key)}")
        array = np.lib.stride_tricks.as_strided(
            values[self.offset :],
            self.shape,
            [stride * code.itemsize for stride in self.strides],
            writeable=False,
        )
        array = widen_bfloat16(array) if self.storage.name == "BFloat16" else array
        return -array if self.negated else array


def read(data: bytes, path: str) -> objects.Objects:
    """Read a file that PyTorch wrote."""
    if data.startswith(FIRST):
        value, code = _read_zip(data, path)
    elif data.startswith(b"\x80"):
        value, code = _read_pickles(data, path), {}
    else:
        raise InputError(path, _EXPECTED)
    budget = Budget(path, _MOST_WORK, most_unpacked(len(data)))
    return objects.Objects(path, value, code, budget)


def _read_zip(data: bytes, path: str) -> _Saved:
    members, top, code = _list_members(data, path)
    if f"{top}constants/0" in members and f"{top}data/0" not in members:
        what = "is frozen TorchScript, whose weights are constants of its code"
        raise InputError(path, what, "save the model before torch.jit.freeze")
    content = cache(partial(_view_member, data, path, members))
    order = f"{top}byteorder"
    if order in members and bytes(content(order)) != b"little":
        raise InputError(f"{path}: {shown(order)}", *_BIG_ENDIAN)

    def persistent(found: Any) -> Storage:
        storage = _storage(found)
        storage.fill(path, content(f"{top}data/{storage.key}"))
        return storage

    name = f"{top}data.pkl"
    if members[name].file_size > _PICKLE_MOST:
        raise InputError(f"{path}: {shown(name)}", f"expected at most {_PICKLE_MOST:,} bytes")
    pickled = bytes(content(name))
    return read_pickle(f"{path}: {shown(name)}", pickled, _CALLS, persistent)[0], code


def _list_members(data: bytes, path: str) -> tuple[dict[str, ZipInfo], str, dict[str, str]]:
    """List the members of an archive; return what their names begin with and the code too."""
    with open_zip(path, io.BytesIO(data)) as archive:
        members = {info.filename: info for info in archive.infolist()}
        (name, count), *_ = Counter(archive.namelist()).most_common(1) or [("", 0)]
        if count > 1:
            raise InputError(f"{path}: {shown(name)}", "is in the archive twice")
        pickles = [name for name in members if re.fullmatch(r"[^/]*/data\.pkl", name)]
        if len(pickles) != 1:
            got = listed(pickles or members)
            raise InputError(path, f"{_EXPECTED}, got a zip archive of {got}")
        top = pickles[0].removesuffix("data.pkl")
        texts = [name for name in members if re.match(rf"{re.escape(top)}code/.*\.py\Z", name)]
        if sum(members[name].file_size for name in texts) > _CODE_MOST:
            texts = []
        code = {}
        for name in texts:
            module = name.removeprefix(f"{top}code/").removesuffix(".py").replace("/", ".")
            code[module] = read_member(path, archive, name, _CODE_MOST).decode("utf-8", "replace")
    return members, top, code


def _view_member(data: bytes, path: str, members: Mapping[str, ZipInfo], name: str) -> memoryview:
    """View a member, which torch never packs; its checksum may be left out."""
    if name not in members:
        raise InputError(path, f"has no {shown(name)}")
    place, info = f"{path}: {shown(name)}", members[name]
    if info.compress_type != ZIP_STORED:
        hint = "write it anew with torch.save"
        raise InputError(place, "is compressed, which torch never does", hint)
    with damage(place):
        start = info.header_offset + 30
        start += sum(struct.unpack_from("<HH", data, start - 4))
        found = memoryview(data)[start : start + info.file_size]
        if len(found) < info.file_size or (info.CRC and zlib.crc32(found) != info.CRC):
            raise ValueError("its checksum is another")
    return found


def _read_pickles(data: bytes, path: str) -> Any:
    """Read a file as PyTorch before 1.6 wrote it: five pickles, and then the storages."""
    storages: dict[str, Storage] = {}

    def persistent(found: Any) -> Any:
        if found[0] == "module":  # a class, and its source text
            return found[1]
        storage = _storage(found)
        known = storages.setdefault(storage.key, storage)
        if (known.name, known.count) != (storage.name, storage.count):
            raise ValueError(f"two storages {shown(storage.key)}")
        return known

    magic, at = read_pickle(path, data, {})
    version, at = read_pickle(path, data, {}, start=at) if magic == _MAGIC else (None, at)
    if version != _VERSION:
        raise InputError(path, f"{_EXPECTED}, got another pickle")
    machine, at = read_pickle(path, data, {}, start=at)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise InputError(path, *_BIG_ENDIAN)
    value, at = read_pickle(path, data, _CALLS, persistent, at)
    keys, at = read_pickle(path, data, {}, start=at)
    for key in map(str, keys if isinstance(keys, list) else ()):
        storage = storages.get(key)
        size = storage.count * storage.code.itemsize if storage else 0
        if storage is None or not (size or storage.count == 0):
            raise InputError(path, f"damaged: storage {shown(key)} is none")
        at += 8  # before it stands its length
        storage.fill(path, memoryview(data)[at : at + size])
        at += size
    return value


def _storage(found: Any) -> Storage:
    """Find what a persistent id stands for."""
    kind, class_, key, _, count, *view = found
    if kind != "storage" or type(class_) is not Global or type(key) is not str:
        raise ValueError("a persistent id that is no storage")
    if type(count) is not int or count < 0 or any(each is not None for each in view):
        raise ValueError(f"storage {shown(key)} has no size, or is part of another")
    name = class_.name.rpartition(".")[2].removesuffix("Storage")
    return Storage(key, name, count)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *more: Any) -> Tensor:
    """Make what ``torch._utils._rebuild_tensor_v2`` does, if the storage has the values."""
    for sizes in (shape, strides, (offset,)):
        plain = type(sizes) in (tuple, list) and len(sizes) <= _MOST_AXES
        if not plain or not all(type(size) is int and size >= 0 for size in sizes):
            raise ValueError("a tensor of no shape or strides")
    if not isinstance(storage, Storage) or len(shape) != len(strides):
        raise ValueError("a tensor of no storage, or of other strides than its shape")
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if (0 not in shape and offset + reach >= storage.count) or (
        prod(max(1, size) for size in shape) > _MOST_VALUES
    ):
        what = f"a tensor of shape {tuple(shape)} at {offset} in a storage of {storage.count}"
        raise ValueError(shown(what, 200))
    # The last argument tells that values are negated or conjugated.
    negated = len(more) > 2 and isinstance(more[2], dict) and bool(more[2].get("neg"))
    return Tensor(storage, offset, tuple(shape), tuple(strides), negated=negated)


def _quantized(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    return _tensor(storage, offset, shape, strides)


def _first(value: Any, *_: Any) -> Any:
    return value


def _from_type(function: Any, _type: Any, args: Any, _state: Any) -> Any:
    """Make a tensor that has attributes, without these."""
    return _CALLS[function.name](*args)


_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.jit._pickle.restore_type_tag": _first,
}
