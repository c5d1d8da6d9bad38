"""The forward pass: layers and directions put together."""

from collections.abc import Iterable
from itertools import chain, islice, repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnncli.arrays import Floats, Integers, check_numbers, in_dtype
from rnncli.choices import choice
from rnncli.lanes import in_lanes
from rnncli.merges import merged
from rnncli.network import Layer, Network, Part
from rnncli.packing import Packing, Sequences, by_length
from rnncli.precision import PRECISIONS, Precision
from rnncli.unroll import UNROLLS, Strategy, fastest
from rnncli.unroll.parts import parts_for


class States(NamedTuple):
    """Hidden states of a forward pass.

    Parameters
    ----------
    h : array, shape (T, H) or (N, T, H)
        Hidden state of the top layer at every step; 2 H values where it
        concatenates two directions. Zeros from the end of a sequence on. The
        h of a batch of equal lengths may be a view of an array (T, N, H).
    h_n : array, shape (S,) or (N, S)
        Final state of all cells, in the order of ``network.cells``: of a
        forward cell the state after the last step, of a backward one that
        after the first; `h0` where a sequence has no steps. One forward
        layer has S = H.
    layers : tuple of arrays like `h`
        The states of every layer, the bottom one first, where asked for.
    """

    h: Floats
    h_n: Floats
    layers: tuple[Floats, ...] = ()


class Prepared(NamedTuple):
    """A network ready to run.

    Parameters
    ----------
    network : Network
    parts : tuple of Part
        Its cells, in the precision.
    precision : Precision
    strategy : callable
        How a cell is run over the steps.
    """

    network: Network
    parts: tuple[Part, ...]
    precision: Precision
    strategy: Strategy

    def side_by_side(self, lengths: Integers) -> list[Sequences]:
        """Choose which sequences of a batch run side by side.

        Parameters
        ----------
        lengths : array of int, shape (N,)

        Returns
        -------
        list of slices or arrays of int
            Parts of the batch; two of them run at a time.
        """
        return by_length(lengths, parts_for(len(lengths), [part.cell for part in self.parts]))


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
        Hidden state of all cells before their first step, in the order of
        ``network.cells``; zeros by default. (S,) with a batch starts every
        sequence from the same state.
    lengths : array of int, shape (N,), optional
        Number of steps of each sequence of a batch; T by default. A backward
        cell starts from there. What `x` holds beyond is not looked at.
    precision : {"float32", "float64", "tf32", "bfloat16"}
        Float type and rounding, see `rnncli.precision`.
    unroll : {"auto", "stepwise", "fused", "projected", "parallel"}
        How the steps are computed, see `rnncli.unroll`. ``auto`` takes the
        fastest measured for the sizes.
    all_layers : bool
        Whether to give the states of the layers below the top one too.

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
    N, T, _ = _as_batch(array).shape
    ends = np.full(N, T) if lengths is None else _lengths(lengths, N, T)
    start = _initial_state(network, h0, batch=N, dtype=dtype)  # (N, S)
    h_n = np.empty_like(start)
    wanted = network.layers if all_layers else network.layers[-1:]
    layers = [_output(layer, ends, T, dtype) for layer in wanted]  # (N, T, H)
    below: list[Floats | None] = [None] * (len(network.layers) - len(wanted))

    def run_part(sequences: Sequences) -> None:
        packing = Packing(ends[sequences])
        x = _packed(packing, array, sequences, ends, dtype)
        outs = [
            _place(layer, h, packing, sequences) for layer, h in zip(wanted, layers, strict=True)
        ]
        states, h_n[sequences] = advance(prepared, x, packing, start[sequences], below + outs)
        outputs = layer_outputs(network, states, all_layers=all_layers)
        for h, out, output in zip(layers, outs, outputs, strict=True):
            if out is None:
                packing.unpack(output, h, sequences)

    in_lanes(run_part, prepared.side_by_side(ends))
    if array.ndim == 2:
        h_n, layers = h_n[0], [layer[0] for layer in layers]
    return States(layers[-1], h_n, tuple(layers) if all_layers else ())


def prepare(network: Network, precision: str = "float32", unroll: str = "auto") -> Prepared:
    """Make a network ready to run in a precision, by a strategy.

    Raises
    ------
    ValueError
        A name is unknown, or a weight too large for the precision.
    """
    how = choice("precision", precision, PRECISIONS)
    strategy = choice("unroll", unroll, UNROLLS | {"auto": fastest})
    parts = tuple(part._replace(cell=how.prepare(part.cell)) for part in network.parts())
    return Prepared(network, parts, how, strategy)


def advance(
    prepared: Prepared,
    x: Floats,
    packing: Packing,
    h0: Floats,
    outs: Iterable[Floats | None] = (),
) -> tuple[list[Floats], Floats]:
    """Run the layers, bottom to top, over packed rows.

    Parameters
    ----------
    prepared : Prepared
    x : array, shape (R, I) or (T, N, I)
        Packed rows, finite, in the float type of the precision.
    packing : Packing
        Of the N sequences.
    h0 : array, shape (N, S)
        State of all cells before their first step.
    outs : iterable of arrays or None, optional
        One a layer, like `x` with H for I: where the states of a forward
        layer go. By default, and where None, into a new array.

    Returns
    -------
    list of arrays, shape (R, H) or (T, N, H)
        States of each cell, packed in the order of the input.
    array, shape (N, S)
        State of all cells after their last step.
    """
    h_n = h0.copy()
    states: list[Floats] = []
    parts = iter(prepared.parts)
    below, merge = [x], "concat"
    with np.errstate(all="ignore"):
        for layer, out in zip(prepared.network.layers, chain(outs, repeat(None)), strict=False):
            operand = prepared.precision.operand(merged(below, merge))
            below = [
                _pass(prepared, part, operand, packing, h_n[:, part.state], out)
                for part in islice(parts, len(layer.cells))
            ]
            states += below
            merge = layer.merge
    return states, h_n


def layer_outputs(network: Network, states: list[Floats], *, all_layers: bool) -> list[Floats]:
    """Make what the layers give of the states of all cells: the top one, or all, bottom first."""
    each = iter(states)
    cells = [[next(each) for _ in layer.cells] for layer in network.layers]
    chosen = slice(None) if all_layers else slice(-1, None)
    return [
        merged(of_layer, layer.merge)
        for layer, of_layer in zip(network.layers[chosen], cells[chosen], strict=True)
    ]


def _pass(
    prepared: Prepared, part: Part, x: Floats, packing: Packing, state: Floats, out: Floats | None
) -> Floats:
    """Run a cell over packed rows in its direction; `state` becomes the final one."""
    if out is None:
        out = np.empty((*x.shape[:-1], state.shape[1]), state.dtype)
    if part.direction == "forward":
        _unroll(prepared, part, x, packing, state, out)
        return out
    _unroll(prepared, part, packing.reversed(x), packing, state, out)
    return packing.reversed(out)


def _unroll(
    prepared: Prepared, part: Part, x: Floats, packing: Packing, state: Floats, out: Floats
) -> None:
    """Run a cell over packed rows, from `state` on, which becomes the final one."""
    for steps, h in zip(packing.stretches(x), packing.stretches(out), strict=True):
        before = np.ascontiguousarray(state[: steps.N])
        prepared.strategy(part.cell, steps, before, prepared.precision, h)
        state[: steps.N] = h.last()


def _check_input(network: Network, x: NDArray[Any]) -> None:
    if x.ndim not in (2, 3) or x.shape[-1] != network.input_size:
        raise ValueError(
            f"x: expected shape (T, {network.input_size}) or (N, T, {network.input_size}), "
            f"as W_xh has {network.input_size} rows, got {x.shape}"
        )
    check_numbers("x", x)


def _as_batch(x: NDArray[Any]) -> NDArray[Any]:
    """View one sequence, (T, I), as a batch of one; (N, T, I) as it is."""
    return x if x.ndim == 3 else x[None]


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
    batch = _as_batch(x)
    rows = packing.pack(batch, sequences)
    try:
        return in_dtype("x", rows, dtype)
    except ValueError:
        beyond = np.arange(batch.shape[1]) >= ends[:, None]  # (N, T)
        whole = np.where(beyond[..., None], 0, batch).reshape(x.shape)
        return in_dtype("x", whole, dtype)  # says where it is


def _output(layer: Layer, ends: Integers, T: int, dtype: np.dtype[np.floating]) -> Floats:
    """Make room for what a layer gives, shape (N, T, H), with zeros beyond the ends.

    Of sequences of one length all first states lie together, then all second
    ones: as they come.
    """
    N, H = len(ends), layer.output_size
    if (ends == T).all():
        return np.empty((T, N, H), dtype).swapaxes(0, 1)
    return np.zeros((N, T, H), dtype)


def _place(layer: Layer, h: Floats, packing: Packing, sequences: Sequences) -> Floats | None:
    """View, in a layer's output, where its states can go as they come; None where they cannot."""
    whole = packing.single and packing.rectangles[0].shape[0] == h.shape[1]
    if whole and isinstance(sequences, slice) and layer.direction == "forward":
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
    return np.ascontiguousarray(np.broadcast_to(in_dtype("h0", array, dtype), (batch, S)))
