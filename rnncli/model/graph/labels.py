"""Labels in place of numbers: which row of the input each value of a graph comes from.

A label is two numbers in one of 64 bits, the upper half a step and the lower half a sequence. Each
may be `SEVERAL`, and the step of a final state is `STATE`. A constant has no row: `CONSTANT`.

Operators run over labels unchanged: functions that move values move their labels, ufuncs join them,
reductions and products join them along axes. A function of NumPy that is not listed is refused.
"""

from functools import reduce
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rnncli.model.graph import Array

Integers = NDArray[np.int64]

SEVERAL, STATE = 2**31 - 1, 2**30
CONSTANT = -1  # both halves are -1
_HALF = 32  # bits
_MOVES = {
    *(np.broadcast_to, np.concatenate, np.expand_dims, np.moveaxis, np.split, np.squeeze),
    *(np.take, np.tile, np.transpose, sliding_window_view),
}


def row_label(t: Any, n: Any) -> Any:
    """Return the label of step t of sequence n."""
    return np.asarray(t, np.int64) << _HALF | n


def steps_of(labels: Integers) -> Integers:
    """Return the steps that labels have."""
    return labels >> _HALF


def sequences_of(labels: Integers) -> Integers:
    """Return the sequences that labels have."""
    return labels << _HALF >> _HALF


def has_several(labels: Integers) -> bool:
    """Return whether a value comes from several rows."""
    return any((each == SEVERAL).any() for each in (steps_of(labels), sequences_of(labels)))


def thin(a: Integers) -> Integers:
    """Return one label along each axis whose labels are one in memory, as channels are."""
    return a[tuple(slice(None, None if by else 1) for by in a.strides)]


def join(a: Integers, b: Integers) -> Integers:
    """Join labels elementwise: a half that both have stays, and a constant adds nothing."""
    pairs = ((find(a), find(b)) for find in (steps_of, sequences_of))
    joined = row_label(*(np.where(p == q, p, SEVERAL) for p, q in pairs))
    return np.where(b == CONSTANT, a, np.where(a == CONSTANT, b, joined))


def join_along(a: Integers, axis: Any = None, *, keepdims: bool = False) -> Integers:
    """Join labels along axes."""
    axes = tuple(range(a.ndim)) if axis is None else tuple(np.ravel(axis) % max(a.ndim, 1))
    few = thin(a)
    known = few != CONSTANT

    def join_half(half: Integers) -> Integers:
        low = np.where(known, half, SEVERAL).min(axes, keepdims=True, initial=SEVERAL)
        high = half.max(axes, keepdims=True, initial=CONSTANT)
        return np.where((low == high) | (high == CONSTANT), high, SEVERAL)

    joined = row_label(join_half(steps_of(few)), join_half(sequences_of(few)))
    shape = [1 if k in axes else size for k, size in enumerate(a.shape)]
    joined = np.broadcast_to(joined, shape)
    return joined if keepdims else np.squeeze(joined, axes)


def join_before(a: Integers, axis: int) -> Integers:
    """Join each label along an axis with those before it."""
    steps = [*np.moveaxis(a, axis, 0)]
    return np.stack([*accumulate(steps, join)], axis)


def distinct(values: Array) -> Array:
    """Return the distinct values in order; `np.unique` imports `numpy.ma`, which takes 10 ms."""
    ordered = np.sort(values, axis=None)
    is_first = np.ones(len(ordered), bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_first]


def plain(value: Any) -> Any:
    """View labels as integers, also within lists."""
    if isinstance(value, list | tuple):
        return type(value)(plain(each) for each in value)
    return value.view(np.ndarray) if isinstance(value, Labels) else value


def label_of(value: Any) -> Integers:
    """Return the labels of an argument, which may be a constant."""
    if isinstance(value, Labels):
        return value.view(np.ndarray)
    return np.broadcast_to(np.int64(CONSTANT), np.shape(value))


def labels(integers: Any) -> "Labels":
    """View integers as labels."""
    return np.asarray(integers, np.int64).view(Labels)


class Labels(np.ndarray[Any, np.dtype[np.int64]]):
    """An array of labels, which NumPy's functions take for an array of numbers."""

    layout: Integers | None = None  # the cache of `rnncli.model.graph.rows.lay_out`

    def astype(self, *_: Any, **__: Any) -> Any:
        """Return the labels: they do not depend on a type."""
        return self

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        """Join the labels of the arguments."""
        if method != "__call__" or "out" in settings:
            return NotImplemented
        if ufunc is np.matmul:
            return labels(_multiply(*map(label_of, inputs)))
        return labels(_join_all(*inputs))

    def __array_function__(self, function: Any, types: Any, arguments: Any, settings: Any) -> Any:
        """Move or join labels, as the function moves or joins values."""
        if function in _REPLACEMENTS:
            return labels(_REPLACEMENTS[function](*arguments, **settings))
        if function not in _MOVES:
            return NotImplemented
        if isinstance(arguments[0], tuple | list):  # arrays, some of them constants
            arguments = ([label_of(each) for each in arguments[0]], *arguments[1:])
        moved = function(*plain(arguments), **settings)
        return [labels(each) for each in moved] if isinstance(moved, list) else labels(moved)


def _join_all(*values: Any) -> Integers:
    """Join the labels of arguments, some of which may be constants."""
    joined = reduce(join, (thin(plain(each)) for each in values if isinstance(each, Labels)))
    shapes = (getattr(each, "shape", ()) for each in values)
    return np.broadcast_to(joined, np.broadcast_shapes(*shapes))


def _multiply(a: Integers, b: Integers) -> Integers:
    """Return the labels of a product of matrices."""
    left = join_along(a, (-1,))
    right = join_along(b, (-2,) if b.ndim > 1 else (-1,))
    if a.ndim < 2 or b.ndim < 2:
        return join(left[..., None] if b.ndim > 1 else left, right)
    if a.shape[-1] != b.shape[-2]:
        raise ValueError("shapes do not fit each other")
    left, right = left[..., :, None], right[..., None, :]
    return np.broadcast_to(
        join(thin(left), thin(right)), np.broadcast_shapes(left.shape, right.shape)
    )


def _pad(x: Labels, widths: Any, mode: str = "constant", **_: Any) -> Integers:
    """Pad labels, once along the axes that are not padded and whose labels are one in memory."""
    a, pads = plain(x), np.array(widths)
    even = [not by and not any(n) for by, n in zip(a.strides, pads, strict=True)]
    few = a[tuple(slice(None, 1 if each else None) for each in even)]
    known = {"constant_values": CONSTANT} if mode == "constant" else {}
    padded = np.pad(few, widths, mode, **known)  # type: ignore[call-overload]
    sizes = zip(a.shape, pads.sum(1), strict=True)
    return np.broadcast_to(padded, [size + n for size, n in sizes])


def take(x: Array, indices: Labels, axis: int) -> Labels:
    """Return the labels of elements that indices choose: those of the indices."""
    if isinstance(x, Labels):
        raise TypeError("the indices into rows depend on rows")
    axis %= x.ndim
    spread = plain(indices).reshape(*indices.shape, *(1,) * (x.ndim - axis - 1))
    return labels(np.broadcast_to(spread, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])))


# Functions that do with labels what the originals do with numbers.
_REPLACEMENTS: dict[Any, Any] = {
    **dict.fromkeys(
        (np.mean, np.sum, np.prod, np.max, np.min, np.argmax),
        lambda x, axis=None, keepdims=False: join_along(label_of(x), axis, keepdims=keepdims),
    ),
    np.pad: _pad,
    np.cumsum: lambda x, axis: join_before(label_of(x), axis),
    np.where: _join_all,
}
