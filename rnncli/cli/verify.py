"""``rnn verify``: whether these are the right numbers."""

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import click
import numpy as np
from click.exceptions import Exit

from rnncli.cli.command import Command
from rnncli.cli.errors import RUN_FAILED, with_options
from rnncli.cli.inputs import ReadCase, read_case
from rnncli.cli.networks import check_network
from rnncli.cli.options import (
    COMPUTATION,
    INPUT,
    NETWORK,
    OUTPUT,
    QUIET,
    START,
    NetworkOptions,
    Opt,
    Section,
    options,
    picked,
)
from rnncli.cli.progress import working
from rnncli.cli.values import Choice, FileName, number
from rnncli.engine.run import States
from rnncli.engine.stream import stream
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError, shown, verbatim
from rnncli.model.network import Network
from rnncli.pipeline import Options
from rnncli.readers import STDIN
from rnncli.readers.expected import read_expected
from rnncli.readers.foreign import display_name
from rnncli.storage import local_copy
from rnncli.verify.compared import (
    Result,
    with_expected,
    with_peers,
    with_reference,
    with_strategies,
)
from rnncli.verify.comparison import Comparison, Tolerance
from rnncli.verify.notebook import compare_notebook
from rnncli.verify.peers import PEERS
from rnncli.verify.report import Report, write_report_json, write_report_table
from rnncli.writers.sink import destination

EXAMPLES = (
    ("rnn verify", "Does this installation compute what the notebook printed?"),
    (
        "rnn verify --seq 1,2,3,4,5,6 --hidden 4",
        "The notebook's check, against every library that is installed.",
    ),
    (
        "rnn verify log.csv --weights model.safetensors --expected ported.csv",
        "Is the output of a port right? If not, where does it go wrong, and by which convention?",
    ),
    (
        "rnn verify --seq 1,2,3 --weights model.safetensors --peer torch --json",
        "Of the libraries PyTorch alone, for a script: exit code 0 if equal, 1 if not.",
    ),
)

_not_negative = number("from 0 on", lambda tolerance: tolerance >= 0)


class ComparisonOptions(NamedTuple):
    """What a run is compared with, and how."""

    expected: str | None = None
    last: bool = False
    no_last: bool = False
    peers: tuple[str, ...] = ()
    atol: float | None = None
    rtol: float | None = None

    def tolerance(self) -> Tolerance | None:
        """Return the tolerance of whole runs; None where steps are judged."""
        if self.atol is None and self.rtol is None:
            return None
        return Tolerance(self.atol or 0.0, self.rtol or 0.0)


COMPARISON = Section(
    "Comparison (rnn help verification)",
    "verification",
    ComparisonOptions,
    {
        "expected": Opt(
            "Compare with the results in this file: .csv, .npy, .json or .jsonl, as rnn run writes "
            "them, or rows of numbers. Where they differ, the usual causes are tried.",
            FileName(),
            "FILE",
            common=True,
        ),
        "peers": Opt(
            "Compare with this library; repeat it for several. Default: all that are installed, "
            "none with --expected.",
            Choice(PEERS),
            many="values",
            name="--peer",
            common=True,
        ),
        "last": Opt("Read one row per sequence from the file of --expected."),
        "no_last": Opt("Read one row per step from the file of --expected."),
        "atol": Opt(
            "Absolute tolerance: judge whole runs by |a - b| <= atol + rtol |b|, not each step. "
            "Default: 0.",
            _not_negative,
            "A",
        ),
        "rtol": Opt("Relative tolerance. Default: 0.", _not_negative, "R"),
    },
)


@click.command("verify", cls=Command, examples=EXAMPLES)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=FileName())
@options(COMPARISON)
@options(INPUT, without="follow")
@options(NETWORK, START, COMPUTATION)
@options(OUTPUT, only="json")
@options(QUIET)
def verify(precision: str, unroll: str, json: bool, **given: Any) -> None:
    """Compare a run with a float64 loop, other libraries, or a file.

    It is compared with every way to unroll, with each of Keras, PyTorch and
    ONNX Runtime that is installed, and with --expected. Without an input and
    a network: the states that the notebook printed. Exit code 0: equal, 1: different.
    """
    wanted = picked(NetworkOptions, given)
    reading = picked(Options, given | {"precision": precision})
    own = picked(ComparisonOptions, given)
    if own.last and own.no_last:
        raise click.UsageError("--last and --no-last: give one")
    if own.last and own.expected is None:
        raise click.UsageError("--last is for --expected FILE")
    if reading.seq is None and not reading.files and wanted == NetworkOptions():
        _check_no_options(own, reading)
        report = compare_notebook(unroll)._replace(with_options=with_options)
    else:
        check_network(wanted, reading.files)
        if own.expected == STDIN and reading.seq is None and STDIN in (reading.files or [STDIN]):
            raise click.UsageError("--expected -: standard input is the input; name a FILE for one")
        with np.errstate(all="ignore"):  # what others computed, or wrote, may be of any size
            report = _compared(read_case(reading, wanted), unroll, own)
    write = write_report_json if json else write_report_table
    with destination(None) as out:
        write(out, report)
    if not any(result.verdict or result.explanations for result in report.results):
        raise ValueError("nothing was compared")
    if not report.equal:
        raise Exit(RUN_FAILED)


def _states(read: ReadCase, unroll: str) -> States:
    """Run the network as ``rnn run`` would, and return the outputs of all layers too."""
    case = read.case
    states = case.run(unroll)
    if not all(np.isfinite(array).all() for array in (*states.layers, states.h_n)):
        blocks = stream(
            case.network,
            [read.rows],
            case.h0[0],
            precision=case.precision,
            unroll=unroll,
            keys=read.keys,
        )
        deque(blocks, maxlen=0)
    return states


def _compared(read: ReadCase, unroll: str, own: ComparisonOptions) -> Report:
    """Compare our run with all that there is: every step, also of a model that gives one row."""
    with working("Comparing with a float64 loop and every way to unroll"):
        states = _states(read, unroll)
        comparison = Comparison(read.case, states.layers, own.tolerance())
        results = _named([with_reference(comparison), *with_strategies(comparison)])
    expected = None
    if own.expected is not None:
        if own.last or (read.last and not own.no_last):
            expected = _with_last(read, unroll, own)
        else:
            name = "y" if read.case.network.head else "h"
            theirs = _arranged(read_expected(own.expected, name), read)
            hint = _of_states(read, theirs.shape[-1])
            expected = with_expected(comparison, display_name(own.expected), theirs, hint)
        results.insert(0, expected)
    with working(f"Comparing with {', '.join(own.peers or PEERS)}"):
        results += with_peers(comparison, own.peers)
    model = read.model | {"unroll": unroll}
    hint = _of_states(read) if expected and expected.explanations == {} else ""
    return Report(model, results, expected, comparison.tolerance, read.names, with_options, hint)


def _of_states(read: ReadCase, columns: int | None = None) -> str:
    """Return what compares the states below a head, if a file of so many columns may have them."""
    network, source = read.case.network, read.model["source"]
    states, size = network.layers[-1 - network.head].output_size, network.output_size
    if not network.head or (columns and not size != columns == states):
        name = "y" if network.head else "h"
        named = f"name the columns {name}_0, ... in a header: others are passed over"
        return named if columns and columns > size else ""
    from rnncli.model.formats import below_head, layer_names

    with local_copy(source["weights"]) as path:
        if not layer_names(path):
            return ""
        name = "" if "layer" in source else below_head(path)
    if not name:
        return "`layer` NAME picks a part of the model alone"
    return f"`layer` {verbatim(shown(name))} compares the states below the head"


def _with_last(read: ReadCase, unroll: str, own: ComparisonOptions) -> Result:
    """Compare a file of a row a sequence with what the network gives of each."""
    path, layers = str(own.expected), read.case.network.layers
    case = read.case._replace(network=Network(*layers, last=read.last or "state"))
    comparison = Comparison(case, case.outputs(unroll), own.tolerance())
    shape, dtype = comparison.ours.shape, case.h0.dtype
    rows = read_expected(path, "y" if read.last or read.case.network.head else "h", last=True)
    with np.errstate(over="ignore"):
        rows = rows.astype(dtype)
    if rows.ndim == 2 and len(rows) == len(read.keys) > shape[0]:
        rows = rows[read.numbers]  # a sequence without steps has a row too, of its initial state
    if rows.size == comparison.ours.size and (rows.shape[-1] == shape[2] or shape[0] == 1):
        rows = rows.reshape(shape)
    elif len(rows) == len(read.rows.x) and rows.ndim == 2:
        what = (
            f"expected a row for each of {shape[0]} sequences, got {len(rows)}, as there are steps"
        )
        raise InputError(display_name(path), what, "`no_last` compares a row a step")
    rows, hint = rows.reshape(-1, 1, rows.shape[-1]), _of_states(read, rows.shape[-1])
    return with_expected(comparison, display_name(path), rows, hint)


def _named(results: Iterable[Result]) -> list[Result]:
    return [result._replace(name=with_options(result.name)) for result in results]


def _arranged(states: Floats, read: ReadCase) -> Floats:
    """Arrange rows in the order of the input as sequences; an array is one already."""
    with np.errstate(over="ignore"):
        states = states.astype(read.case.h0.dtype)
    if states.ndim == 3:
        return states
    if len(states) == len(read.rows.x):
        return read.arranged(states)
    return states[None]


def _check_no_options(own: ComparisonOptions, reading: Options) -> None:
    """Refuse options that are for an input, where there is none."""
    for name, given in (
        ("--expected", own.expected is not None),
        ("--peer", bool(own.peers)),
        ("--atol and --rtol", own.tolerance() is not None),
        ("--h0", reading.h0 is not None),
        ("--c0", reading.c0 is not None),
    ):
        if given:
            raise click.UsageError(f"{name}: give an input and a network to compare")
