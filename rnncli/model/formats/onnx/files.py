"""``.onnx`` files."""

from typing import BinaryIO

from rnncli.model.formats.contents import Contents
from rnncli.model.formats.onnx.graph import find
from rnncli.model.formats.onnx.messages import Reader
from rnncli.model.network import Network


def read(data: bytes, path: str) -> Contents:
    """Read an ``.onnx`` file."""
    return find(path, Reader(path, memoryview(data)).model())


def save_model(file: BinaryIO, network: Network) -> list[str]:
    """Write a network as an ``.onnx`` file of float32; see `WRITTEN`."""
    from rnncli.model.formats.onnx.writing import write  # which reading does not need

    return write(file, network)
