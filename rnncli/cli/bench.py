"""``rnn bench``: how fast the strategies are, beside other libraries."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from shutil import get_terminal_size
from typing import Any, NamedTuple

import click
from click.exceptions import Exit

from rnncli.bench.cases import SIZES
from rnncli.bench.race import find_candidates, race
from rnncli.bench.report import write_machine, write_table
from rnncli.cli.command import Command
from rnncli.cli.errors import RUN_FAILED
from rnncli.cli.inputs import read_case
from rnncli.cli.networks import check_network
from rnncli.cli.options import NetworkOptions, Opt, Section, options, picked
from rnncli.cli.values import Choice, FileName
from rnncli.model.errors import word
from rnncli.options import Options, whole
from rnncli.verification.case import Case
from rnncli.verification.peers import PEERS
from rnncli.writers.model import model_line
from rnncli.writers.sink import destination

EXAMPLES = (
    ("rnn bench", "The default cases, long and short, single and in batches: takes two minutes."),
    (
        "rnn bench log.csv --weights model.safetensors --peer onnxruntime",
        "Your own network on your own input, beside ONNX Runtime.",
    ),
    (
        "rnn bench --seq 1,2,3,4,5,6 --hidden 4 --repeats 20",
        "The notebook's network, in twenty rounds.",
    ),
)


class TimingOptions(NamedTuple):
    """Options of the timing."""

    peers: tuple[str, ...] = ()
    repeats: int = 3


TIMING = Section(
    "Timing (rnn help speed)",
    "speed",
    TimingOptions,
    {
        "peers": Opt(
            "Time this library alone; repeat it for several. Default: all that are installed.",
            Choice(PEERS),
            many="values",
            name="--peer",
            common=True,
        ),
        "repeats": Opt(
            "Rounds; round N of a default case has the weights and the input of seed N. "
            "Default: 3.",
            whole(1),
            "N",
            common=True,
        ),
    },
)


@click.command("bench", cls=Command, examples=EXAMPLES)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=FileName())
@options(TIMING)
@options("input", without="follow")
@options("network", "start")
@options("computation", only="precision")
def bench(precision: str, peers: tuple[str, ...], repeats: int, **given: Any) -> None:
    """Time every way to unroll beside Keras, PyTorch and ONNX Runtime.

    Each runs in a process of its own, in turn; a library on one thread and on
    all, of which the better counts. Without an input and a network: eight cases,
    from a million steps of one sequence to ten thousand short sequences.
    """
    wanted = picked(NetworkOptions, given)
    reading = picked(Options, given | {"precision": precision})
    names, absent = find_candidates(peers, precision)
    # The title of a case, its number of steps, and a function that gives it for a round.
    cases: list[tuple[str, int, Callable[[int], Case]]] = [
        (size.title(precision), size.T, partial(size.case, precision=precision)) for size in SIZES
    ]
    if reading.seq is not None or reading.files or wanted != NetworkOptions():
        check_network(wanted, reading.files)
        read = read_case(reading, wanted)
        N, T, _ = read.case.x.shape
        shortest = int(read.case.lengths.min())
        steps = f"{T:,}" if shortest == T else f"{shortest:,} to {T:,}"
        title = f"{model_line(read.model)}, T = {steps}, N = {N:,}"
        cases = [(title, T, lambda _: read.case)]
    elif reading.h0 or reading.c0:
        name = "--h0" if reading.h0 else "--c0"
        raise click.UsageError(f"{name}: give an input and a network to time")
    failed = False
    with destination(None) as out:
        write_machine(out, {word(who): what for who, what in absent.items()})
        for number, (title, T, case_of) in enumerate(cases, start=1):
            with _lines(f"case {number} of {len(cases)}") as show:
                racers = race(case_of, names, repeats, show)
            write_table(out, title, T, racers)
            failed = failed or any(racer.failed for racer in racers)
    if failed:
        raise Exit(RUN_FAILED)


@contextmanager
def _lines(prefix: str) -> Iterator[Callable[[str], None]]:
    """Show a line at a time on a terminal's standard error, each over the one before.

    Nothing moves between two lines: the candidate has the machine to itself.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return

    def show(line: str) -> None:
        width = get_terminal_size().columns - 1  # a second line would stay
        sys.stderr.write(f"\r{line[:width].ljust(width)}\r")
        sys.stderr.flush()

    try:
        yield lambda line: show(f"{prefix}, {word(line)}")
    finally:
        show("")
