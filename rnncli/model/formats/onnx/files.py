"""ONNX's files: a graph, whose recurrent nodes and what lies between them become layers."""

from rnncli.model.contents import Contents
from rnncli.model.formats.onnx.messages import Reader
from rnncli.model.formats.onnx.quantized import read_quantized
from rnncli.model.graph.search import find_layers


def read(data: bytes, path: str, layer: str | None, output: str) -> Contents:
    """Read an ``.onnx`` file."""
    reader = Reader(path, memoryview(data))
    graph, notes = read_quantized(reader.read())
    title = f"ONNX opset {graph.opset}{f', {reader.producer}' if reader.producer else ''}"

    def complete(contents: Contents) -> Contents:
        """Add what the file tells to the layers of its graph."""
        resolve = contents.resolve
        return contents._replace(
            title=title,
            external_files=[*reader.bytes_left],
            notes=[*contents.notes, *notes],
            resolve=resolve and (lambda input_size: complete(resolve(input_size))),
        )

    return complete(find_layers(path, graph._replace(output=output))).pick(path, layer)
