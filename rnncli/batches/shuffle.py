"""One log that is larger than a machine, cut by key into parts: Dask brings the rows together.

A piece of the log is read by a worker, and its rows go to the parts of their
keys: Dask's shuffle carries them, as bytes whose meaning it need not know, a
row of its own table for each piece and part. A part is then a file on the
local disk of a worker, and a task as any other.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from rnncli.batches.pieces import Log, Part, Piece, divided
from rnncli.batches.processes import Work
from rnncli.batches.report import Outcome, failed
from rnncli.batches.tasks import Task
from rnncli.model.errors import InputError


def names_of_parts(parts: int) -> list[str]:
    """Return the names of so many parts: ``part-03-of-12``."""
    width = len(str(parts - 1))
    return [f"part-{number:0{width}}-of-{parts}" for number in range(parts)]


def run_parts(
    log: Log,
    pieces: Sequence[Piece],
    parts: int,
    tasks: Mapping[int, Task],
    work: Work,
    client: Any,
) -> Iterator[Outcome]:
    """Divide a log among parts, and do the task of each; yield what becomes of it, as it ends.

    Parameters
    ----------
    log : Log
    pieces : sequence of Piece
    parts : int
    tasks : mapping
        The task of each part that is wanted.
    work : callable
    client : distributed.Client

    Raises
    ------
    InputError
        A piece cannot be read.
    """
    import dask
    from dask import dataframe
    from distributed import as_completed

    wanted = {part: place for place, part in enumerate(tasks)}
    with dask.config.set({"dataframe.convert-string": False}):
        frames = dataframe.from_map(
            read_piece,
            list(enumerate(pieces)),
            log=log,
            parts=parts,
            wanted=wanted,
            once=uuid4().hex,  # what another batch has read is not taken for this one's
            meta=_frame([], [], []),
        )
        # Partition i has the rows from division i on, before the next.
        divisions = list(range(len(wanted) + 1))
        shuffled = frames.set_index("part", divisions=divisions, shuffle_method="p2p")
        runs = [
            dask.delayed(run_part, pure=False)(frame, log, task, work)
            for frame, task in zip(shuffled.to_delayed(), tasks.values(), strict=True)
        ]
        futures = client.compute(runs, retries=2)
    task_of = {future.key: task for future, task in zip(futures, tasks.values(), strict=True)}
    for future in as_completed(futures, loop=client.loop):
        error = future.exception()
        if isinstance(error, InputError):  # in a piece, without which no part is whole
            raise error
        if error is None:
            yield future.result()
        else:
            task = task_of[future.key]
            yield failed(task, f"{task.input}: {type(error).__name__}: {error}")
        future.release()


def read_piece(
    numbered: tuple[int, Piece], log: Log, parts: int, wanted: Mapping[int, int], once: str
) -> Any:
    """Return what a piece has for each part that is wanted, as a table of Dask's."""
    del once
    number, piece = numbered
    found = divided(piece, log, parts)
    kept = {wanted[part]: rows for part, rows in found.items() if part in wanted}
    return _frame(list(kept), [number] * len(kept), list(kept.values()))


def run_part(frame: Any, log: Log, task: Task, work: Work) -> Outcome:
    """Do the task of a part, whose rows are in a table of Dask's: what a worker runs."""
    from tempfile import TemporaryDirectory

    from distributed import get_worker

    streams = frame.sort_values("piece")["rows"].array.__arrow_array__()
    streams = [row.as_buffer() for chunk in getattr(streams, "chunks", [streams]) for row in chunk]
    try:
        part = Part(streams, log)
    except InputError as error:
        return failed(task, str(error))
    with TemporaryDirectory(prefix="rnn-", dir=get_worker().local_directory) as folder:
        path = os.path.join(folder, task.input + log.extension)
        options = {**task.options, **part.write(path)}
        outcome = work(task._replace(input=path, options=options))
    message = part.with_origins(outcome.error, path).replace(path, task.input)
    notes = tuple(note.replace(path, task.input) for note in outcome.notes)
    return outcome._replace(input=task.input, error=message, notes=notes)


def _frame(part: Sequence[int], piece: Sequence[int], rows: Sequence[bytes]) -> Any:
    import pandas as pd
    import pyarrow as pa

    numbers = {"part": pd.array(part, "int64"), "piece": pd.array(piece, "int64")}
    return pd.DataFrame({**numbers, "rows": pd.array(rows, pd.ArrowDtype(pa.large_binary()))})
