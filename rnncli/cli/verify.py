"""``rnn verify``: check the numbers of a run."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from click.exceptions import Exit

from rnncli.cli.console import Line, note
from rnncli.cli.exits import RUN_FAILED, abandon_stdout
from rnncli.cli.networks import CONSOLE, NetworkOptions, build_network, check_network
from rnncli.cli.option_table import command, files, pick, table
from rnncli.model.errors import InputError, OptionError, verbatim, word
from rnncli.model.network import Network
from rnncli.opening import open_both
from rnncli.readers.expected import read_expected
from rnncli.readers.input import display_name
from rnncli.run_options import Options, tolerance
from rnncli.storage import is_url, wrap_url
from rnncli.storage.sink import destination
from rnncli.verification.case import read_case
from rnncli.verification.comparison import Tolerance
from rnncli.verification.peers import PEERS
from rnncli.verification.report import write_json, write_table
from rnncli.verification.verify import arrange, judge, judge_notebook

EXAMPLES = """
rnn verify  # does this installation compute what the notebook printed?
rnn verify --seq 1,2,3,4,5,6 --hidden 4  # against installed libraries
# Is the output of a port right? If not, where does it go wrong, and why?
rnn verify log.csv --weights model.safetensors --expected ported.csv
"""
SHARED = "Input Network h0 c0 Computation json quiet !follow"
COMPARISON = table(
    """
Comparison (rnn help verification)
--expected FILE           Compare with this file: rows of numbers, or any format of rnn run. If they
                          differ, rnn tries the usual causes.
--peer                    Compare with this library. Default: all, but none with --expected.
--last                    The --expected file has one row per sequence.
--no-last                 The --expected file has one row per step.
--atol A                  Accept differences up to A, in place of what rounding explains.
--rtol R                  Accept differences up to R times the value, added to --atol.
""",
    {"expected": wrap_url, "peers": PEERS, "atol": tolerance, "rtol": tolerance},
)


@command("verify", EXAMPLES, SHARED, [files(), *COMPARISON])
def verify(unroll: str = "auto", json: bool = False, **values: Any) -> None:
    """Compare a run with a float64 loop, libraries or a file.

    Without --expected it checks every --unroll way, and Keras, PyTorch and ONNX
    Runtime where they are installed. With --expected it checks the file, and the
    libraries that --peer names. Without an input and a network it checks the
    notebook's states, in TF32. Exit code: 0 if all are equal, 1 if not.
    """
    flags = ("files", "last", "no_last")
    asked = values.keys() - {*flags} or any(values[name] for name in flags)
    document = _compare(unroll, **values) if asked else judge_notebook(unroll)
    try:
        with destination(None) as out:
            (write_json if json else write_table)(out, document)
    except BrokenPipeError:  # the verdict stands
        abandon_stdout()
    if all(result["verdict"] == "not compared" for result in document["results"]):
        raise InputError("", "nothing was compared")
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
    **values: Any,
) -> dict[str, Any]:
    """Compare a run with a file or with libraries, which read a model file without options."""
    reading, network = pick(Options, values), pick(NetworkOptions, values)
    tolerance = Tolerance.read(atol, rtol)
    if last and (no_last or expected is None):
        raise OptionError("`last` is for `expected` FILE, without `no_last`")
    check_network(network, reading.files)
    build = partial(build_network, network, precision=reading.precision)
    opened = open_both(reading, build, CONSOLE, weights=network.weights)
    read = read_case(opened, reading.precision)
    if read.case.original:
        note(word("only `peer` keras or onnxruntime checks the layers that give fewer rows"))
    one_row = None if no_last else read.last or ("state" if last else None)
    layers = read.case.network.layers
    columns = opened.source.columns
    case = read.case._replace(network=Network(*layers, last=one_row), columns=columns)
    theirs = None
    if expected is not None:
        of_head = case.network.head or (one_row and read.last)
        count = len(case.h0) if one_row else read.size
        rows = read_expected(expected, "y" if of_head else "h", note, count)
        with np.errstate(over="ignore"):
            rows = rows.astype(case.h0.dtype)
        name, O = display_name(expected), case.network.output_size
        if one_row and rows.size == O:
            rows = rows.reshape(1, O)
        elif not one_row and rows.ndim == 2 and len(rows) == read.size and not case.original:
            rows = rows[read.rows]
        rows = arrange(case, name, rows, int(case.groups.lengths.max()))
        theirs, peers = (verbatim(name), rows), peers or ()
    output = network.output_name
    plain = network == NetworkOptions(weights=network.weights, output_name=output)
    plain &= reading.precision == "float32" and not case.h0.any()
    local = None if is_url(network.weights or "") else network.weights
    file = local if plain else None
    shown = Line("Comparing with a float64 loop and every way to unroll")
    with shown, np.errstate(all="ignore"):  # what others wrote may be of any size
        return judge(case, unroll, read.model, tolerance, theirs, peers, file, local or "")
