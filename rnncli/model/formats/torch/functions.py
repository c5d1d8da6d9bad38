"""PyTorch's functions as operators of ONNX, for the code of TorchScript."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

# Neither a value of the graph nor known, such as a device.
UNKNOWN = object()
_FAR = 2**63 - 1
# The codes of int64, float32 and float64.
_LONG, _FLOATS = 4, (6, 7)


class Value(NamedTuple):
    """A value of a graph: its name, how many axes it has, and whether it is of whole numbers."""

    name: str
    rank: int
    whole: bool = False


def _require(*settings: bool) -> None:
    if not all(settings):
        raise ValueError("other settings")


def _one(op: str) -> Callable[..., Any]:
    return lambda t, x: t.emit(op, x)


def _same(_: Any, x: Value, *others: Any, **__: Any) -> Any:
    _require(not any(each is True for each in others))  # in training
    return x


def _binary(op: str) -> Callable[..., Any]:
    def compute(t: Any, a: Any, b: Any, alpha: float = 1) -> Any:
        whole = all(type(each) is int or getattr(each, "whole", False) for each in (a, b))
        a, b = (float(each) if type(each) is int and not whole else each for each in (a, b))
        _require(alpha == 1, not (whole and op == "Div"))
        return t.emit(op, a, b)

    return compute


def _elu(t: Any, x: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Any:
    _require(scale == input_scale == 1)
    return t.emit("Elu", x, alpha=float(alpha))


def _softplus(t: Any, x: Value, beta: float = 1, threshold: float = 20) -> Any:
    _require(beta == 1, threshold == 20)
    return t.emit("Softplus", x)


def _to(t: Any, x: Value, *given: Any, **named: Any) -> Any:
    kinds = [each for each in (named.get("dtype"), *given) if type(each) is int]
    _require(not kinds or kinds[0] in (_LONG, *_FLOATS))
    return t.emit("Cast", x, to=7) if kinds[:1] == [_LONG] else x


def _linear(t: Any, x: Value, W: Any, b: Any = None) -> Any:
    y = t.emit("MatMul", x, t.emit("Transpose", W, perm=[1, 0]))
    return y if b is None else t.emit("Add", y, b)


def _batch_norm(t: Any, x: Value, W: Any, b: Any, mean: Any, var: Any, *more: Any) -> Any:
    train, _, epsilon, *_ = more
    _require(not train, all(each is not None for each in (W, b, mean, var)))
    return t.emit("BatchNormalization", x, W, b, mean, var, epsilon=epsilon, rank=x.rank)


def _layer_norm(t: Any, x: Value, shape: Any, W: Any, b: Any, eps: float = 1e-5, *_: Any) -> Any:
    _require(W is not None)
    return t.emit("LayerNormalization", x, W, b, axis=-len(shape), epsilon=eps, rank=x.rank)


def _conv(
    t: Any, x: Value, W: Any, b: Any = None, stride: Any = (1,), padding: Any = (0,),
    dilation: Any = (1,), *more: Any,
) -> Any:  # fmt: skip
    _require(not more[1:] or more[0] is False)  # transposed, where it is traced
    group = (*more, 1)[2 if more[1:] else 0]
    sizes = {"strides": [*stride], "pads": [*padding, *padding], "dilations": [*dilation]}
    return t.emit("Conv", x, W, b, group=group, rank=x.rank, **sizes)


def _transpose(t: Any, x: Value, first: int, second: int) -> Any:
    perm = [*range(x.rank)]
    perm[first], perm[second] = perm[second], perm[first]
    return t.emit("Transpose", x, perm=perm)


def _slice(
    t: Any, x: Value, axis: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    stop = _FAR if end is None else end
    whole = not start and stop == _FAR and step == 1
    return x if whole else t.emit("Slice", x, [start or 0], [stop], [axis], [step], rank=x.rank)


def _flip(t: Any, x: Value, axes: list[int]) -> Any:
    for axis in axes:
        x = t.emit("Slice", x, [-1], [-_FAR], [axis], [-1], rank=x.rank)
    return x


def _size(t: Any, x: Value, axis: int | None = None) -> Any:
    if axis is None:
        return [_size(t, x, each) for each in range(x.rank)]
    size = t.emit("Shape", x, rank=1, start=axis % x.rank, end=axis % x.rank + 1)
    return t.emit("Squeeze", size, [0], rank=0)._replace(whole=True)


def _reshape(t: Any, x: Value, sizes: list[Any]) -> Any:
    return t.emit("Reshape", x, sizes, rank=len(sizes))


def _flatten(t: Any, x: Value, start: int = 0, end: int = -1) -> Any:
    first, last = start % x.rank, end % x.rank
    return _reshape(t, x, [0] * first + [-1] + [_size(t, x, k) for k in range(last + 1, x.rank)])


def _reduce(op: str) -> Callable[..., Any]:
    def reduce(t: Any, x: Value, axes: Any, keepdim: bool = False, **_: Any) -> Any:
        axes = axes if isinstance(axes, list) else [axes]
        rank = x.rank if keepdim else x.rank - len(axes)
        return t.emit(op, x, axes, keepdims=int(keepdim), rank=rank)

    return reduce


_ALONE = ("Abs", "Exp", "HardSwish", "Log", "Mish", "Neg", "Relu", "Selu", "Sigmoid", "Sqrt")
# The first argument is what adds nodes, `emit`.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{op.lower(): _one(op) for op in (*_ALONE, "Tanh")},
    **{op.lower(): _binary(op) for op in ("Add", "Sub", "Mul", "Div", "Pow", "MatMul")},
    **dict.fromkeys(("contiguous", "detach", "clone", "alias", "float", "dropout"), _same),
    **dict.fromkeys(("conv1d", "_convolution"), _conv),
    **dict.fromkeys(("reshape", "view"), _reshape),
    "batch_norm": _batch_norm,
    "cat": lambda t, values, axis=0: t.emit("Concat", *values, axis=axis),
    "elu": _elu,
    "embedding": lambda t, W, x, *_: t.emit("Gather", W, x, axis=0, rank=x.rank + 1),
    "flatten": _flatten,
    "flip": _flip,
    "gelu": lambda t, x, approximate="none": t.emit("Gelu", x, approximate=approximate),
    "hardsigmoid": lambda t, x: t.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "hardtanh": lambda t, x, low=-1, high=1: t.emit("Clip", x, float(low), float(high)),
    "layer_norm": _layer_norm,
    "leaky_relu": lambda t, x, slope=0.01: t.emit("LeakyRelu", x, alpha=float(slope)),
    "linear": _linear,
    "log_softmax": lambda t, x, axis, *_: t.emit("LogSoftmax", x, axis=axis),
    "mean": _reduce("ReduceMean"),
    "permute": lambda t, x, axes: t.emit("Transpose", x, perm=axes),
    "select": lambda t, x, axis, place: t.emit("Gather", x, place, axis=axis, rank=x.rank - 1),
    "silu": _one("Swish"),
    "size": _size,
    "slice": _slice,
    "softmax": lambda t, x, axis, *_: t.emit("Softmax", x, axis=axis),
    "softplus": _softplus,
    "squeeze": lambda t, x, axis: t.emit("Squeeze", x, [axis], rank=x.rank - 1),
    "sum": _reduce("ReduceSum"),
    "to": _to,
    "transpose": _transpose,
    "unsqueeze": lambda t, x, axis: t.emit("Unsqueeze", x, [axis], rank=x.rank + 1),
    "zeros": lambda t, sizes, **_: t.emit("ConstantOfShape", sizes, rank=len(sizes)),
    "zeros_like": lambda t, x, **_: t.emit("Mul", x, 0.0),
}


def _constant(function: Callable[..., Any]) -> Callable[..., Any]:
    kinds = (bool, int, float, str, type(None))
    return lambda *given: function(*given) if {*map(type, given)} <= {*kinds} else UNKNOWN


def _last(*given: Any) -> Any:
    return given[-1]


def _unknown(*_: Any, **__: Any) -> Any:
    return UNKNOWN


_COMPARED = ("eq", "ne", "lt", "le", "gt", "ge")
# Functions of constants.
CONSTANTS: dict[str, Callable[..., Any]] = {
    **{name: _constant(getattr(operator, name)) for name in _COMPARED},
    "__is__": lambda a, b: UNKNOWN if UNKNOWN in (a, b) else a is b,
    "__isnot__": lambda a, b: UNKNOWN if UNKNOWN in (a, b) else a is not b,
    "__not__": _constant(operator.not_),
    "__contains__": operator.contains,
    "dim": lambda x: x.rank,
    "len": len,
    **dict.fromkeys(("annotate", "unchecked_cast", "int", "Int", "NumToTensor", "list"), _last),
    **dict.fromkeys(("device", "dtype", "layout", "format"), _unknown),
    **dict.fromkeys(("uninitialized", "RaiseException"), _unknown),
}
