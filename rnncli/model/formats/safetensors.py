"""``.safetensors`` files, with tensors named as PyTorch names them.

A file is a header of JSON text, and behind it the values: those of all tensors fill what follows
the header, with no gap and no byte twice, and no name stands twice in the header.
"""

import json
from math import prod
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import make_unread, widen_bfloat16
from rnncli.model.contents import Component, Contents, read_floats
from rnncli.model.errors import shown
from rnncli.model.formats.containers.zips import wrap_damage
from rnncli.model.formats.mlx_flax import find_named
from rnncli.model.formats.npz import read_layers, write_text
from rnncli.model.formats.torch.names import (
    HEAD,
    find_modules,
    find_unsaid,
    name_arrays,
)
from rnncli.model.network import Network

# Our own text among a file's metadata.
_METADATA, _OURS = "__metadata__", "rnncli"
# The format's types as values lie in the file.
_CODES = {"BF16": "<u2", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BOOL": "?"}
_CODES |= {f"{k}{bits}": f"<{k.lower()}{bits // 8}" for k in "IU" for bits in (8, 16, 32, 64)}
_WIDTH = 8
# Bytes of a header, which take forty times as much when it is parsed, and axes of a tensor.
_HEADER_MOST, _MOST_AXES = 2 * 2**20, 32


def read(data: bytes, path: str, layer: str | None, _: str = "") -> Contents:
    """Read a ``.safetensors`` file, by the names of its arrays or by our own text."""
    arrays, texts = _read_tensors(data, path)
    if _OURS not in texts or layer is not None:
        return find_named(arrays, path, layer)
    modules = find_modules(path, arrays)
    layers: list[Any] = [each for module in modules for each in module.layers]
    head = {role: arrays[name] for role, name in HEAD.items() if name in arrays}
    if head:
        layers.append({role: read_floats(path, HEAD[role], head[role]).T for role in head})
    complete, last = read_layers(f"{path}: {_METADATA} {_OURS}", texts[_OURS], arrays, layers)
    kind = modules[0].kind if modules else ""
    return Contents([Component("", kind, arrays, complete)], last=last)


def _read_tensors(data: bytes, path: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read the arrays and the texts in a file, by name."""
    start, end, arrays = _WIDTH + int.from_bytes(data[:_WIDTH], "little"), 0, {}
    with wrap_damage(path):
        if start > min(_HEADER_MOST, len(data)):
            raise ValueError(f"a header of {start - _WIDTH:,} bytes, or no .safetensors")
        header = json.loads(data[_WIDTH:start], object_pairs_hook=_make_object, parse_constant=int)
        values, texts = memoryview(data)[start:], header.pop(_METADATA, None) or {}
        "".join(texts.values())  # a TypeError where one is no text
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            shape, (begin, stop) = entry["shape"], entry["data_offsets"]
            if begin != end:
                raise ValueError(f"{shown(name)} begins at byte {begin}, expected {end}")
            end = stop
            if entry["dtype"] not in _CODES:  # such as a float of 8 bits, or a complex number
                arrays[name] = make_unread(shape, entry["dtype"])
                continue
            dtype = np.dtype(_CODES[entry["dtype"]])
            if len(shape) > _MOST_AXES or prod(shape) * dtype.itemsize != stop - begin:
                raise ValueError(f"{stop - begin} bytes are not of {entry!r:.80}")
            array = np.require(np.ndarray(shape, dtype, values[begin:stop]), requirements="A")
            arrays[name] = widen_bfloat16(array) if entry["dtype"] == "BF16" else array
        if end != len(values):
            raise ValueError(f"{len(values)} bytes follow the header, expected {end}")
    return arrays, texts


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object; refuse a name that stands twice or is no text."""
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name is there twice")
    "".join(names).encode()  # a ValueError where a name holds half of a pair
    return names


def save_model(file: BinaryIO, network: Network) -> list[str]:
    """Write layers as a ``.safetensors`` file; the library's own order of metadata is random."""
    tensors = name_arrays(network.layers)
    # Wide types first: each tensor is then aligned to its own width.
    named = sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))
    header, stop = dict[str, Any](), 0
    for name, array in named:
        start, stop = stop, stop + array.nbytes
        dtype = f"F{8 * array.itemsize}"
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": (start, stop)}
    # Without the format, the transformers library refuses a file.
    header[_METADATA] = {_OURS: write_text(network, tensors), "format": "pt"}
    content = json.dumps(header, separators=(",", ":")).encode("ascii")
    content += b" " * (-len(content) % _WIDTH)
    file.write(len(content).to_bytes(_WIDTH, "little") + content)
    for _, array in named:
        file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return find_unsaid(network.layers)
