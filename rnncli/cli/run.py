"""``rnn run``: the forward pass over a sequence."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import click
import numpy as np

from rnncli.cli.command import Command
from rnncli.cli.networks import build_network, check_network
from rnncli.cli.options import (
    NetworkOptions,
    computation_options,
    follow_option,
    input_options,
    network_options,
    picked,
    result_options,
    start_options,
    state_options,
)
from rnncli.cli.outputs import note
from rnncli.cli.progress import Terminal, on_terminal
from rnncli.model.activations import NEAR_END, saturated
from rnncli.model.layers import Recurrent
from rnncli.pipeline import Finished, Options, check_options, process

# Percent of the states at the ends of their range from which a note is written.
_SATURATED = 90
_WAY_OUT = ". Is the input large? --center and --scale (auto, or numbers) bring it near 0"

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


def check(**given: Any) -> None:
    """Check what options say before any file is read."""
    check_network(picked(NetworkOptions, given), given["files"])
    check_options(picked(Options, given))


def forward(*, task: str = "", again: bool = False, **given: Any) -> int:
    """Read an input, run a network over it, and write the result: what the options say."""
    options, network = picked(Options, given), picked(NetworkOptions, given)
    check_network(network, options.files)
    build = partial(build_network, network, precision=options.precision)
    weights = network.weights
    finished = process(options, build, Terminal(), weights=weights, task=task, again=again)
    if on_terminal() and not options.follow:
        _note_saturated(finished, scaled=options.center is not None or options.scale is not None)
        asked = (options.files, options.seq, options.columns, options.group_by, weights)
        if not any(asked):
            _note_one_row(finished.opened.source.chosen, finished.steps)
    return finished.steps


def _note_one_row(columns: Sequence[str | int], steps: int) -> None:
    """Note that numbers that were piped in on one line are one step."""
    if steps == 1 < len(columns) and all(isinstance(column, int) for column in columns):
        note(
            f"one row is 1 step of {len(columns)} features: --seq 1,2,3, or a line for each step, "
            "makes them steps"
        )


def _note_saturated(finished: Finished, *, scaled: bool) -> None:
    """Note that states of the top recurrent layer are nearly all at the ends of their range."""
    network, latest = finished.opened.network, finished.latest
    top = [layer for layer in network.layers if isinstance(layer, Recurrent)][-1]
    if top.ends is None or latest is None:
        return
    share = int(100 * np.mean(saturated(latest.h[:, -top.output_size :], top.ends)))
    if share >= _SATURATED:
        way_out = "" if scaled or network.indices is not None else _WAY_OUT
        note(
            f"{share}% of the last states are within {NEAR_END} of {top.ends[0]:g} or "
            f"{top.ends[1]:g}, the ends of their range{way_out}"
        )
