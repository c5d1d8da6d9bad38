"""``rnn run``: the forward pass over a sequence."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TextIO

import click
import numpy as np

from rnncli.cli.command import Command
from rnncli.cli.errors import naming_options, with_options
from rnncli.cli.inputs import Opened, open_both
from rnncli.cli.networks import check_network
from rnncli.cli.options import (
    InputOptions,
    NetworkOptions,
    OutputOptions,
    StartOptions,
    StateOptions,
    computation_options,
    follow_option,
    input_options,
    network_options,
    picked,
    result_options,
    start_options,
    state_options,
)
from rnncli.cli.outputs import (
    PICTURES,
    check_destination,
    check_files_apart,
    choose_format,
    destination,
    note,
    on_screen,
)
from rnncli.cli.progress import on_terminal, with_progress
from rnncli.cli.states import (
    Leaving,
    check_state_options,
    resume,
    scaled_as_before,
    state_files,
)
from rnncli.engine.rows import Rows
from rnncli.engine.runner import Runner
from rnncli.engine.state import fingerprint
from rnncli.engine.stream import Carried, final_y, stream
from rnncli.model.activations import NEAR_END, saturated
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import check_installed
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.readers import Keys
from rnncli.readers.columns import listed
from rnncli.writers import FIGURES, TABLES, WRITERS, Selection, Style, Trajectory, continue_log
from rnncli.writers.selection import final_rows
from rnncli.writers.trajectory import SequenceStates, check_names, columns_of, states_by_layer

# Percent of the states at the ends of their range from which a note is written.
_SATURATED = 90
_WAY_OUT = ". Is the input large? --center and --scale (auto, or numbers) bring it near 0"
# Formats in which nobody sees what was run.
_UNTITLED = ("csv", "jsonl", "npy", *TABLES)

EXAMPLES = (
    ("rnn run --seq 1,2,3,4,5,6 --hidden 4", "The notebook: every hidden state, as a table."),
    (
        "rnn run --seq 1,2,3,4,5,6 --hidden 4 --precision tf32",
        "The same with the rounding of the GPU it ran on: its very numbers.",
    ),
    (
        "rnn run sunspots.csv --columns SUNACTIVITY --center 50 --scale 40 --hidden 8 "
        "-o states.csv",
        "One column of a file in, near 0 as networks like it; CSV out.",
    ),
    (
        "cat log.csv | rnn run --columns 3,4 --center 20,60 --scale 5,10 --hidden 16 "
        "--format jsonl | head -3",
        "Columns 3 and 4 of a stream, a line of JSON for each step.",
    ),
    (
        "rnn run log.csv --group-by sensor --columns temperature --center 20 --scale 5 --hidden 16 "
        "-o states.csv",
        "A sequence for each sensor of a log in which they are interleaved.",
    ),
    (
        "rnn run log.parquet --group-by sensor --columns temperature --center 20 --scale 5 "
        "--weights model.keras --passthrough -o scored.parquet",
        "Parquet in and out: what the model says beside the log's columns, which keep their types.",
    ),
    (
        "rnn run monday.csv tuesday.csv --hidden 8 --last",
        "A sequence a file: the final state of each.",
    ),
    (
        "tail -f log.csv | rnn run - --follow --format jsonl --hidden 4",
        "A line out for every line in, as they come.",
    ),
    (
        "rnn run log.csv --columns temperature --center 20 --scale 5 --missing hold --passthrough "
        "--hidden 4 -o out.csv",
        "The log with the states beside it; rows without a temperature keep the state.",
    ),
    (
        "rnn run today.csv --group-by sensor --columns 3 --center 20 --scale 5 --hidden 8 "
        "--state s.npz -o today.out.csv",
        "Go on from where the last run left each sensor.",
    ),
    (
        "rnn run log.csv --columns 3,4 --center 20,60 --scale 5,10 --cell lstm --hidden 16 "
        "--states -o out.csv",
        "Two columns, centered and scaled; h and c of every step.",
    ),
    (
        "rnn run sunspots.csv --columns 2 --center 50 --scale 40 --init keras --hidden 8 "
        "--format heatmap",
        "The units over time, as a picture in the terminal.",
    ),
    (
        "rnn run sunspots.csv --columns 2 --weights sunspots.keras -o y.svg",
        "Input, states and predictions for print; also .png and .pdf.",
    ),
    (
        "rnn run sunspots.csv --columns 2 --center 50 --scale 40 --init keras --hidden 3 "
        "--head 100 --format plot",
        "Lines of dots in the terminal: input and units, at the first hundred steps.",
    ),
    (
        "rnn run log.csv --group-by sensor --columns temperature --center 20 --scale 5 "
        "--hidden 4 --tail 2",
        "The last two steps of each sensor.",
    ),
    (
        "rnn run log.csv --columns temperature --center 20 --scale 5 --cell gru --init keras "
        "--hidden 16 --last",
        "The final state of a GRU, as Keras draws it.",
    ),
    (
        "rnn run log.csv --columns temperature --weights model.keras -o predictions.csv",
        "What a trained model makes of a log, from the file that Keras saved.",
    ),
    (
        "rnn run log.csv --columns 3,4 --weights model.pt --layer encoder.rnn --activation relu",
        "One module of a larger model, and what its file does not say.",
    ),
    (
        "rnn run series.npy --hidden 4 --seed 7 --last --json",
        "The final state of another network.",
    ),
)


@click.command("run", cls=Command, examples=EXAMPLES)
@input_options
@follow_option
@network_options
@start_options
@state_options
@computation_options
@result_options
def run(**given: Any) -> None:
    """Run a network over sequences and write its hidden states.

    A sequence is a FILE (.csv, .tsv, .npy, .parquet, .arrow; the text also .gz;
    - for standard input) on this machine or at s3://, gs:// or https://, what
    is piped in, or --seq. A row is a step, a column a feature.
    """
    forward(**given)


def check(**given: Any) -> str:
    """Check what options say before any file is read."""
    check_network(picked(NetworkOptions, given), given["files"])
    check_state_options(picked(StateOptions, given))
    style = picked(Style, given | {"worded": with_options})
    form = choose_format(
        picked(OutputOptions, given),
        style,
        picked(Selection, given),
        passthrough=given["passthrough"],
    )
    if form in TABLES:
        check_installed("pyarrow")
    if form in FIGURES:
        from rnncli.writers.figure import drawing

        drawing.check_matplotlib()
    return form


def forward(
    precision: str, unroll: str, *, task: str = "", again: bool = False, **given: Any
) -> int:
    """Read an input, run a network over it, and write the result: what the options say."""
    output, reading = picked(OutputOptions, given), picked(InputOptions, given)
    options, states = picked(NetworkOptions, given), picked(StateOptions, given)
    starting = picked(StartOptions, given)
    style = picked(Style, given | {"worded": with_options})
    selection = picked(Selection, given)
    form = check(**given)
    check_files_apart(
        {"-o": output.output, "--state": states.state, "--state-out": states.state_out},
        [*reading.files, options.weights],
    )
    check_files_apart({"-o": output.output}, [states.state_in])
    check_destination(output.output, append=reading.follow)
    with state_files(states, task, again=again) as files:
        reading = scaled_as_before(reading, files)
        opened = open_both(reading, options, precision, starting, Keys(files.keys))
        _check_goes_backward(opened.network, reading, states)
        if opened.network.last and not output.no_last:
            _check_shows_one_row(options, reading, form)
            output = output._replace(last=True)
        if opened.network.last and not output.last:
            opened = _with_all_rows(opened)
        source, network = opened.source, opened.network
        whose = fingerprint(network, precision) if any(states) else ""
        carried = resume(files, opened.start, network, whose, source)
        opened = opened._replace(model=opened.model | {"unroll": unroll})
        trajectory = _trajectory(opened, carried, output, precision, unroll)
        check_names(form, trajectory, grouped=bool(reading.group_by))
        leaving = Leaving(files, opened, carried, whose, follow=reading.follow)
        steps = stream(
            network,
            leaving.rows(source.blocks, lambda: out),
            precision=precision,
            unroll=unroll,
            all_layers=output.all_layers,
            all_states=output.states,
            carried=carried,
            keys=source.keys,
        )
        latest: deque[Rows] = deque(maxlen=1)
        watched = _watched(steps, latest)
        blocks = with_progress(watched, source.share, quiet=on_screen(output.output))
        trajectory = trajectory._replace(blocks=naming_options(blocks))
        if output.last:
            trajectory = final_rows(trajectory, one_row=bool(network.last))
        else:
            trajectory = selection.of(trajectory, carried.resumed.t)
        with leaving, destination(output.output, append=reading.follow) as out:
            if reading.follow:
                style = _continue(out, form, trajectory, style)
            trajectory = trajectory._replace(blocks=_begun(trajectory.blocks))
            if form in _UNTITLED and not reading.columns and options.weights is None:
                _note_columns(source.chosen)
            WRITERS[form](out, trajectory, style)
        if latest and on_terminal() and not reading.follow:
            scaled = reading.center is not None or reading.scale is not None
            _note_saturated(network, latest[0].h, scaled=scaled)
        steps_run = int((carried.t - carried.starts()[0]).sum())
        asked = (reading.files, reading.seq, reading.follow, reading.columns, reading.group_by)
        if not any((*asked, options.weights)):
            _note_one_row(source.chosen, steps_run)
        return steps_run


def _check_shows_one_row(options: NetworkOptions, reading: InputOptions, form: str) -> None:
    """Refuse to show one row a sequence in a form that shows every step."""
    if reading.follow or form in PICTURES:
        name = "--follow" if reading.follow else f"--format {form}"
        raise click.UsageError(
            f"{name} shows a row a step, {options.weights} gives one row a sequence: add --no-last"
        )


def _with_all_rows(opened: Opened) -> Opened:
    """Return the same network as one that gives a row a step."""
    model = {name: value for name, value in opened.model.items() if name != "last"}
    return opened._replace(
        network=Network(*opened.network.layers, front=opened.network.front), model=model
    )


def _trajectory(
    opened: Opened, carried: Carried, output: OutputOptions, precision: str, unroll: str
) -> Trajectory:
    """Return what the writers need of a run, before its blocks are there."""
    source, network = opened.source, opened.network

    def states(t: Integers, state: Floats) -> SequenceStates:
        return SequenceStates(t, states_by_layer(network, state, all_layers=output.all_layers))

    def final() -> SequenceStates:
        keys = source.keys if source.key_columns else ()
        runner = Runner(network, precision, unroll)
        y = final_y(runner, carried, keys) if network.one_output else None
        return states(carried.t.copy(), carried.state)._replace(y=y)

    return Trajectory(
        model=opened.model,
        columns=source.columns,
        values=columns_of(
            network, all_layers=output.all_layers, all_states=output.states, last=output.last
        ),
        blocks=(),
        initial=lambda: states(*carried.starts()),
        final=final,
        key_columns=source.key_columns,
        keys=source.keys,
        header=source.header,
        types=source.types,
        shape=source.shape,
        all_layers=output.all_layers,
        forward=not network.needs_whole_sequences,
        last=output.last,
        shown=_shown(network, output),
    )


def _shown(network: Network, output: OutputOptions) -> list[str]:
    """Choose what stands in columns: what the model gives, or the states, or both."""
    y = network.head or (output.last and network.last)
    states = output.states or output.all_layers or not y
    each = {"h": states, "c": output.states, "y": y}
    return [name for name, asked in each.items() if asked]


def _check_goes_backward(network: Network, reading: InputOptions, states: StateOptions) -> None:
    """Refuse what a network that begins at the last step cannot do."""
    if network.needs_whole_sequences:
        for name, given in {"follow": reading.follow, **states._asdict()}.items():
            if given:
                raise click.UsageError(
                    f"--{name.replace('_', '-')}: the network has a layer that "
                    f"{_whole(network)}; it needs whole sequences"
                )


def _whole(network: Network) -> str:
    whole = any(layer.whole for layer in (*network.front, *network.layers))
    return "takes all steps at once" if whole else "begins at the last step"


def _note_columns(columns: Sequence[str | int]) -> None:
    """Note which columns were read, where the result does not and nobody chose them.

    A network that is drawn takes as many as there are, a time beside the values too.
    """
    if len(columns) > 1 and any(isinstance(column, str) for column in columns):
        note(f"the features are the columns {listed(columns)}: --columns chooses others")


def _note_one_row(columns: Sequence[str | int], steps: int) -> None:
    """Note on a terminal that numbers that were piped in on one line are one step."""
    unnamed = all(isinstance(column, int) for column in columns)
    if steps == 1 < len(columns) and unnamed and on_terminal():
        note(
            f"one row is 1 step of {len(columns)} features: --seq 1,2,3, or a line for each step, "
            "makes them steps"
        )


def _continue(log: TextIO, form: str, trajectory: Trajectory, style: Style) -> Style:
    """Prepare a log for more rows; note which unfinished line was cut off."""
    style, unfinished = continue_log(log, form, trajectory, style)
    if unfinished:
        note(f"{log.name}: ended within a line, which is cut off: {unfinished!r}")
    return style


def _watched(blocks: Iterable[Rows], latest: deque[Rows]) -> Iterator[Rows]:
    """Pass blocks on; the latest is kept."""
    for block in blocks:
        latest.append(block)
        yield block


def _note_saturated(network: Network, h: Floats, *, scaled: bool) -> None:
    """Note that states of the top recurrent layer are nearly all at the ends of their range."""
    top = [layer for layer in network.layers if isinstance(layer, Recurrent)][-1]
    if top.ends is None or not h.size:
        return
    share = int(100 * np.mean(saturated(h[:, -top.output_size :], top.ends)))
    if share >= _SATURATED:
        way_out = "" if scaled or network.indices is not None else _WAY_OUT
        note(
            f"{share}% of the last states are within {NEAR_END} of {top.ends[0]:g} or "
            f"{top.ends[1]:g}, the ends of their range{way_out}"
        )


def _begun(blocks: Iterable[Rows]) -> Iterator[Rows]:
    """Compute the first block now: a failure before it leaves nothing to write."""
    blocks = iter(blocks)
    first = next(blocks, None)
    return chain([] if first is None else [first], blocks)
