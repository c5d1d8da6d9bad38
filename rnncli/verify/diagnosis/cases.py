"""Mistakes outside the cells: in layers and directions, the order of rows, states, and heads."""

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.run import run
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, Weights
from rnncli.model.layers import MERGES, Dense, Layer, Pointwise, Recurrent, Stateless
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.diagnosis.cells import Tried, with_cells
from rnncli.verify.steps import can_judge_steps, cell_outputs, concatenates

# Functions that heads end in.
OF_HEADS = ("linear", "softmax", "log_softmax", "sigmoid", "tanh", "relu")
# So many features are tried in every order.
MOST_FEATURES = 5
# c is computed for so many steps before the rest, and is shown where it is so near.
FIRST, NEAR = 8, 1e-3


def products_rounded(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Round the operands of the products, or do not."""
    dtype = PRECISIONS[case.precision].dtype
    for precision, how in PRECISIONS.items():
        if precision != case.precision and how.dtype == dtype:
            yield f"`precision` {precision}", case._replace(precision=precision), theirs


# Layers and directions


def another_merge(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Merge directions in another way that leaves as many values."""
    for merge in MERGES:

        def merged(layer: Recurrent, merge: str = merge) -> Recurrent | None:
            if len(layer.cells) == 1 or layer.merge in ("concat", merge):
                return None
            return Recurrent(*layer.cells, direction=layer.direction, merge=merge)

        if merge != "concat":
            yield from _in_layers(case, theirs, f"`merge` {merge}", merged)


def directions_exchanged(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Exchange the weights of the two directions, in all layers or one."""

    def exchanged(layer: Recurrent) -> Recurrent | None:
        if len(layer.cells) == 1:
            return None
        return Recurrent(*layer.cells[::-1], direction=layer.direction, merge=layer.merge)

    yield from _in_layers(case, theirs, "weights of the two directions exchanged", exchanged)


def not_reversed(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Run the backward cells forward, in all layers or one."""

    def forward(layer: Recurrent) -> Recurrent | None:
        if "backward" not in layer.directions:
            return None
        return Forward(*layer.cells, direction=layer.direction, merge=layer.merge)

    yield from _in_layers(case, theirs, "the backward direction not reversed", forward)


class Forward(Recurrent):
    """A layer whose cells all go forward, whatever its direction says."""

    def __init__(
        self, *cells: Cell | Weights, direction: str = "forward", merge: str = "concat"
    ) -> None:
        super().__init__(*cells, direction=direction, merge=merge)
        self.directions = ("forward",) * len(cells)


def _in_layers(
    case: Case, theirs: Floats, name: str, change: Callable[[Recurrent], Recurrent | None]
) -> Iterator[Tried]:
    """Change all layers that can be, then each alone."""
    layers = case.network.layers
    changed = {
        number: new
        for number, layer in enumerate(layers)
        if isinstance(layer, Recurrent) and (new := change(layer)) is not None
    }
    alone = {f" in layer {number + 1}": {number: new} for number, new in changed.items()}
    for where, some in ({"": changed} | (alone if len(changed) > 1 else {})).items():
        if some:
            every = (some.get(number, layer) for number, layer in enumerate(layers))
            network = Network(*every, last=case.network.last)
            yield name + where, case._replace(network=network), theirs


def halves_exchanged(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Put the backward half of concatenated states first, in the top layer or in every layer."""
    layers, name, turned = case.network.layers, "forward and backward halves exchanged", theirs
    if concatenates(layers[-1]):
        forward, backward = cell_outputs(layers[-1], theirs)
        turned = np.concatenate([backward, forward], axis=-1)
        yield name, case, turned
    below = [None, *layers[:-1]]
    inputs = [lower for lower, layer in zip(below, layers, strict=True) for _ in layer.cells]
    above = [n for n, lower in enumerate(inputs) if lower and concatenates(lower)]

    def other_half_first(cell: Cell, _: object) -> Cell:
        W_xh = cell.weights.W_xh
        return cell.replaced(cell.weights._replace(W_xh=np.roll(W_xh, len(W_xh) // 2, axis=0)))

    tried = with_cells(case, other_half_first, above)
    if tried is not None:
        yield f"{name} in every layer", tried, turned


def head_changed(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Make a mistake in one layer without state, or leave it out."""
    layers = case.network.layers
    for number, layer in enumerate(layers):
        if not isinstance(layer, Stateless):
            continue
        for name, mistaken in _mistaken(layer, others=len(layers) > 1):
            changed = (*layers[:number], *mistaken, *layers[number + 1 :])
            network = Network(*changed, last=case.network.last)
            yield name.format(f"layer {number + 1}"), case._replace(network=network), theirs


def _mistaken(layer: Stateless, *, others: bool) -> Iterator[tuple[str, tuple[Layer, ...]]]:
    """Yield what stands in place of a layer, each with a name."""
    if layer.input_size == layer.output_size and others and not layer.masks:
        yield "{} left out", ()
    if not isinstance(layer, Dense):
        return
    W, b, f = layer.W, layer.b, layer.activation
    if b.any():
        yield "no bias in {}", (Dense(W, np.zeros_like(b), f),)
    for name in OF_HEADS:
        if name != str(f):
            yield f"activation {name} in {{}}", (Dense(W, b, name),)
    if 1 not in W.shape:
        transposed = np.ascontiguousarray(W.reshape(W.shape[::-1]).T)
        yield "W transposed in {}", (Dense(transposed, b, f),)
    yield "relu below {}", (Pointwise("relu", layer.input_size), layer)


# Order


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


def features_permuted(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Put the columns of the input in every other order; of many, in reverse."""
    own = tuple(range(case.x.shape[2]))
    for order in permutations(own) if len(own) <= MOST_FEATURES else (own[::-1],):
        if order != own:
            x = np.ascontiguousarray(case.x[..., order])
            name = " ".join(map(str, order)) if len(own) <= MOST_FEATURES else "in reverse"
            yield f"features permuted: {name}", case._replace(x=x), theirs


def _reversed(case: Case, rows: Floats) -> Floats:
    """Turn every sequence around, (N, T, K); another shape stays as it is."""
    if rows.shape[:2] != case.x.shape[:2]:
        return rows
    turned = rows.copy()
    for n, length in enumerate(case.lengths):
        turned[n, :length] = rows[n, :length][::-1]
    return turned


# States


def start_left_out(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Start from zeros: all of the state, or h or c of it."""
    names = case.network.state_names
    for name, place in names.items():
        if case.h0[:, place].any():
            h0 = case.h0.copy()
            h0[:, place] = 0
            yield f"`{name}0` left out", case._replace(h0=h0), theirs
    if len(names) > 1 and case.h0.any():
        yield "start states left out", case._replace(h0=np.zeros_like(case.h0)), theirs


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


def cell_state(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Show c in place of h, of a network that goes forward and gives a row a step."""
    network, ours = case.network, case.outputs()[-1]
    if not _has_c(network.layers[-1]) or network.needs_whole_sequences or network.last:
        return
    if ours.shape != theirs.shape:
        return
    (place,) = (places[1] for places in network.state_slices[-1])
    running, c, state = case.running(), np.zeros_like(ours), case.h0
    for t in range(case.x.shape[1]):
        state = run(network, case.x[:, t : t + 1], state, precision=case.precision).h_n
        c[:, t] = state[:, place]
        if t < FIRST and not np.allclose(c[running[:, t], t], theirs[running[:, t], t], NEAR, NEAR):
            return
    yield "the result holds c in place of h", case, ours + _off(theirs, c)


def final_rows(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Show one row a sequence: a final state, or the last output."""
    N, T, _ = case.x.shape
    O = case.network.output_size
    if case.network.last or T == 1 or theirs.size != N * O or not (case.lengths > 0).all():
        return
    ours, last = case.outputs()[-1], (np.arange(N), case.lengths - 1)
    layer, slices = case.network.layers[-1], case.network.state_slices[-1]
    state = case.run().h_n
    shown = {}
    if isinstance(layer, Recurrent):
        shown["final states alone"] = layer.merged([state[:, places[0]] for places in slices])
        if _has_c(layer):
            shown["final c in place of h"] = layer.merged([state[:, each[1]] for each in slices])
    begun = ", where a backward direction has but begun" * case.network.needs_whole_sequences
    shown[f"the last output alone{begun}"] = ours[last]
    for name, expected in shown.items():
        result = ours.copy()
        result[last] += _off(theirs.reshape(N, O), expected)
        yield name, case, result


def _has_c(layer: Layer) -> bool:
    """Return whether all cells of a layer have a c of the size of their h."""
    return bool(layer.cells) and all(
        cell.state_names == ("h", "c") and len(set(cell.state_sizes)) == 1 for cell in layer.cells
    )


def _off(theirs: Floats, expected: Floats) -> Floats:
    """Return how far values of any size are off, as a share of those over 1."""
    return (theirs - expected) / np.maximum(1, np.abs(expected))
