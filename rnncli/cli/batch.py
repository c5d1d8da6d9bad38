"""``rnn batch``: a result for each of many inputs."""

import json as json_text
import os
import sys
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import click

from rnncli import __version__
from rnncli.batches.processes import Work, run_in_processes
from rnncli.batches.report import DONE, NAME, Outcome, done_before, failed
from rnncli.batches.tasks import (
    OF_INPUT,
    Source,
    Task,
    Template,
    Variant,
    check_apart,
    expanded,
    finder,
    listed_in,
    looked_at,
    make_tasks,
    resolver,
)
from rnncli.cli.command import Command
from rnncli.cli.errors import EXPECTED, RUN_FAILED, failure
from rnncli.cli.networks import digest_of
from rnncli.cli.options import (
    NetworkOptions,
    completed,
    computation_options,
    layout_options,
    network_options,
    picked,
    shown_options,
    start_options,
    state_options,
)
from rnncli.cli.outputs import collected, destination
from rnncli.cli.parts import PART, check_cut, check_states_go_on, cut_log, is_cut, outcomes
from rnncli.cli.run import check, forward
from rnncli.cli.states import CountedError
from rnncli.cli.summary import Running, Summary, sentence
from rnncli.cli.sweeps import Sweep, check_given_once, check_quoted, combinations, read_sweep
from rnncli.cli.values import Choice, FileName, name, whole
from rnncli.engine.threads import usable_processors
from rnncli.model.errors import InputError, check_installed, printable
from rnncli.readers import STDIN
from rnncli.storage import exists, version
from rnncli.storage.url import is_url
from rnncli.writers import EXTENSIONS, TABLES, WRITERS

# What a run has and a batch has not.
_OF_RUN = {"seq": None, "follow": False, "json": False}
_STATES = ("state", "state_in", "state_out")

EXAMPLES = (
    (
        "rnn batch 'in/*.csv' -o 'out/{stem}.csv' --columns SUNACTIVITY --weights model.keras",
        "A result for each file. Again: only what is new or has changed.",
    ),
    (
        "find logs -name '*.csv' | rnn batch --files-from - -o 'states/{dir}/{stem}.npy' "
        "--columns 3 --hidden 16 --init torch",
        "The files of a list, each output in a folder such as that of its input.",
    ),
    (
        "rnn batch 'in/*.csv' -o 'out/{stem}-{hidden}-{seed}.csv' --columns 2 --sweep 'seed=1 2 3' "
        "--sweep 'hidden=8 16 32,16'",
        "Every input with each of nine networks.",
    ),
    (
        "rnn batch 'today/*.csv' -o 'out/{stem}.csv' --columns temperature --weights model.keras "
        "--state 'states/{stem}.npz'",
        "Each sensor's file goes on from where its last one ended.",
    ),
    (
        "rnn batch 's3://logs/in/*.parquet' -o 's3://logs/out/{stem}.parquet' --report night.jsonl "
        "--columns temperature --weights model.keras --scheduler tcp://10.0.0.5:8786",
        "On a Dask cluster, from and to S3.",
    ),
    (
        "rnn batch 'log/*.parquet' -o 'states/{part}.parquet' --group-by sensor --order-by time "
        "--columns temperature --weights model.keras --scheduler tcp://10.0.0.5:8786",
        "One log with many sensors, larger than one machine: each part has some of them whole.",
    ),
    (
        "rnn batch 'in/*.csv' -o out --columns 2 --weights model.keras --dry-run",
        "What would be run, and what is done.",
    ),
)


class BatchOptions(NamedTuple):
    """How a batch is run."""

    files: tuple[str, ...]
    files_from: str | None
    output: str
    format: str | None
    sweep: list[Sweep]
    jobs: int | None
    scheduler: str | None
    order_by: str | None
    parts: int | None
    force: bool
    dry_run: bool
    fail_fast: bool
    report: str | None
    json: bool


@click.command("batch", cls=Command, examples=EXAMPLES)
@click.argument("files", nargs=-1, metavar="[IN]...", type=FileName())
@click.option(
    "--files-from",
    metavar="FILE",
    type=FileName(),
    help="Take inputs from a list, one a line; - for standard input.",
)
@layout_options
@network_options
@start_options
@state_options
@computation_options
@click.option(
    "-o",
    "--output",
    metavar="TEMPLATE",
    required=True,
    type=FileName(),
    help="Where each result goes: {stem} is its input's name without the extension, {name} all of "
    "it, {dir} its folder, {seed} or the like what is swept, {part} a part of one log. Without a "
    "brace, a folder.",
)
@click.option(
    "--format",
    type=Choice(list(WRITERS)),
    help="By default the extension's of -o; in a folder, csv.",
)
@shown_options
@click.option(
    "--sweep",
    metavar="NAME='V V ...'",
    multiple=True,
    callback=read_sweep,
    shell_complete=completed("sweeps"),
    help="Run every input once for each value of seed, init, hidden, weights or precision; give it "
    "again for each combination with another.",
)
@click.option(
    "-j",
    "--jobs",
    metavar="N",
    type=whole(1),
    help="Processes on this machine. By default one for each processor; 1 starts none.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    type=name,
    help="Run on a Dask cluster: tcp://HOST:PORT, tls://HOST:PORT, the .json file of its "
    "scheduler, or local for one that is started here.",
)
@click.option(
    "--order-by",
    metavar="COLUMN",
    type=name,
    shell_complete=completed("column"),
    help="With {part} in -o: put the rows of each key in order by a column of numbers, words, or "
    "times such as 2024-05-01T10:00. By default they stay as they come, file by file.",
)
@click.option(
    "--parts",
    metavar="N",
    type=whole(1),
    help="With {part} in -o: how many parts to cut the log into. By default as many as are there "
    "from before; else one for 64 MB of rows, and one for each worker.",
)
@click.option("--force", is_flag=True, help="Run what is done, too.")
@click.option(
    "-n", "--dry-run", is_flag=True, help="Only show what would be run, and what is done."
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")
@click.option(
    "--report",
    metavar="FILE",
    type=FileName(),
    help=f"Where a line of JSON is added for each input as it ends, from which the next batch "
    f"knows what is done. By default {NAME} in the folder that -o begins with.",
)
@click.option("--json", is_flag=True, help="Write the summary as JSON on standard output.")
@click.pass_context
def batch(ctx: click.Context, /, **given: Any) -> None:
    """Run a network over many inputs and write a result for each.

    IN is a file, or a pattern in quotes such as 'in/**/*.csv'. What is done,
    by this version with these options and weights from the input as it is
    now, is skipped.
    """
    options = picked(BatchOptions, given)
    if options.json and options.dry_run:
        raise click.UsageError("--json and --dry-run: give one")
    summary = run_batch(ctx, _inputs(options), shown=True)
    if options.json:
        _print_json(summary)
    elif not options.dry_run:
        with suppress(OSError):  # nobody reads it, which changes no exit code
            click.echo(sentence(summary), err=True)
    if summary.failed:
        raise click.exceptions.Exit(RUN_FAILED)


def _print_json(summary: Summary) -> None:
    """Write a summary on standard output.

    Raises
    ------
    OSError
        Nobody reads it; a `BrokenPipeError`, which is no failure, only where nothing has failed.
    """
    try:
        with destination(None) as out:
            print(json_text.dumps(summary._asdict()), file=out)
    except BrokenPipeError:
        if summary.failed:
            raise OSError("closed") from None
        raise


def _inputs(options: BatchOptions) -> list[str]:
    """Return the files that are given: as patterns, and in a list.

    Raises
    ------
    click.UsageError
        None can be.
    InputError
        A pattern matches none, or the list cannot be read.
    """
    if options.files_from is None:
        if not options.files:
            raise click.UsageError(
                "no input: give files, a pattern in quotes, or --files-from FILE"
            )
        return expanded(options.files)
    if options.files_from == STDIN and sys.stdin is None:
        raise InputError("--files-from -", "standard input is closed")
    try:
        with click.open_file(options.files_from, "rb") as file:
            text = file.read().removeprefix(BOM_UTF8)
    except OSError as error:
        raise InputError(options.files_from, f"cannot be read: {error.strerror}") from error
    if b"\0" in text:
        raise InputError(options.files_from, "not a list of files, one a line: it has null bytes")
    return [*expanded(options.files), *listed_in(text)]


def run_batch(ctx: click.Context, inputs: Sequence[str], *, shown: bool) -> Summary:
    """Make a result of each input that has none.

    Parameters
    ----------
    ctx : click.Context
        Of the command, with its options as Click has read them.
    inputs : sequence of str
    shown : bool
        Whether to show failures, notes and progress on standard error.

    Raises
    ------
    click.UsageError, InputError
        Options contradict each other, or two of the files are one.
    OSError
        The report cannot be written.
    """
    options = picked(BatchOptions, ctx.params)
    if STDIN in inputs:
        hint = "./- is a file of that name; --files-from - reads a list"
        raise click.UsageError(f"-: inputs are files ({hint})")
    if options.jobs and options.scheduler not in (None, "local"):
        raise click.UsageError(f"-j is for this machine, and {options.scheduler} is a cluster")
    check_given_once(ctx, options.sweep)
    check_quoted(ctx, options.sweep, options.files)
    cut = is_cut(options.output)
    check_cut(ctx.params, cut=cut)
    swept = [sweep.name for sweep in options.sweep]
    needed, other = ([*swept, PART], ()) if cut else (swept, OF_INPUT)
    named = partial(Template, swept=needed, of_input=other)
    template = _template(options, named)
    path = _report(options, template)
    given = {name: ctx.params[name] for name in ctx.params if name not in BatchOptions._fields}
    given |= _OF_RUN | {"format": options.format}
    templates = {"output": template} | {
        name: named(f"--{name.replace('_', '-')}", given[name])
        for name in _STATES
        if given[name] is not None
    }
    log = cut_log(ctx.params, inputs, templates.values(), swept) if cut else None
    sources = log.sources if log else looked_at(inputs)
    variants, digests = _variants(options, given, template, sources)
    _check_installed(sources)
    tasks = make_tasks(sources, templates, variants)
    check_apart(tasks, [*digests, *(inputs if log else ()), options.files_from or STDIN], path)
    work = partial(run_task, given=given | {"again": options.force})
    if options.dry_run:
        return _dry_run(options, tasks, path)
    running = Running(tasks, path, fail_fast=options.fail_fast, shown=shown)
    if log:
        do = partial(outcomes, log, ctx.params, running.note, work=work)
    else:
        do = partial(_outcomes, options, list(digests), running, work=work)
    return running.run(partial(_to_do, options, tasks), do)


def _template(options: BatchOptions, named: Callable[[str, str], Template]) -> Template:
    """Return where results go: a template, or in a folder a name for each input."""
    text = options.output
    if text == STDIN:
        raise click.UsageError(
            "-o -: there is a result for each input; give a folder or a template"
        )
    if "{" in text:
        return named("-o", text)
    name = "-".join(["{stem}", *(f"{{{sweep.name}}}" for sweep in options.sweep)])
    known = os.path.splitext(text)[1].lower()
    if known and known in EXTENSIONS:
        what = f"one file for all inputs: give a folder, or a template such as 'out/{name}{known}'"
        raise InputError(f"-o {text}", what)
    form = options.format or "csv"
    extension = next((each for each, of in EXTENSIONS.items() if each and of == form), ".txt")
    return named("-o", os.path.join(text.replace("}", "}}"), name + extension))


def _report(options: BatchOptions, template: Template) -> str:
    """Return the name of the report."""
    if options.report is None:
        if is_url(template.text):
            what = "the report stays on this machine: name it with --report FILE"
            raise click.UsageError(f"-o {options.output}: {what}")
        return os.path.join(template.folder, NAME)
    there = os.path.exists(options.report)
    if options.report == STDIN or is_url(options.report) or there != os.path.isfile(options.report):
        raise click.UsageError(f"--report {options.report}: give a file on this machine")
    return options.report


def _variants(
    options: BatchOptions, given: Mapping[str, Any], template: Template, sources: Sequence[Source]
) -> tuple[list[Variant], dict[str, str]]:
    """Return what every input is run with, and the digest of each weight file.

    Raises
    ------
    click.UsageError, ValueError
        Options contradict each other, or a weight file cannot be used.
    """
    variants, digests = [], dict[str, str]()
    files = tuple(source.input for source in sources[:1])
    of_all = sources[:1] if "." in template.text.rpartition("}")[2] else sources
    for names, swept in combinations(options.sweep):
        all_given = {**given, **swept}
        outputs = (template.filled({**source.names, **names}) for source in of_all)
        for output in {os.path.splitext(output)[1]: output for output in outputs}.values():
            check(**{**all_given, "files": files, "output": output})
        network = picked(NetworkOptions, all_given)
        if network.weights is not None:
            swept["sha256"] = digests[network.weights] = digest_of(network)
        told = {**all_given, **swept, **dict.fromkeys(("weights", *_STATES))}
        told["order_by"] = options.order_by
        variants.append(Variant(names, swept, repr((__version__, sorted(told.items())))))
    return variants, digests


def _check_installed(sources: Sequence[Source]) -> None:
    """Check that PyArrow is there if all inputs need it, once and not for each of them."""
    forms = {EXTENSIONS.get(os.path.splitext(source.input)[1].lower()) for source in sources}
    if forms and forms.issubset(TABLES):
        check_installed("pyarrow")


def _to_do(options: BatchOptions, tasks: Sequence[Task], done: Mapping[str, str]) -> list[Task]:
    """Return the tasks of which there is no result as they would make it."""
    if options.force:
        return list(tasks)
    place, found = resolver(), finder(task.output for task in tasks)
    made = [done.get(place(task.output)) for task in tasks]
    if is_cut(options.output):
        check_states_go_on(tasks, made)
    return [
        task
        for task, made_of in zip(tasks, made, strict=True)
        if made_of != task.made_of or not found(task.output)
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

        yield from run_on_cluster(tasks, work, options.scheduler, jobs, read, running.note)
    elif jobs > 1:
        yield from run_in_processes(tasks, work, jobs, running.show_progress)
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
    begin, notes, error, rows = time.monotonic(), list[str](), "", 0
    options = {**given, **task.options, "files": (task.input,), "output": task.output}
    token = collected.set(notes)
    try:
        if "state" in task.options and task.version is not None:
            _check_unchanged(task)
        rows = forward(task=task.made_of, **options)
    except CountedError:
        if not exists(task.output):
            what = f"{options['state']} has counted it, and {task.output} is gone"
            error = f"{task.input}: {what} (--force runs it again, from that state)"
    except click.UsageError as reason:  # of an option that does not go with this input
        error = reason.format_message()
    except (OSError, *EXPECTED) as reason:
        hint = f" (numbers are given by --seq {task.input})"  # which a batch has not
        error = failure(reason).message.removesuffix(hint)
    except Exception as reason:  # a fault of this program's own must not end the others
        error = f"{type(reason).__name__}: {reason}"
    finally:
        collected.reset(token)
    seconds = round(time.monotonic() - begin, 4)
    if error:
        named = task.input in error or task.output in error
        outcome = failed(task, error if named else f"{task.input}: {error}")
    else:
        outcome = Outcome(task.input, task.output, task.made_of, DONE, rows)
    return outcome._replace(seconds=seconds, notes=tuple(notes))


def _check_unchanged(task: Task) -> None:
    """Check that an input is what its state will say that it has counted.

    Raises
    ------
    InputError
        It has changed: the next batch would count it again.
    """
    if version(task.input) not in ("", task.version):
        raise InputError(
            task.input, "was changed since the batch began", "run the same command again"
        )
