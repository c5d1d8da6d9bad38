"""``rnn verify``: whether these are the right numbers."""

import re
from collections import deque
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
from rnncli.engine.stream import stream
from rnncli.model.errors import InputError, shown, verbatim
from rnncli.model.network import Network
from rnncli.pipeline import Options
from rnncli.readers import STDIN
from rnncli.readers.expected import read_expected
from rnncli.readers.foreign import display_name
from rnncli.storage import is_url, local_copy
from rnncli.verification.case import Case
from rnncli.verification.compared import (
    Result,
    compare,
    with_expected,
    with_peers,
    with_reference,
    with_strategies,
)
from rnncli.verification.comparison import Comparison, Tolerance
from rnncli.verification.notebook import compare_notebook
from rnncli.verification.peers import PEERS
from rnncli.verification.report import Report, write_report_json, write_report_table
from rnncli.writers.sink import destination

EXAMPLES = (
    ("rnn verify", "Does this installation compute what the notebook printed?"),
    (
        "rnn verify --seq 1,2,3,4,5,6 --hidden 4",
        "The notebook's check, against every library that is installed.",
    ),
    (
        "rnn verify log.csv --weights model.safetensors --expected ported.csv",
        "Is the output of a port right? If not, where does it go wrong, and why?",
    ),
    (
        "rnn verify --seq 1,2,3 --weights model.onnx --peer onnxruntime --json",
        "Against ONNX Runtime on the file itself, for a script: exit code 0 if equal, 1 if not.",
    ),
)

_not_negative = number("from 0 on", lambda tolerance: tolerance >= 0)


class ComparisonOptions(NamedTuple):
    """Options of a comparison."""

    expected: str | None = None
    last: bool = False
    no_last: bool = False
    peers: tuple[str, ...] = ()
    atol: float | None = None
    rtol: float | None = None


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
    ONNX Runtime that is installed, or with --expected. Without an input and
    a network: the states that the notebook printed. Exit code 0: equal, 1: different.
    """
    wanted, own = picked(NetworkOptions, given), picked(ComparisonOptions, given)
    reading = picked(Options, given | {"precision": precision})
    if reading.seq is None and not reading.files and wanted == NetworkOptions():
        starting = {"h0": reading.h0, "c0": reading.c0}
        for name, value in (own._asdict() | starting).items():
            if value not in (None, False, ()):
                option = with_options(f"`{name}`")
                raise click.UsageError(f"{option}: give an input and a network to compare")
        report = compare_notebook(unroll)
    else:
        _check(own, wanted, reading)
        with np.errstate(all="ignore"):  # what others computed, or wrote, may be of any size
            read = read_case(reading, wanted)
            plain = wanted == NetworkOptions(weights=wanted.weights)
            plain &= precision == "float32" and reading.center is reading.scale is None
            plain &= not (read.case.h0.any() or is_url(wanted.weights or ""))
            path = wanted.weights if plain else None
            report = _compare(read, unroll, own, path)
    write = write_report_json if json else write_report_table
    with destination(None) as out:
        write(out, report._replace(with_options=with_options))
    if not any(result.verdict or result.explanations for result in report.results):
        raise ValueError("nothing was compared")
    if report.verdict != "equal":
        raise Exit(RUN_FAILED)


def _check(own: ComparisonOptions, options: NetworkOptions, reading: Options) -> None:
    if own.last and own.no_last:
        raise click.UsageError("--last and --no-last: give one")
    if own.last and own.expected is None:
        raise click.UsageError("--last is for --expected FILE")
    check_network(options, reading.files)
    if own.expected == STDIN and reading.seq is None and STDIN in (reading.files or [STDIN]):
        raise click.UsageError("--expected -: standard input is the input; name a FILE for one")


def _compare(read: ReadCase, unroll: str, own: ComparisonOptions, path: str | None) -> Report:
    """Compare our run with all that there is; a model file at `path` is run as it is."""
    layers, source, tolerance = read.case.network.layers, read.model["source"], None
    last = None if own.no_last else read.last or ("state" if own.last else None)
    if (own.atol, own.rtol) != (None, None):
        tolerance = Tolerance(own.atol or 0.0, own.rtol or 0.0)
    names = _layer_names(source, len(layers)) if own.expected else ()
    case = read.case._replace(network=Network(*layers, last=last), keys=read.names, names=names)
    with working("Comparing with a float64 loop and every way to unroll"):
        comparison = compare(case, unroll, tolerance)
        if not all(np.isfinite(each).all() for each in comparison.layers):
            blocks = stream(
                read.case.network,
                [read.rows],
                case.h0[0],
                precision=case.precision,
                unroll=unroll,
                keys=read.keys,
            )
            deque(blocks, maxlen=0)  # raises the error that has the step
        results = [with_reference(comparison), *with_strategies(comparison)]
        results = [each._replace(name=with_options(each.name)) for each in results]
    expected, hint = None, ""
    if own.expected is not None:
        expected = _with_file(comparison.row or comparison, own.expected, read)
        hint = _hint(case) if expected.explanations == {} else ""
        results.insert(0, expected)
    if own.peers or expected is None:
        with working(f"Comparing with {', '.join(own.peers or PEERS)}"):
            results += with_peers(comparison, own.peers, path)
    model = read.model | {"unroll": unroll}
    return Report(model, results, expected, tolerance, read.names, hint=hint)


def _with_file(comparison: Comparison, path: str, read: ReadCase) -> Result:
    """Compare with a file: a row a step in the order of the input, or a row a sequence."""
    case, place, last = comparison.case, display_name(path), comparison.case.network.last
    head = case.network.head or (last and read.last)
    rows = read_expected(path, "y" if head else "h", last=bool(last))
    with np.errstate(over="ignore"):
        rows = rows.astype(case.h0.dtype)
    N, _, O = comparison.ours.shape
    if last:
        if rows.ndim == 2 and len(rows) == len(read.keys) > N:
            rows = rows[read.numbers]  # a sequence without steps has a row too
        if rows.ndim == 2 and len(rows) == len(read.rows.x) != N and rows.size != N * O:
            what = f"expected a row for each of {N} sequences, got {len(rows)}, as there are steps"
            raise InputError(place, what, "`no_last` compares a row a step")
        rows = rows.reshape(-1, 1, O if rows.size == N * O and N == 1 else rows.shape[-1])
    elif rows.ndim == 2:
        rows = read.arranged(rows) if len(rows) == len(read.rows.x) else rows[None]
    return with_expected(comparison, place, rows, _hint(case, rows.shape[-1]))


def _layer_names(source: dict[str, Any], count: int) -> list[str]:
    """Name the layers as their file does, if each is a part of it."""
    if "weights" not in source or "layer" in source:
        return []
    from rnncli.model.formats import layer_names

    with local_copy(source["weights"]) as path:
        names = layer_names(path)
    own = all(re.fullmatch("layer_[0-9]+", name) for name in names)  # names that we gave
    return names if len(names) == count and all(names) and not own else []


def _hint(case: Case, columns: int | None = None) -> str:
    """Say what compares the states below a head, if a file of so many columns may have them."""
    network, names = case.network, case.names
    states, size = network.layers[-1 - network.head].output_size, network.output_size
    if not network.head or (columns and not size != columns == states):
        name = "y" if network.head else "h"
        named = f"name the columns {name}_0, ... in a header: others are passed over"
        return named if columns and columns > size else ""
    recurrent = [name for name, layer in zip(names, network.layers, strict=False) if layer.cells]
    if len(recurrent) != 1:
        return "`layer` NAME picks a part of the model alone"
    return f"`layer` {verbatim(shown(recurrent[0]))} compares the states below the head"
