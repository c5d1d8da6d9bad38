"""What a run with --follow has delivered: the rows that a write has returned for."""

import io
import os
import select
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO, cast

import numpy as np

from rnncli.cli.errors import Stopped, Stopping
from rnncli.engine.rows import Rows
from rnncli.engine.stream import Block, Carried
from rnncli.model.arrays import Floats, Integers
from rnncli.writers.screen import Screen

# Milliseconds after which a write that waits for room looks whether a signal has come.
_LOOK = 200


class Delivery:
    """Rows on their way from the input to the output, and the states of those that are out.

    Parameters
    ----------
    carried : Carried
        Where the sequences stand; it is ahead by the rows under way.
    stopping : Stopping or None
        What a signal does; None without --follow.
    """

    def __init__(self, carried: Carried, stopping: Stopping | None) -> None:
        self._carried, self._stopping = carried, stopping
        # Whether a row is out, and so the state of an earlier run is passed.
        self.begun = False
        # Number of sequences, and key, t and h of those that the rows under way belong to.
        self._before: tuple[int, Integers, Integers, Floats] | None = None

    def rows(self, blocks: Iterator[Rows]) -> Iterator[Rows]:
        """Let rows pass; the next are asked for once the last are out."""
        if self._stopping is None:
            yield from blocks
            return
        carried, only = self._carried, np.zeros(1, np.intp)
        for rows in self._stopping.until(blocks):
            key, sequences = only if rows.key is None else rows.key, len(carried.t)
            known = key.compress(key < sequences)
            self._before = sequences, known, carried.t.take(known), carried.state.take(known, 0)
            yield rows
            self._before, self.begun = None, True

    def states(self) -> Block:
        """Give the states after the rows that are out."""
        states = self._carried.block()
        if self._before is None:
            return states
        sequences, key, states.t[key], states.h[key] = self._before
        return states.cut(0, sequences)

    @contextmanager
    def patiently(self, out: TextIO) -> Iterator[TextIO]:
        """Write to a pipe only when it has room, so that a stalled reader holds up no signal.

        Raises
        ------
        Stopped
            A signal has come, and there is no room for a row.
        """
        terminal = getattr(out, "terminal", None)
        number = None if self._stopping is None else _number_of(terminal or out)
        if self._stopping is None or number is None:
            yield out
            return
        file = cast(TextIO, _Patient(number, self._stopping, terminal or out))
        yield cast(TextIO, Screen(file)) if terminal else file
        file.flush()


class _Patient:
    """A text stream to an open file, which sends nothing on but when there is room."""

    def __init__(self, number: int, stopping: Stopping, out: TextIO) -> None:
        self._number, self._stopping, self._out = number, stopping, out
        self._text: list[str] = []
        self._room = select.poll()
        self._room.register(number, select.POLLOUT)

    def write(self, text: str) -> int:
        self._text.append(text)
        return len(text)

    def writelines(self, pieces: Iterable[str]) -> None:
        self._text += pieces

    def flush(self) -> None:
        text = "".join(self._text)
        rest = memoryview(text.encode(self._out.encoding, self._out.errors or "strict"))
        self._text.clear()
        while len(rest):
            while not self._room.poll(_LOOK):
                if self._stopping.came:
                    raise Stopped
            rest = rest[os.write(self._number, rest[: select.PIPE_BUF]) :]  # so much never waits


def _number_of(out: TextIO) -> int | None:
    """Give the number of an open file; None of a stream in memory, and where there is no poll."""
    try:
        return out.fileno() if hasattr(select, "poll") else None
    except io.UnsupportedOperation:
        return None
