"""``rnn verify``: whether these are the right numbers."""

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
from click.exceptions import Exit

from rnncli.cli.errors import RUN_FAILED, abandon_stdout
from rnncli.cli.inputs import ReadCase, read_case
from rnncli.cli.networks import check_network
from rnncli.cli.options import FileName, NetworkOptions, command, picked, section
from rnncli.cli.progress import working
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError, OptionError, word
from rnncli.model.formats import layer_names
from rnncli.model.network import Network
from rnncli.options import Options
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


def tolerance(value: str) -> float:
    """Read a finite number from 0 on."""
    if not 0 <= float(value) < inf:
        raise ValueError(f"{value!r} is not a number from 0 on")
    return float(value)


COMPARISON = section(
    """
Comparison (rnn help verification)
--expected FILE *
    Compare with the results in this file: .csv, .npy, .json or .jsonl, as rnn run writes them,
    or rows of numbers. Where they differ, the usual causes are tried.
--peer *
    Compare with this library; repeat it for several. Default: all that are installed, none with
    --expected.
--last
    Read one row per sequence from the file of --expected.
--no-last
    Read one row per step from the file of --expected.
--atol A
    Absolute tolerance: judge whole runs by |a - b| <= atol + rtol |b|, not each step. Default:
    0.
--rtol R
    Relative tolerance. Default: 0.
""",
    {"expected": FileName(), "peers": PEERS, "atol": tolerance, "rtol": tolerance},
)


@command("verify", EXAMPLES, COMPARISON)
def verify(unroll: str = "auto", json: bool = False, **given: Any) -> None:
    """Compare a run with a float64 loop, other libraries, or a file.

    The other ways to unroll are compared too, and each of Keras, PyTorch and
    ONNX Runtime that is installed; with --expected only the libraries that
    --peer names. Without an input and a network, rnn computes the states that
    the notebook printed. Exit code: 0 if all are equal, 1 if not.
    """
    if given.keys() & {"seq", *NetworkOptions._fields} or given["files"]:
        document = _compare(unroll=unroll, **given)
    else:
        own = {option.name for option in COMPARISON if given.get(str(option.name))}
        for name in sorted(own | given.keys() & {"h0", "c0"}):
            raise OptionError(f"`{name}`: give an input and a network to compare")
        document = judge_notebook(unroll)
    for each in document["results"]["expected" in given :] + document.get("explanations", []):
        each["name"] = word(each["name"])
    try:
        with destination(None) as out:
            (write_json if json else write_table)(out, document)
    except BrokenPipeError:  # the verdict stands
        abandon_stdout()
    if all(result["verdict"] == "not compared" for result in document["results"]):
        raise ValueError("nothing was compared")
    if not document["equal"]:
        raise Exit(RUN_FAILED)


def _compare(
    unroll: str,
    expected: str | None = None,
    peers: Sequence[str] | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    last: bool = False,
    no_last: bool = False,
    **given: Any,
) -> dict[str, Any]:
    """Compare our run with all that there is; a model file without other options is run itself."""
    reading, network = picked(Options, given), picked(NetworkOptions, given)
    if last and no_last:
        raise OptionError("`last` and `no_last`: give one")
    if last and expected is None:
        raise OptionError("`last` is for `expected` FILE")
    check_network(network, reading.files)
    read = read_case(reading, network)
    layers, source = read.case.network.layers, read.model["source"]
    names, other, limits = list[str](), None, None
    if (atol, rtol) != (None, None):
        limits = Tolerance(atol or 0.0, rtol or 0.0)
    if expected is not None and "weights" in source and "layer" not in source:
        with local_copy(source["weights"]) as path:
            names = layer_names(path)
    own = "layer_1" in names  # as rnn names layers
    names = names if len(names) == len(layers) and all(names) and not own else []
    one_row = None if no_last else read.last or ("state" if last else None)
    network_as_judged = Network(*layers, last=one_row)
    case = read.case._replace(network=network_as_judged, keys=read.names, names=names)
    if expected is not None:
        other, peers = (display_name(expected), _read_rows(expected, case, read)), peers or ()
    plain = network == NetworkOptions(weights=network.weights) and reading.precision == "float32"
    plain &= reading.center is reading.scale is None and not case.h0.any()
    file = network.weights if plain and not is_url(network.weights or "") else None
    shown = working("Comparing with a float64 loop and every way to unroll")
    with shown, np.errstate(all="ignore"):  # what others wrote may be of any size
        return judge(case, unroll, read.model, limits, other, peers, file)


def _read_rows(path: str, case: Case, read: ReadCase) -> Floats:
    """Read a file that has a row a step in the order of the input, or a row a sequence."""
    last, N, O = case.network.last, len(case.lengths), case.network.output_size
    head = case.network.head or (last and read.last)
    rows = read_expected(path, "y" if head else "h")
    with np.errstate(over="ignore"):
        rows = rows.astype(case.h0.dtype)
    if last:
        if rows.ndim == 2 and len(rows) == read.keys > N:
            rows = rows[read.numbers]  # a sequence without steps has a row too
        if rows.ndim == 2 and len(rows) == read.size != N and rows.size != N * O:
            what = f"expected a row for each of {N} sequences, got {len(rows)}, as there are steps"
            raise InputError(display_name(path), what, "`no_last` compares a row a step")
        return rows.reshape(-1, 1, O if rows.size == N * O and N == 1 else rows.shape[-1])
    if rows.ndim == 2:
        return read.arranged(rows) if len(rows) == read.size else rows[None]
    return rows
