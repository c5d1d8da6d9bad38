"""Classes of Keras layers: their settings, and the nodes of a graph that they become."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import islice
from math import inf, sqrt
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model import layers as ours
from rnncli.model.activations import KERAS, ONNX_OPERATORS, SIGMOID, TANH, parse
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, WEIGHT_NAMES, Cell, Weights, sum_biases
from rnncli.model.contents import make_cell, make_layer, read_floats
from rnncli.model.errors import listed, shown
from rnncli.model.formats.builder import Builder, Value
from rnncli.model.formats.keras.weights import Group, KerasFile, name_groups
from rnncli.model.graph.node_layers import Operand, RowGraph, Step
from rnncli.model.graph.operators import FAR

Config: TypeAlias = Mapping[str, Any]

# Settings that change no result: those of training and building, of the way of computing, and
# sizes that the arrays tell.
_INERT = {
    *("name", "trainable", "dtype", "seed", "unit_forget_bias", "dropout", "recurrent_dropout"),
    *("momentum", "renorm_momentum", "rate", "noise_shape", "stddev", "l1", "l2", "synchronized"),
    *("batch_shape", "batch_input_shape", "build_input_shape", "input_shape", "input_dim"),
    *("input_length", "input_dtype", "sparse", "ragged", "optional", "implementation", "unroll"),
    *("stateful", "return_state", "reverse_state_order", "units", "output_dim", "filters"),
    *("kernel_size", "depth_multiplier", "num_heads", "value_dim", "output_shape"),
    *("query_shape", "key_shape", "value_shape", "flash_attention"),
}
_INERT_ENDS = ("_initializer", "_regularizer", "_constraint")
# Settings of which other values are not run here.
_USUAL = {"data_format": "channels_last", "threshold": "0.0", "interpolation": "nearest"}
# Our functions by Keras's names.
_NAMED = {name: name for name in (*KERAS, "softmax", "log_softmax")} | {
    "swish": "silu",
    "hard_swish": "hard_silu",
    "celu": "elu",
    "leaky_relu": "leaky_relu:0.2",
}
# Cells by the class of their layer.
CELL_OF = {"SimpleRNN": "rnn", "LSTM": "lstm", "GRU": "gru", "CuDNNLSTM": "lstm", "CuDNNGRU": "gru"}
# Classes of models. A class of the user's own may compute anything.
MODELS = ("Sequential", "Functional", "Model")
# Operators by the classes that merge the outputs of several layers.
MERGES = {"Concatenate": "Concat", "Add": "Add", "Multiply": "Mul", "Subtract": "Sub"}
MERGES |= {"Maximum": "Max", "Minimum": "Min", "Average": "Add"}
_NOTHING = (
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout"),
    "AlphaDropout",
    *("ActivityRegularization", "Identity", "InputLayer"),
)
_MOST_STEPS = 2**16  # that a window spans, or that are added
_END = 2**63 - 1
_ONE_ROW = "takes a row for each step, and gets one row a sequence"
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


class Rows(NamedTuple):
    """The output of a layer: a value of the graph, and what Keras knows of it."""

    value: Value
    features: int  # in a row
    masked: str = ""  # the layer that masks rows
    reversed: bool = False  # whether rows stand from the last step to the first
    recurrent: str = ""  # the highest recurrent layer below
    single: bool = False  # whether there is one row a sequence, (N, 1, I)


class Layer:
    """A layer with its settings and its arrays, and the outputs of others that it takes."""

    def __init__(
        self, name: str, entry: Any, file: KerasFile, group: Group, builder: Builder, *rows: Rows
    ) -> None:
        self.name, self.file, self.group, self.builder = name, file, group, builder
        self.kind, self.config = read_entry(entry)
        self.settings = read_settings(self.kind, self.config)
        self.all_rows, self.rows = rows, rows[0]
        self.axes = self.rows.value.rank  # 2 within TimeDistributed
        self.paths, self.used = iter(group.paths.values()), dict[str, NDArray[Any]]()

    def within(self, entry: Any, group: Group) -> "Layer":
        """Return a layer that stands in the settings of this one."""
        layer = Layer(self.name, entry, self.file, group, self.builder, *self.all_rows)
        layer.used = self.used
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
        axis, last = self.settings.axis, self.axes - 1
        check(axis in (-1, [-1], last, [last]), f"axis {shown(str(axis))} is not that of features")

    def check_sequence(self, axes: int = 3) -> None:
        """Check that there is a row for each step, in order and without a mask; or more axes."""
        check(axes != 3 or self.axes == 3, _ONE_ROW)
        check(self.axes == axes, f"takes values of {axes} axes, and gets {self.axes}")
        turned = any(rows.masked or rows.reversed for rows in self.all_rows)
        check(not turned, "masked or reversed rows are not run here")

    def run(self, layer: ours.Stateless, **changes: Any) -> Rows:
        """Add a layer of rows."""
        rank = self.rows.value.rank
        values = [each.value for each in self.all_rows]
        value = self.builder.emit("Layer", *values, rank=rank, layer=layer)
        return self.rows._replace(value=value, features=layer.output_size, **changes)

    def slide(self, x: Value, op: str, *arrays: Any, **attributes: Any) -> Value:
        """Add an operator over the axes before the features, (N, C, ...)."""
        b, n = self.builder, x.rank - 2
        x = b.emit("Transpose", x, perm=[0, n + 1, *range(1, n + 1)])
        x = b.emit(op, x, *arrays, rank=n + 2, **attributes)
        value: Value = b.emit("Transpose", x, perm=[0, *range(2, n + 2), 1])
        return value

    def apply(self, name: str, x: Value) -> Value:
        """Add the operator of an activation."""
        function = parse(name)
        op = {**ONNX_OPERATORS, "linear": ""}.get(function.name)
        check(op is not None, f"activation {function} is not run here")
        names = zip(("alpha", "beta"), function.parameters, strict=False)
        attributes: dict[str, Any] = dict(names)
        value: Value = self.builder.emit(op, x, **attributes) if op else x
        return value

    def give(self, value: Value, **changes: Any) -> Rows:
        """Return a value of several steps as the output of the layer."""
        recurrent = max(rows.recurrent for rows in self.all_rows)
        return self.rows._replace(value=value, **{"recurrent": recurrent, **changes})


def read_settings(kind: str, config: Config) -> SimpleNamespace:
    """Return the settings that a class reads; refuse others that change a result."""
    check(kind in LAYERS, f"{shown(kind)} is not run here")
    known = LAYERS[kind][1]
    for name, value in config.items():
        inert = name in _INERT or name.endswith(_INERT_ENDS) or value in (None, False, [], {})
        if not (name in known or inert or str(value) == _USUAL.get(name)):
            raise ValueError(f"{shown(name)} {shown(str(value))} is not known here")
    return SimpleNamespace(**{name: config.get(name, known[name]) for name in known})


def _read_size(value: Any) -> int:
    """Return a size, which may stand in a list."""
    return _read_sizes(value, 1)[0]


def _read_sizes(value: Any, count: int) -> list[int]:
    """Return sizes, of which one may stand for all."""
    sizes = value if isinstance(value, list) else [value] * count
    fits = len(sizes) == count and all(type(n) is int and 0 < n <= _MOST_STEPS for n in sizes)
    check(fits, f"expected a whole number, got {shown(str(value))}")
    return [*map(int, sizes)]


def _read_pair(value: Any) -> tuple[int, int]:
    """Return numbers of steps at both ends; one number is that of each."""
    pair = value if isinstance(value, list) else [value, value]
    fits = len(pair) == 2 and all(type(size) is int and 0 <= size < 2**31 for size in pair)
    check(fits, f"expected two whole numbers, got {shown(str(value))}")
    return pair[0], pair[1]


def _add_recurrent(layer: Layer) -> list[Rows]:
    """Add layers of one cell each, from the bottom up."""
    # Bidirectional sets it in its layers, which `_add_two_way` reads.
    check(not layer.settings.zero_output_for_mask, "zero_output_for_mask true is not run here")
    above = [*map(ours.Recurrent, _read_cells(layer))]
    return _recur(layer, layer, above, turned=bool(layer.settings.go_backwards))


def _add_two_way(layer: Layer) -> list[Rows]:
    """Add a layer of two cells, one of which goes backward."""
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
    check(not (layer.rows.masked and unrolls), "unroll: Keras masks rows in the wrong direction")
    check(s.merge_mode in [*ours.MERGES], f"merge_mode {shown(str(s.merge_mode))} is not run here")
    cells, count = _read_cells(forward), len(layer.used)
    cells += _read_cells(backward)
    names = dict(zip(WEIGHT_NAMES, [*layer.used][count:], strict=False))
    above = make_layer(layer.file.path, cells, names, merge=s.merge_mode)
    return _recur(layer, forward, [above], turned=False)


def _recur(
    layer: Layer, inner: Layer, above: Sequence[ours.Recurrent], *, turned: bool
) -> list[Rows]:
    """Add recurrent layers over the rows of a layer; `turned` ones go from the last row on.

    Return their output and, where they are asked for, their final states.
    """
    rows, b, states = layer.rows, layer.builder, list[Rows]()
    check(layer.axes == 3, _ONE_ROW)
    fits = not (rows.reversed and rows.masked)
    check(fits, "takes reversed rows with a mask, which is not run here")
    x = b.emit("Transpose", b.emit("Rows", rows.value), perm=[1, 0, 2])
    x = b.emit("Slice", x, [-1], [-_END], [0], [-1]) if turned else x
    for each in above:
        x, *finals = b.recur(each, {}, x, *_read_starts(layer, above))
        for d, cell in enumerate(each.cells):
            for final, size in zip(finals, cell.state_sizes, strict=True):
                state = b.emit("Gather", final, d, axis=0, rank=2)
                states.append(Rows(state, size, recurrent=layer.name))
    h, size = finals[0], above[-1].output_size
    if inner.config.get("return_state"):
        check(above[-1].merge == "concat", "gives states that are merged, which is not run here")
    else:
        states = []
    if inner.settings.return_sequences:
        x = b.emit("Transpose", x, perm=[1, 0, 2])
        y = rows._replace(
            value=x, features=size, recurrent=layer.name, reversed=rows.reversed != turned
        )
        return [y, *states]
    h = b.emit("Reshape", b.emit("Transpose", h, perm=[1, 0, 2]), [0, -1], rank=2)
    return [Rows(h, size, recurrent=layer.name), *states]


def _read_starts(layer: Layer, above: Sequence[ours.Recurrent]) -> list[Value]:
    """Return the initial states that a layer is called with, (D, N, H) each; none for zeros."""
    b, starts = layer.builder, [rows.value for rows in layer.all_rows[1:]]
    cells = above[0].cells
    n = len(cells[0].state_names)
    fits = not starts or (len(above) == 1 and len(starts) == n * len(cells))
    check(
        fits and all(each.rank == 2 for each in starts), "takes something else than initial states"
    )
    starts = [b.emit("Unsqueeze", each, [0], rank=3) for each in starts]
    return [b.emit("Concat", *starts[k::n], axis=0) for k in range(n if starts else 0)]


def _add_distributed(layer: Layer) -> Rows:
    """Add the layer that runs over each row alone: over all rows as sequences, if it needs axes."""
    check(layer.axes >= 3, _ONE_ROW)
    x, add = layer.rows.value, None
    b: Any = layer.builder  # which adds models too
    kind, config = read_entry(layer.settings.layer)
    if kind not in MODELS:
        inner = layer.within(layer.settings.layer, layer.group)
        add = LAYERS[kind][0]
    check(add is not _add_embedding, "TimeDistributed of an embedding is not run here")
    if add and layer.axes == 3 and kind not in _OF_AXES:
        inner.axes = 2
        result: Any = add(inner)
        check(type(result) is Rows, f"TimeDistributed of {kind} is not run here")
        rows: Rows = result
        return rows
    check(
        not (layer.rows.masked or layer.rows.reversed), "masked or reversed rows are not run here"
    )
    rest = b.emit("Shape", x, rank=1, start=2)
    folded = b.emit("Reshape", x, b.emit("Concat", [-1], rest, axis=0), rank=x.rank - 1)
    below = layer.rows._replace(value=folded)
    if add:
        inner.all_rows, inner.rows, inner.axes = (below,), below, folded.rank
        result = add(inner)
    else:
        result = b.add_model(kind, config, f"{layer.name}/", layer.group, {"": below})
        layer.used.update((path, layer.file.arrays[path]) for path in layer.group.paths.values())
        b.module = layer.name
    y = result[0] if isinstance(result, list) else result
    sizes = b.emit("Shape", x, rank=1, end=2), b.emit("Shape", y.value, rank=1, start=1)
    shape = b.emit("Concat", *sizes, axis=0)
    return layer.give(b.emit("Reshape", y.value, shape, rank=y.value.rank + 1), features=y.features)


def _read_cells(layer: Layer) -> list[Cell]:
    """Read the cell of a recurrent layer, or the cells that an RNN stacks."""
    cell = layer.within(layer.settings.cell, layer.group) if layer.kind == "RNN" else layer
    if cell.kind != "StackedRNNCells":
        return [_read_cell(cell)]
    entries = [read_entry(each) for each in cell.settings.cells]
    learns = [bool(config.get("trainable", True)) for _, config in entries]
    check(not cell.group.listed or learns == sorted(learns, reverse=True), _FROZEN)
    groups = cell.group.split("cells/", name_groups(kind for kind, _ in entries))
    return [_read_cell(each) for each in map(cell.within, cell.settings.cells, groups)]


def _read_cell(layer: Layer) -> Cell:
    """Make the cell of a layer, or of one that is a cell itself."""
    kind, s = layer.kind.removesuffix("Cell"), layer.settings
    settings: dict[str, Any] = {"clip": inf, "activation": parse(layer.function(s.activation))}
    if CELL_OF[kind] != "rnn":
        settings["recurrent_activation"] = parse(layer.function(s.recurrent_activation))
    if CELL_OF[kind] == "gru":
        after = layer.file.version >= (3,) if s.reset_after is None else s.reset_after
        settings["reset"] = "after" if after else "before"
    arrays = layer.read(2 + s.use_bias)
    return read_cell(layer.file.path, CELL_OF[kind], arrays, settings)


def read_cell(
    path: str, kind: str, arrays: Mapping[str, Floats], settings: Mapping[str, Any]
) -> Cell:
    """Make a cell of its kernel, its recurrent kernel and its bias, if it has one.

    A GRU that resets after the product has two biases, (2, 3 H). A cell of cuDNN has two in one
    vector, and the block of each gate transposed; that of the kernel then has its old shape again.
    """
    W_xh, W_hh, *bias = arrays.values()
    names, biases = dict(zip(WEIGHT_NAMES, arrays, strict=False)), tuple[Floats, ...]()
    packed = bias and kind != "rnn" and bias[0].shape == (2 * W_hh.shape[1],)
    if packed:
        kernels, blocks = (np.split(W, CELLS[kind].gates, axis=1) for W in (W_xh, W_hh))
        W_xh = np.concatenate([W.T.reshape(W.shape, order="F") for W in kernels], 1)
        W_hh = np.concatenate([W.T for W in blocks], 1)
        settings = {**settings, "activation": TANH, "recurrent_activation": SIGMOID}
        settings |= {"reset": "after"} if kind == "gru" else {}
    sums = {"b_h": bias[0] if bias else np.zeros(W_hh.shape[1], W_hh.dtype)}
    if packed or (bias and settings.get("reset") == "after"):
        biases = b_x, b_r = (*bias[0].reshape(2, -1),)
        sums = sum_biases(b_x, b_r, len(W_hh) if kind == "gru" else 0)
    return make_cell(path, kind, Weights(W_xh, W_hh, **sums), settings, names, biases)


def _skip(layer: Layer) -> Rows:
    """Check that a layer does nothing at inference."""
    cuts = layer.kind == "InputLayer" and "int" in str(layer.config.get("dtype"))
    check(not (cuts and layer.axes == 3), "cuts features to whole numbers, which is not run here")
    return layer.rows


def _add_dense(layer: Layer) -> Rows:
    W, *b = layer.read(1 + layer.settings.use_bias).values()
    function = ours.row_activation(layer.function(layer.settings.activation))
    return layer.run(ours.Dense(W, b[0] if b else None, function))


def _add_embedding(layer: Layer) -> Rows:
    """Add an embedding of indices, (N, T), or of rows of one."""
    masks, rows = bool(layer.settings.mask_zero), layer.rows
    check(not rows.recurrent, f"takes rows of {shown(rows.recurrent)}, which is not run here")
    fits = not masks or rows.value.name == "input"
    check(fits, "masks rows by one of several inputs, which is not run here")
    if layer.axes == 2:
        value = layer.builder.emit("Unsqueeze", rows.value, [2], rank=3)
        layer.all_rows = (rows._replace(value=value),)
        layer.rows = layer.all_rows[0]
    (table,) = layer.read(1).values()
    return layer.run(ours.Embedding(table, mask_zero=masks), masked=layer.name if masks else "")


def _add_masking(layer: Layer) -> Rows:
    check(layer.axes == 3, _ONE_ROW)
    below = layer.rows.masked or layer.rows.recurrent
    check(not below, f"masks rows above {shown(below)}, which is not run here")
    value = float(layer.settings.mask_value)
    return layer.run(ours.Masking(value, layer.rows.features), masked=layer.name)


def _add_pointwise(layer: Layer) -> Rows:
    s, x = layer.settings, layer.rows.value
    function = _FUNCTIONS.get(layer.kind)
    name = function[0](s) if function else layer.function(s.activation)
    if layer.kind == "Softmax":
        check(not layer.rows.masked, "Softmax of masked rows is not run here")
        if s.axis == 1 and layer.axes == 3:
            return layer.give(layer.builder.emit("Softmax", x, axis=1))
        layer.check_last_axis()
    if not layer.rows.features:
        op = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}.get(name)
        return layer.give(layer.builder.emit(op, x, axis=-1) if op else layer.apply(name, x))
    return layer.run(ours.Pointwise(ours.row_activation(name), layer.rows.features))


def _add_norm(layer: Layer) -> Rows:
    """Add a normalization by the statistics of training, or by those of each row."""
    s, size, of_rows = layer.settings, layer.rows.features, layer.kind == "LayerNormalization"
    if s.axis not in (None, []):
        layer.check_last_axis()
    roles = ["factor"] * s.scale + ["shift"] * s.center + ["center", "variance"] * (not of_rows)
    constants = [getattr(s, name, None) for name in ("mean", "variance")]
    if None in constants:
        values: Any = layer.read(len(roles)).values()
    else:
        values = (np.asarray(each, np.float32).reshape(-1) for each in constants)
    pairs = zip(roles, values, strict=True)
    named = dict(pairs)
    size = size or max((array.size for array in named.values()), default=0)
    arrays = {role: np.broadcast_to(array, size) for role, array in named.items()}
    if of_rows:
        factor = arrays.pop("factor", np.ones(size, np.float32))
        return layer.run(ours.LayerNormalization(factor, epsilon=float(s.epsilon), **arrays))
    with np.errstate(invalid="ignore"):  # of a negative variance, which is not finite then
        scale = np.sqrt(arrays.pop("variance").astype(np.float64) + float(s.epsilon))
    if layer.kind == "Normalization":  # Keras takes no smaller scale of data
        scale = np.maximum(scale, 1e-7)
    return layer.run(ours.Normalization(scale=scale, **arrays))


def _count_axes(layer: Layer) -> int:
    """Return the number of axes that a layer slides over, which ends the name of its class."""
    return int(layer.kind[-2])


def _add_convolution(layer: Layer) -> Rows:
    """Add a convolution; one that is separable has a kernel for each channel, and one of points."""
    s, n, is_deep = layer.settings, _count_axes(layer), not layer.kind.startswith("Conv")
    layer.check_sequence(n + 2)
    is_separable = layer.kind.startswith("Separable")
    kernel, *more = layer.read(1 + is_separable + s.use_bias).values()
    fits = all(W.ndim == n + 2 and W.size for W in (kernel, *more[:is_separable]))
    check(fits, f"a kernel of shape {kernel.shape} is not run here")
    by = _read_sizes(s.dilation_rate, n)
    reach = [(size - 1) * k + 1 for size, k in zip(kernel.shape[:n], by, strict=True)]
    steps = {"dilations": by, **_read_steps(layer, _read_sizes(reach, n), causal=n == 1)}
    axes = (n, n + 1) if is_deep else (n + 1, n)
    W = np.ascontiguousarray(kernel.transpose(*axes, *range(n)))
    group = len(W) if is_deep else s.groups
    W = W.reshape(-1, 1, *kernel.shape[:n]) if is_deep else W
    if is_separable:
        x = layer.slide(layer.rows.value, "Conv", W, group=group, **steps)
        W = np.ascontiguousarray(more[0].transpose(n + 1, n, *range(n)))
        x = layer.slide(x, "Conv", W, *more[1:])
    else:
        x = layer.slide(layer.rows.value, "Conv", W, *more, group=group, **steps)
    return layer.give(layer.apply(layer.function(s.activation), x), features=len(W))


def _add_pooling(layer: Layer) -> Rows:
    n, op = _count_axes(layer), layer.kind[:-5]
    layer.check_sequence(n + 2)
    if op.startswith("Global"):
        op, axes = "ReduceMean" if "Average" in op else "ReduceMax", [*range(1, n + 1)]
        keeps, rank = int(layer.settings.keepdims), n + 2 if layer.settings.keepdims else 2
        value = layer.builder.emit(op, layer.rows.value, axes=axes, keepdims=keeps, rank=rank)
        return layer.give(value, single=bool(keeps))
    reach = _read_sizes(layer.settings.pool_size, n)
    steps = _read_steps(layer, reach)
    return layer.give(layer.slide(layer.rows.value, op, kernel_shape=reach, **steps))


def _read_steps(layer: Layer, reach: list[int], *, causal: bool = False) -> dict[str, Any]:
    """Return how an operator slides, which may reach back alone if it is causal."""
    pads: dict[Any, dict[str, Any]] = {"valid": {}, "same": {"auto_pad": "SAME_UPPER"}}
    pads |= {"causal": {"pads": [reach[0] - 1, 0]}} if causal else {}
    padding = layer.settings.padding
    strides = _read_sizes(layer.settings.strides or reach, len(reach))
    check(padding in pads, f"padding {shown(str(padding))} is not run here")
    return {"strides": strides, **pads[padding]}


def _add_padding(layer: Layer) -> Rows:
    """Add zeros at both ends of axes, or leave values out."""
    s, b, x, n = layer.settings, layer.builder, layer.rows.value, _count_axes(layer)
    layer.check_sequence(n + 2)
    crops = layer.kind.startswith("Cropping")
    sizes = s.cropping if crops else s.padding
    sizes = [sizes] if n == 1 else sizes if isinstance(sizes, list) else [sizes] * n
    pairs = [*map(_read_pair, sizes)]
    check(len(pairs) == n, f"expected sizes of {n} axes, got {shown(str(sizes))}")
    firsts, lasts = ([pair[k] for pair in pairs] for k in (0, 1))
    if crops:
        ends, axes = [-last or FAR for last in lasts], [*range(1, n + 1)]
        return layer.give(b.emit("Slice", x, firsts, ends, axes))
    total = sum(firsts + lasts)
    check(total <= _MOST_STEPS, f"expected under {_MOST_STEPS:,} steps of zeros, got {total:,}")
    return layer.give(b.emit("Pad", x, [0, *firsts, 0, 0, *lasts, 0]))


def _add_copies(layer: Layer) -> Rows:
    """Add the layer that repeats each step, or each value of several axes."""
    n = _count_axes(layer)
    layer.check_sequence(n + 2)
    scales = [1.0, *map(float, _read_sizes(layer.settings.size, n)), 1.0]
    how: dict[str, Any] = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return layer.give(layer.builder.emit("Resize", layer.rows.value, None, scales, **how))


def _add_attention(layer: Layer) -> Rows:
    """Add the layer that weighs values by how its queries fit the keys."""
    s, b, (query, value, *rest) = layer.settings, layer.builder, layer.all_rows
    check(all(rows.value.rank == 3 for rows in layer.all_rows), _ONE_ROW)
    layer.check_sequence()
    q, key, sums = query.value, (rest[0] if rest else value).value, None
    if layer.kind == "AdditiveAttention" or s.score_mode == "concat":
        pairs = b.emit("Unsqueeze", q, [2], rank=4), b.emit("Unsqueeze", key, [1], rank=4)
        sums = b.emit("Add", *pairs)
    else:
        check(s.score_mode == "dot", f"score_mode {shown(str(s.score_mode))} is not known here")
        scores = b.emit("MatMul", q, b.emit("Transpose", key, perm=[0, 2, 1]))
    concat = sums is not None and layer.kind == "Attention"
    scale, weight = [*layer.read(s.use_scale + concat).values(), None, None][:2]
    scale, weight = (scale, weight) if s.use_scale else (None, scale)
    if sums is not None:
        sums = b.emit("Mul", sums, scale) if concat and scale is not None else sums
        sums = b.emit("Tanh", sums)
        sums = b.emit("Mul", sums, scale) if not concat and scale is not None else sums
        scores = b.emit("ReduceSum", sums, [3], keepdims=0, rank=3)
        scores = b.emit("Mul", scores, weight) if concat else scores
    elif scale is not None:
        scores = b.emit("Mul", scores, scale)
    y = b.emit("MatMul", b.emit("Softmax", scores, axis=-1), value.value)
    return layer.give(y, features=value.features)


def _add_heads(layer: Layer) -> Rows:
    """Add attention of several heads, with a product before and after."""
    s, b, (query, value, *rest) = layer.settings, layer.builder, layer.all_rows
    check(all(rows.value.rank == 3 for rows in layer.all_rows), _ONE_ROW)
    layer.check_sequence()
    axes = shown(str(s.attention_axes))
    check(s.attention_axes in (None, [1]), f"attention_axes {axes} is not known here")
    arrays, roles = dict[str, list[Floats]](), ("query", "key", "value", "output")
    before = "_" * ("_query_dense" in {name.split("/")[0] for name in layer.group.paths})
    groups = layer.group.split("", [f"{before}{role}_dense" for role in roles])
    for name, group in zip(roles, groups, strict=True):
        layer.paths = layer.paths if group.listed else iter(group.paths.values())
        arrays[name] = [*layer.read(1 + s.use_bias).values()]

    def multiply(x: Value, name: str, size: int, *sizes: int) -> Value:
        W, *bias = arrays[name]
        y = b.emit("MatMul", x, np.ascontiguousarray(W.reshape(size, -1)))
        y = b.emit("Add", y, *(each.reshape(-1) for each in bias)) if bias else y
        y = b.emit("Reshape", y, [0, 0, *sizes], rank=4) if sizes else y
        return b.emit("Transpose", y, perm=[0, 2, 1, 3]) if sizes else y  # type: ignore[no-any-return]

    inputs = {"query": query, "key": rest[0] if rest else value, "value": value}
    q, k, v = (
        multiply(rows.value, name, len(arrays[name][0]), *arrays[name][0].shape[1:])
        for name, rows in inputs.items()
    )
    scores = b.emit("MatMul", q, b.emit("Transpose", k, perm=[0, 1, 3, 2]))
    scores = b.emit("Mul", scores, 1 / sqrt(arrays["query"][0].shape[2]))
    y = b.emit("MatMul", b.emit("Softmax", scores, axis=-1), v)
    W = arrays["output"][0]
    y = b.emit("Reshape", b.emit("Transpose", y, perm=[0, 2, 1, 3]), [0, 0, -1], rank=3)
    return layer.give(multiply(y, "output", len(W) * W.shape[1]), features=W.shape[2])


def _add_unit(layer: Layer) -> Rows:
    """Add a layer that divides each row by its length."""
    layer.check_last_axis()
    size, rows, row = layer.rows.features, Operand(0), Operand(1)
    least = Operand(-1, None, np.array([1e-12 if layer.file.version >= (3,) else 1e-6], np.float32))
    steps = {
        1: Step("ReduceL2", "", (rows,), 1, {"axes": [1], "keepdims": 1}, (size,)),
        2: Step("Max", "", (row, least), 1),
        3: Step("Div", "", (rows, Operand(2)), size),
    }
    return layer.run(RowGraph(steps, {0: size}, Operand(3), size))


def _merge(layer: Layer) -> Rows:
    """Add the layer that merges the outputs of several."""
    kind, widths = layer.kind, [rows.features for rows in layer.all_rows]
    kinds = {(rows.value.rank, rows.reversed) for rows in layer.all_rows}
    fits = len(kinds) == 1 and not any(rows.masked for rows in layer.all_rows)
    check(fits, "merges rows of different steps, or masked ones, which is not run here")
    n, size = len(widths), widths[0]
    if kind == "Concatenate":
        layer.check_last_axis()
        size = sum(widths)
    check(kind != "Subtract" or n == 2, f"{kind} of {n} layers is not run here")
    fits = kind == "Concatenate" or len({0, 1, *widths}) < 4
    check(fits, f"{kind} of rows of {widths} values is not run here")
    if 0 in widths or (kind != "Concatenate" and len({*widths}) > 1):
        b, values = layer.builder, [rows.value for rows in layer.all_rows]
        if kind == "Concatenate":
            return layer.give(b.emit("Concat", *values, axis=-1), features=0)
        value = reduce(lambda x, y: b.emit(MERGES[kind], x, y), values)
        value = b.emit("Div", value, float(n)) if kind == "Average" else value
        return layer.give(value, features=max(widths))
    steps = dict[int, Step]()

    def add(op: str, *operands: Operand) -> Operand:
        steps[n + len(steps)] = Step(op, "", operands, size)
        return Operand(n + len(steps) - 1)

    if kind == "Concatenate":
        result = add("Concat", *map(Operand, range(n)))
    else:
        result = reduce(lambda a, b: add(MERGES[kind], a, b), map(Operand, range(n)))
    if kind == "Average":
        result = add("Div", result, Operand(-1, None, np.array([n], np.float32)))
    graph = RowGraph(steps, dict(enumerate(widths)), result, size)
    return layer.run(graph, recurrent=max(rows.recurrent for rows in layer.all_rows))


def _flatten(layer: Layer) -> Rows:
    """Add the layer that makes one row of all steps."""
    if layer.axes == 2:
        return layer.rows
    layer.check_sequence(layer.axes)
    value = layer.builder.emit("Reshape", layer.rows.value, [0, -1], rank=2)
    size = layer.rows.features if layer.rows.single else 0
    return layer.rows._replace(value=value, features=size, single=False)


def _add_repeated(layer: Layer) -> Rows:
    """Add a row of a sequence as each of n rows."""
    check(layer.axes == 2, "takes one row a sequence, and gets a row for each step")
    b, n = layer.builder, _read_size(layer.settings.n)
    value = b.emit("Unsqueeze", layer.rows.value, [1], rank=3)
    return layer.rows._replace(value=b.emit("Tile", value, [1, n, 1]))


def _add_reshaped(layer: Layer) -> Rows:
    """Add the layer that makes other axes of steps and features."""
    check(
        not (layer.rows.masked or layer.rows.reversed), "masked or reversed rows are not run here"
    )
    sizes = layer.settings.target_shape
    fits = isinstance(sizes, list) and 0 < len(sizes) < 5 and {*map(type, sizes)} == {int}
    check(fits, f"target_shape {shown(str(sizes))} is not run here")
    value = layer.builder.emit("Reshape", layer.rows.value, [0, *sizes], rank=1 + len(sizes))
    return layer.rows._replace(value=value, features=max(sizes[-1], 0), single=False)


def _permute(layer: Layer) -> Rows:
    """Add the layer that changes the order of axes."""
    layer.check_sequence(layer.axes)
    order = _read_sizes(layer.settings.dims, layer.axes - 1)
    value = layer.builder.emit("Transpose", layer.rows.value, perm=[0, *order])
    stays = order[-1:] == [layer.axes - 1]
    return layer.give(value, features=layer.rows.features if stays else 0)


def _add_products(layer: Layer) -> Rows:
    """Add the sums of products of two layers' values along an axis of each."""
    layer.check_sequence()
    first, second = layer.all_rows
    check(first.value.rank == second.value.rank == 3, _ONE_ROW)
    b, axes = layer.builder, _read_sizes(layer.settings.axes, 2)
    x, y = first.value, second.value
    x = x if axes[0] == 2 else b.emit("Transpose", x, perm=[0, 2, 1])
    y = y if axes[1] == 1 else b.emit("Transpose", y, perm=[0, 2, 1])
    return layer.give(b.emit("MatMul", x, y), features=second.features if axes[1] == 1 else 0)


def _add_slopes(layer: Layer) -> Rows:
    """Add a function with a slope for each value below 0."""
    (slope,) = layer.read(1).values()
    layer.check_sequence(layer.axes)
    return layer.give(layer.builder.emit("PRelu", layer.rows.value, slope))


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
_CONV |= {"groups": 1}
_ATTENTION = {"use_scale": False, "score_mode": "dot"}
_HEADS = {"key_dim": 0, "use_bias": True, "attention_axes": None}
_GLOBAL = {"keepdims": False}
_POOL = {"pool_size": 2, "padding": "valid", "strides": None}
# Classes with one for each number of axes that they slide over.
_SLIDING: dict[str, tuple[Callable[[Layer], Rows], dict[str, Any]]] = {
    **dict.fromkeys(("Conv", "DepthwiseConv", "SeparableConv"), (_add_convolution, _CONV)),
    **dict.fromkeys(("AveragePooling", "MaxPooling"), (_add_pooling, _POOL)),
    **dict.fromkeys(("GlobalAveragePooling", "GlobalMaxPooling"), (_add_pooling, _GLOBAL)),
    "ZeroPadding": (_add_padding, {"padding": 1}),
    "Cropping": (_add_padding, {"cropping": 1}),
    "UpSampling": (_add_copies, {"size": 2}),
}
# Classes that need the axes of a row, also within TimeDistributed.
_OF_AXES = {"Flatten", "RepeatVector", "Reshape", "Permute"}
# Each class of layers: its function, None if another layer has one, and the settings it reads,
# with their defaults.
LAYERS: dict[str, tuple[Callable[[Layer], Rows | list[Rows]] | None, Mapping[str, Any]]] = {
    **{kind: (_add_recurrent, {**cell, **_RUN}) for kind, cell in _CELLS.items()},
    **{f"CuDNN{kind}": (_add_recurrent, {**_CELLS[kind], **_RUN}) for kind in ("LSTM", "GRU")},
    **{f"{kind}Cell": (None, cell) for kind, cell in _CELLS.items()},
    "RNN": (_add_recurrent, {"cell": None, **_RUN}),
    "StackedRNNCells": (None, {"cells": None}),
    "Bidirectional": (_add_two_way, dict.fromkeys(("layer", "backward_layer", "merge_mode"))),
    "TimeDistributed": (_add_distributed, {"layer": None}),
    **dict.fromkeys(_NOTHING, (_skip, {})),
    "Flatten": (_flatten, {}),
    "RepeatVector": (_add_repeated, {"n": 1}),
    "Reshape": (_add_reshaped, {"target_shape": None}),
    "Dense": (_add_dense, {"activation": None, "use_bias": True}),
    "Embedding": (_add_embedding, {"mask_zero": False}),
    "Masking": (_add_masking, {"mask_value": 0.0}),
    "Activation": (_add_pointwise, {"activation": None}),
    **{kind: (_add_pointwise, settings) for kind, (_, settings) in _FUNCTIONS.items()},
    **dict.fromkeys(("BatchNormalization", "LayerNormalization"), (_add_norm, _LEARNED)),
    "Normalization": (_add_norm, _STATISTICS),
    "UnitNormalization": (_add_unit, {"axis": -1}),
    **{f"{kind}{axes}": each for kind, each in _SLIDING.items() for axes in ("1D", "2D")},
    "Attention": (_add_attention, _ATTENTION),
    "AdditiveAttention": (_add_attention, {"use_scale": True}),
    "MultiHeadAttention": (_add_heads, _HEADS),
    "Permute": (_permute, {"dims": None}),
    "Dot": (_add_products, {"axes": None}),
    "PReLU": (_add_slopes, {"shared_axes": None}),
    **dict.fromkeys(MERGES, (_merge, {"axis": -1})),
}
# Classes that take the outputs of several layers.
SEVERAL = {*MERGES, "Attention", "AdditiveAttention", "MultiHeadAttention", "Dot"}
SEVERAL |= {kind for kind, (add, _) in LAYERS.items() if add in (_add_recurrent, _add_two_way)}
