"""``rnn bench``: how fast the strategies are, beside other libraries.

``--json`` writes one document::

    {"machine": {"processor", "cpus", "system", "python", "numpy", "blas",
                 "llvmlite": version or null, "rnn",
                 "peers": {name: version or null}},
     "repeats": rounds,
     "cases": [{"T", "I", "H": of each layer, "N", "shortest": steps,
                "precision", "model": as in rnn run --json, with a seed of
                null where every round has its own, and "change" where the
                weights are not as drawn,
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
from functools import partial
from shutil import get_terminal_size
from typing import Any

import click
from click.exceptions import Exit

from rnncli import __version__
from rnncli.bench.candidates import find_candidates
from rnncli.bench.cases import SIZES, Size
from rnncli.bench.machine import describe_machine
from rnncli.bench.race import race
from rnncli.bench.report import with_results, write_json, write_machine, write_table
from rnncli.cli.command import Command
from rnncli.cli.errors import RUN_FAILED, with_options
from rnncli.cli.inputs import read_case
from rnncli.cli.networks import check_network
from rnncli.cli.options import (
    NOTHING_GIVEN,
    InputOptions,
    NetworkOptions,
    StartOptions,
    input_options,
    json_option,
    network_options,
    picked,
    start_options,
)
from rnncli.cli.outputs import destination
from rnncli.cli.values import Choice, whole
from rnncli.engine.precision import PRECISIONS
from rnncli.verify.case import Case
from rnncli.verify.peers import PEERS
from rnncli.writers.model import describe

# A case as it stands in a JSON document, and a function that returns the case of a round.
RoundCases = tuple[dict[str, Any], Callable[[int], Case]]

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


@click.command("bench", cls=Command, examples=EXAMPLES)
@input_options
@network_options
@start_options
@click.option(
    "--precision",
    type=Choice(list(PRECISIONS)),
    default="float32",
    show_default=True,
    help="What is computed in; a peer that does not is left out.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=Choice(list(PEERS)),
    help="Time this library, and no others that are installed. Give it again for several.",
)
@click.option(
    "--repeats",
    type=whole(1),
    default=5,
    show_default=True,
    metavar="N",
    help="Rounds in which all are timed in turn. Of the default cases, round N has the "
    "weights and the input of seed N.",
)
@json_option
def bench(precision: str, peers: tuple[str, ...], repeats: int, json: bool, **given: Any) -> None:
    """Time every way to unroll beside Keras, PyTorch and ONNX Runtime.

    Each runs in a process of its own, in turn, on one thread and on all, of
    which the better counts. Without an input and a network: cases from a
    million steps of one sequence to ten thousand short sequences.
    """
    options = picked(NetworkOptions, given)
    reading = picked(InputOptions, given)
    starting = picked(StartOptions, given)
    candidates, absent = find_candidates(peers)
    if reading.seq is not None or reading.files or options != NOTHING_GIVEN:
        check_network(options, reading.files)
        cases = [_own(reading, options, precision, starting)]
    elif any(starting):
        name = "--h0" if starting.h0 else "--c0"
        raise click.UsageError(f"{name}: give an input and a network to time")
    else:
        cases = [_default(size, precision) for size in SIZES]
    machine, results, failed = describe_machine(), [], False
    with destination(None) as out:
        if not json:
            write_machine(out, machine, {with_options(who): what for who, what in absent.items()})
        for number, (case, case_of) in enumerate(cases, start=1):
            with _lines(f"case {number} of {len(cases)}") as show:
                timings = race(case_of, candidates, repeats, show)
            if not json:
                write_table(out, case, timings, with_options)
            results.append(with_results(case, timings))
            failed = failed or any(timing.failed for timing in timings)
        if json:
            write_json(out, machine, repeats, results)
    if failed:
        raise Exit(RUN_FAILED)


def _default(size: Size, precision: str) -> RoundCases:
    """Return a default case: other weights and input every round."""
    change = {"change": size.change} if size.change else {}
    source = {"init": size.init, **change, "seed": None}
    model = describe(size.network(1), source, __version__)
    shortest = size.T if size.shortest is None else size.shortest
    described = _described(size.T, size.N, shortest, precision, model)
    return described, partial(size.case, precision=precision)


def _own(
    reading: InputOptions, options: NetworkOptions, precision: str, starting: StartOptions
) -> RoundCases:
    """Read the network and the whole input: the same in every round."""
    read = read_case(reading, options, precision, starting)
    case = read.case
    N, T, _ = case.x.shape
    model = {name: value for name, value in read.model.items() if name != "precision"}
    return _described(T, N, int(case.lengths.min()), precision, model), lambda _: case


def _described(
    T: int, N: int, shortest: int, precision: str, model: dict[str, Any]
) -> dict[str, Any]:
    I, H = model["input_size"], model["hidden_sizes"]
    sizes = {"T": T, "I": I, "H": H, "N": N, "shortest": shortest}
    return {**sizes, "precision": precision, "model": model}


@contextmanager
def _lines(prefix: str) -> Iterator[Callable[[str], None]]:
    """Show a line at a time on a terminal's standard error, each over the one before.

    Nothing moves between two lines: the candidate has the machine to itself.
    """
    shown = 0

    def show(line: str) -> None:
        nonlocal shown
        if sys.stderr is not None and sys.stderr.isatty():
            line = line[: get_terminal_size().columns - 1]  # a second line would stay
            sys.stderr.write(f"\r{line.ljust(shown)}\r{line}")
            sys.stderr.flush()
            shown = len(line)

    try:
        yield lambda line: show(f"{prefix}, {with_options(line)}")
    finally:
        show("")
