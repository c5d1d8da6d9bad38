"""The mistakes, from simple to involved.

A mistake in a cell is one more entry in `CELLS`: it is looked for in all cells, and in each
layer and direction alone. One that the whole network makes is an entry in `NETWORK`, one of a
recurrent layer in `LAYERS`, any other a function in `OTHERS`, which yields `Tried`.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial
from itertools import chain, permutations
from typing import Any, TypeAlias

import numpy as np

from rnncli.engine.precision import PRECISIONS, round_mantissa
from rnncli.engine.run import run
from rnncli.model.activations import ACTIVATIONS, Activation, activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, LSTM, Cell, Weights
from rnncli.model.cells.gates import ordered, summed
from rnncli.model.layers import Dense, Layer, Normalization, Pointwise, Recurrent, Stateless
from rnncli.model.network import Network
from rnncli.verification.case import Case
from rnncli.verification.reference import MANTISSA_BITS
from rnncli.verification.steps import can_judge_steps, cell_outputs, concatenates

# Words, a case, and a result (N, T, O) that equals its run if the mistake explains it.
Tried: TypeAlias = tuple[str, Case, Floats]
# change(cell, biases): a cell as a mistake would make it; the same object where the mistake
# changes nothing. `biases` are the input bias and the recurrent one, where a file has two.
Change: TypeAlias = Callable[[Any, Sequence[Floats]], Cell]
Array: TypeAlias = Callable[[Floats], Floats]

MATRICES, BIASES = ("W_xh", "W_hh"), ("b_h", "b_n")
# Functions that heads end in.
OF_HEADS = ("linear", "softmax", "log_softmax", "sigmoid", "tanh", "relu")
# So many features are tried in every order; by these factors an input is scaled.
MOST_FEATURES, FACTORS = 5, (2, 10, 100, 255, 1000)
# c is computed for so many steps before the rest, and is shown where it is so near.
FIRST, NEAR = 8, 1e-3


def mistakes(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Make each mistake in turn."""
    dtype = PRECISIONS[case.precision].dtype
    for precision, how in PRECISIONS.items():
        if precision != case.precision and how.dtype == dtype:
            yield f"`precision` {precision}", case._replace(precision=precision), theirs
    yield from _in_cells(case, theirs, CELLS | NETWORK)
    yield from chain.from_iterable(make(case, theirs) for make in OTHERS)
    for where, numbers in _places(case).items():
        yield from _in_cells(case, theirs, CELLS, f" in {where}", numbers)


# In cells


def _in_cells(
    case: Case,
    theirs: Floats,
    changes: dict[str, Change],
    where: str = "",
    numbers: Container[int] | None = None,
) -> Iterator[Tried]:
    """Change all cells, or those of some numbers, where that changes anything.

    Cells are counted from 0, the bottom layer first, forward before backward.
    """
    cells = [cell for layer in case.network.layers for cell in layer.cells]
    pairs = list(enumerate(zip(cells, case.biases or [()] * len(cells), strict=True)))
    for name, change in changes.items():
        changed = [
            change(cell, biases) if numbers is None or number in numbers else cell
            for number, (cell, biases) in pairs
        ]
        if any(new is not old for new, old in zip(changed, cells, strict=True)):
            network = case.network.with_cells(partial(next, iter(changed)))
            yield name + where, case._replace(network=network), theirs


def _places(case: Case) -> dict[str, list[int]]:
    """Find the numbers of the cells in each layer, each direction, and both, by name."""
    cells = [
        (case.layer_name(number), f"the {direction} direction")
        for number, layer in enumerate(case.network.layers)
        for direction in layer.directions
    ]
    layers, directions = ([*dict.fromkeys(names[axis] for names in cells)] for axis in (0, 1))
    names = layers * (len(layers) > 1) + directions * (len(directions) > 1)
    found = {name: [n for n, cell in enumerate(cells) if name in cell] for name in names}
    if len(layers) > 1 and len(directions) > 1:
        found |= {f"{direction} of {layer}": [n] for n, (layer, direction) in enumerate(cells)}
    return found


def _arrays(names: Sequence[str], change: Array) -> Change:
    """Change the arrays of these names, where a cell has them."""

    def changed(cell: Cell, _: Sequence[Floats]) -> Cell:
        own = cell.weights.arrays
        arrays = {name: change(own[name]) for name in names if name in own}
        same = all(np.array_equal(new, own[name]) for name, new in arrays.items())
        finite = all(np.isfinite(new).all() for new in arrays.values())  # float16 may not hold them
        return cell.replaced(cell.weights._replace(**arrays)) if finite and not same else cell

    return changed


def _of(kind: type[Cell], change: Change) -> Change:
    """Change the cells of a kind."""
    return lambda cell, biases: change(cell, biases) if isinstance(cell, kind) else cell


def _transposed(W: Floats) -> Floats:
    """Take the numbers of (I, H) as they lie for those of (H, I)."""
    return np.ascontiguousarray(W.reshape(W.shape[::-1]).T)


def _with_biases(cell: Any, biases: Sequence[Floats]) -> Cell:
    """Add two biases; a GRU that resets after the product keeps that of its candidate."""
    after = cell.settings.get("reset") == "after"
    both = summed(biases[0], biases[1], cell.hidden_size if after else 0)
    result: Cell = cell.replaced(cell.weights._replace(**both))
    return result


def _one_bias(kept: int, cell: Cell, biases: Sequence[Floats]) -> Cell:
    if len(biases) != 2:
        return cell
    return _with_biases(cell, [b * (n == kept) for n, b in enumerate(biases)])


def _gates_as(order: Sequence[str], cell: Cell, biases: Sequence[Floats]) -> Cell:
    """Read the weights of a cell as if its gates stood in another order."""
    taken = [order.index(gate) for gate in cell.gate_names]
    W_xh, W_hh, b_h = (ordered(array, taken) for array in cell.weights[:3])
    read = cell.replaced(cell.weights._replace(W_xh=W_xh, W_hh=W_hh, b_h=b_h))
    if cell.weights.b_n is None or len(biases) != 2:
        return read
    return _with_biases(read, [ordered(bias, taken) for bias in biases])


def _forget_bias(by: float, cell: LSTM, _: Sequence[Floats]) -> Cell:
    b_h = cell.weights.b_h + by * np.repeat([0, 1, 0, 0], cell.hidden_size)
    return cell.replaced(cell.weights._replace(b_h=b_h.astype(cell.weights.b_h.dtype)))


def _reset(reset: str, cell: GRU, biases: Sequence[Floats]) -> Cell:
    """Reset elsewhere; before the product there is one bias of the candidate alone."""
    weights = cell.weights if reset == "after" else _outside(cell, biases).weights
    return cell if cell.reset == reset else cell.replaced(weights, reset=reset)


def _outside(cell: Cell, _: Sequence[Floats]) -> Cell:
    """Add the candidate's recurrent bias outside of what r multiplies."""
    b_n, b_h = cell.weights.b_n, cell.weights.b_h.copy()
    if b_n is None:
        return cell
    b_h[-len(b_n) :] += b_n
    return cell.replaced(cell.weights._replace(b_h=b_h, b_n=None))


def _update_exchanged(cell: GRU, _: Sequence[Floats]) -> Cell:
    """Turn z into 1 - z, which is the gate of the negative sum."""
    signs = np.repeat([-1.0, 1.0, 1.0], cell.hidden_size)
    W_xh, W_hh, b_h = ((signs * array).astype(array.dtype) for array in cell.weights[:3])
    return cell.replaced(cell.weights._replace(W_xh=W_xh, W_hh=W_hh, b_h=b_h))


CELLS: dict[str, Change] = {
    "no bias": _arrays(BIASES, np.zeros_like),
    "biases added twice": _arrays(BIASES, lambda b: 2 * b),
    "no recurrence: W_hh is left out": _arrays(("W_hh",), np.zeros_like),
    "W_xh transposed": _arrays(("W_xh",), _transposed),
    "W_hh transposed": _arrays(("W_hh",), _transposed),
    "W_xh and W_hh transposed": _arrays(MATRICES, _transposed),
    **{
        f"gates in the order {' '.join(order)}, not {' '.join(kind.gate_names)}": _of(
            kind, partial(_gates_as, order)
        )
        for kind in (LSTM, GRU)
        for order in permutations(kind.gate_names)
        if order != kind.gate_names
    },
    "1 added to the forget bias": _of(LSTM, partial(_forget_bias, 1)),
    "1 left out of the forget bias": _of(LSTM, partial(_forget_bias, -1)),
    "no peepholes": _arrays(("w_ch",), np.zeros_like),
    "`reset` before": _of(GRU, partial(_reset, "before")),
    "`reset` after": _of(GRU, partial(_reset, "after")),
    "no recurrent bias of the candidate": _arrays(("b_n",), np.zeros_like),
    "recurrent bias of the candidate added twice": _arrays(("b_n",), lambda b: 2 * b),
    "recurrent bias of the candidate outside r": _outside,
    "z and 1 - z exchanged": _of(GRU, _update_exchanged),
    "input bias only": partial(_one_bias, 0),
    "recurrent bias only": partial(_one_bias, 1),
}


def _activation(name: str, other: Activation, cell: Cell, _: Sequence[Floats]) -> Cell:
    """Take another activation, also for the output if it is the same there."""
    before = cell.settings.get(name, other)
    if before == other:
        return cell
    settings: dict[str, Any] = {name: other}
    if name == "activation" and cell.settings.get("output_activation") == before:
        settings["output_activation"] = other
    return cell.replaced(**settings)


# Activations have the parameters that a framework gives them by default: ONNX, then Keras.
_OTHERS = [activation(name) for name, kind in ACTIVATIONS.items() if None not in kind.defaults]
_OTHERS += [activation("hard_sigmoid", 1 / 6, 0.5), activation("leaky_relu", 0.2)]


def _int8(axis: int | None, W: Floats) -> Floats:
    scale = np.abs(W.astype(np.float64)).max(axis=axis, keepdims=True) / 127
    scale = np.where(scale == 0, 1, scale)
    return np.asarray(np.rint(W / scale) * scale).astype(W.dtype)


def _float16(W: Floats) -> Floats:
    return W.astype(np.float16).astype(W.dtype)


def _bfloat16(W: Floats) -> Floats:
    return round_mantissa(W.astype(np.float32), MANTISSA_BITS["bfloat16"]).astype(W.dtype)


_OF_PRODUCTS = (*MATRICES, "W_hr")
NETWORK: dict[str, Change] = {
    **{
        f"`{name}` {other.name if other == activation(other.name) else other}": partial(
            _activation, name, other
        )
        for name in ("activation", "recurrent_activation")
        for other in _OTHERS
    },
    "weights rounded to float16": _arrays(Weights._fields, _float16),
    "weights but for biases rounded to float16": _arrays(_OF_PRODUCTS, _float16),
    "weights rounded to bfloat16": _arrays(Weights._fields, _bfloat16),
    "weights but for biases rounded to bfloat16": _arrays(_OF_PRODUCTS, _bfloat16),
    "weights rounded to int8": _arrays(_OF_PRODUCTS, partial(_int8, None)),
    "weights rounded to int8, a scale for each unit": _arrays(_OF_PRODUCTS, partial(_int8, 0)),
}


# In layers and directions


class _Forward(Recurrent):
    """A layer whose cells all go forward, whatever its direction says."""

    def __init__(self, *cells: Cell | Weights, **settings: Any) -> None:
        super().__init__(*cells, **settings)
        self.directions = ("forward",) * len(cells)


def _merged(merge: str, layer: Recurrent) -> Recurrent | None:
    """Merge in another way that leaves as many values."""
    if len(layer.cells) == 1 or layer.merge in ("concat", merge):
        return None
    return Recurrent(*layer.cells, direction=layer.direction, merge=merge)


def _exchanged(layer: Recurrent) -> Recurrent | None:
    return Recurrent(*layer.cells[::-1], **layer.settings) if len(layer.cells) > 1 else None


def _not_reversed(layer: Recurrent) -> Recurrent | None:
    return _Forward(*layer.cells, **layer.settings) if "backward" in layer.directions else None


LAYERS: dict[str, Callable[[Recurrent], Recurrent | None]] = {
    **{f"`merge` {merge}": partial(_merged, merge) for merge in ("sum", "ave", "mul")},
    "weights of the two directions exchanged": _exchanged,
    "the backward direction not reversed": _not_reversed,
}


def _layers_changed(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Change all recurrent layers that can be, then each alone."""
    layers = case.network.layers
    for name, change in LAYERS.items():
        new = {n: change(each) for n, each in enumerate(layers) if isinstance(each, Recurrent)}
        changed = {n: layer for n, layer in new.items() if layer is not None}
        alone = {f" in {case.layer_name(n)}": {n: layer} for n, layer in changed.items()}
        for where, some in ({"": changed} | (alone if len(changed) > 1 else {})).items():
            if some:
                every = (some.get(n, layer) for n, layer in enumerate(layers))
                network = Network(*every, last=case.network.last)
                yield name + where, case._replace(network=network), theirs


def _halves_exchanged(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Put the backward half of concatenated states first, in the top layer or in every layer."""
    layers, name, turned = case.network.layers, "forward and backward halves exchanged", theirs
    if concatenates(layers[-1]):
        turned = np.concatenate(cell_outputs(layers[-1], theirs)[::-1], axis=-1)
        yield name, case, turned
    below = [None, *layers[:-1]]
    inputs = [lower for lower, layer in zip(below, layers, strict=True) for _ in layer.cells]
    above = [n for n, lower in enumerate(inputs) if lower and concatenates(lower)]

    def other_half_first(cell: Cell, _: object) -> Cell:
        W_xh = cell.weights.W_xh
        return cell.replaced(cell.weights._replace(W_xh=np.roll(W_xh, len(W_xh) // 2, axis=0)))

    yield from _in_cells(case, turned, {name: other_half_first}, " in every layer", above)


def _stateless_changed(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Make a mistake in one layer without state, leave it out, or apply it twice."""
    layers = case.network.layers
    for n, layer in enumerate(layers):
        for words, new in _stateless(layer) if isinstance(layer, Stateless) else ():
            every = (*layers[:n], *new, *layers[n + 1 :])
            if every:
                network = Network(*every, last=case.network.last)
                name = words.format(case.layer_name(n))
                yield name, case._replace(network=network), theirs


def _stateless(layer: Stateless) -> Iterator[tuple[str, tuple[Layer, ...]]]:
    if layer.input_size == layer.output_size and not layer.masks:
        yield "{} left out", ()
    if isinstance(layer, Normalization):
        yield "{} applied twice", (layer, layer)
    if isinstance(layer, Dense):
        W, b, f = layer.W, layer.b, layer.activation
        if b.any():
            yield "no bias in {}", (Dense(W, np.zeros_like(b), f),)
        for other in (other for other in OF_HEADS if other != str(f)):
            yield f"activation {other} in {{}}", (Dense(W, b, other),)
        if 1 not in W.shape:
            yield "W transposed in {}", (Dense(_transposed(W), b, f),)
        yield "relu below {}", (Pointwise("relu", layer.input_size), layer)


# In the order of rows and features, and in their scale


def _reversed(case: Case, rows: Floats) -> Floats:
    """Turn every sequence around, (N, T, K); another shape stays as it is."""
    if rows.shape[:2] != case.x.shape[:2]:
        return rows
    turned = rows.copy()
    for n, length in enumerate(case.lengths):
        turned[n, :length] = rows[n, :length][::-1]
    return turned


def _time_reversed(case: Case, theirs: Floats) -> Iterator[Tried]:
    yield "the input reversed in time", case._replace(x=_reversed(case, case.x)), theirs
    if any("forward" in layer.directions for layer in case.network.layers):
        yield "the rows of the output reversed in time", case, _reversed(case, theirs)


def _processing_order(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Leave backward states in the order in which they were computed, as Keras does.

    A stack of ``go_backwards`` layers turns the sequence around at every
    layer; it is one of layers that go forward and backward in turn.
    """
    name, layers = "backward states in processing order", case.network.layers
    if all(layer.directions == ("backward",) for layer in layers):
        turn = ("forward", "backward")
        each = (Recurrent(*layer.cells, direction=turn[n % 2]) for n, layer in enumerate(layers))
        turned = case._replace(network=Network(*each), x=_reversed(case, case.x))
        yield name, turned, theirs if len(layers) % 2 else _reversed(case, theirs)
    elif concatenates(layers[-1]):
        forward, backward = cell_outputs(layers[-1], theirs)
        yield name, case, np.concatenate([forward, _reversed(case, backward)], axis=2)


def _rows_shifted(case: Case, theirs: Floats) -> Iterator[Tried]:
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
        nothing = (np.zeros_like(left_over), case.h0, theirs[n, neighbour])
        if any(np.array_equal(left_over, each) for each in nothing):
            filled = shifted.copy()
            filled[n, missing] = ours[n, missing]
            yield name, case, filled


def _features_permuted(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Put the columns of the input in every other order; of many, in reverse."""
    own = tuple(range(case.x.shape[2]))
    for order in permutations(own) if len(own) <= MOST_FEATURES else (own[::-1],):
        if order != own:
            x = np.ascontiguousarray(case.x[..., order])
            name = " ".join(map(str, order)) if len(own) <= MOST_FEATURES else "in reverse"
            yield f"features permuted: {name}", case._replace(x=x), theirs


def _input_scaled(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Scale each column by its own statistics, or all of them by a number."""
    x, rows = case.x.astype(np.float64), case.x[case.running()].astype(np.float64)
    if case.network.indices is not None or case.network.masking or len(rows) < 2:
        return
    mean, low, high = rows.mean(axis=0), rows.min(axis=0), rows.max(axis=0)
    scaled = {
        "the input standardised": (mean, rows.std(axis=0)),
        "the input standardised, its variance over n - 1": (mean, rows.std(axis=0, ddof=1)),
        "the input scaled to 0 to 1": (low, high - low),
        "the input scaled to -1 to 1": ((low + high) / 2, (high - low) / 2),
        "the sign of the input flipped": (0.0, -1.0),
        **{f"the input divided by {by}": (0.0, by) for by in FACTORS},
        **{f"the input multiplied by {by}": (0.0, 1 / by) for by in FACTORS},
    }
    for name, (center, scale) in scaled.items():
        with np.errstate(over="ignore"):
            moved = ((x - center) / np.where(scale == 0, 1, scale)).astype(case.x.dtype)
        if np.isfinite(moved).all():
            yield name, case._replace(x=moved), theirs


# In states


def _start_left_out(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Start from zeros: h or c of the state, or all of it."""
    places = {f"`{name}0` left out": place for name, place in case.network.state_names.items()}
    if len(places) > 1:
        places["start states left out"] = slice(None)
    for name, place in places.items():
        h0 = case.h0.copy()
        h0[:, place] = 0
        if not np.array_equal(h0, case.h0):
            yield name, case._replace(h0=h0), theirs


def _carried_on(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Start each sequence from the state in which the one before ended: its h as the result has it.

    Otherwise a network that is not contracting would start from another state than the result.
    """
    if len(case.lengths) < 2 or theirs.shape[:2] != case.rows().shape:
        return
    network, h0 = case.network, case.h0.copy()
    for n, length in enumerate(case.lengths[:-1]):
        h0[n + 1] = run(network, case.x[n, :length], h0[n], precision=case.precision).h_n
        if length and can_judge_steps(network):
            (layer,), (cells,) = network.layers, network.state_slices
            outputs = cell_outputs(layer, theirs)
            for h, (place, *_), direction in zip(outputs, cells, layer.directions, strict=True):
                h0[n + 1, place] = h[n, 0 if direction == "backward" else length - 1]
    yield "state carried from sequence to sequence", case._replace(h0=h0), theirs


def _cell_state(case: Case, theirs: Floats) -> Iterator[Tried]:
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


def _final_rows(case: Case, theirs: Floats) -> Iterator[Tried]:
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


OTHERS: tuple[Callable[[Case, Floats], Iterator[Tried]], ...] = (
    _time_reversed,
    _processing_order,
    _layers_changed,
    _start_left_out,
    _carried_on,
    _rows_shifted,
    _halves_exchanged,
    _stateless_changed,
    _cell_state,
    _final_rows,
    _features_permuted,
    _input_scaled,
)
