"""The step error of a long result, piece by piece."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.verify.case import Case
from rnncli.verify.shares import hides_states, step_shares

# Values of a piece: its arrays in float64 stay in the cache.
_VALUES = 2**17


def largest_step_error(case: Case, layers: Sequence[Floats]) -> float | None:
    """Give the largest step error of a result, see `rnncli.verify.steps.step_errors`.

    Parameters
    ----------
    case : Case
    layers : sequence of arrays, shape (N, T, H)
        What every layer gives, the bottom one first.

    Returns
    -------
    float or None
        None where merged directions hide the states of the cells.
    """
    if hides_states(case.network, len(layers)):
        return None
    largest = 0.0
    for n, t in _pieces(case):
        shares = step_shares(_piece(case, layers, n, t), [h[n, t] for h in layers])
        if shares is None:
            return None
        largest = max(largest, float(shares.max(initial=0.0)))
    return largest


def _pieces(case: Case) -> Iterator[tuple[slice, slice]]:
    """Cut (N, T) into pieces: of whole sequences, or of one that is long."""
    N, T, _ = case.x.shape
    widest = max(layer.output_size for layer in case.network.layers)
    steps = min(T, max(1, _VALUES // widest))
    sequences = max(1, _VALUES // (widest * steps))
    return product(_cut(N, sequences), _cut(T, steps))


def _cut(whole: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, whole)) for start in range(0, whole, step)]


def _piece(case: Case, layers: Sequence[Floats], n: slice, t: slice) -> Case:
    """Make the case of a piece: its cells start from what the result holds beside it."""
    h0 = case.h0[n].copy()
    lengths = case.lengths[n]
    for part, states in zip(case.network.parts(), _cell_states(case, layers), strict=True):
        if part.direction == "forward" and t.start:
            h0[:, part.state] = states[n, t.start - 1]
        elif part.direction == "backward":
            goes_on = lengths > t.stop
            h0[goes_on, part.state] = states[n][goes_on, min(t.stop, states.shape[1] - 1)]
    within = np.clip(lengths - t.start, 0, t.stop - t.start)
    return case._replace(x=case.x[n, t], h0=h0, lengths=within)


def _cell_states(case: Case, layers: Sequence[Floats]) -> Iterator[Floats]:
    """Give the states of every cell, in the order of `Network.cells`."""
    for layer, h in zip(case.network.layers, layers, strict=True):
        yield from np.split(h, len(layer.cells), axis=2)
