"""``rnn verify``: whether these are the right numbers."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import click
import numpy as np
from click.exceptions import Exit

from rnncli import __version__
from rnncli.arrays import Floats, Integers
from rnncli.cli.endings import RUN_FAILED
from rnncli.cli.help import Command
from rnncli.cli.network import build_network, check_input_size, check_network
from rnncli.cli.options import (
    NOTHING_GIVEN,
    InputOptions,
    NetworkOptions,
    computation_options,
    group,
    h0_option,
    input_options,
    json_option,
    network_options,
    option,
    picked,
)
from rnncli.cli.progress import working
from rnncli.cli.resolve import destination, open_input
from rnncli.cli.values import Positive
from rnncli.compare.verdict import Case, Tolerance
from rnncli.forward import prepare
from rnncli.peers import PEERS
from rnncli.precision import PRECISIONS
from rnncli.readers import Keys, read_state
from rnncli.readers.expected import read_expected
from rnncli.recorded.results import with_recorded
from rnncli.stream import Carried, joined, stream
from rnncli.verification import (
    Comparison,
    in_sequences,
    with_expected,
    with_peers,
    with_reference,
    with_strategies,
)
from rnncli.writers.model import describe
from rnncli.writers.verification import Report, write_report_json, write_report_table

EXAMPLES = (
    ("rnn verify", "What Keras, PyTorch and ONNX Runtime once computed: is it what rnn does here?"),
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

comparison_options = group(
    option(
        "Comparison",
        "--expected",
        type=click.Path(),
        metavar="FILE",
        help="States that another program computed: .csv, .npy, .json or .jsonl, as rnn run "
        "writes them, or just numbers in rows. Where they differ, the usual causes are tried.",
    ),
    option(
        "Comparison",
        "--peer",
        "peers",
        multiple=True,
        type=click.Choice(list(PEERS)),
        help="Of the libraries, compare with this one alone; it is an error if it is not there or "
        "cannot run the network. Give it again for several.",
    ),
    option(
        "Comparison",
        "--atol",
        type=Positive(zero=True),
        metavar="A",
        help="Judge whole runs instead of every step: equal is |a - b| <= A + R |b|.",
    ),
    option(
        "Comparison",
        "--rtol",
        type=Positive(zero=True),
        metavar="R",
        help="The R of that; what of the two is not given is 0.",
    ),
)


class ComparisonOptions(NamedTuple):
    """What a run is compared with, and how."""

    expected: str | None
    peers: tuple[str, ...]
    atol: float | None
    rtol: float | None

    def tolerance(self) -> Tolerance | None:
        """Give the tolerance of whole runs; None where steps are judged."""
        if self.atol is None and self.rtol is None:
            return None
        return Tolerance(self.atol or 0.0, self.rtol or 0.0)


@click.command("verify", cls=Command, examples=EXAMPLES)
@input_options
@network_options
@h0_option
@computation_options
@comparison_options
@json_option
def verify(precision: str, unroll: str, h0: str | None, json: bool, **given: Any) -> None:
    """Compare a run with a float64 loop, other libraries, or a file.

    It is compared with every way to unroll, with each of Keras, PyTorch and
    ONNX Runtime that is installed, and with --expected. Without an input and
    a network: recorded cases of all three. Exit code 0: equal, 1: different.
    """
    options = picked(NetworkOptions, given)
    reading = picked(InputOptions, given | {"follow": False, "passthrough": False})
    own = picked(ComparisonOptions, given)
    if reading.seq is None and not reading.files and options == NOTHING_GIVEN:
        _check_no_options(own, h0)
        report = Report({}, list(with_recorded()))
    else:
        check_network(options)
        run, model = _own_run(reading, options, precision, unroll, h0)
        report = _compared(run, model, own)
    write = write_report_json if json else write_report_table
    with destination(None) as out:
        write(out, report)
    if not any(result.verdict for result in report.results) and not report.explanations:
        raise ValueError("nothing was compared")
    if not report.equal:
        raise Exit(RUN_FAILED)


class Run(NamedTuple):
    """Our own run of a whole input, and which of its rows belong to which sequence."""

    comparison: Comparison
    rows: int
    active: Integers
    key: Integers
    biases: Sequence[tuple[Floats, ...]]
    names: Sequence[str]


def _own_run(
    reading: InputOptions, options: NetworkOptions, precision: str, unroll: str, h0: str | None
) -> tuple[Run, dict[str, Any]]:
    """Run the network on the whole input, as ``rnn run`` would."""
    dtype = PRECISIONS[precision].dtype
    source = open_input(reading, dtype, Keys())
    network, origin, biases = build_network(options, len(source.columns), dtype.itemsize)
    check_input_size(network, len(source.columns), "; --columns chooses those to read")
    size = network.state_size
    start = np.zeros(size, dtype) if h0 is None else read_state(h0, dtype, size)
    rows = next(joined(source.blocks), None)
    if rows is None:
        raise ValueError("nothing to compare: the input has no steps")
    active = np.arange(len(rows.x)) if rows.held is None else np.flatnonzero(~rows.held)
    keys = np.zeros(len(active), np.intp) if rows.key is None else rows.key[active]
    present, key, lengths = np.unique(keys, return_inverse=True, return_counts=True)
    x = in_sequences(rows.x[active], key, lengths)
    case = Case(network, x, np.tile(start, (len(lengths), 1)), lengths, precision)
    layers = case.states(unroll)
    if not all(np.isfinite(layer).all() for layer in layers):
        prepared = prepare(network, precision, unroll)
        deque(stream(prepared, [rows], Carried(start, 0), source.keys), maxlen=0)
    model = describe(network, origin, __version__) | {"precision": precision, "unroll": unroll}
    names = [" ".join(source.keys[number]) for number in present] if source.key_columns else []
    return Run(Comparison(case, layers), len(rows.x), active, key, biases, names), model


def _compared(run: Run, model: dict[str, Any], own: ComparisonOptions) -> Report:
    """Compare our run with all that there is."""
    comparison = run.comparison._replace(tolerance=own.tolerance())
    reference = with_reference(comparison)
    if reference.verdict and not comparison.tolerance:
        comparison = comparison._replace(wrong=reference.verdict.first)
    results = [reference, *with_strategies(comparison)]
    explanations = None
    if own.expected is not None:
        theirs = _arranged(read_expected(own.expected), run)
        result, found = with_expected(comparison, own.expected, theirs, run.biases)
        results.insert(0, result)
        if result.verdict is None or not result.verdict.equal:
            explanations = found
    with working(f"Comparing with {', '.join(own.peers or PEERS)}"):
        results += with_peers(comparison, own.peers)
    return Report(model, results, explanations, comparison.tolerance, run.names)


def _arranged(states: Floats, run: Run) -> Floats:
    """Arrange rows in the order of the input as sequences; an array is one already."""
    case = run.comparison.case
    with np.errstate(over="ignore"):
        states = states.astype(case.h0.dtype)
    if states.ndim == 3:
        return states
    if len(states) == run.rows:
        return in_sequences(states[run.active], run.key, case.lengths)
    return states[None]


def _check_no_options(own: ComparisonOptions, h0: str | None) -> None:
    """Refuse options that are for an input, where there is none."""
    for name, given in (
        ("--expected", own.expected is not None),
        ("--peer", bool(own.peers)),
        ("--atol and --rtol", own.tolerance() is not None),
        ("--h0", h0 is not None),
    ):
        if given:
            raise click.UsageError(f"{name}: give an input and a network to compare")
