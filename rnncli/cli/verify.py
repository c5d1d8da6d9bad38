"""``rnn verify``: whether these are the right numbers."""

import re
from typing import Any, NamedTuple

import click
import numpy as np
from click.exceptions import Exit

from rnncli.cli.command import Command
from rnncli.cli.errors import RUN_FAILED
from rnncli.cli.inputs import ReadCase, read_case
from rnncli.cli.networks import check_network
from rnncli.cli.options import NetworkOptions, Opt, Section, options, picked
from rnncli.cli.progress import working
from rnncli.cli.values import Choice, FileName, number
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError, OptionError, word
from rnncli.model.network import Network
from rnncli.options import Options
from rnncli.readers import STDIN
from rnncli.readers.expected import read_expected
from rnncli.readers.foreign import display_name
from rnncli.storage import is_url, local_copy
from rnncli.verification.case import Case
from rnncli.verification.comparison import Tolerance
from rnncli.verification.peers import PEERS
from rnncli.verification.report import write_json, write_table
from rnncli.verification.verify import judge, judge_notebook
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
@options("input", without="follow")
@options("network", "start", "computation")
@options("output", only="json")
@options("quiet")
def verify(precision: str, unroll: str, json: bool, **given: Any) -> None:
    """Compare a run with a float64 loop, other libraries, or a file.

    The other ways to unroll are compared too, and each of Keras, PyTorch and
    ONNX Runtime that is installed; with --expected only the libraries that
    --peer names. Without an input and a network, rnn computes the states that
    the notebook printed. Exit code: 0 if all are equal, 1 if not.
    """
    wanted, own = picked(NetworkOptions, given), picked(ComparisonOptions, given)
    reading = picked(Options, given | {"precision": precision})
    if reading.seq is not None or reading.files or wanted != NetworkOptions():
        document = _compare(reading, wanted, own, unroll)
    else:
        starting = {"h0": reading.h0, "c0": reading.c0}
        for name in [n for n, value in (own._asdict() | starting).items() if value]:
            raise OptionError(f"`{name}`: give an input and a network to compare")
        document = judge_notebook(unroll)
    for each in document["results"][own.expected is not None :] + document.get("explanations", []):
        each["name"] = word(each["name"])
    with destination(None) as out:
        if json:
            write_json(out, document)
        else:
            write_table(out, document)
    if all(result["verdict"] == "not compared" for result in document["results"]):
        raise ValueError("nothing was compared")
    if not document["equal"]:
        raise Exit(RUN_FAILED)


def _compare(
    reading: Options, wanted: NetworkOptions, own: ComparisonOptions, unroll: str
) -> dict[str, Any]:
    """Compare our run with all that there is; a model file without other options is run itself."""
    if own.last and own.no_last:
        raise click.UsageError("--last and --no-last: give one")
    if own.last and own.expected is None:
        raise click.UsageError("--last is for --expected FILE")
    check_network(wanted, reading.files)
    if own.expected == STDIN and reading.seq is None and STDIN in (reading.files or [STDIN]):
        raise click.UsageError("--expected -: standard input is the input; name a FILE for one")
    read = read_case(reading, wanted)
    plain = wanted == NetworkOptions(weights=wanted.weights) and reading.precision == "float32"
    plain &= reading.center is reading.scale is None and not read.case.h0.any()
    path = wanted.weights if plain and not is_url(wanted.weights or "") else None
    layers, tolerance = read.case.network.layers, None
    if (own.atol, own.rtol) != (None, None):
        tolerance = Tolerance(own.atol or 0.0, own.rtol or 0.0)
    last = None if own.no_last else read.last or ("state" if own.last else None)
    names = _layer_names(read.model["source"], len(layers)) if own.expected else ()
    case = read.case._replace(network=Network(*layers, last=last), keys=read.names, names=names)
    expected = None
    if own.expected is not None:
        rows = _read_rows(own.expected, case, read)
        expected = (display_name(own.expected), rows)
    peers = own.peers or (None if expected is None else ())
    shown = working("Comparing with a float64 loop and every way to unroll")
    with shown, np.errstate(all="ignore"):  # what others wrote may be of any size
        return judge(case, unroll, read.model, tolerance, expected, peers, path)


def _read_rows(path: str, case: Case, read: ReadCase) -> Floats:
    """Read a file that has a row a step in the order of the input, or a row a sequence."""
    last, N, O = case.network.last, len(case.lengths), case.network.output_size
    head = case.network.head or (last and read.last)
    rows = read_expected(path, "y" if head else "h", last=bool(last))
    with np.errstate(over="ignore"):
        rows = rows.astype(case.h0.dtype)
    if last:
        if rows.ndim == 2 and len(rows) == len(read.keys) > N:
            rows = rows[read.numbers]  # a sequence without steps has a row too
        if rows.ndim == 2 and len(rows) == len(read.rows.x) != N and rows.size != N * O:
            what = f"expected a row for each of {N} sequences, got {len(rows)}, as there are steps"
            raise InputError(display_name(path), what, "`no_last` compares a row a step")
        return rows.reshape(-1, 1, O if rows.size == N * O and N == 1 else rows.shape[-1])
    if rows.ndim == 2:
        return read.arranged(rows) if len(rows) == len(read.rows.x) else rows[None]
    return rows


def _layer_names(source: dict[str, Any], count: int) -> list[str]:
    """Name the layers as their file does, if each is a part of it."""
    if "weights" not in source or "layer" in source:
        return []
    from rnncli.model.formats import layer_names

    with local_copy(source["weights"]) as path:
        names = layer_names(path)
    own = all(re.fullmatch("layer_[0-9]+", name) for name in names)  # names that we gave
    return names if len(names) == count and all(names) and not own else []
