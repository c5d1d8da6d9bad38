"""``rnn run``: the forward pass over a sequence."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from rnncli.cli.command import Command
from rnncli.cli.networks import build_network, check_network
from rnncli.cli.options import NetworkOptions, options, picked
from rnncli.cli.outputs import note
from rnncli.cli.progress import Terminal, on_terminal
from rnncli.cli.values import FileName
from rnncli.options import Options, check_options
from rnncli.pipeline import process

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
@options("input", "network", "start", "state", "computation", "output", "quiet")
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
    asked = (wanted.follow, wanted.files, wanted.seq, wanted.columns, wanted.group_by, weights)
    if on_terminal() and not any(asked):
        _note_one_row(finished.opened.source.chosen, finished.steps)
    return finished.steps


def _note_one_row(columns: Sequence[str | int], steps: int) -> None:
    """Note that numbers that were piped in on one line are one step."""
    if steps == 1 < len(columns) and all(isinstance(column, int) for column in columns):
        note(
            f"one row is 1 step of {len(columns)} features: --seq 1,2,3, or a line for each step, "
            "makes them steps"
        )
