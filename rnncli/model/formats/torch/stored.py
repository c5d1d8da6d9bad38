"""What ``torch.save`` and ``torch.jit.save`` wrote: an object, whose tensors are not read yet."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from math import prod
from typing import Any, BinaryIO, NamedTuple
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.containers.pickled import Global, read_pickle
from rnncli.model.formats.containers.zips import FIRST, open_zip, read_member
from rnncli.model.formats.kinds import kind_of
from rnncli.model.formats.tensors import Entry, widened

# What torch calls storages: dtype of their values, and how these lie in the file.
_DTYPES = {
    "Double": ("float64", "<f8"),
    "Float": ("float32", "<f4"),
    "Half": ("float16", "<f2"),
    "BFloat16": ("bfloat16", "<u2"),
    "Long": ("int64", "<i8"),
    "Int": ("int32", "<i4"),
    "Short": ("int16", "<i2"),
    "Char": ("int8", "i1"),
    "Byte": ("uint8", "u1"),
    "Bool": ("bool", "?"),
    "ComplexFloat": ("complex64", "<c8"),
    "ComplexDouble": ("complex128", "<c16"),
    "QInt8": ("qint8", "i1"),
    "QUInt8": ("quint8", "u1"),
    "QInt32": ("qint32", "<i4"),
}
_PICKLE_MOST = 16 * 2**20
# Of all of it together, which is packed; more is not looked at.
_CODE_MOST = 4 * 2**20
_MOST_AXES = 32
_MOST_VALUES = 2**40
# Before 1.6: this number, the version of the format and what machine wrote it come first.
_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_EXPECTED = "expected a file that torch.save wrote"
_BIG_ENDIAN = "is not of little-endian values", "write it anew on a usual machine"


class Storage(NamedTuple):
    """Values in a row, of which tensors are made."""

    key: str
    name: str
    values: int

    @property
    def dtype(self) -> tuple[str, str]:
        """As `Entry` has it, and NumPy's."""
        return _DTYPES.get(self.name, (shown(self.name), ""))

    @property
    def width(self) -> int:
        """Bytes of a value."""
        return np.dtype(self.dtype[1] or "u1").itemsize


class Tensor:
    """A tensor that is not read yet: which values of a storage it has."""

    __slots__ = ("entry", "offset", "storage", "strides")

    def __init__(self, storage: Storage, entry: Entry, offset: int, strides: Sequence[int]) -> None:
        self.storage, self.entry, self.offset, self.strides = storage, entry, offset, strides


class Stored(NamedTuple):
    """An open file.

    Parameters
    ----------
    value : object
        What was saved: plain values, `Tensor` and `Instance`.
    read : callable
        Returns the values of a tensor.
    code : callable
        Returns the text of a class of TorchScript, by its name; empty where there is none.
    """

    value: Any
    read: Callable[[Tensor], NDArray[Any]]
    code: Callable[[str], str]


@contextmanager
def opened_file(path: str) -> Iterator[Stored]:
    """Open a file that PyTorch wrote."""
    with open(path, "rb") as file:
        start = file.read(len(FIRST))
        if start.startswith(FIRST):
            with open_zip(path, file) as archive:
                yield _from_zip(path, archive)
        elif start.startswith(b"\x80"):
            yield _from_pickles(path, file)
        else:
            raise InputError(path, f"{_EXPECTED}, got {kind_of(path).name}")


def _from_zip(path: str, archive: ZipFile) -> Stored:
    members = _members(path, archive)
    found = [name for name in members if re.fullmatch(r"[^/]*/data\.pkl", name)]
    if len(found) != 1:
        raise InputError(path, f"{_EXPECTED}, got a zip archive of {listed(members)}")
    top = found[0].removesuffix("data.pkl")
    content = cache(partial(_stored, path, archive, members))
    if f"{top}constants/0" in members and f"{top}data/0" not in members:
        what = "is frozen TorchScript, whose weights are constants of its code"
        raise InputError(path, what, "save the model before torch.jit.freeze")
    order = f"{top}byteorder"
    if order in members and content(order) != b"little":
        raise InputError(f"{path}: {shown(order)}", *_BIG_ENDIAN)
    texts = {name for name in members if name.startswith(f"{top}code/") and name.endswith(".py")}
    if sum(members[name].file_size for name in texts) > _CODE_MOST:
        texts = set()

    def code(kind: str) -> str:
        name = f"{top}code/{kind.rpartition('.')[0].replace('.', '/')}.py"
        if name not in texts:
            return ""
        return read_member(path, archive, name, _CODE_MOST).decode("utf-8", "replace")

    place = f"{path}: {shown(found[0])}"
    if members[found[0]].file_size > _PICKLE_MOST:
        raise InputError(place, f"expected at most {_PICKLE_MOST:,} bytes")
    value, _ = read_pickle(place, content(found[0]), _CALLS, _storage)
    return Stored(value, partial(_values, path, lambda key: content(f"{top}data/{key}")), code)


def _stored(path: str, archive: ZipFile, members: Mapping[str, ZipInfo], name: str) -> bytes:
    """Read a member that is not packed, as torch writes all but the code of TorchScript."""
    if name not in members:
        raise InputError(path, f"has no {shown(name)}")
    if members[name].compress_type != ZIP_STORED:
        what = "is compressed, which torch never does"
        raise InputError(f"{path}: {shown(name)}", what, "write it anew with torch.save")
    return read_member(path, archive, name, members[name].file_size)


def _members(path: str, archive: ZipFile) -> dict[str, ZipInfo]:
    """Return the members by name: no two of one name, and together no larger than the file."""
    members: dict[str, ZipInfo] = {}
    for info in archive.infolist():
        if info.filename in members:
            raise InputError(f"{path}: {shown(info.filename)}", "is in the archive twice")
        members[info.filename] = info
        if not info.CRC:  # torch.save may be told to leave the sums out
            del info.CRC
    stored = sum(each.file_size for each in members.values() if each.compress_type == ZIP_STORED)
    if stored > os.path.getsize(path):
        what = f"damaged: members of {stored:,} bytes in a file of {os.path.getsize(path):,}"
        raise InputError(path, what)
    return members


def _from_pickles(path: str, file: BinaryIO) -> Stored:
    """Open a file as PyTorch before 1.6 wrote it: five pickles, and then the storages."""
    storages: dict[str, Storage] = {}

    def persistent(found: Any) -> Any:
        if found[0] == "module":  # a class, and its source text
            return found[1]
        storage = _storage(found)
        if storages.setdefault(storage.key, storage) != storage:
            raise ValueError(f"two storages {shown(storage.key)}")
        return storage

    file.seek(0)
    pickles = file.read(_PICKLE_MOST)
    magic, at = read_pickle(path, pickles, {})
    version, at = read_pickle(path, pickles, {}, start=at) if magic == _MAGIC else (None, at)
    if version != _VERSION:
        raise InputError(path, f"{_EXPECTED}, got another pickle")
    machine, at = read_pickle(path, pickles, {}, start=at)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise InputError(path, *_BIG_ENDIAN)
    value, at = read_pickle(path, pickles, _CALLS, persistent, at)
    keys, at = read_pickle(path, pickles, {}, start=at)
    places = _places(path, keys, storages, at)

    @cache
    def content(key: str) -> bytes:
        start, size = places.get(key, (0, 0))
        file.seek(start)
        return file.read(size)

    return Stored(value, partial(_values, path, content), lambda _: "")


def _places(
    path: str, keys: Any, storages: Mapping[str, Storage], at: int
) -> dict[str, tuple[int, int]]:
    """Return where each storage stands, and its size: before each are eight bytes of its length."""
    length = os.path.getsize(path)
    places = {}
    for key in keys if isinstance(keys, list) else ():
        storage = storages.get(key) if isinstance(key, str) else None
        if (
            storage is None
            or not storage.dtype[1]
            or at + 8 + storage.values * storage.width > length
        ):
            raise InputError(path, f"damaged: storage {shown(str(key))} is none, or cut off")
        places[key] = at + 8, storage.values * storage.width
        at += 8 + storage.values * storage.width
    return places


def _storage(found: Any) -> Storage:
    """Return what a persistent id stands for."""
    kind, class_, key, _, count, *part = found
    if kind != "storage" or type(class_) is not Global or type(key) is not str:
        raise ValueError("a persistent id that is no storage")
    if type(count) is not int or count < 0 or any(each is not None for each in part):
        raise ValueError(f"storage {shown(key)} has no size, or is part of another")
    return Storage(key, class_.name.rpartition(".")[2].removesuffix("Storage"), count)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *more: Any) -> Tensor:
    """Return what ``torch._utils._rebuild_tensor_v2`` does, if the storage has the values."""
    if not isinstance(storage, Storage) or not _are_sizes(shape, strides, (offset,)):
        raise ValueError("a tensor of no storage, shape or strides")
    if len(shape) != len(strides) or prod(max(1, size) for size in shape) > _MOST_VALUES:
        raise ValueError(f"a tensor of shape {shown(str(shape))} and strides {shown(str(strides))}")
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and offset + reach >= storage.values:
        what = f"a tensor of shape {shape} at {offset} in a storage of {storage.values} values"
        raise ValueError(what)
    # The last argument tells that values are negated or conjugated.
    dtype = f"{storage.dtype[0]}, negated" if len(more) > 2 and more[2] else storage.dtype[0]
    return Tensor(storage, Entry(tuple(shape), dtype), offset, strides)


def _are_sizes(*found: Any) -> bool:
    return all(
        isinstance(sizes, tuple | list)
        and len(sizes) <= _MOST_AXES
        and all(type(size) is int and size >= 0 for size in sizes)
        for sizes in found
    )


def _quantized(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    return _tensor(storage, offset, shape, strides)


def _first(value: Any, *_: Any) -> Any:
    return value


def _from_type(function: Any, _type: Any, args: Any, _state: Any) -> Any:
    """Return a tensor that has attributes, without these."""
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


def _values(path: str, content: Callable[[str], bytes], tensor: Tensor) -> NDArray[Any]:
    """Return the values of a tensor; bfloat16 as float32."""
    storage, shape = tensor.storage, tensor.entry.shape
    values, code = content(storage.key), np.dtype(storage.dtype[1])
    if len(values) < storage.values * storage.width:
        what = f"expected {storage.values * storage.width:,} bytes, got {len(values):,}"
        raise InputError(f"{path}: storage {shown(storage.key)}", what)
    if 0 in shape:
        return np.empty(shape, code)
    flat = np.frombuffer(values, code, storage.values)[tensor.offset :]
    strides = [stride * code.itemsize for stride in tensor.strides]
    array = np.lib.stride_tricks.as_strided(flat, shape, strides, writeable=False)
    return widened(array) if code == "<u2" else array
