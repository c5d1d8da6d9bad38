"""The state files of a run: what it starts from, and what it leaves."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import click

from rnncli.cli.delivery import Delivery
from rnncli.cli.errors import Stopped
from rnncli.cli.network import note
from rnncli.cli.options import StateOptions
from rnncli.engine.lock import locked
from rnncli.engine.state import (
    State,
    check_is_file,
    fitting_states,
    load_state,
    save_state,
)
from rnncli.engine.stream import Carried
from rnncli.model.network import Network
from rnncli.readers import STDIN, Input
from rnncli.writers.files import NotOnDiskError, check_writable, writing


class StateFiles:
    """The state files of a run, while it has them.

    Parameters
    ----------
    read, written : str or None
        Their names, where they are given.
    before : State or None
        What was in the one that is read.
    check_unchanged : callable, optional
        Raises an OSError if another program has changed a file that is read and written.
    """

    def __init__(
        self,
        read: str | None,
        written: str | None,
        before: State | None,
        check_unchanged: Callable[[], None] | None,
    ) -> None:
        self._read, self._written, self._before = read, written, before
        self._check_unchanged = check_unchanged

    def keys(self) -> Sequence[tuple[str, ...]]:
        """Give the keys of the sequences that an earlier run has left."""
        return self._before.keys if self._before else ()

    def resume(
        self, carried: Carried, network: Network, whose: str, key_columns: Sequence[str]
    ) -> None:
        """Let sequences go on from where an earlier run has left them.

        Raises
        ------
        ValueError
            That was a run of another network, precision or key, or the file is damaged.
        """
        if self._read and self._before:
            dtype = carried.initial.dtype
            state = fitting_states(
                self._read, self._before, whose, key_columns, network.state_names, dtype
            )
            carried.resume(self._before.t, state)

    @contextmanager
    def leaving(
        self, source: Input, delivery: Delivery, network: Network, whose: str
    ) -> Iterator[None]:
        """Leave the states of the rows that the block delivers, also if an error ends it.

        Raises
        ------
        OSError
            They cannot be written, or another program has changed the file.
        """
        try:
            yield
        except Stopped:
            pass
        except NotOnDiskError:
            if self._written:
                note(f"{self._written}: no state was left: the output may be lost")
            raise
        except Exception as error:
            if delivery.begun:
                try:
                    self._leave(source, delivery, network, whose)
                except OSError as fault:  # the message at the end is of what came first
                    note(f"{fault.filename}: {fault.strerror}")
            elif self._written and isinstance(error, BrokenPipeError):
                note(
                    f"{self._written}: no state was left: the reader of the output closed it "
                    "before the end"
                )
            raise
        self._leave(source, delivery, network, whose)

    def _leave(self, source: Input, delivery: Delivery, network: Network, whose: str) -> None:
        if self._check_unchanged:
            self._check_unchanged()
        if self._written:
            states = delivery.states()
            # Of a row that is not out, a new key has its number already.
            keys = list(source.keys)[: len(states.t)] if source.key_columns else [()]
            arrays = {name: states.h[:, place] for name, place in network.state_names.items()}
            state = State(whose, source.key_columns, keys, states.t, arrays)
            with writing(self._written) as file:
                save_state(file.buffer, state)


def check_state_options(options: StateOptions) -> None:
    """Refuse options that contradict each other.

    Raises
    ------
    click.UsageError
        ``--state`` and one of its halves, or a state on a stream.
    """
    for name, path in options._asdict().items():
        if path == STDIN:
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} -: a state is in a file, not on a stream")
    for name, given in (("--state-in", options.state_in), ("--state-out", options.state_out)):
        if options.state and given:
            raise click.UsageError(f"--state {options.state} and {name} {given}: give one")


@contextmanager
def state_files(options: StateOptions) -> Iterator[StateFiles]:
    """Read what a run starts from; keep other runs from a file that is read and then written.

    Raises
    ------
    ValueError
        What is read is not there, or no state file.
    OSError
        What is to be written cannot be, or not be locked.
    """
    read, written = options.read, options.written
    check_unchanged = None
    if written:
        check_is_file(written)
        check_writable(written)
    with ExitStack() as stack:
        if read and written and os.path.realpath(read) == os.path.realpath(written):
            waiting = f"{written}: another run has it; waiting until that has ended"
            check_unchanged = stack.enter_context(locked(written, lambda: note(waiting)))
        before = load_state(read) if read else None
        if options.state_in and before is None:
            raise ValueError(f"{options.state_in}: cannot be read: No such file or directory")
        yield StateFiles(read, written, before, check_unchanged)
