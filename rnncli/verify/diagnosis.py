"""The diagnosis of a result that differs: the mistakes that people make in a port.

Every hypothesis in `HYPOTHESES` has one signature, ``hypothesis(case,
theirs)``: it yields, each with a name, a case and a result as they would be
if it were the cause. If these are judged equal, it explains the result.
Parameters stand between backticks, as in "`precision` tf32"; the command
line shows them as its options.
"""

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import TypeAlias

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.run import run
from rnncli.model.activations import ACTIVATIONS, Activation, activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN, Cell
from rnncli.model.layers import MERGES, Recurrent
from rnncli.model.network import Network
from rnncli.verify import reference
from rnncli.verify.case import Case
from rnncli.verify.comparison import ENOUGH, Comparison, Tolerance, distances
from rnncli.verify.steps import can_judge_steps, cell_outputs, concatenates
from rnncli.verify.whole import Bounds, can_be_equal

# What an explanation is called, a case, and a result (N, T, O).
Tried: TypeAlias = tuple[str, Case, Floats]

# Digits after the point that states are looked at for; more are those of float32 itself.
MOST_DIGITS = 6
# Sums are looked for between plus and minus so much, to the last bit.
LARGEST, HALVINGS = 2.0**20, 80
# A sum is known from a state if that changes by more than this within 0.1.
FLAT = 1e-5
# How far rounding may carry a state out of the range of its activation.
OUTSIDE = 1e-3


def explain(case: Case, theirs: Floats, tolerance: Tolerance | None = None) -> dict[str, float]:
    """Find what reproduces a result.

    Parameters
    ----------
    case : Case
    theirs : array, shape (N, T, O)
        A result that differs. Another shape is one to explain too.
    tolerance : Tolerance, optional
        As for `Comparison`.

    Returns
    -------
    dict
        By the name of each hypothesis that holds, the largest distance that
        is left; the closest first.
    """
    ours = case.outputs()[-1]
    before = distances(ours, theirs) if ours.shape == theirs.shape else None
    found: dict[str, float] = {}
    for hypothesis in HYPOTHESES:
        for name, tried, result in hypothesis(case, theirs):
            left = _distance_left(tried, result, before, tolerance)
            if left is not None:
                found[name] = min(left, found.get(name, inf))
    found |= fewer_digits(ours, theirs)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _distance_left(
    case: Case, theirs: Floats, before: Floats | None, tolerance: Tolerance | None
) -> float | None:
    """Return how far a case is from what it explains; None where it does not.

    Zeros alone explain nothing.
    """
    layers = case.outputs()
    ours = layers[-1]
    if ours.shape != theirs.shape or not case.running().any() or not ours.any():
        return None
    comparison = Comparison(case, layers, tolerance)
    whole = tolerance is None and not can_judge_steps(case.network)
    if whole and not can_be_equal(case, ours, theirs, ENOUGH):
        return None
    try:
        verdict = comparison.judge(theirs)
    except ValueError:  # too little can be judged
        return None
    left = distances(ours, theirs)
    if not verdict.equal or (whole and not _is_nearer(left, before, comparison.bounds)):
        return None
    return verdict.difference


def _is_nearer(left: Floats, before: Floats | None, bounds: Bounds) -> bool:
    """Return whether most of the difference is gone: what rounds operands has wide bounds.

    Both distances count in shares of the bound of each value, since units may
    be of unlike size.
    """
    if before is None or before.shape != left.shape:
        return True
    most_left, most_before = (
        (distance / bounds.distance)[bounds.judged].max() for distance in (left, before)
    )
    return bool(most_left <= most_before / 4)


def fewer_digits(ours: Floats, theirs: Floats) -> dict[str, float]:
    """Return the rounding of a result that is right but for digits that were left out."""
    if ours.shape != theirs.shape:
        return {}
    difference = float(distances(ours, theirs).max())
    for digits in range(1, MOST_DIGITS + 1):
        rounded = np.round(theirs.astype(np.float64), digits).astype(theirs.dtype)
        # Half a unit of the last digit, and what the float type itself rounds.
        if difference <= 0.5001 * 10.0**-digits and (rounded == theirs).all():
            return {f"rounding to {digits} digits after the point": difference}
    if (theirs.astype(np.float16) == theirs).all() and (ours.astype(np.float16) == theirs).all():
        return {"rounding to float16": difference}
    return {}


# Other weights, products or functions


def products_rounded(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Round the operands of the products, or do not."""
    dtype = PRECISIONS[case.precision].dtype
    for precision, how in PRECISIONS.items():
        if precision != case.precision and how.dtype == dtype:
            yield f"`precision` {precision}", case._replace(precision=precision), theirs


def weights_transposed(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Read the numbers of the weight matrices as those of their transposes.

    PyTorch and ONNX lay them out as (H, I) and (H, H). Numbers that lie so may
    have been reshaped to (I, H), or the other way round: the same only where
    they are square.
    """
    for names in (("W_xh",), ("W_hh",), ("W_xh", "W_hh")):
        before, tried = _numbers(case, names), []
        for how, read in (
            ("", _read_as_transposed),
            (": (H, I) reshaped to (I, H)", _transposed_as_read),
        ):
            changed = _with_arrays(case, names, read)
            numbers = _numbers(changed, names)
            if numbers not in tried and not any(map(bytes.__eq__, numbers, before)):
                tried.append(numbers)
                yield f"{' and '.join(names)} transposed{how}", changed, theirs


def another_activation(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Take another activation, with the parameters that it has by default."""
    mine = {cell.activation for cell in _cells(case) if isinstance(cell, RNN)}
    usual = [activation(name) for name, kind in ACTIVATIONS.items() if None not in kind.defaults]
    for other in [*usual, activation("hard_sigmoid", 1 / 6, 0.5)]:
        if mine - {other}:
            text = other.name if other == activation(other.name) else str(other)
            yield f"`activation` {text}", _with_activation(case, other), theirs


def another_merge(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Merge directions in another way that leaves as many values."""
    layers = case.network.layers
    merges = {
        layer.merge for layer in layers if isinstance(layer, Recurrent) and len(layer.cells) > 1
    } - {"concat"}
    for merge in MERGES:
        if merge != "concat" and merges - {merge}:
            others = [
                Recurrent(*layer.cells, direction=layer.direction, merge=merge)
                if isinstance(layer, Recurrent) and layer.merge in merges
                else layer
                for layer in layers
            ]
            yield f"`merge` {merge}", case._replace(network=Network(*others)), theirs


def no_bias(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Leave the bias out."""
    if any(cell.weights.b_h.any() for cell in _cells(case)):
        yield "no bias", _with_arrays(case, ["b_h"], np.zeros_like), theirs


def one_bias(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Leave out one of the two biases of PyTorch or ONNX."""
    if case.biases and all(len(each) == 2 for each in case.biases):
        for kind, biases in zip(
            ("input", "recurrent"), zip(*case.biases, strict=True), strict=True
        ):
            each = iter(biases)
            tried = _with_arrays(case, ["b_h"], lambda _: next(each))  # noqa: B023 - called at once
            yield f"{kind} bias only", tried, theirs


def _cells(case: Case) -> list[Cell]:
    return [cell for layer in case.network.layers for cell in layer.cells]


def _with_arrays(case: Case, names: Sequence[str], change: Callable[[Floats], Floats]) -> Case:
    """Change the weights of these names in each cell, layer by layer."""

    def changed(cell: Cell) -> Cell:
        arrays = {name: change(getattr(cell.weights, name)) for name in names}
        return cell.replaced(cell.weights._replace(**arrays))

    return case._replace(network=case.network.with_cells(changed))


def _with_activation(case: Case, other: Activation) -> Case:
    def change(cell: Cell) -> Cell:
        return cell.replaced(activation=other) if isinstance(cell, RNN) else cell

    return case._replace(network=case.network.with_cells(change))


def _numbers(case: Case, names: Sequence[str]) -> list[bytes]:
    """Return the numbers of each array, of all cells together."""
    return [
        b"".join(getattr(cell.weights, name).tobytes() for cell in _cells(case)) for name in names
    ]


def _read_as_transposed(W: Floats) -> Floats:
    """Take the numbers of (I, H) as they lie for those of (H, I)."""
    return np.ascontiguousarray(W.reshape(W.shape[::-1]).T)


def _transposed_as_read(W: Floats) -> Floats:
    """Take the numbers of (H, I) as they lie for those of (I, H)."""
    return np.ascontiguousarray(W.T).reshape(W.shape)


# Another order: of steps, of directions, of batch and time


def time_reversed(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Read the input from its end, or write the rows from theirs."""
    x = _reversed(case, case.x)
    yield "the input reversed in time", case._replace(x=x), theirs
    if any("forward" in layer.directions for layer in case.network.layers):
        yield "the rows of the output reversed in time", case, _reversed(case, theirs)


def processing_order(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Leave backward states in the order in which they were computed, as Keras does.

    A stack of ``go_backwards`` layers turns the sequence around at every
    layer; it is one of layers that go forward and backward in turn.
    """
    name, layers = "backward states in processing order", case.network.layers
    if all(layer.directions == ("backward",) for layer in layers):
        network = Network(
            *(
                Recurrent(*layer.cells, direction="backward" if number % 2 else "forward")
                for number, layer in enumerate(layers)
            )
        )
        turned = case._replace(network=network, x=_reversed(case, case.x))
        yield name, turned, theirs if len(layers) % 2 else _reversed(case, theirs)
    elif concatenates(layers[-1]):
        forward, backward = cell_outputs(layers[-1], theirs)
        yield name, case, np.concatenate([forward, _reversed(case, backward)], axis=2)


def axes_exchanged(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Exchange batch and time: in the output, or for the network."""
    N, T, _ = case.x.shape
    if (case.lengths != T).any():
        return
    turned = theirs.swapaxes(0, 1)
    if N > 1:
        yield "batch and time axes of the output exchanged", case, turned
    if theirs.shape[:2] == (N, T):
        x, h0 = np.ascontiguousarray(case.x.swapaxes(0, 1)), np.repeat(case.h0[:1], T, axis=0)
        exchanged = case._replace(x=x, h0=h0, lengths=np.full(T, N))
        yield "batch and time axes of the input exchanged", exchanged, turned


def halves_exchanged(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Put the backward half of concatenated states first."""
    top = case.network.layers[-1]
    if concatenates(top):
        forward, backward = cell_outputs(top, theirs)
        turned = np.concatenate([backward, forward], axis=-1)
        yield "forward and backward halves exchanged", case, turned


def rows_shifted(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Shift the rows: row t holds the state before step t, or the one after step t + 1.

    The row left over is the state that is missing (all are turned in a
    ring), or holds nothing: zeros, the initial state, or its neighbour
    again. Then the missing state is taken from our own run.
    """
    if theirs.shape[:2] != case.x.shape[:2] or not (case.lengths > 1).all():
        return
    ours, n = case.outputs()[-1], np.arange(len(theirs))
    first, last = np.zeros_like(n), case.lengths - 1
    for name, by, odd, neighbour, missing in (
        ("rows one step late: row t holds h_{t-1}", -1, first, first + 1, last),
        ("rows one step early: row t holds h_{t+1}", 1, last, last - 1, first),
    ):
        shifted = theirs.copy()
        for row, length in zip(shifted, case.lengths, strict=True):
            row[:length] = np.roll(row[:length], by, axis=0)
        yield name, case, shifted
        left_over = theirs[n, odd]
        if any(
            np.array_equal(left_over, nothing)
            for nothing in (np.zeros_like(left_over), case.h0, theirs[n, neighbour])
        ):
            filled = shifted.copy()
            filled[n, missing] = ours[n, missing]
            yield name, case, filled


def _reversed(case: Case, rows: Floats) -> Floats:
    """Turn every sequence around, (N, T, K); another shape stays as it is."""
    if rows.shape[:2] != case.x.shape[:2]:
        return rows
    turned = rows.copy()
    for n, length in enumerate(case.lengths):
        turned[n, :length] = rows[n, :length][::-1]
    return turned


# Another state before the first step


def another_start(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Start from another state, of one forward layer: one that leads to all first steps."""
    (layer, *others), (N, T, _) = case.network.layers, case.x.shape
    if others or layer.directions != ("forward",) or theirs.shape[:2] != (N, T):
        return
    (cell,) = layer.cells
    start = _start_before(cell, case.x[:, 0], theirs[:, 0]) if isinstance(cell, RNN) else None
    if start is not None:
        h0 = np.tile(start.astype(case.h0.dtype), (N, 1))
        yield "`h0`: only the first step is wrong", case._replace(h0=h0), theirs


def carried_on(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Start each sequence from the state in which the one before it ended."""
    if len(case.lengths) < 2 or theirs.shape[:2] != case.x.shape[:2]:
        return
    h0 = case.h0.copy()
    for n, length in enumerate(case.lengths[:-1]):
        h0[n + 1] = _final(case, theirs, h0[n], n, int(length))
    yield "state carried from sequence to sequence", case._replace(h0=h0), theirs


def _final(case: Case, theirs: Floats, h0: Floats, n: int, length: int) -> Floats:
    """Return the state in which a sequence ends: as the result has it, where it is there."""
    if length and can_judge_steps(case.network):
        (layer,) = case.network.layers
        ends = (0 if direction == "backward" else length - 1 for direction in layer.directions)
        cells = zip(cell_outputs(layer, theirs), ends, strict=True)
        return np.concatenate([h[n, end] for h, end in cells])
    return run(case.network, case.x[n, :length], h0, precision=case.precision).h_n


def _start_before(cell: RNN, x: Floats, h: Floats) -> Floats | None:
    """Solve ``h = f(x @ W_xh + h0 @ W_hh + b_h)`` for h0, one for all rows; None if it is no state.

    Units at whose state the activation is flat show nothing of h0.
    """
    W_hh = cell.weights.W_hh.astype(np.float64)
    sums = _sums_of(cell, h)
    around = (reference.activate(cell, sums + by) for by in (0.1, -0.1))
    known = np.subtract(*around) > FLAT  # (N, H)
    units = known.any(axis=0)
    if not units.any():
        return None
    left = np.where(known, sums - reference.sums(cell, x, np.zeros((len(x), len(W_hh)))), 0)
    mean = left.sum(axis=0)[units] / known.sum(axis=0)[units]
    h0: Floats = np.linalg.lstsq(W_hh[:, units].T, mean, rcond=None)[0]
    lowest, highest = (reference.activate(cell, np.array(end)) for end in (-LARGEST, LARGEST))
    inside = (h0 >= lowest - OUTSIDE).all() and (h0 <= highest + OUTSIDE).all()
    return h0 if inside else None


def _sums_of(cell: RNN, h: Floats) -> Floats:
    """Find the sums of which the activation, which never falls, makes states h."""
    low, high = np.full(h.shape, -LARGEST), np.full(h.shape, LARGEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        under = reference.activate(cell, middle) < h
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return np.asarray((low + high) / 2)


HYPOTHESES = (
    products_rounded,
    weights_transposed,
    another_activation,
    another_merge,
    time_reversed,
    processing_order,
    another_start,
    carried_on,
    axes_exchanged,
    rows_shifted,
    halves_exchanged,
    no_bias,
    one_bias,
)
