"""Tasks on a Dask cluster."""

from collections.abc import Iterator, Sequence

from rnncli.batches.processes import MOST_BYTES, Work, lots
from rnncli.batches.report import Outcome
from rnncli.batches.tasks import Task

# Tasks that a worker is given at once: a hundred that take a millisecond each hide what Dask takes.
MOST_TASKS = 100


def run_on_cluster(tasks: Sequence[Task], work: Work, address: str) -> Iterator[Outcome]:
    """Do tasks on a cluster; yield what becomes of each, as they end."""
    from distributed import Client, as_completed

    with Client(address, set_as_default=False, timeout=10) as client:
        futures = [
            client.submit(run_lot, lot, work, pure=False, retries=2)
            for lot in lots(tasks, MOST_TASKS, MOST_BYTES)
        ]
        for future in as_completed(futures, loop=client.loop):
            yield from future.result()
            future.release()


def run_lot(tasks: Sequence[Task], work: Work) -> list[Outcome]:
    """Do tasks one after the other: what a worker runs."""
    return list(map(work, tasks))
