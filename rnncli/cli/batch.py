"""``rnn batch``: a result for each of many inputs."""

import hashlib
import json as json_text
import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, redirect_stderr
from functools import partial
from io import StringIO
from typing import Any, NamedTuple

import click

from rnncli import __version__
from rnncli.batches.processes import Work, run_in_processes
from rnncli.batches.report import DONE, NAME, Outcome, Report, failed
from rnncli.batches.tasks import OF_INPUT, Task, Template, check_apart, names_of
from rnncli.cli.command import Command
from rnncli.cli.errors import RUN_FAILED, Failure, errors_shown
from rnncli.cli.options import (
    computation_options,
    layout_options,
    network_options,
    shown_options,
    start_options,
    state_options,
)
from rnncli.cli.run import forward
from rnncli.cli.values import Choice, FileName, whole
from rnncli.engine.threads import usable_processors
from rnncli.writers import WRITERS

# Notes that are shown as they come; the report has all of them.
_NOTES = 10
# What a run has and a batch has not.
_OF_RUN = {"seq": None, "follow": False, "json": False}
_STATES = ("state", "state_in", "state_out")

EXAMPLES = (
    (
        "rnn batch 'in/*.csv' -o 'out/{stem}.csv' --columns SUNACTIVITY --weights model.keras",
        "A result for each file. Again: only what is new or has changed.",
    ),
)


class BatchOptions(NamedTuple):
    """How a batch is run."""

    files: tuple[str, ...]
    files_from: str | None
    output: str
    format: str | None
    jobs: int | None
    scheduler: str | None
    force: bool
    dry_run: bool
    fail_fast: bool
    report: str | None
    json: bool


class Summary(NamedTuple):
    """What became of a batch."""

    done: int
    skipped: int
    failed: int
    rows: int
    seconds: float
    report: str


@click.command("batch", cls=Command, examples=EXAMPLES)
@click.argument("files", nargs=-1, metavar="[IN]...", type=FileName())
@click.option("--files-from", metavar="FILE", type=FileName(), help="Inputs, one a line.")
@layout_options
@network_options
@start_options
@state_options
@computation_options
@click.option("-o", "--output", metavar="TEMPLATE", required=True, type=FileName(), help="...")
@click.option("--format", type=Choice(list(WRITERS)), help="...")
@shown_options
@click.option("-j", "--jobs", metavar="N", type=whole(1), help="...")
@click.option("--scheduler", metavar="ADDRESS", help="...")
@click.option("--force", is_flag=True, help="...")
@click.option("-n", "--dry-run", is_flag=True, help="...")
@click.option("--fail-fast", is_flag=True, help="...")
@click.option("--report", metavar="FILE", type=FileName(), help="...")
@click.option("--json", is_flag=True, help="...")
def batch(**given: Any) -> None:
    """Run a network over many inputs, and write a result for each."""
    options = BatchOptions(**{name: given.pop(name) for name in BatchOptions._fields})
    tasks = _tasks(options, given)
    check_apart(tasks)
    summary = _run(options, tasks, given)
    if options.json:
        click.echo(json_text.dumps(summary._asdict()))
    else:
        click.echo(_sentence(summary), err=True)
    if summary.failed:
        raise click.exceptions.Exit(RUN_FAILED)


def _tasks(options: BatchOptions, given: Mapping[str, Any]) -> list[Task]:
    text = options.output
    if "{" not in text:
        text = os.path.join(text, f"{{stem}}.{options.format or 'csv'}")
    template = Template("-o", text, OF_INPUT)
    settings = repr((__version__, sorted(given.items()), options.format))
    made_of = hashlib.sha256(settings.encode()).hexdigest()[:16]
    tasks = []
    for path in options.files:
        names = names_of(path)
        output, size = template.filled(names), 0
        about = made_of
        if os.path.exists(path):
            found = os.stat(path)
            size, about = found.st_size, f"{made_of} {found.st_size} {found.st_mtime_ns}"
        tasks.append(Task(path, output, {}, about, size))
    return tasks


def _run(options: BatchOptions, tasks: Sequence[Task], given: Mapping[str, Any]) -> Summary:
    begin, template = time.monotonic(), Template("-o", options.output, OF_INPUT)
    path = options.report or os.path.join(template.folder or ".", NAME)
    count = {"done": 0, "skipped": 0, "failed": 0, "rows": 0}
    with Report.opened(path) as report:
        todo = [
            task
            for task in tasks
            if options.force
            or report.done.get(task.output) != task.made_of
            or not os.path.exists(task.output)
        ]
        count["skipped"] = len(tasks) - len(todo)
        for folder in {os.path.dirname(task.output) or "." for task in todo}:
            os.makedirs(folder, exist_ok=True)
        work = partial(run_task, given={**_OF_RUN, **given, "format": options.format})
        with closing(_outcomes(options, todo, work)) as outcomes:
            for outcome in outcomes:
                report.add(outcome)
                count["rows"] += outcome.rows
                count["done" if outcome.status == DONE else "failed"] += 1
                if outcome.error:
                    click.echo(f"Error: {outcome.error}", err=True)
                    if options.fail_fast:
                        break
    return Summary(**count, seconds=round(time.monotonic() - begin, 3), report=path)


def _outcomes(options: BatchOptions, tasks: Sequence[Task], work: Work) -> Generator[Outcome, None, None]:
    """Run tasks where the options say, and yield what becomes of each as it ends."""
    jobs = min(options.jobs or len(usable_processors()), len(tasks))
    if options.scheduler:
        from rnncli.batches.cluster import run_on_cluster

        yield from run_on_cluster(tasks, work, options.scheduler)
    elif jobs > 1:
        yield from run_in_processes(tasks, work, jobs)
    else:
        yield from map(work, tasks)


def run_task(task: Task, given: Mapping[str, Any]) -> Outcome:
    """Do a task in this process, whatever becomes of it: what ``rnn run`` would do.

    Parameters
    ----------
    task : Task
    given : mapping
        The options of ``rnn run`` that all tasks have, as Click has read them.
    """
    begin, said = time.monotonic(), StringIO()
    options = {**given, **task.options, "files": (task.input,), "output": task.output}
    try:
        with redirect_stderr(said), errors_shown():
            rows = forward(**options)
    except Failure as failure:
        outcome = failed(task, failure.message)
    except Exception as error:  # a fault of this program's own must not end the others
        outcome = failed(task, f"{task.input}: {type(error).__name__}: {error}")
    else:
        outcome = Outcome(task.input, task.output, task.made_of, DONE, rows)
    notes = tuple(said.getvalue().splitlines())
    return outcome._replace(seconds=round(time.monotonic() - begin, 4), notes=notes)


def _sentence(summary: Summary) -> str:
    return (
        f"{summary.done} done, {summary.skipped} skipped, {summary.failed} failed, "
        f"{summary.rows:,} rows, {summary.seconds:.1f} s; {summary.report}"
    )
