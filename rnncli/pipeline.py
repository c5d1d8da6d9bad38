"""From an input through a network to a result: `score`, and what the commands share with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from rnncli.engine.forecast import Ahead, find_obstacle
from rnncli.engine.naming import name_results, name_states
from rnncli.engine.rows import BLOCK_STEPS, Rows, join_all
from rnncli.engine.runner import Runner
from rnncli.engine.stream import Carried, final_y, forward
from rnncli.model.activations import NEAR_END, saturated
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import OptionError, listed, verbatim, word
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network, as_network
from rnncli.opening import Blocks, Built, Console, Opened, open_both
from rnncli.readers.input import Input
from rnncli.run_options import (
    OF_NETWORK,
    STATE_FILES,
    Options,
    ScoreOptions,
    check_options,
    check_overwrites,
    check_values,
    file_name,
    list_options,
)
from rnncli.states.files import StateFiles, open_states
from rnncli.storage import is_url
from rnncli.storage.sink import check_destination, destination, has_no_extension
from rnncli.writers.formats import FORMATS
from rnncli.writers.log import continue_log, follow
from rnncli.writers.result import Result, Style, check_names
from rnncli.writers.selection import Final, FinalCells, Head, Selection, Selector, Tail, Writer

if TYPE_CHECKING:
    from rnncli.frames import Frame


# Write a note if this share of the states is at an end of the range.
_SATURATED = 0.9


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
    ahead: Ahead | None = None,
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
            if ahead:
                ahead.collect(done, block.masked)
        for rows in ahead.run(runner, carried, keys, all_layers=all_layers) if ahead else ():
            writer.rows(rows)
    except ValueError as error:
        writer.end(error)
        raise
    writer.end(None)
    return latest


@list_options
def score(
    source: Any,
    network: Network | str | os.PathLike[str],
    sink: str | os.PathLike[str] | None = None,
    **options: Unpack[ScoreOptions],
) -> Any:
    """Run a network over files or a table, and write or return the result, as ``rnn run`` does.

    Parameters
    ----------
    source : str, path, sequence of them, table, array or list
        Files that ``rnn run`` reads, or rows in memory: a row is a step, a column a
        feature. A table is a pandas.DataFrame, or one of any library with Arrow's
        interface, such as polars, DuckDB and PyArrow. Columns of an array have numbers
        from 1.
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
    ahead : int, optional
        Run so many more steps after each sequence, as `forecast` does.
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
        the rows and the index of the source; for an array or a list, that of the
        results.

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
    from rnncli.frames import Frame, open_table

    checked = check_values(options)
    table = open_table(source)
    name = type(source).__name__
    frame = None if table is None else Frame(table, name, passthrough=checked.passthrough)
    if frame is None and sink is None and not isinstance(source, str | os.PathLike | Sequence):
        raise ValueError(f"source: expected files, a table, an array or a list, got {name}")
    if (sink is None) != (frame is not None):
        what = f"the result of a {name} is returned"
        what = what if frame else "give the file that the result goes to"
        raise ValueError(f"sink: {what}")
    for name in ("format", "digits") if frame else ():
        if getattr(checked, name) is not None:
            raise ValueError(f"{name}: is for files, a table is returned")
    if sink is not None:
        paths = [source] if isinstance(source, str | os.PathLike) else [*source]
        files = [file_name(path, "source: expected files, or a table") for path in paths]
        if not files:
            raise ValueError("source: no files")
        output = file_name(sink, "sink: expected a file")
        checked = checked._replace(files=files, output=output)
    from_file = not isinstance(network, Network)
    weights = file_name(network, OF_NETWORK) if from_file else "the network"

    def build(input_size: int) -> Built:
        return as_network(network, input_size=input_size), {"weights": weights}

    form = check_all(checked, weights)
    steps = process(checked, form, build, Console(), weights=weights, frame=frame)
    return frame.result if frame else steps


def return_built(built: Built, _input_size: int) -> Built:
    """Return a network that is built already, for any number of inputs."""
    return built


def check_all(options: Options, weights: str | None) -> str:
    """Check options and files before a file is opened; return the format of the output."""
    form = check_options(options)
    written = {"output": options.output, "state": options.state, "state_out": options.state_out}
    check_overwrites(written, [*options.files, weights])
    if options.state_in:
        check_overwrites({"output": options.output}, [options.state_in])
    return form


def process(
    options: Options,
    form: str,
    build: Callable[[int], Built],
    console: Console,
    *,
    weights: str | None = None,
    frame: Frame | None = None,
    task: str = "",
) -> int:
    """Read an input, run a network over it, write the result and the state; count the steps.

    The options are checked. `form` is the format of the output, `build` returns the network for a
    number of inputs, and `weights` is the name of its file. A `frame` is read in place of files,
    and takes the result. A `task` of a batch whose input the state has counted runs nothing.
    """
    check_destination(options.output, append=options.follow)
    with open_states(options, console, task) as states:
        if states.counted and states.counted.has_all(options, console):
            return 0
        options = states.fill_scales(options, console)
        opened = open_both(options, build, console, states.keys, weights, frame)
        if states.counted:
            opened = opened._replace(source=states.counted.skip(opened.source))
        options, opened = _settle_last(options, form, opened)
        opened.model["unroll"] = options.unroll
        opened.model.update({"ahead": options.ahead} if options.ahead else {})
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
    if not frame and form == "table" and not options.format and has_no_extension(options.output):
        text = "the result is a table; `output` FILE.csv or `format` csv writes CSV"
        console.note(word(text))
    if latest and not options.follow:
        _note_saturated(opened.network, latest, console)
    return int(carried.t.sum() - before)


def _settle_last(options: Options, form: str, opened: Opened) -> tuple[Options, Opened]:
    """Set `last` if the model gives one row per sequence; remove it from the model by `no_last`."""
    network = opened.network
    if options.ahead and (obstacle := find_obstacle(network)):
        raise OptionError(f"`ahead`: {obstacle}")
    for name in ("follow", *STATE_FILES) if network.needs_whole_sequences else ():
        if getattr(options, name):
            raise OptionError(f"`{name}`: the network needs whole sequences")
    if not network.last:
        return options, opened
    if options.no_last:
        del opened.model["last"]
        return options, opened._replace(network=Network(*network.layers, front=network.front))
    names = [f"`{name}`" for name in ("follow", "ahead") if getattr(options, name)]
    if names or FORMATS[form].is_picture:
        name = names[0] if names else f"`format` {form}"
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
    ends = [layer.ends for layer in network.layers if isinstance(layer, Recurrent)][-1:]
    if len(latest.x) < 2 or not ends or ends[0] is None:
        return
    if np.count_nonzero(saturated(latest.h, ends[0])) >= _SATURATED * latest.h.size:
        low, high = ends[0]
        what = f"nearly all of the last states are within {NEAR_END} of {low:g} or {high:g}"
        way_out = "is the input large? `center` and `scale` (auto, or numbers) bring it near 0"
        console.note(word(f"{what}; {way_out}"))


def _run(
    options: Options,
    form: str,
    console: Console,
    opened: Opened,
    carried: Carried,
    states: StateFiles,
    frame: Frame | None,
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

        ahead = _make_ahead(options.ahead, opened, console) if options.ahead else None
        writer = Selection(_choose_selector(options, opened, carried, result), begin)
        blocks = stack.enter_context(closing(console.watch(blocks, source, options.output)))
        flush = out.flush if options.follow else lambda: None
        rest = options.all_layers, flush, ahead
        return deliver(blocks, source.keys, runner, carried, writer, *rest)


def _make_ahead(steps: int, opened: Opened, console: Console) -> Ahead:
    """Make the run ahead; where the columns are scaled, the network predicts scaled values."""
    source, model = opened.source, opened.model
    center, scale = np.array(model.get("center", 0.0)), np.array(model.get("scale", 1.0))
    if {"center", "scale"} & model.keys():
        console.note("each prediction is taken as a scaled value: the next x is center + scale * y")
    copied = [n for n, name in enumerate(source.header) if name in source.key_columns]
    return Ahead(steps, lambda y: center + scale * y, copied)


def _choose_selector(
    options: Options, opened: Opened, carried: Carried, result: Result
) -> Selector:
    """Make the selector of the rows that are written."""
    if options.last and result.header:
        return FinalCells(result.final)
    if options.last:
        keyed, one_row = bool(result.key_columns), bool(opened.network.last)
        return Final(result.final, keyed=keyed, one_row=one_row)
    shape = () if options.ahead else opened.source.shape
    if options.head:
        return Head(shape, options.head, carried.started[0])
    if options.tail:
        return Tail(shape, options.tail)
    return Selector(shape)


def _describe_result(options: Options, opened: Opened, carried: Carried, runner: Runner) -> Result:
    """Describe the run for its writer."""
    source, network = opened.source, opened.network
    all_layers, last = options.all_layers, options.last

    def states(t: Integers, state: Floats) -> Rows:
        values = name_states(network, state, all_layers=all_layers)
        return Rows(np.empty((len(t), 0), state.dtype), t=t, values=values)

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
        ends=(lambda: carried.t) if options.ahead else None,
    )
