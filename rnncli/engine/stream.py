"""Sequences that come in blocks of rows, and the states that are carried between them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rnncli.engine.interleaved import advance_rows, grouped
from rnncli.engine.passes import Pass, Prepared, prepare
from rnncli.engine.rows import BLOCK_STEPS, Rows, cut, joined
from rnncli.model.arrays import Floats, Integers, in_dtype
from rnncli.model.errors import NotFiniteError
from rnncli.model.network import Network


class Block(NamedTuple):
    """Consecutive rows of a stream, and what the network gives at them.

    Parameters
    ----------
    t : array of int, shape (n,)
        Number of each row's step in its sequence, counted from 1.
    x : array, shape (n, I)
        Their inputs; NaN where a masked row has none.
    h : array, shape (n, H)
        What the top recurrent layer gives, or what it and all below give, the
        bottom one first.
    key : array of int, shape (n,), optional
        Which sequence each belongs to; None where there is one.
    cells : list of lists of str, optional
        The rows of input as they stand there.
    y : array, shape (n, O), optional
        What the network's head gives; None if it has none.
    """

    t: Integers
    x: Floats
    h: Floats
    key: Integers | None = None
    cells: Sequence[Sequence[str]] | None = None
    y: Floats | None = None

    def cut(self, start: int, stop: int | None) -> "Block":
        """Return some of the rows."""
        return Block(*(cut(part, slice(start, stop)) for part in self))


class Carried:
    """Where each sequence of a stream stands: its step count and the state of all cells.

    Parameters
    ----------
    initial : array, shape (S,)
        The state of every new sequence.
    sequences : int
        How many there are so far.

    Attributes
    ----------
    resumed : Block
        Where the first sequences stood when they went on from an earlier run.
    """

    def __init__(self, initial: ArrayLike, sequences: int = 1) -> None:
        self.initial: Floats = np.asarray(initial)
        # Some rows may be for sequences that are yet to come.
        self._t: Integers = np.empty(0, np.intp)
        self._state = np.empty((0, len(self.initial)), self.initial.dtype)
        self._count = 0
        self.grow(sequences)
        self.resumed = self.block()

    @property
    def t(self) -> Integers:
        """How many steps each has had, (K,)."""
        return self._t[: self._count]

    @property
    def state(self) -> Floats:
        """Where each stands, (K, S)."""
        return self._state[: self._count]

    def resume(self, t: Integers, state: Floats) -> None:
        """Set the first sequences to where an earlier run left them."""
        self.grow(len(t))
        self.t[: len(t)], self.state[: len(t)] = t, state
        self.resumed = self.block()

    def starts(self) -> tuple[Integers, Floats]:
        """Step count, (K,), and state, (K, S), from which each sequence started."""
        t, state = np.zeros_like(self.t), np.tile(self.initial, (len(self.t), 1))
        t[: len(self.resumed.t)], state[: len(self.resumed.t)] = self.resumed.t, self.resumed.h
        return t, state

    def convert(self, network: Network, dtype: np.dtype[np.floating]) -> None:
        """Check that the states are those of a network, and convert them to a float type."""
        expected = (network.state_size,)
        if self.initial.shape != expected:
            raise ValueError(
                f"carried: expected states of shape {expected}, got {self.initial.shape}"
            )
        self.initial = in_dtype("carried", self.initial, dtype)
        self._state = self._state.astype(dtype, copy=False)

    def grow(self, sequences: int) -> None:
        """Start new sequences, until there are that many."""
        if sequences <= self._count:
            return
        if sequences > len(self._t):
            capacity = max(sequences, 2 * len(self._t))  # twice: few are moved often
            t = np.empty(capacity, np.intp)
            state = np.empty((capacity, len(self.initial)), self.initial.dtype)
            t[: self._count], state[: self._count] = self.t, self.state
            self._t, self._state = t, state
        self._t[self._count : sequences] = 0
        self._state[self._count : sequences] = self.initial
        self._count = sequences

    def block(self) -> Block:
        """Where they stand, as rows; the inputs are left out."""
        key = np.arange(len(self.t))
        return Block(
            self.t.copy(), np.empty((len(key), 0), self.state.dtype), self.state.copy(), key
        )


def stream(
    network: Network,
    blocks: Iterable[Rows | ArrayLike],
    h0: ArrayLike | None = None,
    *,
    precision: str = "float32",
    unroll: str = "auto",
    all_layers: bool = False,
    carried: Carried | None = None,
    keys: Sequence[tuple[str, ...]] = (),
) -> Iterator[Block]:
    """Run a network over sequences that come in blocks of rows, carrying their states.

    Each row is a step of its own sequence, contiguous or interleaved with
    others. Within a block the sequences run as one batch. A network that
    needs whole sequences yields its first block when the input has ended.

    >>> import rnncli
    >>> network = rnncli.seeded(input_size=1, hidden_size=4)
    >>> for block in rnncli.stream(network, [[[1], [2]], [[3]]]):
    ...     print(block.t, block.h.shape)
    [1 2] (2, 4)
    [3] (1, 4)

    Parameters
    ----------
    network : Network
    blocks : iterable of arrays, shape (n, I), or of Rows
        Arrays are rows of one sequence; `Rows` also hold of which sequence each
        row is.
    h0 : array, shape (S,), optional
        State of all cells before the first step of every sequence; zeros by
        default.
    precision, unroll : str
        As for `rnncli.run`.
    all_layers : bool
        Whether `Block.h` holds what the layers below the top recurrent one
        give too.
    carried : Carried, optional
        Where the sequences stand, in place of `h0`; kept up to date with the
        blocks.
    keys : sequence of tuples of str
        Names of the sequences, for messages.

    Returns
    -------
    iterator of Block

    Raises
    ------
    NotFiniteError
        A state overflowed: after a block with the rows before it. `carried`
        then holds the states after the whole block, and is of no more use.
    ValueError
        A shape does not fit the network, a value is not finite, or a name is
        unknown.
    """
    prepared = prepare(network, precision, unroll)
    dtype = prepared.precision.dtype
    if carried is None:
        start = np.zeros(network.state_size) if h0 is None else np.asarray(h0)
        if start.shape != (network.state_size,):
            raise ValueError(f"h0: expected shape ({network.state_size},), got {start.shape}")
        carried = Carried(in_dtype("h0", start, dtype))
    elif h0 is not None:
        raise ValueError("h0 and carried: give one; carried holds the initial state")
    carried.convert(network, dtype)
    rows: Iterator[Rows] = (_checked(prepared, each) for each in blocks)
    if network.needs_whole_sequences:
        rows = joined(rows)
    return _blocks(prepared, rows, carried, keys, all_layers=all_layers)


def _checked(prepared: Prepared, block: Rows | ArrayLike) -> Rows:
    """Check a block of rows, and convert it to the type of the precision."""
    rows = block if isinstance(block, Rows) else Rows(np.asarray(block))
    x, I = np.asarray(rows.x), prepared.network.input_size
    if x.ndim != 2 or x.shape[1] != I:
        raise ValueError(f"x: expected blocks of shape (n, {I}), got {x.shape}")
    key = None if rows.key is None else np.asarray(rows.key)
    masked = None if rows.masked is None else np.asarray(rows.masked)
    for name, part, kinds in (("key", key, "iu"), ("masked", masked, "b")):
        if part is not None and (part.shape != (len(x),) or part.dtype.kind not in kinds):
            raise ValueError(
                f"{name}: expected {len(x)} values, one a row, got shape {part.shape}, {part.dtype}"
            )
    if key is not None and key.min(initial=0) < 0:
        raise ValueError(f"key: expected numbers from 0, got {key.min()}")
    dtype = prepared.precision.dtype
    if masked is None:
        x = prepared.network.checked_input(x, dtype)
        return Rows(np.ascontiguousarray(x), key, None, rows.cells)
    prepared.network.checked_input(x[~masked], dtype)
    with np.errstate(over="ignore"):  # of a masked row, whose features are not looked at
        return Rows(np.ascontiguousarray(x, dtype), key, masked, rows.cells)


def _blocks(
    prepared: Prepared,
    blocks: Iterable[Rows],
    carried: Carried,
    keys: Sequence[tuple[str, ...]],
    *,
    all_layers: bool,
) -> Iterator[Block]:
    head = prepared.network.head
    for rows in blocks:
        carried.grow(1 if rows.key is None else int(rows.key.max(initial=-1)) + 1)
        passes = advance_rows(prepared, rows, carried.state)
        outputs = [each.output for each in passes]
        y = outputs[-1] if head else None
        outputs = outputs[0 if all_layers else -1 - head : len(outputs) - head]
        h = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=1)
        block = Block(_count(rows.key, len(h), carried), rows.x, h, rows.key, rows.cells, y)
        finite = min(_finite_rows(array) for each in passes for array in _arrays(each))
        for start in range(0, finite, BLOCK_STEPS):
            yield block.cut(start, min(finite, start + BLOCK_STEPS))
        if finite < len(h):
            raise _not_finite(prepared.network, passes, block, finite, keys)


def _arrays(each: Pass) -> Sequence[Floats]:
    """Return what a layer gives, and the outputs of its cells where they are others."""
    return [*each.cells, each.output] if len(each.cells) != 1 else each.cells


def _finite_rows(h: Floats) -> int:
    """Count the rows before the first that is not finite."""
    finite = np.isfinite(h)
    return len(h) if finite.all() else int(np.argmin(finite.all(axis=1)))


def _count(key: Integers | None, n: int, carried: Carried) -> Integers:
    """Return the number of each row's step in its sequence, and count the rows."""
    if key is None:
        t = carried.t[0] + np.arange(1, n + 1)
        carried.t[0] += n
        return np.asarray(t)
    order, present, starts, lengths = grouped(key)
    rank = np.empty_like(order)
    rank[order] = np.arange(n) - np.repeat(starts, lengths)
    t = carried.t[key] + 1 + rank
    carried.t[present] += lengths
    return np.asarray(t)


def _not_finite(
    network: Network,
    passes: Sequence[Pass],
    block: Block,
    row: int,
    keys: Sequence[tuple[str, ...]],
) -> NotFiniteError:
    """Find where a value that is not finite began: a backward cell comes from later rows."""
    for number, (layer, each) in enumerate(zip(network.layers, passes, strict=True), start=1):
        place = f"layer {number}" if len(network.layers) > 1 else ""
        for direction, h in zip(layer.directions, each.cells, strict=True):
            if np.isfinite(h[row]).all():
                continue
            if direction == "backward":
                same = True if block.key is None else block.key == block.key[row]
                row = int(np.flatnonzero(~np.isfinite(h).all(axis=1) & same)[-1])
            both = direction if len(layer.cells) > 1 else ""
            return _overflow(block, h, row, keys, " ".join(filter(None, [place, both])))
        if not np.isfinite(each.output[row]).all():  # of finite rows, or of two states merged
            return _overflow(block, each.output, row, keys, place)
    raise AssertionError("every value is finite")


def _overflow(
    block: Block, h: Floats, row: int, keys: Sequence[tuple[str, ...]], place: str
) -> NotFiniteError:
    unit = int(np.argmin(np.isfinite(h[row])))
    number = None if block.key is None else int(block.key[row])
    sequence = ""
    if number is not None:
        sequence = f"{' '.join(keys[number]) if number < len(keys) else f'sequence {number}'}: "
    place = f"{sequence}{place}: " if place else sequence
    return NotFiniteError(place, int(block.t[row]), unit, float(h[row, unit]))
