"""From an input through a network to a result: `score`, and what the commands share with it."""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
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
from rnncli.model.activations import NEAR_END, saturated
from rnncli.model.arrays import Floats, Integers, in_dtype
from rnncli.model.errors import (
    InputError,
    OpenInputError,
    OptionError,
    choice,
    shown,
    verbatim,
    word,
)
from rnncli.model.layers import Normalization, Recurrent
from rnncli.model.network import Network, describe_input
from rnncli.options import (
    AUTO,
    LINES,
    OF_NETWORK,
    PICTURES,
    STATE_FILES,
    Options,
    check_files_apart,
    check_options,
    file_name,
    options_of,
)
from rnncli.readers import (
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
from rnncli.writers import TABLES, WRITERS
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
from rnncli.writers.sink import check_destination, destination, redirected

if TYPE_CHECKING:
    from rnncli.writers.frames import Frame

# A network, where its weights are from, and the biases of each cell in a weight file.
Sourced = tuple[Network, dict[str, Any], Sequence[tuple[Floats, ...]]]

# Formats in which nobody sees what was run.
_UNTITLED = (*LINES, "npy", *TABLES)
# Bytes: more than any array of a block of rows takes.
_KEPT = 1 << 24
# How much of a standard deviation values may be apart, rounded to their float type, without a note.
_COARSE = 0.1
# Share of the states at the ends of their range from which a note is written.
_SATURATED = 0.9
# Between two states of a run that follows its input.
_SECONDS = 1.0


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
        """Warn at the line outside this package that has called it."""
        frame, depth, level = sys._getframe(), 1, 2
        while frame.f_back:
            frame, depth = frame.f_back, depth + 1
            if frame.f_globals["__name__"].partition(".")[0] == "rnncli":
                level = depth + 1
        warnings.warn(text, stacklevel=level)

    def working(self, text: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Show a text while a block of code runs."""
        return nullcontext()

    def progress(
        self, _source: Input, _runner: Runner | None, _output: str | None
    ) -> AbstractContextManager[Sequence[Watcher]]:
        """Show how far a run has come, unless its output is on the screen."""
        return nullcontext(())


class Opened(NamedTuple):
    """An input and a network that fit each other."""

    source: Input
    network: Network
    start: Floats  # its initial state, (S,)
    model: dict[str, Any]  # what a JSON document says of it
    biases: Sequence[tuple[Floats, ...]]  # of each cell in a weight file, as it has them


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
    watchers: Sequence[Watcher],
) -> Rows | None:
    """Run an input through a network to a writer; return the last rows.

    What comes before an error is written, then the error is raised.
    """
    latest, blocks = None, source.blocks
    if runner.network.needs_whole_sequences:
        blocks = (join(every) for every in map(list, [source.blocks]) if every)
    try:
        for rows in blocks:
            for watcher in watchers:
                watcher.begin(rows)
            rows = rows._replace(x=np.ascontiguousarray(rows.x, runner.precision.dtype))
            done, error = forward(runner, rows, carried, source.keys, all_layers=all_layers)
            for start in range(0, len(done.x), BLOCK_STEPS):
                latest = done.cut(start, start + BLOCK_STEPS)
                writer.rows(latest)
            if error:
                raise error
            for watcher in watchers:
                watcher.end()
    except ValueError as error:
        writer.end(error)
        raise
    writer.end(None)
    return latest


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
    options = options_of(arguments)
    if frame is None:
        options = options._replace(files=_read_paths(source))
    if (sink is None) != (frame is not None):
        what = "a table is returned" if frame else "give the file that the result goes to"
        raise ValueError(f"sink: {what}")
    for name in ("format", "digits", "header") if frame else ():
        if arguments[name] != Options._field_defaults[name]:
            raise ValueError(f"{name}: is for files, a table is returned")
    if sink is not None:
        options = options._replace(output=file_name(sink, "sink: expected a file"))
    of_file = not isinstance(network, Network)
    weights = file_name(network, OF_NETWORK) if of_file else "the network"

    def build(input_size: int) -> Sourced:
        from rnncli.model.formats import load

        made = load(weights, input_size=input_size) if of_file else network
        return made, {"weights": weights}, ()  # type: ignore[return-value]

    steps = process(options, build, Console(), weights=weights, frame=frame)
    return frame.result if frame else steps


def _read_paths(source: Any) -> list[str]:
    """Return the names of files; there is at least one."""
    paths = [source] if isinstance(source, str | os.PathLike) else source
    try:
        names = [] if hasattr(source, "read") else [file_name(each) for each in paths]
    except (TypeError, ValueError):
        names = []
    if not names:
        takes = "a file or files, a pandas.DataFrame or a pyarrow.Table"
        raise ValueError(f"source: expected {takes}, got {shown(repr(source))}")
    return names


def process(
    options: Options,
    build: Callable[[int], Sourced],
    console: Console,
    *,
    weights: str | None = None,
    frame: "Frame | None" = None,
    task: str = "",
    again: bool = False,
) -> int:
    """Read an input, run a network over it, write the result and the state; count the steps.

    `build` returns the network for a number of inputs; it has one already where `weights` names
    it. A `frame` is read in place of files, and takes the result. A `task` of a batch counts no
    input twice, unless `again`.
    """
    form = check_options(options)
    written = {"output": options.output, "state": options.state, "state_out": options.state_out}
    check_files_apart(written, [*options.files, weights])
    if options.state_in:
        check_files_apart({"output": options.output}, [options.state_in])
    if options.output:
        check_destination(options.output, append=options.follow)
    with open_states(options, console, task, again=again) as states:
        options = states.scaled()
        opened = open_both(options, build, console, Keys(states.keys), weights, frame)
        network, one_row = opened.network, bool(opened.network.last) and not options.no_last
        _refuse_steps(options, form, opened, one_row)
        if one_row:
            options = options._replace(last=True)
        elif network.last and not options.last:
            network = Network(*network.layers, front=network.front)
            opened = opened._replace(network=network)
            del opened.model["last"]
        opened.model["unroll"] = options.unroll
        carried = states.resume(opened)
        before = carried.t.sum()
        try:
            latest = _write(options, form, console, opened, carried, states, frame, one_row)
        except BaseException as error:
            begun = options.follow and carried.t.sum() > before
            states.leave_after(error, opened, carried, begun=bool(begun))
            raise
        states.leave(opened, carried)
    if form == "table" and not (options.format or frame) and redirected(options.output):
        text = "the result is a table; `output` FILE.csv or `format` csv writes CSV"
        console.note(word(text))
    _note_saturated(opened, None if options.follow else latest, console)
    return int(carried.t.sum() - before)


def _refuse_steps(options: Options, form: str, opened: Opened, one_row: bool) -> None:
    """Refuse options that go step by step where the network does not."""
    for name in ("follow", *STATE_FILES) if opened.network.needs_whole_sequences else ():
        if getattr(options, name):
            raise OptionError(f"`{name}`: the network needs whole sequences")
    if one_row and (options.follow or form in PICTURES):
        name = "`follow`" if options.follow else f"`format` {form}"
        model = verbatim(str(opened.model["source"].get("weights", "the model")))
        raise OptionError(
            f"{name} shows a row a step, {model} gives one row a sequence: add `no_last`"
        )


def _note_saturated(opened: Opened, latest: Rows | None, console: Console) -> None:
    """Note that states of the top recurrent layer are nearly all at the ends of their range."""
    network = opened.network
    top = [layer for layer in network.layers if isinstance(layer, Recurrent)][-1]
    if latest is None or len(latest.x) < 2 or top.ends is None:
        return
    if np.mean(saturated(latest.h[:, -top.output_size :], top.ends)) >= _SATURATED:
        low, high = top.ends
        text = f"nearly all of the last states are within {NEAR_END} of {low:g} or {high:g}"
        if not opened.model.keys() & {"center", "scale"} and network.indices is None:
            text += "; is the input large? `center` and `scale` (auto, or numbers) bring it near 0"
        console.note(word(text))


def _write(
    options: Options,
    form: str,
    console: Console,
    opened: Opened,
    carried: Carried,
    states: "StateFiles",
    frame: "Frame | None",
    one_row: bool,
) -> Rows | None:
    """Run the input through the network, and write the result; return the last rows."""
    network, source = opened.network, opened.source
    runner = Runner(network, options.precision, options.unroll, all_states=options.states)
    result = _describe_result(options, opened, carried, runner)
    check_names(form, result, grouped=bool(options.group_by))
    delimiter = "\t" if form == "tsv" else ","
    output = options.output and verbatim(options.output)
    place = word(f"`output` {output}" if output else f"`format` {form}")
    style = Style(options.digits, options.header, delimiter, place)
    make = frame.writer if frame else WRITERS[form]
    watchers = list[Watcher]()
    with ExitStack() as stack:
        out: Any = None
        if frame is None:
            out = stack.enter_context(destination(options.output, append=options.follow))
        if options.follow:
            style, cut = continue_log(out, make, result, style, is_json=form == "jsonl")
            if cut:
                console.note(f"{out.name}: ended within a line, which is cut off: {cut!r}")
            # A state at a URL is written once, at the end.
            written = options.state or options.state_out
            local = written is not None and not is_url(written)
            leave = partial(states.leave, opened, carried) if local else None
            following = Following(out, carried, leave, console.signals if written else ())
            watchers.append(stack.enter_context(following))

        def begin(result: Result) -> Writer:
            # A network that is drawn takes every column, one with times too.
            named = len(source.chosen) > 1 and not {int}.issuperset(map(type, source.chosen))
            drawn = "seed" in opened.model["source"] and not options.columns
            if form in _UNTITLED and drawn and named:
                text = f"the features are the columns {verbatim(listed(source.chosen))}"
                console.note(word(f"{text}: `columns` chooses others"))
            return make(out, result, style)

        begun = Begun(result, begin)
        writer: Writer = begun
        if options.last:
            writer = Last(begun, one_row=one_row)
        elif options.head or options.tail:
            selection = Selection(options.head, options.tail)
            writer = Selected(selection.of(begun), selection, carried.resumed.t)
        watchers += stack.enter_context(console.progress(source, runner, options.output))
        return deliver(source, runner, carried, writer, options.all_layers, watchers)


def _describe_result(options: Options, opened: Opened, carried: Carried, runner: Runner) -> Result:
    """Describe the run for its writer."""
    source, network = opened.source, opened.network
    all_layers, all_states, last = options.all_layers, options.states, options.last

    def states(t: Integers, state: Floats) -> SequenceStates:
        return SequenceStates(t, states_by_layer(network, state, all_layers=all_layers))

    def final() -> SequenceStates:
        keys = source.keys if source.key_columns else ()
        y = final_y(runner, carried, keys) if network.one_output else None
        return states(carried.t.copy(), carried.state)._replace(y=y)

    y = network.head or (last and network.last)
    arrays = {"h": all_states or all_layers or not y, "c": all_states, "y": y}
    return Result(
        model=opened.model,
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
    built = None
    with suppress(OpenInputError):  # as many features as the input has
        built = None if weights is None else build(0)
    fields = {name: getattr(options, name) for name in Layout._fields if hasattr(options, name)}
    layout = Layout(dtype, **fields)._replace(
        block_steps=1 if options.follow else BLOCK_STEPS,
        indices=built[0].indices if built else None,
    )
    source = opens(layout, keys)
    network, origin, biases = built or build(len(source.columns))
    if not network.state_size:
        raise InputError(str(weights), "has no recurrent layer")
    check_width(source, network.input_size)
    if network.indices is not None and not options.center is options.scale is None:
        text = "`center` and `scale` are for measured values, the network takes whole numbers"
        raise OptionError(text)
    if auto:
        first = layout._replace(
            dtype=np.dtype(np.float64), passthrough=False, block_steps=BLOCK_STEPS
        )
        if options.missing == "zero":  # a cell that is missing is no value
            first = first._replace(missing="hold")
        opens_again = partial(opens, first, Keys())
        found = _find_scales(opens_again, options, auto, source.columns, dtype, console)
        options = options._replace(**found)  # type: ignore[arg-type]
    network, numbers = _scale(network, options, source.columns)
    if source.note:
        console.note(source.note)
    start = _read_start(network, options, dtype)
    columns = {"columns": list(source.chosen)} if source.chosen else {}
    model = describe(network, origin, __version__) | columns | numbers
    return Opened(source, network, start, model | {"precision": options.precision}, biases)


def _scale(
    network: Network, options: Options, columns: Sequence[str]
) -> tuple[Network, dict[str, list[float]]]:
    """Add a layer that centers and scales the columns; return its numbers too."""
    given = {name: getattr(options, name) for name in ("center", "scale")}
    numbers = {name: list(each) for name, each in given.items() if each is not None}
    for name, each in numbers.items():
        if len(each) != len(columns):
            expected = f"expected {len(columns)}, a number for each of {verbatim(listed(columns))}"
            raise OptionError(f"`{name}`: {expected}, got {len(each)}")
    if not numbers:
        return network, {}
    center = numbers.get("center", [0.0] * len(columns))
    scale = numbers.get("scale", [1.0] * len(columns))
    return network.with_below(Normalization(center, scale)), numbers


def _check_read_twice(option: str, options: Options) -> None:
    """Check that an input can be read twice, where center or scale are to be found in it."""
    if options.follow:
        raise OptionError(f"`{option}` auto and `follow`: give numbers to follow an input")
    for name in () if options.seq is not None else options.files or (STDIN,):
        # A file that is not there cannot be read at all, which is told later.
        if name == STDIN or (os.path.exists(name) and not os.path.isfile(name)):
            raise OptionError(
                f"`{option}` auto reads the input twice, {verbatim(display_name(name))} can be "
                "read but once: give numbers"
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
    texts = (f"`{name}` {_typed(*found[name])}" for name in names)
    console.note(word(f"found {' '.join(texts)}"))
    ends = zip(columns, moments.lowest, moments.highest, found["scale"], strict=True)
    for column, low, high, scale in ends:
        if low == high and "scale" in names:
            console.note(f"column {column!r} is {_typed(low)} throughout: its scale is 1")
        with np.errstate(all="ignore"):
            apart = float(np.spacing(dtype.type(max(abs(low), abs(high)))))
        if low < high and apart > _COARSE * scale:
            what = f"{dtype} tells values {_typed(apart)} apart, their deviation is {_typed(scale)}"
            text = f"column {verbatim(repr(column))}: {what} (`precision` float64 tells more)"
            console.note(word(text))
    return {name: found[name] for name in names}


def _typed(*numbers: float) -> str:
    """Return numbers as they are typed."""
    return ",".join(repr(float(number)).removesuffix(".0") for number in numbers)


def _open_input(options: Options, layout: Layout, keys: Keys) -> Input:
    """Open the input: inline, files, or what is piped in."""
    # To glibc, blocks up to the size of one that was freed are worth keeping. Otherwise the
    # system takes many pages back between two blocks of rows, to clear and return them.
    np.empty(_KEPT, np.uint8)
    if layout.delimiter == layout.decimal != ".":
        raise OptionError(
            f"`delimiter` and `decimal` are both {layout.decimal!r}: give another, or leave "
            "`delimiter` out where such numbers stand in quotes"
        )
    for url in filter(is_url, options.files if options.follow else ()):
        raise OptionError(f"`follow` and {verbatim(url)}: it does not grow; give a file or a pipe")
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
    return read_inline(options.seq, layout.dtype, word("`seq`"), layout.indices)


def check_input_size(network: Network, input_size: int, hint: str = "") -> None:
    """Check that an input is as wide as the network takes."""
    I, bottom = network.input_size, network.layers[0]
    if input_size != I:
        name, unit = describe_input(bottom)
        what = f"{name} has {I} {unit}"
        if bottom.cells:
            what = f"W_xh has shape {bottom.cells[0].weights.W_xh.shape}"
        raise InputError("", f"expected I = {I}, as {what}, got I = {input_size}", hint)


def _read_start(network: Network, options: Options, dtype: np.dtype[np.floating]) -> Floats:
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
        size, shown = place.stop - place.start, word(f"`{option}`")
        start[place] = read_state(text, dtype, size, shown, each)
    return start


class StateFiles:
    """The states that a run starts from, if any, and a function that opens the file it leaves."""

    def __init__(
        self,
        options: Options,
        console: Console,
        before: State | None = None,
        write: Callable[[], AbstractContextManager[TextIO]] | None = None,
        task: str = "",
    ) -> None:
        self._options, self._console, self._before = options, console, before
        self._write, self._task, self._fingerprint = write, task, ""
        self.keys: Sequence[tuple[str, ...]] = before.keys if before else ()

    def scaled(self) -> Options:
        """Return the options with the numbers of the file in place of ``auto``, if it has any."""
        options, found = self._options, list[str]()
        for name in ("center", "scale") if self._before else ():
            numbers = getattr(self._before, name)
            if getattr(options, name) == AUTO and numbers:
                options = options._replace(**{name: numbers})
                found.append(f"`{name}` {_typed(*numbers)}")
        if found:
            path = verbatim(str(options.state or options.state_in))
            self._console.note(word(f"{path}: goes on with {' '.join(found)}"))
        return options

    def resume(self, opened: Opened) -> Carried:
        """Return the states of the sequences: at their start, or where an earlier run left them.

        A note says if that run read other columns.
        """
        source, before = opened.source, self._before
        if before or self._write:
            self._fingerprint = fingerprint(opened.network, opened.model["precision"])
        keyed = source.key_columns
        carried = Carried(opened.start, sequences=len(source.keys) if keyed else 1)
        if before:
            path = str(self._options.state or self._options.state_in)
            states = fitting_states(
                path, before, opened.network, self._fingerprint, keyed, opened.start.dtype
            )
            carried.resume(before.t, states)
            names = zip(before.columns, _column_names(source), strict=False)
            if others := [(one, now) for one, now in names if one != now]:
                left, read = map(listed, zip(*others, strict=True))
                self._console.note(f"{path}: left by a run over {left}, this one reads {read}")
        return carried

    def leave(self, opened: Opened, carried: Carried) -> None:
        """Write the states to their file, if there is one."""
        if not self._write:
            return
        source, slices = opened.source, opened.network.state_names
        state = State(
            self._fingerprint,
            source.key_columns,
            list(source.keys)[: len(carried.t)] if source.key_columns else [()],
            carried.t,
            {name: carried.state[:, columns] for name, columns in slices.items()},
            cells=cells_of(opened.network),
            columns=_column_names(source),
            task=self._task,
            center=tuple(opened.model.get("center", ())),
            scale=tuple(opened.model.get("scale", ())),
        )
        with self._write() as file:
            save_state(file.buffer, state)

    def leave_after(
        self, error: BaseException, opened: Opened, carried: Carried, *, begun: bool
    ) -> None:
        """Write the states after rows that are written, if there are any; else say why not."""
        why = ""
        if isinstance(error, NotOnDiskError):
            why = "the output may be lost"
        elif begun:
            try:
                self.leave(opened, carried)
            except OSError as second:  # the message at the end is of what came first
                self._console.note(f"{second.filename}: {second.strerror}")
        elif isinstance(error, BrokenPipeError):
            why = "the reader of the output closed it before the end"
        if why and self._write:
            path = self._options.state or self._options.state_out
            self._console.note(f"{path}: no state was left: {why}")


@contextmanager
def open_states(
    options: Options, console: Console, task: str = "", *, again: bool = False
) -> Iterator[StateFiles]:
    """Open the state files of a run; no other run has one that is both read and written."""
    read, written = options.state or options.state_in, options.state or options.state_out
    both = read and written and os.path.realpath(read) == os.path.realpath(written)
    write: Callable[[], AbstractContextManager[TextIO]] | None = None
    before = None
    with ExitStack() as stack:
        if written:
            check_is_file(written)
            check_writable(written)
            write = partial(writing, written)
        if written and both:
            waiting = f"{written}: another run has it; waiting until that has ended"
            try:
                write = stack.enter_context(replacing(written, lambda: console.note(waiting)))
            except OSError as error:
                way_out = word("give `state_in` and `state_out`, which need no lock")
                raise OSError(error.errno, f"{error.strerror}: {way_out}", written) from error
        if read and exists(read):
            with local_copy(read) as copy:
                before = load_state(copy)
        elif options.state_in:
            what = "cannot be read: No such file or directory"
            raise InputError(options.state_in, what, "the first run has no `state_in`")
        if both and before and task and not again:
            _check_not_counted(str(written), before.task, task)
        yield StateFiles(options, console, before, write, task)


def _check_not_counted(path: str, before: str, task: str) -> None:
    if before == task:
        raise CountedError
    if before.partition("-")[0] == task.partition("-")[0]:
        what = "has counted this input with other options, or in another version of rnn"
        raise InputError(path, what, "remove it to begin anew; `force` counts the input again")


def _column_names(source: Input) -> tuple[str, ...]:
    """Return the names of the columns that are read; none where one has a number alone."""
    names = tuple(column for column in source.chosen if isinstance(column, str))
    return names if len(names) == len(source.chosen) else ()
