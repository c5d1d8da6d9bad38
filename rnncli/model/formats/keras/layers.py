"""Classes of Keras layers: their settings, and the layers of a network that they become."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from itertools import islice
from math import inf
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model import layers as ours
from rnncli.model.activations import KERAS, ONNX_OPERATORS, SIGMOID, TANH, parse
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, Weights, sum_biases
from rnncli.model.errors import listed, shown
from rnncli.model.formats.contents import CellDraft, Draft, FileLayer, read_floats
from rnncli.model.formats.keras.weights import Group, KerasFile, name_groups
from rnncli.model.graph import Array, Node
from rnncli.model.graph.node_layers import Operand, Root, RowGraph, SequenceGraph, Step
from rnncli.model.graph.operators import FAR

Config: TypeAlias = Mapping[str, Any]
Layers: TypeAlias = Sequence[FileLayer]
# An operator, its attributes, and the arrays that it takes.
_Operator: TypeAlias = tuple[str, Mapping[str, Any], Mapping[str, Array]]

# Settings that change no result: those of training and building, of the way of computing, and
# sizes that the arrays tell.
_INERT = re.compile(
    r"(name|trainable|dtype|seed|.*_(initializer|regularizer|constraint)|unit_forget_bias"
    r"|dropout|recurrent_dropout|momentum|rate|noise_shape|stddev|l1|l2|synchronized|renorm_momentum"
    r"|batch_shape|batch_input_shape|build_input_shape|input_(dim|length|dtype|shape)"
    r"|sparse|ragged|optional|implementation|unroll|stateful|return_state|reverse_state_order"
    r"|units|output_dim|filters|kernel_size) .*|data_format channels_last|groups 1|threshold 0.0",
    re.DOTALL,
)
# Our functions by Keras's names.
_NAMED = {name: name for name in (*KERAS, "softmax", "log_softmax")} | {
    "swish": "silu",
    "hard_swish": "hard_silu",
    "celu": "elu",
    "leaky_relu": "leaky_relu:0.2",
}
# Cells by the class of their layer.
CELL_OF = {"SimpleRNN": "rnn", "LSTM": "lstm", "GRU": "gru", "CuDNNLSTM": "lstm", "CuDNNGRU": "gru"}
# Operators by the classes that merge the outputs of several layers.
MERGES = {"Concatenate": "Concat", "Add": "Add", "Multiply": "Mul", "Subtract": "Sub"}
MERGES |= {"Maximum": "Max", "Minimum": "Min", "Average": "Add"}
_NOTHING = (
    *("Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout"),
    *("ActivityRegularization", "Identity", "Flatten", "InputLayer"),
)
_MOST_STEPS = 2**16  # that a window spans, or that are added
_FROZEN = "lists the arrays of frozen parts after those of the others: save the model as .keras"


def check(fits: object, why: str) -> None:
    """Refuse a layer that does not fit."""
    if not fits:
        raise ValueError(why)


def read_entry(entry: Any) -> tuple[str, Config]:
    """Return the class of a layer and its settings."""
    kind, config = entry["class_name"], entry["config"]
    library = str(entry.get("module", "keras")).partition(".")[0]
    check(library in ("keras", "tf_keras"), f"{shown(kind)} is a class of the model's own")
    return kind, config


class Flow(NamedTuple):
    """The rows between a layer and the next one."""

    axes: int = 3  # (N, T, I), or 2 where a layer has given one row a sequence
    keeps_axis: bool = False  # whether that row has three axes in Keras: (N, 1, I)
    masked: str = ""  # the layer that masks rows
    reversed: bool = False  # whether rows stand from the last step to the first
    features: int = 0  # in a row; 0 where that is not known
    recurrent: str = ""  # the highest recurrent layer below
    last: str = ""  # the row of a sequence that it is, as in `Network`, if it is a single one
    number: int = 0  # the layer of the network that gives them, from 1; 0 for its input
    waiting: SequenceGraph | None = None  # changes the number of steps, and is not yet a layer
    more: float = 0  # steps that it gives and does not take; -inf where strides leave some out


class Layer:
    """A layer with its settings, its arrays, and the rows that it takes and gives."""

    def __init__(self, name: str, entry: Any, file: KerasFile, group: Group, *flows: Flow) -> None:
        self.name, self.file, self.group = name, file, group
        self.kind, self.config = read_entry(entry)
        self.settings = read_settings(self.kind, self.config)
        self.flows, self.flow = flows, flows[0]  # of each layer that it takes; what it gives
        self.paths, self.used = iter(group.paths.values()), dict[str, NDArray[Any]]()
        shape = self.config.get("batch_shape", self.config.get("batch_input_shape"))
        if isinstance(shape, list) and len(shape) in (2, 3) and not self.flow.recurrent:
            known = type(shape[-1]) is int and 0 < shape[-1] < 2**20
            self.give(features=shape[-1] if known else self.flow.features, axes=len(shape))

    def within(self, entry: Any, group: Group) -> "Layer":
        """Return a layer that stands in the settings of this one."""
        layer = Layer(self.name, entry, self.file, group, self.flow)
        layer.used, layer.flow = self.used, self.flow
        if group is self.group:
            layer.paths = self.paths
        return layer

    def read(self, count: int) -> dict[str, Floats]:
        """Read the next `count` of its arrays, by path."""
        arrays = {path: self.file.arrays[path] for path in islice(self.paths, count)}
        check(len(arrays) == count, f"expected {count} arrays, got {listed(arrays)}")
        self.used.update(arrays)
        return {path: read_floats(self.file.path, path, array) for path, array in arrays.items()}

    def function(self, value: Any) -> str:
        """Return our name of an activation, which Keras names or has as a layer."""
        kind = value.get("class_name") if isinstance(value, dict) else ""
        if kind in _FUNCTIONS:
            return _FUNCTIONS[kind][0](read_settings(*read_entry(value)))
        value = value.get("config") if kind == "function" else kind or value
        if value == "hard_sigmoid":  # another function before Keras 3
            return f"hard_sigmoid:{0.2 if self.file.version < (3,) else 1 / 6!r},0.5"
        value = "linear" if value is None else value
        check(value in [*_NAMED], f"activation {shown(str(value))} is not run here")
        return _NAMED[value]

    def check_last_axis(self) -> None:
        """Check that the axis is the last one, that of the features."""
        axis, last = self.settings.axis, self.flow.axes - 1 + self.flow.keeps_axis
        check(axis in (-1, [-1], last, [last]), f"axis {shown(str(axis))} is not that of features")

    def check_sequence(self) -> None:
        """Check that there is a row for each step."""
        check(self.flow.axes == 3, "takes a row for each step, and gets one row a sequence")

    def give(self, **changes: Any) -> None:
        """Change the rows that go on to the next layer."""
        self.flow = self.flow._replace(**changes)


def read_settings(kind: str, config: Config) -> SimpleNamespace:
    """Return the settings that a class reads; refuse others that change a result."""
    check(kind in LAYERS, f"{shown(kind)} is not run here")
    known = LAYERS[kind][1]
    for name, value in config.items():
        inert = value in (None, False, [], {}) or _INERT.fullmatch(f"{name} {value}")
        check(name in known or inert, f"{shown(name)} {shown(str(value))} is not known here")
    return SimpleNamespace(**{name: config.get(name, known[name]) for name in known})


def _read_size(value: Any) -> int:
    """Return a size, which may stand in a list."""
    (size,) = value if isinstance(value, list) else [value]
    fits = type(size) is int and 0 < size <= _MOST_STEPS
    check(fits, f"expected a whole number, got {shown(str(value))}")
    return int(size)


def _read_pair(value: Any) -> tuple[int, int]:
    """Return numbers of steps at both ends; one number is that of each."""
    pair = value if isinstance(value, list) else [value, value]
    fits = len(pair) == 2 and all(type(size) is int and 0 <= size < 2**31 for size in pair)
    check(fits, f"expected two whole numbers, got {shown(str(value))}")
    return pair[0], pair[1]


def _make_recurrent(layer: Layer) -> Layers:
    """Make layers of one cell each, from the bottom up."""
    # Bidirectional sets it in its layers, which `_make_two_way` reads.
    check(not layer.settings.zero_output_for_mask, "zero_output_for_mask true is not run here")
    drafts = _read_cells(layer)
    backward = layer.settings.go_backwards != layer.flow.reversed
    _give_states(layer, layer, len(drafts[-1].weights.W_hh), backward=backward)
    return [Draft((each,), {"direction": "backward" if backward else "forward"}) for each in drafts]


def _make_two_way(layer: Layer) -> Layers:
    """Make a layer of two cells, one of which goes backward."""
    s, group = layer.settings, layer.group
    name = [*group.paths, ""][-2] if group.listed else ""
    check(name.rfind("/forward_") <= name.rfind("/backward_"), _FROZEN)
    groups = group.split("", ("forward_layer", "backward_layer"))
    forward, backward = map(layer.within, (s.layer, s.backward_layer or s.layer), groups)
    ways = forward.settings.go_backwards, backward.settings.go_backwards
    check(
        ways == (False, bool(s.backward_layer)), f"go_backwards {shown(str(ways))} is not run here"
    )
    unrolls = backward.settings.return_sequences and backward.config.get("unroll")
    check(not (layer.flow.masked and unrolls), "unroll: Keras masks rows in the wrong direction")
    check(s.merge_mode in [*ours.MERGES], f"merge_mode {shown(str(s.merge_mode))} is not run here")
    cells = (*_read_cells(forward), *_read_cells(backward))
    size = ours.merged_size(len(cells[0].weights.W_hh), "bidirectional", s.merge_mode)
    _give_states(layer, forward, size, backward=False)
    return [Draft(cells, {"direction": "bidirectional", "merge": s.merge_mode})]


def _give_states(layer: Layer, inner: Layer, size: int, *, backward: bool) -> None:
    """Check the rows that a recurrent layer takes, and set those that it gives."""
    layer.check_sequence()
    fits = not layer.flow.reversed or (layer is inner and not layer.flow.masked)
    check(fits, "takes reversed rows with a mask or in two directions, which is not run here")
    layer.give(features=size, recurrent=layer.name, reversed=backward)
    if not inner.settings.return_sequences:
        layer.give(axes=2, masked="", reversed=False, last="state")


def _make_distributed(layer: Layer) -> Layers:
    """Make the layer that runs over each row alone."""
    layer.check_sequence()
    layer.give(axes=2)
    inner = layer.within(layer.settings.layer, layer.group)
    make: Any = LAYERS[inner.kind][0]
    layers: Layers = make(inner)
    check(inner.flow.axes == 2, "TimeDistributed of an embedding is not run here")
    layer.flow = inner.flow._replace(axes=3)
    return layers


def _read_cells(layer: Layer) -> list[CellDraft]:
    """Read the cell of a recurrent layer, or the cells that an RNN stacks."""
    cell = layer.within(layer.settings.cell, layer.group) if layer.kind == "RNN" else layer
    if cell.kind != "StackedRNNCells":
        return [_read_cell(cell)]
    entries = [read_entry(each) for each in cell.settings.cells]
    learns = [bool(config.get("trainable", True)) for _, config in entries]
    check(not cell.group.listed or learns == sorted(learns, reverse=True), _FROZEN)
    groups = cell.group.split("cells/", name_groups(kind for kind, _ in entries))
    return [_read_cell(each) for each in map(cell.within, cell.settings.cells, groups)]


def _read_cell(layer: Layer) -> CellDraft:
    """Make the cell of a layer, or of one that is a cell itself."""
    kind, s = layer.kind.removesuffix("Cell"), layer.settings
    settings: dict[str, Any] = {"clip": inf, "activation": parse(layer.function(s.activation))}
    if CELL_OF[kind] != "rnn":
        settings["recurrent_activation"] = parse(layer.function(s.recurrent_activation))
    if CELL_OF[kind] == "gru":
        after = layer.file.version >= (3,) if s.reset_after is None else s.reset_after
        settings["reset"] = "after" if after else "before"
    return make_cell(CELL_OF[kind], layer.read(2 + s.use_bias), settings)


def make_cell(cell: str, arrays: Mapping[str, Floats], settings: dict[str, Any]) -> CellDraft:
    """Make a cell of its kernel, its recurrent kernel and its bias, if it has one.

    A GRU that resets after the product has two biases, (2, 3 H). A cell of cuDNN has two in one
    vector, and the block of each gate transposed; that of the kernel then has its old shape again.
    """
    W_xh, W_hh, *bias = arrays.values()
    names = dict(zip(("W_xh", "W_hh", "b_h"), arrays, strict=False))
    packed = bias and cell != "rnn" and bias[0].shape == (2 * W_hh.shape[1],)
    if packed:
        kernels, blocks = (np.split(W, CELLS[cell].gates, axis=1) for W in (W_xh, W_hh))
        W_xh = np.concatenate([W.T.reshape(W.shape, order="F") for W in kernels], 1)
        W_hh = np.concatenate([W.T for W in blocks], 1)
        settings |= {"activation": TANH, "recurrent_activation": SIGMOID}
        settings |= {"reset": "after"} if cell == "gru" else {}
    if packed or (bias and settings.get("reset") == "after"):
        b_x, b_r = bias[0].reshape(2, -1)
        sums = sum_biases(b_x, b_r, len(W_hh) if cell == "gru" else 0)
        weights = Weights(W_xh, W_hh, **sums)
        return CellDraft(cell, weights, settings, biases=(b_x, b_r), names=names)
    b_h = bias[0] if bias else np.zeros(W_hh.shape[1], W_hh.dtype)
    return CellDraft(cell, Weights(W_xh, W_hh, b_h), settings, names=names)


def _skip(layer: Layer) -> Layers:
    """Check that a layer does nothing at inference."""
    cuts = layer.kind == "InputLayer" and "int" in str(layer.config.get("dtype"))
    fits = layer.flow.axes != 3 or not (cuts or layer.kind == "Flatten")
    check(fits, "flattens rows, or cuts features to whole numbers, not run here")
    layer.give(keeps_axis=layer.flow.keeps_axis and layer.kind != "Flatten")
    return []


def _make_dense(layer: Layer) -> Layers:
    W, *b = layer.read(1 + layer.settings.use_bias).values()
    function = ours.row_activation(layer.function(layer.settings.activation))
    return [ours.Dense(W, b[0] if b else None, function)]


def _make_embedding(layer: Layer) -> Layers:
    masks = bool(layer.settings.mask_zero)
    layer.give(axes=3, masked=layer.name if masks else "")
    return [ours.Embedding(*layer.read(1).values(), mask_zero=masks)]


def _make_masking(layer: Layer) -> Layers:
    layer.check_sequence()
    below = layer.flow.masked or layer.flow.recurrent
    check(not below, f"masks rows above {shown(below)}, which is not run here")
    layer.give(masked=layer.name)
    return [ours.Masking(float(layer.settings.mask_value), layer.flow.features)]


def _make_pointwise(layer: Layer) -> Layers:
    s = layer.settings
    if layer.kind == "Softmax":
        layer.check_last_axis()
        check(not layer.flow.masked, "Softmax of masked rows is not run here")
    function = _FUNCTIONS.get(layer.kind)
    name = function[0](s) if function else layer.function(s.activation)
    return [ours.Pointwise(ours.row_activation(name), layer.flow.features)]


def _make_norm(layer: Layer) -> Layers:
    """Make a normalization by the statistics of training, or by those of each row."""
    s, size, of_rows = layer.settings, layer.flow.features, layer.kind == "LayerNormalization"
    if s.axis not in (None, []):
        layer.check_last_axis()
    roles = ["factor"] * s.scale + ["shift"] * s.center + ["center", "variance"] * (not of_rows)
    constants = [getattr(s, name, None) for name in ("mean", "variance")]
    if None in constants:
        values: Any = layer.read(len(roles)).values()
    else:
        values = (np.asarray(each, np.float32).reshape(-1) for each in constants)
    pairs = zip(roles, values, strict=True)
    arrays = {role: np.broadcast_to(array, size) for role, array in pairs}
    if of_rows:
        factor = arrays.pop("factor", np.ones(size, np.float32))
        return [ours.LayerNormalization(factor, epsilon=float(s.epsilon), **arrays)]
    with np.errstate(invalid="ignore"):  # of a negative variance, which is not finite then
        scale = np.sqrt(arrays.pop("variance").astype(np.float64) + float(s.epsilon))
    if layer.kind == "Normalization":  # Keras takes no smaller scale of data
        scale = np.maximum(scale, 1e-7)
    return [ours.Normalization(scale=scale, **arrays)]


def _make_convolution(layer: Layer) -> Layers:
    s, function = layer.settings, parse(layer.function(layer.settings.activation))
    arrays = layer.read(1 + s.use_bias)
    (path, kernel), *_ = arrays.items()
    op = {**ONNX_OPERATORS, "linear": "Identity"}.get(function.name, "")
    fits = kernel.ndim == 3 and kernel.size and op
    check(fits, f"a kernel of shape {kernel.shape} and activation {function} is not run here")
    by = _read_size(s.dilation_rate)
    reach = _read_size((len(kernel) - 1) * by + 1)
    arrays[path] = np.ascontiguousarray(kernel.transpose(2, 1, 0))
    parameters = dict(zip(("alpha", "beta"), function.parameters, strict=False))
    conv: _Operator = ("Conv", {"dilations": [by]}, arrays)
    return _slide(layer, conv, reach, kernel.shape[2], (op, parameters, {}))


def _make_pooling(layer: Layer) -> Layers:
    op, size = layer.kind.removesuffix("ing1D"), layer.flow.features
    if op.startswith("Global"):
        op = "ReduceMean" if "Average" in op else "ReduceMax"
        layers = _make_graph(layer, [(op, {"axes": [1], "keepdims": 0}, {})], size, None)
        layer.give(keeps_axis=bool(layer.settings.keepdims))
        return layers
    reach = _read_size(layer.settings.pool_size)
    return _slide(layer, (op, {"kernel_shape": [reach]}, {}), reach, size)


def _slide(layer: Layer, operator: _Operator, reach: int, size: int, *above: _Operator) -> Layers:
    """Make a layer that slides an operator over the steps, and has others above it."""
    op, attributes, arrays = operator
    pads: dict[Any, dict[str, Any]] = {"valid": {}, "same": {"auto_pad": "SAME_UPPER"}}
    pads |= {"causal": {"pads": [reach - 1, 0]}} if op == "Conv" else {}
    padding, strides = layer.settings.padding, _read_size(layer.settings.strides or reach)
    fits = padding in pads and (op, padding) != ("AveragePool", "same")
    check(fits, f"padding {shown(str(padding))} is not run here")
    turn: _Operator = ("Transpose", {"perm": [0, 2, 1]}, {})
    slides = (op, {**attributes, "strides": [strides], **pads[padding]}, arrays)
    more = -inf if strides > 1 else 1 - reach if padding == "valid" else 0
    return _make_graph(layer, [turn, slides, turn, *above], size, more)


def _make_padding(layer: Layer) -> Layers:
    """Make a layer that adds steps of zeros at both ends, or leaves steps out."""
    s, size, below = layer.settings, layer.flow.features, layer.flow.waiting
    if layer.kind == "Cropping1D":
        first, last = _read_pair(s.cropping)
        bounds = {"starts": [first], "ends": [-last or FAR], "axes": [1]}
        return _make_graph(layer, [("Slice", bounds, {})], size, -(first + last))
    first, last = _read_pair(s.padding)
    total, name = first + last, f"{layer.name} pads"
    if below:
        pads = [each.inputs[1] for each in below.nodes if each.op == "Pad"]
        total += sum(int(below.constants[each].sum()) for each in pads)
    check(total <= _MOST_STEPS, f"expected under {_MOST_STEPS:,} steps of zeros, got {total:,}")
    pad: _Operator = ("Pad", {}, {name: np.array([0, first, 0, 0, last, 0])})
    return _make_graph(layer, [pad], size, first + last)


def _make_graph(layer: Layer, ops: list[_Operator], size: int, more: float | None) -> Layers:
    """Make a layer of operators over steps; it waits for one above if it gives more or fewer.

    `more` is the number of steps that the operators add, and None if they give one row.
    """
    flow, below = layer.flow, layer.flow.waiting
    layer.check_sequence()
    check(not (flow.masked or flow.reversed), "masked or reversed rows are not run here")
    nodes, constants = (below.nodes[:], {**below.constants}) if below else ([], {})
    for n, (op, attributes, arrays) in enumerate(ops, start=len(nodes)):
        inputs, outputs = (f"rows {n}", *arrays), (f"rows {n + 1}",)
        nodes.append(Node(op, layer.name, "", inputs, outputs, attributes))
        constants.update(arrays)
    width = below.input_size if below else flow.features
    root = Root("rows 0", np.arange(width), (1, 1, width), (1, 0))
    axes = (None if more is None else 1, 0)
    graph = SequenceGraph(nodes, constants, 20, [root], f"rows {len(nodes)}", axes, (width, size))
    total = 0 if more is None else flow.more + more
    layer.give(features=size, waiting=graph if total else None, more=total)
    if more is None:
        layer.give(axes=2, last="step")
    return [] if total else [graph]


def _make_unit(layer: Layer) -> Layers:
    """Make a layer that divides each row by its length."""
    layer.check_last_axis()
    size, rows, row = layer.flow.features, Operand(0), Operand(1)
    least = Operand(-1, None, np.array([1e-12 if layer.file.version >= (3,) else 1e-6], np.float32))
    steps = {
        1: Step("ReduceL2", "", (rows,), 1, {"axes": [1], "keepdims": 1}, (size,)),
        2: Step("Max", "", (row, least), 1),
        3: Step("Div", "", (rows, Operand(2)), size),
    }
    return [RowGraph(steps, {0: size}, Operand(3), size)]


def _merge(layer: Layer) -> Layers:
    """Make the layer that merges the outputs of several."""
    flows, kind, widths = layer.flows, layer.kind, [flow.features for flow in layer.flows]
    kinds = {(flow.axes, flow.keeps_axis, flow.reversed, flow.last) for flow in flows}
    fits = len(kinds) == 1 and not any(flow.masked or flow.waiting for flow in flows)
    check(fits, "merges rows of different steps, or masked ones, which is not run here")
    n, size = len(widths), widths[0]
    if kind == "Concatenate":
        layer.check_last_axis()
        size = sum(widths)
    fits = kind == "Concatenate" or (len({*widths}) == 1 and (kind != "Subtract" or n == 2))
    check(fits and min(widths), f"{kind} of rows of {widths} values is not run here")
    steps = dict[int, Step]()

    def add(op: str, *operands: Operand) -> Operand:
        steps[n + len(steps)] = Step(op, "", operands, size)
        return Operand(n + len(steps) - 1)

    if kind == "Concatenate":
        result = add("Concat", *map(Operand, range(n)))
    else:
        result = reduce(partial(add, MERGES[kind]), map(Operand, range(n)))
    if kind == "Average":
        result = add("Div", result, Operand(-1, None, np.array([n], np.float32)))
    graph = RowGraph(steps, dict(enumerate(widths)), result, size)
    graph.sources = tuple(flow.number for flow in flows)
    layer.give(recurrent=max(flow.recurrent for flow in flows))
    return [graph]


def _name_relu(s: SimpleNamespace) -> str:
    slope = float(s.negative_slope or 0)
    fits = s.max_value is None or (s.max_value == 6 and not slope)
    check(fits, "a ReLU of such a max_value is not run here")
    return "relu6" if s.max_value else f"leaky_relu:{slope!r}" if slope else "relu"


# Layers that are a function of single values, or of a row: our name of it, and their settings.
_FUNCTIONS: dict[str, tuple[Callable[[SimpleNamespace], str], dict[str, Any]]] = {
    "ReLU": (_name_relu, {"negative_slope": 0.0, "max_value": None}),
    "LeakyReLU": (
        lambda s: f"leaky_relu:{float(s.negative_slope if s.alpha is None else s.alpha)!r}",
        {"negative_slope": 0.3, "alpha": None},  # before Keras 3
    ),
    "ELU": (lambda s: f"elu:{float(s.alpha)!r}", {"alpha": 1.0}),
    "ThresholdedReLU": (
        lambda s: f"thresholded_relu:{np.float32(s.theta).item()!r}",
        {"theta": 1.0},
    ),
    "Softmax": (lambda _: "softmax", {"axis": -1}),
    "Rescaling": (
        lambda s: f"affine:{np.float32(s.scale).item()!r},{np.float32(s.offset).item()!r}",
        {"scale": 1.0, "offset": 0.0},
    ),
}
_CELL = {"activation": "tanh", "use_bias": True}
_GATED = {**_CELL, "recurrent_activation": "sigmoid"}
_CELLS = {"SimpleRNN": _CELL, "LSTM": _GATED, "GRU": {**_GATED, "reset_after": None}}
_RUN = {"go_backwards": False, "return_sequences": False, "zero_output_for_mask": False}
_LEARNED = {"axis": -1, "scale": True, "center": True, "epsilon": 1e-3}
_STATISTICS: dict[str, Any] = {"axis": -1, "scale": False, "center": False, "epsilon": 0.0}
_STATISTICS |= {"mean": None, "variance": None}
_CONV = {"activation": None, "use_bias": True, "dilation_rate": 1, "padding": "valid", "strides": 1}
_GLOBAL = {"keepdims": False}
_POOL = {"pool_size": 2, "padding": "valid", "strides": None}
# Each class of layers: its function, None if another layer has one, and the settings it reads,
# with their defaults.
LAYERS: dict[str, tuple[Callable[[Layer], Layers] | None, Mapping[str, Any]]] = {
    **{kind: (_make_recurrent, {**cell, **_RUN}) for kind, cell in _CELLS.items()},
    **{f"CuDNN{kind}": (_make_recurrent, {**_CELLS[kind], **_RUN}) for kind in ("LSTM", "GRU")},
    **{f"{kind}Cell": (None, cell) for kind, cell in _CELLS.items()},
    "RNN": (_make_recurrent, {"cell": None, **_RUN}),
    "StackedRNNCells": (None, {"cells": None}),
    "Bidirectional": (_make_two_way, dict.fromkeys(("layer", "backward_layer", "merge_mode"))),
    "TimeDistributed": (_make_distributed, {"layer": None}),
    **dict.fromkeys(_NOTHING, (_skip, {})),
    "Dense": (_make_dense, {"activation": None, "use_bias": True}),
    "Embedding": (_make_embedding, {"mask_zero": False}),
    "Masking": (_make_masking, {"mask_value": 0.0}),
    "Activation": (_make_pointwise, {"activation": None}),
    **{kind: (_make_pointwise, settings) for kind, (_, settings) in _FUNCTIONS.items()},
    **dict.fromkeys(("BatchNormalization", "LayerNormalization"), (_make_norm, _LEARNED)),
    "Normalization": (_make_norm, _STATISTICS),
    "UnitNormalization": (_make_unit, {"axis": -1}),
    "Conv1D": (_make_convolution, _CONV),
    **dict.fromkeys(("AveragePooling1D", "MaxPooling1D"), (_make_pooling, _POOL)),
    **dict.fromkeys(("GlobalAveragePooling1D", "GlobalMaxPooling1D"), (_make_pooling, _GLOBAL)),
    "ZeroPadding1D": (_make_padding, {"padding": 1}),
    "Cropping1D": (_make_padding, {"cropping": [1, 1]}),
    **dict.fromkeys(MERGES, (_merge, {"axis": -1})),
}
# Functions that may take another number of steps than the input has.
WAITING = (_make_convolution, _make_pooling, _make_padding, _skip)
