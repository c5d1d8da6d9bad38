"""Protocol buffers: the fields of a message on the wire, without what they mean.

A message is a run of fields: a number, one of four wire types and a value.
Which type a field ought to have is known to the caller alone, who asks for
values of that type; those of another one are refused.

Source: https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError

# Fields that are read of a file, and numbers of lists: they take half a second, and 50 MB.
MOST_FIELDS = 250_000

_VARINT, _WIDE, _BYTES, _NARROW = 0, 1, 2, 5
_SIZES = {_WIDE: 8, _NARROW: 4}
# Bytes of a number, seven bits each.
_LONGEST = 10
# Bytes of a run that are taken at once: as arrays their numbers take many times as much.
_PIECE = 2**16

# A field on the wire: its type, and either a number and 0 or where its bytes begin and end.
_Field: TypeAlias = tuple[int, int, int]


class Source:
    """Where messages come from.

    Parameters
    ----------
    place : str
        What errors call it.

    Attributes
    ----------
    left : int
        How many more fields are read of it.
    """

    def __init__(self, place: str) -> None:
        self.place, self.left = place, MOST_FIELDS

    def damage(self, what: str) -> InputError:
        """Return the error for bytes that are no message."""
        return InputError(self.place, f"damaged: {what}")

    def spend(self, fields: int) -> None:
        """Count fields."""
        self.left -= fields
        if self.left < 0:
            raise InputError(self.place, f"expected at most {MOST_FIELDS:,} fields, got more")


class Message:
    """A message: the values of its fields, by their numbers.

    Parameters
    ----------
    source : Source
    data : memoryview
        Its bytes.

    Raises
    ------
    InputError
        They are no message, or hold more fields than are read.
    """

    __slots__ = ("_data", "_fields", "source")  # there may be many

    def __init__(self, source: Source, data: memoryview) -> None:
        self.source = source
        self._data = data
        self._fields = _split(source, data)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def integers(self, number: int) -> list[int]:
        """Return signed whole numbers, each a field of its own or in a run."""
        values: list[int] = []
        for wire, value, stop in self._of(number, _VARINT, _BYTES):
            if wire == _VARINT:
                values.append(_signed(value))
            else:
                self.source.spend(stop - value)
                for piece in self._numbers(number, self._data[value:stop]):
                    values += piece.tolist()
        return values

    def integer(self, number: int) -> int:
        """Return a signed whole number; 0 if there is none."""
        return _signed(self._only(number, _VARINT)[1])

    def floats(self, number: int) -> list[float]:
        """Return numbers of 32 bits, each the shortest in decimals: 0.1, not 0.10000000149."""
        values = self.fixed(number, "<f4")
        self.source.spend(len(values))
        return [float(str(value)) for value in values]

    def float32(self, number: int) -> float:
        """Return a number as `floats` does; 0 if there is none."""
        _, start, stop = self._only(number, _NARROW)
        return float(str(np.frombuffer(self._data[start:stop], "<f4")[0])) if stop else 0.0

    def fixed(self, number: int, code: str) -> NDArray[Any]:
        """Return numbers of type ``<f4`` or ``<f8``, each a field of its own or in a run."""
        dtype = np.dtype(code)
        wire = next(wire for wire, size in _SIZES.items() if size == dtype.itemsize)
        runs = [self._data[start:stop] for _, start, stop in self._of(number, wire, _BYTES)]
        if any(len(run) % dtype.itemsize for run in runs):
            raise self.source.damage(f"field {number}: a number is cut short")
        return np.frombuffer(runs[0] if len(runs) == 1 else b"".join(runs), dtype)

    def varints(self, number: int) -> Iterator[NDArray[np.int64]]:
        """Return signed whole numbers as arrays of some each."""
        for wire, value, stop in self._of(number, _VARINT, _BYTES):
            if wire == _VARINT:
                yield np.array([_signed(value)])
            else:
                yield from self._numbers(number, self._data[value:stop])

    def bytes(self, number: int) -> memoryview:
        """Return the bytes of a field; none if it is not there."""
        _, start, stop = self._only(number, _BYTES)
        return self._data[start:stop]

    def every_bytes(self, number: int) -> list[memoryview]:
        """Return the bytes of each such field."""
        return [self._data[start:stop] for _, start, stop in self._of(number, _BYTES)]

    def text(self, number: int) -> str:
        """Return a text; empty if there is none."""
        return self._text(number, self.bytes(number))

    def texts(self, number: int) -> list[str]:
        """Return the text of each such field."""
        return [self._text(number, data) for data in self.every_bytes(number)]

    def message(self, number: int) -> "Message":
        """Return a message; an empty one if there is none."""
        return Message(self.source, self.bytes(number))

    def messages(self, number: int) -> "Iterator[Message]":
        """Return the message of each such field."""
        for _, start, stop in self._of(number, _BYTES):
            yield Message(self.source, self._data[start:stop])

    def _of(self, number: int, *wires: int) -> list[_Field]:
        """Return the fields of a number, which must be of these types."""
        fields = self._fields.get(number, [])
        for wire, _, _ in fields:
            if wire not in wires:
                raise self.source.damage(f"field {number}: wire type {wire}")
        return fields

    def _only(self, number: int, wire: int) -> _Field:
        """Return the field of a number: programs differ in what they make of several."""
        fields = self._of(number, wire) or [(wire, 0, 0)]
        if len(fields) > 1:
            raise self.source.damage(f"field {number}: expected one, got {len(fields)}")
        return fields[0]

    def _text(self, number: int, data: memoryview) -> str:
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError as error:
            raise self.source.damage(f"field {number}: no UTF-8") from error

    def _numbers(self, number: int, run: memoryview) -> Iterator[NDArray[np.int64]]:
        """Decode a run of whole numbers, some at a time."""
        start = 0
        while start < len(run):
            octets = np.frombuffer(run[start : start + _PIECE], np.uint8)
            stops = np.flatnonzero(octets < 0x80) + 1
            sizes = np.diff(stops, prepend=0)
            if not len(stops) or sizes.max() > _LONGEST:
                raise self.source.damage(f"field {number}: no whole number")
            values = np.zeros(len(stops), np.uint64)
            for place in range(sizes.max()):
                there = sizes > place
                sevens = octets[stops[there] - sizes[there] + place] & 0x7F
                values[there] |= sevens.astype(np.uint64) << np.uint64(7 * place)
            yield values.view(np.int64)
            start += int(stops[-1])


def _split(source: Source, data: memoryview) -> dict[int, list[_Field]]:
    """Find the fields of a message."""
    fields: dict[int, list[_Field]] = {}
    place, size, left = 0, len(data), source.left
    while place < size:
        key, place = _varint(source, data, place)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, place = _varint(source, data, place)
            field = wire, value, 0
        else:
            length = _SIZES.get(wire, 0)
            if wire == _BYTES:
                length, place = _varint(source, data, place)
            elif not length:
                raise source.damage(f"field {number}: wire type {wire}")
            if length > size - place:
                what = f"takes {length:,} bytes, there are {size - place:,}"
                raise source.damage(f"field {number}: {what}")
            field = wire, place, place + length
            place += length
        if number in fields:
            fields[number].append(field)
        else:
            fields[number] = [field]
        left -= 1
        if left < 0:
            break
    source.spend(source.left - left)
    return fields


def _varint(source: Source, data: memoryview, place: int) -> tuple[int, int]:
    """Return the whole number of 64 bits at a place, and where it ends."""
    value = 0
    for shift, octet in enumerate(data[place : place + _LONGEST]):
        value |= (octet & 0x7F) << 7 * shift
        if octet < 0x80:
            return value & (1 << 64) - 1, place + shift + 1
    raise source.damage("a whole number is cut short")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def message(*fields: tuple[int, int | float | str | bytes]) -> bytes:
    """Return a message of fields, each a number and a value; a `float` takes 32 bits."""
    return b"".join(part for number, value in fields for part in _field(number, value))


def _field(number: int, value: int | float | str | bytes) -> Iterable[bytes]:
    if isinstance(value, int):
        return _octets(number << 3 | _VARINT), _octets(value)
    if isinstance(value, float):
        return _octets(number << 3 | _NARROW), np.array(value, "<f4").tobytes()
    data = value.encode() if isinstance(value, str) else value
    return _octets(number << 3 | _BYTES), _octets(len(data)), data


def _octets(value: int) -> bytes:
    """Return a whole number of 64 bits, seven a byte, the lowest first."""
    value &= (1 << 64) - 1
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*octets, value])
