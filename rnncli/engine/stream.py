"""Sequences in blocks of rows, and the states that are carried from block to block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rnncli.engine.naming import name_results
from rnncli.engine.rows import BLOCK_STEPS, Groups, Rows, group, join_all, take
from rnncli.engine.runner import LayerRows, Runner
from rnncli.model.arrays import Floats, Integers, in_dtype
from rnncli.model.errors import InputError, NotFiniteError
from rnncli.model.network import Network

Names = Sequence[tuple[str, ...]]


class Carried:
    """The step count and the state of all cells for each sequence of a stream.

    Parameters
    ----------
    initial : array, shape (S,)
        The state of every new sequence.
    sequences : int
        Number of sequences so far, K.

    Attributes
    ----------
    t : array of int, shape (K,)
        Steps that each has had.
    state : array, shape (K, S)
        The state of each.
    started : tuple of arrays
        `t` and `state` of the sequences that went on from an earlier run.
    last : array, shape (K, O)
        Output of the top layer at the last row of each that the input does
        not mask, if the model returns it (`Network.last`); NaN before that row.
    """

    def __init__(self, initial: ArrayLike, sequences: int = 1) -> None:
        self.initial: Floats = np.asarray(initial)
        self._t, self._state = np.empty(0, np.intp), self.initial[None][:0]
        self.t, self.state, self.last = self._t, self._state, np.empty((0, 0))
        self.started: tuple[Integers, Floats] = self.t, self.state
        self.grow(sequences)

    def resume(self, t: Integers, state: Floats) -> None:
        """Set the first sequences to where an earlier run left them."""
        self.grow(len(t))
        self.t[: len(t)], self.state[: len(t)] = t, state
        self.started = t, state

    def starts(self) -> tuple[Integers, Floats]:
        """Return the step count, (K,), and state, (K, S), from which each sequence started."""
        return self._add_new(*self.started, len(self.t) - len(self.started[0]))

    def convert(self, network: Network, dtype: np.dtype[np.floating]) -> None:
        """Check that the states are those of a network, and convert them to a float type."""
        shape, expected = self.initial.shape, (network.state_size,)
        if shape != expected:
            raise ValueError(f"carried: expected states of shape {expected}, got {shape}")
        self.initial = in_dtype("carried", self.initial, dtype)
        self._state = self._state.astype(dtype, copy=False)
        self.state = self._state[: len(self.t)]

    def grow(self, sequences: int) -> None:
        """Start new sequences, until there are so many."""
        if (more := sequences - len(self._t)) > 0:  # double the arrays, so that growth is rare
            self._t, self._state = self._add_new(self._t, self._state, max(more, len(self._t)))
        count = max(sequences, len(self.t))
        self.t, self.state = self._t[:count], self._state[:count]

    def at(self, key: Integers) -> tuple[Integers, Floats]:
        """Copy the step counts and states of sequences, by rising key; new ones come last."""
        known = key[key < len(self.t)]
        return self._add_new(self.t[known], self.state[known], len(key) - len(known))

    def commit(self, after: After) -> None:
        """Set sequences to where they stand after rows."""
        self.grow(int(after.key.max(initial=-1)) + 1)
        self.t[after.key], self.state[after.key] = after.t, after.state
        if after.output is not None:
            if missing := len(self.t) - len(self.last):
                none = np.full((missing, after.output.shape[1]), np.nan, after.output.dtype)
                self.last = np.concatenate([self.last.reshape(-1, none.shape[1]), none])
            self.last[after.answered] = after.output

    def _add_new(self, t: Integers, state: Floats, count: int) -> tuple[Integers, Floats]:
        """Return step counts and states, followed by those of new sequences."""
        if not count:
            return t, state
        initial = self.initial[None].repeat(count, axis=0)
        return np.concatenate([t, np.zeros(count, np.intp)]), np.concatenate([state, initial])


class After(NamedTuple):
    """Step counts and states of sequences after some rows."""

    key: Integers  # (P,)
    t: Integers  # (P,)
    state: Floats  # (P, S)
    answered: Integers  # the sequences that have a row that the input does not mask
    output: Floats | None  # of the top layer at the last of these rows, if the model returns it


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
    keys: Names = (),
) -> Iterator[Rows]:
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
        Arrays are rows of one sequence; `Rows` may also hold the key of the
        sequence of each row.
    h0 : array, shape (S,), optional
        State of all cells before the first step of every sequence; zeros by
        default.
    precision, unroll : str
        As for `rnncli.run`.
    all_layers : bool
        Whether `values` also has the results of the layers below the top
        recurrent one, and of those of the head below its top.
    all_states : bool
        Whether to give c too, as `rnncli.run` does.
    carried : Carried, optional
        States of the sequences, in place of `h0`; updated with every block.
    keys : sequence of tuples of str
        Names of the sequences, for messages.

    Returns
    -------
    iterator of Rows
        With `t`, `h` and, if there are any, `y` and `c`.

    Raises
    ------
    NotFiniteError
        A state overflowed. A block with the rows before it comes first;
        `carried` holds the states before that block.
    ValueError
        A shape does not fit the network, a value is not finite, an embedding
        has no row for it, or a name is unknown.
    """
    runner = Runner(network, precision, unroll, all_states=all_states)
    dtype = runner.precision.dtype
    if carried is None:
        carried = Carried(network.initial_state(h0, 1, dtype)[0])
    elif not isinstance(carried, Carried):
        raise TypeError(f"carried: expected an rnncli.Carried, got {type(carried).__name__}")
    elif h0 is not None:
        raise ValueError("h0 and carried: give one; carried holds the initial state")
    carried.convert(network, dtype)
    return _stream(runner, blocks, carried, keys, all_layers)


def _stream(
    runner: Runner, blocks: Iterable[Any], carried: Carried, keys: Names, all_layers: bool
) -> Iterator[Rows]:
    checked: Iterator[Rows] = (_check(runner, block) for block in blocks)
    if runner.network.needs_whole_sequences:
        checked = join_all(checked)
    for rows in checked:
        results, after, error = forward(runner, rows, carried, keys, all_layers=all_layers)
        if not error:
            carried.commit(after)
        for start in range(0, len(results.x), BLOCK_STEPS):
            yield results.cut(start, start + BLOCK_STEPS)
        if error:
            raise error


def _check(runner: Runner, block: Rows | ArrayLike) -> Rows:
    """Check a block of rows, and convert it to the type of the precision."""
    rows = block if isinstance(block, Rows) else Rows(np.asarray(block))
    x, I, dtype = np.asarray(rows.x), runner.network.input_size, runner.precision.dtype
    if x.ndim != 2 or x.shape[1] != I:
        raise ValueError(f"x: expected blocks of shape (n, {I}), got {x.shape}")
    key = None if rows.key is None else np.asarray(rows.key)
    masked = None if rows.masked is None else np.asarray(rows.masked)
    if key is not None:
        if key.shape != (len(x),) or key.dtype.kind not in "iu" or key.min(initial=0) < 0:
            raise ValueError(f"key: expected {len(x)} integers from 0, one a row")
        key = key.astype(np.intp)
    if masked is not None and (masked.shape != (len(x),) or masked.dtype != bool):
        raise ValueError(f"masked: expected {len(x)} booleans, one a row")
    runner.network.checked_input(x if masked is None else np.where(masked[:, None], 0, x), dtype)
    with np.errstate(over="ignore"):  # a masked row may hold anything
        x = np.ascontiguousarray(x, dtype)
    return rows._replace(x=x, key=key, masked=masked)


def forward(
    runner: Runner, rows: Rows, carried: Carried, keys: Names = (), *, all_layers: bool = False
) -> tuple[Rows, After, NotFiniteError | None]:
    """Run rows from the states of their sequences; the error is about the first overflow."""
    x = rows.x
    if runner.network.front:
        if rows.masked is not None and rows.masked.any():
            raise InputError("", "a row is masked, the network needs all", "`missing` zero reads 0")
        x, chosen = runner.run_front(x, group(rows.key, len(x)), keys)
        rows = rows.take(chosen)
    layers, done, after, error = run_layers(runner, rows._replace(x=x), carried, keys)
    c = [each.c for each in layers] if runner.all_states else None
    outputs = [each.output for each in layers]
    values = name_results(runner.network, outputs, c, all_layers=all_layers)
    n = len(done.x)
    return done._replace(x=rows.x[:n], values=take(values, slice(n))), after, error


def run_layers(
    runner: Runner, rows: Rows, carried: Carried, keys: Names = ()
) -> tuple[list[LayerRows], Rows, After, NotFiniteError | None]:
    """Run rows through all layers; the rows before the first overflow come with their `t`."""
    network, groups = runner.network, group(rows.key, len(rows.x))
    present = groups.present
    t, states = carried.at(present)
    groups = groups._replace(present=np.arange(len(present)))
    layers = runner.run_rows(rows.x, groups, states, rows.masked)
    done = rows._replace(masked=None, t=groups.number(t))  # which adds to `t`
    counted = groups if rows.masked is None else groups.only(~rows.masked)
    output = layers[-1].output[counted.last] if network.by_row and len(rows.x) else None
    after = After(present, t, states, present[counted.present], output)
    stop, error = _find_overflow(network, layers, done, groups, states, keys)
    return layers, done.cut(0, stop), after, error


def final_y(runner: Runner, carried: Carried, keys: Names) -> Floats:
    """Compute the final output of each sequence, (K, O), at the end of a stream."""
    y = runner.run_head(carried.state)
    if len(carried.last):
        with_rows = np.flatnonzero(np.isfinite(carried.last).all(axis=1))
        y[with_rows] = carried.last[with_rows]
    if (n := _count_finite(y)) < len(y):
        layers = len(runner.network.layers)
        where = runner.network.name_layer(layers) if layers > 1 else ""
        raise _make_error(n if keys else None, carried.t[n], y[n], keys, where, "final y")
    return y


def _count_finite(values: Floats) -> int:
    """Count the rows before the first that is not finite."""
    finite = np.isfinite(values)
    return len(values) if finite.all() else int(np.argmin(finite.all(axis=1)))


def _find_overflow(
    network: Network,
    layers: Sequence[LayerRows],
    rows: Rows,
    groups: Groups,
    states: Floats,
    keys: Names,
) -> tuple[int, NotFiniteError | None]:
    """Count the rows before the first value that is not finite; return the error about it."""
    n, checked = len(rows.x), list[tuple[str, str, str, Floats]]()
    for number, (layer, each) in enumerate(zip(network.layers, layers, strict=True), start=1):
        where = network.name_layer(number) if len(layers) > 1 else ""
        for way, cell, state in zip(layer.directions, layer.cells, each.states, strict=True):
            at = f"{where} {way}".strip() if len(layer.cells) > 1 else where
            checked += [(at, way, *pair) for pair in zip(cell.state_names, state, strict=False)]
        if len(layer.cells) != 1:
            checked.append((where, "", "h" if layer.cells else "y", each.output))
    for name, columns in list(network.state_names.items())[1:]:
        values = states[:, columns]
        if not np.isfinite(values).all():  # h may stay finite where c overflows
            last = np.zeros((n, values.shape[1]))
            last[groups.last] = values
            checked.append(("", "", name, last))
    finite = [_count_finite(array) for *_, array in checked]
    if (stop := min(finite)) == n:
        return n, None
    where, way, name, array = checked[finite.index(stop)]
    row, key = stop, None if rows.key is None else int(rows.key[stop])
    if way == "backward":  # the overflow began at a later row
        same = True if rows.key is None else rows.key == key
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1) & same)[-1])
    return stop, _make_error(key, rows.t[row], array[row], keys, where, name)


def _make_error(
    key: int | None, step: int, values: Floats, keys: Names, where: str, name: str
) -> NotFiniteError:
    unit, where = int(np.argmin(np.isfinite(values))), where and f"{where}: "
    if key is not None:
        where = f"{' '.join(keys[key]) if key < len(keys) else f'sequence {key}'}: {where}"
    return NotFiniteError(where, int(step), unit, float(values[unit]), name)
