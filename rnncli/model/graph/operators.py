"""ONNX's operators over NumPy arrays: a function each, whose keyword arguments are attributes.

They run over numbers, and unchanged over the labels of `rnncli.model.graph.labels`. Floats keep
their type, whatever the type of a number in them.

Source: https://onnx.ai/onnx/operators.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from math import erf, prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from rnncli.model.activations import ACTIVATIONS, ONNX_OPERATORS, activation
from rnncli.model.arrays import no_index
from rnncli.model.errors import InputError, shown
from rnncli.model.graph import Array, Node, RefusedError, TooShortError, Unknown
from rnncli.model.graph.labels import Labels, take, thin
from rnncli.model.graph.recurrent import recur

FAR = 2**31 - 1  # programs write this, or more, for the end of an axis
# Element types by number.
TYPES = {1: "f4", 2: "u1", 3: "i1", 4: "u2", 5: "i2", 6: "i4", 7: "i8", 9: "?", 10: "f2"}
TYPES |= {11: "f8", 12: "u4", 13: "u8", 16: "f4"}
_FLOAT, _HALF, _DOUBLE, _BFLOAT16 = 1, 10, 11, 16
# The errors that operators raise for inputs or attributes that do not fit.
UNFIT = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_ERF = np.frompyfunc(erf, 1, 1)  # a ufunc, which labels pass through


def as_list(values: Any) -> tuple[int, ...] | None:
    """Return whole numbers, a list or an array, as a tuple."""
    if values is None:
        return None
    if isinstance(values, Labels):
        raise RefusedError("takes sizes or indices that depend on rows")
    return tuple(int(value) for value in np.ravel(values))


def _fit(a: Array, result: Array) -> Array:
    return result if result.dtype == a.dtype else result.astype(a.dtype)


def _activate(name: str, a: Array, **attributes: float) -> Array:
    """Apply an activation, whose attributes are alpha and beta if it has such parameters."""
    defaults = dict(zip(("alpha", "beta"), ACTIVATIONS[name].defaults, strict=False))
    if unknown := attributes.keys() - defaults.keys():
        raise TypeError(f"unexpected keyword argument {min(unknown)}")
    if isinstance(a, Labels):
        return np.positive(a)
    if a.dtype.kind != "f":
        raise RefusedError(f"expected floats, got {a.dtype}")
    parameters = [value or 0.0 for value in {**defaults, **attributes}.values()]
    out = np.empty_like(a)
    activation(name, *parameters).function()(a, out)
    return out


def _cast(a: Array, to: int, saturate: int = 1) -> Array:  # noqa: ARG001
    """Convert to an element type; bfloat16, which NumPy does not have, is rounded float32."""
    b = a.astype(TYPES[to])
    if to != _BFLOAT16 or isinstance(a, Labels):
        return b
    bits = b.view(np.uint32)
    rounded = (bits + (0x7FFF + (bits >> 16 & 1))) & 0xFFFF0000  # halves to even
    return np.where(np.isfinite(b), rounded.view(np.float32), b)


def _softmax(a: Array, axis: int = -1) -> Array:
    powers = np.exp(a - np.max(a, axis=axis, keepdims=True))
    return np.asanyarray(powers / np.sum(powers, axis=axis, keepdims=True))


def _log_softmax(a: Array, axis: int = -1) -> Array:
    less = a - np.max(a, axis=axis, keepdims=True)
    return np.asanyarray(less - np.log(np.sum(np.exp(less), axis=axis, keepdims=True)))


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        return np.trunc(a / b).astype(a.dtype)  # towards 0
    return np.asanyarray(a / b)


def _clip(a: Array, min: Any = None, max: Any = None) -> Array:  # noqa: A002
    a = a if min is None else np.maximum(a, min)
    return np.positive(a) if max is None else np.minimum(a, max)


def _gemm(
    a: Array, b: Array, c: Any = None, alpha: float = 1.0, beta: float = 1.0,
    transA: int = 0, transB: int = 0,
) -> Array:  # fmt: skip
    product = alpha * np.matmul(a.T if transA else a, b.T if transB else b)
    return _fit(a, product if c is None else product + beta * c)


def _reduce(
    function: Callable[..., Any], a: Array, axes: Any = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Array:  # fmt: skip
    along = as_list(axes) or (() if noop_with_empty_axes else None)
    return _fit(a, np.asanyarray(function(a, axis=along, keepdims=bool(keepdims))))


def _batch_normalization(
    x: Array, scale: Array, shift: Array, mean: Array, variance: Array, epsilon: float = 1e-5,
    momentum: float = 0.9, spatial: int = 1, training_mode: int = 0,  # noqa: ARG001
) -> Array:  # fmt: skip
    if training_mode or spatial != 1:
        raise RefusedError("BatchNormalization that is being trained is not read")
    shape = (-1,) + (1,) * (x.ndim - 2)
    less = (x - mean.reshape(shape)) / np.sqrt(variance + epsilon).astype(mean.dtype).reshape(shape)
    return _fit(x, less * scale.reshape(shape) + shift.reshape(shape))


def _layer_normalization(
    x: Array, scale: Array, shift: Any = 0, axis: int = -1, epsilon: float = 1e-5,
    stash_type: int = 1,  # noqa: ARG001
) -> Array:  # fmt: skip
    axes = tuple(range(axis % x.ndim, x.ndim))
    less = x - np.mean(x, axis=axes, keepdims=True)
    root = np.sqrt(np.mean(less * less, axis=axes, keepdims=True) + epsilon)
    return _fit(x, less / root * scale + (0 if shift is None else shift))


def _constant(**attributes: Any) -> Array:
    ((name, value),) = attributes.items()
    if name == "value":
        return np.asarray(value)
    return np.array(value, {"value_i": np.int64, "value_f": np.float32}[name[:7]])


def _constant_of_shape(shape: Array, value: Any = None) -> Array:
    one = np.zeros(1, np.float32) if value is None else value.reshape(-1)[:1]
    return np.broadcast_to(one.reshape(()), as_list(shape) or ())


def _reshape(x: Array, shape: Array, allowzero: int = 0) -> Array:
    sizes = as_list(shape) or ()
    if not allowzero:
        sizes = tuple(x.shape[k] if size == 0 else size for k, size in enumerate(sizes))
    return x.reshape(sizes)


def _flatten(x: Array, axis: int = 1) -> Array:
    axis = axis if axis == x.ndim else axis % x.ndim
    return x.reshape(prod(x.shape[:axis]), -1)


def _slice(x: Array, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Array:
    begin, end = as_list(starts) or (), as_list(ends) or ()
    along = as_list(axes) or tuple(range(len(begin)))
    index = [slice(None)] * x.ndim
    for axis, first, last, step in zip(
        along, begin, end, as_list(steps) or (1,) * len(begin), strict=True
    ):
        stop: int | None = last
        if step < 0:
            if last >= FAR:
                what = "Slice: goes back to an end behind, in which programs differ"
                raise RefusedError(what)
            # Unlike Python, ONNX takes the first index for one before it.
            first = max(first, -x.shape[axis])
            stop = None if last < -x.shape[axis] else last
        index[axis] = slice(first, stop, step)
    return x[tuple(index)]


def _split(
    x: Array, split: Any = None, axis: int = 0, num_outputs: int = 0, outputs: int = 1
) -> list[Array]:
    size, sizes, count = x.shape[axis], as_list(split), num_outputs or outputs
    if sizes is None:
        most = -(-size // count)
        sizes = tuple(min(most, size - most * k) for k in range(count))
    if len(sizes) < outputs or sum(sizes) != size or min(sizes) < 0:
        raise RefusedError("Split: the sizes do not fit the axis")
    return list(np.split(x, np.cumsum(sizes)[:-1].tolist(), axis))


def _gather(x: Array, indices: Array, axis: int = 0) -> Array:
    if isinstance(indices, Labels):
        return take(x, indices, axis)
    size = x.shape[axis]
    wrong = indices[(indices < -size) | (indices >= size)]
    if wrong.size:
        raise InputError("", no_index(wrong[0], size))
    return np.take(x, indices.astype(np.intp), axis)


def _check_whole(a: Array, name: str) -> Array:
    """Check that floats are whole numbers, as an input takes them."""
    if isinstance(a, Labels):
        return np.positive(a)
    wrong = a[a != np.rint(a)]
    if wrong.size:
        raise InputError(name, f"expected whole numbers, got {wrong[0]}")
    return a


def _pad(x: Array, pads: Any, value: Any = None, mode: str = "constant") -> Array:
    sizes = as_list(pads) or ()
    widths = [*zip(sizes[: x.ndim], sizes[x.ndim :], strict=True)]
    if mode == "constant":
        return np.pad(x, widths, constant_values=0 if value is None else np.ravel(value)[0])
    return np.pad(x, widths, mode=mode)  # type: ignore[call-overload,no-any-return]


def _slide(
    x: Array, kernel: Any, strides: Any, pads: Any, dilations: Any, auto_pad: str,
    filled: float = 0.0, ceil_mode: int = 0,
) -> Array:  # fmt: skip
    """Return the windows of (N, C, ...): (N, C, ..., kernel)."""
    n = len(kernel)
    strides, dilations, pads = strides or [1] * n, dilations or [1] * n, pads or [0] * 2 * n
    reach = [(size - 1) * by + 1 for size, by in zip(kernel, dilations, strict=True)]
    ends = [*zip(pads[:n], pads[n:], strict=True)]
    if auto_pad.startswith("SAME"):
        sizes = zip(x.shape[2:], strides, reach, strict=True)
        totals = [max(0, (-(-size // by) - 1) * by + r - size) for size, by, r in sizes]
        ends = [(total // 2, total - total // 2) for total in totals]
        ends = [end[::-1] for end in ends] if auto_pad == "SAME_LOWER" else ends
    elif ceil_mode:
        sizes = zip(x.shape[2:], strides, reach, strict=True)
        pairs = zip(sizes, ends, strict=True)
        ends = [(end[0], end[1] + _complete(*each, *end)) for each, end in pairs]
    if any(map(any, ends)):
        x = np.pad(x, [(0, 0), (0, 0), *ends], constant_values=filled)
    if any(size < most for size, most in zip(x.shape[2:], reach, strict=True)):
        takes, has = (" by ".join(map(str, each)) for each in (reach, x.shape[2:]))
        raise TooShortError(f"takes {takes} values, of an input of {has}")
    windows = sliding_window_view(x, reach, tuple(range(2, 2 + n)))
    full = (slice(None),) * 2
    return windows[(*full, *(slice(None, None, by) for by in (*strides, *dilations)))]


def _complete(size: int, by: int, reach: int, first: int, last: int) -> int:
    """Count the values that complete a last window, which begins before the end of an axis."""
    count = -(-(first + size + last - reach) // by)
    begin = min(count, (first + size - 1) // by) * by
    return max(0, begin + reach - (first + size + last))


def _conv(
    x: Array, W: Array, b: Any = None, kernel_shape: Any = None, strides: Any = None,  # noqa: ARG001
    pads: Any = None, dilations: Any = None, group: int = 1, auto_pad: str = "NOTSET",
) -> Array:  # fmt: skip
    n = W.ndim - 2
    if isinstance(x, Labels):  # of the channels of a group together
        sums = [np.sum(each, axis=1, keepdims=True) for each in np.split(x, group, 1)]
        x, W = np.concatenate(sums, 1), W[:, :1]
    windows = _slide(x, W.shape[2:], strides, pads, dilations, auto_pad, 0)
    order = (0, *range(2, 2 + n), 1, *range(2 + n, 2 + 2 * n))
    outputs = []
    for each, weights in zip(np.split(windows, group, 1), np.split(W, group), strict=True):
        rows = np.transpose(each, order).reshape(len(x), *windows.shape[2 : 2 + n], -1)
        outputs.append(np.matmul(rows, weights.reshape(len(weights), -1).T))
    y = np.moveaxis(np.concatenate(outputs, -1) if group > 1 else outputs[0], -1, 1)
    return _fit(x, y if b is None else y + b.reshape(-1, *[1] * n))


def _check_same(auto_pad: str, dilations: Any, *, skips: bool = False) -> None:
    """Refuse pads that programs count in other ways; `skips` says that windows leave values out."""
    if auto_pad.startswith("SAME") and (skips or any(by > 1 for by in dilations or ())):
        raise RefusedError(f"auto_pad {auto_pad} of windows with gaps, in which programs differ")


def _max_pool(
    x: Array, kernel_shape: Any, strides: Any = None, pads: Any = None, dilations: Any = None,
    auto_pad: str = "NOTSET", ceil_mode: int = 0, storage_order: int = 0,  # noqa: ARG001
) -> Array:  # fmt: skip
    _check_same(auto_pad, dilations)
    windows = _slide(x, kernel_shape, strides, pads, dilations, auto_pad, -np.inf, ceil_mode)
    return np.asanyarray(np.max(windows, axis=tuple(range(-len(kernel_shape), 0))))


def _average_pool(
    x: Array, kernel_shape: Any, strides: Any = None, pads: Any = None, dilations: Any = None,
    auto_pad: str = "NOTSET", ceil_mode: int = 0, count_include_pad: int = 0,
) -> Array:  # fmt: skip
    _check_same(auto_pad, dilations, skips=bool(np.any(np.array(strides or 1) > kernel_shape)))
    if count_include_pad and ceil_mode and (any(pads or ()) or auto_pad != "NOTSET"):
        raise RefusedError("an average of pads with ceil_mode is not read")

    def add(values: Array, filled: float) -> Array:
        windows = _slide(
            values, kernel_shape, strides, pads, dilations, auto_pad, filled, ceil_mode
        )
        return np.asanyarray(np.sum(windows, axis=tuple(range(-len(kernel_shape), 0))))

    counted = np.ones((1, 1, *x.shape[2:]), np.float32)
    return _fit(x, add(x, 0.0) / add(counted, float(count_include_pad and not ceil_mode)))


def _spread(x: Array, scale: Array, axis: int) -> tuple[int, ...]:
    """Return the shape of a scale that an array takes: one value, or one along an axis."""
    if scale.ndim > 1:
        raise RefusedError("scales of blocks are not read")
    return (-1, *[1] * (x.ndim - 1 - axis % x.ndim)) if scale.size > 1 else ()


def _dequantize(x: Array, scale: Array, zero: Any = None, axis: int = 1) -> Array:
    shape = _spread(x, scale, axis)
    whole = x.astype(np.int32)
    whole = whole if zero is None else whole - zero.astype(np.int32).reshape(shape)
    return _fit(scale, whole * scale.reshape(shape))


def _quantize(
    x: Array,
    scale: Array,
    zero: Any = None,
    axis: int = 1,
    saturate: int = 1,  # noqa: ARG001
) -> Array:
    shape, zero = _spread(x, scale, axis), np.uint8(0) if zero is None else zero
    ends = np.iinfo(zero.dtype)
    whole = np.rint(x / scale.reshape(shape)) + zero.astype(np.float64).reshape(shape)
    return np.asanyarray(np.minimum(np.maximum(whole, ends.min), ends.max).astype(zero.dtype))


def _accumulate(x: Array, axis: Array, exclusive: int = 0, reverse: int = 0) -> Array:
    """Compute ``CumSum``."""
    along = int(np.ravel(axis)[0]) % x.ndim
    backwards = (slice(None),) * along + (slice(None, None, -1),)
    sums = np.cumsum(x[backwards] if reverse else x, along)
    if exclusive:
        widths = [(int(k == along), 0) for k in range(x.ndim)]
        sums = np.split(np.pad(sums, widths), [x.shape[along]], along)[0]
    return _fit(x, sums[backwards] if reverse else sums)


def _contract(*arrays: Array, equation: str) -> Array:
    """Compute ``Einsum``; labels are joined over all axes at once."""
    equation = equation.replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    terms = inputs.split(",")
    if "." in equation or not arrow or any(len({*term}) < len(term) for term in terms):
        raise RefusedError("Einsum: expected an equation with ->, and without ... and diagonals")
    if not any(isinstance(each, Labels) for each in arrays):
        return np.asarray(np.einsum(equation, *arrays))
    letters = output + "".join(dict.fromkeys(c for c in inputs if c.isalpha() and c not in output))
    spread = []
    for term, array in zip(terms, arrays, strict=True):
        order = [term.index(letter) for letter in letters if letter in term]
        missing = tuple(k for k, letter in enumerate(letters) if letter not in term)
        spread.append(np.expand_dims(np.transpose(array, order), missing))
    joined = reduce(np.multiply, spread)
    return np.asanyarray(np.sum(joined, axis=tuple(range(len(output), len(letters)))))


def _trim(x: Array, k: Any = None, upper: int = 1) -> Array:
    """Compute ``Trilu``."""
    by, (rows, columns) = 0 if k is None else int(np.ravel(k)[0]), x.shape[-2:]
    distance = np.arange(columns) - np.arange(rows)[:, None]
    return np.asanyarray(np.where(distance >= by if upper else distance <= by, x, x.dtype.type(0)))


def _reverse(x: Array, lengths: Any, batch_axis: int = 1, time_axis: int = 0) -> Array:
    """Compute ``ReverseSequence``: the first steps of each sequence backwards."""
    if isinstance(lengths, Labels):
        raise RefusedError("takes lengths that depend on rows")
    t = np.arange(x.shape[time_axis])[:, None]
    index = np.where(t < lengths, lengths - 1 - t, t)  # (T, N)
    order = (time_axis, batch_axis, *(k for k in range(x.ndim) if k not in (time_axis, batch_axis)))
    y = np.transpose(x, order)[index, np.arange(x.shape[batch_axis])]
    return np.transpose(y, tuple(np.argsort(order).tolist()))


def _resize(
    x: Array, roi: Any = None, scales: Any = None, sizes: Any = None, mode: str = "nearest",  # noqa: ARG001
    coordinate_transformation_mode: str = "half_pixel", nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = 0,  # noqa: ARG001
) -> Array:  # fmt: skip
    """Compute ``Resize`` where it repeats values."""
    targets = np.ravel(sizes) if scales is None or not scales.size else np.ravel(scales) * x.shape
    factors = [to / size for to, size in zip(targets, x.shape, strict=True)]
    moved = {"asymmetric": 0.0, "half_pixel": 0.5}.get(coordinate_transformation_mode)
    if mode != "nearest" or moved is None or any(by < 1 or by % 1 for by in factors):
        raise RefusedError("Resize other than by whole factors, repeating values, is not read")
    for axis, by in enumerate(factors):
        if by > 1:
            index = (np.arange(x.shape[axis] * int(by)) + moved) / by - moved
            index = np.ceil(index - 0.5) if nearest_mode == "round_prefer_floor" else index
            index = np.floor(index + 0.5) if nearest_mode == "round_prefer_ceil" else index
            index = np.ceil(index) if nearest_mode == "ceil" else np.floor(index)
            x = np.take(x, index.clip(0, x.shape[axis] - 1).astype(np.intp), axis)
    return x


def _dropout(x: Array, ratio_in: Any = None, training: Any = None, **_: Any) -> Array:  # noqa: ARG001
    if training is not None and training.any():
        raise RefusedError("Dropout that is being trained is not read")
    return x


def _run_layer(*inputs: Array, layer: Any) -> Array:
    """Compute the rows of a layer, whose features stand along the last axis of the inputs."""
    if not any(isinstance(x, Labels) for x in inputs):
        return np.asarray(layer(np.concatenate(inputs, -1)))
    if sum(x.shape[-1] for x in inputs) != layer.input_size:
        raise ValueError("rows of other widths")
    label = reduce(np.add, (np.sum(x, axis=(-1,), keepdims=True) for x in inputs))
    return np.broadcast_to(label, (*label.shape[:-1], layer.output_size))


_NUMPY = ("exp", "log", "sqrt", "floor", "ceil", "sign", "sin", "cos", "tan", "equal", "less")
# Functions of each value alone, and elementwise functions of several arrays.
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{op: partial(_activate, name) for name, op in ONNX_OPERATORS.items()},
    **{name.title(): getattr(np, name) for name in (*_NUMPY, "greater", "abs")},
    "Add": np.add,
    "And": np.logical_and,
    "Cast": _cast,
    "Clip": _clip,
    "DequantizeLinear": _dequantize,
    "Div": _divide,
    "Erf": lambda a: _fit(a, np.asanyarray(_ERF(a))),
    "Gelu": lambda a, approximate="none": _activate(f"gelu_{approximate}".removesuffix("_none"), a),
    "GreaterOrEqual": np.greater_equal,
    "LessOrEqual": np.less_equal,
    "Max": lambda *arrays: reduce(np.maximum, arrays),
    "Min": lambda *arrays: reduce(np.minimum, arrays),
    "Mod": np.mod,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "PRelu": lambda a, slope: np.where(a < 0, slope * a, a),
    "Pow": lambda a, b: _fit(a, np.power(a, b if b.dtype.kind == "f" else b.astype(np.float64))),
    "QuantizeLinear": _quantize,
    "Reciprocal": lambda a: _fit(a, 1 / a),
    "Round": np.rint,
    "Sub": np.subtract,
    "Sum": lambda *arrays: reduce(np.add, arrays),
    "Swish": lambda a, alpha=1.0: _fit(a, a * _activate("sigmoid", _fit(a, alpha * a))),
    "Where": np.where,
    "Whole": _check_whole,
}
# Operators that move values, and change none.
MOVERS: dict[str, Callable[..., Any]] = {
    "Concat": lambda *arrays, axis: np.concatenate(arrays, axis),
    "Dropout": _dropout,
    "Expand": lambda x, shape: np.broadcast_to(
        x, np.broadcast_shapes(x.shape, as_list(shape) or ())
    ),
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": lambda x: x,
    "Reshape": _reshape,
    "Rows": lambda x: x,  # which a recurrent layer takes, in a format that has layers
    "Resize": _resize,
    "ReverseSequence": _reverse,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": lambda x, axes=None: np.squeeze(x, as_list(axes)),
    "Tile": lambda x, repeats: np.tile(x, as_list(repeats) or ()),
    "Transpose": lambda x, perm=None: x.transpose(perm),
    "Unsqueeze": lambda x, axes: np.expand_dims(x, as_list(axes) or ()),
}
REDUCED: dict[str, Callable[..., Any]] = {
    **{
        f"Reduce{name.title()}": partial(_reduce, getattr(np, name))
        for name in ("max", "mean", "min", "prod", "sum")
    },
    "ReduceL2": partial(_reduce, lambda a, **settings: np.sqrt(np.sum(a * a, **settings))),
}
OPERATORS: dict[str, Callable[..., Any]] = {
    **ELEMENTWISE,
    **MOVERS,
    **REDUCED,
    "ArgMax": lambda a, axis=0, keepdims=1: np.argmax(a, axis=axis, keepdims=bool(keepdims)),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "CumSum": _accumulate,
    "Einsum": _contract,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x: REDUCED["ReduceMean"](x, range(2, x.ndim)),
    "GlobalMaxPool": lambda x: REDUCED["ReduceMax"](x, range(2, x.ndim)),
    "Layer": _run_layer,
    "LayerNormalization": _layer_normalization,
    "LogSoftmax": _log_softmax,
    "MatMul": np.matmul,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Recur": recur,
    "Range": lambda a, b, by: np.arange(a.item(), b.item(), by.item()).astype(a.dtype),
    "Shape": lambda x, start=0, end=None: np.array(x.shape[start:end], np.int64),
    "Size": lambda x: np.array(x.size, np.int64),
    "Softmax": _softmax,
    "Trilu": _trim,
}


def count_values(node: Node, inputs: Sequence[Any]) -> float:
    """Count the most values that a node computes."""
    op, known, arrays = node.op, node.attributes, [each for each in inputs if each is not None]
    total = sum(float(each.size) for each in arrays)
    x = arrays[0] if arrays else np.empty(1)
    few = [thin(each) for each in arrays if isinstance(each, Labels)]
    if op in ELEMENTWISE or (few and op == "BatchNormalization"):
        return float(prod(np.broadcast_shapes(*(each.shape for each in few or arrays))))
    if op in ("ConstantOfShape", "Expand", "Tile"):
        return float(prod(_magnitudes(arrays[-1])) * x.size)
    if op == "Resize":
        scales = arrays[-1] if arrays[-1].dtype.kind == "f" else arrays[-1] / x.shape
        return float(prod(_magnitudes(scales)) * x.size)
    if op == "Einsum":
        terms = str(known["equation"]).replace(" ", "").partition("->")[0].split(",")
        sizes: dict[str, int] = {}
        for term, array in zip(terms, arrays, strict=True):
            sizes |= dict(zip(term, array.shape, strict=False))
        return float(total + prod(map(float, sizes.values())))
    if op == "Range":
        begin, end, by = (_magnitudes(each)[0] for each in arrays)
        return float((begin + end) / (by or 1e-9))
    if op in ("Pad", "Conv", "MaxPool", "AveragePool"):
        return _count_windows(node, inputs)
    if op == "Gather":
        return float(x.size / max(x.shape[known.get("axis", 0)], 1) * inputs[1].size)
    if op in ("Layer", "Recur"):
        return float(total + x.size / x.shape[-1] * known["layer"].output_size)
    if op in ("MatMul", "Gemm"):
        total -= inputs[1].size if x.dtype.kind != inputs[1].dtype.kind else 0  # weights of labels
        return float(total + x.size / max(x.shape[-1:], default=1) * max(inputs[1].shape))
    return total


def _count_windows(node: Node, inputs: Sequence[Any]) -> float:
    """Count the most values of an operator that pads, or that computes windows."""
    op, known, x = node.op, node.attributes, inputs[0]
    few = isinstance(x, Labels)
    kernel = _magnitudes(inputs[1].shape[2:] if op == "Conv" else known.get("kernel_shape", ()))
    pads = _magnitudes(known.get("pads", inputs[1] if op == "Pad" else ()))
    shape, n, axes = np.array(x.shape, float), len(pads) // 2, x.ndim - len(kernel)
    shape[:2] = thin(x).shape[:2] if few else shape[:2]
    shape[x.ndim - n :] += pads[:n] + pads[n:]
    counts = shape.copy()  # of windows
    if str(known.get("auto_pad", "")).startswith("SAME") or known.get("ceil_mode"):
        shape[axes:] += kernel * known.get("dilations", 1)
    else:
        counts[axes:] -= (kernel - 1) * known.get("dilations", 1)
    windows = prod(counts.clip(0)) / max(shape[1], 1) / prod(_magnitudes(known.get("strides", 1)))
    channels, filters = shape[1], len(inputs[1]) if op == "Conv" else 0
    if few and op == "Conv":  # the channels of a group are joined
        channels = known.get("group", 1)
        filters = filters if channels > 1 else 0
    return float(prod(shape) + windows * (channels * prod(kernel) + filters))


def _magnitudes(values: Any) -> Array:
    return np.abs(np.ravel(values).astype(np.float64))


def _cast_in_run(dtype: Any, a: Array, to: int, **attributes: int) -> Array:
    """Cast in a run: its float type stands for all of ONNX; values of fewer digits are rounded."""
    b = a if to in (_FLOAT, _DOUBLE) else _cast(a, to, **attributes)
    return b.astype(dtype) if to in (_FLOAT, _DOUBLE, _HALF, _BFLOAT16) else b


def find_operator(op: str, dtype: Any = None) -> Callable[..., Any]:
    """Find the function of an operator, in a run its form for the run's float type."""
    return partial(_cast_in_run, dtype) if op == "Cast" and dtype else OPERATORS[op]


def apply(
    node: Node, inputs: Sequence[Any], opset: int, spend: Callable[[float], None] = lambda _: None,
    dtype: Any = None,
) -> list[Any]:  # fmt: skip
    """Compute the outputs of a node; `spend` gets the number of values before.

    `dtype` is the float type of a run; constants have the types that the graph says.
    """
    attributes = dict(node.attributes)
    if node.op not in OPERATORS or node.domain:
        raise RefusedError(f"operator {f'{node.domain} {node.op}'.strip()} is not read")
    for value in attributes.values():
        if isinstance(value, Unknown):
            raise RefusedError(value.why)
    outputs = len([*filter(None, node.outputs)]) or len(node.outputs)
    attributes |= {"outputs": outputs} if node.op == "Split" else {}
    try:
        older = node.op in ("Softmax", "LogSoftmax") and opset < 13  # of all later axes too
        if older and attributes.setdefault("axis", 1) not in (-1, inputs[0].ndim - 1):
            raise RefusedError(f"{node.op} over several axes is not read")
        spend(count_values(node, inputs))
        with np.errstate(all="ignore"):
            result = find_operator(node.op, dtype)(*inputs, **attributes)
    except UNFIT as error:
        known = str(error).partition("keyword argument ")[2].strip("'")
        what = f"attribute {shown(known)} is not read" if known else "its inputs do not fit it"
        raise RefusedError(f"{node.op}: {what}") from error
    return result if isinstance(result, list) else [np.asanyarray(result)]


def evaluate(
    nodes: Sequence[Node], values: dict[str, Any], opset: int, dtype: Any = None,
    spend: Callable[[float], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """Compute nodes, each after those whose outputs it takes; add their outputs to the values."""
    for node in nodes:
        try:
            inputs = [values[name] if name else None for name in node.inputs]
        except KeyError as error:
            name = shown(error.args[0])
            raise RefusedError(f"takes {name}, which no node before it gives") from error
        outputs = apply(node, inputs, opset, spend, dtype)
        values.update(zip(node.outputs, outputs, strict=False))
    return values


def find_ancestors(nodes: Sequence[Node], names: Iterable[str]) -> set[str]:
    """Return values, and all values that they are computed from."""
    ancestors = {*filter(None, names)}
    for node in reversed(nodes):
        if ancestors.intersection(node.outputs):
            ancestors.update(filter(None, node.inputs))
    return ancestors
