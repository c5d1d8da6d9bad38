"""Mistakes in the state: where it begins, what becomes of it, and what is shown of it."""

from collections.abc import Iterator

import numpy as np

from rnncli.engine.run import run
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN
from rnncli.model.layers import Layer, Recurrent, Stateless
from rnncli.model.network import Network
from rnncli.verify import reference
from rnncli.verify.case import Case
from rnncli.verify.comparison import distances
from rnncli.verify.diagnosis.hypothesis import Tried
from rnncli.verify.steps import can_judge_steps, cell_outputs

# Sums are looked for between plus and minus so much, to the last bit.
LARGEST, HALVINGS = 2.0**20, 80
# A sum is known from a state if that changes by more than this within 0.1.
FLAT = 1e-5
# How far rounding may carry a state out of the range of its activation.
OUTSIDE = 1e-3
# A state begins anew where a row is so near one that begins there.
NEAR = 1e-3
# Where rows show nothing of it, every number of steps up to this one is tried.
MOST_STEPS = 128
# Which row of a sequence a model gives.
ROWS = {
    "state": "the final state in place of the last output",
    "step": "the last output, where a backward direction has but begun",
}
# c is computed for so many steps before the rest.
FIRST = 8


def start_changed(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Leave a start state out, or exchange that of h and c."""
    names = case.network.state_names
    for name, place in names.items():
        if case.h0[:, place].any():
            h0 = case.h0.copy()
            h0[:, place] = 0
            yield f"`{name}0` left out", case._replace(h0=h0), theirs
    if len(names) > 1:
        if case.h0.any():
            yield "start states left out", case._replace(h0=np.zeros_like(case.h0)), theirs
        exchanged = case._replace(h0=_exchanged(case))
        yield "start states of h and c exchanged", exchanged, theirs


def _exchanged(case: Case) -> Floats:
    """Exchange h and c of all cells that have both, of one size, before the first step."""
    h0 = case.h0.copy()
    for layer, slices in zip(case.network.layers, case.network.state_slices, strict=True):
        if _has_c(layer):
            for h, c in slices:
                h0[:, h], h0[:, c] = case.h0[:, c], case.h0[:, h]
    return h0


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
    if len(case.lengths) < 2 or theirs.shape[:2] != case.rows().shape:
        return
    h0 = case.h0.copy()
    for n, length in enumerate(case.lengths[:-1]):
        h0[n + 1] = _final(case, theirs, h0[n], n, int(length))
    yield "state carried from sequence to sequence", case._replace(h0=h0), theirs


def _final(case: Case, theirs: Floats, h0: Floats, n: int, length: int) -> Floats:
    """Return the state in which a sequence ends: h as the result has it, where it is there."""
    final = run(case.network, case.x[n, :length], h0, precision=case.precision).h_n
    if length and can_judge_steps(case.network):
        (layer,), (cells,) = case.network.layers, case.network.state_slices
        outputs = cell_outputs(layer, theirs)
        for h, (place, *_), direction in zip(outputs, cells, layer.directions, strict=True):
            final[place] = h[n, 0 if direction == "backward" else length - 1]
    return final


def begun_anew(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Begin anew every k steps, as if they were sequences of their own."""
    N, T, _ = case.x.shape
    if theirs.shape[:2] != (N, T):
        return
    for k in _steps_between(case, theirs):
        for h0 in (np.zeros_like(case.h0), case.h0) if case.h0.any() else (case.h0,):
            pieces = -(-T // k)

            def cut(rows: Floats, k: int = k, pieces: int = pieces) -> Floats:
                padded = np.pad(rows, ((0, 0), (0, pieces * k - T), (0, 0)))
                return padded.reshape(N * pieces, k, -1)

            starts = np.repeat(h0, pieces, axis=0)
            starts[::pieces] = case.h0
            lengths = np.clip(case.lengths[:, None] - k * np.arange(pieces), 0, k).ravel()
            tried = case._replace(x=cut(case.x), h0=starts, lengths=lengths)
            yield f"the state begins anew every {k} steps", tried, cut(theirs)


def _steps_between(case: Case, theirs: Floats) -> list[int]:
    """Return after how many steps, 2 or more, the state may begin anew.

    Where all goes forward a row shows it: it is that of a sequence which begins
    there.
    """
    N, T, I = case.x.shape
    longest = int(case.lengths.max())
    if case.network.needs_whole_sequences:
        return list(range(2, min(longest, MOST_STEPS + 1)))
    found = set()
    for h0 in (np.zeros_like(case.h0), case.h0) if case.h0.any() else (case.h0,):
        x, starts = case.x.reshape(N * T, 1, I), np.repeat(h0, T, axis=0)
        ours = case._replace(x=x, h0=starts, lengths=np.ones(N * T, np.intp)).outputs()[-1]
        ours = ours.reshape(N, T, -1)
        if ours.shape != theirs.shape:
            return []
        near = distances(ours, theirs) <= NEAR * np.abs(ours).max(axis=(0, 1))
        begins = (near.all(axis=2) & case.running()).any(axis=0)
        later = np.flatnonzero(begins[2:longest]) + 2
        found.update(later[:1].tolist())
    return sorted(found)


def cell_state(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Show c in place of h, of a network that goes forward."""
    layer, ours = case.network.layers[-1], case.outputs()[-1]
    if not _has_c(layer) or case.network.needs_whole_sequences or ours.shape != theirs.shape:
        return
    if case.network.last:  # see `another_row`
        return
    (place,) = (places[1] for places in case.network.state_slices[-1])
    running, c, state = case.running(), np.zeros_like(ours), case.h0
    for t in range(case.x.shape[1]):
        state = run(case.network, case.x[:, t : t + 1], state, precision=case.precision).h_n
        c[:, t] = state[:, place]
        if t < FIRST and not np.allclose(c[running[:, t], t], theirs[running[:, t], t], NEAR, NEAR):
            return
    yield "the result holds c in place of h", case, ours + _off(theirs, c)


def final_rows(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Show one row a sequence: a final state, the last output, or the mean of all."""
    N, T, _ = case.x.shape
    O = case.network.output_size
    if case.network.last or T == 1 or theirs.size != N * O or not (case.lengths > 0).all():
        return
    ours, rows = case.outputs()[-1], theirs.reshape(N, O)
    layer, slices = case.network.layers[-1], case.network.state_slices[-1]
    last = np.arange(N), case.lengths - 1
    shown = {"final states alone": 0, "final c in place of h": 1}
    state = run(case.network, case.x, case.h0, lengths=case.lengths, precision=case.precision).h_n
    predicted = {}
    if isinstance(layer, Recurrent):
        for name, number in shown.items():
            if number == 0 or _has_c(layer):
                predicted[name] = layer.merged([state[:, places[number]] for places in slices])
    begun = ", where a backward direction has but begun" * case.network.needs_whole_sequences
    predicted[f"the last output alone{begun}"] = ours[last]
    total = np.where(case.rows()[..., None], ours, 0).sum(axis=1)
    predicted["the mean of the outputs of a sequence"] = total / case.lengths[:, None]
    for name, expected in predicted.items():
        result = ours.copy()
        result[last] += _off(rows, expected)
        yield name, case, result


def another_row(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Give another row of a sequence than the network does, or that of its padding."""
    network, (N, T, _) = case.network, case.x.shape
    if not network.last or theirs.shape[:2] != (N, 1):
        return
    for last, name in ROWS.items():
        if network.last != last and network.needs_whole_sequences:
            yield name, case._replace(network=Network(*network.layers, last=last)), theirs
    if (case.lengths < T).any():
        for name, x in _padded(case).items():
            yield name, case._replace(x=x, lengths=np.full(N, T)), theirs
    top = len(network.layers) - 1 - network.head
    layer, slices = network.layers[top], network.state_slices[top]
    if isinstance(layer, Recurrent) and _has_c(layer):
        state = case.run().h_n
        c = layer.merged([state[:, places[1]] for places in slices])
        for above in network.layers[top + 1 :]:
            c = above(c) if isinstance(above, Stateless) else c
        yield "final c in place of h", case, case.outputs()[-1] + _off(theirs, c[:, None])


def _padded(case: Case) -> dict[str, Floats]:
    """Return the input with zeros behind the rows of each sequence, and before them."""
    behind = np.where(case.running()[..., None], case.x, 0)
    before = np.array([np.roll(x, -n, axis=0) for x, n in zip(behind, case.lengths, strict=True)])
    return {
        "zeros behind a sequence are steps": behind,
        "zeros before a sequence are steps": before,
    }


def _has_c(layer: Layer) -> bool:
    """Return whether all cells of a layer have a c of the size of their h."""
    return bool(layer.cells) and all(
        cell.state_names == ("h", "c") and len(set(cell.state_sizes)) == 1 for cell in layer.cells
    )


def _off(theirs: Floats, expected: Floats) -> Floats:
    """Return how far values of any size are off, as a share of those over 1."""
    return (theirs - expected) / np.maximum(1, np.abs(expected))


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
    """Find the sums of which an activation makes states h, surely one that never falls."""
    low, high = np.full(h.shape, -LARGEST), np.full(h.shape, LARGEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        under = reference.activate(cell, middle) < h
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return np.asarray((low + high) / 2)
