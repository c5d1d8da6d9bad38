"""Classes of Keras layers: each becomes layers of a network."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model import layers as ours
from rnncli.model.activations import ONNX_OPERATORS
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, Weights
from rnncli.model.cells.gates import summed
from rnncli.model.errors import shown
from rnncli.model.formats.found import CellDraft, Draft, FileLayer
from rnncli.model.formats.keras.layer import POINTWISE, Layer
from rnncli.model.formats.keras.weights import FROZEN
from rnncli.model.graph import Node
from rnncli.model.graph.piece import Piece, Root, Whole
from rnncli.model.graph.rows import Operand, Step

# Cells by the class of their layer.
CELL_OF = {"SimpleRNN": "rnn", "LSTM": "lstm", "GRU": "gru", "CuDNNLSTM": "lstm", "CuDNNGRU": "gru"}
# Before this version gates were hard sigmoids where nothing else was said.
SIGMOID_SINCE = (2, 3)
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
_GLOBAL = {"GlobalAveragePooling1D": "ReduceMean", "GlobalMaxPooling1D": "ReduceMax"}
_NOTHING = (
    *("Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout"),
    *("ActivityRegularization", "Identity", "Flatten"),
)
_OPSET = 20
_SAME = {"auto_pad": "SAME_UPPER"}

Made: TypeAlias = Sequence[FileLayer]
# An operator and its attributes.
_Operator: TypeAlias = tuple[str, Mapping[str, Any]]
_TURN: _Operator = ("Transpose", {"perm": [0, 2, 1]})  # steps and features


def _recurrent(layer: Layer) -> Made:
    """Make a layer of one cell, or of several, each of which takes what the one below gives."""
    inner = layer.within("cell", "cell") if layer.kind == "RNN" else layer
    cells = [inner]
    if inner.kind == "StackedRNNCells":
        found = inner.get("cells")
        found = found if isinstance(found, list) and found else [found]
        cells = [inner.hold("cells", each, inner.group) for each in found]
        learns = [each.truth("trainable", True) for each in cells]
        if inner.group.listed and learns != sorted(learns, reverse=True):
            raise ValueError(FROZEN)
        counts = [2 + each.truth("use_bias", True) for each in cells]
        groups = inner.group.cells([each.kind for each in cells], counts)
        for each, group in zip(cells, groups, strict=True):
            each.group = group
    drafts = [_cell(each) for each in cells]
    backward = layer.truth("go_backwards") != layer.flow.reversed
    _give_states(layer, layer, len(drafts[-1].weights.W_hh), turned=backward)
    return [Draft((each,), {"direction": "backward" if backward else "forward"}) for each in drafts]


def _bidirectional(layer: Layer) -> Made:
    """Make a layer of two cells, one of which goes backward."""
    own, flow = layer.get("backward_layer") is not None, layer.flow
    forward = layer.within("layer", "forward_layer")
    backward = layer.within("backward_layer" if own else "layer", "backward_layer")
    cells = []
    for each, turned in ((forward, False), (backward, own)):
        if each.truth("go_backwards") != turned:
            raise ValueError(f"go_backwards {str(not turned).lower()} in it is not run here")
        # Bidirectional takes the output for zeros where it gives a sequence, whatever this is.
        each.truth("zero_output_for_mask")
        cells.append(_cell(each.within("cell", "cell") if each.kind == "RNN" else each))
    unrolled = [backward.truth(name) for name in ("return_sequences", "unroll")]
    if flow.masked and all(unrolled):
        raise ValueError(
            "unroll of the backward layer: Keras masks its rows in the wrong direction"
        )
    merge = layer.get("merge_mode", "concat")
    if merge not in list(ours.MERGES) or (flow.reversed and merge == "concat"):
        rows = " over reversed rows" * flow.reversed
        raise ValueError(f"merge_mode {str(merge).lower():.40}{rows} is not run here")
    size = ours.merged_size(len(cells[0].weights.W_hh), "bidirectional", merge)
    _give_states(layer, forward, size, turned=flow.reversed)
    cells = cells[::-1] if flow.reversed else cells
    return [Draft(tuple(cells), {"direction": "bidirectional", "merge": merge})]


def _give_states(layer: Layer, inner: Layer, size: int, *, turned: bool) -> None:
    """Check the rows that a recurrent layer takes, and set those that it gives."""
    layer.check_sequence()
    if layer.flow.masked and layer.flow.reversed:
        raise ValueError("takes reversed rows with a mask that is not, which is not run here")
    layer.give(features=size, recurrent=layer.name)
    if inner.truth("return_sequences"):
        layer.give(reversed=turned)
    else:
        layer.give(axes=2, masked="", reversed=False, last="state")


def _cell(layer: Layer) -> CellDraft:
    """Make the cell of a layer, or of one that is a cell itself."""
    kind, version = layer.kind.removesuffix("Cell"), layer.stored.version
    if kind not in CELL_OF:
        raise ValueError(f"{shown(layer.kind)} is not run here")
    cell, packed = CELL_OF[kind], kind.startswith("CuDNN")
    settings: dict[str, Any] = {"clip": inf, "activation": layer.activation(default="tanh")}
    if cell != "rnn":
        default = "hard_sigmoid" if not packed and version < SIGMOID_SINCE else "sigmoid"
        settings["recurrent_activation"] = layer.activation("recurrent_activation", default)
    if cell == "gru":
        after = packed or layer.truth("reset_after", version >= (3,))
        settings["reset"] = "after" if after else "before"
    group = layer.group.inner("cell") if layer.kind == kind and not packed else layer.group
    arrays = layer.read(2 + (packed or layer.truth("use_bias", True)), group)
    draft = make_cell(cell, arrays, settings, packed=packed)
    layer.check_equal("units", len(draft.weights.W_hh))
    return draft


def make_cell(
    cell: str, arrays: Mapping[str, Floats], settings: Mapping[str, Any], *, packed: bool
) -> CellDraft:
    """Make a cell of its kernel, its recurrent kernel and its bias, if it has one.

    The bias of a GRU that resets after the product is two, (2, 3 H). Those of cuDNN stand one
    after the other, and the block of each gate transposed: that of the kernel in the shape that
    it has untransposed.
    """
    W_xh, W_hh, *bias = arrays.values()
    names = dict(zip(("W_xh", "W_hh", "b_h"), arrays, strict=False))
    if W_hh.ndim != 2:
        raise ValueError(f"{shown(names['W_hh'])}: expected two axes, got shape {W_hh.shape}")
    if packed:
        kernels, turned = (np.split(W, CELLS[cell].gates, axis=1) for W in (W_xh, W_hh))
        W_xh = np.concatenate([W.T.reshape(W.shape, order="F") for W in kernels], 1)
        W_hh = np.concatenate([W.T for W in turned], 1)
    if settings.get("reset") == "after" and bias:
        b_x, b_r = bias[0].reshape(2, -1)
        weights = Weights(W_xh, W_hh, **summed(b_x, b_r, len(W_hh)))
        return CellDraft(cell, weights, settings, biases=(b_x, b_r), names=names)
    b_h = bias[0] if bias else np.zeros(W_hh.shape[1], W_hh.dtype)
    if packed:
        with np.errstate(over="ignore"):  # the sum is not finite then, which the cell refuses
            b_h = b_h.reshape(2, -1).sum(0)
    return CellDraft(cell, Weights(W_xh, W_hh, b_h), settings, names=names)


def _nothing(layer: Layer) -> Made:
    layer.get("data_format")
    if layer.kind == "Flatten" and layer.flow.axes > 2:
        raise ValueError("Flatten of a row for each step is not run here")
    return []


def _input(layer: Layer) -> Made:
    dtype = str(layer.get("dtype", "float32"))
    if layer.flow.axes == 3 and "float" not in dtype:
        raise ValueError(f"dtype {shown(dtype)} cuts features to whole numbers, not run here")
    return []


def _dense(layer: Layer) -> Made:
    W, *b = layer.read(1 + layer.truth("use_bias", True)).values()
    made = ours.Dense(W, b[0] if b else None, layer.row_activation())
    layer.check_equal("units", made.output_size)
    return [made]


def _embedding(layer: Layer) -> Made:
    masks = layer.truth("mask_zero")
    if layer.flow.axes == 3 and layer.flow.features:
        raise ValueError(f"takes one number a step, and not {layer.flow.features}")
    made = ours.Embedding(*layer.read(1).values(), mask_zero=masks)
    layer.check_equal("output_dim", made.output_size)
    layer.give(axes=3, masked=layer.name if masks else "")
    return [made]


def _masking(layer: Layer) -> Made:
    value, dtypes = layer.number("mask_value", 0), layer.coarse()
    layer.check_sequence()
    if below := layer.flow.masked or layer.flow.recurrent:
        raise ValueError(f"masks rows above {shown(below)}, which is not run here")
    if layer.stored.version >= (3,) and dtypes and (abs(value) > 256 or value % 1):
        raise ValueError(f"mask_value {value} is rounded in {dtypes[0]}, which is not run here")
    layer.give(masked=layer.name)
    return [partial(ours.Masking, value)]


def _pointwise(layer: Layer) -> Made:
    if layer.kind == "Softmax" and layer.flow.masked:
        raise ValueError(f"Softmax of rows that {shown(layer.flow.masked)} masks is not run here")
    own = layer.kind != "Activation"
    function = ours.row_activation(layer.function()) if own else layer.row_activation()
    return [partial(ours.Pointwise, function)]


def _normalizing(layer: Layer) -> Made:
    """Make a batch or a layer normalization."""
    layer.check_last_axis()
    learned = {"scale": "factor", "center": "shift"}
    roles = [role for name, role in learned.items() if layer.truth(name, True)]
    epsilon = layer.number("epsilon", 1e-3)
    if layer.kind == "BatchNormalization":
        *arrays, center, variance = layer.read(len(roles) + 2).values()
        more = dict(zip(roles, arrays, strict=True))
        return [ours.Normalization(center, _deviation(variance, epsilon), **more)]
    more = dict(zip(roles, layer.read(len(roles)).values(), strict=True))
    if "factor" not in more:
        size = more["shift"].shape if more else layer.features()
        more["factor"] = np.ones(size, np.float32)
    return [ours.LayerNormalization(**more, epsilon=epsilon)]


def _normalization(layer: Layer) -> Made:
    if layer.get("axis", -1) not in (None, []):
        layer.check_last_axis()
    mean, variance = (
        np.broadcast_to(array, layer.features()) if array.shape in ((), (1,)) else array
        for array in layer.read(2).values()
    )
    # Keras takes no smaller scale: ``keras.config.epsilon()``.
    return [ours.Normalization(mean, np.maximum(_deviation(variance, 0), 1e-7))]


def _deviation(variance: NDArray[Any], epsilon: float) -> NDArray[np.float64]:
    """Compute ``sqrt(variance + epsilon)``."""
    with np.errstate(invalid="ignore"):  # of a negative variance, which is not finite then
        return np.sqrt(variance.astype(np.float64) + epsilon)


def _rescaling(layer: Layer) -> Made:
    scale, offset = (np.float32(layer.number(*each)) for each in (("scale",), ("offset", 0.0)))
    text = f"affine:{scale.item()!r},{offset.item()!r}"
    return [partial(ours.Pointwise, ours.row_activation(text))]


# Layers over several steps, and over what several layers give.


def _convolution(layer: Layer) -> Made:
    dilation, groups = map(layer.whole, ("dilation_rate", "groups"))
    arrays = layer.read(1 + layer.truth("use_bias", True))
    path, kernel = next(iter(arrays.items()))
    if kernel.ndim != 3 or not kernel.size or kernel.shape[2] % groups:
        raise ValueError(f"expected a kernel of shape (steps, I, O), got {kernel.shape}")
    layer.check_equal("filters", kernel.shape[2])
    layer.get("kernel_size")
    reach = (len(kernel) - 1) * dilation
    if reach > 2**16:
        raise ValueError(f"a convolution over {reach + 1:,} steps is not run here")
    activation = layer.activation()
    if activation.name not in (*ONNX_OPERATORS, "linear"):
        raise ValueError(f"activation {activation} of a convolution is not run here")
    constants = {**arrays, path: np.ascontiguousarray(kernel.transpose(2, 1, 0))}
    attributes = {"dilations": [dilation], "strides": [layer.whole("strides")], "group": groups}
    pads: dict[str, Any] = {"same": _SAME, "causal": {"pads": [reach, 0]}}
    operators, keeps = _slide(layer, ("Conv", attributes), reach, pads)
    if activation.name != "linear":
        parameters = dict(zip(("alpha", "beta"), activation.parameters, strict=False))
        operators.append((ONNX_OPERATORS[activation.name], parameters))
    sizes = kernel.shape[1] * groups, kernel.shape[2]
    return _over_steps(layer, operators, constants, sizes, keeps=keeps)


def _pooling(layer: Layer) -> Made:
    size = layer.features()
    if layer.kind in _GLOBAL:
        operator = (_GLOBAL[layer.kind], {"axes": [1], "keepdims": 0})
        return _over_steps(layer, [operator], {}, (size, size), keeps=None)
    reach = layer.whole("pool_size", 2)
    strides = reach if layer.get("strides") is None else layer.whole("strides")
    operator = (layer.kind.removesuffix("ing1D"), {"kernel_shape": [reach], "strides": [strides]})
    pads = {"same": _SAME} if layer.kind == "MaxPooling1D" else {}
    operators, keeps = _slide(layer, operator, reach - 1, pads)
    return _over_steps(layer, operators, {}, (size, size), keeps=keeps)


def _slide(
    layer: Layer, operator: _Operator, reach: int, pads: Mapping[str, Mapping[str, Any]]
) -> tuple[list[_Operator], bool]:
    """Return operators that slide over steps, and whether they give as many as they take."""
    padding = str(layer.get("padding", "valid"))
    if padding not in ("valid", *pads):
        raise ValueError(f"padding {shown(padding, 40)} is not run here")
    keeps = operator[1]["strides"] == [1] and (reach == 0 or padding != "valid")
    return [_TURN, (operator[0], {**operator[1], **pads.get(padding, {})}), _TURN], keeps


def _over_steps(
    layer: Layer,
    operators: Sequence[_Operator],
    constants: Mapping[str, Floats],
    sizes: tuple[int, int],
    *,
    keeps: bool | None,
) -> Made:
    """Make a layer of operators over steps, which keeps their number, or gives one row of all.

    Where it does neither, the operators wait for those that make one row.
    """
    flow, below = layer.flow, layer.flow.waiting
    layer.check_sequence()
    if layer.get("data_format") not in (None, "channels_last"):
        raise ValueError("data_format channels_first is not run here")
    if flow.masked or flow.reversed:
        raise ValueError(f"{layer.kind} of rows that are masked or reversed is not run here")
    nodes = list(below.nodes) if below else []
    for n, (op, attributes) in enumerate(operators, start=len(nodes)):
        inputs = (f"rows {n}", *(constants if op == "Conv" else ()))
        nodes.append(Node(op, layer.name, "", inputs, (f"rows {n + 1}",), attributes))
    size = below.input_size if below else sizes[0]
    constants = {**(below.constants if below else {}), **constants}
    root = Root("rows 0", np.arange(size), (1, 1, size), (1, 0))
    axes, target = (None if keeps is None else 1, 0), f"rows {len(nodes)}"
    made = Whole(nodes, constants, _OPSET, [root], target, axes, (size, sizes[1]))
    if keeps is None:
        layer.give(axes=2, last="step")
    waits = keeps is False or (keeps and below)
    layer.give(features=sizes[1], waiting=made if waits else None)
    return [] if waits else [made]


def _merge(layer: Layer) -> Made:
    """Make the layer that merges what others give."""
    flows, kind, widths = layer.flows, layer.kind, [flow.features for flow in layer.flows]
    if any(flow.masked or flow.waiting for flow in flows):
        raise ValueError(f"{kind} of rows that are masked, or of other steps, is not run here")
    if len({(flow.axes, flow.reversed, flow.last) for flow in flows}) > 1:
        raise ValueError("merges rows of different steps, which is not run here")
    n, size = len(widths), widths[0]
    if kind == "Concatenate":
        layer.check_last_axis()
        size = sum(widths)
    elif {*widths} != {size} or (kind == "Subtract" and n != 2):
        size = 0
    if min(size, *widths) < 1:
        raise ValueError(f"{kind} of rows of {widths} values is not run here")
    step = Step(MERGES[kind], "", tuple(map(Operand, range(n))), size)
    made = Piece({n: step}, dict(enumerate(widths)), Operand(n), size)
    made.sources = tuple(flow.number for flow in flows)
    layer.give(recurrent=max(flow.recurrent for flow in flows))
    return [made]


MAKERS: dict[str, Callable[[Layer], Made]] = {
    **dict.fromkeys((*CELL_OF, "RNN"), _recurrent),
    **dict.fromkeys(_NOTHING, _nothing),
    **dict.fromkeys(("Activation", *POINTWISE), _pointwise),
    **dict.fromkeys(("BatchNormalization", "LayerNormalization"), _normalizing),
    **dict.fromkeys(("AveragePooling1D", "MaxPooling1D", *_GLOBAL), _pooling),
    **dict.fromkeys(MERGES, _merge),
    "Bidirectional": _bidirectional,
    "InputLayer": _input,
    "Dense": _dense,
    "Embedding": _embedding,
    "Masking": _masking,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
    "Conv1D": _convolution,
}
