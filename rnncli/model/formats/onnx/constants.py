"""Nodes that depend on no input but for its sizes: they are computed while a graph is read."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.formats.onnx.elements import Tensor, type_name
from rnncli.model.formats.onnx.values import (
    Call,
    Constant,
    RefusedError,
    Rows,
    Size,
    Unknown,
    as_array,
    constant,
    stored,
)

Array = NDArray[Any]

# Programs write this, or more, for the end of an axis.
FAR = 2**31 - 1

# Element types that a graph may cast to, by their numbers.
_TYPES = dict(enumerate(("f4", "u1", "i1", "u2", "i2", "i4", "i8"), start=1))
_TYPES |= {9: "?", 10: "f2", 11: "f8"}


def shape_of(call: Call) -> Constant:
    """Return the sizes of an input, as far as they are known: ``Shape``."""
    found = call.given(0)
    if isinstance(found, Rows):
        sizes: Sequence[Any] = [axis.size for axis in found.axes]
    else:
        known = call.constant(0)
        if known.spread:
            raise RefusedError("takes the shape of an array whose shape is not known")
        sizes = known.entry.shape
    end = call.integer("end") if "end" in call.node.attributes else None
    return constant(as_array(sizes[call.integer("start") : end]))


def folded(call: Call) -> list[Constant]:
    """Compute a node that takes constants alone."""
    op = call.node.op
    if op == "Constant":
        return [_literal(call)]
    if op == "Identity":
        return [call.constant(0)]
    if op not in FOLDED:
        raise RefusedError(f"operator {op} is not read")
    given = [each for each in call.inputs if isinstance(each, Constant)]
    if op in _FILLING:
        return [_FILLING[op](call)]
    arrays = [call.work.array(each) for each in given]
    try:
        if op in _ELEMENTWISE:
            call.work.spend(prod(np.broadcast_shapes(*(array.shape for array in arrays))))
        with np.errstate(all="ignore"):
            made = FOLDED[op](call, *arrays)
    except (ValueError, IndexError, TypeError, ArithmeticError) as error:
        raise RefusedError(f"{op}: its inputs do not fit it") from error
    spread = any(each.spread for each in given)
    return [constant(_plain(array), spread=spread) for array in made]


def _literal(call: Call) -> Constant:
    """Return what ``Constant`` holds."""
    for name, value in call.node.attributes.items():
        if isinstance(value, Tensor):
            return stored(value)._replace(stored=next(iter(call.node.outputs), ""))
        if name.startswith(("value_int", "value_float")):
            kind = np.int64 if name.startswith("value_int") else np.float32
            return constant(np.array(value, kind))
    raise RefusedError("Constant: its value is not read")


def _plain(array: Array) -> Array:
    """Return whole numbers as such where no size is left among them."""
    if array.dtype != object:
        return array
    values = array.reshape(-1).tolist()
    if any(isinstance(value, Size) for value in values):
        largest = max((abs(value) for value in values if isinstance(value, int)), default=0)
        if largest < 2**62:
            return array
        raise RefusedError("makes too large a size")
    return np.array(values, np.int64).reshape(array.shape)


def fills(call: Call) -> bool:
    """Return whether a node fills a shape with what is known, whatever is known of the shape."""
    return call.node.op == "ConstantOfShape" or (
        call.node.op == "Expand" and isinstance(call.given(0), Constant)
    )


def _shape(call: Call, place: int) -> list[Any]:
    """Return the sizes that a node fills; one where nothing is known of them."""
    if isinstance(call.given(place), Unknown):
        return [Size((call.name,))]
    return call.whole(place, "shape") or []


def _filled(call: Call) -> Constant:
    """Compute ``ConstantOfShape``."""
    value = call.node.attributes.get("value")
    one = value.array().reshape(-1)[:1] if isinstance(value, Tensor) else np.zeros(1, np.float32)
    return _spread(call, one, _shape(call, 0))


def _expanded(call: Call) -> Constant:
    """Compute ``Expand``."""
    array = call.work.array(call.constant(0))
    sizes = _shape(call, 1)
    if not any(isinstance(size, Size) for size in sizes):
        whole = _broadcast(call, array.shape, tuple(map(int, sizes)))
        return constant(np.broadcast_to(array, whole), spread=call.constant(0).spread)
    sizes = [1] * (array.ndim - len(sizes)) + sizes
    own = [1] * (len(sizes) - array.ndim) + list(array.shape)
    shape = [size if old == 1 else old for size, old in zip(sizes, own, strict=True)]
    return _spread(call, array, shape)


def _broadcast(call: Call, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that arrays of such shapes are broadcast to."""
    try:
        whole = np.broadcast_shapes(*shapes)
    except ValueError as error:
        raise RefusedError(f"{call.node.op}: shapes do not fit each other") from error
    call.work.spend(prod(whole))
    return whole


def _spread(call: Call, array: Array, sizes: Sequence[Any]) -> Constant:
    """Return an array of one value; sizes that are not known are 1 there."""
    if array.size and (array != array.reshape(-1)[0]).any():
        raise RefusedError("repeats values as often as the input has steps or sequences")
    shape = tuple(1 if isinstance(size, Size) else int(size) for size in sizes)
    if min(shape, default=0) < 0 or len(shape) > 16:
        raise RefusedError("makes an array of no shape")
    value = array.reshape(-1)[0] if array.size else 0
    call.work.spend(prod(shape))
    made = np.broadcast_to(np.asarray(value, array.dtype), shape)
    return constant(made, spread=any(isinstance(size, Size) for size in sizes))


def _divided(a: Array, b: Array) -> Array:
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":  # towards 0, as ONNX has it
        return np.trunc(a / b).astype(a.dtype)
    return a // b if object in (a.dtype, b.dtype) else np.asarray(a / b)


def _equal(a: Array, b: Array) -> Array:
    """Compare; a size that is not known is over 0, and equal to itself."""
    if object not in (a.dtype, b.dtype):
        return np.asarray(np.equal(a, b))

    def same(one: Any, other: Any) -> bool:
        if one == other:
            return True
        if isinstance(one, Size) != isinstance(other, Size) and (
            (other if isinstance(one, Size) else one) <= 0
        ):
            return False
        if isinstance(one, Size) or isinstance(other, Size):
            raise RefusedError("compares a size that is not known")
        return False

    return np.asarray(np.frompyfunc(same, 2, 1)(a, b), bool)


def _cast(call: Call, array: Array) -> Array:
    to = call.integer("to")
    if array.dtype == object:
        if to not in (6, 7):
            raise RefusedError("casts a size that is not known")
        return array
    if to not in _TYPES:
        raise RefusedError(f"casts to {type_name(to)}")
    return array.astype(_TYPES[to])


def _reshaped(call: Call, array: Array, *_: Array) -> Array:
    sizes = call.whole(1, "shape") or []
    if any(isinstance(size, Size) for size in sizes):
        raise RefusedError("reshapes a constant to sizes that are not known")
    if not call.integer("allowzero"):
        sizes = [array.shape[k] if size == 0 else size for k, size in enumerate(sizes)]
    return array.reshape(sizes)


def slices(call: Call) -> dict[int, tuple[int, int, int]]:
    """Return begin, end and step by axis, as the input of ``Slice`` has them."""
    starts, ends = call.whole(1, "starts") or [], call.whole(2, "ends") or []
    axes = call.whole(3, "axes")
    axes = list(range(len(starts))) if axes is None else axes
    steps = call.whole(4, "steps") or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise RefusedError("Slice: begins, ends and axes do not fit each other")
    return dict(zip(axes, zip(starts, ends, steps, strict=True), strict=True))


def taken(size: int, begin: int, end: int, step: int) -> range:
    """Return which places of an axis a slice takes."""
    if step > 0:
        return range(size)[begin:end:step]
    if end >= FAR:
        raise RefusedError("Slice: goes back to an end behind, in which programs differ")
    # Unlike Python, ONNX takes the first place for one before it.
    return range(size)[max(begin, -size) : None if end < -size else end : step]


def _sliced(call: Call, array: Array, *_: Array) -> Array:
    for axis, (begin, end, step) in slices(call).items():
        places = taken(array.shape[axis], begin, end, step)
        array = np.take(array, places, axis) if step < 0 else array[_along(array, axis, places)]
    return array


def _along(array: Array, axis: int, places: range) -> tuple[slice, ...]:
    index = [slice(None)] * array.ndim
    index[axis] = slice(places.start, places.stop, places.step)
    return tuple(index)


def _squeezed(call: Call, array: Array, *_: Array) -> Array:
    axes = call.whole(1, "axes")
    return np.squeeze(array, None if axes is None else tuple(axes))


def _unsqueezed(call: Call, array: Array, *_: Array) -> Array:
    return np.expand_dims(array, tuple(call.whole(1, "axes") or ()))


def _joined(call: Call, *arrays: Array) -> Array:
    call.work.spend(sum(array.size for array in arrays))
    return np.concatenate(arrays, call.integer("axis", 1))


def _gathered(call: Call, array: Array, places: Array) -> Array:
    axis = call.integer("axis")
    call.work.spend(places.size * (array.size // array.shape[axis]))
    return np.take(array, places.astype(np.intp), axis)


def _ranged(call: Call, begin: Array, end: Array, step: Array) -> Array:
    if not step.item():
        raise RefusedError("Range: its steps are 0")
    call.work.spend(int(abs((end.item() - begin.item()) / step.item())))
    return np.arange(begin.item(), end.item(), step.item()).astype(begin.dtype)


def _where(call: Call, condition: Array, one: Array, other: Array) -> Array:
    _broadcast(call, condition.shape, one.shape, other.shape)
    return np.where(condition.astype(bool), one, other)


def split_sizes(call: Call, size: int) -> list[int]:
    """Return how many places of an axis each output of ``Split`` takes."""
    outputs = len(call.node.outputs)
    sizes = call.whole(1, "split")
    if sizes is None:
        most = -(-size // max(outputs, 1))
        sizes = [min(most, size - most * k) for k in range(outputs)]
    if len(sizes) != outputs or sum(sizes) != size or min(sizes, default=0) < 1:
        raise RefusedError("Split: the sizes do not fit the axis")
    return sizes


def _split(call: Call, array: Array, *_: Array) -> list[Array]:
    axis = call.integer("axis")
    return np.split(array, np.cumsum(split_sizes(call, array.shape[axis]))[:-1], axis)


def _product(call: Call, array: Array, *_: Array) -> Array:
    axes = call.whole(1, "axes")
    kept = bool(call.integer("keepdims", 1))
    return np.asarray(np.prod(array, tuple(axes) if axes else None, keepdims=kept))


def _alone(compute: Callable[..., Any]) -> Callable[..., list[Array]]:
    return lambda call, *arrays: [np.asarray(compute(call, *arrays))]


# Functions of the values of arrays.
_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divided,
    "Pow": np.power,
    "Max": np.maximum,
    "Min": np.minimum,
    "Equal": _equal,
    "Less": np.less,
    "Greater": np.greater,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Not": np.logical_not,
    "Neg": np.negative,
    "Sqrt": np.sqrt,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Abs": np.abs,
}
_FILLING: dict[str, Callable[[Call], Constant]] = {
    "ConstantOfShape": _filled,
    "Expand": _expanded,
}
# compute(call, *arrays): the outputs of a node.
FOLDED: dict[str, Callable[..., list[Array]]] = {
    **{op: _alone(lambda _, *arrays, f=f: f(*arrays)) for op, f in _ELEMENTWISE.items()},
    **dict.fromkeys(_FILLING, lambda *_: []),
    "Cast": _alone(_cast),
    "Concat": _alone(_joined),
    "Gather": _alone(_gathered),
    "Range": _alone(_ranged),
    "ReduceProd": _alone(_product),
    "Reshape": _alone(_reshaped),
    "Slice": _alone(_sliced),
    "Split": _split,
    "Squeeze": _alone(_squeezed),
    "Transpose": _alone(lambda call, array: array.transpose(call.integers("perm"))),
    "Unsqueeze": _alone(_unsqueezed),
    "Where": _alone(_where),
}
