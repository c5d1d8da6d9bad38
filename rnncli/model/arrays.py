"""Types of arrays, and conversions to them."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnncli.model.errors import InputError

Floats: TypeAlias = NDArray[np.floating[Any]]
Doubles: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.intp]
Truths: TypeAlias = NDArray[np.bool_]

# NumPy's readers of the header of an .npy file, by version; version 3 is for structured arrays.
READ_NPY_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def parse_numbers(texts: Sequence[str]) -> Doubles | None:
    """Parse numbers; None if a text is not a number. ``1_000`` is not, though Python takes it."""
    if "_" in "".join(texts):
        return None
    try:
        return np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        return None


def as_floats(name: str, values: ArrayLike) -> Floats:
    """Return finite, C-contiguous, aligned floats; integers become float64, halves float32."""
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        raise ValueError(f"{name}: expected numbers, got an array of {array.dtype}")
    if array.dtype.itemsize < 4:
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: holds a value that is not finite")
    if array.ndim == 2 and array.flags.f_contiguous and not array.flags.c_contiguous:
        return transpose(array.T)
    return np.require(array, requirements=["C", "A"])  # a file may hold it at an odd address


def transpose(rows: Floats) -> Floats:
    """Copy rows (K, H) to columns (H, K): a few at a time, whose bytes fill lines of the cache."""
    columns = np.empty(rows.shape[::-1], rows.dtype)
    for k in range(0, len(rows), 16):
        columns[:, k : k + 16] = rows[k : k + 16].T
    return columns


def in_dtype(name: str, values: NDArray[Any], dtype: np.dtype[np.floating]) -> Floats:
    """Convert to a float type; each value has to be finite there."""
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected numbers, got an array of {values.dtype}")
    with np.errstate(over="ignore"):
        converted: Floats = values.astype(dtype, copy=False)
    finite = np.isfinite(converted)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        what = f"not finite in {dtype}: {values[index]} at {list(index)}"
        raise InputError(name, what)
    return converted


def reorder(array: Floats, order: Sequence[int]) -> Floats:
    """Reorder the gates of (..., gates * H); gate ``order[k]`` comes to index k."""
    if [*order] == [*range(len(order))]:
        return array
    if array.ndim == 2 and array.flags.f_contiguous:  # as PyTorch and ONNX have it: stays so
        gates = array.T.reshape(len(order), -1, len(array))
        return gates.take(order, axis=0).reshape(array.shape[::-1]).T
    gates = array.reshape(*array.shape[:-1], len(order), array.shape[-1] // len(order))
    return gates.take(order, axis=-2).reshape(array.shape)


def largest(values: Floats) -> float:
    """Return the largest absolute value; NaN if a value is."""
    return max(float(values.max(initial=0)), -float(values.min(initial=0)))


def not_indices(values: Floats, count: int) -> Truths:
    """Find the values that are not whole numbers from 0 to `count` - 1."""
    return np.asarray(~((values >= 0) & (values < count) & (values == np.floor(values))))


def no_index(written: object, count: int) -> str:
    """Describe a value that `not_indices` finds."""
    return f"{written} is outside the embedding (whole numbers 0 to {count - 1})"


def as_items(rows: NDArray[Any]) -> NDArray[Any]:
    """View rows (..., K) as items (...), which NumPy copies faster; rows with gaps are copied."""
    if rows.shape[-1] > 1 and rows.strides[-1] != rows.itemsize:
        rows = np.ascontiguousarray(rows)
    items: NDArray[Any] = rows.view(f"V{rows.itemsize * rows.shape[-1]}")[..., 0]
    return items


def contiguous(rows: NDArray[Any]) -> NDArray[Any]:
    """Return (..., K) as a C-contiguous array."""
    if rows.flags.c_contiguous:
        return rows
    return np.ascontiguousarray(as_items(rows)).view(rows.dtype).reshape(rows.shape)


def make_unread(shape: Sequence[int], kind: str) -> NDArray[Any]:
    """Make an array in place of one whose type is not read: it has that name, and no memory."""
    return np.broadcast_to(np.zeros((), [(kind, "u1")]), shape)


def name_type(array: NDArray[Any]) -> str:
    """Return the name of the type of an array, which may be one that is not read."""
    return array.dtype.names[0] if array.dtype.names else array.dtype.name


def widen_bfloat16(bits: NDArray[np.uint16]) -> Floats:
    """Return bfloat16, which NumPy does not have, as float32, of which it is the upper half."""
    return np.asarray(bits.astype(np.uint32) << 16).view(np.float32)
