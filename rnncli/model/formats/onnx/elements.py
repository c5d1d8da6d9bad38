"""ONNX's tensors: what a file says of each, and its values when they are asked for."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, shown
from rnncli.model.formats.containers.protobuf import Message
from rnncli.model.formats.tensors import FLOATS, Entry, widened

# Values of a tensor that holds no weights: those that a graph computes with are few.
MOST_WHOLE = 2**20

# What a tensor or a node takes of memory, in fields.
COST = 5

# Element types, by their numbers.
_TYPES = (
    *("no type", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string"),
    *("bool", "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"),
    *("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "uint4", "int4"),
    *("float4e2m1", "float8e8m0", "uint2", "int2", "float6e2m3", "float6e3m2"),
)
# Fields that may hold values: their bytes, or numbers.
_BYTES, _FLOATS, _INT32S, _INT64S, _DOUBLES, _UINT64S = 9, 4, 5, 7, 10, 11
_FIELDS = (_BYTES, _FLOATS, _INT32S, 6, _INT64S, _DOUBLES, _UINT64S)
# The types that are read: how values lie in bytes, and the field for numbers.
_READ = {
    "float16": ("<f2", _INT32S),
    "bfloat16": ("<u2", _INT32S),
    "float32": ("<f4", _FLOATS),
    "float64": ("<f8", _DOUBLES),
    "bool": ("?", _INT32S),
    "int8": ("<i1", _INT32S),
    "int16": ("<i2", _INT32S),
    "int32": ("<i4", _INT32S),
    "int64": ("<i8", _INT64S),
    "uint8": ("<u1", _INT32S),
    "uint16": ("<u2", _INT32S),
    "uint32": ("<u4", _UINT64S),
    "uint64": ("<u8", _UINT64S),
}

# outside(place, where, size): so many bytes of another file, of which the pairs of text in
# `where` tell. Errors call the tensor `place`.
Outside: TypeAlias = Callable[[str, Mapping[str, str], int], bytes]


class Tensor(NamedTuple):
    """A tensor.

    Parameters
    ----------
    name : str
    entry : Entry
        One that is not read has a type of its own: ``string``, ``int4``,
        ``sparse float32``.
    message : Message
    where : mapping
        What tells of the other file that holds the values; empty if this one
        does.
    outside : callable
        Reads it.
    """

    name: str
    entry: Entry
    message: Message
    where: Mapping[str, str]
    outside: Outside

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.message.source.place}: {shown(self.name)}"

    def array(self) -> NDArray[Any]:
        """Return a new array of the values; bfloat16 as float32."""
        shape, dtype = self.entry
        count = prod(shape)
        self._check(count)
        code, field = _READ[dtype]
        size = count * np.dtype(code).itemsize
        if self.where or not count:
            data = memoryview(self.outside(self.place, self.where, size) if count else b"")
        elif _BYTES in self.message:
            data = self.message.bytes(_BYTES)
        else:
            data = self._numbers(code, field)
        if len(data) != size:
            what = f"damaged: expected {size:,} bytes, as shape {shape} of {dtype} takes"
            raise InputError(self.place, f"{what}, got {len(data):,}")
        array = np.frombuffer(data, code).reshape(shape)
        return widened(array) if dtype == "bfloat16" else array.copy()

    def _check(self, count: int) -> None:
        dtype, there = self.entry.dtype, [field for field in _FIELDS if field in self.message]
        if dtype not in _READ:
            raise InputError(self.place, f"values of {dtype} are not read")
        if dtype not in FLOATS and count > MOST_WHOLE:
            what = f"expected at most {MOST_WHOLE:,} values of {dtype}, got {count:,}"
            raise InputError(self.place, what)
        allowed = {_BYTES, _READ[dtype][1]} if not self.where else set()
        if len(there) > 1 or set(there) - allowed:
            raise InputError(self.place, f"damaged: values of {dtype} in fields {there}")

    def _numbers(self, code: str, field: int) -> memoryview:
        """Return the bytes of values that stand as numbers; those of halves as their bits."""
        if field in (_FLOATS, _DOUBLES):
            return memoryview(self.message.fixed(field, code).tobytes())
        dtype = np.dtype("<u2" if code == "<f2" else code)
        data = bytearray()
        for numbers in self.message.varints(field):
            values = numbers.astype(dtype)
            if (values.astype(np.int64) != numbers).any():
                raise InputError(self.place, f"damaged: a number that {dtype} does not hold")
            data += values.tobytes()
        return memoryview(data)


def read_tensor(message: Message, outside: Outside) -> Tensor:
    """Read what a file says of a tensor."""
    message.source.spend(COST)
    where = {each.text(1): each.text(2) for each in message.messages(13)}
    if message.integer(14) and not where:
        where = {"location": ""}
    return Tensor(message.text(8), _entry(message, message.integers(1)), message, where, outside)


def read_sparse(message: Message, outside: Outside) -> Tensor:
    """Read what a file says of a sparse tensor, whose values are not read."""
    values = message.message(1)
    shape, dtype = _entry(values, message.integers(3))
    return Tensor(values.text(8), Entry(shape, f"sparse {dtype}"), values, {}, outside)


def type_name(number: int) -> str:
    """Return the name of a type of elements."""
    return _TYPES[number] if 0 <= number < len(_TYPES) else f"type {number}"


def _entry(message: Message, shape: list[int]) -> Entry:
    if min(shape, default=0) < 0:
        raise message.source.damage(f"{shown(message.text(8))} has shape {tuple(shape)}")
    return Entry(tuple(shape), type_name(message.integer(2)))
