"""The forward pass: a network over whole sequences."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnncli.network import Floats, Network, choice
from rnncli.precision import PRECISIONS, in_dtype
from rnncli.unroll import UNROLLS, fastest

Integers: TypeAlias = NDArray[np.intp]


class States(NamedTuple):
    """Hidden states of a forward pass.

    Parameters
    ----------
    h : array, shape (T, H) or (N, T, H)
        Hidden state after every step.
    h_n : array, shape (H,) or (N, H)
        Hidden state after the last step; `h0` where T is 0.
    """

    h: Floats
    h_n: Floats


class Block(NamedTuple):
    """Consecutive rows of a stream.

    Parameters
    ----------
    t : array of int, shape (n,)
        Number of each row's step in its sequence, counted from 1.
    x : array, shape (n, I)
        Their inputs.
    h : array, shape (n, H)
        The hidden states after them.
    key : array of int, shape (n,), optional
        Which sequence each belongs to; None where there is one.
    """

    t: Integers
    x: Floats
    h: Floats
    key: Integers | None = None

    def cut(self, start: int, stop: int | None) -> "Block":
        """Take some of the rows."""
        rows = slice(start, stop)
        return Block(
            self.t[rows], self.x[rows], self.h[rows], None if self.key is None else self.key[rows]
        )


class Carried:
    """Where each sequence of a stream stands: its step count and hidden state.

    Parameters
    ----------
    h0 : array, shape (H,)
        Where every sequence starts.
    sequences : int
        How many there are so far.
    """

    def __init__(self, h0: Floats, sequences: int = 1) -> None:
        self.h0 = h0
        self.t: Integers = np.zeros(sequences, np.intp)
        self.h = np.tile(h0, (sequences, 1))  # (K, H)

    def grow(self, sequences: int) -> None:
        """Start new sequences, so that there are as many."""
        new = Carried(self.h0, max(0, sequences - len(self.t)))
        if len(new.t):
            self.t = np.concatenate([self.t, new.t])
            self.h = np.concatenate([self.h, new.h])

    def block(self) -> Block:
        """Where they stand, as rows; the inputs are left out."""
        key = np.arange(len(self.t))
        return Block(self.t, np.empty((len(key), 0), self.h.dtype), self.h, key)


class NotFiniteError(ValueError):
    """A hidden state overflowed, or is not a number.

    Parameters
    ----------
    step, unit : int
        Where, the step counted from 1, the unit from 0.
    value : float
        What it is.
    key : tuple of str
        Which sequence it is, where there are several.
    """

    def __init__(self, step: int, unit: int, value: float, key: tuple[str, ...]) -> None:
        sequence = f"{' '.join(key)}: " if key else ""
        super().__init__(f"{sequence}step {step}, unit {unit}: overflow ({value})")


def run(
    network: Network,
    x: ArrayLike,
    h0: ArrayLike | None = None,
    *,
    precision: str = "float32",
    unroll: str = "auto",
) -> States:
    """Run a network over one sequence, or over a batch of equal lengths.

    ``h_t = tanh(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``, t = 1 ... T

    Parameters
    ----------
    network : Network
        What to run.
    x : array, shape (T, I) or (N, T, I)
        Input at every step, converted to the float type of `precision`.
    h0 : array, shape (H,) or (N, H), optional
        Hidden state before the first step; zeros by default. (H,) with a
        batch starts every sequence from the same state.
    precision : {"float32", "float64", "tf32", "bfloat16"}
        Float type and rounding, see `rnncli.precision`.
    unroll : {"auto", "stepwise", "fused", "projected"}
        How the steps are computed, see `rnncli.unroll`. ``auto`` takes the
        fastest measured for the sizes.

    Returns
    -------
    States
        In the float type of `precision`. A state that overflows is returned
        as it is.

    Raises
    ------
    ValueError
        A shape does not fit the network, a value of `x` or `h0` is not
        finite in the float type, or a name is unknown.
    """
    how = choice("precision", precision, PRECISIONS)
    strategy = choice("unroll", unroll, UNROLLS | {"auto": fastest})
    batched = np.ndim(x) == 3
    x = _sequences(network, x, how.dtype)  # (N, T, I)
    h0 = _initial_state(network, h0, batch=len(x), dtype=how.dtype)  # (N, H)
    steps = how.operand(x.swapaxes(0, 1))  # (T, N, I)
    with np.errstate(all="ignore"):
        h = strategy(how.prepare(network.weights), steps, h0, how)  # (T, N, H)
    h_n = h[-1] if len(h) else h0
    return States(h.swapaxes(0, 1), h_n) if batched else States(h[:, 0], h_n[0])


def stream(
    network: Network,
    blocks: Iterable[tuple[Floats, Integers | None]],
    carried: Carried,
    keys: Sequence[tuple[str, ...]] = (),
    *,
    precision: str = "float32",
    unroll: str = "auto",
) -> Iterator[Block]:
    """Run a network over sequences that come in blocks of rows, carrying their states.

    Each row is a step of its own sequence, contiguous or interleaved with
    others. Within a block the sequences run as one batch.

    Parameters
    ----------
    network : Network
    blocks : iterable of pairs
        Rows of input, shape (n, I), and which sequence each is a step of,
        shape (n,), counted from 0 as they come; None for the first of all.
    carried : Carried
        Where the sequences stand; kept up to date with the blocks.
    keys : sequence of tuples of str
        Names of the sequences, for messages.
    precision, unroll : str
        As for `run`.

    Raises
    ------
    NotFiniteError
        A state overflowed: after a block with the rows before it.
    """
    forward = partial(run, network, precision=precision, unroll=unroll)
    for x, key in blocks:
        block = _one(forward, x, carried) if key is None else _batch(forward, x, key, carried)
        finite = np.isfinite(block.h)
        sound = len(x) if finite.all() else int(np.argmin(finite.all(axis=1)))
        if sound:
            yield block.cut(0, sound)
        if sound < len(x):
            raise _not_finite(block, sound, keys)


def _one(forward: Callable[..., States], x: Floats, carried: Carried) -> Block:
    """Advance the only sequence."""
    states = forward(x, carried.h[0])
    t = carried.t[0] + 1 + np.arange(len(x))
    carried.h[0], carried.t[0] = states.h_n, carried.t[0] + len(x)
    return Block(t, x, states.h)


def _batch(forward: Callable[..., States], x: Floats, key: Integers, carried: Carried) -> Block:
    """Advance every sequence that has rows in a block, together.

    The sequences are sorted by their number of rows, the longest first. Up
    to the end of the shortest all run, then all but those that have ended,
    and so on: nothing is padded.
    """
    carried.grow(int(key.max(initial=-1)) + 1)
    order = np.argsort(key, kind="stable")
    present, starts, lengths = np.unique(key[order], return_index=True, return_counts=True)
    rank = np.empty_like(order)  # a row's place among those of its sequence
    rank[order] = np.arange(len(key)) - np.repeat(starts, lengths)
    longest_first = np.argsort(-lengths, kind="stable")
    present, starts, lengths = (a[longest_first] for a in (present, starts, lengths))
    state = carried.h[present]  # (K, H)
    h = np.empty((len(x), state.shape[1]), state.dtype)
    begin = 0
    for end in np.unique(lengths):
        running = int(np.count_nonzero(lengths >= end))
        rows = order[starts[:running, None] + np.arange(begin, end)]  # (N, T)
        states = forward(x[rows], state[:running])
        h[rows], state[:running] = states.h, states.h_n
        begin = end
    t = carried.t[key] + 1 + rank
    carried.h[present] = state
    carried.t[present] += lengths
    return Block(t, x, h, key)


def _not_finite(block: Block, row: int, keys: Sequence[tuple[str, ...]]) -> NotFiniteError:
    unit = int(np.argmin(np.isfinite(block.h[row])))
    key = () if block.key is None else keys[block.key[row]]
    return NotFiniteError(int(block.t[row]), unit, float(block.h[row, unit]), key)


def _sequences(network: Network, x: ArrayLike, dtype: np.dtype[np.floating]) -> Floats:
    array = np.asarray(x)
    if array.ndim not in (2, 3) or array.shape[-1] != network.input_size:
        raise ValueError(
            f"x: expected shape (T, {network.input_size}) or (N, T, {network.input_size}), "
            f"as W_xh has {network.input_size} rows, got {array.shape}"
        )
    x = in_dtype("x", array, dtype)
    return x if x.ndim == 3 else x[None]


def _initial_state(
    network: Network, h0: ArrayLike | None, *, batch: int, dtype: np.dtype[np.floating]
) -> Floats:
    H = network.hidden_size
    if h0 is None:
        return np.zeros((batch, H), dtype)
    array = np.asarray(h0)
    if array.shape not in ((H,), (batch, H)):
        raise ValueError(
            f"h0: expected shape ({H},) or ({batch}, {H}), as the network has {H} units, "
            f"got {array.shape}"
        )
    return np.ascontiguousarray(np.broadcast_to(in_dtype("h0", array, dtype), (batch, H)))
