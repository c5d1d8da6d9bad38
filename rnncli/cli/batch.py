"""``rnn batch``: a result for each of many inputs."""

import logging
import os
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

from click.exceptions import Exit

from rnncli.batches.batch import Batch, Work, read_report
from rnncli.cli.console import Line, note, quiet, say, watch
from rnncli.cli.exits import RUN_FAILED, describe, with_options
from rnncli.cli.networks import NetworkOptions, build_network, check_network
from rnncli.cli.option_table import command, files, pick, table
from rnncli.model.errors import OpenInputError, OptionError, printable
from rnncli.opening import Built, Console
from rnncli.pipeline import return_built
from rnncli.readers import expand
from rnncli.readers.input import STDIN
from rnncli.run_options import Options, integer
from rnncli.storage import is_url, version, wrap_url
from rnncli.storage.sink import destination
from rnncli.storage.system import tie_processes

# Failures and notes that are shown; the report has all of them.
_FAILURES, _NOTES = 20, 10

EXAMPLES = """
# A result for each file. A second call runs only new or changed files.
rnn batch 'in/*.csv' -o 'out/{stem}.csv' -c temperature -w model.keras
# Each sensor continues from its state of the day before.
rnn batch 'today/*.csv' -o out -w model.keras --state 'states/{stem}.npz'
"""


BATCH = table(
    """
Batch (rnn help clusters)
-o, --output TEMPLATE     Where each result goes: a folder, or a template. {stem} is the input's
                          name without its extension, {name} the name, {dir} the folder.
-j, --jobs N              Number of processes. Default: one per processor.
--scheduler ADDRESS       Run on a Dask cluster: tcp://HOST:PORT, or its scheduler's .json file.
--force                   Repeat the inputs that are done.
-n, --dry-run             Show what would be run, and run nothing.
""",
    {"output": wrap_url, "jobs": integer(1)},
)
SHARED = (
    "Input Network h0 c0 state Computation Output !seq !follow !output !format !json !head !tail"
)


@command("batch", EXAMPLES, SHARED, [files("[IN]..."), *BATCH])
def batch(
    files: tuple[str, ...],
    output: str = "",
    jobs: int | None = None,
    scheduler: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    **values: Any,
) -> None:
    """Run a network over many inputs and write a result for each.

    IN is a file, a folder, or a pattern in quotes such as 'in/**/*.csv'. An input is
    skipped if its result exists, and the version, the options, the weights and
    the input are unchanged. --state is a template: 'states/{stem}.npz'.
    """
    if not files or not output or STDIN in files:
        raise OptionError("give files, or a pattern in quotes, and `output` 'FOLDER/{stem}.csv'")
    if jobs and scheduler:
        raise OptionError("`jobs` and `scheduler`: give one")
    network, options = pick(NetworkOptions, values), pick(Options, values)
    inputs = [*map(wrap_url, expand(files))]
    check_network(network, inputs)
    build, identity = _prepare(network, options.precision)
    work = Work(options, build, network.weights, force, with_options, describe)
    plan = Batch(inputs, output, work, identity)
    summary = plan.summary
    if dry_run:
        missing = {task.output for task in plan.find_missing(read_report(summary.report)[0])}
        with destination(None) as out:
            for task in plan.tasks:
                what = "run " if task.output in missing else "done"
                print(printable(f"{what}  {task.input} -> {task.output}"), file=out)
        return
    _run(plan, jobs, scheduler)
    if summary.failed > _FAILURES:
        say(f"{summary.failed - _FAILURES:,} more errors: {printable(summary.report)}")
    if summary.failed or not quiet.get():
        say(str(summary))
    if summary.failed:
        raise Exit(RUN_FAILED)


def _prepare(network: NetworkOptions, precision: str) -> tuple[Callable[[int], Built], str]:
    """Return a function that builds the network of each task, and the identity of the network."""
    weights, drawn = network.weights or "", repr(network._replace(weights=None))
    try:
        # Errors in options, and notes about the file, come once.
        built = build_network(network, int(not weights))
        if weights:
            return partial(return_built, built), drawn + repr({**built[1], "weights": ""})
    except OpenInputError:  # each input tells how many features there are
        drawn += version(weights)
        if not is_url(weights):  # a worker may run in another folder
            network = network._replace(weights=os.path.abspath(weights))
    return partial(build_network, network, precision=precision, quiet=True), drawn


def _run(plan: Batch, jobs: int | None, scheduler: str | None) -> None:
    """Run a batch; show its first failures, its first notes, each once, and its progress."""
    summary, seen = plan.summary, set[str]()

    def show(text: str) -> None:
        line.clear()
        note(text)

    console = Console(show, watch=watch)
    tie_processes()
    logging.disable()  # Dask logs what ends as an error too
    with Line() as line, closing(plan.run(jobs, scheduler, console)) as outcomes:
        for outcome in outcomes:
            if outcome:
                for text in outcome.notes:
                    about = text.replace(outcome.input, "")
                    if about not in seen and len(seen) < _NOTES:
                        seen.add(about)
                        show(text if outcome.input in text else f"{outcome.input}: {text}")
                if outcome.error and summary.failed <= _FAILURES:
                    line.clear()
                    say(f"Error: {outcome.error}")
            ended, total = summary.done + summary.failed, len(plan.tasks) - summary.skipped
            failures = f", {summary.failed:,} failed" if summary.failed else ""
            line.show(f"{ended:,} of {total:,} files{failures}", ended / total)
    logging.disable(logging.NOTSET)
