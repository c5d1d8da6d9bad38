"""Attributes and datasets of HDF5: their types, their shapes, their values."""

import struct
from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.formats.containers.hdf5.structure import (
    ATTRIBUTE,
    ATTRIBUTES,
    DATASPACE,
    DATATYPE,
    EXTERNAL,
    LAYOUT,
    NO_ADDRESS,
    Messages,
    Source,
    UnknownError,
    as_text,
)
from rnncli.model.formats.tensors import Shape

# Classes of types, and those that are known by name only.
_INTEGER, _FLOAT, _TEXT, _OPAQUE, _ENUMERATION, _SEQUENCE = 0, 1, 3, 5, 8, 9
_UNREAD = {
    _INTEGER: "integer of odd bits",
    _FLOAT: "float of odd bits",
    2: "time",
    4: "bit field",
    6: "compound",
    7: "reference",
    _SEQUENCE: "sequence",
    10: "array",
    11: "complex",
}
# IEEE 754's floats by size: the sign's bit; first and number of all bits; those of the exponent
# and of the mantissa; the bias.
_IEEE = {
    2: (15, 0, 16, 10, 5, 0, 10, 15),
    4: (31, 0, 32, 23, 8, 0, 23, 127),
    8: (63, 0, 64, 52, 11, 0, 52, 1023),
}
# The first member of the enumeration as which h5py writes NumPy's truths.
_FALSE = b"FALSE\0"
# Where a text of any length lies: its size, the address of its heap, its number there.
_IN_HEAP = np.dtype([("size", "<u4"), ("address", "<u8"), ("number", "<u4")])
# Layouts of datasets.
_COMPACT, _CONTIGUOUS, _CHUNKED = 0, 1, 2
# As far as HDF5 goes, and NumPy.
_MOST_AXES, _MOST_SIZE = 32, 2**31


class Type(NamedTuple):
    """What a value is.

    Parameters
    ----------
    name : str
        ``text``, or as NumPy has it.
    dtype : dtype or None
        How a value lies in the file; None if it is of a type that is not read.
    """

    name: str
    dtype: np.dtype[Any] | None


class Dataset(NamedTuple):
    """A dataset, not read yet.

    Parameters
    ----------
    type : Type
    shape : tuple of int
    content : bytes or pair of int
        Its values, or their address and size.
    """

    type: Type
    shape: Shape
    content: bytes | tuple[int, int]


def find_attributes(source: Source, messages: Messages) -> Iterator[tuple[str, Any]]:
    """Return the name and the value of each attribute of an object that can be read."""
    for message in messages.get(ATTRIBUTES, []):
        if struct.unpack_from("<Q", message, 4 if message[1] & 1 else 2)[0] != NO_ADDRESS:
            raise UnknownError("attributes in a fractal heap")
    for message in messages.get(ATTRIBUTE, []):
        version, flags, *sizes = struct.unpack_from("<BBHHH", message)
        if version not in (1, 2, 3):
            raise UnknownError(f"an attribute of version {version}")
        if flags & 3:
            raise UnknownError("types that attributes share")
        place = 9 if version == 3 else 8
        fields = []
        for size in sizes:
            fields.append(message[place : place + size])
            place += -(-size // 8) * 8 if version == 1 else size
        type_, shape = _type(fields[1]), _shape(fields[2])
        if type_.dtype and shape is not None:
            content = message[place:]
            _check_size(type_, shape, len(content))
            values = _plain(source, type_, np.ndarray(shape, type_.dtype, content))
            yield as_text(fields[0]), values.tolist() if type_.name == "text" else values[()]


def find_dataset(source: Source, messages: Messages) -> Dataset:
    """Return the dataset that messages describe; its values are all there, within the file."""
    if not {DATATYPE, DATASPACE} <= messages.keys():
        raise ValueError("a dataset without a type or a shape")
    if EXTERNAL in messages:
        raise UnknownError("values in other files")
    type_, shape = _type(messages[DATATYPE][0]), _shape(messages[DATASPACE][0])
    if type_.dtype is None or shape is None:
        return Dataset(type_, (0,) if shape is None else shape, b"")
    layout = messages[LAYOUT][0]
    version, kind = layout[:2]
    if kind == _CHUNKED:
        raise UnknownError("a dataset in chunks, or compressed")
    if version not in (3, 4) or kind not in (_COMPACT, _CONTIGUOUS):
        raise UnknownError(f"a dataset laid out in way {kind} of version {version}")
    if kind == _COMPACT:
        (size,) = struct.unpack_from("<H", layout, 2)
        content = layout[4 : 4 + size]
        _check_size(type_, shape, len(content))
        return Dataset(type_, shape, content)
    address, size = struct.unpack_from("<QQ", layout, 2)
    needed = _check_size(type_, shape, size)
    if needed and address == NO_ADDRESS:
        raise UnknownError("values that were never written")
    place = (address if needed else 0, needed)
    source.claim(*place)
    return Dataset(type_, shape, place)


def read_values(source: Source, dataset: Dataset) -> NDArray[Any]:
    """Read the values of a dataset."""
    type_, shape, content = dataset
    if type_.dtype is None:
        raise UnknownError(f"values of type {type_.name}")
    if isinstance(content, tuple):
        content = source.take(*content)
    return _plain(source, type_, np.ndarray(shape, type_.dtype, content))


def _shape(message: bytes) -> Shape | None:
    """Return the shape that a message tells; None where there are no values."""
    version, axes, _, kind = message[:4]
    if version not in (1, 2):
        raise UnknownError(f"a shape of version {version}")
    if axes > _MOST_AXES:
        raise ValueError(f"expected at most {_MOST_AXES} axes, got {axes}")
    if version == 2 and kind == 2:
        return None
    return struct.unpack_from(f"<{axes}Q", message, 8 if version == 1 else 4)


def _type(message: bytes) -> Type:
    """Return the type that a message tells."""
    kind = message[0] & 15
    (size,) = struct.unpack_from("<I", message, 4)
    if not 0 < size < _MOST_SIZE:
        raise ValueError(f"a type of {size:,} bytes")
    known = _TYPES[kind](message, size) if kind in _TYPES else None
    return known or Type(_UNREAD.get(kind, f"number {kind}"), None)


def _named(code: str) -> Type:
    dtype = np.dtype(code)
    return Type(dtype.name, dtype)


def _integer(message: bytes, size: int) -> Type | None:
    if size not in (1, 2, 4, 8) or struct.unpack_from("<HH", message, 8) != (0, 8 * size):
        return None
    return _named(f"{_order(message)}{'i' if message[1] & 8 else 'u'}{size}")


def _float(message: bytes, size: int) -> Type | None:
    bits = (message[2], *struct.unpack_from("<HHBBBBI", message, 8))
    return _named(f"{_order(message)}f{size}") if bits == _IEEE.get(size) else None


def _order(message: bytes) -> str:
    return ">" if message[1] & 1 else "<"


def _enumeration(message: bytes, _size: int) -> Type:
    """Return the type of its numbers, or truths."""
    base = _type(message[8:])
    return base._replace(name="bool") if message[20:].startswith(_FALSE) else base


_TYPES: dict[int, Callable[[bytes, int], Type | None]] = {
    _INTEGER: _integer,
    _FLOAT: _float,
    _TEXT: lambda _, size: Type("text", np.dtype(f"S{size}")),
    _OPAQUE: lambda _, size: _named(f"V{size}"),
    _ENUMERATION: _enumeration,
    _SEQUENCE: lambda message, _: Type("text", _IN_HEAP) if message[1] & 15 == 1 else None,
}


def _check_size(type_: Type, shape: Shape, size: int) -> int:
    """Return how many bytes values take; refuse fewer."""
    assert type_.dtype
    needed = prod(shape) * type_.dtype.itemsize
    if needed > size:
        what = f"expected {needed:,} bytes, as its shape {shape} of {type_.name} takes"
        raise ValueError(f"{what}, got {size:,}")
    return needed


def _plain(source: Source, type_: Type, array: NDArray[Any]) -> NDArray[Any]:
    """Return values as they are used: truths as bool, texts as str."""
    if type_.name == "bool":
        return array.astype(bool)
    if type_.name != "text":
        return array
    source.spend(array.nbytes, array.size)
    lying = array.ravel().tolist()
    if array.dtype == _IN_HEAP:
        texts = [source.text(*each) for each in lying]
    else:
        texts = [as_text(each) for each in lying]
    return np.array(texts, object).reshape(array.shape)
