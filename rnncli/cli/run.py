"""``rnn run``: the forward pass over a sequence."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any

import click

from rnncli.cli.endings import Stopping
from rnncli.cli.help import Command
from rnncli.cli.network import check_network
from rnncli.cli.opened import Opened, open_both
from rnncli.cli.options import (
    InputOptions,
    NetworkOptions,
    OutputOptions,
    computation_options,
    follow_option,
    h0_option,
    input_options,
    network_options,
    picked,
    result_options,
    state_option,
)
from rnncli.cli.progress import with_progress
from rnncli.cli.resolve import (
    PICTURES,
    check_destination,
    check_not_overwritten,
    choose_format,
    destination,
    on_screen,
    style_of,
)
from rnncli.forward import Prepared, prepare
from rnncli.network import Network
from rnncli.readers import Keys
from rnncli.replacing import check_replaceable
from rnncli.state import State, check_state, identity, load_state, save_state
from rnncli.stream import Block, Carried, stream
from rnncli.writers import WRITERS, Trajectory
from rnncli.writers.trajectory import widths_of

EXAMPLES = (
    ("rnn run --seq 1,2,3,4,5,6 --hidden 4", "The notebook: every hidden state, as a table."),
    (
        "rnn run --seq 1,2,3,4,5,6 --hidden 4 --precision tf32",
        "The same with the rounding of the GPU it ran on: its very numbers.",
    ),
    (
        "rnn run sunspots.csv --columns SUNACTIVITY --hidden 8 -o states.csv",
        "One column of a file in, CSV out.",
    ),
    (
        "cat log.csv | rnn run --columns 3,4 --hidden 16 --format jsonl | head -3",
        "Columns 3 and 4 of a stream, a line of JSON for each step.",
    ),
    (
        "rnn run log.csv --group-by sensor --columns temperature --hidden 16 -o states.csv",
        "A sequence for each sensor of a log in which they are interleaved.",
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
        "rnn run log.csv --columns temperature --missing hold --passthrough --hidden 4 -o out.csv",
        "The log with the states beside it; rows without a temperature keep the state.",
    ),
    (
        "rnn run today.csv --group-by sensor --columns 3 --hidden 8 --state s.npz -o today.out.csv",
        "Go on from where the last run left each sensor.",
    ),
    (
        "rnn run sunspots.csv --columns 2 --hidden 8 --format heatmap",
        "The units over time, as a picture in the terminal; -o states.svg as a file.",
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
@h0_option
@state_option
@computation_options
@result_options
def run(precision: str, unroll: str, h0: str | None, state: str | None, **given: Any) -> None:
    """Run a network over sequences and write its hidden states.

    A sequence is a FILE (.csv, .tsv, .npy; the text also .gz; - for standard
    input), what is piped in, or --seq. A row is a step, a column a feature.
    """
    output, reading = picked(OutputOptions, given), picked(InputOptions, given)
    options = picked(NetworkOptions, given)
    check_network(options)
    form = choose_format(output, follow=reading.follow, passthrough=reading.passthrough)
    check_not_overwritten(output.output, [*reading.files, options.weights, state])
    check_destination(output.output)
    before = load_state(state) if state else None
    if state:
        check_replaceable(state)
    opened = open_both(reading, options, precision, h0, Keys(before.keys if before else ()))
    source, network = opened.source, opened.network
    _check_goes_backward(network, follow=reading.follow, state=state)
    _check_picture(form, source.key_columns)
    carried = Carried(opened.start, sequences=len(source.keys) if source.key_columns else 1)
    whose = identity(network, precision) if state else ""
    if state and before:
        check_state(state, before, whose, source.key_columns)
        carried.resume(before.t, before.h)
    prepared = prepare(network, precision, unroll)
    opened = opened._replace(model=opened.model | {"unroll": unroll})
    with Stopping() if reading.follow and state else nullcontext() as stopping:
        if stopping:
            blocks = stopping.until(source.blocks)
            opened = opened._replace(source=source._replace(blocks=blocks))
        trajectory = _trajectory(opened, prepared, carried, output)
        with destination(output.output) as out:
            WRITERS[form](out, trajectory, style_of(output, follow=reading.follow))
        if state:
            # A signal can come between a new key and its first step.
            keys = list(source.keys)[: len(carried.t)] if source.key_columns else [()]
            save_state(state, State(whose, source.key_columns, keys, carried.t, carried.h))


def _trajectory(
    opened: Opened, prepared: Prepared, carried: Carried, output: OutputOptions
) -> Trajectory:
    """Run the network: the states as they come, or with --last the final ones."""
    source, every = opened.source, output.all_layers
    steps = stream(prepared, source.blocks, carried, source.keys, all_layers=every)
    trajectory = Trajectory(
        model=opened.model,
        columns=source.columns,
        carried=carried,
        widths=widths_of(opened.network, all_layers=every),
        blocks=with_progress(_begun(steps), source.share, quiet=on_screen(output.output)),
        key_columns=source.key_columns,
        keys=source.keys,
        header=source.header,
        shape=source.shape,
    )
    if not output.last:
        return trajectory
    deque(trajectory.blocks, maxlen=0)
    return trajectory._replace(blocks=[trajectory.final()], shape=())


def _check_goes_backward(network: Network, *, follow: bool, state: str | None) -> None:
    """Refuse what a network that begins at the last step cannot do."""
    if network.needs_whole_sequences:
        for name, given in (("--follow", follow), ("--state", state)):
            if given:
                raise click.UsageError(
                    f"{name}: the network has a layer that begins at the last step; "
                    "it needs whole sequences"
                )


def _check_picture(form: str, key_columns: Sequence[str]) -> None:
    if form in PICTURES and key_columns:
        raise click.UsageError(
            f"a {form} shows one sequence, this input has one for each {', '.join(key_columns)}"
        )


def _begun(blocks: Iterator[Block]) -> Iterator[Block]:
    """Compute the first block now: a failure before it leaves nothing to write."""
    first = next(blocks, None)
    return chain([] if first is None else [first], blocks)
