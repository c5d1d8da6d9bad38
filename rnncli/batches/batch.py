"""A result for each of many inputs: what is done is skipped, and what fails costs only itself."""

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
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
    resolve,
    viewer,
)
from rnncli.engine.state import fingerprint
from rnncli.engine.threads import usable_processors
from rnncli.model.errors import InputError, OptionError, on_a_line, printable, verbatim, word
from rnncli.model.formats import load
from rnncli.model.network import Network
from rnncli.options import OF_NETWORK, STATE_FILES, Options, check_options, file_name, options_of
from rnncli.pipeline import Console, CountedError, Sourced, process, score
from rnncli.storage import exists, is_url, version
from rnncli.storage.replacement import remove_left
from rnncli.writers import EXTENSIONS
from rnncli.writers.sink import is_packed

File = str | os.PathLike[str]
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
                what = f"{options.state} has counted it, and {task.output} is gone"
                way_out = word("(`force` runs it again, from that state)")
                error = f"{task.input}: {what} {way_out}"
        except Exception as reason:  # a fault of this program's own must not end the others
            error = console.describe(reason)
        seconds = round(time.monotonic() - begin, 4)
        return _outcome(task, error, rows=rows, seconds=seconds, notes=tuple(console.texts))


def _outcome(task: Task, error: str, **more: Any) -> Outcome:
    if error and not any(printable(path) in error for path in (task.input, task.output)):
        error = f"{task.input}: {error}"
    how = "failed" if error else "done"
    return Outcome(task.input, task.output, task.made_of, how, error=on_a_line(error), **more)


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
        templates = {"output": output, **{name: getattr(options, name) for name in STATE_FILES}}
        templates = {option: text for option, text in templates.items() if text is not None}
        for option, text in templates.items():
            check_template(option, text)
        outputs = (fill(output, names_of(path)) for path in inputs)
        for path in {os.path.splitext(path)[1]: path for path in outputs}.values():
            check_options(options._replace(files=inputs[:1], output=path))
        plain = options._replace(**dict.fromkeys(STATE_FILES))
        self.work = replace(work, options=plain)
        self.tasks = make_tasks(inputs, templates, repr((__version__, identity, plain)))
        folder = os.path.dirname(output.partition("{")[0].replace("}}", "}"))
        self.summary = Summary(REPORT if is_url(output) else os.path.join(folder, REPORT))
        check_files(self.tasks, read, self.summary.report)

    def missing(self, done: Mapping[str, str]) -> list[Task]:
        """Return the tasks of which there is no result as they would make it."""
        see = viewer()
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
            most = 1 if work.again and any(task.states for task in tasks) else GROUP
            if tasks and scheduler is not None:
                seen = "" if is_url(tasks[0].output) else os.path.abspath(summary.report)
                tasks = [task.absolute() for task in tasks]
                outcomes = run_in_pool(tasks, on_cluster(work, scheduler, seen, note), most)
            elif jobs > 1:
                outcomes = run_in_pool(tasks, in_processes(work, jobs), most)
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
    tasks: Sequence[Task], opened: AbstractContextManager[Pool], most: int = GROUP
) -> Generator[Outcome | None, None, None]:
    """Run tasks in a pool, `most` in a group; yield each outcome, and None while there is none.

    Tasks of a worker that dies are tried once more, each alone: Dask blames all that it has.
    """
    running, numbers = dict[int, list[Task]](), dict[Future[list[Outcome]], int]()
    ended, tried, again = SimpleQueue[Future[list[Outcome]]](), set[str](), deque[Task]()
    try:
        with opened as pool:
            idle = [*range(len(pool.submit))]
            waiting = _make_groups(tasks, min(most, len(tasks) // (4 * len(idle))))
            while waiting or running or again:
                if again and not (waiting or running):
                    waiting.append([again.popleft()])
                while waiting and idle:
                    number = idle.pop()
                    running[number] = waiting.popleft()
                    future = pool.submit[number](running[number])
                    numbers[future] = number
                    future.add_done_callback(ended.put)
                try:
                    future = ended.get(timeout=_TICK)
                except Empty:
                    yield None
                    continue
                number = numbers.pop(future)
                group = running[number]
                try:
                    yield from future.result()
                except pool.death:
                    _remove_left(group)
                    error = "the process that ran it has died twice (out of memory?)"
                    yield from (_outcome(task, error) for task in group if task.output in tried)
                    again.extend(task for task in group if task.output not in tried)
                    tried.update(task.output for task in group)
                del running[number]
                idle.append(number)
    except BaseException:
        _remove_left(task for group in running.values() for task in group)
        raise


def _make_groups(tasks: Sequence[Task], most: int) -> deque[list[Task]]:
    """Group tasks of small inputs; large ones come first, as the last one would run alone."""
    groups, room = deque[list[Task]](), 0
    for task in sorted(tasks, key=Task.size, reverse=True):
        room -= task.size()
        if room < 0 or len(groups[-1]) >= most:
            groups.append([])
            room = GROUP_BYTES - task.size()
        groups[-1].append(task)
    return groups


def _remove_left(tasks: Iterable[Task]) -> None:
    """Remove the temporary files of tasks that did not end."""
    for task in tasks:
        for path in (task.output, *task.states.values()):
            remove_left(path)


def _output_template(text: str) -> str:
    """Return where results go: a template; in a folder each has the name of its input."""
    if "{" in text:
        return text
    known = os.path.splitext(text[:-3] if is_packed(text) else text)[1].lower()
    if text == "-" or (known and known in EXTENSIONS):
        way_out = "give a folder, or a template such as 'out/{stem}.csv'"
        raise OptionError(f"`output` {verbatim(text)}: there is a result for each input: {way_out}")
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
    every = Network(*network.front, *network.layers)
    identity = f"{fingerprint(every, 'float64')} {network.last}"
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
