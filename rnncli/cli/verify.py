"""``rnn verify``: whether these are the right numbers."""

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
from click.exceptions import Exit

from rnncli.cli.errors import RUN_FAILED, abandon_stdout, note
from rnncli.cli.networks import ReadCase, check_network, read_case
from rnncli.cli.options import NetworkOptions, command, files, picked, table
from rnncli.cli.progress import Terminal
from rnncli.model.arrays import Floats
from rnncli.model.errors import OptionError, word
from rnncli.model.formats import find_parts
from rnncli.model.network import Network
from rnncli.options import Options
from rnncli.readers.expected import read_expected
from rnncli.readers.foreign import display_name
from rnncli.storage import is_url, local_copy, named
from rnncli.verification.comparison import Tolerance
from rnncli.verification.peers import PEERS
from rnncli.verification.report import write_json, write_table
from rnncli.verification.verify import judge, judge_notebook
from rnncli.writers.sink import destination

EXAMPLES = """
rnn verify  # does this installation compute what the notebook printed?
rnn verify --seq 1,2,3,4,5,6 --hidden 4  # against installed libraries
# Is the output of a port right? If not, where does it go wrong, and why?
rnn verify log.csv --weights model.safetensors --expected ported.csv
"""


def tolerance(value: str) -> float:
    """Read a finite number from 0 on."""
    if not 0 <= float(value) < inf:
        raise ValueError(f"{value!r} is not a number from 0 on")
    return float(value)


COMPARISON = table(
    """
Comparison (rnn help verification)
--expected FILE           Compare with this .csv, .npy or .jsonl: rows of numbers, or as rnn run
                          writes them. Where they differ, the usual causes are tried.
--peer                    Compare with this library. Default: all, but none with --expected.
--last                    The --expected file has one row per sequence.
--no-last                 The --expected file has one row per step.
--atol A                  Values a and b are equal if |a - b| <= A + R |b|. Default: by rounding.
--rtol R                  Relative tolerance R, as for --atol. Default: by rounding.
""",
    {"expected": named, "peers": PEERS, "atol": tolerance, "rtol": tolerance},
)


TAKEN = "Input Network h0 c0 Computation json quiet !follow"


@command("verify", EXAMPLES, TAKEN, [files(), *COMPARISON])
def verify(unroll: str = "auto", json: bool = False, **given: Any) -> None:
    """Check a run by a loop in float64, other libraries, or a file.

    The loop is also compared with each --unroll way of rnn, and with Keras,
    PyTorch and ONNX Runtime if they are installed. With --expected it runs only the libraries
    that --peer names. Without an input and a network it checks the states that
    the notebook printed, in TF32. Exit code: 0 if all are equal, 1 if not.
    """
    flags = ("files", "last", "no_last")
    asked = given.keys() - {*flags} or any(given[name] for name in flags)
    document = _compare(unroll, **given) if asked else judge_notebook(unroll)
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
    if read.case.taken:
        note(word("only `peer` keras or onnxruntime checks the layers that give fewer rows"))
    layers, names, theirs, limits = read.case.network.layers, list[str](), None, None
    if (atol, rtol) != (None, None):
        limits = Tolerance(atol or 0.0, rtol or 0.0)
    if expected is not None and network.weights is not None and network.layer is None:
        with local_copy(network.weights) as path:
            names = find_parts(path)[0].names()
    if len(names) != len(layers) or not all(names) or "layer_1" in names:  # as rnn names layers
        names = []
    one_row = None if no_last else read.last or ("state" if last else None)
    case = read.case._replace(network=Network(*layers, last=one_row), names=names)
    if expected is not None:
        head = case.network.head or (one_row and read.last)
        rows = read_expected(expected, "y" if head else "h", note)
        theirs, peers = (display_name(expected), _arrange(rows, read, one_row)), peers or ()
    plain = network == NetworkOptions(weights=network.weights) and reading.precision == "float32"
    plain &= reading.center is reading.scale is None and not case.h0.any()
    file = network.weights if plain and not is_url(network.weights or "") else None
    shown = Terminal().working("Comparing with a float64 loop and every way to unroll")
    with shown, np.errstate(all="ignore"):  # what others wrote may be of any size
        return judge(case, unroll, read.model, limits, theirs, peers, file)


def _arrange(rows: Floats, read: ReadCase, one_row: str | None) -> Floats:
    """Arrange rows that have the order of the input, or one a sequence, as (N, T, O)."""
    with np.errstate(over="ignore"):
        rows = rows.astype(read.case.h0.dtype)
    if one_row:
        O = read.case.network.output_size
        return rows.reshape(-1, 1, O if rows.size == O else rows.shape[-1])
    if rows.ndim == 2:
        return read.arranged(rows) if len(rows) == read.size else rows[None]
    return rows
