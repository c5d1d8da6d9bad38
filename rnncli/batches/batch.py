"""A result for each of many inputs: what is done is skipped, and what fails costs only itself."""

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from itertools import chain
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from rnncli import __version__
from rnncli.batches.executors import Pool, in_processes, on_cluster
from rnncli.batches.tasks import (
    REPORT,
    Outcome,
    Task,
    check_files,
    check_template,
    expand,
    fill,
    make_tasks,
    names_of,
    open_report,
    resolver,
    viewer,
)
from rnncli.engine.state import fingerprint
from rnncli.engine.threads import usable_processors
from rnncli.model.errors import (
    InputError,
    OptionError,
    check_installed,
    on_a_line,
    printable,
    verbatim,
    word,
)
from rnncli.model.formats import load
from rnncli.model.network import Network
from rnncli.options import OF_NETWORK, Options, check_options, file_name, options_of
from rnncli.pipeline import Console, CountedError, Sourced, process, score
from rnncli.storage import exists, is_url, version
from rnncli.storage.replacement import remove_left
from rnncli.writers import EXTENSIONS, TABLES
from rnncli.writers.sink import is_packed

File = str | os.PathLike[str]
# Options that name a file of states.
STATES = ("state", "state_in", "state_out")
# Tasks that go out together, and bytes of their inputs.
GROUP, GROUP_BYTES = 16, 1 << 17
_TICK = 0.2  # seconds after which a batch says that nothing has ended


class Notes(Console):
    """Keeps the notes of a task."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        """Collect a note."""
        self.texts.append(on_a_line(text))

    def describe(self, error: Exception) -> str:
        """Return the text of an error."""
        return str(error) or type(error).__name__


@dataclass(frozen=True)
class Work:
    """How each task is run."""

    options: Options
    build: Callable[[int], Sourced]  # returns the network for a number of inputs
    weights: str | None  # the name of a network that is not drawn
    again: bool = False  # whether states count an input once more
    console: type[Notes] = Notes

    def __call__(self, task: Task) -> Outcome:
        """Do what ``rnn run`` does, and return what became of it."""
        begin, console, error, rows = time.monotonic(), self.console(), "", 0
        options = self.options._replace(files=(task.input,), output=task.output, **task.states)
        given = {"weights": self.weights, "task": task.made_of, "again": self.again}
        try:
            if options.state and version(task.input) not in ("", task.version):
                what = "was changed since the batch began"
                raise InputError(task.input, what, "run the same command again")
            rows = process(options, self.build, console, **given)  # type: ignore[arg-type]
        except CountedError:
            if not exists(task.output):
                way_out = word("(`force` runs it again, from that state)")
                what = f"{options.state} has counted it, and {task.output} is gone"
                error = f"{task.input}: {what} {way_out}"
        except Exception as reason:  # a fault of this program's own must not end the others
            error = console.describe(reason)
        if error and not any(printable(path) in error for path in (task.input, task.output)):
            error = f"{task.input}: {error}"
        status, seconds = "failed" if error else "done", round(time.monotonic() - begin, 4)
        how = status, rows, seconds, on_a_line(error), tuple(console.texts)
        return Outcome(task.input, task.output, task.made_of, *how)


@dataclass
class Summary:
    """How many inputs were run, were done before and failed, and how many steps were run."""

    report: str
    done: int = 0
    skipped: int = 0
    failed: int = 0
    rows: int = 0
    seconds: float = 0.0
    failures: list[Outcome] = field(default_factory=list)


class Batch:
    """A batch whose options are checked.

    `output` is a template or a folder, `work` has templates for the files of states, `identity`
    tells the network from others, and all tasks read the files `read`.
    """

    def __init__(
        self, inputs: Sequence[str], output: str, work: Work, identity: str, read: Sequence[str]
    ) -> None:
        output, options = _output_template(output), work.options
        templates = {"output": output, **{name: getattr(options, name) for name in STATES}}
        templates = {option: text for option, text in templates.items() if text is not None}
        for option, text in templates.items():
            check_template(option, text)
        outputs = (fill(output, names_of(path)) for path in inputs)
        for path in {os.path.splitext(path)[1]: path for path in outputs}.values():
            check_options(options._replace(files=inputs[:1], output=path))
        forms = {EXTENSIONS.get(os.path.splitext(path)[1].lower()) for path in inputs}
        if forms and forms.issubset(TABLES):
            check_installed("pyarrow")
        plain = options._replace(state=None, state_in=None, state_out=None)
        self.work = replace(work, options=plain)
        self.tasks = make_tasks(inputs, templates, repr((__version__, identity, plain)))
        folder = os.path.dirname(output.partition("{")[0].replace("}}", "}"))
        self.summary = Summary(REPORT if is_url(output) else os.path.join(folder, REPORT))
        check_files(self.tasks, read, self.summary.report)

    def missing(self, done: Mapping[str, str]) -> list[Task]:
        """Return the tasks of which there is no result as they would make it."""
        resolve, see = resolver(), viewer(task.output for task in self.tasks)
        return [
            task
            for task in self.tasks
            if self.work.again
            or done.get(resolve(task.output)) != task.made_of
            or not see(task.output)
        ]

    def run(
        self, jobs: int | None, scheduler: str | None, note: Callable[[str], None]
    ) -> Generator[Outcome | None, None, None]:
        """Run what is missing; yield each outcome once it is in the report, and None meanwhile."""
        begin, summary, work = time.monotonic(), self.summary, self.work
        if not self.tasks:
            return
        _make_folders([summary.report])
        with open_report(summary.report) as (done, add):
            tasks = self.missing(done)
            summary.skipped = len(self.tasks) - len(tasks)
            _make_folders(path for task in tasks for path in (task.output, *task.states.values()))
            jobs = min(jobs or len(usable_processors()), len(tasks))
            # A group is run again if its worker dies, which could count an input twice.
            count = 1 if work.again and any(task.states for task in tasks) else len(tasks)
            if tasks and scheduler is not None:
                seen = "" if is_url(tasks[0].output) else os.path.abspath(summary.report)
                tasks = [task.absolute() for task in tasks]
                outcomes = run_in_pool(tasks, on_cluster(work, count, scheduler, seen, note))
            elif jobs > 1:
                outcomes = run_in_pool(tasks, in_processes(work, jobs, count))
            else:
                outcomes = run_here(tasks, work)
            for outcome in outcomes:
                if outcome:
                    add(outcome)
                    summary.rows += outcome.rows
                    summary.done += not outcome.error
                    summary.failed += bool(outcome.error)
                    summary.failures += [outcome] if outcome.error else []
                summary.seconds = round(time.monotonic() - begin, 3)
                yield outcome


def run_here(tasks: Sequence[Task], work: Work) -> Generator[Outcome | None, None, None]:
    """Run tasks in this process."""
    for task in tasks:
        try:
            yield work(task)
        except BaseException:  # Ctrl-C may come before a new file is known to be removed
            _remove_left([task])
            raise


def run_in_pool(
    tasks: Sequence[Task], opened: AbstractContextManager[Pool]
) -> Generator[Outcome | None, None, None]:
    """Run tasks in a pool; yield each outcome, and None while there is none.

    Tasks of a worker that dies are tried once more, each alone: Dask blames all that it has.
    """
    running: dict[Future[list[Outcome]], tuple[Executor, list[Task]]] = {}
    ended: SimpleQueue[Future[list[Outcome]]] = SimpleQueue()
    tried, again, out = set[str](), deque[Task](), list[list[Task]]()
    try:
        with opened as pool:
            idle = [*pool.executors]
            waiting = deque(_make_groups(tasks, min(pool.most, GROUP)))
            while waiting or running or again:
                if again and not (waiting or running):
                    waiting.append([again.popleft()])
                while waiting and idle:
                    group = waiting.popleft()
                    out.append(group)  # before: Ctrl-C may come once a process has it
                    future, executor = _submit(pool, idle.pop(), group)
                    running[future] = executor, group
                    future.add_done_callback(ended.put)
                try:
                    future = ended.get(timeout=_TICK)
                except Empty:
                    yield None
                    continue
                executor, group = running.pop(future)
                out.remove(group)
                idle.append(executor)
                try:
                    outcomes = future.result()
                except pool.death:
                    outcomes = _count_death(group, tried)
                    again.extend(group[len(outcomes) :])
                yield from outcomes
    except BaseException:
        _remove_left(chain.from_iterable(out))
        raise


def _make_groups(tasks: Sequence[Task], most: int) -> list[list[Task]]:
    """Group tasks of small inputs; large ones come first, as the last one would run alone."""
    groups, room = list[list[Task]](), 0
    for task in sorted(tasks, key=Task.size, reverse=True):
        room -= task.size()
        if room < 0 or len(groups[-1]) >= most:
            groups.append([])
            room = GROUP_BYTES - task.size()
        groups[-1].append(task)
    return groups


def _submit(
    pool: Pool, executor: Executor, group: list[Task]
) -> tuple["Future[list[Outcome]]", Executor]:
    try:
        return executor.submit(pool.run, group), executor
    except BrokenExecutor:  # its process has died since
        executor = pool.renew(executor)
        return executor.submit(pool.run, group), executor


def _count_death(group: list[Task], tried: set[str]) -> list[Outcome]:
    """Return the outcomes of tasks that have died twice, and mark the others as tried."""
    _remove_left(group)
    error = "the process that ran it has died twice (out of memory?)"
    dead = [
        Outcome(task.input, task.output, task.made_of, "failed", error=f"{task.input}: {error}")
        for task in group
        if task.output in tried
    ]
    tried.update(task.output for task in group)
    return dead


def _remove_left(tasks: Iterable[Task]) -> None:
    """Remove the temporary files of tasks that did not end."""
    for task in tasks:
        for path in (task.output, *task.states.values()):
            remove_left(path)


def _output_template(text: str) -> str:
    """Return where results go: a template; in a folder each has the name of its input."""
    if text == "-":
        raise OptionError("`output` -: there is a result for each input; give a folder")
    if "{" in text:
        return text
    known = os.path.splitext(text[:-3] if is_packed(text) else text)[1].lower()
    if known and known in EXTENSIONS:
        way_out = f"give a folder, or a template such as 'out/{{stem}}{known}'"
        raise OptionError(f"`output` {verbatim(text)}: one file for all inputs: {way_out}")
    return os.path.join(text.replace("}", "}}"), "{stem}.csv")


def _make_folders(paths: Iterable[str]) -> None:
    for folder in sorted({os.path.dirname(path) or "." for path in paths if not is_url(path)}):
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise InputError(folder, f"cannot be made: {error.strerror}") from error


def batch(
    inputs: File | Iterable[File],
    network: Network | File,
    output: File,
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    force: bool = False,
    callback: Callable[[Outcome], object] = bool,
    **options: Any,
) -> Summary:
    """Run a network over many inputs and write a result for each, as ``rnn batch`` does.

    A result that is there, made by this version with these options and this
    network from the input as it is now, is not made again.

    Parameters
    ----------
    inputs : str, path or iterable of them
        Files, or patterns such as ``in/**/*.csv``.
    network : Network, str or path
        A path is read by `load`.
    output : str or path
        Where each result goes: ``out/{stem}.csv``, or a folder. ``{stem}`` is
        the name of its input without the extension, ``{name}`` the whole
        name, ``{dir}`` its folder. The extension decides the format.
    jobs : int, optional
        Processes on this machine; by default one for each processor. 1 starts
        none.
    scheduler : str, optional
        Address of a Dask cluster to run on.
    force : bool
        Whether to run what is done, too.
    callback : callable, optional
        Is called with each outcome as it ends: its ``input``, ``output``,
        ``status``, ``rows``, ``seconds``, ``error`` and ``notes``.
    **options
        The other parameters of `score`: ``columns=["value"]``, ``last=True``.
        Those of states are templates: ``state="states/{stem}.npz"``.

    Returns
    -------
    Summary
        ``done``, ``skipped``, ``failed``, ``rows``, ``seconds``, ``report``,
        and ``failures``, the outcomes of inputs that failed.

    Raises
    ------
    InputError
        A file that is given cannot be used, or two outputs are one file.
    ValueError
        Parameters contradict each other, or a value is none of a parameter's.
    TypeError
        There is no such parameter.
    OSError
        The report cannot be written, or the cluster is lost.

    Examples
    --------
    >>> summary = rnncli.batch("in/*.csv", "model.keras", "out/{stem}.csv", columns="value")
    >>> summary.failed
    0
    """
    given = signature(score).bind(inputs, network, output, **options)
    given.apply_defaults()
    checked = options_of(given.arguments)
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs: expected a whole number from 1 up, got {jobs}")
    if jobs is not None and scheduler is not None:
        raise ValueError("jobs: is for this machine, scheduler names a cluster")
    weights, read = "the network", list[str]()
    if not isinstance(network, Network):
        weights = file_name(network, OF_NETWORK)
        network, read = load(weights), [weights]
    stacks = [network, *([Network(*network.front)] if network.front else [])]
    identity = repr(([fingerprint(stack, "float64") for stack in stacks], network.last))
    if checked.h0 is not None:
        checked = checked._replace(h0=np.asarray(checked.h0).tolist())
    build = partial(_sourced, (network, {"weights": weights}, ()))
    paths = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    found, work = expand(os.fspath(path) for path in paths), Work(checked, build, weights, force)
    whole = Batch(found, os.fspath(output), work, identity, read)
    for outcome in whole.run(jobs, scheduler, Console().note):
        if outcome:
            callback(outcome)
    return whole.summary


def _sourced(sourced: Sourced, _input_size: int) -> Sourced:
    return sourced
