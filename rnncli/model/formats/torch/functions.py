"""PyTorch's functions as nodes of a graph, for the calls in TorchScript and in exported programs.

The first argument of each is the builder, whose `emit` adds a node.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from rnncli.model.errors import InputError, shown
from rnncli.model.formats.builder import Value
from rnncli.model.formats.torch.names import read_layer, read_mode
from rnncli.model.graph import RefusedError
from rnncli.model.graph.operators import UNFIT
from rnncli.model.layers import Recurrent

_TRAINED = "was traced or exported in training mode: call model.eval() before"
# A value that is neither in the graph nor a known constant, such as a device.
UNKNOWN = object()
_END = 2**63 - 1
# By PyTorch's code of an element type, that of ONNX: int32, int64, float16, float32, float64 and
# bfloat16.
_TYPES = {3: 6, 4: 7, 5: 10, 6: 1, 7: 11, 15: 16}
_WHOLE = (3, 4)


# Functions that run a recurrent module.
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
# Arrays of a direction of a recurrent layer, in PyTorch's order.
_ROLES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def call(t: Any, name: str, inputs: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Call a function of the table."""
    try:
        return FUNCTIONS[name](t, *inputs, **named)
    except InputError:
        raise
    except UNFIT as error:
        what = f"calls {shown(name)} in a way that is not read (torch.onnx.export may write it)"
        raise RefusedError(what) from error


def _require(*settings: bool) -> None:
    if not all(settings):
        raise ValueError("other settings")


def _is_integer(x: Any) -> bool:
    if isinstance(x, np.ndarray):
        return x.dtype.kind in "iu"
    return x.is_integer if isinstance(x, Value) else type(x) is int


def _as_float(t: Any, x: Any) -> Any:
    """Return whole numbers as floats."""
    if type(x) is int:
        return float(x)
    return _cast(t, x, 6) if _is_integer(x) else x


def _compute(op: str, t: Any, *operands: Any, alpha: float = 1) -> Any:
    """Add an operator; whole numbers become floats beside floats, or where the result is none."""
    _require(alpha == 1)
    integer = op in _OF_INTEGERS and all(map(_is_integer, operands))
    if op == "Pow":  # a negative power is none
        power = operands[1]
        integer = integer and type(power) is int and power >= 0
    return t.emit(op, *(each if integer else _as_float(t, each) for each in operands))


def _drop(_: Any, x: Value, rate: float, train: bool) -> Value:
    if train and rate:
        raise RefusedError(_TRAINED)
    return x


def _cast(t: Any, x: Any, kind: int) -> Any:
    if kind in (6, 7) and not _is_integer(x):  # a run has one type of floats
        return x
    return t.emit("Cast", x, to=_TYPES[kind])._replace(is_integer=kind in _WHOLE)


def _to(t: Any, x: Value, *rest: Any, **named: Any) -> Any:
    kind = next((each for each in (named.get("dtype"), *rest) if type(each) is int), None)
    return x if kind is None else _cast(t, x, kind)


def _truncate(t: Any, x: Any) -> Any:
    is_float = isinstance(x, Value) and not x.is_integer
    return int(x) if isinstance(x, float) else _cast(t, x, 4) if is_float else x


def _arange(t: Any, *ends: Any, dtype: Any = None, **_: Any) -> Any:
    inputs = {1: (0, *ends, 1), 2: (*ends, 1), 3: ends}[len(ends)]
    _require(all(map(_is_integer, inputs)))
    y = t.emit("Range", *inputs, rank=1)
    return y if dtype is None else _cast(t, y, dtype)


def _softplus(t: Any, x: Value, beta: Any = 1, threshold: Any = 20) -> Any:
    _require(beta == 1, threshold == 20)
    return t.emit("Softplus", x)


def _linear(t: Any, x: Value, W: Any, b: Any = None) -> Any:
    y = t.emit("MatMul", x, t.emit("Transpose", W, perm=[1, 0]))
    return y if b is None else t.emit("Add", y, b)


def _batch_norm(t: Any, x: Value, W: Any, b: Any, mean: Any, var: Any, *more: Any) -> Any:
    train, _, epsilon, *_ = more
    if train:
        raise RefusedError(_TRAINED)
    _require(all(each is not None for each in (W, b, mean, var)))
    return t.emit("BatchNormalization", x, W, b, mean, var, epsilon=epsilon)


def _count(_: Any, x: Any, *__: Any) -> Any:
    """Pass over the count of batches of a normalization in training."""
    _require(not isinstance(x, Value), x.ndim == 0, x.dtype.kind == "i")
    return UNKNOWN


def _layer_norm(t: Any, x: Value, shape: Any, W: Any, b: Any, eps: float = 1e-5, *_: Any) -> Any:
    _require(W is not None)
    return t.emit("LayerNormalization", x, W, b, axis=-len(shape), epsilon=eps)


def _embed(t: Any, W: Any, x: Value, *_: Any) -> Any:
    t.width = t.width or 1
    return t.emit("Gather", W, x, axis=0, rank=x.rank + 1)


def _conv(
    t: Any, x: Value, W: Any, b: Any = None, stride: Any = (1,), padding: Any = (0,),
    dilation: Any = (1,), group: int = 1,
) -> Any:  # fmt: skip
    sizes = {"strides": [*stride], "pads": [*padding, *padding], "dilations": [*dilation]}
    return t.emit("Conv", x, W, b, group=group, **sizes)


def _convolution(t: Any, x: Value, W: Any, b: Any, *more: Any) -> Any:
    stride, padding, dilation, transposed, _, group, *_ = more
    _require(transposed is False)
    return _conv(t, x, W, b, stride, padding, dilation, group)


def _transpose(t: Any, x: Value, first: int, second: int) -> Any:
    perm = [*range(x.rank)]
    perm[first], perm[second] = perm[second], perm[first]
    return t.emit("Transpose", x, perm=perm)


def _slice(
    t: Any, x: Value, axis: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    return t.emit("Slice", x, [start or 0], [_END if end is None else end], [axis], [step])


def _flip(t: Any, x: Value, axes: list[int]) -> Any:
    n = len(axes)
    return t.emit("Slice", x, [-1] * n, [-_END] * n, axes, [-1] * n)


def _size(t: Any, x: Value, axis: int | None = None) -> Any:
    if axis is None:
        return [_size(t, x, each) for each in range(x.rank)]
    size = t.emit("Shape", x, rank=1, start=axis % x.rank, end=axis % x.rank + 1)
    return t.emit("Squeeze", size, [0], rank=0)._replace(is_integer=True)


def _reshape(t: Any, x: Value, sizes: list[Any]) -> Any:
    return t.emit("Reshape", x, sizes, rank=len(sizes))


def _flatten(t: Any, x: Value, start: int = 0, end: int = -1) -> Any:
    first, last = start % x.rank, end % x.rank
    return _reshape(t, x, [0] * first + [-1] + [_size(t, x, k) for k in range(last + 1, x.rank)])


def _expand(t: Any, x: Value, sizes: list[Any], *_: Any, **__: Any) -> Any:
    return t.emit("Expand", x, [1 if n == -1 else n for n in sizes], rank=len(sizes))


def _repeat(t: Any, x: Value, counts: list[Any]) -> Any:
    _require(len(counts) == x.rank)
    return t.emit("Tile", x, counts)


def _max_pool(
    t: Any, x: Value, size: Any, stride: Any = (), padding: Any = (0,), dilation: Any = (1,),
    ceil_mode: bool = False,
) -> Any:  # fmt: skip
    sizes = {"kernel_shape": [*size], "strides": [*(stride or size)], "dilations": [*dilation]}
    return t.emit("MaxPool", x, pads=[*padding, *padding], ceil_mode=int(ceil_mode), **sizes)


def _average_pool(
    t: Any, x: Value, size: Any, stride: Any = (), padding: Any = (0,), ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:  # fmt: skip
    sizes = {"kernel_shape": [*size], "strides": [*(stride or size)], "pads": [*padding, *padding]}
    counts = {"ceil_mode": int(ceil_mode), "count_include_pad": int(count_include_pad)}
    return t.emit("AveragePool", x, **sizes, **counts)


def _reduce(op: str, t: Any, x: Value, axes: Any, keepdim: bool = False, **_: Any) -> Any:
    axes = axes if isinstance(axes, list) else [axes]
    rank = x.rank if keepdim else x.rank - len(axes)
    return t.emit(op, x, axes, keepdims=int(keepdim), rank=rank)


def _chunk(t: Any, x: Value, count: int, axis: int = 0) -> Any:
    """Split values into as many pieces, the last of which may be shorter."""
    _require(count > 1)
    return t.emit("Split", x, axis=axis, num_outputs=count, outputs=count)


def _clamp(t: Any, x: Value, low: Any = None, high: Any = None) -> Any:
    ends = (each if each is None or _is_integer(x) else float(each) for each in (low, high))
    return t.emit("Clip", x, *ends)


def _pad(t: Any, x: Value, widths: list[int], mode: str = "constant", value: Any = None) -> Any:
    """Add values at both ends of axes, of which the last one comes first."""
    _require(mode == "constant", len(widths) % 2 == 0, min(widths) >= 0)
    none = [0] * (x.rank - len(widths) // 2)
    ends = [none + widths[k::2][::-1] for k in (0, 1)]
    return t.emit("Pad", x, [*ends[0], *ends[1]], None if value is None else float(value))


def _stack(t: Any, values: list[Any], axis: int = 0) -> Any:
    rank = values[0].rank + 1
    rows = [t.emit("Unsqueeze", each, [axis % rank], rank=rank) for each in values]
    return t.emit("Concat", *rows, axis=axis)


def _compare(name: str, _: Any, *operands: Any) -> Any:
    """Compare constants."""
    plain = {*map(type, operands)} <= {bool, int, float, str, type(None)}
    return getattr(operator, name)(*operands) if plain else UNKNOWN


def _read_layer(
    t: Any, weights: Sequence[Any], roles: Sequence[str], mode: str, both: bool
) -> tuple[Recurrent, dict[str, Any]]:
    """Make a layer of the weights of its directions; return it and its arrays."""
    names = [t.name_array(array) for array in weights]
    starts = range(0, len(names), len(roles))
    by_role = [dict(zip(roles, names[start:], strict=False)) for start in starts]
    way = {"direction": "bidirectional" if both else "forward", "merge": "concat"}
    arrays = dict(zip(names, weights, strict=True))
    return read_layer(t.path, arrays, by_role, read_mode(mode), **way), arrays


def _recur(
    name: str, t: Any, x: Value, states: Any, weights: Any, bias: Any, layers: int,
    dropout: float, train: bool, both: bool, batch_first: bool,
) -> Any:  # fmt: skip
    """Add the layers of a recurrent module."""
    if train and dropout and layers > 1:
        raise RefusedError(_TRAINED)
    D, roles = 1 + both, [*_ROLES[: 4 if bias else 2]]
    roles += ["weight_hr"] if len(weights) > layers * D * len(roles) else []
    _require(len(weights) == layers * D * len(roles), x.rank == 3)
    states, finals, module = states if isinstance(states, list) else [states], [], t.module
    x = t.emit("Transpose", x, perm=[1, 0, 2]) if batch_first else x
    size = D * len(roles)
    for k in range(layers):
        t.module = module if layers == 1 else f"{module}.l{k}"
        layer, arrays = _read_layer(t, weights[k * size : k * size + size], roles, name, both)
        starts = [t.emit("Slice", each, [k * D], [k * D + D], [0]) for each in states]
        x, *ends = t.recur(layer, arrays, x, *starts)
        finals.append(ends)
    t.module = module
    x = t.emit("Transpose", x, perm=[1, 0, 2]) if batch_first else x
    return [x, *(t.emit("Concat", *each, axis=0) for each in zip(*finals, strict=True))]


_UNARY = (
    "Abs",
    "Cos",
    "Exp",
    "Log",
    "Mish",
    "Neg",
    "Relu",
    "Selu",
    "Sigmoid",
    "Sin",
    "Sqrt",
    "Tanh",
)
_BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "MatMul")
_OF_INTEGERS = {"Abs", "Neg", "Relu", "Add", "Sub", "Mul", "Pow", "MatMul"}
_COPIES = ("contiguous", "detach", "clone", "alias")
_CHECKS = ("_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range_for_size")
_CASTS = ("annotate", "unchecked_cast", "NumToTensor", "list")
_UNKNOWNS = ("device", "dtype", "layout", "format", "uninitialized", "RaiseException")
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{op.lower(): partial(_compute, op) for op in (*_UNARY, *_BINARY)},
    **{name: partial(_recur, name) for name in RECURRENT},
    **dict.fromkeys(_COPIES, lambda _, x, *__, **___: x),
    **dict.fromkeys(("float", "Float"), _as_float),
    **dict.fromkeys(("int", "Int"), _truncate),
    "reciprocal": lambda t, x: _compute("Div", t, 1.0, x),
    "rsub": lambda t, x, y, alpha=1: _compute("Sub", t, y, x, alpha=alpha),
    "rsqrt": lambda t, x: _compute("Div", t, 1.0, _compute("Sqrt", t, x)),
    "arange": _arange,
    "silu": partial(_compute, "Swish"),
    **dict.fromkeys(_CHECKS, lambda *_, **__: UNKNOWN),
    "add_": _count,
    "avg_pool1d": _average_pool,
    "batch_norm": _batch_norm,
    "bmm": partial(_compute, "MatMul"),
    "chunk": _chunk,
    "clamp": _clamp,
    "cumsum": lambda t, x, axis, **_: t.emit("CumSum", x, axis),
    "maximum": lambda t, x, y: t.emit("Max", x, y),
    "minimum": lambda t, x, y: t.emit("Min", x, y),
    "pad": _pad,
    "stack": _stack,
    "cat": lambda t, values, axis=0: t.emit("Concat", *values, axis=axis),
    "conv1d": _conv,
    "_convolution": _convolution,
    "dropout": _drop,
    "elu": lambda t, x, alpha=1.0: t.emit("Elu", x, alpha=float(alpha)),
    "embedding": _embed,
    "expand": _expand,
    "flatten": _flatten,
    "flip": _flip,
    "gelu": lambda t, x, approximate="none": t.emit("Gelu", x, approximate=approximate),
    "hardsigmoid": lambda t, x: t.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "hardswish": partial(_compute, "HardSwish"),
    "hardtanh": lambda t, x, low=-1, high=1: t.emit("Clip", x, float(low), float(high)),
    "layer_norm": _layer_norm,
    "leaky_relu": lambda t, x, slope=0.01: t.emit("LeakyRelu", x, alpha=float(slope)),
    "linear": _linear,
    "log_softmax": lambda t, x, axis, *_: t.emit("LogSoftmax", x, axis=axis),
    "max_pool1d": _max_pool,
    "mean": partial(_reduce, "ReduceMean"),
    "mT": lambda t, x: _transpose(t, x, -2, -1),
    "permute": lambda t, x, axes: t.emit("Transpose", x, perm=axes),
    "repeat": _repeat,
    "reshape": _reshape,
    "select": lambda t, x, axis, index: t.emit("Gather", x, index, axis=axis, rank=x.rank - 1),
    **dict.fromkeys(("size", "sym_size"), _size),
    "slice": _slice,
    "softmax": lambda t, x, axis, *_: t.emit("Softmax", x, axis=axis),
    "softplus": _softplus,
    "squeeze": lambda t, x, axis: t.emit("Squeeze", x, [axis], rank=x.rank - 1),
    "sum": partial(_reduce, "ReduceSum"),
    "amax": partial(_reduce, "ReduceMax"),
    "amin": partial(_reduce, "ReduceMin"),
    "to": _to,
    **dict.fromkeys(("transpose", "swapaxes"), _transpose),
    "unsqueeze": lambda t, x, axis: t.emit("Unsqueeze", x, [axis], rank=x.rank + 1),
    "view": _reshape,
    "zeros": lambda t, sizes, **_: t.emit("ConstantOfShape", sizes, rank=len(sizes)),
    "zeros_like": lambda t, x, **_: t.emit("Mul", x, 0.0),
    # Functions of constants.
    **{name: partial(_compare, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    "__is__": lambda _, a, b: UNKNOWN if a is UNKNOWN else a is b,
    "__isnot__": lambda _, a, b: UNKNOWN if a is UNKNOWN else a is not b,
    "__not__": partial(_compare, "not_"),
    "__contains__": lambda _, values, value: value in values,
    "dim": lambda _, x: x.rank,
    "len": lambda t, x: len(x) if isinstance(x, list) else _size(t, x, 0),
    **dict.fromkeys(_CASTS, lambda _, *inputs: inputs[-1]),
    **dict.fromkeys(_UNKNOWNS, lambda *_, **__: UNKNOWN),
}
