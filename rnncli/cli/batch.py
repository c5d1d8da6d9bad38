"""``rnn batch``: a result for each of many inputs."""

import logging
import os
from contextlib import closing, suppress
from functools import partial
from typing import Any

import click

from rnncli.batches.batch import Batch, Notes, Work
from rnncli.batches.tasks import Outcome, expand, read_done
from rnncli.cli.command import Command
from rnncli.cli.errors import RUN_FAILED, Failure, failure, with_options
from rnncli.cli.networks import build_network, check_network, digest_of
from rnncli.cli.options import BatchOptions, NetworkOptions, options, picked
from rnncli.cli.outputs import note, quiet
from rnncli.cli.progress import Bar
from rnncli.cli.values import FileName
from rnncli.model.errors import WORDING, OptionError, printable
from rnncli.options import Options
from rnncli.pipeline import Sourced
from rnncli.readers import STDIN
from rnncli.storage import is_url
from rnncli.writers.sink import destination

# Failures, and texts of notes, that are shown; the report has all of them.
_FAILURES, _NOTES = 20, 10

EXAMPLES = (
    (
        "rnn batch 'in/*.csv' -o 'out/{stem}.csv' --columns SUNACTIVITY --weights model.keras",
        "A result for each file. Again: only what is new or has changed.",
    ),
    (
        "rnn batch 'today/*.csv' -o 'out/{stem}.csv' --columns temperature --weights model.keras "
        "--state 'states/{stem}.npz'",
        "Each sensor's file goes on from where its last one ended.",
    ),
    (
        "rnn batch 's3://logs/in/*.parquet' -o 's3://logs/out/{stem}.parquet' "
        "--columns temperature --weights model.keras --scheduler tcp://10.0.0.5:8786",
        "On a Dask cluster, from and to S3.",
    ),
)


@click.command("batch", cls=Command, examples=EXAMPLES, of_run=True)
@click.argument("files", nargs=-1, metavar="[IN]...", type=FileName())
@options("batch")
@options("input", without="seq follow")
@options("network", "start", "state", "computation")
@options("output", without="output format json head tail")
@options("quiet")
def batch(**given: Any) -> None:
    """Run a network over many inputs and write a result for each.

    IN is a file, or a pattern in quotes such as 'in/**/*.csv'. An input is
    skipped if its result exists and the version, the options, the weights and
    the input are as they were.
    """
    own, network = picked(BatchOptions, given), picked(NetworkOptions, given)
    if not own.files:
        raise click.UsageError("no input: give files, or a pattern in quotes")
    if not own.output:
        raise click.UsageError("no output: give -o FOLDER or -o 'FOLDER/{stem}.csv'")
    if STDIN in own.files:
        raise click.UsageError("-: inputs are files (./- is a file of that name)")
    if own.jobs and own.scheduler is not None:
        raise click.UsageError(f"-j is for this machine, and {own.scheduler} is a cluster")
    inputs = expand(own.files)
    check_network(network, inputs)
    whole = _prepare(own, network, picked(Options, given), inputs)
    if own.dry_run:
        missing = {task.output for task in whole.missing(read_done(whole.summary.report))}
        with destination(None) as out:
            for task in whole.tasks:
                word = "run " if task.output in missing else "done"
                print(printable(f"{word}  {task.input} -> {task.output}"), file=out)
        return
    _run(whole, own)
    summary = whole.summary
    text = (
        f"{summary.done:,} done, {summary.skipped:,} skipped, {summary.failed:,} failed, "
        f"{summary.rows:,} rows, {summary.seconds:.1f} s; {printable(summary.report)}"
    )
    with suppress(OSError):  # nobody reads it, which changes no exit code
        click.echo(text, err=True)
    if summary.failed:
        raise click.exceptions.Exit(RUN_FAILED)


def _prepare(
    own: BatchOptions, network: NetworkOptions, given: Options, inputs: list[str]
) -> Batch:
    weights, read = network.weights, list[str]()
    if weights is not None:
        build_network(network, 0)  # notes what the file leaves open, once
        network, read = network._replace(sha256=digest_of(network)), [weights]
        if own.scheduler is not None and not is_url(weights):
            network = network._replace(weights=os.path.abspath(weights))
    build = partial(_build, network, given.precision)
    plain = given._replace(files=(), output=None)
    work = Work(plain, build, weights, own.force, _Notes)
    return Batch(inputs, own.output, work, repr(network._replace(weights=None)), read)


def _build(network: NetworkOptions, precision: str, input_size: int) -> Sourced:
    """Read or draw the network of a task, without notes."""
    token = quiet.set(True)
    try:
        return build_network(network, input_size, precision)
    finally:
        quiet.reset(token)


class _Notes(Notes):
    """Names parameters as options."""

    def __init__(self) -> None:
        super().__init__()
        WORDING.set(with_options)

    def describe(self, error: Exception) -> str:
        return str(error) if isinstance(error, OptionError) else failure(error).message


def _run(whole: Batch, own: BatchOptions) -> None:
    """Run a batch, and show notes, failures and progress as they come."""
    screen, summary = _Screen(whole), whole.summary
    logging.disable()  # Dask's; an error says what it comes to
    with closing(whole.run(own.jobs, own.scheduler, screen.note)) as outcomes:
        try:
            for outcome in outcomes:
                if outcome:
                    screen.add(outcome)
                screen.draw()
        except (KeyboardInterrupt, SystemExit):
            of = f"{summary.done + summary.failed:,} of {len(whole.tasks) - summary.skipped:,}"
            screen.note(f"stopped after {of}; the same command goes on with the rest")
            raise
        finally:
            screen.bar.clear()
            logging.disable(logging.NOTSET)


class _Screen:
    """Shows what becomes of a batch."""

    def __init__(self, whole: Batch) -> None:
        self.bar, self._count, self._summary = Bar(), len(whole.tasks), whole.summary
        self._notes: set[str] = set()

    def note(self, text: str) -> None:
        self.bar.clear()
        note(text)

    def add(self, outcome: Outcome) -> None:
        """Show the first failures, and each note once, whichever file it is of."""
        report, failures = self._summary.report, self._summary.failed
        for text in outcome.notes:
            about = text.replace(outcome.input, "")
            if about in self._notes or len(self._notes) > _NOTES:
                continue
            self._notes.add(about)
            if len(self._notes) > _NOTES:
                text = f"there are more notes: {report} has all of them"
            elif outcome.input not in text:
                text = f"{outcome.input}: {text}"
            self.note(text)
        if outcome.error and failures <= _FAILURES:
            self.bar.clear()
            Failure(outcome.error, RUN_FAILED).show()
        elif outcome.error and failures == _FAILURES + 1:
            self.note(f"more have failed: {report} has all of them")

    def draw(self) -> None:
        """Draw how many tasks have ended, how fast that was, and how long the rest takes."""
        if self.bar.due():
            summary = self._summary
            ended, total = summary.done + summary.failed, self._count - summary.skipped
            failures = f", {summary.failed:,} failed" if summary.failed else ""
            rate = f", {self.bar.rate(ended)}" if ended else ""
            self.bar.show(f"{ended:,} of {total:,} files{failures}{rate}", ended / total)
