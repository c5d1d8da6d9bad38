"""A result for each of many inputs; those that are done are skipped.

A report has a line of JSON for each task, added as it ends. The last line of an output counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from queue import Empty, SimpleQueue
from typing import Any, Unpack

import numpy as np

from rnncli import __version__
from rnncli.batches.executors import Pool, in_processes, on_cluster
from rnncli.batches.tasks import Outcome, Task
from rnncli.engine.threads import usable_processors
from rnncli.model.errors import WORDING, InputError, OptionError, on_a_line, printable, verbatim
from rnncli.model.fingerprint import fingerprint
from rnncli.model.network import Network, as_network
from rnncli.opening import Built, Console, Watch
from rnncli.pipeline import process, return_built
from rnncli.readers import expand
from rnncli.run_options import (
    OF_NETWORK,
    Options,
    ScoreOptions,
    check_options,
    check_values,
    choose_format,
    file_name,
    list_options,
)
from rnncli.storage import (
    is_url,
    matching,
    replace_together,
    replacement,
    version,
    wrap_url,
)
from rnncli.storage.sink import is_packed
from rnncli.storage.system import fold_case, lock
from rnncli.writers.formats import EXTENSIONS

File = str | os.PathLike[str]
Done = tuple[str, int]  # the digest of the task that made an output, "" for none, and its rows
# Tasks that go out together, and bytes of their inputs.
GROUP, GROUP_BYTES = 16, 1 << 17
_TICK = 0.2  # seconds after which a batch shows its progress, though nothing has ended
REPORT = "rnn-batch.jsonl"
_BEGIN, _LONGEST = b'{"input": ', 1 << 20  # of every line of a report: its begin, its most bytes
_OTHER_FOLDER = "give `output` another folder"


@dataclass(frozen=True)
class Work:
    """How tasks are run."""

    options: Options
    build: Callable[[int], Built]  # returns the network for a number of inputs
    weights: str | None  # the file of the network, if it has one
    force: bool = False  # whether to repeat the inputs that are done
    word: Callable[[str], str] = str  # shows the parameters that a text names
    describe: Callable[[Exception], str] = str
    watch: Watch = Console().watch

    def __call__(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Run tasks; outputs are replaced together, unless a state follows each of them."""
        run = partial(self.run_task, build=cache(self.build))
        if self.options.state:
            return [*map(run, tasks)]
        with replace_together() as errors:
            outcomes = [*map(run, tasks)]
        for n, (task, each) in enumerate(zip(tasks, outcomes, strict=True)):
            if task.output in errors:
                error = self.describe(errors[task.output])
                outcomes[n] = _outcome(task, error, seconds=each.seconds, notes=each.notes)
        return outcomes

    def run_task(self, task: Task, build: Callable[[int], Built]) -> Outcome:
        """Do what ``rnn run`` does, and return how it ended."""
        begin, notes, error, rows = time.monotonic(), list[str](), "", 0
        console = Console(lambda text: notes.append(on_a_line(text)), watch=self.watch)
        WORDING.set(self.word)
        options = self.options._replace(files=(task.input,), output=task.output, state=task.state)
        try:
            if task.state and version(task.input) not in ("", task.version):
                what = "was changed since the batch began"
                raise InputError(task.input, what, "run the same command again")
            form = choose_format(options)
            rows = process(options, form, build, console, weights=self.weights, task=task.digest)
        except Exception as reason:  # a fault of this program's own must not end the others
            error = self.describe(reason) or type(reason).__name__
        seconds = round(time.monotonic() - begin, 4)
        return _outcome(task, error, rows=rows, seconds=seconds, notes=tuple(notes))


def _outcome(task: Task, error: str, **more: Any) -> Outcome:
    if error and not any(printable(path) in error for path in (task.input, task.output)):
        error = f"{task.input}: {error}"
    how = "failed" if error else "done"
    return Outcome(task.input, task.output, task.digest, how, error=on_a_line(error), **more)


@dataclass
class Summary:
    """How many inputs are done, were done before and failed, and how many steps were run."""

    report: str
    done: int = 0
    skipped: int = 0
    failed: int = 0
    rows: int = 0
    seconds: float = 0.0
    failures: list[Outcome] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.done:,} done, {self.skipped:,} skipped, {self.failed:,} failed, "
            f"{self.rows:,} rows, {self.seconds:.1f} s; {printable(self.report)}"
        )


class Batch:
    """A batch whose options are checked.

    `output` is a template or a folder, and `work.options.state` a template. Networks that differ
    have another `identity`.
    """

    def __init__(self, inputs: Sequence[str], output: str, work: Work, identity: str) -> None:
        output, options = _output_template(output), work.options
        if options.state_in or options.state_out:
            raise OptionError("`state_in` and `state_out` are for one run, a batch takes `state`")
        if options.state and work.force:
            raise OptionError("`force` and `state`: a state counts each input once")
        check_template("output", output)
        check_template("state", options.state or "")
        self.work, self._resolve = work, make_resolver()
        identity = repr((__version__, identity, options._replace(state=None)))
        self.tasks = make_tasks(inputs, output, options.state, identity, self._resolve)
        outputs = [task.output for task in self.tasks]
        for path in {os.path.splitext(path)[1]: path for path in outputs}.values():  # each kind
            check_options(options._replace(files=inputs[:1], output=path))
        folder = os.path.dirname(output.partition("{")[0].replace("}}", "}"))
        self.summary = Summary(REPORT if is_url(output) else os.path.join(folder, REPORT))
        check_files(self.tasks, work.weights, self.summary.report, self._resolve)

    def find_missing(self, done: Mapping[str, Done]) -> list[Task]:
        """Return the tasks whose result is missing or emptied, or was made of something else."""
        find_version = make_version_finder()

        def is_done(task: Task) -> bool:
            made_of, rows = done.get(self._resolve(task.output), ("", 0))
            size = find_version(task.output).partition(" ")[0]
            return made_of == task.digest and bool(size) and (size != "0" or not rows)

        return [task for task in self.tasks if self.work.force or not is_done(task)]

    def run(
        self, jobs: int | None, scheduler: str | None, console: Console
    ) -> Generator[Outcome | None, None, None]:
        """Run what is missing; yield each outcome once it is in the report, and None meanwhile."""
        begin, summary, work = time.monotonic(), self.summary, self.work
        if not self.tasks:
            return
        _make_folders([summary.report])
        with open_report(summary.report, self._resolve) as (done, add):
            tasks = self.find_missing(done)
            summary.skipped = len(self.tasks) - len(tasks)
            _make_folders(path for task in tasks for path in _files_of(task))
            jobs = min(jobs or len(usable_processors()), len(tasks))
            if tasks and scheduler is not None:
                seen = "" if is_url(tasks[0].output) else os.path.abspath(summary.report)
                tasks = [task.absolute() for task in tasks]
                outcomes = run_in_pool(tasks, on_cluster(work, scheduler, seen, console.note))
            elif jobs > 1:
                outcomes = run_in_pool(tasks, in_processes(work, jobs))
            else:
                outcomes = run_here(tasks, replace(work, watch=console.watch))
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
    for group in _make_groups(tasks, GROUP):
        try:
            yield from work(group)
        except BaseException:  # Ctrl-C may come before a new file is known to be removed
            _remove_temporary(group)
            raise


def run_in_pool(
    tasks: Sequence[Task], opened: AbstractContextManager[Pool]
) -> Generator[Outcome | None, None, None]:
    """Run tasks in a pool; yield each outcome, and None while there is none.

    Tasks of a worker that dies are tried once more, each alone: Dask blames all that it has.
    """
    running, numbers = dict[int, list[Task]](), dict[Future[list[Outcome]], int]()
    ended, tried, again = SimpleQueue[Future[list[Outcome]]](), set[str](), deque[Task]()
    try:
        with opened as (submit, death):
            idle = [*range(len(submit))]
            # Large inputs come first, as the last one would run alone.
            largest_first = sorted(tasks, key=Task.size, reverse=True)
            waiting = _make_groups(largest_first, min(GROUP, len(tasks) // (4 * len(idle))))
            while waiting or running or again:
                if again and not (waiting or running):
                    waiting.append([again.popleft()])
                while waiting and idle:
                    number = idle.pop()
                    running[number] = waiting.popleft()
                    future = submit[number](running[number])
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
                except death:
                    _remove_temporary(group)
                    error = "the process that ran it has died twice (out of memory?)"
                    yield from (_outcome(task, error) for task in group if task.output in tried)
                    again.extend(task for task in group if task.output not in tried)
                    tried.update(task.output for task in group)
                del running[number]
                idle.append(number)
    except BaseException:
        _remove_temporary(task for group in running.values() for task in group)
        raise


def _make_groups(tasks: Sequence[Task], most: int) -> deque[list[Task]]:
    """Group tasks of small inputs."""
    groups, room = deque[list[Task]](), 0
    for task in tasks:
        room -= task.size()
        if room < 0 or len(groups[-1]) >= most:
            groups.append([])
            room = GROUP_BYTES - task.size()
        groups[-1].append(task)
    return groups


def _remove_temporary(tasks: Iterable[Task]) -> None:
    """Remove the temporary files of tasks that did not end."""
    for path in (path for task in tasks for path in _files_of(task)):
        with suppress(OSError, InputError), replacement(path):
            pass  # it removes the file at its end


def _files_of(task: Task) -> list[str]:
    return [task.output, task.state] if task.state else [task.output]


def _output_template(text: str) -> str:
    """Return the template of the outputs; in a folder each has the name of its input."""
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
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(str(error.filename), "not a folder") from error


def check_template(option: str, text: str) -> None:
    """Check the name of a file that has fields in braces; ``{{`` is a brace."""
    what = "in quotes ~ is no home folder, $HOME is" if text.startswith("~/") else ""
    if re.search("[{}]", re.sub("{{|}}|{stem}|{name}|{dir}", "", text)):
        what = "expected {stem}, {name} or {dir}; a brace that is meant as one is written twice"
    if what:
        raise OptionError(f"`{option}` {verbatim(text)}: {what}")


def names_of(path: str) -> dict[str, str]:
    """Return the values of the fields of a template.

    ``{dir}`` is the folder of the input without ``..`` and a leading ``/``: an output never leaves
    the folder that a template begins with.
    """
    folder, name = os.path.split(path.partition("://")[2] if is_url(path) else path)
    stem, extension = os.path.splitext(name)
    if extension.lower() in (".gz", ".xz", ".bz2", ".zst"):
        stem = os.path.splitext(stem)[0]
    folder = os.path.splitdrive(folder)[1].replace(os.sep, "/")
    inside = [each for each in folder.split("/") if each not in ("", ".", "..")]
    return {"stem": stem, "name": name, "dir": "/".join(inside) or "."}


def make_tasks(
    inputs: Sequence[str],
    output: str,
    state: str | None,
    identity: str,
    resolve: Callable[[str], str],
) -> list[Task]:
    """Make a task for each input; `identity` is that of the network and the options."""
    find_version, tasks = make_version_finder(), []
    for path in inputs:
        names, seen = names_of(path), find_version(path)
        filled = [each.format_map(names) for each in (output, state) if each is not None]
        files = ["./-" if each == "-" else wrap_url(each) for each in filled]  # no standard output
        about = f"{seen}\0{resolve(path)}"
        digest = f"{_digest(about)}-{_digest(about, identity, *map(resolve, files))}"
        if state:
            digest += f"-{_digest(identity, *map(resolve, (path, *files)))}"
        tasks.append(Task(path, files[0], files[1] if state else None, digest, seen))
    return tasks


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode(errors="surrogateescape")).hexdigest()[:20]


def make_version_finder() -> Callable[[str], str]:
    """Return a function that finds the version of a file, "" for none.

    It lists a folder of a store once: asking for each file takes long.
    """
    list_once = cache(matching)

    def find(path: str) -> str:
        if not is_url(path):
            return version(path)
        pattern = f"{os.path.dirname(path)}/*"
        with suppress(OSError):  # its task says why
            listed = list_once(pattern)
            return version(path) if pattern in listed else listed.get(wrap_url(path), "")
        return ""

    return find


def make_resolver() -> Callable[[str], str]:
    """Return a function that follows the links of a path, so that each file has one name.

    It resolves each path and each folder once.
    """
    resolve_folder = cache(os.path.realpath)
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise InputError(os.curdir, "this folder was removed") from error

    @cache
    def resolve(path: str) -> str:
        folder, name = os.path.split(path)
        if is_url(path):
            return wrap_url(path)
        if name in ("", ".", "..") or os.path.islink(path):
            return os.path.realpath(path)
        return os.path.join(resolve_folder(folder), name)

    return resolve


def check_files(
    tasks: Sequence[Task], weights: str | None, report: str, resolve: Callable[[str], str]
) -> None:
    """Check that no file is written twice or read and written, whatever its names."""
    inputs = (*(task.input for task in tasks), weights)
    sources = {fold_case(resolve(path)): path for path in inputs if path}
    written = [("the report of the batch", report)]
    for task in tasks:
        names = task.input, f"the state of {task.input}"
        written += zip(names, _files_of(task), strict=False)
    writers: dict[str, str] = {}
    for whose, path in written:
        target = fold_case(resolve(path))
        if target in sources:
            raise InputError(path, f"would be written over: {sources[target]} is read")
        if target in writers:
            what = f"{writers[target]} and {whose} would both be written to {path}"
            raise InputError("", what, "a template with {dir}/{name} tells folders apart")
        writers[target] = whose


@contextmanager
def open_report(
    path: str, resolve: Callable[[str], str]
) -> Iterator[tuple[dict[str, Done], Callable[[Outcome], None]]]:
    """Open or begin a report for this batch alone; give what is done, and a function that adds."""
    _check_regular(path)
    with open(path, "ab") as file:

        def add(outcome: Outcome) -> None:
            paths = {"input": resolve(outcome.input), "output": resolve(outcome.output)}
            try:
                file.write(json.dumps(outcome._asdict() | paths).encode() + b"\n")
                file.flush()
            except OSError as error:
                file.raw.close()  # `file` has the line still, and would fail again at its end
                raise OSError(error.errno, error.strerror, path) from error

        try:
            lock(file.fileno())
        except BlockingIOError as error:
            raise InputError(path, "another batch is adding to it") from error
        except OSError:  # the file system has no locks
            pass
        done, size = read_report(path)
        file.truncate(size)  # cuts off half a line of a batch that was killed
        yield done, add


def _check_regular(path: str) -> None:
    """Refuse a report that is a device, a pipe or a folder."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(path, "not a regular file", _OTHER_FOLDER)


def read_report(path: str) -> tuple[dict[str, Done], int]:
    """Return the digest and the rows of each output, and how many bytes the whole lines have."""
    done, size = dict[str, Done](), 0
    if not os.path.exists(path):
        return done, size
    _check_regular(path)
    with open(path, "rb") as file:
        while line := file.readline(_LONGEST):
            is_foreign = not size and not _BEGIN.startswith(line[: len(_BEGIN)])
            if is_foreign or len(line) == _LONGEST:
                raise InputError(path, "not the report of a batch", _OTHER_FOLDER)
            if not line.endswith(b"\n"):
                break
            size += len(line)
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                item = json.loads(line)
                made_of = item["made_of"] if item["status"] == "done" else ""
                done[item["output"]] = made_of, item["rows"]
    return done, size


@list_options
def batch(
    inputs: File | Iterable[File],
    network: Network | File,
    output: File,
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    force: bool = False,
    callback: Callable[[Outcome], object] = bool,
    **options: Unpack[ScoreOptions],
) -> Summary:
    """Run a network over many inputs and write a result for each, as ``rnn batch`` does.

    An input is skipped if its result exists, and the version, the options, the
    network and the input are unchanged.

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
        Whether to repeat the inputs that are done.
    callback : callable, optional
        Is called with each outcome as it ends: its ``input``, ``output``,
        ``status``, ``rows``, ``seconds``, ``error`` and ``notes``.
    **options
        The other parameters of `score`: ``columns=["value"]``, ``last=True``.
        ``state`` is a template, ``"states/{stem}.npz"``.

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
    checked = check_values(options)
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs: expected a whole number from 1 up, got {jobs}")
    if jobs is not None and scheduler is not None:
        raise ValueError("jobs: is for this machine, scheduler names a cluster")
    is_file = not isinstance(network, Network)
    weights = file_name(network, OF_NETWORK) if is_file else "the network"
    network = as_network(network)
    identity = repr(([fingerprint(network, "float64")], network.last))
    if checked.h0 is not None:
        checked = checked._replace(h0=np.asarray(checked.h0).tolist())
    build = partial(return_built, (network, {"weights": weights}))
    paths = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    files = [wrap_url(path) for path in expand([os.fspath(path) for path in paths])]
    work = Work(checked, build, weights, force)
    plan = Batch(files, os.fspath(output), work, identity)
    for outcome in plan.run(jobs, scheduler, Console()):
        if outcome:
            callback(outcome)
    return plan.summary
