"""The forward pass of a network over arrays."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnncli.engine.batch import Packing, Sequences
from rnncli.engine.interleaved import advance_rows, grouped
from rnncli.engine.passes import Pass, Prepared, drive, final_output, prepare
from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats, Integers, check_numbers, in_dtype
from rnncli.model.layers import Layer
from rnncli.model.network import Network, taken_by

# What layers give, (N, T, O), by its name in `Pass` and their place in the network.
Given: TypeAlias = dict[tuple[str, int], Floats]


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
    y_n : array, shape (O,) or (N, O), optional
        What the head makes of the top layer's final state: of a forward layer
        the last `y`. Where the model gives one row (`Network.last`), that row,
        also without a head; of a sequence without steps that of `h0`.
    c : array, shape (T, C) or (N, T, C), optional
        What the state of the top recurrent layer holds beside h at every
        step, where asked for: the H values of c of an LSTM, those of both
        directions side by side, whatever the merge. C is 0 where it holds
        nothing else.
    layers_c : tuple of arrays like `c`
        That of every layer, where asked for.
    """

    h: Floats
    h_n: Floats
    layers: tuple[Floats, ...] = ()
    y: Floats | None = None
    y_n: Floats | None = None
    c: Floats | None = None
    layers_c: tuple[Floats, ...] = ()


def run(
    network: Network,
    x: ArrayLike,
    h0: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    precision: str = "float32",
    unroll: str = "auto",
    all_layers: bool = False,
    all_states: bool = False,
) -> States:
    """Run a network over one sequence, or over a batch of them.

    Every cell of every layer takes its steps from t = 1 to T, or backward from
    T to 1, a vanilla one::

        h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)

    where x_t is the input or what the layer below gives at t; for the others
    see `LSTM` and `GRU`. A layer of two directions gives what its merge makes
    of their states at t, a layer without state a function of x_t. Where a
    layer masks a row, the cells above keep their state and give its h once
    more, which is that of `h0` before the first row that counts; in a layer of
    two directions they give 0.

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
    unroll : {"auto", "stepwise", "fused", "projected", "parallel", "compiled"}
        How the steps are computed, see `rnncli.engine.unroll`. ``compiled``
        needs the extra ``fast``. ``auto`` takes the fastest measured for the
        sizes.
    all_layers : bool
        Whether to give what every layer gives, and not `h` and `y` alone.
    all_states : bool
        Whether to give c too, see `States`. Steps then go one after the
        other: ``parallel`` and ``compiled`` run as ``projected``.

    Returns
    -------
    States
        In the float type of `precision`. A state that overflows is returned
        as it is.

    Raises
    ------
    ValueError
        A shape does not fit the network, a value of `x` or `h0` is not
        finite in the float type, an embedding has no row for one of `x`, a
        length is not from 0 to T, a name is unknown, or a strategy cannot
        run here.
    """
    prepared = prepare(network, precision, unroll, all_states=all_states)
    dtype = prepared.precision.dtype
    array = np.asarray(x)
    _check_input(network, array)
    N, T, _ = _batch(array).shape
    ends = np.full(N, T) if lengths is None else _lengths(lengths, N, T)
    h_n = _initial_state(network, h0, batch=N, dtype=dtype)  # (N, S)
    last = len(network.layers) - 1
    top = last - network.head
    asked = range(last + 1) if all_layers else sorted({top, last})
    with_c = () if not all_states else asked if all_layers else [top]
    sizes = {("output", n): network.layers[n].output_size for n in asked}
    sizes |= {("c", n): c_size(network.layers[n]) for n in with_c}
    given = {key: _empty(size, ends, T, dtype) for key, size in sizes.items()}

    fill = _fill_rows if network.masking else _fill_batch
    fill(prepared, array, ends, h_n, given)
    y_n = _one_output(prepared, h_n, ends, given["output", last]) if network.one_output else None
    if array.ndim == 2:
        h_n, y_n = h_n[0], None if y_n is None else y_n[0]
        given = {key: whole[0] for key, whole in given.items()}
    return States(
        given["output", top],
        h_n,
        tuple(given["output", n] for n in asked) if all_layers else (),
        given["output", last] if network.head else None,
        y_n,
        given.get(("c", top)),
        tuple(given["c", n] for n in with_c) if all_layers else (),
    )


def _one_output(prepared: Prepared, states: Floats, ends: Integers, output: Floats) -> Floats:
    """Return what the model gives of each sequence as a whole: of its final state, or a row."""
    y_n = final_output(prepared, states)
    if prepared.network.last == "step":
        some = np.flatnonzero(ends)
        y_n[some] = output[some, ends[some] - 1]
    return y_n


def c_size(layer: Layer) -> int:
    """Count the values that the states of a layer's cells hold beside h, C."""
    return sum(sum(cell.state_sizes[1:]) for cell in layer.cells)


def _fill_batch(
    prepared: Prepared, x: NDArray[Any], ends: Integers, states: Floats, given: Given
) -> None:
    """Run sequences side by side, from `states` to those after their last steps."""
    network, batch = prepared.network, _batch(x)

    def take(packing: Packing, sequences: Sequences) -> Floats:
        return _checked(prepared, packing.pack(batch, sequences), x, ends)

    def places(packing: Packing, sequences: Sequences) -> list[Floats | None]:
        return [
            _place(layer, given["output", n], packing, sequences)
            if ("output", n) in given
            else None
            for n, layer in enumerate(network.layers)
        ]

    def give(packing: Packing, sequences: Sequences, passes: Sequence[Pass]) -> None:
        for (name, n), whole in given.items():
            rows = getattr(passes[n], name)
            if whole.size and not np.may_share_memory(rows, whole):  # else it is there
                packing.unpack(rows, whole, sequences)

    drive(prepared, ends, states, take, give, places)


def _fill_rows(
    prepared: Prepared, x: NDArray[Any], ends: Integers, states: Floats, given: Given
) -> None:
    """Do the same where a layer masks rows."""
    batch = _batch(x)
    steps = np.arange(batch.shape[1]) < ends[:, None]  # (N, T)
    rows = Rows(_checked(prepared, batch[steps], x, ends), np.nonzero(steps)[0])
    passes = advance_rows(prepared, rows, grouped(rows), states)
    for (name, n), whole in given.items():
        whole[steps] = getattr(passes[n], name)


def _batch(x: NDArray[Any]) -> NDArray[Any]:
    return x if x.ndim == 3 else x[None]


def _check_input(network: Network, x: NDArray[Any]) -> None:
    if x.ndim not in (2, 3) or x.shape[-1] != network.input_size:
        I, (name, unit) = network.input_size, taken_by(network.layers[0])
        raise ValueError(
            f"x: expected shape (T, {I}) or (N, T, {I}), as {name} has {I} {unit}, got {x.shape}"
        )
    check_numbers("x", x)


def _lengths(lengths: ArrayLike, N: int, T: int) -> Integers:
    array = np.asarray(lengths)
    if array.shape != (N,) or array.dtype.kind not in "iu":
        raise ValueError(f"lengths: expected {N} integers, got shape {array.shape}, {array.dtype}")
    if N and not (array.min() >= 0 and array.max() <= T):
        raise ValueError(f"lengths: expected 0 to {T}, got {array.min()} to {array.max()}")
    return array.astype(np.intp)


def _checked(prepared: Prepared, rows: NDArray[Any], x: NDArray[Any], ends: Integers) -> Floats:
    """Convert rows of a batch, and look at nothing beyond the end of any sequence."""
    checked, dtype = prepared.network.checked_input, prepared.precision.dtype
    try:
        return checked(rows, dtype)
    except ValueError:
        batch = _batch(x)
        beyond = np.arange(batch.shape[1]) >= ends[:, None]  # (N, T)
        return checked(np.where(beyond[..., None], 0, batch).reshape(x.shape), dtype)


def _empty(H: int, ends: Integers, T: int, dtype: np.dtype[np.floating]) -> Floats:
    """Allocate an array of rows, shape (N, T, H), with zeros beyond the ends.

    Of sequences of one length all first states lie together, then all second
    ones: as they come.
    """
    N = len(ends)
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
