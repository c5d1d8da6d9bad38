"""Sequences that come in blocks of rows, and the states that are carried between them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rnncli.engine.interleaved import Groups, advance_rows, grouped
from rnncli.engine.passes import Pass, Prepared, final_output, prepare
from rnncli.engine.rows import BLOCK_STEPS, Rows, cut, joined
from rnncli.model.arrays import Floats, Integers, Truths, in_dtype
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
        What the network's head gives, or what each of its layers gives, the
        bottom one first; None if it has none.
    c : array, shape (n, C), optional
        What the state of the top recurrent layer holds beside h, or those of
        it and all below; see `rnncli.States`.
    """

    t: Integers
    x: Floats
    h: Floats
    key: Integers | None = None
    cells: Sequence[Sequence[str]] | None = None
    y: Floats | None = None
    c: Floats | None = None

    def cut(self, start: int, stop: int | None) -> "Block":
        """Return some of the rows."""
        return Block(*(cut(part, slice(start, stop)) for part in self))

    def take(self, rows: Truths) -> "Block":
        """Return the rows of which it is true."""
        return Block(*(cut(part, rows) for part in self))


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
    last : array, shape (K, O)
        What the top layer gave at the last row of each, but for those that the
        input masks, if the model gives that (`Network.last`); NaN before the
        first one.
    """

    def __init__(self, initial: ArrayLike, sequences: int = 1) -> None:
        self.initial: Floats = np.asarray(initial)
        # Some rows may be for sequences that are yet to come.
        self._t: Integers = np.empty(0, np.intp)
        self._state = np.empty((0, len(self.initial)), self.initial.dtype)
        self._count = 0
        self.last: Floats = np.empty((0, 0))
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

    def keep(self, groups: Groups, output: Floats) -> None:
        """Keep what the top layer gives, (n, O), at the last of these rows of each sequence."""
        missing = len(self.t) - len(self.last)
        if missing:
            none = np.full((missing, output.shape[1]), np.nan, output.dtype)
            self.last = np.concatenate([self.last.reshape(-1, output.shape[1]), none])
        self.last[groups.present] = output[groups.last]

    def block(self) -> Block:
        """Where they stand, as rows; the inputs are left out."""
        key = np.arange(len(self.t))
        x = np.empty((len(key), 0), self.state.dtype)
        return Block(self.t.copy(), x, self.state.copy(), key)


def stream(
    network: Network,
    blocks: Iterable[Rows | ArrayLike],
    h0: ArrayLike | None = None,
    *,
    precision: str = "float32",
    unroll: str = "auto",
    all_layers: bool = False,
    all_states: bool = False,
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
        Whether `Block.h` and `Block.y` hold what the layers below the top
        recurrent one, and below the top of the head, give too.
    all_states : bool
        Whether to give c too, as `rnncli.run` does.
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
        A shape does not fit the network, a value is not finite, an embedding
        has no row for it, or a name is unknown.
    """
    prepared = prepare(network, precision, unroll, all_states=all_states)
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


def final_y(prepared: Prepared, carried: Carried, keys: Sequence[tuple[str, ...]]) -> Floats:
    """Return what the model gives of each sequence of a stream as a whole, (K, O).

    It is what the head makes of the states that they ended with, or the last
    row of each, see `rnncli.States`.
    """
    y = final_output(prepared, carried.state)
    if len(carried.last):
        with_rows = np.flatnonzero(np.isfinite(carried.last).all(axis=1))
        y[with_rows] = carried.last[with_rows]
    finite = _finite_rows(y)
    if finite < len(y):
        block = carried.block() if keys else carried.block()._replace(key=None)
        place = _place(prepared.network, len(prepared.network.layers) - 1)
        raise _overflow(block, finite, y[finite], keys, place, "final y")
    return y


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
    head = len(prepared.network.layers) - prepared.network.head
    first = 0 if all_layers else head - 1
    done = 0
    for rows in blocks:
        carried.grow(1 if rows.key is None else int(rows.key.max(initial=-1)) + 1)
        groups = grouped(rows)
        passes = advance_rows(prepared.after(done), rows, groups, carried.state)
        done += len(rows.x)
        if prepared.network.last == "step" and len(rows.x):
            read = groups if rows.masked is None else groups.only(~rows.masked)
            carried.keep(read, passes[-1].output)
        above = passes[head if all_layers else -1 :] if prepared.network.head else []
        block = Block(
            groups.numbered(carried.t),
            rows.x,
            _beside([each.output for each in passes[first:head]]),
            rows.key,
            rows.cells,
            _beside([each.output for each in above]) if above else None,
            _beside([each.c for each in passes[first:head]]) if prepared.all_states else None,
        )
        finite = min(_finite_rows(array) for each in passes for array in each.arrays)
        last, of_state = _overflow_of_state(prepared.network, block, groups, carried, keys)
        stop = min(finite, last)
        for start in range(0, stop, BLOCK_STEPS):
            yield block.cut(start, min(stop, start + BLOCK_STEPS))
        if finite == stop < len(rows.x):
            raise _not_finite(prepared.network, passes, block, finite, keys)
        if of_state:
            raise of_state


def _beside(arrays: Sequence[Floats]) -> Floats:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)


def _finite_rows(h: Floats) -> int:
    """Count the rows before the first that is not finite."""
    finite = np.isfinite(h)
    return len(h) if finite.all() else int(np.argmin(finite.all(axis=1)))


def _not_finite(
    network: Network,
    passes: Sequence[Pass],
    block: Block,
    row: int,
    keys: Sequence[tuple[str, ...]],
) -> NotFiniteError:
    """Find where a value that is not finite began: a backward cell comes from later rows."""
    for number, (layer, each) in enumerate(zip(network.layers, passes, strict=True)):
        for direction, cell, state in zip(layer.directions, layer.cells, each.cells, strict=True):
            for name, array in zip(cell.state_names, state, strict=False):
                if np.isfinite(array[row]).all():
                    continue
                if direction == "backward":
                    same = True if block.key is None else block.key == block.key[row]
                    row = int(np.flatnonzero(~np.isfinite(array).all(axis=1) & same)[-1])
                place = _place(network, number, direction)
                return _overflow(block, row, array[row], keys, place, name)
        if not np.isfinite(each.output[row]).all():  # of finite rows, or of two states merged
            name = "h" if each.cells else "y"
            return _overflow(block, row, each.output[row], keys, _place(network, number), name)
    raise AssertionError("every value of the row is finite")


def _overflow_of_state(
    network: Network,
    block: Block,
    groups: Groups,
    carried: Carried,
    keys: Sequence[tuple[str, ...]],
) -> tuple[int, NotFiniteError | None]:
    """Find what the states hold beside h that overflows, which may be where h does not."""
    row, error = len(block.t), None
    for name, place in list(network.state_names.items())[1:]:
        states = carried.state[groups.present, place]
        wrong = ~np.isfinite(states).all(axis=1)
        last = np.where(wrong, groups.last, row)
        if last.min(initial=row) < row:
            row = int(last.min())
            error = _overflow(block, row, states[np.argmin(last)], keys, "", name)
    return row, error


def _place(network: Network, number: int, direction: str = "") -> str:
    """Name a layer, and a direction, where there are several."""
    both = direction if len(network.layers[number].cells) > 1 else ""
    layer = f"layer {number + 1}" if len(network.layers) > 1 else ""
    return " ".join(filter(None, [layer, both]))


def _overflow(
    block: Block, row: int, values: Floats, keys: Sequence[tuple[str, ...]], place: str, name: str
) -> NotFiniteError:
    unit = int(np.argmin(np.isfinite(values)))
    number = None if block.key is None else int(block.key[row])
    sequence = ""
    if number is not None:
        sequence = f"{' '.join(keys[number]) if number < len(keys) else f'sequence {number}'}: "
    place = f"{sequence}{place}: " if place else sequence
    return NotFiniteError(place, int(block.t[row]), unit, float(values[unit]), name)
