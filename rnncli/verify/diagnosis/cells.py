"""Mistakes in cells: their biases, matrices, gates, activations, and how weights are rounded."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, TypeAlias

import numpy as np

from rnncli.engine.precision import round_mantissa
from rnncli.model.activations import ACTIVATIONS, Activation, activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, LSTM, Cell, Weights
from rnncli.model.cells.gates import ordered, summed
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.reference import MANTISSA_BITS

# Name of an explanation, a case, and a result (N, T, O) that equals its run if it explains it.
Tried: TypeAlias = tuple[str, Case, Floats]
# change(cell, biases): a cell as a mistake would make it; the same object where the mistake
# changes nothing. `biases` are the input bias and the recurrent one, where a file has two.
Change: TypeAlias = Callable[[Cell, Sequence[Floats]], Cell]
Array: TypeAlias = Callable[[Floats], Floats]

# In the order of the columns of their weights.
GATES: dict[type[Cell], str] = {LSTM: "ifgo", GRU: "zrn"}
MATRICES, BIASES = ("W_xh", "W_hh"), ("b_h", "b_n")
# Largest number of int8, and that of the range -128 to 127 halved, as PyTorch scales.
INT8 = (127.0, 127.5)


def all_cells_changed(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Make a mistake in all cells."""
    for name, change in (CELL_CHANGES | NETWORK_CHANGES).items():
        tried = with_cells(case, change)
        if tried is not None:
            yield name, tried, theirs


def some_cells_changed(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Make a mistake in one layer, one direction, or one direction of a layer."""
    for where, numbers in _numbered(case.network).items():
        for name, change in CELL_CHANGES.items():
            tried = with_cells(case, change, numbers)
            if tried is not None:
                yield f"{name} in {where}", tried, theirs


def with_cells(case: Case, change: Change, numbers: Container[int] | None = None) -> Case | None:
    """Change all cells, or those of some numbers; None where that changes nothing.

    Cells are counted from 0, the bottom layer first, forward before backward.
    """
    cells = [cell for layer in case.network.layers for cell in layer.cells]
    biases = case.biases or [()] * len(cells)
    changed = [
        change(cell, both) if numbers is None or number in numbers else cell
        for number, (cell, both) in enumerate(zip(cells, biases, strict=True))
    ]
    if all(new is old for new, old in zip(changed, cells, strict=True)):
        return None
    left = iter(changed)
    return case._replace(network=case.network.with_cells(lambda _: next(left)))


def _numbered(network: Network) -> Mapping[str, list[int]]:
    """Return the numbers of the cells in each layer, each direction, and both, by name."""
    cells = [
        (f"layer {number}", f"the {direction} direction")
        for number, layer in enumerate(network.layers, start=1)
        for direction in layer.directions
    ]
    layers, directions = ([*dict.fromkeys(names[axis] for names in cells)] for axis in (0, 1))
    names = layers * (len(layers) > 1) + directions * (len(directions) > 1)
    found = {name: [n for n, cell in enumerate(cells) if name in cell] for name in names}
    if len(layers) > 1 and len(directions) > 1:
        found |= {f"{direction} of {layer}": [n] for n, (layer, direction) in enumerate(cells)}
    return found


# Arrays


def _arrays(names: Sequence[str], change: Array) -> Change:
    """Change the arrays of these names, where a cell has them."""

    def changed(cell: Cell, _: Sequence[Floats]) -> Cell:
        weights = cell.weights
        arrays = {name: change(weights.arrays[name]) for name in names if name in weights.arrays}
        same = all(np.array_equal(new, weights.arrays[name]) for name, new in arrays.items())
        finite = all(np.isfinite(new).all() for new in arrays.values())  # float16 may not hold them
        return cell.replaced(weights._replace(**arrays)) if finite and not same else cell

    return changed


def _transposed(W: Floats) -> Floats:
    """Take the numbers of (I, H) as they lie for those of (H, I)."""
    return np.ascontiguousarray(W.reshape(W.shape[::-1]).T)


def _one_bias(number: int) -> Change:
    """Keep only the input bias (0) or the recurrent one (1)."""

    def changed(cell: Cell, biases: Sequence[Floats]) -> Cell:
        if len(biases) != 2:
            return cell
        return _with_biases(cell, [b * (n == number) for n, b in enumerate(biases)])

    return changed


def _with_biases(cell: Cell, biases: Sequence[Floats]) -> Cell:
    """Add two biases; a GRU that resets after the product keeps that of its candidate."""
    apart = cell.hidden_size if isinstance(cell, GRU) and cell.reset == "after" else 0
    return cell.replaced(cell.weights._replace(**summed(biases[0], biases[1], apart)))


def _int8(largest: float, axis: int | None) -> Array:
    def rounded(W: Floats) -> Floats:
        wide = W.astype(np.float64)
        scale = np.abs(wide).max(axis=axis, keepdims=True) / largest
        scale = np.where(scale == 0, 1, scale)
        return np.asarray(np.clip(np.rint(wide / scale), -128, 127) * scale).astype(W.dtype)

    return rounded


def _roundings() -> dict[str, Change]:
    """Round the weights as they are kept in half as many bits, or fewer."""
    matrices = (*MATRICES, "W_hr")
    halves: dict[str, Array] = {
        "float16": lambda W: W.astype(np.float16).astype(W.dtype),
        "bfloat16": lambda W: round_mantissa(
            W.astype(np.float32), MANTISSA_BITS["bfloat16"]
        ).astype(W.dtype),
    }
    changes = {}
    for name, rounded in halves.items():
        changes[f"weights rounded to {name}"] = _arrays(Weights._fields, rounded)
        changes[f"weights but for biases rounded to {name}"] = _arrays(matrices, rounded)
    for axis, name in ((None, "int8"), (0, "int8, a scale for each unit")):
        for largest in INT8:
            how = "" if largest == INT8[0] else f", by max |W| / {largest}"
            changes[f"weights rounded to {name}{how}"] = _arrays(matrices, _int8(largest, axis))
    return changes


# Gates


def _gates_as(kind: type[Cell], order: str) -> Change:
    """Read the weights of such a cell as if their gates stood in another order."""
    taken = [order.index(letter) for letter in GATES[kind]]

    def changed(cell: Cell, biases: Sequence[Floats]) -> Cell:
        if not isinstance(cell, kind):
            return cell
        W_xh, W_hh, b_h = (ordered(array, taken) for array in cell.weights[:3])
        read = cell.replaced(cell.weights._replace(W_xh=W_xh, W_hh=W_hh, b_h=b_h))
        if cell.weights.b_n is None or len(biases) != 2:
            return read
        return _with_biases(read, [ordered(bias, taken) for bias in biases])

    return changed


def _forget_bias(by: float) -> Change:
    def changed(cell: Cell, _: Sequence[Floats]) -> Cell:
        if not isinstance(cell, LSTM):
            return cell
        H, b_h = cell.hidden_size, cell.weights.b_h.copy()
        b_h[H : 2 * H] += by
        return cell.replaced(cell.weights._replace(b_h=b_h))

    return changed


def _reset(reset: str) -> Change:
    """Reset elsewhere; before the product there is one bias of the candidate alone."""

    def changed(cell: Cell, biases: Sequence[Floats]) -> Cell:
        if not isinstance(cell, GRU) or cell.reset == reset:
            return cell
        weights = cell.weights if reset == "after" else _outside(cell, biases).weights
        return cell.replaced(weights, reset=reset)

    return changed


def _outside(cell: Cell, _: Sequence[Floats]) -> Cell:
    """Add the candidate's recurrent bias outside of what r multiplies."""
    b_n = cell.weights.b_n
    if b_n is None:
        return cell
    b_h = cell.weights.b_h.copy()
    b_h[-len(b_n) :] += b_n
    return cell.replaced(cell.weights._replace(b_h=b_h, b_n=None))


def _update_exchanged(cell: Cell, _: Sequence[Floats]) -> Cell:
    """Turn z into 1 - z, which is the gate of the negative sum."""
    if not isinstance(cell, GRU):
        return cell
    signs = np.repeat([-1.0, 1.0, 1.0], cell.hidden_size)
    W_xh, W_hh, b_h = ((signs * array).astype(array.dtype) for array in cell.weights[:3])
    return cell.replaced(cell.weights._replace(W_xh=W_xh, W_hh=W_hh, b_h=b_h))


# Activations


def _activation(name: str, other: Activation) -> Change:
    """Take another activation, also for the output if it is the same there."""

    def changed(cell: Cell, _: Sequence[Floats]) -> Cell:
        before = cell.settings.get(name, other)
        if before == other:
            return cell
        names = [name]
        if name == "activation" and cell.settings.get("output_activation") == before:
            names.append("output_activation")
        settings: dict[str, Any] = dict.fromkeys(names, other)
        return cell.replaced(**settings)

    return changed


def _activations() -> dict[str, Change]:
    """Take another activation, with the parameters that a framework has by default."""
    others = [activation(name) for name, kind in ACTIVATIONS.items() if None not in kind.defaults]
    others.append(activation("hard_sigmoid", 1 / 6, 0.5))  # Keras 3
    others.append(activation("leaky_relu", 0.2))  # Keras
    changes = {}
    for name in ("activation", "recurrent_activation"):
        for other in others:
            text = other.name if other == activation(other.name) else str(other)
            changes[f"`{name}` {text}"] = _activation(name, other)
    return changes


CELL_CHANGES: dict[str, Change] = {
    "no bias": _arrays(BIASES, np.zeros_like),
    "biases added twice": _arrays(BIASES, lambda b: 2 * b),
    "no recurrence: W_hh is left out": _arrays(("W_hh",), np.zeros_like),
    "W_xh transposed": _arrays(("W_xh",), _transposed),
    "W_hh transposed": _arrays(("W_hh",), _transposed),
    "W_xh and W_hh transposed": _arrays(MATRICES, _transposed),
    **{
        f"gates {' '.join(mine)} taken for {' '.join(order)}": _gates_as(kind, "".join(order))
        for kind, mine in GATES.items()
        for order in permutations(mine)
        if "".join(order) != mine
    },
    "1 added to the forget bias": _forget_bias(1),
    "1 left out of the forget bias": _forget_bias(-1),
    "no peepholes": _arrays(("w_ch",), np.zeros_like),
    "`reset` before": _reset("before"),
    "`reset` after": _reset("after"),
    "no recurrent bias of the candidate": _arrays(("b_n",), np.zeros_like),
    "recurrent bias of the candidate added twice": _arrays(("b_n",), lambda b: 2 * b),
    "recurrent bias of the candidate outside r": _outside,
    "z and 1 - z exchanged": _update_exchanged,
    "input bias only": _one_bias(0),
    "recurrent bias only": _one_bias(1),
}
# One choice for all cells of a network.
NETWORK_CHANGES: dict[str, Change] = {**_activations(), **_roundings()}
