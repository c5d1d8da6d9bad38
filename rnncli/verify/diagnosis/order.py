"""Another order: of steps, of directions, of batch and time."""

from collections.abc import Iterator

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.diagnosis.attempt import Attempt


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
            Recurrent(*layer.cells, direction="backward" if n % 2 else "forward")
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


def rows_shifted(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Let row t hold the state before step t, or the one after step t + 1.

    The row left over is the state that is missing (all are turned in a
    ring), or holds nothing: zeros, the initial state, or its neighbour
    again. Then the missing state is taken from our own run.
    """
    if theirs.shape[:2] != case.x.shape[:2] or not (case.lengths > 1).all():
        return
    ours, n = case.states()[-1], np.arange(len(theirs))
    first, last = np.zeros_like(n), case.lengths - 1
    for name, by, odd, neighbour, missing in (
        ("rows one step late: row t holds h_{t-1}", -1, first, first + 1, last),
        ("rows one step early: row t holds h_{t+1}", 1, last, last - 1, first),
    ):
        shifted = theirs.copy()
        for row, length in zip(shifted, case.lengths, strict=True):
            row[:length] = np.roll(row[:length], by, axis=0)
        yield Attempt(name, case, shifted)
        left_over = theirs[n, odd]
        if any(
            np.array_equal(left_over, nothing)
            for nothing in (np.zeros_like(left_over), case.h0, theirs[n, neighbour])
        ):
            filled = shifted.copy()
            filled[n, missing] = ours[n, missing]
            yield Attempt(name, case, filled)


def _reversed(case: Case, rows: Floats) -> Floats:
    """Turn every sequence around, (N, T, K); another shape stays as it is."""
    if rows.shape[:2] != case.x.shape[:2]:
        return rows
    turned = rows.copy()
    for n, length in enumerate(case.lengths):
        turned[n, :length] = rows[n, :length][::-1]
    return turned
