"""``.safetensors`` files, with tensors named as PyTorch names them.

A file is a header of JSON text, and behind it the values, tensor after tensor.
It is sound where the library takes it: the values of all tensors fill what
follows the header, with no gap and no byte twice. A name that stands twice in
the header is refused too.
"""

import json
from collections.abc import Mapping
from itertools import islice
from math import prod
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, one_line, shown
from rnncli.model.formats.found import Found, Part, read_floats, widen_bfloat16
from rnncli.model.formats.names import find_arrays, find_unsaid, pick_arrays
from rnncli.model.formats.own import read_layers, write_text
from rnncli.model.formats.torch.names import HEAD, find_modules, name_arrays
from rnncli.model.network import Network

_METADATA = "__metadata__"
# Our own text among a file's metadata.
_OURS = "rnncli"
# Bits of a value, by the format's name of its type.
_BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64}
_BITS |= dict.fromkeys(("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8)
_BITS |= {f"{kind}{bits}": bits for kind in "IU" for bits in (8, 16, 32, 64)}
_BITS |= {"F16": 16, "BF16": 16, "F32": 32, "F64": 64}
# Types that NumPy has, and bfloat16, as they lie in the file; of others only the shape is known.
_CODES = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8", "C64": "<c8", "BOOL": "?"}
_CODES |= {f"{k}{bits}": f"<{k.lower()}{bits // 8}" for k in "IU" for bits in (8, 16, 32, 64)}
_WIDTH = 8
_LARGEST = 2**64 - 1
_HEADER_MOST = 100_000_000
# What reading a header may take: so much, and four times the file. Its bytes take one of these, its
# text and the texts in that one each, or four where a character needs as much; each object, list
# or value takes no more than `_PART`.
_MEMORY, _PART = 64 * 2**20, 128


class Tensor(NamedTuple):
    """An entry of the header; its bytes are counted from the header's end."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class File(NamedTuple):
    """The arrays in a file, by name, and the texts beside them."""

    arrays: Mapping[str, NDArray[Any]]
    texts: Mapping[str, str]

    def pick(self, path: str, layer: str | None) -> Found:
        """Find the layers that names and our own text tell of."""
        if _OURS not in self.texts:
            return find_arrays(pick_arrays(self.arrays, path, layer), path)
        place = f"{path}: {_METADATA} {_OURS}"
        if layer is not None:
            raise InputError(place, "describes the whole file", "leave `layer` out")
        parts = find_modules(path, self.arrays)
        layers: list[Any] = [layer for part in parts for layer in part.layers]
        head = {role: name for role, name in HEAD.items() if name in self.arrays}
        if head:
            layers.append({r: read_floats(path, n, self.arrays[n]).T for r, n in head.items()})
        made, last = read_layers(place, self.texts[_OURS], self.arrays, layers)
        each = iter(made)
        parts = [part._replace(layers=[*islice(each, len(part.layers))]) for part in parts]
        arrays = {name: self.arrays[name] for name in head.values()}
        return Found([*parts, *(Part("head", "nn.Linear", arrays, [e]) for e in each)], last=last)


def read(data: bytes, path: str) -> File:
    """Read a ``.safetensors`` file."""
    tensors, texts, origin = read_header(data, path)
    arrays = {}
    for name, tensor in tensors.items():
        code = np.dtype(_CODES.get(tensor.dtype, "V0"))
        try:
            if not code.itemsize or tensor.stop == tensor.start:
                array = np.zeros(tensor.shape, code)
            else:
                values = np.frombuffer(data, code, prod(tensor.shape), origin + tensor.start)
                array = np.require(values, requirements="A").reshape(tensor.shape)
        except ValueError as error:  # of a shape that NumPy has not
            raise InputError(f"{path}: {shown(name)}", one_line(error)) from error
        arrays[name] = widen_bfloat16(array) if tensor.dtype == "BF16" else array
    return File(arrays, texts)


def read_header(data: bytes, path: str) -> tuple[dict[str, Tensor], dict[str, str], int]:
    """Read the header; return the tensors and texts by name, and where the values begin."""
    length, room = int.from_bytes(data[:_WIDTH], "little"), max(len(data) - _WIDTH, 0)
    try:
        most = min(room, _HEADER_MOST)
        if length > most:
            raise ValueError(f"expected a header of at most {most:,}, got {length:,} bytes")
        content = data[_WIDTH : _WIDTH + length]
        times = 3 if content.isascii() else 9
        size = sum(map(content.count, b"{[,")) * _PART + len(content) * times
        if size > _MEMORY + 4 * len(data):
            raise ValueError(f"a header of {length:,} bytes is more than is read")
        header = json.loads(
            content.decode(), object_pairs_hook=_make_object, parse_constant=_refuse_number
        )
        texts = header.pop(_METADATA, None)
        texts = {} if texts is None else texts
        if not all(isinstance(text, str) for text in texts.values()):
            raise ValueError(f"{_METADATA}: expected an object of texts")
        tensors, stop = {name: _read_tensor(name, each) for name, each in header.items()}, 0
        for name, tensor in sorted(tensors.items(), key=lambda item: item[1][2:]):
            if tensor.start != stop:
                what = f"expected its values to begin at {stop}, got {tensor.start}"
                raise ValueError(f"{shown(name)}: {what}")
            stop = tensor.stop
        if stop != room - length:
            raise ValueError(f"expected {stop} bytes after the header, got {room - length}")
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise InputError(path, f"damaged, or no .safetensors: {one_line(error)}") from error
    return tensors, texts, _WIDTH + length


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON text, each of whose names is text and there once."""
    names: dict[str, Any] = {}
    for name, value in pairs:
        if name in names:
            raise ValueError(f"{shown(name)} is in the header twice")
        names[name] = value
    "".join(names).encode()  # a ValueError where a name holds half of a pair
    return names


def _refuse_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _read_tensor(name: str, entry: Any) -> Tensor:
    """Read what the header says of one tensor, and check it by itself."""
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    for numbers in (shape, offsets):
        whole = isinstance(numbers, list) and all(type(n) is int for n in numbers)
        if not whole or not all(0 <= n <= _LARGEST for n in numbers):
            raise ValueError(f"{shown(name)}: expected a shape and data_offsets, got {entry!r:.80}")
    if not isinstance(dtype, str) or dtype not in _BITS or len(offsets) != 2:
        raise ValueError(f"{shown(name)}: expected a dtype and data_offsets, got {entry!r:.80}")
    count = 1
    for length in shape:
        count *= length
        if count > _LARGEST:
            raise ValueError(f"{shown(name)}: no tensor has the shape {shape!r:.40}")
    start, stop = offsets
    if count * _BITS[dtype] != 8 * (stop - start):
        what = f"expected {-(-count * _BITS[dtype] // 8)} bytes, as its shape {shape!r:.40} of"
        raise ValueError(f"{shown(name)}: {what} {dtype} takes, got {stop - start}")
    return Tensor(dtype, tuple(shape), start, stop)


def save_model(file: BinaryIO, network: Network) -> list[str]:
    """Write layers as a ``.safetensors`` file, their tensors named as PyTorch does.

    What the names do not say is in the file's metadata. The library would
    write the metadata in random order; here the same network gives the same
    bytes. Return a sentence for what other programs must be told.
    """
    tensors = name_arrays(network.layers)
    # Without the format, the transformers library refuses a file.
    metadata = {_OURS: write_text(network, tensors), "format": "pt"}
    # Wide types first: each tensor is then aligned to its own width.
    named = sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))
    header: dict[str, Any] = {}
    stop = 0
    for name, array in named:
        start, stop = stop, stop + array.nbytes
        dtype = f"F{8 * array.itemsize}"
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": (start, stop)}
    content = json.dumps(header | {_METADATA: metadata}, separators=(",", ":")).encode("ascii")
    content += b" " * (-len(content) % _WIDTH)
    file.write(len(content).to_bytes(_WIDTH, "little") + content)
    for _, array in named:
        file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return find_unsaid(network.layers)
