"""``rnn bench``: how fast the strategies are, beside other libraries.

``--json`` writes one document::

    {"machine": {"processor", "cpus", "system", "python", "numpy", "blas",
                 "rnn", "peers": {name: version or null}},
     "repeats": rounds,
     "cases": [{"T", "I", "H": of each layer, "N", "shortest": steps,
                "precision", "model": as in rnn run --json, with a seed of
                null where every round has its own,
                "fastest_peer": name or null,
                "results": [{"kind": "strategy" or "peer", "name",
                             "threads": those with the smallest median,
                             "median", "min", "max": microseconds a step,
                             "times_faster": than the fastest peer, or null,
                             "step_error": share of its bound, or null,
                             "steps": how many of the first were timed,
                             "rounds": {threads: [microseconds a step]}},
                            {"kind", "name", "note": why it was not timed}]}]}

A step is one of all N sequences; of sequences that differ in length, the
time over their mean length.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TextIO

import click
from click.exceptions import Exit

from rnncli import __version__
from rnncli.bench import SIZES, Contender, Size, contenders, describe_machine, race
from rnncli.bench.report import (
    Outcome,
    write_benchmark_json,
    write_machine,
    write_outcome_table,
)
from rnncli.cli.case import read_case
from rnncli.cli.errors import RUN_FAILED
from rnncli.cli.help import Command
from rnncli.cli.network import check_network
from rnncli.cli.options import (
    NOTHING_GIVEN,
    InputOptions,
    NetworkOptions,
    group,
    h0_option,
    input_options,
    json_option,
    network_options,
    option,
    picked,
)
from rnncli.cli.resolve import destination
from rnncli.cli.values import Whole
from rnncli.engine.precision import PRECISIONS
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.peers import PEERS
from rnncli.writers.model import describe, model_line

EXAMPLES = (
    ("rnn bench", "The default cases, long and short, single and in batches: takes minutes."),
    (
        "rnn bench log.csv --weights model.safetensors --peer onnxruntime",
        "Your own network on your own input, beside ONNX Runtime.",
    ),
    (
        "rnn bench --seq 1,2,3,4,5,6 --hidden 4 --repeats 20 --json",
        "The notebook's network, as one JSON document.",
    ),
)

precision_option = option(
    "Computation",
    "--precision",
    type=click.Choice(list(PRECISIONS)),
    default="float32",
    show_default=True,
    help="What is computed in; a peer that does not is left out.",
)
race_options = group(
    option(
        "Comparison",
        "--peer",
        "peers",
        multiple=True,
        type=click.Choice(list(PEERS)),
        help="Time this library, and no others that are installed. Give it again for several.",
    ),
    option(
        "Comparison",
        "--repeats",
        type=Whole(1),
        default=5,
        show_default=True,
        metavar="N",
        help="Rounds in which all are timed in turn. Of the default cases, round N has the "
        "weights and the input of seed N.",
    ),
)


class Course(NamedTuple):
    """A case in each of several rounds.

    Parameters
    ----------
    title : str
        It in a line.
    about : mapping
        It in a JSON document.
    case_of : callable
        Gives the case of a round.
    """

    title: str
    about: dict[str, Any]
    case_of: Callable[[int], Case]


class Shape(NamedTuple):
    """Steps of the longest sequence, number of sequences, steps of the shortest."""

    T: int
    N: int
    shortest: int

    @property
    def words(self) -> str:
        """All three in words."""
        T = f"{self.T:,}" if self.shortest == self.T else f"{self.shortest:,} to {self.T:,}"
        return f"T = {T}, N = {self.N:,}"

    def about(self, network: Network) -> dict[str, Any]:
        """Give what a JSON document says of them and of the network's sizes."""
        return {
            "T": self.T,
            "I": network.input_size,
            "H": [layer.hidden_size for layer in network.layers],
            "N": self.N,
            "shortest": self.shortest,
        }


@click.command("bench", cls=Command, examples=EXAMPLES)
@input_options
@network_options
@h0_option
@precision_option
@race_options
@json_option
def bench(
    precision: str, peers: tuple[str, ...], repeats: int, h0: str | None, json: bool, **given: Any
) -> None:
    """Time every way to unroll beside Keras, PyTorch and ONNX Runtime.

    Each runs in a process of its own, in turn, on one thread and on all, of
    which the better counts. Without an input and a network: cases from a
    million steps of one sequence to ten thousand short sequences.
    """
    options = picked(NetworkOptions, given)
    reading = picked(InputOptions, given | {"follow": False, "passthrough": False})
    racing, absent = contenders(peers)
    if reading.seq is None and not reading.files and options == NOTHING_GIVEN:
        if h0 is not None:
            raise click.UsageError("--h0: give an input and a network to time")
        courses = [_of_size(size, precision) for size in SIZES]
    else:
        check_network(options)
        courses = [_own(reading, options, precision, h0)]
    machine = describe_machine()
    outcomes = []
    with destination(None) as out:
        if not json:
            write_machine(out, machine, absent)
            out.flush()
        for outcome in _outcomes(courses, racing, repeats):
            outcomes.append(outcome)
            if not json:
                write_outcome_table(out, outcome)
        if json:
            write_benchmark_json(out, machine, repeats, outcomes)
    if any(timing.failed for outcome in outcomes for timing in outcome.timings):
        raise Exit(RUN_FAILED)


def _outcomes(courses: list[Course], racing: list[Contender], repeats: int) -> Iterator[Outcome]:
    """Run the races, one after the other, and say on a terminal how far they are."""
    for number, course in enumerate(courses, start=1):
        with _shown(sys.stderr, f"case {number} of {len(courses)}") as saying:
            timings = race(course.case_of, racing, repeats, saying)
        yield Outcome(course.title, course.about, course.about["T"], timings)


def _of_size(size: Size, precision: str) -> Course:
    """Take one of the default cases: other weights and input every round."""
    one = size._replace(T=1, N=1, shortest=None).case(1, precision)
    model = describe(one.network, {"init": size.init, "seed": None}, __version__)
    shape = Shape(size.T, size.N, size.T if size.shortest is None else size.shortest)
    title = f"{shape.words}, I = {size.I}, H = {size.H}, {precision}, init {size.init}"
    about = shape.about(one.network) | {"precision": precision, "model": model}
    return Course(title, about, lambda round_: size.case(round_, precision))


def _own(reading: InputOptions, options: NetworkOptions, precision: str, h0: str | None) -> Course:
    """Read the network and the whole input: the same in every round."""
    read = read_case(reading, options, precision, h0)
    case = read.case
    N, T, _ = case.x.shape
    shape = Shape(T, N, int(case.lengths.min()))
    title = f"{model_line(read.model)}, {shape.words}"
    model = {name: value for name, value in read.model.items() if name != "precision"}
    about = shape.about(case.network) | {"precision": precision, "model": model}
    return Course(title, about, lambda _: case)


@contextmanager
def _shown(screen: TextIO | None, what: str) -> Iterator[Callable[[str], None]]:
    """Give what shows a line on a terminal, in place of the one before.

    Nothing moves between two lines: what is timed has the machine to itself.
    """
    if screen is None or not screen.isatty():
        yield lambda _: None
        return
    shown = 0

    def show(line: str) -> None:
        nonlocal shown
        screen.write(f"\r{line.ljust(shown)}\r{line}")
        screen.flush()
        shown = len(line)

    try:
        yield lambda line: show(f"{what}, {line}")
    finally:
        show("")
