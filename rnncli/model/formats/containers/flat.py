"""``.safetensors``: a header of JSON text, and behind it the values, tensor after tensor.

A file is sound where the library takes it: the values of all tensors fill what
follows the header, with no gap and no byte twice. A name that stands twice in
the header is refused too.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, one_line, shown
from rnncli.model.formats.tensors import widened

# Bits of a value, by the format's name of its type.
_BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
_BITS |= dict.fromkeys(("U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8)
_BITS |= dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8)
_BITS |= dict.fromkeys(("I16", "U16", "F16", "BF16"), 16)
_BITS |= dict.fromkeys(("I32", "U32", "F32"), 32) | dict.fromkeys(("C64", "F64", "I64", "U64"), 64)
# Types that become weights, and how they lie in the file.
_CODES = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}

_METADATA = "__metadata__"
_WIDTH = 8
_LARGEST = 2**64 - 1
_HEADER_MOST = 100_000_000
# What reading a header may take: so much, and four times the file. Its bytes take one of these, its
# text and the texts in that one each, or four where a character needs as much; each object, list
# or value takes no more than `_PART`.
_MEMORY = 64 * 2**20
_PART = 128


class Tensor(NamedTuple):
    """What the header says of a tensor.

    Parameters
    ----------
    dtype : str
        The format's own name of it.
    shape : tuple of int
    start, stop : int
        Where its values are, counted from the end of the header.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Flat(NamedTuple):
    """An open file, none of whose values has been read yet.

    Parameters
    ----------
    path : str
    file : binary file
    tensors : mapping
        By name.
    texts : mapping
        The texts beside them, by name.
    origin : int
        Where the values begin.
    """

    path: str
    file: BinaryIO
    tensors: Mapping[str, Tensor]
    texts: Mapping[str, str]
    origin: int

    def array(self, name: str) -> NDArray[Any]:
        """Read a tensor of floats; bfloat16 as float32."""
        tensor = self.tensors[name]
        self.file.seek(self.origin + tensor.start)
        array = np.fromfile(self.file, _CODES[tensor.dtype], prod(tensor.shape))
        if array.nbytes < tensor.stop - tensor.start:
            raise InputError(f"{self.path}: {shown(name)}", "damaged: the file ends within it")
        array = array.reshape(tensor.shape)
        return widened(array) if tensor.dtype == "BF16" else array


@contextmanager
def opened(path: str) -> Iterator[Flat]:
    """Open a file, and read and check its header."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            header, origin = _header(file, size)
            texts = _texts(header.pop(_METADATA, None))
        except (ValueError, RecursionError) as error:
            what = f"damaged, or no .safetensors: {one_line(error)}"
            raise InputError(path, what) from error
        tensors = {name: _tensor(f"{path}: {shown(name)}", each) for name, each in header.items()}
        _check_places(path, tensors, size - origin)
        yield Flat(path, file, tensors, texts, origin)


def _header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """Read the header; return it and where it ends. ValueError: it is none."""
    length = int.from_bytes(file.read(_WIDTH), "little")
    room = size - _WIDTH
    if not length <= min(room, _HEADER_MOST):
        most = f"{max(room, 0):,} in the file" if room < _HEADER_MOST else f"{_HEADER_MOST:,}"
        raise ValueError(f"expected a header of at most {most}, got {length:,} bytes")
    content = file.read(length)
    parts = sum(map(content.count, b"{[,"))
    if len(content) * (3 if content.isascii() else 9) + parts * _PART > _MEMORY + 4 * size:
        raise ValueError(f"a header of {parts:,} values in {length:,} bytes is more than is read")
    header = json.loads(content.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    if not isinstance(header, dict):
        raise ValueError("expected an object of tensors")
    return header, _WIDTH + length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON text, each of whose names is text and there once."""
    names = dict(pairs)
    if len(names) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{shown(name)} is in the header twice")
    "".join(names).encode()  # a ValueError where a name holds half of a pair
    return names


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _texts(found: Any) -> dict[str, str]:
    texts = {} if found is None else found
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError(f"{_METADATA}: expected an object of texts")
    return texts


def _tensor(place: str, found: Any) -> Tensor:
    """Check what the header says of one tensor by itself."""
    entry = found if isinstance(found, dict) else {}
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise InputError(place, f"damaged: expected a dtype such as F32, got {dtype!r:.40}")
    shape = _numbers(place, "shape", entry)
    offsets = _numbers(place, "data_offsets", entry)
    if len(offsets) != 2:
        raise InputError(place, f"damaged: expected two data_offsets, got {offsets!r:.40}")
    bits, (start, stop) = _BITS[dtype], offsets
    for length in shape:
        bits *= length
        if bits > _LARGEST * _BITS[dtype]:
            raise InputError(place, f"damaged: no tensor has the shape {shape!r:.40}")
    if bits != 8 * (stop - start):
        what = f"its shape {shape!r:.40} of {dtype} takes"
        raise InputError(
            place, f"damaged: expected {-(-bits // 8)} bytes, as {what}, got {stop - start}"
        )
    return Tensor(dtype, shape, start, stop)


def _numbers(place: str, name: str, entry: dict[str, Any]) -> tuple[int, ...]:
    """Return a list of whole numbers, none under 0 or over 64 bits."""
    found = entry.get(name)
    if isinstance(found, list) and all(type(n) is int and 0 <= n <= _LARGEST for n in found):
        return tuple(found)
    what = f"damaged: expected a list of whole numbers as {name}, got {found!r:.40}"
    raise InputError(place, what)


def _check_places(path: str, tensors: Mapping[str, Tensor], size: int) -> None:
    """Check that the values of all tensors fill what follows the header, and nothing else does."""
    ordered = sorted(tensors.items(), key=lambda item: item[1][2:])
    stops = [0, *(tensor.stop for _, tensor in ordered)]
    for stop, (name, tensor) in zip(stops, ordered, strict=False):
        if tensor.start != stop:
            what = f"damaged: expected its values to begin at {stop}, got {tensor.start}"
            raise InputError(f"{path}: {shown(name)}", what)
    if stops[-1] != size:
        what = f"damaged: expected {stops[-1]} bytes after the header, got {size}"
        raise InputError(path, what)
