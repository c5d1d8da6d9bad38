"""From an input through a network to a result: `score`, and what the commands share with it."""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    closing,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import ArrayLike

from rnncli import __version__
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.rows import BLOCK_STEPS, Rows, join_all
from rnncli.engine.runner import Runner
from rnncli.engine.state_file import (
    SavedStates,
    cells_of,
    check_is_file,
    fingerprint,
    fit_states,
    load_state,
    save_state,
)
from rnncli.engine.stream import Carried, final_y, forward, name_results, name_states
from rnncli.model.activations import NEAR_END, saturated
from rnncli.model.arrays import Floats, Integers, in_dtype
from rnncli.model.errors import (
    InputError,
    OpenInputError,
    OptionError,
    choice,
    listed,
    verbatim,
    word,
)
from rnncli.model.layers import Normalization, Recurrent
from rnncli.model.network import Network
from rnncli.readers import is_plain_text, read_file, read_files
from rnncli.readers.inline import read_inline, read_state
from rnncli.readers.input import STDIN, UTF_8, Input, Keys, Layout, check_width
from rnncli.run_options import (
    AUTO,
    OF_NETWORK,
    STATE_FILES,
    Options,
    check_options,
    check_overwrites,
    file_name,
    options_of,
)
from rnncli.storage import check_writable, is_url, local_copy, replacing, sync, version, writing
from rnncli.writers import FORMATS
from rnncli.writers.log import continue_log
from rnncli.writers.model import describe
from rnncli.writers.result import Result, Style, check_names
from rnncli.writers.selection import (
    Final,
    FinalCells,
    Head,
    Selection,
    Selector,
    Tail,
    Writer,
)
from rnncli.writers.sink import check_destination, destination, is_redirected

if TYPE_CHECKING:
    from rnncli.writers.frames import Frame

# A network, the source of its weights, and the biases of each cell in a weight file.
Built = tuple[Network, dict[str, Any], Sequence[tuple[Floats, ...]]]
Blocks = Generator[Rows, None, None]

# Write a note if rounding moves a value by more than this share of the standard deviation.
_COARSE = 0.1
# Write a note if this share of the states is at an end of the range.
_SATURATED = 0.9
_ANEW, _AGAIN = "remove it to begin anew", "run the same command again"
# Seconds between two saves of the states, where an input is followed.
_SECONDS = 1.0


def warn(text: str) -> None:
    """Warn at the line outside this package that called it."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals["__name__"].startswith("rnncli."):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)


class Console(NamedTuple):
    """Functions that show the notes and the progress of a run; by default those of a library."""

    note: Callable[[str], None] = warn
    # Shows a text while a block of code runs.
    working: Callable[[str], AbstractContextManager[Any]] = nullcontext
    # Passes blocks on; shows how much of the input they are, unless the output is on the screen.
    watch: Callable[[Blocks, Input, str | None], Blocks] = lambda blocks, *_: blocks


class Opened(NamedTuple):
    """An input and a network that fit each other."""

    source: Input
    network: Network
    start: Floats  # its initial state, (S,)
    model: dict[str, Any]  # its description in a JSON document
    biases: Sequence[tuple[Floats, ...]]  # of each cell in a weight file


def follow(blocks: Blocks, out: TextIO, save: Callable[[], None] | None) -> Blocks:
    """Pass rows on as they come, and once a second save the states of those that are written.

    A signal that comes while a row is computed or written waits until the row is written; a second
    one does not. A row that is not written does not count as a step.
    """
    handlers: dict[int, Any] = {n: signal.getsignal(n) for n in signal.valid_signals()}
    handlers = {number: each for number, each in handlers.items() if callable(each)}
    came, busy, saved = 0, False, monotonic()

    def wait(number: int, frame: object) -> None:
        nonlocal came
        if came or not busy:
            handlers[number](number, frame)
        came = number

    try:
        for number in handlers:
            signal.signal(number, wait)
        for rows in blocks:
            busy = True
            yield rows
            if save and monotonic() - saved > _SECONDS:
                sync(out)
                save()
                saved = monotonic()
            busy = False
            if came:
                handlers[came](came, None)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def cut_blocks(source: Input, runner: Runner) -> Blocks:
    """Cut the rows of an input into the blocks that a runner gets."""
    if runner.network.needs_whole_sequences:
        yield from join_all(source.blocks)
        return
    steps = runner.steps_in_a_second
    for rows in source.blocks:
        for n in range(0, len(rows.x), steps):
            yield rows.cut(n, n + steps)


def deliver(
    blocks: Iterable[Rows],
    keys: Sequence[tuple[str, ...]],
    runner: Runner,
    carried: Carried,
    writer: Writer,
    all_layers: bool,
    flush: Callable[[], object],
) -> Rows | None:
    """Run blocks of rows through a network to a writer; return the last rows.

    The rows before an error are written, then the error is raised. States follow the rows that
    are written: they never run ahead of the output.
    """
    latest = None
    try:
        for block in blocks:
            rows = block._replace(x=np.ascontiguousarray(block.x, runner.precision.dtype))
            done, after, error = forward(runner, rows, carried, keys, all_layers=all_layers)
            for start in range(0, len(done.x), BLOCK_STEPS):
                latest = done.cut(start, start + BLOCK_STEPS)
                writer.rows(latest)
            if error:
                raise error
            flush()
            carried.commit(after)
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
        File for the result of files; the extension decides the format. The result
        of a table is returned.
    columns : str, int or sequence of them
        Features; all others than `group_by` by default. A str is a name, or a
        range of names or numbers as for ``rnn run``, an int a number from 1, or a
        label of a DataFrame whose labels are integers.
    group_by : str, int or sequence of them
        Columns of keys: each combination of their values is a sequence of its own.
    passthrough : bool
        Whether the result has the columns of the source, and not the keys and ``t``.
    missing : {"error", "hold", "zero"}
        Read a missing value as an error, as a row at which the state stays, or as 0.
    center, scale : float or sequence of float, optional
        Subtract these numbers from the columns and divide by these, one per column;
        ``"auto"`` takes the mean and the standard deviation.
    delimiter, decimal, encoding, first_row, null_values
        Layout of a file of text, as for ``rnn run``.
    h0 : array, shape (S,), optional
        State of all cells before the first step; zeros by default.
    state, state_in, state_out : str or path, optional
        Files of the states that sequences start from and end with.
    precision, unroll : str
        As for `run`.
    last, no_last, all_layers, states : bool
        Rows and arrays that are written, as for ``rnn run``.
    head, tail : int, optional
        Write only so many first, or last, steps of each sequence.
    format : str, optional
        Output format, in place of the extension of `sink`.
    digits : int, optional
        Digits after the point in text; exact by default.
    header : bool
        Whether CSV has a first line with names.

    Returns
    -------
    int or table
        The number of steps that were run. For a table, another of its kind, with
        the rows and the index of the source.

    Raises
    ------
    InputError
        The source cannot be read, or a value is no number.
    NotFiniteError
        A state overflowed.
    ValueError
        Parameters contradict each other, or a parameter cannot have its value.
    OSError
        A file cannot be written.

    Warns
    -----
    UserWarning
        A note of ``rnn run``.

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
    if (sink is None) != (frame is not None):
        what = "a table is returned" if frame else "give the file that the result goes to"
        raise ValueError(f"sink: {what}")
    for name in ("format", "digits") if frame else ():
        if arguments[name] is not None:
            raise ValueError(f"{name}: is for files, a table is returned")
    if sink is not None:
        paths = [source] if isinstance(source, str | os.PathLike) else [*source]
        files = [file_name(path, "source: expected files, or a table") for path in paths]
        if not files:
            raise ValueError("source: no files")
        output = file_name(sink, "sink: expected a file")
        options = options._replace(files=files, output=output)
    from_file = not isinstance(network, Network)
    weights = file_name(network, OF_NETWORK) if from_file else "the network"

    def build(input_size: int) -> Built:
        from rnncli.model.formats.load import load

        loaded = load(weights, input_size=input_size) if from_file else network
        return loaded, {"weights": weights}, ()  # type: ignore[return-value]

    steps = process(options, build, Console(), weights=weights, frame=frame)
    return frame.result if frame else steps


def return_built(built: Built, _input_size: int) -> Built:
    """Return a network that is built already, for any number of inputs."""
    return built


def process(
    options: Options,
    build: Callable[[int], Built],
    console: Console,
    *,
    weights: str | None = None,
    frame: "Frame | None" = None,
    task: str = "",
) -> int:
    """Read an input, run a network over it, write the result and the state; count the steps.

    `build` returns the network for a number of inputs, and `weights` is the name of its file. A
    `frame` is read in place of files, and takes the result. A `task` of a batch whose input the
    state has counted runs nothing.
    """
    form = check_options(options)
    written = {"output": options.output, "state": options.state, "state_out": options.state_out}
    check_overwrites(written, [*options.files, weights])
    check_overwrites({"output": options.output}, [options.state_in])
    check_destination(options.output, append=options.follow)
    with open_states(options, console, task) as states:
        if task and states.has_counted(options, console):
            return 0
        options = states.fill_scales(options, console)
        opened = open_both(options, build, console, states.keys, weights, frame)
        if task:
            opened = opened._replace(source=states.skip_counted(opened.source))
        options, opened = _settle_last(options, form, opened)
        opened.model["unroll"] = options.unroll
        carried = states.resume(opened, console)
        before = carried.t.sum()
        try:
            latest = _run(options, form, console, opened, carried, states, frame)
        except BaseException as error:
            lost = isinstance(error, OSError) and not isinstance(error, BrokenPipeError)
            if options.follow and carried.t.sum() > before and not lost:
                with suppress(OSError):  # the first error is the one to report
                    states.save(opened, carried)
            raise
        states.save(opened, carried)
    if not frame and form == "table" and not options.format and is_redirected(options.output):
        text = "the result is a table; `output` FILE.csv or `format` csv writes CSV"
        console.note(word(text))
    if latest and not options.follow:
        _note_saturated(opened.network, latest, console)
    return int(carried.t.sum() - before)


def _settle_last(options: Options, form: str, opened: Opened) -> tuple[Options, Opened]:
    """Set `last` if the model gives one row per sequence; remove it from the model by `no_last`."""
    network = opened.network
    for name in ("follow", *STATE_FILES) if network.needs_whole_sequences else ():
        if getattr(options, name):
            raise OptionError(f"`{name}`: the network needs whole sequences")
    if not network.last:
        return options, opened
    if options.no_last:
        del opened.model["last"]
        return options, opened._replace(network=Network(*network.layers, front=network.front))
    if options.follow or FORMATS[form].is_picture:
        name = "`follow`" if options.follow else f"`format` {form}"
        raise OptionError(f"{name}: the model gives one row a sequence: add `no_last`")
    return options._replace(last=True), opened


def _note_columns(options: Options, form: str, opened: Opened, console: Console) -> None:
    """Note that a network from a seed takes every column, one with times too."""
    chosen, drawn = opened.source.chosen, "seed" in opened.model["source"]
    named = len(chosen) > 1 and any(isinstance(name, str) for name in chosen)
    if not FORMATS[form].shows_features and drawn and named and not options.columns:
        text = f"the features are the columns {verbatim(listed(map(repr, chosen)))}"
        console.note(word(f"{text}: `columns` chooses others"))


def _note_saturated(network: Network, latest: Rows, console: Console) -> None:
    """Note that nearly all states of the top recurrent layer are at the ends of their range."""
    top = [layer for layer in network.layers if isinstance(layer, Recurrent)][-1]
    if len(latest.x) < 2 or top.ends is None:
        return
    if np.mean(saturated(latest.h, top.ends)) >= _SATURATED:
        low, high = top.ends
        what = f"nearly all of the last states are within {NEAR_END} of {low:g} or {high:g}"
        way_out = "is the input large? `center` and `scale` (auto, or numbers) bring it near 0"
        console.note(word(f"{what}; {way_out}"))


def _run(
    options: Options,
    form: str,
    console: Console,
    opened: Opened,
    carried: Carried,
    states: "StateFiles",
    frame: "Frame | None",
) -> Rows | None:
    """Run the input through the network, and write the result; return the last rows."""
    network, source = opened.network, opened.source
    runner = Runner(network, options.precision, options.unroll, all_states=options.states)
    result = _describe_result(options, opened, carried, runner)
    chosen = FORMATS[form]
    check_names(result, is_table=chosen.is_table, grouped=bool(options.group_by))
    style = Style(options.digits, options.header, chosen.delimiter)
    make = frame.writer if frame else chosen.writer
    with ExitStack() as stack:
        target = destination(options.output, append=options.follow)
        out: Any = None if frame else stack.enter_context(target)
        blocks = cut_blocks(source, runner)
        if options.follow:
            style, cut = continue_log(out, result, style)
            if cut:
                console.note(f"{out.name}: ended within a line, which is cut off: {cut!r}")
            if written := options.state or options.state_out:
                save = partial(states.save, opened, carried)
                # A state at a URL is written once, at the end.
                blocks = follow(blocks, out, None if is_url(written) else save)
                stack.enter_context(closing(blocks))

        def begin(shape: tuple[int, ...]) -> Writer:
            _note_columns(options, form, opened, console)
            return make(out, result._replace(shape=shape), style)

        writer = Selection(_choose_selector(options, opened, carried, result), begin)
        blocks = stack.enter_context(closing(console.watch(blocks, source, options.output)))
        flush = out.flush if options.follow else lambda: None
        return deliver(blocks, source.keys, runner, carried, writer, options.all_layers, flush)


def _choose_selector(
    options: Options, opened: Opened, carried: Carried, result: Result
) -> Selector:
    """Make the selector of the rows that are written."""
    if options.last and result.header:
        return FinalCells(result.final)
    if options.last:
        keyed, one_row = bool(result.key_columns), bool(opened.network.last)
        return Final(result.final, keyed=keyed, one_row=one_row)
    if options.head:
        return Head(opened.source.shape, options.head, carried.started[0])
    if options.tail:
        return Tail(opened.source.shape, options.tail)
    return Selector(opened.source.shape)


def _describe_result(options: Options, opened: Opened, carried: Carried, runner: Runner) -> Result:
    """Describe the run for its writer."""
    source, network = opened.source, opened.network
    all_layers, last = options.all_layers, options.last

    def states(t: Integers, state: Floats) -> Rows:
        values = name_states(network, state, all_layers=all_layers)
        return Rows(np.empty((len(t), 0)), t=t, values=values)

    def final() -> Rows:
        rows = states(carried.t.copy(), carried.state)
        if not network.one_output:
            return rows
        y = final_y(runner, carried, source.keys if source.key_columns else ())
        return rows._replace(values={**rows.values, "y": y})

    if last:
        values = name_states(network, carried.initial[None], all_layers=all_layers)
        sizes = {name: array.shape[1] for name, array in values.items()}
        sizes |= {"y": network.output_size} if network.one_output else {}
    else:
        outputs = [layer.output_size for layer in network.layers]
        c = [layer.c_size for layer in network.layers]
        sizes = name_results(network, outputs, c, all_layers=all_layers)
    hidden = "" if options.states else "c"  # the arrays that are no columns
    hidden += "h" if "y" in sizes and not (options.states or all_layers) else ""
    return Result(
        model=opened.model,
        columns=() if last else source.columns,
        shown={name: size for name, size in sizes.items() if size and name[-1] not in hidden},
        initial=lambda: states(*carried.starts()),
        final=final,
        key_columns=source.key_columns,
        keys=source.keys,
        header=source.header,
        types=source.types,
        all_layers=all_layers,
        forward=not (network.needs_whole_sequences or options.tail),
        last=last,
    )


def open_both(
    options: Options,
    build: Callable[[int], Built],
    console: Console,
    known: Sequence[tuple[str, ...]] = (),
    weights: str | None = None,
    frame: "Frame | None" = None,
) -> Opened:
    """Open the input, and draw or read the network."""
    dtype = choice("precision", options.precision, PRECISIONS).dtype
    built = None
    with suppress(OpenInputError):  # the network takes as many features as the input has
        built = None if weights is None else build(0)
    fields = {name: getattr(options, name) for name in Layout._fields if hasattr(options, name)}
    fields["block_steps"] = 1 if options.follow else BLOCK_STEPS
    layout = Layout(dtype, indices=built[0].indices if built else None, **fields)
    open_source = frame.open if frame else partial(_open_input, options)
    source = open_source(layout, Keys(known))
    network, origin, biases = built or build(len(source.columns))
    if not network.state_size:
        raise InputError(str(weights), "has no recurrent layer")
    check_width(source, network.input_size)
    values = {"center": options.center, "scale": options.scale}
    numbers = {name: list(each) for name, each in values.items() if each is not None}
    if AUTO in values.values():
        numbers |= _find_scales(options, open_source, layout, source.columns, console)
    network = _scale(network, numbers, source.columns)
    if source.note:
        console.note(word(source.note))
    start = _read_start(network, options, dtype)
    columns = {"columns": list(source.chosen)} if source.chosen else {}
    model = describe(network, origin, __version__) | columns | numbers
    return Opened(source, network, start, model | {"precision": options.precision}, biases)


def _find_scales(
    options: Options,
    open_source: Callable[[Layout, Keys], Input],
    layout: Layout,
    columns: Sequence[str],
    console: Console,
) -> dict[str, list[float]]:
    """Find the means or the standard deviations of the whole input, as ``auto`` asks."""
    from rnncli.readers.moments import center_and_scale, moments_of

    dtype, zero = layout.dtype, options.missing == "zero"
    missing = "hold" if zero else options.missing  # a missing cell counts in no mean
    layout = layout._replace(dtype=np.dtype(np.float64), passthrough=False, missing=missing)
    with console.working("Finding center and scale"):
        blocks = open_source(layout, Keys()).blocks
        if zero:
            blocks = (rows._replace(masked=None) for rows in blocks)
        both = center_and_scale(moments_of(blocks, len(columns)), columns)
    named = zip(("center", "scale"), both, strict=True)
    numbers = {name: list(each) for name, each in named if getattr(options, name) == AUTO}
    console.note(word(f"found {_show_options(numbers)}"))
    for column, center, scale in zip(columns, *both, strict=True):
        if np.spacing(dtype.type(abs(center))) > _COARSE * scale:
            what = f"{dtype} is too coarse for its values (`precision` float64 is not)"
            console.note(word(f"column {verbatim(repr(column))}: {what}"))
    return numbers


def _show_options(numbers: Mapping[str, Sequence[float]]) -> str:
    """Show options as they are typed."""
    return " ".join(f"`{name}` {','.join(map(repr, each))}" for name, each in numbers.items())


def _scale(network: Network, numbers: Mapping[str, list[float]], columns: Sequence[str]) -> Network:
    """Add a layer that centers and scales the columns, if there are numbers for it."""
    if numbers and network.indices is not None:
        text = "`center` and `scale` are for measured values, the network takes whole numbers"
        raise OptionError(text)
    I = len(columns)
    for name, each in numbers.items():
        if len(each) != I:
            expected = f"expected {I}, a number for each of {verbatim(listed(map(repr, columns)))}"
            raise OptionError(f"`{name}`: {expected}, got {len(each)}")
    if not numbers:
        return network
    center, scale = numbers.get("center", [0.0] * I), numbers.get("scale", [1.0] * I)
    return network.with_below(Normalization(center, scale))


def _open_input(options: Options, layout: Layout, keys: Keys) -> Input:
    """Open the input: inline, files, or what is piped in."""
    if layout.delimiter == layout.decimal != ".":
        raise OptionError(f"`delimiter` and `decimal` are both {layout.decimal!r}: give another")
    if options.seq is None:
        if not options.files and (sys.stdin is None or sys.stdin.isatty()):
            raise OptionError("no input: give a FILE or `seq` 1,2,3, or pipe CSV text in")
        paths = options.files or [STDIN]
        once = [path for path in paths if os.path.exists(path) and not os.path.isfile(path)]
        if AUTO in (options.center, options.scale) and (options.follow or STDIN in paths or once):
            raise OptionError("`center` and `scale` auto read the input twice: give numbers")
        if len(paths) > 1:
            return read_files(paths, layout, keys)
        return read_file(paths[0], layout, keys)
    if options.files:
        raise OptionError(f"two inputs, `seq` and {verbatim(options.files[0])}: give one")
    if layout != Layout(layout.dtype, indices=layout.indices):
        raise OptionError("`seq` takes no options of files, such as `columns`")
    return read_inline(options.seq, layout.dtype, word("`seq`"), layout.indices)


def _read_start(network: Network, options: Options, dtype: np.dtype[np.floating]) -> Floats:
    """Read the state before the first step, of all cells: zeros by default."""
    start = np.zeros(network.state_size, dtype)
    if not isinstance(options.h0, str | None):
        h0 = np.asarray(options.h0)
        if h0.shape != start.shape:
            raise ValueError(f"h0: expected shape {start.shape}, got {h0.shape}")
        return in_dtype("h0", h0, dtype)
    for name, text in (("h", options.h0), ("c", options.c0)):
        if text is not None:
            if name not in network.state_names:
                raise OptionError(f"`{name}0` is for an LSTM: this network has no {name}")
            columns = network.state_names[name]
            size, unit = columns.stop - columns.start, "hidden unit" if name == "h" else "unit of c"
            start[columns] = read_state(text, dtype, size, word(f"`{name}0`"), unit)
    return start


@dataclass
class StateFiles:
    """The states from which a run starts, and the file for those that it leaves, if any."""

    path: str
    task: str  # of a batch
    before: SavedStates | None = None
    keys: Sequence[tuple[str, ...]] = ()  # of the sequences in the file
    write: Callable[[], AbstractContextManager[TextIO]] | None = None
    network: str = ""  # fingerprint of the network
    input: str = ""  # of the task
    version: str = ""  # of the input before it was read, if it is a local file
    skipped: int = 0  # rows of the input that an earlier task has counted
    rows: int = 0  # of the input, with these

    def has_counted(self, options: Options, console: Console) -> bool:
        """Return whether the task has run to its end before; refuse one of other options."""
        (self.input,) = options.files
        self.version = version(self.input) if os.path.isfile(self.input) else ""
        if not self.before or not self.before.task:
            return False
        ran, task = self.before.task.split("-"), self.task.split("-")
        if ran[0] != task[0] and self._has_new_rows(self.before, console):
            return False
        size = version(options.output or "").partition(" ")[0]
        if {*ran[1:]} & {*task[1:]} and size and (size != "0" or not self.before.rows):
            return True
        what = "has counted this input, with other options or into a file that is gone"
        raise InputError(self.path, what, _ANEW)

    def _has_new_rows(self, before: SavedStates, console: Console) -> bool:
        """Find how many rows of a changed input are counted; return whether there are others."""
        path, new = self.input, "all its rows are read as new ones"
        if not self.version or not before.sha256:
            console.note(f"{path}: {self.path} does not tell which rows it has counted: {new}")
            return True
        size = os.path.getsize(path)
        if size < before.size or _hash_begin(path, before.size) != before.sha256:
            console.note(f"{path}: does not begin with the rows counted before: {new}")
            return True
        if size == before.size:
            return False
        with open(path, "rb") as file:
            file.seek(max(before.size - 1, 0))
            ends_within = b"\n" not in file.read(2)
        if ends_within or not is_plain_text(path):
            what = f"{path} has grown, and cannot be cut after the rows that were counted"
            raise InputError(self.path, what, _ANEW)
        self.skipped = before.rows
        what = "are run, and written without them"
        console.note(f"{path}: rows counted before: {before.rows:,}; those after them {what}")
        return True

    def skip_counted(self, source: Input) -> Input:
        """Count the rows of the input of a task, and leave out those that were counted before."""
        if self.before and self.skipped and self.before.columns != _column_names(source):
            what = f"has counted {self.skipped:,} rows of {self.input} with other columns"
            raise InputError(self.path, what, _ANEW)

        def pass_new() -> Iterator[Rows]:
            for rows in source.blocks:
                start, self.rows = self.rows, self.rows + len(rows.x)
                if self.rows > self.skipped:
                    yield rows.cut(max(self.skipped - start, 0), None)

        return source._replace(blocks=pass_new())

    def fill_scales(self, options: Options, console: Console) -> Options:
        """Replace ``auto`` by the numbers in the file, if it has any."""
        auto = [name for name in ("center", "scale") if getattr(options, name) == AUTO]
        numbers = {name: value for name in auto if (value := getattr(self.before, name, ()))}
        if numbers:
            console.note(word(f"{verbatim(self.path)}: goes on with {_show_options(numbers)}"))
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
            states = fit_states(self.path, before, opened.network, *identity, keyed, dtype)
            carried.resume(before.t, states)
            names = zip(before.columns, _column_names(source), strict=False)
            if changed := [(one, now) for one, now in names if one != now]:
                left, read = (listed(map(repr, names)) for names in zip(*changed, strict=True))
                console.note(f"{self.path}: left by a run over {left}, this one reads {read}")
        return carried

    def save(self, opened: Opened, carried: Carried) -> None:
        """Write the states to their file, if there is one."""
        if not self.write:
            return
        source, slices = opened.source, opened.network.state_names
        size, sha256 = 0, ""
        if self.version:
            size = os.path.getsize(self.input)
            sha256 = _hash_begin(self.input, size)
            if version(self.input) != self.version:
                raise InputError(self.input, "was changed while it was read", _AGAIN)
        state = SavedStates(
            self.network,
            source.key_columns,
            list(source.keys)[: len(carried.t)] if source.key_columns else [()],
            carried.t,
            {name: carried.state[:, columns] for name, columns in slices.items()},
            cells=cells_of(opened.network),
            columns=_column_names(source),
            task=self.task,
            size=size,
            sha256=sha256,
            rows=self.rows,
            center=tuple(opened.model.get("center", ())),
            scale=tuple(opened.model.get("scale", ())),
        )
        with self.write() as file:
            save_state(file.buffer, state)


def _hash_begin(path: str, size: int) -> str:
    """Return the SHA-256 of the first bytes of a file."""
    import hashlib  # takes 3 ms

    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while size and (chunk := file.read(min(size, 1 << 20))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest()


def _column_names(source: Input) -> tuple[str, ...]:
    """Return the names of the columns that are read, if all have one."""
    names = tuple(name for name in source.chosen if isinstance(name, str))
    return names if len(names) == len(source.chosen) else ()


@contextmanager
def open_states(options: Options, console: Console, task: str = "") -> Iterator[StateFiles]:
    """Open the state files of a run, and lock one that is both read and written."""
    read, written = options.state or options.state_in, options.state or options.state_out
    states = StateFiles(str(read or written), task)
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
        yield states
