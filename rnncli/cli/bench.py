"""``rnn bench``: time the strategies and other libraries."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from click.exceptions import Exit

from rnncli.bench.race import SIZES, find_candidates, race, write_machine, write_table
from rnncli.cli.errors import RUN_FAILED, Line
from rnncli.cli.networks import CONSOLE, NetworkOptions, build_network, check_network
from rnncli.cli.option_table import command, files, pick, table
from rnncli.pipeline import open_both
from rnncli.run_options import Options, integer
from rnncli.verification.case import Case, read_case
from rnncli.verification.peers import PEERS
from rnncli.writers.model import model_line
from rnncli.writers.sink import destination

EXAMPLES = """
rnn bench  # eight cases, in two minutes
rnn bench log.csv -w model.keras --peer onnxruntime  # your own network
"""

TIMING = table(
    """
Timing (rnn help speed)
--peer                    Time this library. Default: all that are installed.
--repeats N               Number of rounds. Default: 3.
""",
    {"peers": PEERS, "repeats": integer(1)},
)


@command("bench", EXAMPLES, "Input Network h0 c0 precision !follow", [files(), *TIMING])
def bench(
    precision: str = "float32", peers: Sequence[str] = (), repeats: int = 3, **values: Any
) -> None:
    """Time rnn beside Keras, PyTorch and ONNX Runtime.

    Each runs in a process of its own, in turn. A library runs on one thread and
    on all; the faster counts. Without an input and a network, eight
    built-in cases are timed, from one long sequence to ten thousand short ones.
    """
    network = pick(NetworkOptions, values)
    reading = pick(Options, values | {"precision": precision})
    names, absent = find_candidates(peers, precision)
    # The title of a case, its number of steps, and a function that gives it for a round.
    cases: list[tuple[str, int, Callable[[int], Case]]] = [
        (size.title(precision), size.T, partial(size.case, precision=precision)) for size in SIZES
    ]
    if values.keys() - {"files"} or reading.files:
        check_network(network, reading.files)
        build = partial(build_network, network, precision=reading.precision)
        opened = open_both(reading, build, CONSOLE, weights=network.weights)
        read = read_case(opened, reading.precision)
        if read.case.original:
            raise ValueError("a network whose lowest layers give fewer rows is not timed")
        N, T = len(read.case.h0), int(read.case.groups.lengths.max())
        cases = [(f"{model_line(read.model)}, T = {T:,}, N = {N:,}", T, lambda _: read.case)]
    failed = False
    with destination(None) as out:
        write_machine(out, absent)
        for number, (title, T, case_of) in enumerate(cases, start=1):
            # The line stands still while a candidate runs: it has the machine to itself.
            case = f"case {number} of {len(cases)}"
            with Line(case) as line:
                show = partial(lambda case, who: line.write(f"{case}, {who}"), case)
                racers = race(case_of, names, repeats, show)
            write_table(out, title, T, racers)
            failed = failed or any(racer.failed for racer in racers)
    if failed:
        raise Exit(RUN_FAILED)
