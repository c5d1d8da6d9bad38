"""State files: the state of each key between runs, their locks and checks."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TextIO

from rnncli.engine.stream import Carried
from rnncli.model.errors import InputError, listed, verbatim, word
from rnncli.model.fingerprint import fingerprint
from rnncli.opening import Console, Opened, show_options
from rnncli.run_options import AUTO, Options
from rnncli.states.counted import CountedInput, column_names
from rnncli.states.format import (
    SavedStates,
    cells_of,
    check_is_file,
    fit_states,
    load_state,
    save_state,
)
from rnncli.storage import check_writable, local_copy, replacing, version, writing


@dataclass
class StateFiles:
    """The states from which a run starts, and the file for those that it leaves, if any."""

    path: str
    before: SavedStates | None = None
    keys: Sequence[tuple[str, ...]] = ()  # of the sequences in the file
    write: Callable[[], AbstractContextManager[TextIO]] | None = None
    network: str = ""  # fingerprint of the network
    counted: CountedInput | None = None  # the input of a task of a batch

    def fill_scales(self, options: Options, console: Console) -> Options:
        """Replace ``auto`` by the numbers in the file, if it has any."""
        auto = [name for name in ("center", "scale") if getattr(options, name) == AUTO]
        numbers = {name: value for name in auto if (value := getattr(self.before, name, ()))}
        if numbers:
            console.note(word(f"{verbatim(self.path)}: goes on with {show_options(numbers)}"))
        return options._replace(**numbers)

    def resume(self, opened: Opened, console: Console) -> Carried:
        """Return the states of the sequences: at their start, or where an earlier run left them."""
        source, before, keyed = opened.source, self.before, opened.source.key_columns
        carried = Carried(opened.start, sequences=len(source.keys) if keyed else 1)
        precision = opened.model["precision"]
        if before or self.write:
            self.network = fingerprint(opened.network, precision)
        if before:
            identity, dtype = (self.network, precision), opened.start.dtype
            scales = {name: opened.model.get(name, ()) for name in ("center", "scale")}
            options = *identity, keyed, dtype, scales
            states = fit_states(self.path, before, opened.network, *options)
            carried.resume(before.t, states)
            names = zip(before.columns, column_names(source), strict=False)
            if changed := [(one, now) for one, now in names if one != now]:
                left, read = zip(*changed, strict=True)
                shown = f"{listed(map(repr, left))}, this one reads {listed(map(repr, read))}"
                what = f"left by a run over {shown}"
                if sorted(left) == sorted(read):
                    raise InputError(self.path, what, "read the columns in the same order")
                console.note(f"{self.path}: {what}")
        return carried

    def save(self, opened: Opened, carried: Carried) -> None:
        """Write the states to their file, if there is one."""
        if not self.write:
            return
        source, slices = opened.source, opened.network.state_names
        state = SavedStates(
            self.network,
            source.key_columns,
            list(source.keys)[: len(carried.t)] if source.key_columns else [()],
            carried.t,
            {name: carried.state[:, columns] for name, columns in slices.items()},
            cells=cells_of(opened.network),
            columns=column_names(source),
            center=tuple(opened.model.get("center", ())),
            scale=tuple(opened.model.get("scale", ())),
            precision=opened.model["precision"],
            **(self.counted.describe() if self.counted else {}),
        )
        with self.write() as file:
            save_state(file.buffer, state)


@contextmanager
def open_states(options: Options, console: Console, task: str = "") -> Iterator[StateFiles]:
    """Open the state files of a run, and lock one that is both read and written."""
    read, written = options.state or options.state_in, options.state or options.state_out
    states = StateFiles(str(read or written))
    with ExitStack() as stack:
        if written:
            check_is_file(written)
            check_writable(written)
            states.write = partial(writing, written)
            if read and os.path.realpath(read) == os.path.realpath(written):
                waiting = f"{written}: another run has it; waiting until that has ended"
                locked = replacing(written, partial(console.note, waiting))
                states.write = stack.enter_context(locked)
        if read and version(read):
            with local_copy(read) as copy:
                states.before = load_state(copy)
                states.keys = states.before.keys
        elif options.state_in:
            what = "cannot be read: No such file or directory"
            raise InputError(options.state_in, what, "the first run has no `state_in`")
        if task and written:
            states.counted = CountedInput(task, states.path, states.before)
        yield states
