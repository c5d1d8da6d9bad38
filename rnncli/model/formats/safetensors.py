"""``.safetensors`` files, with tensors named as PyTorch or Keras names them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats
from rnncli.model.formats.about import about_text, with_about
from rnncli.model.formats.naming import NAMINGS, find_network
from rnncli.model.formats.said import Said, read_said
from rnncli.model.formats.signatures import SAFETENSORS, UNKNOWN, kind_of
from rnncli.model.formats.tensors import Entry, Tensors, one_line, shown
from rnncli.model.network import Network

_METADATA = "__metadata__"
# Our own text among a file's metadata.
_ABOUT = "rnncli"
# Types that become weights; others keep the format's name for them.
_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_ALIGNMENT = 8


def load_safetensors(path: str, layer: str | None) -> Said:
    """Read a network from the recurrent layers of a ``.safetensors`` file.

    Only their tensors are read, whatever else the file holds.

    Parameters
    ----------
    path : str
    layer : str or None
        Only tensors whose names begin ``layer.`` or ``layer/`` count.

    Raises
    ------
    ValueError
        It is no such file, it is damaged, its recurrent layers are none or
        several or no simple ones, or the library is missing.
    OSError
        It cannot be opened.
    """
    with _opened(path) as file:
        header = _header(path)
        metadata = header.pop(_METADATA, None) or {}
        tensors = Tensors(
            path,
            {
                name: Entry(tuple(entry["shape"]), _DTYPES.get(entry["dtype"], entry["dtype"]))
                for name, entry in header.items()
            },
            lambda name: _values(path, file, name, header[name]),
        ).under(layer)
        if _ABOUT in metadata and layer is not None:
            raise ValueError(f"{path}: {_METADATA} speaks of the whole file: leave --layer out")
        said = read_said(tensors, find_network(tensors))
    if _ABOUT not in metadata:
        return said
    return with_about(f"{path}: {_METADATA} {_ABOUT}", said, metadata[_ABOUT])


def save_safetensors(file: BinaryIO, network: Network, naming: str) -> None:
    """Write a network as a ``.safetensors`` file, its tensors named as a framework does.

    What the names do not say is in the file's metadata. The library would
    write the metadata in random order; here the same network gives the same
    bytes.

    Raises
    ------
    ValueError
        The naming cannot tell of such a network.
    """
    tensors = NAMINGS[naming].name_tensors(network)
    metadata = {_ABOUT: about_text(network)}
    if naming == "torch":
        metadata["format"] = "pt"  # without which the transformers library refuses a file
    # Wide types first: each tensor is then aligned to its own width.
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header = json.dumps(_entries(tensors, names) | {_METADATA: metadata}, separators=(",", ":"))
    content = header.encode("ascii")
    content += b" " * (-len(content) % _ALIGNMENT)
    file.write(len(content).to_bytes(8, "little") + content)
    for name in names:
        array = tensors[name]
        file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())


def _entries(tensors: Mapping[str, Floats], names: list[str]) -> dict[str, Any]:
    start = 0
    entries: dict[str, Any] = {}
    for name in names:
        array = tensors[name]
        entries[name] = {
            "dtype": f"F{8 * array.itemsize}",
            "shape": array.shape,
            "data_offsets": (start, start + array.nbytes),
        }
        start += array.nbytes
    return entries


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """Map a file by the library, which checks its header, offsets and length.

    Raises
    ------
    ValueError
        It is damaged or of another kind, or the library is missing.
    """
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise ValueError(
            f"{path}: .safetensors files are read with the library safetensors: "
            "pip install 'rnncli[formats]'"
        ) from error
    try:
        file = safe_open(path, framework="numpy")
    # The library's error is no ValueError and has no public name.
    except Exception as error:
        kind = kind_of(path)
        if kind in (SAFETENSORS, UNKNOWN):
            raise ValueError(f"{path}: damaged, or no .safetensors: {one_line(error)}") from error
        raise ValueError(f"{path}: expected a .safetensors file, got {kind}") from error
    with file:
        yield file


def _header(path: str) -> dict[str, Any]:
    """Read the header, which the library has found sound but for names that it holds twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names: dict[str, Any] = {}
        for name, value in pairs:
            if name in names:
                raise ValueError(f"{path}: {shown(name)}: is in the header twice")
            names[name] = value
        return names

    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(size), object_pairs_hook=once)
    return header


def _values(path: str, file: Any, name: str, entry: Mapping[str, Any]) -> NDArray[Any]:
    if entry["dtype"] == "BF16":
        return _bfloat16(path, entry)
    try:
        array: NDArray[Any] = file.get_tensor(name)
    except Exception as error:
        raise ValueError(f"{path}: {shown(name)}: damaged: {one_line(error)}") from error
    return array


def _bfloat16(path: str, entry: Mapping[str, Any]) -> NDArray[np.float32]:
    """Read bfloat16, which NumPy does not know: the upper halves of float32."""
    start, stop = entry["data_offsets"]
    with open(path, "rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little") + start)
        upper = np.frombuffer(file.read(stop - start), "<u2").reshape(entry["shape"])
    return (upper.astype(np.uint32) << 16).view(np.float32)
