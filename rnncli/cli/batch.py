"""``rnn batch``: a result for each of many inputs."""

import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import click

from rnncli import __version__
from rnncli.batches.processes import Work, remove_left_of, run_in_processes
from rnncli.batches.report import DONE, NAME, Outcome, done_before, failed
from rnncli.batches.tasks import (
    Task,
    Template,
    check_apart,
    expanded,
    finder,
    make_tasks,
    names_of,
    resolver,
)
from rnncli.cli.command import Command
from rnncli.cli.errors import EXPECTED, RUN_FAILED, as_usage, failure
from rnncli.cli.networks import digest_of
from rnncli.cli.options import (
    BATCH,
    COMPUTATION,
    INPUT,
    NETWORK,
    OUTPUT,
    QUIET,
    START,
    STATE,
    BatchOptions,
    NetworkOptions,
    options,
    picked,
)
from rnncli.cli.outputs import collected
from rnncli.cli.run import check, forward
from rnncli.cli.summary import Running, Summary, sentence
from rnncli.cli.values import FileName
from rnncli.engine.threads import usable_processors
from rnncli.model.errors import InputError, OptionError, check_installed, printable
from rnncli.pipeline import CountedError
from rnncli.readers import STDIN
from rnncli.storage import exists, is_url, version
from rnncli.writers import EXTENSIONS, TABLES
from rnncli.writers.sink import destination, is_packed

# Options of a run that a batch does not have.
_OF_RUN = {
    "seq": None,
    "follow": False,
    "format": None,
    "json": False,
    "head": None,
    "tail": None,
}
_STATES = ("state", "state_in", "state_out")

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
    (
        "rnn batch 'in/*.csv' -o out --columns 2 --weights model.keras --dry-run",
        "What would be run, and what is done.",
    ),
)


@click.command("batch", cls=Command, examples=EXAMPLES, of_run=True)
@click.argument("files", nargs=-1, metavar="[IN]...", type=FileName())
@options(BATCH)
@options(INPUT, without="seq follow")
@options(NETWORK, START, STATE, COMPUTATION)
@options(OUTPUT, without="output format json head tail")
@options(QUIET)
@click.pass_context
def batch(ctx: click.Context, /, **given: Any) -> None:
    """Run a network over many inputs and write a result for each.

    IN is a file, or a pattern in quotes such as 'in/**/*.csv'. What is done,
    by this version with these options and weights from the input as it is
    now, is skipped.
    """
    own = picked(BatchOptions, given)
    if not own.files:
        raise click.UsageError("no input: give files, or a pattern in quotes")
    if not own.output:
        raise click.UsageError("no output: give -o FOLDER or -o 'FOLDER/{stem}.csv'")
    summary = run_batch(ctx, expanded(own.files), shown=True)
    if not own.dry_run:
        with suppress(OSError):  # nobody reads it, which changes no exit code
            click.echo(sentence(summary), err=True)
    if summary.failed:
        raise click.exceptions.Exit(RUN_FAILED)


def run_batch(ctx: click.Context, inputs: Sequence[str], *, shown: bool) -> Summary:
    """Make a result of each input that has none."""
    own = picked(BatchOptions, ctx.params)
    if STDIN in inputs:
        raise click.UsageError("-: inputs are files (./- is a file of that name)")
    if own.jobs and own.scheduler is not None:
        raise click.UsageError(f"-j is for this machine, and {own.scheduler} is a cluster")
    template = _template(own.output)
    path = _report(template)
    given = {name: ctx.params[name] for name in ctx.params if name not in BatchOptions._fields}
    given |= _OF_RUN
    templates = {"output": template} | {
        name: Template(f"--{name.replace('_', '-')}", given[name])
        for name in _STATES
        if given[name] is not None
    }
    _check(given, template, inputs)
    network = picked(NetworkOptions, given)
    if network.weights is not None:
        given["sha256"] = digest_of(network)
    told = given | dict.fromkeys(("weights", *_STATES))
    tasks = make_tasks(inputs, templates, repr((__version__, sorted(told.items()))))
    read = [network.weights] if network.weights is not None else []
    check_apart(tasks, read, path)
    if own.dry_run:
        return _dry_run(own, tasks, path)
    running = Running(tasks, path, shown=shown)
    work = partial(run_task, given=given | {"again": own.force})
    do = partial(_outcomes, own, read, running, work=work)
    return running.run(partial(_to_do, own, tasks), do)


def _template(text: str) -> Template:
    """Return where results go: a template, or in a folder a name for each input."""
    if text == STDIN:
        raise click.UsageError(
            "-o -: there is a result for each input; give a folder or a template"
        )
    if "{" in text:
        return Template("-o", text)
    known = os.path.splitext(text[:-3] if is_packed(text) else text)[1].lower()
    if known and known in EXTENSIONS:
        what = (
            f"one file for all inputs: give a folder, or a template such as 'out/{{stem}}{known}'"
        )
        raise InputError(f"-o {text}", what)
    return Template("-o", os.path.join(text.replace("}", "}}"), "{stem}.csv"))


def _report(template: Template) -> str:
    """Return the name of the report: it stays on this machine."""
    path = NAME if is_url(template.text) else os.path.join(template.folder, NAME)
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(path, "the report of the batch has this name, and this is no regular file")
    return path


def _check(given: Mapping[str, Any], template: Template, inputs: Sequence[str]) -> None:
    """Check the options, with an output of each extension, and that PyArrow is there if needed."""
    outputs = (template.filled(names_of(path)) for path in inputs)
    for output in {os.path.splitext(output)[1]: output for output in outputs}.values():
        check(**given, files=tuple(inputs[:1]), output=output)
    forms = {EXTENSIONS.get(os.path.splitext(path)[1].lower()) for path in inputs}
    if forms and forms.issubset(TABLES):
        check_installed("pyarrow")


def _to_do(options: BatchOptions, tasks: Sequence[Task], done: Mapping[str, str]) -> list[Task]:
    """Return the tasks of which there is no result as they would make it."""
    if options.force:
        return list(tasks)
    place, found = resolver(), finder(task.output for task in tasks)
    return [
        task
        for task in tasks
        if done.get(place(task.output)) != task.made_of or not found(task.output)
    ]


def _dry_run(options: BatchOptions, tasks: Sequence[Task], path: str) -> Summary:
    """Show what would be run, and what is done."""
    to_do = {task.output for task in _to_do(options, tasks, done_before(path))}
    with destination(None) as out:
        for task in tasks:
            word = "run " if task.output in to_do else "done"
            print(printable(f"{word}  {task.input} -> {task.output}"), file=out)
    return Summary(0, len(tasks) - len(to_do), 0, len(to_do), 0, 0.0, path, [])


def _outcomes(
    options: BatchOptions,
    read: Sequence[str],
    running: Running,
    tasks: Sequence[Task],
    work: Work,
) -> Generator[Outcome, None, None]:
    """Run tasks where the options say, and yield what becomes of each as it ends."""
    jobs = min(options.jobs or len(usable_processors()), len(tasks))
    if options.scheduler is not None:
        from rnncli.batches.cluster import run_on_cluster

        yield from run_on_cluster(tasks, work, options.scheduler, read, running.note)
    elif jobs > 1:
        yield from run_in_processes(tasks, work, jobs, running.show_progress)
    else:
        for task in tasks:
            try:
                outcome = work(task)
            except BaseException:  # Ctrl-C may come before a new file is known to be removed
                remove_left_of(task)
                raise
            yield outcome


def run_task(task: Task, given: Mapping[str, Any]) -> Outcome:
    """Do a task in this process, whatever becomes of it: what ``rnn run`` would do."""
    begin, notes, error, rows = time.monotonic(), list[str](), "", 0
    options = {**given, **task.options, "files": (task.input,), "output": task.output}
    token = collected.set(notes)
    try:
        if "state" in task.options:
            _check_unchanged(task)
        rows = forward(task=task.made_of, **options)
    except CountedError:
        if not exists(task.output):
            what = f"{options['state']} has counted it, and {task.output} is gone"
            error = f"{task.input}: {what} (--force runs it again, from that state)"
    except (click.UsageError, OptionError) as reason:  # an option does not go with this input
        error = as_usage(reason).format_message()
    except (OSError, *EXPECTED) as reason:
        hint = f" (numbers are given by --seq {task.input})"  # which a batch has not
        error = failure(reason).message.removesuffix(hint)
    except Exception as reason:  # a fault of this program's own must not end the others
        error = f"{type(reason).__name__}: {reason}"
    finally:
        collected.reset(token)
    seconds = round(time.monotonic() - begin, 4)
    if error:
        named = any(printable(path) in printable(error) for path in (task.input, task.output))
        outcome = failed(task, error if named else f"{task.input}: {error}")
    else:
        outcome = Outcome(task.input, task.output, task.made_of, DONE, rows)
    return outcome._replace(seconds=seconds, notes=tuple(notes))


def _check_unchanged(task: Task) -> None:
    """Check that an input is what its state will say that it has counted."""
    if version(task.input) not in ("", task.version):
        raise InputError(
            task.input, "was changed since the batch began", "run the same command again"
        )
