"""Keras layers that make something of several steps, or of what several layers give."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from rnncli.model.activations import ONNX_OPERATORS
from rnncli.model.arrays import Floats
from rnncli.model.errors import listed, shown
from rnncli.model.formats.keras.layers import Flow, Layer, Made, Waiting
from rnncli.model.formats.keras.settings import Settings
from rnncli.model.graph import Node
from rnncli.model.graph.piece import Piece, Root, Whole
from rnncli.model.graph.rows import Operand, Step

# The opset whose operators these are.
_OPSET = 20
# Steps over which a convolution reaches.
_FURTHEST = 2**16
# Operators by the classes of layers that merge what others give.
MERGES = {
    "Concatenate": "Concat",
    "Add": "Add",
    "Subtract": "Sub",
    "Multiply": "Mul",
    "Average": "Mean",
    "Maximum": "Max",
    "Minimum": "Min",
}
_POOLED = {
    "AveragePooling1D": "AveragePool",
    "MaxPooling1D": "MaxPool",
    "GlobalAveragePooling1D": "ReduceMean",
    "GlobalMaxPooling1D": "ReduceMax",
}
_SAME = {"auto_pad": "SAME_UPPER"}
# An operator, the names of constants that it takes, and its attributes.
_Operator: TypeAlias = tuple[str, Iterable[str], Mapping[str, Any]]
_TURN: _Operator = ("Transpose", (), {"perm": [0, 2, 1]})  # steps and features


def merge(kind: str, settings: Settings, flows: Sequence[Flow]) -> Made:
    """Return the layer that merges what others give."""
    widths = [_known(flow.features) for flow in flows]
    if any(flow.masked or flow.waiting for flow in flows):
        raise ValueError(f"{kind} of rows that are masked, or of other steps, is not run here")
    if len({(flow.axes, flow.reversed, flow.last) for flow in flows}) > 1:
        raise ValueError("merges rows of different steps, which is not run here")
    n, size = len(widths), widths[0]
    if kind == "Concatenate":
        settings.last_axis(flows[0].axes)
        size = sum(widths)
    elif {*widths} != {size} or (kind == "Subtract" and n != 2):
        raise ValueError(f"merges rows of {listed(map(str, widths))} values, which is not run here")
    step = Step(MERGES[kind], "", tuple(map(Operand, range(n))), size)
    piece = Piece({n: step}, dict(enumerate(widths)), Operand(n), size)
    settings.check_rest()
    piece.sources = tuple(flow.number for flow in flows)
    recurrent = max(flow.recurrent for flow in flows)
    return [piece], flows[0]._replace(features=size, recurrent=recurrent)


def pass_on(number: int, size: int | None) -> Piece:
    """Return the layer that passes on what a layer gives that is not the one below."""
    piece = Piece({}, {0: _known(size)}, Operand(0), _known(size))
    piece.sources = (number,)
    return piece


def _known(size: int | None) -> int:
    if not size or size < 1:
        raise ValueError("the file does not say how many features it takes")
    return size


def _convolution(layer: Layer) -> Made:
    settings = layer.settings
    strides, dilation, groups = (
        _one(settings, name) for name in ("strides", "dilation_rate", "groups")
    )
    arrays = layer.read(1 + settings.truth("use_bias", True))
    (path, kernel), *_ = arrays.items()
    if kernel.ndim != 3 or not kernel.size or kernel.shape[2] % groups:
        raise ValueError(f"{shown(path)}: expected shape (steps, I, O), got {kernel.shape}")
    settings.equal("filters", kernel.shape[2], path)
    settings.get("kernel_size")
    reach = (len(kernel) - 1) * dilation
    if reach > _FURTHEST:
        raise ValueError(f"a convolution over {reach + 1:,} steps is not run here")
    pads: dict[str, Any] = {"valid": {}, "same": _SAME, "causal": {"pads": [reach, 0]}}
    attributes = {"dilations": [dilation], "strides": [strides], "group": groups}
    attributes |= _padding(settings, pads)
    operators = [_TURN, ("Conv", arrays, attributes), _TURN]
    activation = settings.activation()
    if activation.name not in (*ONNX_OPERATORS, "linear"):
        raise ValueError(f"activation {activation} of a convolution is not run here")
    if activation.name != "linear":
        parameters = dict(zip(("alpha", "beta"), activation.parameters, strict=False))
        operators.append((ONNX_OPERATORS[activation.name], (), parameters))
    keeps = strides == 1 and (reach == 0 or settings.get("padding") in ("same", "causal"))
    constants = {**arrays, path: np.ascontiguousarray(kernel.transpose(2, 1, 0))}
    sizes = kernel.shape[1] * groups, kernel.shape[2]
    return _take_steps(layer, operators, constants, sizes, "all" if keeps else "other")


def _pooling(layer: Layer) -> Made:
    settings, size = layer.settings, _known(layer.flow.features)
    reach = _one(settings, "pool_size", 2)
    strides = reach if settings.get("strides") is None else _one(settings, "strides")
    pads: dict[str, Any] = {"valid": {}}
    if layer.kind == "MaxPooling1D":
        pads["same"] = _SAME
    attributes = {"kernel_shape": [reach], "strides": [strides], **_padding(settings, pads)}
    keeps = strides == 1 and (reach == 1 or settings.get("padding") == "same")
    operators = [_TURN, (_POOLED[layer.kind], (), attributes), _TURN]
    return _take_steps(layer, operators, {}, (size, size), "all" if keeps else "other")


def _pooling_of_all(layer: Layer) -> Made:
    layer.settings.off("keepdims")
    size = _known(layer.flow.features)
    operator = (_POOLED[layer.kind], (), {"axes": [1], "keepdims": 0})
    return _take_steps(layer, [operator], {}, (size, size), "none")


def _take_steps(
    layer: Layer,
    operators: Sequence[_Operator],
    constants: Mapping[str, Floats],
    sizes: tuple[int, int],
    steps: str,
) -> Made:
    """Return operators over steps as a layer, which gives all steps or one row for all.

    Where they give another number of steps they wait for those that make one row.
    """
    _check_format(layer.settings)
    layer.take_sequence()
    flow = layer.flow
    if flow.masked or flow.reversed:
        raise ValueError(f"{layer.kind} of rows that are masked or reversed is not run here")
    waiting = flow.waiting or Waiting((), {}, sizes[0])
    nodes = [*waiting.nodes]
    for n, (op, more, attributes) in enumerate(operators, start=len(nodes)):
        nodes.append(Node(op, layer.name, "", (f"rows {n}", *more), (f"rows {n + 1}",), attributes))
    constants, flow = {**waiting.constants, **constants}, flow._replace(features=sizes[1])
    if steps == "other" or (waiting.nodes and steps == "all"):
        return [], flow._replace(waiting=Waiting(nodes, constants, waiting.size))
    flow = flow._replace(waiting=None)
    if steps == "none":
        flow = flow._replace(axes=2, last="step")
    root = Root("rows 0", np.arange(waiting.size), (1, 1, waiting.size), (1, 0))
    target, axes = f"rows {len(nodes)}", (None if steps == "none" else 1, 0)
    return [Whole(nodes, constants, _OPSET, [root], target, axes, (waiting.size, sizes[1]))], flow


def _padding(settings: Settings, known: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    padding = str(settings.get("padding", "valid"))
    if padding not in known:
        raise ValueError(f"padding {shown(padding, 40)} is not run here")
    return known[padding]


def _check_format(settings: Settings) -> None:
    """Check that the last axis is that of the features."""
    if settings.get("data_format") not in (None, "channels_last"):
        raise ValueError("data_format channels_first is not run here")


def _one(settings: Settings, name: str, default: int = 1) -> int:
    """Return a whole number, which may stand in a list."""
    value = settings.get(name, default)
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if type(value) is not int or not 0 < value <= _FURTHEST:
        raise ValueError(f"{name}: expected a whole number, got {shown(str(value), 40)}")
    return value


def _flatten(layer: Layer) -> Made:
    _check_format(layer.settings)
    if layer.flow.axes != 2:
        raise ValueError("Flatten of a row for each step is not run here")
    return [], layer.flow


MAKERS: dict[str, Callable[[Layer], Made]] = {
    **dict.fromkeys(("AveragePooling1D", "MaxPooling1D"), _pooling),
    **dict.fromkeys(("GlobalAveragePooling1D", "GlobalMaxPooling1D"), _pooling_of_all),
    "Conv1D": _convolution,
    "Flatten": _flatten,
}
