"""A pass of a network over packed rows: its layers, bottom to top."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import NamedTuple, TypeAlias, cast

import numpy as np

from rnncli.engine.batch import Packing, Sequences, by_length
from rnncli.engine.overflow import is_safe, largest, largest_sum, mark_overflow, product_overflows
from rnncli.engine.precision import PRECISIONS, Precision
from rnncli.engine.threads import blas_on_one_thread, in_threads, parts_for
from rnncli.engine.unroll import IN_ORDER, UNROLLS, Strategy, fastest, missing
from rnncli.engine.unroll.stepwise import row_products
from rnncli.engine.watched import Watched
from rnncli.model.arrays import Floats, Integers, contiguous
from rnncli.model.cells import Cell, State
from rnncli.model.errors import InputError, choice
from rnncli.model.layers import Layer, Multiply, Recurrent
from rnncli.model.network import Network

# take(packing, sequences): the packed input of some sequences of a batch.
Take: TypeAlias = Callable[[Packing, Sequences], Floats]
# places(packing, sequences): where what each layer gives is to go; None for a new array.
Places: TypeAlias = Callable[[Packing, Sequences], Iterable[Floats | None]]
# give(packing, sequences, passes): takes what the layers have given.
Give: TypeAlias = Callable[[Packing, Sequences, "Sequence[Pass]"], None]


class Pass(NamedTuple):
    """What one layer has given.

    Parameters
    ----------
    output : array, shape (R, O) or (T, N, O)
        Packed, in the order of the input.
    cells : sequence of tuples of arrays
        The state of each of its cells after every step: h, and what else it
        holds where asked for. None of a layer without state.
    """

    output: Floats
    cells: Sequence[State]

    @property
    def arrays(self) -> Sequence[Floats]:
        """The states of its cells, and the output where that is something else."""
        states = [array for state in self.cells for array in state]
        return states if len(self.cells) == 1 else [*states, self.output]

    @property
    def c(self) -> Floats:
        """What the states of its cells hold beside h, side by side, (..., C)."""
        arrays = [array for state in self.cells for array in state[1:]]
        one = len(arrays) == 1
        return arrays[0] if one else np.concatenate([self.output[..., :0], *arrays], axis=-1)


class Prepared(NamedTuple):
    """A network ready to run.

    Parameters
    ----------
    network : Network
        With its weights in the precision.
    precision : Precision
    strategy : callable
        How a cell is run over the steps.
    multiply : callable
        How a layer without state multiplies rows, as
        `rnncli.model.layers.Multiply`.
    all_states : bool
        Whether to keep the whole state after every step, and not h alone.
    """

    network: Network
    precision: Precision
    strategy: Strategy
    multiply: Multiply
    all_states: bool = False

    def after(self, rows: int) -> "Prepared":
        """Return what runs a stream on that has had so many rows."""
        if self.strategy is not fastest:
            return self
        return self._replace(strategy=partial(fastest, before=rows))


def prepare(
    network: Network,
    precision: str = "float32",
    unroll: str = "auto",
    *,
    all_states: bool = False,
) -> Prepared:
    """Prepare a network to run in a precision, by a strategy, see `Prepared`."""
    how = choice("precision", precision, PRECISIONS)
    strategy = choice("unroll", unroll, IN_ORDER if all_states else UNROLLS | {"auto": fastest})
    lacking = missing(unroll, precision)
    if lacking:
        raise InputError(f"unroll {unroll}", lacking)
    compute = row_products if unroll == "stepwise" else np.matmul
    sums: dict[int, float] = {}  # by the array's id, which lives as long as the network

    def multiply(x: Floats, W: Floats) -> Floats:
        rows = contiguous(how.operand(x)).reshape(-1, len(W))
        product = compute(rows, W)
        if id(W) not in sums:
            sums[id(W)] = largest_sum(W)
        if not is_safe(largest(rows) * sums[id(W)], W.dtype):
            product[product_overflows(rows, W)] = np.nan
        return product.reshape(*x.shape[:-1], W.shape[1])

    return Prepared(network.converted(how.convert), how, strategy, multiply, all_states)


def drive(
    prepared: Prepared,
    lengths: Integers,
    states: Floats,
    take: Take,
    give: Give,
    places: Places = lambda _packing, _sequences: repeat(None),
) -> None:
    """Run a batch of sequences, those of like lengths side by side, two parts at a time."""

    def part(sequences: Sequences) -> None:
        packing = Packing(lengths[sequences])
        x, outs = take(packing, sequences), places(packing, sequences)
        passes, states[sequences] = advance(prepared, x, packing, states[sequences], outs)
        give(packing, sequences, passes)

    cells = [cell for layer in prepared.network.layers for cell in layer.cells]
    with blas_on_one_thread():
        in_threads(part, by_length(lengths, parts_for(len(lengths), cells)))


def advance(
    prepared: Prepared,
    x: Floats,
    packing: Packing,
    state: Floats,
    outs: Iterable[Floats | None],
) -> tuple[list[Pass], Floats]:
    """Run the layers, bottom to top, over packed rows."""
    after = np.empty_like(state)
    passes = []
    network = prepared.network
    with np.errstate(all="ignore"):
        for layer, slices, out in zip(network.layers, network.state_slices, outs, strict=False):
            kept = []
            for cell, direction, places in zip(layer.cells, layer.directions, slices, strict=True):
                before = tuple([state[:, place] for place in places])
                rows, final = _unrolled(prepared, packing, cell, x, before, direction, out)
                kept.append(rows)
                for place, array in zip(places, final, strict=True):
                    after[:, place] = array
            x = output_of(prepared, layer, x, kept)
            passes.append(Pass(x, kept))
    return passes, after


def output_of(prepared: Prepared, layer: Layer, x: Floats, states: Sequence[State] = ()) -> Floats:
    """Return what a layer gives: of the states of its cells, or without state at rows `x`."""
    with np.errstate(all="ignore"):
        if isinstance(layer, Recurrent):
            return layer.merged([state[0] for state in states])
        return layer(np.ascontiguousarray(x), prepared.multiply)


def final_output(prepared: Prepared, state: Floats) -> Floats:
    """Return what the head makes of the final state of the top recurrent layer.

    Where that has two directions, the backward one's is that after the first
    step, so this is no row of `y`. It is what Keras's ``return_sequences=False``
    gives the head. Without a head it is that state, merged.
    """
    network = prepared.network
    top = len(network.layers) - 1 - network.head
    x = state
    for layer, slices in zip(network.layers[top:], network.state_slices[top:], strict=True):
        states = [tuple([state[:, place].copy() for place in places]) for places in slices]
        x = output_of(prepared, layer, x, states)
    return x


def _unrolled(
    prepared: Prepared,
    packing: Packing,
    cell: Cell,
    x: Floats,
    state: State,
    direction: str,
    out: Floats | None,
) -> tuple[State, State]:
    """Run a cell over packed rows; return its state after every step and after its last one."""
    x = prepared.precision.operand(x)
    backward = direction == "backward"
    if backward:
        x, out = packing.reversed(x), None
    h = np.empty((*x.shape[:-1], cell.state_sizes[0]), x.dtype) if out is None else out
    rows: State = (h,)
    if prepared.all_states:
        watched = Watched(cell, x.shape[:-1], x.dtype)
        cell, rows = cast(Cell, watched), (h, *watched.kept)
    final = tuple([array.copy() for array in state])
    for steps, *of_rows in zip(packing.pieces(x), *map(packing.pieces, rows), strict=True):
        before = tuple([array[: steps.N] for array in final])
        after = prepared.strategy(cell, steps, before, prepared.precision, of_rows[0])
        mark_overflow(cell, prepared.precision, steps, before[0], of_rows, after)
        for array, those in zip(final, after, strict=True):
            array[: steps.N] = those
    return tuple(map(packing.reversed, rows)) if backward else rows, final
