"""What a run with --follow has delivered: the rows that a write has returned for."""

import io
import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Self, TextIO, cast

import numpy as np

from rnncli.cli.signals import SIGNALS
from rnncli.engine.rows import Rows
from rnncli.engine.stream import Block, Carried
from rnncli.model.arrays import Floats, Integers
from rnncli.writers.screen import Screen

# Milliseconds after which a write that waits for room looks whether a signal has come.
_LOOK = 200


class Stopped(BaseException):
    """A signal has come while rows, or room for them, were awaited."""


class Delivery:
    """Rows on their way from the input to the output, and the states of those that are out.

    While rows that are followed are computed and written a signal waits;
    while the next ones are awaited it ends the input, and the block of this
    context manager can go on. A second one ends the command.

    Parameters
    ----------
    carried : Carried
        Where the sequences stand; it is ahead by the rows under way.
    followed : bool
        Whether the state after the rows that are out is wanted however the
        run ends. Otherwise rows pass, and a signal ends the command at once.

    Attributes
    ----------
    begun : bool
        Whether a row that is followed is out.
    came : int or None
        The number of the signal that has come.
    """

    def __init__(self, carried: Carried, *, followed: bool) -> None:
        self._carried, self._followed = carried, followed
        self.begun = False
        self.came: int | None = None
        self._awaiting = False
        self._handlers: dict[int, Callable[..., object]] = {}
        # Number of sequences, and key, t and h of those that the rows under way belong to.
        self._before: tuple[int, Integers, Integers, Floats] | None = None

    def __enter__(self) -> Self:
        """Take the signals that have a handler in Python."""
        for number in SIGNALS if self._followed else ():
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._take)
        return self

    def __exit__(self, error: object, *_: object) -> None:
        """Restore them; then the signal that came ends the command, if nothing else has."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self.came and error is None:
            self._handlers[self.came](self.came, None)

    def _take(self, number: int, frame: object) -> None:
        if self.came:
            self._handlers[number](number, frame)
        self.came = number
        if self._awaiting:
            raise Stopped

    def rows(self, blocks: Iterator[Rows]) -> Iterator[Rows]:
        """Pass rows on, until there are no more or a signal comes.

        The next are asked for once the last are out.
        """
        if not self._followed:
            yield from blocks
            return
        carried, only = self._carried, np.zeros(1, np.intp)
        with suppress(Stopped):
            while rows := self._next(blocks):
                key, sequences = only if rows.key is None else rows.key, len(carried.t)
                known = key.compress(key < sequences)
                self._before = sequences, known, carried.t.take(known), carried.state.take(known, 0)
                yield rows
                self._before, self.begun = None, True

    def _next(self, blocks: Iterator[Rows]) -> Rows | None:
        self._awaiting = True
        try:
            return None if self.came else next(blocks, None)
        finally:
            self._awaiting = False

    def states(self) -> Block:
        """Return the states after the rows that are out."""
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
        number = _number_of(terminal or out) if self._followed else None
        if number is None:
            yield out
            return
        file = cast(TextIO, _Patient(number, self, terminal or out))
        yield cast(TextIO, Screen(file)) if terminal else file
        file.flush()


class _Patient:
    """A text stream to an open file, which sends nothing on but when there is room."""

    def __init__(self, number: int, delivery: Delivery, out: TextIO) -> None:
        self._number, self._delivery, self._out = number, delivery, out
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
                if self._delivery.came:
                    raise Stopped
            rest = rest[os.write(self._number, rest[: select.PIPE_BUF]) :]  # so much never waits


def _number_of(out: TextIO) -> int | None:
    """Return the number of an open file; None of a stream in memory, and where there is no poll."""
    try:
        return out.fileno() if hasattr(select, "poll") else None
    except io.UnsupportedOperation:
        return None
