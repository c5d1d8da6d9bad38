"""``rnn batch``: a result for each of many inputs."""

import logging
import os
from contextlib import closing, suppress
from functools import partial
from typing import Any

import click

from rnncli.batches.batch import Batch, Notes, Outcome, Work, expand, read_done
from rnncli.cli.errors import RUN_FAILED, Failure, failure, note, with_options
from rnncli.cli.networks import build_network, check_network, digest_of, read_weights
from rnncli.cli.options import NetworkOptions, command, picked
from rnncli.cli.progress import Line
from rnncli.model.errors import WORDING, OpenInputError, OptionError, printable
from rnncli.options import Options
from rnncli.readers import STDIN
from rnncli.storage import is_url, version
from rnncli.writers.sink import destination

# Failures and notes that are shown; the report has all of them.
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


@command("batch", EXAMPLES)
def batch(
    files: tuple[str, ...],
    output: str = "",
    jobs: int | None = None,
    scheduler: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    **given: Any,
) -> None:
    """Run a network over many inputs and write a result for each.

    IN is a file, or a pattern in quotes such as 'in/**/*.csv'. An input is
    skipped if its result exists and the version, the options, the weights and
    the input are as they were.
    """
    if not files or not output or STDIN in files:
        raise OptionError("give files, or a pattern in quotes, and `output` 'FOLDER/{stem}.csv'")
    if jobs and scheduler:
        raise OptionError("`jobs` and `scheduler`: give one")
    inputs, network = expand(files), picked(NetworkOptions, given)
    check_network(network, inputs)
    weights, options, content = network.weights, picked(Options, given), ""
    if weights is not None:
        network, content = _read_digest(network)
        if scheduler and not is_url(weights):
            network = network._replace(weights=os.path.abspath(weights))
    build = partial(build_network, network, precision=options.precision, quiet=True)
    work = Work(options, build, weights, force, _Notes)
    identity = repr(network._replace(weights=None)) + content
    read = [weights] if weights else []
    whole = Batch(inputs, output, work, identity, read)
    summary = whole.summary
    if dry_run:
        missing = {task.output for task in whole.missing(read_done(summary.report))}
        with destination(None) as out:
            for task in whole.tasks:
                what = "run " if task.output in missing else "done"
                print(printable(f"{what}  {task.input} -> {task.output}"), file=out)
        return
    _run(whole, jobs, scheduler)
    text = (
        f"{summary.done:,} done, {summary.skipped:,} skipped, {summary.failed:,} failed, "
        f"{summary.rows:,} rows, {summary.seconds:.1f} s; {printable(summary.report)}"
    )
    with suppress(OSError):  # nobody reads it, which changes no exit code
        click.echo(text, err=True)
    if summary.failed:
        raise click.exceptions.Exit(RUN_FAILED)


class _Notes(Notes):
    """Names parameters as options."""

    def __init__(self) -> None:
        super().__init__()
        WORDING.set(with_options)

    def describe(self, error: Exception) -> str:
        return str(error) if isinstance(error, OptionError) else failure(error).message


def _read_digest(network: NetworkOptions) -> tuple[NetworkOptions, str]:
    """Add the digest of the weights; or return their version, if each input tells its features."""
    try:
        build_network(network, 0)  # notes what the file leaves open, once
        return network._replace(sha256=digest_of(read_weights(network))), ""
    except OpenInputError:
        return network, version(network.weights or "")


def _run(whole: Batch, jobs: int | None, scheduler: str | None) -> None:
    """Run a batch, and show what becomes of it."""
    screen = _Screen(whole)
    logging.disable()  # Dask's; an error says what it comes to
    with closing(whole.run(jobs, scheduler, screen.note)) as outcomes:
        try:
            for outcome in outcomes:
                if outcome:
                    screen.add(outcome)
                screen.draw()
        except (KeyboardInterrupt, SystemExit):
            ended = "{:,} of {:,}".format(*screen.count())
            screen.note(f"stopped after {ended}; the same command goes on with the rest")
            raise
        finally:
            screen.clear()
            logging.disable(logging.NOTSET)


class _Screen(Line):
    """Shows the first failures of a batch, the first notes, each once, and how far it is."""

    def __init__(self, whole: Batch) -> None:
        super().__init__()
        self._whole, self._seen = whole, set[str]()

    def note(self, text: str) -> None:
        self.clear()
        note(text)

    def add(self, outcome: Outcome) -> None:
        for text in outcome.notes:
            about = text.replace(outcome.input, "")
            if about not in self._seen and len(self._seen) < _NOTES:
                self._seen.add(about)
                self.note(text if outcome.input in text else f"{outcome.input}: {text}")
        if outcome.error and self._whole.summary.failed <= _FAILURES:
            self.clear()
            Failure(outcome.error, RUN_FAILED).show()

    def count(self) -> tuple[int, int]:
        """Count the tasks that have ended, and all that are run."""
        summary = self._whole.summary
        return summary.done + summary.failed, len(self._whole.tasks) - summary.skipped

    def draw(self) -> None:
        if self.due():
            (ended, total), failed = self.count(), self._whole.summary.failed
            failures = f", {failed:,} failed" if failed else ""
            self.show(f"{ended:,} of {total:,} files{failures}", ended, ended / total)
