"""Another state before the first step."""

from collections.abc import Iterator

import numpy as np

from rnncli.engine.run import run
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN
from rnncli.verify import reference
from rnncli.verify.case import Case
from rnncli.verify.diagnosis.attempt import Attempt
from rnncli.verify.shares import hides_states

# Sums are looked for between plus and minus so much, to the last bit.
_LARGEST, _HALVINGS = 2.0**20, 80
# A sum is known from a state if that changes by more than this within 0.1.
_FLAT = 1e-5
# How far rounding may carry a state out of the range of its activation.
_OUTSIDE = 1e-3


def another_start(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Start from another state, of one forward layer: one that leads to all first steps."""
    (layer, *others) = case.network.layers
    if others or layer.direction != "forward" or theirs.shape[:2] != case.x.shape[:2]:
        return
    start = _start_before(layer.cells[0], case.x[:, 0], theirs[:, 0])
    if start is not None:
        h0 = np.tile(start.astype(case.h0.dtype), (len(theirs), 1))
        yield Attempt("--h0: only the first step is wrong", case._replace(h0=h0), theirs)


def carried_on(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Start each sequence from the state in which the one before it ended."""
    if len(case.lengths) < 2 or theirs.shape[:2] != case.x.shape[:2]:
        return
    h0 = case.h0.copy()
    for n, length in enumerate(case.lengths[:-1]):
        h0[n + 1] = _final(case, theirs, h0[n], n, int(length))
    yield Attempt("state carried from sequence to sequence", case._replace(h0=h0), theirs)


def _final(case: Case, theirs: Floats, h0: Floats, n: int, length: int) -> Floats:
    """Give the state in which a sequence ends: as the result has it, where it is there."""
    if length and not hides_states(case.network):
        parts = list(case.network.parts())
        ends = [0 if part.direction == "backward" else length - 1 for part in parts]
        return np.concatenate(
            [theirs[n, end, part.state] for part, end in zip(parts, ends, strict=True)]
        )
    return run(case.network, case.x[n, :length], h0, precision=case.precision).h_n


def _start_before(cell: RNN, x: Floats, h: Floats) -> Floats | None:
    """Solve ``h = f(x @ W_xh + h0 @ W_hh + b_h)`` for h0, one for all rows; None if it is no state.

    Units at whose state the activation is flat tell nothing of h0.
    """
    W_hh = cell.weights.W_hh.astype(np.float64)
    sums = _sums_of(cell, h)
    around = (reference.activate(cell, sums + by) for by in (0.1, -0.1))
    known = np.subtract(*around) > _FLAT  # (N, H)
    units = known.any(axis=0)
    if not units.any():
        return None
    left = np.where(known, sums - reference.sums(cell, x, np.zeros((len(x), len(W_hh)))), 0)
    mean = left.sum(axis=0)[units] / known.sum(axis=0)[units]
    h0: Floats = np.linalg.lstsq(W_hh[:, units].T, mean, rcond=None)[0]
    lowest, highest = (reference.activate(cell, np.array(end)) for end in (-_LARGEST, _LARGEST))
    inside = (h0 >= lowest - _OUTSIDE).all() and (h0 <= highest + _OUTSIDE).all()
    return h0 if inside else None


def _sums_of(cell: RNN, h: Floats) -> Floats:
    """Find the sums of which the activation, which never falls, gives states h."""
    low, high = np.full(h.shape, -_LARGEST), np.full(h.shape, _LARGEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        under = reference.activate(cell, middle) < h
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return np.asarray((low + high) / 2)
