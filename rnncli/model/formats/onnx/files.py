"""``.onnx`` files."""

from typing import BinaryIO

from rnncli.model.formats.found import Found
from rnncli.model.formats.onnx.graph import find
from rnncli.model.formats.onnx.messages import Reader
from rnncli.model.network import Network


def read(data: bytes, path: str) -> Found:
    """Read an ``.onnx`` file."""
    return find(path, Reader(path, memoryview(data)).model())


def save_model(file: BinaryIO, network: Network) -> list[str]:
    """Write a network as an ``.onnx`` file of float32; see `WRITTEN`."""
    from rnncli.model.formats.onnx.writing import model_bytes  # which reading does not need

    file.write(model_bytes(network))
    arrays = [
        array
        for layer in network.layers
        for arrays in (layer.arrays, *(cell.weights.arrays for cell in layer.cells))
        for array in arrays.values()
    ]
    wide = dict.fromkeys(array.dtype.name for array in arrays if array.dtype.itemsize > 4)
    return [
        f"its {name} weights are rounded to float32: ONNX Runtime has no recurrent nodes of {name}"
        for name in wide
    ]
