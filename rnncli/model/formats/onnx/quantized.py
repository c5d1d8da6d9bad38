"""Quantized nodes as nodes over floats.

Weights of 8 bits become the floats that they stand for. Rows that a graph rounds while it runs, by
the range of all of them together, keep the precision of the run: their scale is a fine one, by
which a graph may round the biases that it adds to whole numbers.

Source: https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html and
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from rnncli.model.graph import Graph, Node

_FLOAT, _MICROSOFT = 1, "com.microsoft"
_TO_FLOAT = {"to": _FLOAT}
_SCALE = np.float32(2**-12)
_NOTE = (
    "rounds rows to 8 bits while it runs ({}): here they keep the precision of the run, so that"
    " its numbers differ by some percent"
)
_PRODUCTS = ("MatMulInteger", "ConvInteger")
Add = Callable[..., str]


def read_quantized(graph: Graph) -> tuple[Graph, list[str]]:
    """Replace quantized nodes; return the graph, and a note if it rounds rows while it runs."""
    takers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            takers.setdefault(name, []).append(node)
    nodes, rounding = list[Node](), dict[str, None]()
    for node in graph.nodes:
        replace = _REPLACED.get((node.domain, node.op))
        if replace is None or not _stays_float(node, takers):
            nodes.append(node)
            continue
        replace(partial(_add, nodes, node), node, [*node.inputs, *[""] * 12][:12])
        rounding |= {node.op: None} if node.op.startswith("Dynamic") else {}
    notes = [_NOTE.format(", ".join(rounding))] if rounding else []
    return graph._replace(nodes=nodes), notes


def _stays_float(node: Node, takers: Mapping[str, Sequence[Node]]) -> bool:
    """Return whether other nodes take the outputs of a node as floats too."""
    if node.op == "DynamicQuantizeLinear":
        used = [each for name in node.outputs[::2] for each in takers.get(name, ())]
        return len(node.outputs) == 3 and all(each.op in _PRODUCTS for each in used)
    if node.op in _PRODUCTS:
        used = [*takers.get(node.outputs[0], ())]
        if [each.op for each in used] == ["Add"]:  # a bias of whole numbers
            used = [*takers.get(used[0].outputs[0], ())]
        return all(each.op == "Cast" and each.attributes.get("to") == _FLOAT for each in used)
    return True


def _add(
    nodes: list[Node], node: Node, op: str, *inputs: str, outputs: Sequence[str] = (), **known: Any
) -> str:
    """Add a node in place of another; return the name of its first output."""
    names = outputs or [f"{node.outputs[0]}/{len(nodes)}"]
    nodes.append(Node(op, node.name if outputs else "", "", inputs, names, known))
    return names[0]


def _subtract(add: Add, values: str, zero: str) -> str:
    """Subtract a zero point, which may be left out, from whole numbers."""
    floats = add("Cast", values, **_TO_FLOAT)
    return add("Sub", floats, add("Cast", zero, **_TO_FLOAT)) if zero else floats


def _pass_rows(add: Add, node: Node, names: Sequence[str]) -> None:
    """Replace the rounding of rows: they are not rounded."""
    add("Mul", names[0], add("Constant", value=1 / _SCALE), outputs=node.outputs[:1])
    for output, value in zip(node.outputs[1:], (_SCALE, np.uint8(0)), strict=True):
        add("Constant", outputs=[output], value=value)


def _multiply(add: Add, node: Node, names: Sequence[str]) -> None:
    """Replace a product of whole numbers."""
    a, b, *zeros = names
    add(
        "MatMul", _subtract(add, a, zeros[0]), _subtract(add, b, zeros[1]), outputs=node.outputs[:1]
    )


def _convolve(add: Add, node: Node, names: Sequence[str]) -> None:
    """Replace a convolution of whole numbers, whose filters may each have a zero point."""
    x, W, *zeros = names
    if zeros[1]:
        axes = len(node.attributes["kernel_shape"])
        by_filter = add("Constant", value=np.array([-1, *[1] * (axes + 1)]))
        zeros[1] = add("Reshape", zeros[1], by_filter)
    rows, weights = _subtract(add, x, zeros[0]), _subtract(add, W, zeros[1])
    add("Conv", rows, weights, outputs=node.outputs[:1], **node.attributes)


def _run_lstm(add: Add, node: Node, names: Sequence[str]) -> None:
    """Replace an LSTM whose W and R are (D, inputs, 4 H), with a scale for each D or column."""
    weights = []
    for values, scale, zero in ((names[1], *names[8:10]), (names[2], *names[10:12])):
        by_column = [
            add("Reshape", each, add("Constant", value=np.array([0, 1, -1]))) if each else ""
            for each in (scale, zero)
        ]
        product = add("Mul", _subtract(add, values, by_column[1]), by_column[0])
        weights.append(add("Transpose", product, perm=[0, 2, 1]))
    add("LSTM", names[0], *weights, *names[3:8], outputs=node.outputs, **node.attributes)


_REPLACED: Mapping[tuple[str, str], Callable[[Add, Node, Sequence[str]], None]] = {
    ("", "DynamicQuantizeLinear"): _pass_rows,
    ("", "MatMulInteger"): _multiply,
    ("", "ConvInteger"): _convolve,
    (_MICROSOFT, "DynamicQuantizeLSTM"): _run_lstm,
}
