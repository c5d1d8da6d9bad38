"""PyTorch's own files: ``.pt`` and its kin, as ``torch.save`` and ``torch.jit.save`` write them."""

import io
import re
import struct
import zlib
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
from rnncli.model.formats.torch.objects import Objects

# What torch calls storages, and how their values lie in the file: bfloat16 as two bytes.
_CODES = {"Double": "<f8", "Float": "<f4", "Half": "<f2", "BFloat16": "V2", "Bool": "?"}
_CODES |= {"Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1"}
_CODES |= {"ComplexFloat": "<c8", "ComplexDouble": "<c16"}
_CODES |= {"QInt8": "i1", "QUInt8": "u1", "QInt32": "<i4"}
_PICKLE_MOST = 16 * 2**20
# Of all code together, which is packed; more is not looked at.
_CODE_MOST = 4 * 2**20
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
    members, top, code = _list_members(data, path)
    content = cache(partial(_view_member, data, path, members))
    order = f"{top}byteorder"
    if order in members and bytes(content(order)) != b"little":
        raise InputError(f"{path}: {shown(order)}", *_BIG_ENDIAN)

    def load(name: str) -> Any:
        """Load a pickle, whose storages stand in the folder of its name."""
        pickled, place = content(f"{top}{name}.pkl"), f"{path}: {shown(f'{top}{name}.pkl')}"
        if len(pickled) > _PICKLE_MOST:
            raise InputError(place, f"expected at most {_PICKLE_MOST:,} bytes")

        def persistent(found: Any) -> NDArray[Any]:
            key, dtype, count = _read_storage(found)
            return _view_values(path, key, content(f"{top}{name}/{key}"), dtype, count)

        return read_pickle(place, bytes(pickled), _list_calls(budget), persistent)[0]

    if f"{top}constants.pkl" in members:
        code["CONSTANTS"] = load("constants")
    return load("data"), code


def _list_members(data: bytes, path: str) -> tuple[dict[str, ZipInfo], str, dict[str, Any]]:
    """List the members of an archive; return the folder of all of them and the code too."""
    with open_zip(path, io.BytesIO(data)) as archive:
        members = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in archive.namelist() if re.fullmatch(r"[^/]*/data\.pkl", name)]
        if len(pickles) != 1 or len(members) < len(archive.namelist()):
            got = listed(pickles or members)
            raise InputError(path, f"{_EXPECTED}, got a zip archive of {got}, or of names twice")
        top = pickles[0].removesuffix("data.pkl")
        if f"{top}constants/0" in members and f"{top}data/0" not in members:
            what = "is frozen TorchScript, whose weights are constants of its code"
            raise InputError(path, what, "save the model before torch.jit.freeze")
        texts = [name for name in members if re.match(rf"{re.escape(top)}code/.*\.py\Z", name)]
        if sum(members[name].file_size for name in texts) > _CODE_MOST:
            texts = []
        code: dict[str, Any] = {}
        for name in texts:
            module = name.removeprefix(f"{top}code/").removesuffix(".py").replace("/", ".")
            code[module] = read_member(path, archive, name, _CODE_MOST).decode("utf-8", "replace")
    return members, top, code


def _view_member(data: bytes, path: str, members: Mapping[str, ZipInfo], name: str) -> memoryview:
    """View a member, which torch never packs; its checksum may be left out."""
    if name not in members:
        raise InputError(path, f"has no {shown(name)}")
    info = members[name]
    with damage(f"{path}: {shown(name)}"):
        if info.compress_type != ZIP_STORED:
            raise ValueError("is compressed, which torch never does")
        start = info.header_offset + 30
        start += sum(struct.unpack_from("<HH", data, start - 4))
        found = memoryview(data)[start : start + info.file_size]
        if len(found) < info.file_size or (info.CRC and zlib.crc32(found) != info.CRC):
            raise ValueError("its checksum is another")
    return found


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
        if key not in storages or not storages[key][1].itemsize:
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
    if type(count) is not int or count < 0 or any(each is not None for each in view):
        raise ValueError(f"storage {shown(key)} has no size, or is part of another")
    name = class_.name.rpartition(".")[2].removesuffix("Storage")
    return key, np.dtype(_CODES.get(name, "V0")), count


def _view_values(
    path: str, key: str, content: memoryview, dtype: np.dtype[Any], count: int
) -> NDArray[Any]:
    """View the values of a storage; only their number is known of a type that is not."""
    if not dtype.itemsize:
        return np.empty(count, dtype)
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
    if not stored or len(shape) != len(strides):
        raise ValueError("a tensor of no storage, or of other strides than its shape")
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
    if array.dtype == "V2":
        array = widen_bfloat16(array.view("<u2"))
    # The last argument tells that values are negated or conjugated.
    negated = len(more) > 2 and isinstance(more[2], dict) and more[2].get("neg")
    return -array if negated else array


def _list_calls(budget: Budget) -> dict[str, Callable[..., Any]]:
    """List the functions that take the place of PyTorch's in a pickle."""
    tensor = partial(_view_tensor, budget)
    calls: dict[str, Callable[..., Any]] = {
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_qtensor": lambda *args: tensor(*args[:4]),
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
