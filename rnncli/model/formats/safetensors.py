"""``.safetensors`` files, with tensors named as PyTorch or Keras names them."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, one_line, shown
from rnncli.model.formats.metadata import metadata_text, with_metadata
from rnncli.model.formats.names import find_model, name_tensors, unnamed
from rnncli.model.formats.parts import Find, Model
from rnncli.model.formats.tensors import SAFETENSORS, UNKNOWN, Entry, Tensors, kind_of
from rnncli.model.network import Network

_METADATA = "__metadata__"
# Our own text among a file's metadata.
_OURS = "rnncli"
# Types that become weights, and how they lie in the file; others keep the format's name.
_DTYPES = {
    "F16": ("float16", "<f2"),
    "BF16": ("bfloat16", "<u2"),
    "F32": ("float32", "<f4"),
    "F64": ("float64", "<f8"),
}
_ALIGNMENT = 8


@contextmanager
def open_model(path: str) -> Iterator[Find]:
    """Open a ``.safetensors`` file; see `FORMATS`."""
    _check(path)
    with open(path, "rb") as file:
        header, start = _header(path, file)
        texts = header.pop(_METADATA, None) or {}
        entries = {}
        for name, entry in header.items():
            dtype, _ = _DTYPES.get(entry["dtype"], (entry["dtype"], ""))
            entries[name] = Entry(tuple(entry["shape"]), dtype)
        metadata = None
        if _OURS in texts:
            metadata = f"{path}: {_METADATA} {_OURS}", texts[_OURS]

        def read(name: str) -> NDArray[Any]:
            (_, code), shape = _DTYPES[header[name]["dtype"]], header[name]["shape"]
            file.seek(start + header[name]["data_offsets"][0])
            array = np.fromfile(file, code, prod(shape)).reshape(shape)
            # bfloat16, which NumPy does not know, is the upper half of float32.
            return (array.astype(np.uint32) << 16).view(np.float32) if code == "<u2" else array

        tensors = Tensors(path, entries, lambda names: [read(name) for name in names], metadata)
        yield lambda layer: _find(tensors.under(layer))


def _find(tensors: Tensors) -> Model:
    """Find the layers that names and metadata tell of."""
    model = find_model(tensors)
    if tensors.metadata is None:
        return model
    parts = [part for part in model.parts if part.layers]
    specs = iter(with_metadata(tensors, model.layers()))
    return model._replace(
        parts=[part._replace(layers=[next(specs) for _ in part.layers]) for part in parts], notes=()
    )


def save_model(file: BinaryIO, network: Network, naming: str) -> list[str]:
    """Write layers as a ``.safetensors`` file, their tensors named as a framework does.

    What the names do not say is in the file's metadata. The library would
    write the metadata in random order; here the same network gives the same
    bytes. Return a sentence for what other programs must be told.

    Raises
    ------
    InputError
        The naming has no names for such layers.
    """
    tensors = name_tensors(network.layers, naming)
    metadata = {_OURS: metadata_text(network.layers, tensors)}
    if naming == "torch":
        metadata["format"] = "pt"  # without which the transformers library refuses a file
    # Wide types first: each tensor is then aligned to its own width.
    named = sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))
    header: dict[str, Any] = {}
    stop = 0
    for name, array in named:
        start, stop = stop, stop + array.nbytes
        dtype = f"F{8 * array.itemsize}"
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": (start, stop)}
    content = json.dumps(header | {_METADATA: metadata}, separators=(",", ":")).encode("ascii")
    content += b" " * (-len(content) % _ALIGNMENT)
    file.write(len(content).to_bytes(8, "little") + content)
    for _, array in named:
        file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return unnamed(network.layers)


def _check(path: str) -> None:
    """Have the library check header, offsets and length of a file."""
    try:
        from safetensors import safe_open
    except ImportError as error:
        what = ".safetensors files are read with the library safetensors"
        raise InputError(path, f"{what}: pip install 'rnncli[formats]'") from error
    try:
        with safe_open(path, framework="numpy"):
            return
    # The library's error is no ValueError and has no public name.
    except Exception as error:
        kind = kind_of(path)
        if kind in (SAFETENSORS, UNKNOWN):
            what = f"damaged, or no .safetensors: {one_line(error)}"
            raise InputError(path, what) from error
        raise InputError(path, f"expected a .safetensors file, got {kind}") from error


def _header(path: str, file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Read the header, sound but for names that it may hold twice, and where values start."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = dict(pairs)
        if len(names) < len(pairs):
            (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
            raise InputError(f"{path}: {shown(name)}", "is in the header twice")
        return names

    size = int.from_bytes(file.read(8), "little")
    return json.loads(file.read(size), object_pairs_hook=once), 8 + size
