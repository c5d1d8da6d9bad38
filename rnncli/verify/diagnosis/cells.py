"""Mistakes in any cell: its biases, matrices, activations, and how they are rounded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rnncli.engine.precision import PRECISIONS, round_mantissa
from rnncli.model.activations import ACTIVATIONS, Activation, activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, Cell, Weights
from rnncli.model.cells.gates import summed
from rnncli.verify.case import Case
from rnncli.verify.diagnosis.gates import GATE_CHANGES, GATES, ORDERS, gates_as, ordered
from rnncli.verify.diagnosis.hypothesis import (
    CellChange,
    Change,
    Tried,
    all_cells,
    parts,
    with_cells,
)
from rnncli.verify.reference import MANTISSA_BITS

Array = Callable[[Floats], Floats]

MATRICES, BIASES = ("W_xh", "W_hh"), ("b_h", "b_n")
# Largest number of int8, and that of the range -128 to 127 halved, as PyTorch scales.
INT8 = (127.0, 127.5)


def products_rounded(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Round the operands of the products, or do not."""
    dtype = PRECISIONS[case.precision].dtype
    for precision, how in PRECISIONS.items():
        if precision != case.precision and how.dtype == dtype:
            yield f"`precision` {precision}", case._replace(precision=precision), theirs


def all_cells_changed(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Make a mistake in all cells."""
    for name, change in _changes(case, CELL_CHANGES | WHOLE_CHANGES | GATE_CHANGES):
        tried = with_cells(case, change, all_cells(case.network))
        if tried is not None:
            yield name, tried, theirs


def some_cells_changed(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Make a mistake in one layer, one direction, or one direction of a layer."""
    for where, numbers in parts(case.network).items():
        for name, change in _changes(case, CELL_CHANGES | GATE_CHANGES):
            tried = with_cells(case, change, numbers)
            if tried is not None:
                yield f"{name} in {where}", tried, theirs


def _changes(case: Case, changes: Mapping[str, CellChange]) -> Iterator[tuple[str, Change]]:
    def of_any(change: CellChange) -> Change:
        return lambda _, cell: change(cell)

    for name, change in changes.items():
        yield name, of_any(change)
    if case.biases and all(len(each) == 2 for each in case.biases):
        yield from _two_biases(case)
        yield from _two_biases_as(case)


# What a mistake makes of the input bias and the recurrent one of PyTorch and ONNX.
TWO_BIASES: dict[str, Callable[[Floats, Floats], tuple[Floats, Floats]]] = {
    "input bias only": lambda i, r: (i, 0 * r),
    "recurrent bias only": lambda i, r: (0 * i, r),
    "input bias added twice": lambda i, r: (2 * i, r),
    "recurrent bias added twice": lambda i, r: (i, 2 * r),
    "input bias in place of the recurrent bias": lambda i, _: (i, i),
    "recurrent bias in place of the input bias": lambda _, r: (r, r),
}


def _two_biases(case: Case) -> Iterator[tuple[str, Change]]:
    for name, mistaken in TWO_BIASES.items():

        def change(number: int, cell: Cell, mistaken: Any = mistaken) -> Cell:
            return _with_biases(cell, *mistaken(*case.biases[number]))

        yield name, change


def _two_biases_as(case: Case) -> Iterator[tuple[str, Change]]:
    """Read the gates of a GRU in another order, in both biases too: r multiplies a part of one."""
    for name, order in ORDERS[GRU].items():

        def change(number: int, cell: Cell, order: str = order) -> Cell:
            read = gates_as(GRU, order)(cell)
            if read is cell or cell.weights.b_n is None:
                return cell
            return _with_biases(read, *(ordered(b, order, GATES[GRU]) for b in case.biases[number]))

        yield name, change


def _with_biases(cell: Cell, input_bias: Floats, recurrent_bias: Floats) -> Cell:
    """Add two biases; a GRU that resets after the product keeps that of its candidate."""
    apart = cell.hidden_size if isinstance(cell, GRU) and cell.reset == "after" else 0
    biases = summed(input_bias, recurrent_bias, apart)
    return cell.replaced(cell.weights._replace(**biases))


# Weights


def _changed_arrays(names: Sequence[str], change: Array) -> CellChange:
    """Return what changes the arrays of these names, where a cell has them."""

    def of_cell(cell: Cell) -> Cell:
        weights = cell.weights
        arrays = {name: change(weights.arrays[name]) for name in names if name in weights.arrays}
        same = all(np.array_equal(new, weights.arrays[name]) for name, new in arrays.items())
        finite = all(np.isfinite(new).all() for new in arrays.values())  # float16 may not hold them
        return cell.replaced(weights._replace(**arrays)) if finite and not same else cell

    return of_cell


def _read_as_transposed(W: Floats) -> Floats:
    """Take the numbers of (I, H) as they lie for those of (H, I)."""
    return np.ascontiguousarray(W.reshape(W.shape[::-1]).T)


def _transposed_as_read(W: Floats) -> Floats:
    """Take the numbers of (H, I) as they lie for those of (I, H)."""
    return np.ascontiguousarray(W.T).reshape(W.shape)


def _transposes() -> dict[str, CellChange]:
    """Read the numbers of the weight matrices as those of their transposes.

    PyTorch and ONNX lay them out as (G H, I) and (G H, H), cuDNN as (H, I) and
    (H, H) gate by gate. Numbers that lie so may have been reshaped, or the
    other way round: the same only where they are square.
    """
    changes = {}
    for names in ((MATRICES[0],), (MATRICES[1],), MATRICES):
        what = f"{' and '.join(names)} transposed"
        for how, read in (
            ("", _read_as_transposed),
            (": (H, I) reshaped to (I, H)", _transposed_as_read),
        ):
            changes[what + how] = _changed_arrays(names, read)
            changes[f"{what} gate by gate{how}"] = _gate_by_gate(names, read)
    return changes


def _gate_by_gate(names: Sequence[str], change: Array) -> CellChange:
    def of_cell(cell: Cell) -> Cell:
        def of_gates(W: Floats) -> Floats:
            return np.concatenate([change(each) for each in np.split(W, cell.gates, 1)], axis=1)

        return cell if cell.gates == 1 else _changed_arrays(names, of_gates)(cell)

    return of_cell


def _roundings() -> dict[str, CellChange]:
    """Round the weights as they are kept in half as many bits, or fewer."""

    def int8(largest: float, axis: int | None) -> Array:
        def rounded(W: Floats) -> Floats:
            wide = W.astype(np.float64)
            scale = np.abs(wide).max(axis=axis, keepdims=True) / largest
            scale = np.where(scale == 0, 1, scale)
            return np.asarray(np.clip(np.rint(wide / scale), -128, 127) * scale).astype(W.dtype)

        return rounded

    halves: dict[str, Array] = {
        "float16": lambda W: W.astype(np.float16).astype(W.dtype),
        "bfloat16": lambda W: round_mantissa(
            W.astype(np.float32), MANTISSA_BITS["bfloat16"]
        ).astype(W.dtype),
    }
    matrices = (*MATRICES, "W_hr")
    changes = {}
    for name, rounded in halves.items():
        changes[f"weights rounded to {name}"] = _changed_arrays(Weights._fields, rounded)
        changes[f"weights but for biases rounded to {name}"] = _changed_arrays(matrices, rounded)
    for axis, name in ((None, "int8"), (0, "int8, a scale for each unit")):
        for largest in INT8:
            how = "" if largest == INT8[0] else f", by max |W| / {largest}"
            changes[f"weights rounded to {name}{how}"] = _changed_arrays(
                matrices, int8(largest, axis)
            )
    return changes


# Activations


def _activations() -> dict[str, CellChange]:
    """Take another activation, with the parameters that a framework has by default."""
    usual = [activation(name) for name, kind in ACTIVATIONS.items() if None not in kind.defaults]
    changes = {}
    for name in ("activation", "recurrent_activation"):
        for other in [
            *usual,
            activation("hard_sigmoid", 1 / 6, 0.5),  # Keras 3
            activation("leaky_relu", 0.2),  # Keras
        ]:
            text = other.name if other == activation(other.name) else str(other)
            changes[f"`{name}` {text}"] = _with_activation(name, other)
    return changes


def _with_activation(name: str, other: Activation) -> CellChange:
    """Take another activation, also for the output if it is the same there."""

    def change(cell: Cell) -> Cell:
        before = cell.settings.get(name, other)
        if before == other:
            return cell
        names = [name]
        if name == "activation" and cell.settings.get("output_activation") == before:
            names.append("output_activation")
        settings: dict[str, Any] = dict.fromkeys(names, other)
        return cell.replaced(**settings)

    return change


def _without_clip(cell: Cell) -> Cell:
    clip = cell.settings.get("clip", np.inf)
    return cell if np.isinf(clip) else cell.replaced(clip=np.inf)


CELL_CHANGES: dict[str, CellChange] = {
    "no bias": _changed_arrays(BIASES, np.zeros_like),
    "biases added twice": _changed_arrays(BIASES, lambda b: 2 * b),
    "no recurrence: W_hh is left out": _changed_arrays(("W_hh",), np.zeros_like),
    "`clip` left out": _without_clip,
    **_transposes(),
}
# What is one choice for a whole network.
WHOLE_CHANGES: dict[str, CellChange] = {**_activations(), **_roundings()}
