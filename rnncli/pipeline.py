"""From an input through a network to a result: what ``rnn run`` does, and a Python program may."""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from math import inf
from numbers import Integral
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TextIO

import numpy as np
from numpy.typing import ArrayLike

from rnncli import __version__
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.rows import BLOCK_STEPS, Rows, join
from rnncli.engine.runner import Runner
from rnncli.engine.state import (
    State,
    cells_of,
    check_is_file,
    fingerprint,
    fitting_states,
    load_state,
    save_state,
)
from rnncli.engine.stream import Carried, final_y, forward
from rnncli.engine.unroll import STRATEGIES
from rnncli.model.arrays import Floats, Integers, in_dtype
from rnncli.model.errors import (
    InputError,
    OptionError,
    check_installed,
    choice,
    did_you_mean,
    sentence,
    shown,
    verbatim,
)
from rnncli.model.layers import Normalization
from rnncli.model.network import Network, taken_by
from rnncli.readers import (
    FIRST_ROW,
    MISSING,
    STDIN,
    Input,
    Keys,
    Layout,
    check_width,
    read_file,
    read_files,
    read_inline,
    read_state,
)
from rnncli.readers.columns import listed
from rnncli.readers.foreign import UTF_8, display_name
from rnncli.storage import check_writable, exists, is_url, local_copy, replacing, writing
from rnncli.storage.replacement import NotOnDiskError, sync
from rnncli.writers import EXTENSIONS, FIGURES, TABLES, WRITERS
from rnncli.writers.log import continue_log
from rnncli.writers.model import describe
from rnncli.writers.result import (
    Result,
    SequenceStates,
    Style,
    check_names,
    columns_of,
    states_by_layer,
)
from rnncli.writers.selection import Begun, Last, Selected, Selection, Writer
from rnncli.writers.sink import (
    check_destination,
    destination,
    is_packed,
    on_screen,
    redirected,
)

if TYPE_CHECKING:
    from rnncli.writers.frames import Frame

# A network, where its weights are from, and the biases of each cell in a weight file.
Sourced = tuple[Network, dict[str, Any], Sequence[tuple[Floats, ...]]]

# Numbers that are to be found.
AUTO: tuple[float, ...] = ()
# Formats that show steps over time, those that are no text, those that have a line a step, those
# that a file ending in .gz may have, and those in which nobody sees what was run.
PICTURES = ("heatmap", "plot", *FIGURES)
_BYTES = ("npy", "png", "pdf", *TABLES)
_LINES = ("csv", "tsv", "jsonl")
_PACKED = ("table", "json", *_LINES)
_UNTITLED = (*_LINES, "npy", *TABLES)
# Compressed files that are read and not written.
_NOT_WRITTEN = (".bz2", ".xz", ".zst")
# Options that name a file of states.
_STATES = ("state", "state_in", "state_out")
# Bytes: more than any array of a block of rows takes.
_KEPT = 1 << 24
# How much of a standard deviation values may be apart, rounded to their float type, without a note.
_COARSE = 0.1
# Between two states of a run that follows its input.
_SECONDS = 1.0


class Options(NamedTuple):
    """The options of ``rnn run`` but for those of the network."""

    files: Sequence[str] = ()
    seq: str | None = None
    columns: Sequence[str] = ()
    group_by: Sequence[str] = ()
    delimiter: str | None = None
    decimal: str = "."
    encoding: str = UTF_8
    first_row: str = "auto"
    null_values: Sequence[str] = ()
    missing: str = "error"
    center: Sequence[float] | None = None
    scale: Sequence[float] | None = None
    passthrough: bool = False
    follow: bool = False
    h0: str | ArrayLike | None = None
    c0: str | None = None
    state: str | None = None
    state_in: str | None = None
    state_out: str | None = None
    precision: str = "float32"
    unroll: str = "auto"
    output: str | None = None
    format: str | None = None
    json: bool = False
    last: bool = False
    no_last: bool = False
    all_layers: bool = False
    states: bool = False
    head: int | None = None
    tail: int | None = None
    digits: int | None = None
    header: bool = True


class Watcher(Protocol):
    """Is called before and after each block of rows."""

    def begin(self, rows: Rows) -> None:
        """Begin rows that were read."""

    def end(self) -> None:
        """End rows that are written."""


class Console:
    """Takes the notes and the progress of a run; in a library, notes are warnings."""

    # Signals that wait until the row under way is out, where the run leaves a state.
    signals: Sequence[int] = ()

    def note(self, text: str) -> None:
        """Pass on a note."""
        warnings.warn(text, stacklevel=2)

    def worded(self, text: str) -> str:
        """Show text in which parameters stand between backticks."""
        return text

    def working(self, text: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Show a text while a block of code runs."""
        return nullcontext()

    def progress(
        self, _source: Input, _runner: Runner | None, _output: str | None
    ) -> AbstractContextManager[Sequence[Watcher]]:
        """Show how far a run has come, unless its output is on the screen."""
        return nullcontext(())


class StateFiles(NamedTuple):
    """The state files of a run, while it has them."""

    read: str | None
    written: str | None
    before: State | None  # what was in the one that is read
    # Opens the one that is written; an OSError if it is also read and another program changed it.
    write: Callable[[], AbstractContextManager[TextIO]] | None
    keys: Sequence[tuple[str, ...]]  # in the one that is read
    task: str  # of a batch, which leaves the one that is written


class Opened(NamedTuple):
    """An input and a network that fit each other."""

    source: Input
    network: Network
    start: Floats  # its initial state, (S,)
    model: dict[str, Any]  # what a JSON document says of it
    biases: Sequence[tuple[Floats, ...]]  # of each cell in a weight file, as it has them


class Finished(NamedTuple):
    """A run that has ended."""

    opened: Opened
    steps: int
    latest: Rows | None  # the last of the rows


class CountedError(Exception):
    """A task would count its input a second time in states that it has left before."""


class Following:
    """Keeps output and states together row by row, where an input is followed.

    A signal that comes while a row is computed or written waits until it is out; a second one does
    not. A row that is not out when the run ends is no step.
    """

    def __init__(
        self,
        out: TextIO,
        carried: Carried,
        leave: Callable[[], None] | None,
        signals: Sequence[int],
    ) -> None:
        self._out, self._carried, self._leave, self._signals = out, carried, leave, signals
        self._saved, self._came, self._busy = monotonic(), 0, False
        self._handlers: dict[int, Callable[..., object]] = {}
        self._before: tuple[int, Integers, Integers, Floats] | None = None

    def __enter__(self) -> Self:
        for number in self._signals:
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._take)
        return self

    def _take(self, number: int, frame: object) -> None:
        if self._came or not self._busy:
            self._handlers[number](number, frame)
        self._came = number

    def begin(self, rows: Rows) -> None:
        """Keep where the sequence of a row stands."""
        self._busy, self._before = True, self._carried.at(rows.key)

    def end(self) -> None:
        """Pass on what is written of a row; once a second leave the states."""
        self._out.flush()
        self._before = None
        if self._leave and monotonic() - self._saved > _SECONDS:
            sync(self._out)
            self._leave()
            self._saved = monotonic()
        self._busy = False
        if self._came:
            self._handlers[self._came](self._came, None)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._before:
            self._carried.set_back(self._before)


def deliver(
    source: Input,
    runner: Runner,
    carried: Carried,
    writer: Writer,
    all_layers: bool,
    worded: Callable[[str], str],
    watchers: Sequence[Watcher],
) -> Rows | None:
    """Run an input through a network to a writer; return the last rows.

    What comes before an error is written, then the error is raised.
    """
    error, latest = None, None
    blocks = _join_all(source.blocks) if runner.network.needs_whole_sequences else source.blocks
    while error is None:
        rows, error = _read(blocks)
        if rows is None:
            break
        for watcher in watchers:
            watcher.begin(rows)
        rows = rows._replace(x=np.ascontiguousarray(rows.x, runner.precision.dtype))
        done, error = forward(runner, rows, carried, source.keys, all_layers=all_layers)
        for start in range(0, len(done.x), BLOCK_STEPS):
            latest = done.cut(start, start + BLOCK_STEPS)
            writer.rows(latest)
        for watcher in () if error else watchers:
            watcher.end()
    if error:
        writer.end(_name_parameters(error, worded))
        raise error
    writer.end(None)
    return latest


def _join_all(blocks: Iterable[Rows]) -> Iterator[Rows]:
    every = list(blocks)
    if every:
        yield join(every)


def _read(blocks: Iterator[Rows]) -> tuple[Rows | None, ValueError | None]:
    """Read the next rows, or the error that ends them."""
    try:
        return next(blocks, None), None
    except ValueError as error:
        return None, error


def _name_parameters(error: ValueError, worded: Callable[[str], str]) -> ValueError:
    """Return an error as results show it."""
    if isinstance(error, InputError):
        return ValueError(sentence(error.place, error.what, worded(error.hint)))
    return error


def score(
    source: Any,
    network: Network | str | os.PathLike[str],
    sink: str | os.PathLike[str] | None = None,
    *,
    columns: str | Sequence[str | int] = (),
    group_by: str | Sequence[str | int] = (),
    passthrough: bool = False,
    missing: str = "error",
    center: str | float | Sequence[float] | None = None,
    scale: str | float | Sequence[float] | None = None,
    delimiter: str | None = None,
    decimal: str = ".",
    encoding: str = UTF_8,
    first_row: str = "auto",
    null_values: Sequence[str] = (),
    h0: ArrayLike | None = None,
    state: str | os.PathLike[str] | None = None,
    state_in: str | os.PathLike[str] | None = None,
    state_out: str | os.PathLike[str] | None = None,
    precision: str = "float32",
    unroll: str = "auto",
    last: bool = False,
    no_last: bool = False,
    all_layers: bool = False,
    states: bool = False,
    head: int | None = None,
    tail: int | None = None,
    format: str | None = None,  # noqa: A002
    digits: int | None = None,
    header: bool = True,
) -> Any:
    """Run a network over files or a table, and write or return the result, as ``rnn run`` does.

    Parameters
    ----------
    source : str, path, sequence of them, pandas.DataFrame or pyarrow.Table
        Files that ``rnn run`` reads, or a table in memory: a row is a step, a
        column a feature.
    network : Network, str or path
        A path is read by `load`.
    sink : str or path, optional
        Where the result of files goes; the extension decides the format. A table
        has none: its result is returned.
    columns : str, int or sequence of them
        Features, by name or number from 1; all others than `group_by` by default.
    group_by : str, int or sequence of them
        Columns of keys: each combination of their values is a sequence of its own.
    passthrough : bool
        Whether the result has the columns of the source, and not the keys and ``t``.
    missing : {"error", "hold", "zero"}
        What a missing value is: an error, a row at which the state stays, or 0.
    center, scale : float or sequence of float, optional
        What is taken from each column, and what it is divided by; ``"auto"`` is the
        mean and the standard deviation.
    delimiter, decimal, encoding, first_row, null_values
        How a file of text is laid out, as for ``rnn run``.
    h0 : array, shape (S,), optional
        State of all cells before the first step; zeros by default.
    state, state_in, state_out : str or path, optional
        Files of the states that sequences start from and end with.
    precision, unroll : str
        As for `run`.
    last, no_last, all_layers, states : bool
        What is written, as for ``rnn run``.
    head, tail : int, optional
        How many of the first and last steps of each sequence are written.
    format : str, optional
        In place of the extension of `sink`.
    digits : int, optional
        Digits after the point in text.
    header : bool
        Whether CSV has a first line with names.

    Returns
    -------
    int or table
        The number of steps that were run; of a table another of its kind, which
        has the rows and the index of the source.

    Raises
    ------
    InputError
        The source cannot be read, or a value is no number.
    NotFiniteError
        A state overflowed.
    ValueError
        Parameters contradict each other, or a value is none of a parameter's.
    OSError
        A file cannot be written.

    Warns
    -----
    UserWarning
        What ``rnn run`` would note.

    Examples
    --------
    >>> scored = rnncli.score(
    ...     frame, network, columns="temperature", group_by="sensor", passthrough=True
    ... )
    """
    arguments = locals()
    from rnncli.writers.frames import Frame, is_frame

    frame = Frame(source, passthrough=passthrough) if is_frame(source) else None
    paths = () if frame else _as_paths(source)
    options = options_of(arguments)
    if (sink is None) != (frame is not None):
        what = "a table is returned" if frame else "give the file that the result goes to"
        raise ValueError(f"sink: {what}")
    for name in ("format", "digits", "header") if frame else ():
        if arguments[name] != Options._field_defaults[name]:
            raise ValueError(f"{name}: is for files, a table is returned")
    weights = "the network"
    if not isinstance(network, Network):
        from rnncli.model.formats import load

        weights = os.fspath(network)
        network = load(network)
    options = options._replace(files=paths, output=None if sink is None else os.fspath(sink))
    sourced: Sourced = network, {"weights": weights}, ()
    finished = process(options, lambda _: sourced, Console(), weights=weights, frame=frame)
    return frame.result if frame else finished.steps


def options_of(arguments: Mapping[str, Any]) -> Options:
    """Check the arguments of `score`, and make options of them."""
    _check_values(arguments)
    given = {name: arguments[name] for name in Options._fields if name in arguments}
    given |= {
        "columns": _as_texts(given["columns"]),
        "group_by": _as_texts(given["group_by"]),
        "center": _as_numbers(given["center"]),
        "scale": _as_numbers(given["scale"]),
        "null_values": tuple(given["null_values"]),
        "h0": None if given["h0"] is None else np.asarray(given["h0"]),
    }
    given |= {name: os.fspath(given[name]) for name in _STATES if given[name] is not None}
    return Options(**given)


def _check_values(arguments: Mapping[str, Any]) -> None:
    """Check each value that a caller of `score` gives."""
    defaults = {"sink": None, **Options._field_defaults}
    for name, (fits, takes) in _TAKES.items():
        value = arguments[name]
        if not (fits(value) or (value is None and defaults.get(name, "") is None)):
            raise ValueError(f"{name}: expected {takes}, got {shown(repr(value))}")
    for name, choices in _CHOICES.items():
        if arguments[name] is not None or name != "format":
            choice(name, str(arguments[name]), dict.fromkeys(choices))


def _is_whole(value: Any, least: int, most: float = inf) -> bool:
    return isinstance(value, Integral) and least <= int(value) <= most


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) and value != ""


def _are_numbers(value: Any, *, scale: bool = False) -> bool:
    if isinstance(value, str):
        return value == "auto"
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return False
    return numbers.ndim < 2 and bool(np.isfinite(numbers).all() and (numbers.all() or not scale))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple | set) and all(isinstance(text, str) for text in value)


def is_delimiter(value: Any) -> bool:
    """Return whether a character can stand between cells."""
    return isinstance(value, str) and len(value) == 1 and value not in '"\r\n'


def is_decimal(value: Any) -> bool:
    """Return whether a character can stand before decimals; it stands nowhere else in a row."""
    if not isinstance(value, str) or len(value) != 1:
        return False
    return not (value.isalnum() or value in "+-_\"';|:" or value.isspace())


def is_encoding(value: Any) -> bool:
    """Return whether Python has an encoding of text by a name; it has others, such as zip."""
    try:
        "0".encode(value)
    except (LookupError, TypeError, ValueError):
        return False
    return True


_PATH = (_is_path, "the name of a file")
_NAMES = (
    lambda value: isinstance(value, str | int | Iterable),
    "a name or number of a column, or a list of them",
)
_LIMIT = (lambda value: _is_whole(value, 1), "a whole number from 1 up")
# What `score` takes.
_TAKES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "network": (
        lambda value: isinstance(value, Network) or _is_path(value),
        "a Network, or the name of a file",
    ),
    **dict.fromkeys(("sink", *_STATES), _PATH),
    **dict.fromkeys(("columns", "group_by"), _NAMES),
    "center": (_are_numbers, "'auto', or a finite number for each column"),
    "scale": (
        partial(_are_numbers, scale=True),
        "'auto', or a finite number other than 0 for each column",
    ),
    "delimiter": (is_delimiter, "one character"),
    "decimal": (is_decimal, "one character such as ',' or '.'"),
    "encoding": (is_encoding, "an encoding of text, such as cp1252, latin-1 or utf-16"),
    "null_values": (_are_texts, "a list of texts"),
    **dict.fromkeys(("head", "tail"), _LIMIT),
    "digits": (lambda value: _is_whole(value, 0, 20), "a whole number from 0 to 20"),
}
_CHOICES = {
    "missing": MISSING,
    "first_row": FIRST_ROW,
    "precision": PRECISIONS,
    "unroll": STRATEGIES,
    "format": WRITERS,
}


def _as_paths(source: Any) -> list[str]:
    """Return the names of files; there is at least one."""
    takes, kind = "a file or files, a pandas.DataFrame or a pyarrow.Table", type(source)
    got = f"{kind.__module__.split('.')[0]}.{kind.__name__}".removeprefix("builtins.")
    if isinstance(source, str | os.PathLike):
        source = [source]
    if isinstance(source, Iterable) and not hasattr(source, "read"):
        paths = list(source)
        if paths and all(map(_is_path, paths)):
            return [os.fspath(path) for path in paths]
        got = got if paths else "none"
    raise ValueError(f"source: expected {takes}, got {got}")


def _as_texts(names: str | int | Sequence[str | int]) -> list[str]:
    return [str(name) for name in ([names] if isinstance(names, str | int) else names)]


def _as_numbers(numbers: str | float | Sequence[float] | None) -> Sequence[float] | None:
    if numbers is None or isinstance(numbers, str):
        return None if numbers is None else AUTO
    return tuple(np.atleast_1d(np.asarray(numbers, np.float64)).tolist())


def process(
    options: Options,
    build: Callable[[int], Sourced],
    console: Console,
    *,
    weights: str | None = None,
    frame: "Frame | None" = None,
    task: str = "",
    again: bool = False,
) -> Finished:
    """Read an input, run a network over it, write the result, and leave the state.

    `build` returns the network for a number of inputs; it has one already where `weights` names
    it. A `frame` is read in place of files, and takes the result. A `task` of a batch counts no
    input twice, unless `again`.
    """
    form = check_options(options)
    output = options.output
    written = {"output": output, "state": options.state, "state_out": options.state_out}
    check_files_apart(written, [*options.files, weights])
    if options.state_in:
        check_files_apart({"output": output}, [options.state_in])
    if output:
        check_destination(output, append=options.follow)
    with state_files(options, console, task, again=again) as files:
        options = scaled_as_before(options, files)
        opened = open_both(options, build, console, Keys(files.keys), weights, frame)
        network, one_row = opened.network, bool(opened.network.last) and not options.no_last
        if network.needs_whole_sequences:
            _check_goes_backward(options)
        if one_row:
            _check_shows_one_row(options, form, weights)
            options = options._replace(last=True)
        elif network.last and not options.last:
            network = Network(*network.layers, front=network.front)
            opened = opened._replace(network=network)
            del opened.model["last"]
        opened.model["unroll"] = options.unroll
        whose = fingerprint(network, options.precision) if files.read or files.written else ""
        carried = resume(files, opened, whose, console)
        run = _Run(options, form, console, files, opened, carried, whose, frame, weights is None)
        steps_before = carried.t.sum()
        try:
            latest = run.write(one_row=one_row)
        except BaseException as error:
            run.leave_after(error, begun=options.follow and carried.t.sum() > steps_before)
            raise
        run.leave()
    if form == "table" and not (options.format or frame) and redirected(output):
        text = "the result is a table; `output` FILE.csv or `format` csv writes CSV"
        console.note(console.worded(text))
    return Finished(opened, int(carried.t.sum() - steps_before), latest)


class _Run(NamedTuple):
    """A run that is ready."""

    options: Options
    form: str
    console: Console
    files: StateFiles
    opened: Opened
    carried: Carried
    whose: str  # the fingerprint of the network
    frame: "Frame | None"
    is_drawn: bool  # whether the network has as many inputs as there are columns

    def write(self, *, one_row: bool) -> Rows | None:
        """Run the input through the network, and write the result; return the last rows."""
        options, source, carried = self.options, self.opened.source, self.carried
        network, watchers = self.opened.network, list[Watcher]()
        runner = Runner(network, options.precision, options.unroll, all_states=options.states)
        result = self.describe_result(runner)
        check_names(self.form, result, grouped=bool(options.group_by))
        delimiter, worded = "\t" if self.form == "tsv" else ",", self.console.worded
        output = options.output and verbatim(options.output)
        place = worded(f"`output` {output}" if output else f"`format` {self.form}")
        style = Style(options.digits, options.header, delimiter, options.follow, worded, place)
        make = self.frame.writer if self.frame else WRITERS[self.form]
        with ExitStack() as stack:
            out: Any = None
            if self.frame is None:
                out = stack.enter_context(destination(options.output, append=options.follow))
            if options.follow:
                style, cut = continue_log(out, make, result, style, is_json=self.form == "jsonl")
                if cut:
                    text = f"{out.name}: ended within a line, which is cut off: {cut!r}"
                    self.console.note(text)
                watchers.append(stack.enter_context(self.following(out)))

            def begin(result: Result) -> Writer:
                if self.form in _UNTITLED and self.is_drawn and not options.columns:
                    _note_columns(source.chosen, self.console)
                return make(out, result, style)

            begun = Begun(result, begin)
            writer: Writer = begun
            if options.last:
                writer = Last(begun, one_row=one_row)
            elif options.head or options.tail:
                selection = Selection(options.head, options.tail)
                writer = Selected(selection.of(begun), selection, carried.resumed.t)
            shown = self.console.progress(source, runner, options.output)
            watchers += stack.enter_context(shown)
            return deliver(source, runner, carried, writer, options.all_layers, worded, watchers)

    def describe_result(self, runner: Runner) -> Result:
        """Describe the run for its writer."""
        source, network, carried = self.opened.source, self.opened.network, self.carried
        all_layers, all_states = self.options.all_layers, self.options.states
        last = self.options.last

        def states(t: Integers, state: Floats) -> SequenceStates:
            return SequenceStates(t, states_by_layer(network, state, all_layers=all_layers))

        def final() -> SequenceStates:
            keys = source.keys if source.key_columns else ()
            y = final_y(runner, carried, keys) if network.one_output else None
            return states(carried.t.copy(), carried.state)._replace(y=y)

        y = network.head or (last and network.last)
        arrays = {"h": all_states or all_layers or not y, "c": all_states, "y": y}
        return Result(
            model=self.opened.model,
            columns=source.columns,
            values=columns_of(network, all_layers=all_layers, all_states=all_states, last=last),
            initial=lambda: states(*carried.starts()),
            final=final,
            key_columns=source.key_columns,
            keys=source.keys,
            header=source.header,
            types=source.types,
            shape=source.shape,
            all_layers=all_layers,
            forward=not network.needs_whole_sequences,
            last=last,
            shown=[name for name, shown in arrays.items() if shown],
        )

    def following(self, out: TextIO) -> Following:
        """Keep states and rows together while an input grows; a URL gets its state at the end."""
        written = self.files.written
        leave = self.leave if written and not is_url(written) else None
        return Following(out, self.carried, leave, self.console.signals if written else ())

    def leave(self) -> None:
        """Leave the states in their file, if there is one."""
        if not self.files.write:
            return
        source, network, carried = self.opened.source, self.opened.network, self.carried
        keys = list(source.keys)[: len(carried.t)] if source.key_columns else [()]
        arrays = {name: carried.state[:, place] for name, place in network.state_names.items()}
        state = State(
            self.whose,
            source.key_columns,
            keys,
            carried.t,
            arrays,
            cells=cells_of(network),
            columns=_names(source),
            task=self.files.task,
            center=tuple(self.opened.model.get("center", ())),
            scale=tuple(self.opened.model.get("scale", ())),
        )
        with self.files.write() as file:
            save_state(file.buffer, state)

    def leave_after(self, error: BaseException, *, begun: bool) -> None:
        """Leave the states of rows that are out, if there are any; else note why there are none."""
        why = ""
        if isinstance(error, NotOnDiskError):
            why = "the output may be lost"
        elif begun:
            try:
                self.leave()
            except OSError as second:  # the message at the end is of what came first
                self.console.note(f"{second.filename}: {second.strerror}")
        elif isinstance(error, BrokenPipeError):
            why = "the reader of the output closed it before the end"
        if why and self.files.written:
            self.console.note(f"{self.files.written}: no state was left: {why}")


def check_options(options: Options) -> str:
    """Check that options go together; return the format: by option, by extension, else a table."""
    for name in _STATES:
        path = getattr(options, name)
        if path == STDIN:
            raise OptionError(f"`{name}` -: a state is in a file, not on a stream")
        if path and options.state and name != "state":
            given = f"`state` {verbatim(options.state)} and `{name}` {verbatim(path)}"
            raise OptionError(f"{given}: give one")
    output, head, tail = verbatim(options.output or ""), options.head, options.tail
    follow, last, no_last = options.follow, options.last, options.no_last
    both_forms = options.json and options.format not in (None, "json")
    _check(
        (both_forms, f"`json` and `format` {options.format}: give one"),
        (last and no_last, "`last` and `no_last`: give one"),
        (follow and head, "`head` and `follow`: give one"),
        (follow and tail, "`tail` and `follow`: give one"),
    )
    form = _choose_format(options)
    is_picture, has_lines, is_csv = form in PICTURES, form in _LINES, form in ("csv", "tsv")
    is_figure = EXTENSIONS.get(os.path.splitext(output)[1].lower()) in FIGURES
    on_terminal = form in _BYTES and on_screen(options.output)
    for_text, has_cells = form not in ("npy", *TABLES, *PICTURES), has_lines or form in TABLES
    rounded = options.digits is not None
    text, way_out = f"`format` {form} is text", ": give `format` csv"
    figure = f"`output` {output}: {text}, without it this is a figure"
    both_ends = f"`head` and `tail`: a {form} shows steps in a row, give one"
    cells = f"`passthrough` is for CSV, JSONL, Parquet and Arrow, the format is {form}{way_out}"
    _check(
        (is_picture and is_figure and form not in FIGURES, figure),
        (rounded and not for_text, f"`digits` is for text, the format is {form}"),
        (not options.header and not is_csv, f"`no_header` is for CSV, the format is {form}"),
        (last and is_picture, f"`last` is not for pictures, the format is {form}"),
        (is_picture and head and tail, both_ends),
        (on_terminal, f"{form} is not text: give `output` FILE, or pipe it on"),
        (follow and not has_lines, f"`follow` is for CSV and JSONL, the format is {form}{way_out}"),
        (options.passthrough and not has_cells, cells),
        (follow and is_packed(output), f"`follow` adds to a file, and {output} is written whole"),
        (follow and last, "`follow` and `last`: give one"),
    )
    if form in TABLES:
        check_installed("pyarrow")
    if form in FIGURES:
        check_installed("matplotlib")
    return form


def _check(*mistakes: tuple[object, str]) -> None:
    """Raise the first mistake that was made."""
    for made, text in mistakes:
        if made:
            raise OptionError(text)


def _choose_format(options: Options) -> str:
    if options.json or options.format:
        return options.format or "json"
    whole = options.output or ""
    path = whole[:-3] if is_packed(whole) else whole
    form = EXTENSIONS.get(os.path.splitext(path)[1].lower(), "table")
    if path.lower().endswith(_NOT_WRITTEN) or (path != whole and form not in _PACKED):
        what = "text alone is compressed, and as .gz, such as FILE.csv.gz"
        raise OptionError(f"`output` {verbatim(whole)}: {what}")
    extension = extension_of(path, list(EXTENSIONS), ": give `format`", whole=whole)
    if not extension and (options.follow or options.passthrough):
        return "csv"
    return EXTENSIONS[extension]


def extension_of(
    path: str | None, known: Sequence[str], way_out: str = "", whole: str | None = None
) -> str:
    """Return the extension of the file that a result is written to; `whole` is all of its name."""
    extension = os.path.splitext(path or "")[1].lower()
    if extension not in known:
        names = ", ".join(filter(None, known))
        what = verbatim(f"no format has the extension {extension!r} (known: {names})")
        place = f"`output` {verbatim(whole or path or '')}"
        raise OptionError(sentence(place, what + way_out, did_you_mean(extension, known)))
    return extension


def check_files_apart(written: dict[str, str | None], read: Iterable[str | None]) -> None:
    """Check that no file is written that is also read, and none twice."""
    files = [(f"`{name}` {verbatim(path)}", path) for name, path in written.items() if path]
    for place, (name, path) in enumerate(files):
        for other, other_path in files[place + 1 :]:
            if _is_same_file(path, other_path):
                raise OptionError(f"{name} and {other}: one file; give two")
        for source in filter(None, read):
            if _is_same_file(path, source):
                source = verbatim(source)
                raise OptionError(f"{name}: would write over {source}, which is read")


def _is_same_file(one: str, other: str) -> bool:
    """Return whether two names are of one plain file, there or not; ``-`` names none."""
    if STDIN in (one, other):
        return False
    if os.path.exists(one) and os.path.exists(other):
        return os.path.isfile(one) and os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)


def _check_goes_backward(options: Options) -> None:
    """Refuse what a network that needs whole sequences cannot do."""
    for name in ("follow", *_STATES):
        if getattr(options, name):
            raise OptionError(f"`{name}`: the network needs whole sequences")


def _check_shows_one_row(options: Options, form: str, weights: str | None) -> None:
    """Refuse to show one row a sequence in a form that shows every step."""
    if options.follow or form in PICTURES:
        name, model = "`follow`" if options.follow else f"`format` {form}", verbatim(str(weights))
        what = f"{name} shows a row a step, {model} gives one row a sequence"
        raise OptionError(f"{what}: add `no_last`")


def _note_columns(columns: Sequence[str | int], console: Console) -> None:
    """Note which columns were read, where the result does not and nobody chose them.

    A network that is drawn takes as many as there are, a time beside the values too.
    """
    if len(columns) > 1 and any(isinstance(column, str) for column in columns):
        text = f"the features are the columns {verbatim(listed(columns))}: "
        console.note(console.worded(f"{text}`columns` chooses others"))


def open_both(
    options: Options,
    build: Callable[[int], Sourced],
    console: Console,
    keys: Keys,
    weights: str | None = None,
    frame: "Frame | None" = None,
) -> Opened:
    """Open the input, and draw or read the network."""
    dtype = choice("precision", options.precision, PRECISIONS).dtype
    opens = frame.open if frame else partial(_open_input, options)
    auto = [name for name in ("center", "scale") if getattr(options, name) == AUTO]
    if auto and frame is None:
        _check_read_twice(auto[0], options)
    built = None if weights is None else build(0)
    fields = {name: getattr(options, name) for name in Layout._fields if hasattr(options, name)}
    layout = Layout(dtype, **fields)._replace(
        block_steps=1 if options.follow else BLOCK_STEPS,
        indices=built[0].indices if built else None,
    )
    source = opens(layout, keys, console.worded)
    network, origin, biases = built or build(len(source.columns))
    if not network.state_size:
        raise InputError(str(weights), "has no recurrent layer")
    check_width(source, network.input_size)
    if auto:
        _check_measured(network)
        first = layout._replace(
            dtype=np.dtype(np.float64), passthrough=False, block_steps=BLOCK_STEPS
        )
        if options.missing == "zero":  # a cell that is missing is no value
            first = first._replace(missing="hold")
        opens_again = partial(opens, first, Keys(), console.worded)
        found = _find_scales(opens_again, options, auto, source.columns, dtype, console)
        options = options._replace(**found)  # type: ignore[arg-type]
    network, numbers = _scale(network, options, source.columns)
    if source.note:
        console.note(source.note)
    start = _read_start(network, options, dtype, console)
    columns = {"columns": list(source.chosen)} if source.chosen else {}
    model = describe(network, origin, __version__) | columns | numbers
    return Opened(source, network, start, model | {"precision": options.precision}, biases)


def _scale(
    network: Network, options: Options, columns: Sequence[str]
) -> tuple[Network, dict[str, list[float]]]:
    """Put what centers and scales the columns below a network; return its numbers too."""
    given = {name: getattr(options, name) for name in ("center", "scale")}
    numbers = {name: list(each) for name, each in given.items() if each is not None}
    for name, each in numbers.items():
        if len(each) != len(columns):
            expected = f"expected {len(columns)}, a number for each of {verbatim(listed(columns))}"
            raise OptionError(f"`{name}`: {expected}, got {len(each)}")
    if not numbers:
        return network, {}
    _check_measured(network)
    center = numbers.get("center", [0.0] * len(columns))
    scale = numbers.get("scale", [1.0] * len(columns))
    return network.with_below(Normalization(center, scale)), numbers


def _check_measured(network: Network) -> None:
    if network.indices is not None:
        text = "`center` and `scale` are for measured values, the network takes whole numbers"
        raise OptionError(text)


def _check_read_twice(name: str, options: Options) -> None:
    """Check that an input can be read twice, where center or scale are to be found in it."""
    if options.follow:
        raise OptionError(f"`{name}` auto and `follow`: give numbers to follow an input")
    for path in () if options.seq is not None else options.files or (STDIN,):
        # A file that is not there cannot be read at all, which is told later.
        if path == STDIN or (os.path.exists(path) and not os.path.isfile(path)):
            raise OptionError(
                f"`{name}` auto reads the input twice, {verbatim(display_name(path))} can be read "
                "but once: give numbers"
            )


def _find_scales(
    opens: Callable[[], Input],
    options: Options,
    names: Sequence[str],
    columns: Sequence[str],
    dtype: np.dtype[np.floating],
    console: Console,
) -> dict[str, Sequence[float]]:
    """Find center and scale in the whole input; a note has them.

    Another note tells of a column whose values the float type rounds to few.
    """
    from rnncli.readers.moments import center_and_scale, moments_of

    with console.working("Finding center and scale"):
        blocks = opens().blocks
        if options.missing == "zero":
            blocks = (rows._replace(masked=None) for rows in blocks)
        moments = moments_of(blocks, len(columns))
    found = dict(zip(("center", "scale"), center_and_scale(moments, columns), strict=True))
    texts = (f"`{name}` {','.join(map(_short, found[name]))}" for name in names)
    console.note(console.worded(f"found {' '.join(texts)}"))
    ends = zip(columns, moments.lowest, moments.highest, found["scale"], strict=True)
    for column, low, high, scale in ends:
        if low == high and "scale" in names:
            console.note(f"column {column!r} is {_short(low)} throughout: its scale is 1")
        with np.errstate(all="ignore"):
            apart = float(np.spacing(dtype.type(max(abs(low), abs(high)))))
        if low < high and apart > _COARSE * scale:
            what = f"{dtype} tells values {_short(apart)} apart, their deviation is {_short(scale)}"
            text = f"column {verbatim(repr(column))}: {what} (`precision` float64 tells more)"
            console.note(console.worded(text))
    return {name: found[name] for name in names}


def _short(number: float) -> str:
    """Return a number as it is typed."""
    return repr(float(number)).removesuffix(".0")


def _open_input(
    options: Options, layout: Layout, keys: Keys, worded: Callable[[str], str]
) -> Input:
    """Open the input: inline, files, or what is piped in."""
    # To glibc, blocks up to the size of one that was freed are worth keeping. Otherwise the
    # system takes many pages back between two blocks of rows, to clear and return them.
    np.empty(_KEPT, np.uint8)
    if layout.delimiter == layout.decimal != ".":
        raise OptionError(
            f"`delimiter` and `decimal` are both {layout.decimal!r}: give another, or leave "
            "`delimiter` out where such numbers stand in quotes"
        )
    for path in filter(is_url, options.files if options.follow else ()):
        raise OptionError(f"`follow` and {verbatim(path)}: it does not grow; give a file or a pipe")
    if options.seq is None:
        if not options.files and (sys.stdin is None or sys.stdin.isatty()):
            raise OptionError("no input: give a FILE or `seq` 1,2,3, or pipe CSV text in")
        paths = options.files or [STDIN]
        if len(paths) > 1:
            return read_files(paths, layout, keys)
        return read_file(paths[0], layout, keys)
    if options.files:
        raise OptionError(f"two inputs, `seq` and {verbatim(options.files[0])}: give one")
    if layout != Layout(layout.dtype, indices=layout.indices):
        raise OptionError(
            "`columns`, `group_by`, `delimiter`, `decimal`, `encoding`, `first_row`, "
            "`null_values`, `missing`, `passthrough` and `follow` are for files, not for `seq`"
        )
    return read_inline(options.seq, layout.dtype, worded("`seq`"), layout.indices)


def check_input_size(network: Network, input_size: int, hint: str = "") -> None:
    """Check that an input is as wide as the network takes."""
    I, bottom = network.input_size, network.layers[0]
    if input_size != I:
        name, unit = taken_by(bottom)
        what = f"{name} has {I} {unit}"
        if bottom.cells:
            what = f"W_xh has shape {bottom.cells[0].weights.W_xh.shape}"
        raise InputError("", f"expected I = {I}, as {what}, got I = {input_size}", hint)


def _read_start(
    network: Network, options: Options, dtype: np.dtype[np.floating], console: Console
) -> Floats:
    """Read the state before the first step, of all cells: zeros by default."""
    start = np.zeros(network.state_size, dtype)
    if not isinstance(options.h0, str | None):
        h0 = np.asarray(options.h0)
        if h0.shape != start.shape:
            raise ValueError(f"h0: expected shape {start.shape}, got {h0.shape}")
        return in_dtype("h0", h0, dtype)
    for option, text in (("h0", options.h0), ("c0", options.c0)):
        name = option[0]
        if text is None:
            continue
        if name not in network.state_names:
            raise OptionError(f"`{option}` is for an LSTM: this network has no {name}")
        place, each = network.state_names[name], "hidden unit"
        if name == "c":
            cells = (cell for layer in network.layers for cell in layer.cells)
            sizes = (str(cell.hidden_size) for cell in cells if "c" in cell.state_names)
            each = f"unit of c (H = {', '.join(sizes)})"
        size, shown = place.stop - place.start, console.worded(f"`{option}`")
        start[place] = read_state(text, dtype, size, shown, each)
    return start


@contextmanager
def state_files(
    options: Options, console: Console, task: str = "", *, again: bool = False
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
                write = stack.enter_context(replacing(written, lambda: console.note(waiting)))
            except OSError as error:
                way_out = console.worded("give `state_in` and `state_out`, which need no lock")
                raise OSError(error.errno, f"{error.strerror}: {way_out}", written) from error
        if read and exists(read):
            with local_copy(read) as copy:
                before = load_state(copy)
        elif options.state_in:
            what = "cannot be read: No such file or directory"
            raise InputError(options.state_in, what, "the first run has no `state_in`")
        if both and before and task and not again:
            _check_not_counted(written or "", before.task, task)
        yield StateFiles(read, written, before, write, before.keys if before else (), task)


def _check_not_counted(path: str, before: str, task: str) -> None:
    if before == task:
        raise CountedError
    if before.partition("-")[0] == task.partition("-")[0]:
        what = "has counted this input with other options, or in another version of rnn"
        raise InputError(path, what, "remove it to begin anew; `force` counts the input again")


def scaled_as_before(options: Options, files: StateFiles) -> Options:
    """Replace a center or scale of ``auto`` by the numbers in the state file, if it has any."""
    if files.before:
        for name in ("center", "scale"):
            if getattr(options, name) == AUTO and getattr(files.before, name):
                options = options._replace(**{name: getattr(files.before, name)})
    return options


def resume(files: StateFiles, opened: Opened, whose: str, console: Console) -> Carried:
    """Return where the sequences stand: at their start, or where an earlier run has left them.

    A note says if that read other columns.
    """
    source, keys = opened.source, opened.source.key_columns
    carried = Carried(opened.start, sequences=len(source.keys) if keys else 1)
    if files.read and files.before:
        dtype = opened.start.dtype
        state = fitting_states(files.read, files.before, opened.network, whose, keys, dtype)
        carried.resume(files.before.t, state)
        names = zip(files.before.columns, _names(source), strict=False)
        if others := [(before, now) for before, now in names if before != now]:
            left, read = map(listed, zip(*others, strict=True))
            console.note(f"{files.read}: left by a run over {left}, this one reads {read}")
    return carried


def _names(source: Input) -> tuple[str, ...]:
    """Return the names of the columns that are read; none where one has a number alone."""
    names = tuple(column for column in source.chosen if isinstance(column, str))
    return names if len(names) == len(source.chosen) else ()
