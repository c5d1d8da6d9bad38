"""Conventions that people trip over when they bring a network elsewhere.

Every convention here has one signature, ``convention(case, theirs)``: for a
result that is not that of the case it gives attempts, each a case and a
result as they would be if the convention were the cause. An attempt that
is judged equal explains the result.
"""

from collections.abc import Iterator, Sequence
from math import inf
from typing import NamedTuple

import numpy as np

from rnncli.activations import ACTIVATIONS, Activation, activation
from rnncli.arrays import Floats
from rnncli.compare.runs import difference
from rnncli.compare.verdict import ENOUGH, Case, Tolerance, hides_states, judge
from rnncli.compare.whole import can_be_equal
from rnncli.network import Layer, Network
from rnncli.precision import PRECISIONS

# Digits after the point that states are looked at for; more are those of float32 itself.
_MOST_DIGITS = 6


class Attempt(NamedTuple):
    """A result, and what it would be the result of by a convention.

    Parameters
    ----------
    name : str
        What to say if this is it.
    case : Case
    theirs : array, shape (N, T, H)
    """

    name: str
    case: Case
    theirs: Floats


class Explanation(NamedTuple):
    """A convention that reproduces a result.

    Parameters
    ----------
    name : str
    difference : float
        Largest distance of our own run by the convention.
    """

    name: str
    difference: float


def explain(
    case: Case,
    theirs: Floats,
    biases: Sequence[tuple[Floats, ...]] = (),
    tolerance: Tolerance | None = None,
) -> list[Explanation]:
    """Find the conventions that reproduce a result, the closest first.

    Parameters
    ----------
    case : Case
    theirs : array, shape (N, T, H)
        A result that differs. Another shape is one to explain too.
    biases : sequence of tuples of arrays
        Of each cell, in the order of ``Network.cells``: the input bias and
        the recurrent one, where the cells have two.
    tolerance : Tolerance, optional
        As for `judge`.
    """
    ours = case.states()[-1]
    before = difference(ours, theirs) if ours.shape == theirs.shape else inf
    found = []
    attempts = [attempt for convention in CONVENTIONS for attempt in convention(case, theirs)]
    for attempt in [*attempts, *_one_bias(case, theirs, biases)]:
        left = _reproduced(attempt, before, tolerance)
        if left is not None:
            found.append(Explanation(attempt.name, left))
    found += _fewer_digits(ours, theirs)
    return sorted(found, key=lambda explanation: explanation.difference)


def _reproduced(attempt: Attempt, before: float, tolerance: Tolerance | None) -> float | None:
    """Give how far an attempt is from what it explains, or None where it does not.

    Of whole runs it has to explain most of the difference there was before:
    what rounds operands has wide tolerances. Zeros alone explain nothing.
    """
    case, theirs = attempt.case, attempt.theirs
    ours = case.states()[-1]
    if ours.shape != theirs.shape or not case.running().any() or not ours.any():
        return None
    whole = tolerance is None and hides_states(case.network)
    if whole and not can_be_equal(case, ours, theirs, ENOUGH):
        return None
    try:
        verdict = judge(case, ours, theirs, tolerance=tolerance)
    except ValueError:  # too little can be judged
        return None
    left = verdict.apart.largest
    return left if verdict.equal and not (whole and left > before / 4) else None


def products_rounded(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Round the operands of the products, or do not."""
    for precision, how in PRECISIONS.items():
        mine = PRECISIONS[case.precision]
        if precision != case.precision and how.dtype == mine.dtype:
            yield Attempt(f"--precision {precision}", case._replace(precision=precision), theirs)


def weights_transposed(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Read the numbers of the weight matrices as those of their transposes.

    PyTorch and ONNX lay them out as (H, I) and (H, H).
    """
    cells = case.network.cells
    for names in (("W_xh",), ("W_hh",), ("W_xh", "W_hh")):
        if any(all(_same(getattr(cell.weights, name)) for cell in cells) for name in names):
            continue
        turned = [
            cell._replace(
                weights=cell.weights._replace(
                    **{name: _turned(getattr(cell.weights, name)) for name in names}
                )
            )
            for cell in cells
        ]
        network = case.network.with_cells(turned)
        yield Attempt(f"{' and '.join(names)} transposed", case._replace(network=network), theirs)


def another_activation(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Take another activation, with the parameters that it has by default."""
    given = {cell.activation for cell in case.network.cells}
    usual = [activation(name) for name, kind in ACTIVATIONS.items() if None not in kind.defaults]
    for other in [*usual, activation("hard_sigmoid", 1 / 6, 0.5)]:
        if given != {other}:
            cells = [cell._replace(activation=other) for cell in case.network.cells]
            network = case.network.with_cells(cells)
            yield Attempt(f"--activation {_short(other)}", case._replace(network=network), theirs)


def time_reversed(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Read the input from its end, or write the rows from theirs."""
    x = _reversed(case, case.x)
    yield Attempt("the input reversed in time", case._replace(x=x), theirs)
    if any("forward" in layer.directions for layer in case.network.layers):
        yield Attempt("the rows of the output reversed in time", case, _reversed(case, theirs))


def processing_order(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Leave backward states in the order in which they were computed, as Keras does.

    A stack of ``go_backwards`` layers turns the sequence around at every
    layer; it is one of layers that go forward and backward in turn.
    """
    name = "backward states in processing order"
    layers = case.network.layers
    kinds = {layer.direction for layer in layers}
    if kinds == {"backward"}:
        turns = [
            Layer(*layer.cells, direction="backward" if n % 2 else "forward")
            for n, layer in enumerate(layers)
        ]
        turned = case._replace(network=Network(*turns), x=_reversed(case, case.x))
        odd = len(layers) % 2 == 1
        yield Attempt(name, turned, theirs if odd else _reversed(case, theirs))
    elif layers[-1].direction == "bidirectional" and layers[-1].merge == "concat":
        H = layers[-1].hidden_size
        if theirs.ndim == 3 and theirs.shape[2] == 2 * H:
            backward = _reversed(case, theirs[..., H:])
            yield Attempt(name, case, np.concatenate([theirs[..., :H], backward], axis=2))


def another_start(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Start from another state: all steps but the first are right."""
    (layer, *others) = case.network.layers
    if others or layer.direction != "forward" or theirs.shape[:2] != case.x.shape[:2]:
        return
    later = Case(
        case.network, case.x[:, 1:], theirs[:, 0], np.maximum(case.lengths - 1, 0), case.precision
    )
    yield Attempt("--h0: only the first step is wrong", later, theirs[:, 1:])


def axes_exchanged(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Let batch and time change places: in the output, or for the network."""
    N, T, _ = case.x.shape
    if (case.lengths != T).any() or theirs.ndim != 3:
        return
    turned = theirs.swapaxes(0, 1)
    if N > 1:
        yield Attempt("batch and time axes of the output exchanged", case, turned)
    if theirs.shape[:2] == (N, T):
        h0 = np.repeat(case.h0[:1], T, axis=0)
        exchanged = case._replace(
            x=np.ascontiguousarray(case.x.swapaxes(0, 1)), h0=h0, lengths=np.full(T, N)
        )
        yield Attempt("batch and time axes of the input exchanged", exchanged, turned)


def halves_exchanged(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Put the backward half of concatenated states first."""
    top = case.network.layers[-1]
    if len(top.cells) > 1 and top.merge == "concat":
        H = top.hidden_size
        turned = np.concatenate([theirs[..., H:], theirs[..., :H]], axis=-1)
        yield Attempt("forward and backward halves exchanged", case, turned)


def no_bias(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Leave the bias out."""
    if any(cell.weights.b_h.any() for cell in case.network.cells):
        cells = [
            cell._replace(weights=cell.weights._replace(b_h=np.zeros_like(cell.weights.b_h)))
            for cell in case.network.cells
        ]
        network = case.network.with_cells(cells)
        yield Attempt("no bias", case._replace(network=network), theirs)


def rows_shifted(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Let row t hold the state before step t, or the one after step t + 1.

    The row that is then missing is taken from our own run.
    """
    if theirs.shape[:2] != case.x.shape[:2] or not (case.lengths > 1).all():
        return
    ours = case.states()[-1]
    late, early = np.zeros_like(theirs), np.zeros_like(theirs)
    for n, length in enumerate(case.lengths):
        late[n, : length - 1], late[n, length - 1] = theirs[n, 1:length], ours[n, length - 1]
        early[n, 1:length], early[n, 0] = theirs[n, : length - 1], ours[n, 0]
    yield Attempt("rows one step late: row t holds h_{t-1}", case, late)
    yield Attempt("rows one step early: row t holds h_{t+1}", case, early)


CONVENTIONS = (
    products_rounded,
    weights_transposed,
    another_activation,
    time_reversed,
    processing_order,
    another_start,
    axes_exchanged,
    rows_shifted,
    halves_exchanged,
    no_bias,
)


def _one_bias(
    case: Case, theirs: Floats, biases: Sequence[tuple[Floats, ...]]
) -> Iterator[Attempt]:
    """Leave out one of the two biases of PyTorch or ONNX."""
    if not biases or any(len(each) != 2 for each in biases):
        return
    for number, kind in enumerate(("input", "recurrent")):
        cells = [
            cell._replace(weights=cell.weights._replace(b_h=both[number]))
            for cell, both in zip(case.network.cells, biases, strict=True)
        ]
        network = case.network.with_cells(cells)
        yield Attempt(f"{kind} bias only", case._replace(network=network), theirs)


def _fewer_digits(ours: Floats, theirs: Floats) -> Iterator[Explanation]:
    """Tell states that are right but for digits that were left out."""
    if ours.shape != theirs.shape:
        return
    difference = float(np.abs(ours.astype(np.float64) - theirs).max())
    for digits in range(1, _MOST_DIGITS + 1):
        # Half a unit of the last digit, and what the float type itself rounds.
        if difference <= 0.5001 * 10.0**-digits and _has_digits(theirs, digits):
            yield Explanation(f"rounding to {digits} digits after the point", difference)
            return
    if (theirs.astype(np.float16) == theirs).all() and (ours.astype(np.float16) == theirs).all():
        yield Explanation("rounding to float16", difference)


def _has_digits(values: Floats, digits: int) -> bool:
    rounded = np.round(values.astype(np.float64), digits).astype(values.dtype)
    return bool((rounded == values).all())


def _short(f: Activation) -> str:
    """Text of an activation, without the parameters that are its defaults."""
    return f.name if f == activation(f.name) else str(f)


def _turned(W: Floats) -> Floats:
    """Read the numbers of a matrix as those of its transpose."""
    return np.ascontiguousarray(W.reshape(W.shape[::-1]).T)


def _same(W: Floats) -> bool:
    return bool((_turned(W) == W).all())


def _reversed(case: Case, rows: Floats) -> Floats:
    """Turn every sequence around, (N, T, K); another shape stays as it is."""
    if rows.shape[:2] != case.x.shape[:2]:
        return rows
    turned = rows.copy()
    for n, length in enumerate(case.lengths):
        turned[n, :length] = rows[n, :length][::-1]
    return turned
