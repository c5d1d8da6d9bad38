"""Protocol buffers: the fields of a message on the wire, without what they mean.

Source: https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError

_VARINT, _WIDE, BYTES, _NARROW = 0, 1, 2, 5
_LONGEST = 10  # bytes of a whole number, seven bits each


class Source:
    """The file that messages come from, and how many more fields are read of it."""

    def __init__(self, where: str, most: int) -> None:
        self.where, self.most, self.left = where, most, most

    def spend(self, fields: int) -> None:
        """Count fields, or numbers of lists."""
        self.left -= fields
        if self.left < 0:
            raise InputError(self.where, f"expected at most {self.most:,} fields, got more")

    def damage(self, what: str) -> InputError:
        """Return the error for bytes that are no message."""
        return InputError(self.where, f"damaged: {what}")

    def varint(self, data: memoryview, start: int) -> tuple[int, int]:
        """Return the whole number of 64 bits at a position, and where it ends."""
        value = 0
        for shift, octet in enumerate(data[start : start + _LONGEST]):
            value |= (octet & 0x7F) << 7 * shift
            if octet < 0x80:
                return value & (1 << 64) - 1, start + shift + 1
        raise self.damage("a whole number is cut short")


class Message:
    """The fields of a message by number: wire types, and whole numbers of 64 bits or bytes."""

    __slots__ = ("fields", "source")  # there may be many

    def __init__(self, source: Source, data: memoryview) -> None:
        self.source, position = source, 0
        self.fields: dict[int, list[tuple[int, Any]]] = {}
        while position < len(data):
            source.spend(1)
            key, position = source.varint(data, position)
            number, wire = key >> 3, key & 7
            value: Any = {_WIDE: 8, _NARROW: 4}.get(wire, 0)
            if wire in (_VARINT, BYTES):
                value, position = source.varint(data, position)
            elif not value:
                raise source.damage(f"field {number}: wire type {wire}")
            if wire != _VARINT:
                if value > (left := len(data) - position):
                    what = f"takes {value:,} bytes, there are {left:,}"
                    raise source.damage(f"field {number}: {what}")
                value, position = data[position : position + value], position + value
            self.fields.setdefault(number, []).append((wire, value))

    def __contains__(self, number: int) -> bool:
        return number in self.fields

    def values(self, number: int, *wires: int) -> list[Any]:
        """Return the values of the fields of a number, which must have these wire types."""
        fields = self.fields.get(number, [])
        if not {wire for wire, _ in fields} <= {*wires}:
            raise self.source.damage(f"field {number} has another wire type")
        return [value for _, value in fields]

    def integer(self, number: int) -> int:
        """Return a signed whole number; 0 if there is none."""
        value: int = [0, *self.values(number, _VARINT)][-1]
        return value - (1 << 64) if value >> 63 else value

    def integers(self, number: int) -> NDArray[np.int64]:
        """Return signed whole numbers, each a field of its own or in a run."""
        numbers: list[int] = []
        for value in self.values(number, _VARINT, BYTES):
            if isinstance(value, int):
                numbers.append(value)
                continue
            self.source.spend(len(value))
            position = 0
            while position < len(value):
                each, position = self.source.varint(value, position)
                numbers.append(each)
        return np.array(numbers, np.uint64).view(np.int64)

    def floats(self, number: int, code: str = "<f4") -> NDArray[Any]:
        """Return numbers of 32 or 64 bits, each a field of its own or in a run."""
        dtype = np.dtype(code)
        data = b"".join(self.values(number, _NARROW if dtype.itemsize == 4 else _WIDE, BYTES))
        if len(data) % dtype.itemsize:
            raise self.source.damage(f"field {number}: a number is cut short")
        return np.frombuffer(data, dtype)

    def bytes(self, number: int) -> memoryview:
        """Return the bytes of a field; none if it is not there."""
        data: memoryview = [memoryview(b""), *self.values(number, BYTES)][-1]
        return data

    def text(self, number: int) -> str:
        """Return a text; empty if there is none."""
        return ["", *self.texts(number)][-1]

    def texts(self, number: int) -> list[str]:
        """Return the text of each such field."""
        return [str(data, "utf-8", "replace") for data in self.values(number, BYTES)]

    def message(self, number: int) -> "Message":
        """Return a message; an empty one if there is none."""
        return Message(self.source, self.bytes(number))

    def messages(self, number: int) -> "Iterator[Message]":
        """Return the message of each such field."""
        return (Message(self.source, data) for data in self.values(number, BYTES))


def message(*fields: tuple[int, int | float | str | bytes]) -> bytes:
    """Write a message of fields, each a number and a value; a `float` takes 32 bits."""
    data = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            data += _write_varint(number << 3 | _VARINT) + _write_varint(value)
        elif isinstance(value, float):
            data += _write_varint(number << 3 | _NARROW) + np.array(value, "<f4").tobytes()
        else:
            content = value.encode() if isinstance(value, str) else value
            data += _write_varint(number << 3 | BYTES) + _write_varint(len(content)) + content
    return bytes(data)


def _write_varint(value: int) -> bytes:
    """Write 64 bits in groups of seven, the lowest first; all bytes but the last have bit 8."""
    value &= (1 << 64) - 1
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])
