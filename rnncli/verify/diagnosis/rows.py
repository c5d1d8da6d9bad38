"""Mistakes in order: of steps, directions, batch and time, units and features."""

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.diagnosis.hypothesis import Tried, with_cells
from rnncli.verify.steps import cell_outputs, concatenates

# So many features are tried in every order.
MOST_FEATURES = 5
# Units are told apart by the first rows of a few sequences.
ROWS, SEQUENCES = 16, 8
# Numbers of a permutation that are shown.
SHOWN = 16


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
    """Put the backward half of concatenated states first, or the halves unit by unit."""
    layers = case.network.layers
    top, name, turned = layers[-1], "forward and backward halves exchanged", theirs
    if concatenates(top):
        forward, backward = cell_outputs(top, theirs)
        turned = np.concatenate([backward, forward], axis=-1)
        yield name, case, turned
        apart = np.concatenate([theirs[..., ::2], theirs[..., 1::2]], axis=-1)
        yield "forward and backward units interleaved", case, apart
    below = [None, *layers]
    inputs = [lower for lower, layer in zip(below, layers, strict=False) for _ in layer.cells]
    above = [n for n, lower in enumerate(inputs) if lower and concatenates(lower)]
    tried = with_cells(case, _halves_taken, above)
    if tried is not None:
        yield f"{name} in every layer", tried, turned


def _halves_taken(_: int, cell: Cell) -> Cell:
    """Take each half of the input for the other."""
    W_xh = cell.weights.W_xh
    W_xh = np.roll(W_xh, len(W_xh) // 2, axis=0)
    return cell.replaced(cell.weights._replace(W_xh=W_xh))


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


def inputs_shifted(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Take the input of the step before or after.

    Where there is none it is zeros, its neighbour, or that of the other end.
    """
    running = np.flatnonzero(case.lengths)
    n, first, last = running, np.zeros_like(running), case.lengths[running] - 1
    for name, by, end, neighbour in (
        ("input one step late: x_{t-1} for x_t", 1, first, first),
        ("input one step early: x_{t+1} for x_t", -1, last, last),
    ):
        x = case.x.copy()
        for row, length in zip(x, case.lengths, strict=True):
            row[:length] = np.roll(row[:length], by, axis=0)
        for filled in (np.zeros_like(x[n, end]), case.x[n, neighbour], x[n, end]):
            shifted = x.copy()
            shifted[n, end] = filled
            yield name, case._replace(x=shifted), theirs


def units_permuted(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Put the columns of the output in the order in which they are most like ours."""
    ours = case.outputs()[-1]
    if ours.shape != theirs.shape:
        return
    running = case.rows()[:SEQUENCES, :ROWS]
    mine, others = (rows[:SEQUENCES, :ROWS][running].astype(np.float64) for rows in (ours, theirs))
    order = np.full(ours.shape[2], -1)
    for column, values in enumerate(others.T):
        distance = np.abs(mine - values[:, None]).sum(axis=0)
        distance[order[:column]] = np.inf
        order[column] = distance.argmin()
    if (order != np.arange(len(order))).any():
        name = f"units permuted: {_shown(order.tolist())}"
        yield name, case, theirs[..., np.argsort(order)]


def features_permuted(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Put the columns of the input in every other order; of many, in reverse."""
    I = case.x.shape[2]
    own = tuple(range(I))
    for order in permutations(own) if I <= MOST_FEATURES else (own[::-1],):
        if order != own:
            x = np.ascontiguousarray(case.x[..., order])
            yield f"features permuted: {_shown(order)}", case._replace(x=x), theirs


def _shown(order: Sequence[int]) -> str:
    more = ["..."] if len(order) > SHOWN else []
    return " ".join([*map(str, order[:SHOWN]), *more])


def _reversed(case: Case, rows: Floats) -> Floats:
    """Turn every sequence around, (N, T, K); another shape stays as it is."""
    if rows.shape[:2] != case.x.shape[:2]:
        return rows
    turned = rows.copy()
    for n, length in enumerate(case.lengths):
        turned[n, :length] = rows[n, :length][::-1]
    return turned
