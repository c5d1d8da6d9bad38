"""``.safetensors`` files, with tensors named as PyTorch names them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from rnncli.model.formats.containers.flat import opened
from rnncli.model.formats.metadata import metadata_text, with_metadata
from rnncli.model.formats.names import find_model, name_tensors, unnamed
from rnncli.model.formats.parts import Find, Model
from rnncli.model.formats.tensors import Entry, Tensors
from rnncli.model.network import Network

_METADATA = "__metadata__"
# Our own text among a file's metadata.
_OURS = "rnncli"
# Types that become weights; others keep the format's name.
_FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_ALIGNMENT = 8


@contextmanager
def open_model(path: str) -> Iterator[Find]:
    """Open a ``.safetensors`` file; see `FORMATS`."""
    with opened(path) as file:
        entries = {
            name: Entry(tensor.shape, _FLOATS.get(tensor.dtype, tensor.dtype))
            for name, tensor in file.tensors.items()
        }
        metadata = None
        if _OURS in file.texts:
            metadata = f"{path}: {_METADATA} {_OURS}", file.texts[_OURS]
        tensors = Tensors(path, entries, lambda names: list(map(file.array, names)), metadata)
        yield lambda layer: _find(tensors.under(layer))


def _find(tensors: Tensors) -> Model:
    """Find the layers that names and metadata tell of."""
    model = find_model(tensors)
    if tensors.metadata is None:
        return model
    specs, last = with_metadata(tensors, model.layers())
    each = iter(specs)
    parts = [
        part._replace(layers=[next(each) for _ in part.layers])
        for part in model.parts
        if part.layers
    ]
    return model._replace(parts=parts, last=last, notes=())


def save_model(file: BinaryIO, network: Network) -> list[str]:
    """Write layers as a ``.safetensors`` file, their tensors named as PyTorch does.

    What the names do not say is in the file's metadata. The library would
    write the metadata in random order; here the same network gives the same
    bytes. Return a sentence for what other programs must be told.
    """
    tensors = name_tensors(network.layers)
    # Without the format, the transformers library refuses a file.
    metadata = {_OURS: metadata_text(network, tensors), "format": "pt"}
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
