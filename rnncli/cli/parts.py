"""One log that ``rnn batch`` cuts by key into parts: ``{part}`` in -o."""

import glob
import hashlib
import os
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

from rnncli.batches.processes import Work
from rnncli.batches.report import Outcome
from rnncli.batches.tasks import Source, Task, Template, resolver
from rnncli.cli.options import picked
from rnncli.cli.values import AUTO
from rnncli.engine.threads import usable_processors
from rnncli.model.errors import InputError
from rnncli.readers import Layout
from rnncli.storage import matching, version
from rnncli.storage.url import is_url

if TYPE_CHECKING:
    from rnncli.batches.log.pieces import Log, Piece

PART = "part"
# Bytes of rows in memory that a part has by default.
_BYTES = 1 << 26
_COUNT = re.compile(r"part-\d+-of-(\d+)")


class Cut(NamedTuple):
    """A log, and the parts that it is cut into.

    Parameters
    ----------
    log : Log
    pieces : sequence of Piece
    sources : sequence of Source
        The parts.
    """

    log: "Log"
    pieces: "Sequence[Piece]"
    sources: Sequence[Source]


def is_cut(output: str) -> bool:
    """Return whether a template is one for parts of a log."""
    return f"{{{PART}}}" in output.replace("{{", "")


def check_cut(given: Mapping[str, Any], *, cut: bool) -> None:
    """Check the options of a log in parts, and that no other batch has them.

    Raises
    ------
    click.UsageError
        One is missing, or is not for such a batch.
    """
    for name in ("order_by", "parts"):
        if given[name] is not None and not cut:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} is for one log in parts: put {{part}} into -o")
    if not cut:
        return
    state = given["state"] or given["state_out"]
    wrong = {
        "{part} in -o cuts one log by its keys: give --group-by COLUMN": not given["group_by"],
        "{part} in -o: give the --scheduler of a cluster, or local for one that is started here": (
            not given["scheduler"]
        ),
        "--center and --scale auto would differ from part to part: give numbers": (
            AUTO in (given["center"], given["scale"])
        ),
        f"{state}: for states in parts give --parts N, the same in every run": (
            state and given["parts"] is None
        ),
    }
    for message, found in wrong.items():
        if found:
            raise click.UsageError(message)


def cut_log(
    given: Mapping[str, Any],
    inputs: Sequence[str],
    templates: Iterable[Template],
    names: Sequence[str],
) -> Cut:
    """Look at a log, and find how to cut it.

    Parameters
    ----------
    given : mapping
        All options of the batch.
    inputs : sequence of str
        The files of the log, in their order.
    templates : iterable of Template
        Of what is written.
    names : iterable of str
        What stands in them beside the part.

    Raises
    ------
    ImportError
        What this needs is not installed.
    InputError
        The log cannot be read, or there are files of a run with more or fewer parts.
    """
    from rnncli.batches import shuffle
    from rnncli.batches.log import cut, open_log

    shuffle.check_installed()
    place, seen = resolver(), set[str]()
    for path in inputs:
        if place(path) in seen:
            raise InputError(path, "is given twice")
        seen.add(place(path))
    layout = picked(Layout, {**given, "dtype": np.dtype(np.float32)})
    found, size = list["Piece"](), 0
    # A worker need not be in this folder.
    paths = [path if is_url(path) else os.path.abspath(path) for path in inputs]
    path = paths[0]
    try:
        # What is added to a file while it is cut is in no piece: it is another version.
        told = [text for path in paths for text in (path, version(path))]
        log = open_log(path, layout, given["order_by"])
        for path in paths:
            some, taken = cut(log, path)
            found += some
            size += taken
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror or error}") from error
    count = _count(given, [path for each in templates for path in _there(each, names)], size)
    about = hashlib.sha256("\0".join(told).encode(errors="surrogateescape")).hexdigest()
    parts = shuffle.names_of_parts(count)
    sources = [Source(part, size // count, about, {PART: part}) for part in parts]
    return Cut(log, found, sources)


def check_states_go_on(tasks: Sequence[Task], made: Sequence[str | None]) -> None:
    """Check that no state has counted rows that it would count again.

    A log in which a row is mended, after another part was done, is another
    log: all of its parts are run. So it is with other options.

    Parameters
    ----------
    tasks : sequence of Task
    made : sequence of str or None
        What the output of each is made of; empty text where it failed, None
        where it was never run.

    Raises
    ------
    InputError
        Some tasks were done of another log or in another way, and others were not.
    """
    changed = [
        task
        for task, before in zip(tasks, made, strict=True)
        if before and before != task.made_of and "state" in task.options
    ]
    if changed and not all(made):
        what = (
            "was left by a batch that has not done all parts, and whose log, options or version "
            "of rnn have changed since"
        )
        hint = "`state_in` and `state_out` can be run again; `force` counts all rows again"
        raise InputError(changed[0].options["state"], what, hint)


def outcomes(
    cut: Cut,
    given: Mapping[str, Any],
    note: Callable[[str], None],
    tasks: Sequence[Task],
    work: Work,
) -> Generator[Outcome, None, None]:
    """Do the tasks of parts on a cluster, and yield what becomes of each as it ends."""
    from rnncli.batches.cluster import Ended, check_workers, connected
    from rnncli.batches.shuffle import PACKAGES, run_parts

    if not tasks:
        return
    parts = [source.input for source in cut.sources]
    address = given["scheduler"]
    with connected(address, _jobs(given)) as client:
        here = check_workers(client, address, (cut.log.path,), note, PACKAGES)
        ended = Ended(client, address, note)
        yield from run_parts(cut.log, cut.pieces, parts, tasks, work, client, here, ended)


def _there(template: Template, names: Iterable[str]) -> list[str]:
    """Return the files that a template names, of however many parts."""
    mark = "\0"
    text = template.filled({PART: mark, **dict.fromkeys(names, mark + mark)})
    pattern = glob.escape(text).replace(mark + mark, "*").replace(mark, "part-*-of-*")
    return matching(pattern)


def _count(given: Mapping[str, Any], there: Sequence[str], size: int) -> int:
    """Return how many parts there are to be: as many as there are already, or by the size.

    Raises
    ------
    InputError
        There are files of a run with more or fewer.
    """
    counts = {path: int(found[1]) for path in there if (found := _COUNT.search(path))}
    count: int = given["parts"] or next(iter(counts.values()), 0)
    count = count or max(-(-size // _BYTES), _workers(given))
    for path, other in counts.items():
        if other != count:
            what = f"is of a run with {other} parts, this one has {count}"
            raise InputError(path, what, f"give `parts` {other}, or remove what is there")
    return count


def _workers(given: Mapping[str, Any]) -> int:
    """Return how many workers a cluster has."""
    from rnncli.batches.cluster import LOCAL, connected

    if given["scheduler"] == LOCAL:
        return _jobs(given)
    with connected(given["scheduler"], _jobs(given)) as client:
        return max(1, len(client.nthreads()))


def _jobs(given: Mapping[str, Any]) -> int:
    jobs: int | None = given["jobs"]
    return jobs or len(usable_processors())
