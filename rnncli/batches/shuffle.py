"""One log that is larger than a machine, cut by key into parts: Dask brings the rows together.

A piece of the log is read by a worker, and its rows go to the parts of their
keys: Dask's shuffle carries them, as bytes whose meaning it need not know, a
row of its own table for each piece and part. A part is then a file on the
local disk of a worker, and a task as any other.
"""

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from rnncli.batches.cluster import Ended, Here, difference, one_process, refused, wanted_check
from rnncli.batches.log import divided
from rnncli.batches.log.part import Part
from rnncli.batches.log.pieces import Log, Piece
from rnncli.batches.processes import Work
from rnncli.batches.report import Outcome, failed
from rnncli.batches.tasks import Task
from rnncli.model.errors import InputError

# What workers and the scheduler need beside rnncli and NumPy.
PACKAGES = ("pandas", "pyarrow")

if TYPE_CHECKING:
    from distributed import Client


def names_of_parts(parts: int) -> list[str]:
    """Return the names of so many parts: ``part-03-of-12``."""
    width = len(str(parts - 1))
    return [f"part-{number:0{width}}-of-{parts}" for number in range(parts)]


def run_parts(
    log: Log,
    pieces: Sequence[Piece],
    parts: Sequence[str],
    tasks: Sequence[Task],
    work: Work,
    client: "Client",
    here: Here,
    ended: Ended,
) -> Iterator[Outcome]:
    """Divide a log among parts, and do the tasks of each; yield what becomes of them, as they end.

    Parameters
    ----------
    log : Log
    pieces : sequence of Piece
    parts : sequence of str
        The names of all parts.
    tasks : sequence of Task
        Whose inputs are parts, all of them or some.
    work : callable
    client : distributed.Client
    here : Here
        What a worker must find as it is here.
    ended : Ended
        Waits for what is under way.

    Raises
    ------
    InputError
        A piece cannot be read.
    OSError
        A worker that came later differs.
    """
    import dask
    from dask import dataframe
    from distributed import CancelledError

    tasks_of = {part: [task for task in tasks if task.input == part] for part in parts}
    wanted = [part for part in parts if tasks_of[part]]
    places = {parts.index(part): place for place, part in enumerate(wanted)}
    with dask.config.set({"dataframe.convert-string": False}):
        frames = dataframe.from_map(
            read_piece,
            list(enumerate(pieces)),
            log=log,
            parts=len(parts),
            places=places,
            here=here,  # of this batch: what another has read is not taken for this one's
            meta=_frame([], [], []),
        )
        # Partition i has the rows from division i on, before the next.
        divisions = list(range(len(wanted) + 1))
        shuffled = frames.set_index("part", divisions=divisions, shuffle_method="p2p")
        runs = [
            dask.delayed(run_part, pure=False)(frame, log, tasks_of[part], work, here)
            for frame, part in zip(shuffled.to_delayed(), wanted, strict=True)
        ]
        futures = client.compute(runs)
    part_of = dict(zip((future.key for future in futures), wanted, strict=True))
    for future in futures:
        ended.add(future)
    for _ in futures:
        future = ended.next()
        error = future.exception()
        if isinstance(error, CancelledError):
            raise error
        found = [] if error else future.result()
        if isinstance(found, Exception):  # without a piece, or a worker, no part is whole
            raise found
        if error:
            reason = f"{type(error).__name__}: {error}"
            tasks_left = tasks_of[part_of[future.key]]
            found = [failed(task, f"{task.input}: {reason}") for task in tasks_left]
        yield from found
        future.release()


def read_piece(
    numbered: tuple[int, Piece], log: Log, parts: int, places: Mapping[int, int], here: Here
) -> Any:
    """Return what a piece has for each part that is wanted, as a table of Dask's.

    An error goes to all parts in place of rows, as that of a piece numbered
    -1: a task that fails would stop the shuffle, and Dask might wait for it.
    """
    number, piece = numbered
    wrong: Exception | None = _refusal(here)
    try:
        found = {} if wrong else divided(piece, log, parts)
    except InputError as error:
        wrong = error
    except OSError as error:
        wrong = InputError(piece.path, f"cannot be read: {error.strerror or error}")
    if wrong:
        number, found = -1, dict.fromkeys(places, pickle.dumps(wrong))
    kept = {places[part]: rows for part, rows in found.items() if part in places}
    return _frame(list(kept), [number] * len(kept), list(kept.values()))


def run_part(
    frame: Any, log: Log, tasks: Sequence[Task], work: Work, here: Here
) -> list[Outcome] | Exception:
    """Do the tasks of a part, whose rows are in a table of Dask's: what a worker runs.

    They are done in a process of their own, which has the folder of the
    batch, and ends at once when nobody waits for them any more.
    """
    from tempfile import TemporaryDirectory

    from distributed import get_worker

    if refusal := _refusal(here):
        return refusal
    column, numbers = frame["rows"].array.__arrow_array__(), frame["piece"].to_numpy()
    streams = [column[i].as_buffer() for i in numbers.argsort()]
    if len(numbers) and numbers.min() < 0:
        error: Exception = pickle.loads(streams[0])
        return error
    try:
        part = Part(streams, log)
    except InputError as reason:
        return [failed(task, f"{task.input}: {reason}") for task in tasks]
    worker = get_worker()
    with (
        TemporaryDirectory(prefix="rnn-", dir=worker.local_directory) as place,
        closing(one_process(work, here)) as processes,
    ):
        path = os.path.join(place, tasks[0].input + log.extension)
        options = part.write(path)
        del frame, column, streams
        of_file = [task._replace(input=path, options={**task.options, **options}) for task in tasks]
        outcomes = list(processes.run(of_file, check_wanted=wanted_check(worker)))
        return [_named(outcome, part, path, tasks[0].input) for outcome in outcomes]


def _refusal(here: Here) -> OSError | None:
    """Return the error of a worker that is not as it should be."""
    from distributed import get_worker

    reason = difference(here)
    return refused(f"the worker {get_worker().address}", reason) if reason else None


def _named(outcome: Outcome, part: Part, path: str, name: str) -> Outcome:
    """Name a part, and the files that its rows are from, in place of its file."""
    error = part.with_origins(outcome.error, path).replace(path, name)
    notes = tuple(note.replace(path, name) for note in outcome.notes)
    return outcome._replace(input=name, error=error, notes=notes)


def check_installed() -> None:
    """Check that what cuts a log into parts is installed.

    Raises
    ------
    ImportError
        It is not.
    """
    try:
        import dask.dataframe  # noqa: F401
        import distributed  # noqa: F401
    except ImportError:
        what = "a log in parts needs Dask, pandas and PyArrow"
        raise ImportError(f"{what}: pip install 'rnncli[cluster]'") from None


def _frame(part: Sequence[int], piece: Sequence[int], rows: Sequence[bytes]) -> Any:
    import pandas as pd
    import pyarrow as pa

    numbers = {"part": pd.array(part, "int64"), "piece": pd.array(piece, "int64")}
    return pd.DataFrame({**numbers, "rows": pd.array(rows, pd.ArrowDtype(pa.large_binary()))})
