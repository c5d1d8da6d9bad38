"""The state files of a run: what it starts from, and what it leaves."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from time import monotonic
from typing import NamedTuple, Self, TextIO

import click
import numpy as np

from rnncli.cli.inputs import Opened
from rnncli.cli.options import InputOptions, StateOptions
from rnncli.cli.outputs import note
from rnncli.cli.signals import SIGNALS
from rnncli.cli.values import AUTO
from rnncli.engine.rows import Rows
from rnncli.engine.state import (
    State,
    cells_of,
    check_is_file,
    fitting_states,
    load_state,
    save_state,
)
from rnncli.engine.stream import Carried
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import InputError
from rnncli.model.network import Network
from rnncli.readers import STDIN, Input
from rnncli.readers.columns import listed
from rnncli.storage import check_writable, exists, is_url, local_copy, replacing, writing
from rnncli.storage.replacement import NotOnDiskError, sync

# Between two states of a run with --follow.
_SECONDS = 1.0


class CountedError(Exception):
    """A task would count its input a second time in states that it has left before."""


class StateFiles(NamedTuple):
    """The state files of a run, while it has them."""

    read: str | None
    written: str | None
    before: State | None  # what was in the one that is read
    # Opens the one that is written; an OSError if it is also read and another program changed it.
    write: Callable[[], AbstractContextManager[TextIO]] | None
    task: str = ""  # of a batch, which leaves the one that is written

    @property
    def keys(self) -> Sequence[tuple[str, ...]]:
        """Keys in the state file."""
        return self.before.keys if self.before else ()


def check_state_options(options: StateOptions) -> None:
    """Check that the options do not contradict each other."""
    named = {"--state-in": options.state_in, "--state-out": options.state_out}
    for option, path in {"--state": options.state, **named}.items():
        if path == STDIN:
            raise click.UsageError(f"{option} -: a state is in a file, not on a stream")
    for option, path in named.items():
        if path and options.state:
            raise click.UsageError(f"--state {options.state} and {option} {path}: give one")


@contextmanager
def state_files(
    options: StateOptions, task: str = "", *, again: bool = False
) -> Iterator[StateFiles]:
    """Read what a run starts from; keep other runs from a file that is read and then written."""
    read = options.state or options.state_in
    written = options.state or options.state_out
    write: Callable[[], AbstractContextManager[TextIO]] | None = None
    both = read and written and os.path.realpath(read) == os.path.realpath(written)
    before = None
    if written:
        write = partial(writing, written)
        check_is_file(written)
        check_writable(written)
    with ExitStack() as stack:
        if written and both:
            waiting = f"{written}: another run has it; waiting until that has ended"
            try:
                write = stack.enter_context(replacing(written, lambda: note(waiting)))
            except OSError as error:
                reason = f"{error.strerror}: give --state-in and --state-out, which need no lock"
                raise OSError(error.errno, reason, written) from error
        if read and exists(read):
            with local_copy(read) as copy:
                before = load_state(copy)
        elif options.state_in:
            what = "cannot be read: No such file or directory"
            raise InputError(options.state_in, what, "the first run has no `state_in`")
        if both and before and task and not again:
            _check_not_counted(written or "", before.task, task)
        yield StateFiles(read, written, before, write, task)


def _check_not_counted(path: str, before: str, task: str) -> None:
    if before == task:
        raise CountedError
    if before.partition("-")[0] == task.partition("-")[0]:
        what = "has counted this input with other options, or in another version of rnn"
        raise InputError(path, what, "remove it to begin anew; `force` counts the input again")


def scaled_as_before(reading: InputOptions, files: StateFiles) -> InputOptions:
    """Replace a center or scale of ``auto`` by the numbers in the state file, if it has any."""
    kept = {name: getattr(files.before, name, ()) for name in ("center", "scale")}
    names = [name for name in kept if kept[name] and getattr(reading, name) == AUTO]
    return reading._replace(**{name: kept[name] for name in names})  # type: ignore[arg-type]


def resume(
    files: StateFiles, start: Floats, network: Network, whose: str, source: Input
) -> Carried:
    """Return where the sequences stand: at `start`, (S,), or where an earlier run has left them.

    A note says if that read other columns.
    """
    keys = source.key_columns
    carried = Carried(start, sequences=len(source.keys) if keys else 1)
    if files.read and files.before:
        state = fitting_states(files.read, files.before, network, whose, keys, start.dtype)
        carried.resume(files.before.t, state)
        names = zip(files.before.columns, _names(source), strict=False)
        if others := [(before, now) for before, now in names if before != now]:
            left, read = map(listed, zip(*others, strict=True))
            note(f"{files.read}: left by a run over {left}, this one reads {read}")
    return carried


def _names(source: Input) -> tuple[str, ...]:
    """Return the names of the columns that are read; none where one has a number alone."""
    names = tuple(column for column in source.chosen if isinstance(column, str))
    return names if len(names) == len(source.chosen) else ()


class Leaving:
    """Leaves the states of a run in a file, once its output is written.

    With ``--follow`` they are left every second too, but for a file at a URL, and
    also where an error or a signal ends the run: the states after the rows that are
    out. A signal that comes while a row is computed or written waits until it is
    out; a second one does not.
    """

    def __init__(
        self,
        files: StateFiles,
        opened: Opened,
        carried: Carried,
        whose: str,
        *,
        follow: bool,
    ) -> None:
        self._files, self._opened, self._carried, self._whose = files, opened, carried, whose
        self._follows = follow and bool(files.written)
        self._begun = False  # whether a row is out
        # Number of sequences, and key, t and h of those of the row under way.
        self._before: tuple[int, Integers, Integers, Floats] | None = None
        self._handlers: dict[int, Callable[..., object]] = {}
        self._awaiting, self._came = True, 0

    def rows(self, blocks: Iterator[Rows], out: Callable[[], TextIO]) -> Iterator[Rows]:
        """Pass rows on; with ``--follow`` the next is asked for once the last is out."""
        if not self._follows:
            yield from blocks
            return
        saved, often = monotonic(), not is_url(self._files.written or "")
        while (rows := self._next(blocks)) is not None:
            key = np.zeros(1, np.intp) if rows.key is None else rows.key
            sequences = len(self._carried.t)
            known = key[key < sequences]
            self._before = sequences, known, self._carried.t[known], self._carried.state[known]
            yield rows
            self._before, self._begun = None, True
            if often and monotonic() - saved > _SECONDS:
                sync(out())
                self._leave()
                saved = monotonic()

    def _next(self, blocks: Iterator[Rows]) -> Rows | None:
        self._awaiting = True
        if self._came:
            self._handlers[self._came](self._came, None)
        rows = next(blocks, None)
        self._awaiting = rows is None
        return rows

    def _take(self, number: int, frame: object) -> None:
        if self._awaiting or self._came:
            self._handlers[number](number, frame)
        self._came = number

    def __enter__(self) -> Self:
        for number in SIGNALS if self._follows else ():
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._take)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Leave the states, if the rows before them are out."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if error is None:
            self._leave()
        elif isinstance(error, NotOnDiskError):
            self._note("the output may be lost")
        elif self._begun:
            try:
                self._leave()
            except OSError as second:  # the message at the end is of what came first
                note(f"{second.filename}: {second.strerror}")
        elif isinstance(error, BrokenPipeError):
            self._note("the reader of the output closed it before the end")

    def _note(self, why: str) -> None:
        if self._files.written:
            note(f"{self._files.written}: no state was left: {why}")

    def _leave(self) -> None:
        opened, source, network = self._opened, self._opened.source, self._opened.network
        if not self._files.write:
            return
        states, grouped = self._carried.block(), bool(source.key_columns)
        if self._before:  # a row under way is no step yet, though a new key has its number
            sequences, key, states.t[key], states.h[key] = self._before
            states = states.cut(0, sequences)
        keys = list(source.keys)[: len(states.t)] if grouped else [()]
        arrays = {name: states.h[:, place] for name, place in network.state_names.items()}
        state = State(
            self._whose,
            source.key_columns,
            keys,
            states.t,
            arrays,
            cells=cells_of(network),
            columns=_names(source),
            task=self._files.task,
            center=tuple(opened.model.get("center", ())),
            scale=tuple(opened.model.get("scale", ())),
        )
        with self._files.write() as file:
            save_state(file.buffer, state)
