"""The forward pass of a network over arrays, and what it shares with streams."""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnncli.engine.batch import Packing, Sequences, by_length
from rnncli.engine.precision import PRECISIONS, Precision
from rnncli.engine.threads import blas_on_one_thread, in_threads, parts_for, product
from rnncli.engine.unroll import UNROLLS, Strategy, fastest
from rnncli.engine.unroll.stepwise import row_products
from rnncli.model.arrays import Floats, Integers, check_numbers, contiguous, in_dtype
from rnncli.model.cells import Cell, State
from rnncli.model.errors import choice
from rnncli.model.layers import Layer, Multiply
from rnncli.model.network import Network

# take(packing, sequences): the packed input of some sequences of a batch.
Take: TypeAlias = Callable[[Packing, Sequences], Floats]
# places(packing, sequences): where what each layer gives is to go; None for a new array.
Places: TypeAlias = Callable[[Packing, Sequences], Iterable[Floats | None]]
# give(packing, sequences, passes): takes what the layers have given.
Give: TypeAlias = Callable[[Packing, Sequences, "Sequence[Pass]"], None]


class States(NamedTuple):
    """Hidden states of a forward pass.

    Parameters
    ----------
    h : array, shape (T, H) or (N, T, H)
        Hidden state of the top recurrent layer at every step; 2 H values
        where it concatenates two directions. Zeros from the end of a sequence
        on. The h of a batch of equal lengths may be a view of an array
        (T, N, H).
    h_n : array, shape (S,) or (N, S)
        Final state of all cells, the bottom layer first, forward before
        backward: of a forward cell the state after the last step, of a
        backward one that after the first; `h0` where a sequence has no steps.
        One forward layer of a vanilla cell has S = H. Where cells carry more
        than h, h of all cells comes first (`Network.state_slices`).
    layers : tuple of arrays like `h`
        What every layer gives, the bottom one first, where asked for.
    y : array, shape (T, O) or (N, T, O), optional
        Output of the network's head at every step; None if it has none.
    """

    h: Floats
    h_n: Floats
    layers: tuple[Floats, ...] = ()
    y: Floats | None = None


class Pass(NamedTuple):
    """What one layer has given.

    Parameters
    ----------
    output : array, shape (R, O) or (T, N, O)
        Packed, in the order of the input.
    cells : sequence of arrays
        The outputs of each of its cells; none of a layer without state.
    """

    output: Floats
    cells: Sequence[Floats]


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
    """

    network: Network
    precision: Precision
    strategy: Strategy
    multiply: Multiply


def run(
    network: Network,
    x: ArrayLike,
    h0: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    precision: str = "float32",
    unroll: str = "auto",
    all_layers: bool = False,
) -> States:
    """Run a network over one sequence, or over a batch of them.

    Every cell of every layer takes, from t = 1 to T, or backward from T to 1::

        h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)

    where x_t is the input or what the layer below gives at t. A layer of two
    directions gives what its merge makes of their states at t.

    Parameters
    ----------
    network : Network
        What to run.
    x : array, shape (T, I) or (N, T, I)
        Input at every step, converted to the float type of `precision`.
    h0 : array, shape (S,) or (N, S), optional
        State of all cells before their first step, in the order of `h_n`;
        zeros by default. (S,) with a batch starts every sequence from the
        same state.
    lengths : array of int, shape (N,), optional
        Number of steps of each sequence of a batch; T by default. A backward
        cell starts from there. What `x` holds beyond is not looked at.
    precision : {"float32", "float64", "tf32", "bfloat16"}
        Float type and rounding, see `rnncli.engine.precision`.
    unroll : {"auto", "stepwise", "fused", "projected", "parallel"}
        How the steps are computed, see `rnncli.engine.unroll`. ``auto`` takes the
        fastest measured for the sizes.
    all_layers : bool
        Whether to give what every layer gives, and not `h` and `y` alone.

    Returns
    -------
    States
        In the float type of `precision`. A state that overflows is returned
        as it is.

    Raises
    ------
    ValueError
        A shape does not fit the network, a value of `x` or `h0` is not
        finite in the float type, a length is not from 0 to T, or a name is
        unknown.
    """
    prepared = prepare(network, precision, unroll)
    dtype = prepared.precision.dtype
    array = np.asarray(x)
    _check_input(network, array)
    batch = array if array.ndim == 3 else array[None]
    N, T, _ = batch.shape
    ends = np.full(N, T) if lengths is None else _lengths(lengths, N, T)
    h_n = _initial_state(network, h0, batch=N, dtype=dtype)  # (N, S)
    last = len(network.layers) - 1
    top = last - network.head
    asked = range(last + 1) if all_layers else sorted({top, last})
    outputs = {n: _output(network.layers[n], ends, T, dtype) for n in asked}  # (N, T, O)

    def places(packing: Packing, sequences: Sequences) -> list[Floats | None]:
        return [
            _place(layer, outputs[n], packing, sequences) if n in outputs else None
            for n, layer in enumerate(network.layers)
        ]

    def give(packing: Packing, sequences: Sequences, passes: Sequence[Pass]) -> None:
        for n, output in outputs.items():
            rows = passes[n].output
            if not np.may_share_memory(rows, output):
                packing.unpack(rows, output, sequences)

    def take(packing: Packing, sequences: Sequences) -> Floats:
        return _packed(packing, array, sequences, ends, dtype)

    drive(prepared, ends, h_n, take, give, places)
    if array.ndim == 2:
        h_n, outputs = h_n[0], {n: output[0] for n, output in outputs.items()}
    layers = tuple(outputs.values()) if all_layers else ()
    return States(outputs[top], h_n, layers, outputs[last] if network.head else None)


def prepare(network: Network, precision: str = "float32", unroll: str = "auto") -> Prepared:
    """Prepare a network to run in a precision, by a strategy.

    Raises
    ------
    ValueError
        A name is unknown, or a weight too large for the precision.
    """
    how = choice("precision", precision, PRECISIONS)
    strategy = choice("unroll", unroll, UNROLLS | {"auto": fastest})
    compute = row_products if unroll == "stepwise" else _product

    def multiply(x: Floats, W: Floats) -> Floats:
        rows = contiguous(how.operand(x)).reshape(-1, len(W))
        return compute(rows, W).reshape(*x.shape[:-1], W.shape[1])

    return Prepared(network.converted(how.convert), how, strategy, multiply)


def drive(
    prepared: Prepared,
    lengths: Integers,
    states: Floats,
    take: Take,
    give: Give,
    places: Places = lambda _packing, _sequences: repeat(None),
) -> None:
    """Run a batch of sequences, those of like lengths side by side, two parts at a time.

    Parameters
    ----------
    prepared : Prepared
    lengths : array of int, shape (N,)
        Number of steps of each sequence.
    states : array, shape (N, S)
        The state of all cells before the first step, which becomes that after
        the last one.
    take, give, places : callables
        Where the input comes from, and where what the layers give goes.
    """

    def part(sequences: Sequences) -> None:
        packing = Packing(lengths[sequences])
        x, outs = take(packing, sequences), places(packing, sequences)
        passes, states[sequences] = advance(prepared, x, packing, states[sequences], outs)
        give(packing, sequences, passes)

    cells = [cell for layer in prepared.network.layers for cell in layer.cells]
    with blas_on_one_thread(int(lengths.sum())):
        in_threads(part, by_length(lengths, parts_for(len(lengths), cells)))


def advance(
    prepared: Prepared,
    x: Floats,
    packing: Packing,
    state: Floats,
    outs: Iterable[Floats | None],
) -> tuple[list[Pass], Floats]:
    """Run the layers, bottom to top, over packed rows.

    Parameters
    ----------
    prepared : Prepared
    x : array, shape (R, I) or (T, N, I)
        Packed rows, finite, in the float type of the precision.
    packing : Packing
        Of the N sequences.
    state : array, shape (N, S)
        State of all cells before their first step.
    outs : iterable of arrays or None
        One a layer, like `x` with H for I: where the outputs of a forward
        layer go.

    Returns
    -------
    list of Pass
        What each layer has given.
    array, shape (N, S)
        State of all cells after their last step.
    """
    after = np.empty_like(state)
    passes = []
    network = prepared.network
    with np.errstate(all="ignore"):
        for layer, slices, out in zip(network.layers, network.state_slices, outs, strict=False):
            unroll = _Unroll(prepared, packing, out)
            states = [tuple([state[:, place] for place in places]) for places in slices]
            x, finals = layer(x, states, unroll, prepared.multiply)
            for places, final in zip(slices, finals, strict=True):
                for place, array in zip(places, final, strict=True):
                    after[:, place] = array
            passes.append(Pass(x, unroll.outputs))
    return passes, after


class _Unroll:
    """Runs the cells of one layer over packed rows, as `rnncli.model.layers.Unroll`.

    Attributes
    ----------
    outputs : list of arrays
        Those of each cell that has run.
    """

    def __init__(self, prepared: Prepared, packing: Packing, out: Floats | None) -> None:
        self._prepared, self._packing, self._out = prepared, packing, out
        self.outputs: list[Floats] = []

    def __call__(self, cell: Cell, x: Floats, state: State, direction: str) -> tuple[Floats, State]:
        """Run a cell in its direction."""
        x = self._prepared.precision.operand(x)
        backward = direction == "backward"
        if backward:
            x = self._packing.reversed(x)
        out = None if backward else self._out
        h = np.empty((*x.shape[:-1], cell.state_sizes[0]), x.dtype) if out is None else out
        final = self._forward(cell, x, state, h)
        self.outputs.append(self._packing.reversed(h) if backward else h)
        return self.outputs[-1], final

    def _forward(self, cell: Cell, x: Floats, state: State, out: Floats) -> State:
        """Run a cell over packed rows in their order."""
        precision, strategy = self._prepared.precision, self._prepared.strategy
        final = tuple([array.copy() for array in state])
        for steps, h in zip(self._packing.pieces(x), self._packing.pieces(out), strict=True):
            after = strategy(cell, steps, tuple([a[: steps.N] for a in final]), precision, h)
            for array, rows in zip(final, after, strict=True):
                array[: steps.N] = rows
        return final


def _product(rows: Floats, W: Floats) -> Floats:
    out = np.empty((len(rows), W.shape[1]), W.dtype)
    product(rows, W, out)
    return out


def _check_input(network: Network, x: NDArray[Any]) -> None:
    if x.ndim not in (2, 3) or x.shape[-1] != network.input_size:
        raise ValueError(
            f"x: expected shape (T, {network.input_size}) or (N, T, {network.input_size}), "
            f"as W_xh has {network.input_size} rows, got {x.shape}"
        )
    check_numbers("x", x)


def _lengths(lengths: ArrayLike, N: int, T: int) -> Integers:
    array = np.asarray(lengths)
    if array.shape != (N,) or array.dtype.kind not in "iu":
        raise ValueError(f"lengths: expected {N} integers, got shape {array.shape}, {array.dtype}")
    if N and not (array.min() >= 0 and array.max() <= T):
        raise ValueError(f"lengths: expected 0 to {T}, got {array.min()} to {array.max()}")
    return array.astype(np.intp)


def _packed(
    packing: Packing,
    x: NDArray[Any],
    sequences: Sequences,
    ends: Integers,
    dtype: np.dtype[np.floating],
) -> Floats:
    """Pack some sequences of a batch, and look at nothing beyond the end of any."""
    batch = x if x.ndim == 3 else x[None]
    rows = packing.pack(batch, sequences)
    try:
        return in_dtype("x", rows, dtype)
    except ValueError:
        beyond = np.arange(batch.shape[1]) >= ends[:, None]  # (N, T)
        whole = np.where(beyond[..., None], 0, batch).reshape(x.shape)
        return in_dtype("x", whole, dtype)  # says where it is


def _output(layer: Layer, ends: Integers, T: int, dtype: np.dtype[np.floating]) -> Floats:
    """Allocate what a layer gives, shape (N, T, H), with zeros beyond the ends.

    Of sequences of one length all first states lie together, then all second
    ones: as they come.
    """
    N, H = len(ends), layer.output_size
    if (ends == T).all():
        return np.empty((T, N, H), dtype).swapaxes(0, 1)
    return np.zeros((N, T, H), dtype)


def _place(layer: Layer, h: Floats, packing: Packing, sequences: Sequences) -> Floats | None:
    """View, in a layer's output, where its rows can go as they come; None where they cannot."""
    whole = packing.single and packing.steps == h.shape[1]
    if whole and isinstance(sequences, slice) and layer.directions == ("forward",):
        return h[sequences].swapaxes(0, 1)
    return None


def _initial_state(
    network: Network, h0: ArrayLike | None, *, batch: int, dtype: np.dtype[np.floating]
) -> Floats:
    S = network.state_size
    if h0 is None:
        return np.zeros((batch, S), dtype)
    array = np.asarray(h0)
    if array.shape not in ((S,), (batch, S)):
        raise ValueError(
            f"h0: expected shape ({S},) or ({batch}, {S}), as the network has {S} units, "
            f"got {array.shape}"
        )
    return np.array(np.broadcast_to(in_dtype("h0", array, dtype), (batch, S)), order="C")
