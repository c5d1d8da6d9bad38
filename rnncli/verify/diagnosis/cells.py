"""Mistakes in any cell: its biases, matrices, activations, and how they are rounded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rnncli.engine.precision import PRECISIONS, round_mantissa
from rnncli.model.activations import ACTIVATIONS, Activation, activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, WEIGHT_NAMES, Cell, Weights
from rnncli.model.cells.gates import summed
from rnncli.verify.case import Case
from rnncli.verify.diagnosis.gates import GATE_CHANGES, GATES, ORDERS, gates_as, ordered
from rnncli.verify.diagnosis.hypothesis import Change, Tried, all_cells, parts, with_cells
from rnncli.verify.reference import MANTISSA_BITS

Array = Callable[[Floats], Floats]

# What stands in a matrix (H, I) or (H, H) of a framework, and how it may be misread.
MATRICES = ("W_xh", "W_hh")
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


def _changes(
    case: Case, changes: Mapping[str, Callable[[Cell], Cell]]
) -> Iterator[tuple[str, Change]]:
    def of_any(change: Callable[[Cell], Cell]) -> Change:
        return lambda _, cell: change(cell)

    for name, change in changes.items():
        yield name, of_any(change)
    if case.biases and all(len(each) == 2 for each in case.biases):
        yield from _two_biases(case)
        yield from _two_biases_as(case)


# The two biases of PyTorch and ONNX


# What becomes of the input bias and the recurrent one.
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


def changed_arrays(names: Sequence[str], change: Array) -> Callable[[Cell], Cell]:
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


def transposes() -> dict[str, Callable[[Cell], Cell]]:
    """Read the numbers of the weight matrices as those of their transposes.

    PyTorch and ONNX lay them out as (G H, I) and (G H, H), cuDNN as (H, I) and
    (H, H) gate by gate. Numbers that lie so may have been reshaped, or the
    other way round: the same only where they are square.
    """

    def gate_by_gate(read: Array) -> Callable[[Sequence[str]], Callable[[Cell], Cell]]:
        def of_names(names: Sequence[str]) -> Callable[[Cell], Cell]:
            def of_cell(cell: Cell) -> Cell:
                def gates(W: Floats) -> Floats:
                    return np.concatenate([read(w) for w in np.split(W, cell.gates, 1)], 1)

                return changed_arrays(names, gates)(cell)

            return of_cell

        return of_names

    changes = {}
    for names in ((MATRICES[0],), (MATRICES[1],), MATRICES):
        what = f"{' and '.join(names)} transposed"
        changes[what] = changed_arrays(names, _read_as_transposed)
        changes[f"{what}: (H, I) reshaped to (I, H)"] = changed_arrays(names, _transposed_as_read)
        changes[f"{what} gate by gate"] = gate_by_gate(_read_as_transposed)(names)
        changes[f"{what} gate by gate: (H, I) reshaped to (I, H)"] = gate_by_gate(
            _transposed_as_read
        )(names)
    return changes


def roundings() -> dict[str, Callable[[Cell], Cell]]:
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
        changes[f"weights rounded to {name}"] = changed_arrays(Weights._fields, rounded)
        changes[f"weights but for biases rounded to {name}"] = changed_arrays(matrices, rounded)
    for axis, name in ((None, "int8"), (0, "int8, a scale for each unit")):
        for largest in INT8:
            how = "" if largest == INT8[0] else f", by max |W| / {largest}"
            changes[f"weights rounded to {name}{how}"] = changed_arrays(
                matrices, int8(largest, axis)
            )
    return changes


# Activations


def activations() -> dict[str, Callable[[Cell], Cell]]:
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


def _with_activation(name: str, other: Activation) -> Callable[[Cell], Cell]:
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


BIASES = (WEIGHT_NAMES[2], "b_n")
CELL_CHANGES: dict[str, Callable[[Cell], Cell]] = {
    "no bias": changed_arrays(BIASES, np.zeros_like),
    "biases added twice": changed_arrays(BIASES, lambda b: 2 * b),
    "no recurrence: W_hh is left out": changed_arrays(("W_hh",), np.zeros_like),
    "`clip` left out": _without_clip,
    **transposes(),
}
# What is one choice for a whole network.
WHOLE_CHANGES: dict[str, Callable[[Cell], Cell]] = {**activations(), **roundings()}
