"""``rnn run``: the forward pass over a sequence."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import click
import numpy as np

from rnncli.cli.command import Command
from rnncli.cli.networks import build_network, check_network
from rnncli.cli.options import (
    COMPUTATION,
    INPUT,
    NETWORK,
    OUTPUT,
    QUIET,
    START,
    STATE,
    NetworkOptions,
    options,
    picked,
)
from rnncli.cli.outputs import note
from rnncli.cli.progress import Terminal, on_terminal
from rnncli.cli.values import FileName
from rnncli.model.activations import NEAR_END, saturated
from rnncli.model.layers import Recurrent
from rnncli.options import Options, check_options
from rnncli.pipeline import Finished, process

# Percent of the states at the ends of their range from which a note is written.
_SATURATED = 90
_WAY_OUT = ". Is the input large? --center and --scale (auto, or numbers) bring it near 0"

EXAMPLES = (
    ("rnn run --seq 1,2,3,4,5,6 --hidden 4", "Every hidden state of the notebook's network."),
    (
        "rnn run log.csv -c 3,4 --center 20,60 --scale 5,10 --cell lstm --hidden 16 -o states.csv",
        "Two columns of a file, scaled to about -1 to 1, through an LSTM.",
    ),
    (
        "rnn run log.csv -g sensor -c temperature -w model.keras --passthrough -o scored.csv",
        "A trained model on a log, a sequence for each sensor, its predictions beside the log.",
    ),
    (
        "rnn run today.csv -g sensor -c temperature -w model.keras --state s.npz -o today.out.csv",
        "The same each night: every sensor goes on from its last state.",
    ),
    (
        "tail -f log.csv | rnn run - --follow --format jsonl --hidden 4",
        "A line of JSON for each line that arrives.",
    ),
)


@click.command("run", cls=Command, examples=EXAMPLES)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=FileName())
@options(INPUT, NETWORK, START, STATE, COMPUTATION, OUTPUT, QUIET)
def run(**given: Any) -> None:
    """Run a network over sequences and write its hidden states.

    A sequence is a FILE (.csv, .tsv, .jsonl, .npy, .parquet, .arrow; text also
    .gz, .xz or .bz2; - for standard input) on this machine or at s3://, gs://
    or https://, what is piped in, or --seq. A row is a step, a column a feature.
    """
    forward(**given)


def check(**given: Any) -> None:
    """Check what options say before any file is read."""
    check_network(picked(NetworkOptions, given), given["files"])
    check_options(picked(Options, given))


def forward(*, task: str = "", again: bool = False, **given: Any) -> int:
    """Read an input, run a network over it, and write the result: what the options say."""
    wanted, network = picked(Options, given), picked(NetworkOptions, given)
    check_network(network, wanted.files)
    build = partial(build_network, network, precision=wanted.precision)
    weights = network.weights
    finished = process(wanted, build, Terminal(), weights=weights, task=task, again=again)
    if on_terminal() and not wanted.follow:
        _note_saturated(finished, scaled=wanted.center is not None or wanted.scale is not None)
        asked = (wanted.files, wanted.seq, wanted.columns, wanted.group_by, weights)
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
