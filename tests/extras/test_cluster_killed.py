"""Batches on a Dask cluster, killed at random moments and run again."""

import subprocess
from contextlib import closing, suppress
from pathlib import Path

import pytest
from test_batches_killed import Batch, Expected, expected, kill_at_random_moments

from extras.test_cluster import Cluster, children_of

__all__ = ["expected"]


class OnCluster(Batch):
    """A batch on a cluster that has two workers whenever the command is started."""

    def __init__(self, cluster: Cluster, folder: Path, expected: Expected, *, state: bool) -> None:
        super().__init__(folder, expected, state=state)
        self._cluster, self._workers = cluster, list[subprocess.Popen[bytes]]()

    def start(self, *_: str) -> "subprocess.Popen[str]":
        while len(self.workers()) < 2:
            self._workers.append(self._cluster.work())
        return super().start("--scheduler", self._cluster.address)

    def others(self, process: "subprocess.Popen[str]") -> list[int]:
        found = super().others(process)
        for worker in self.workers():
            with suppress(OSError):
                found += children_of(worker)
        return found

    def workers(self) -> list[int]:
        return [worker.pid for worker in self._workers if worker.poll() is None]


@pytest.mark.slow
@pytest.mark.parametrize("state", [False, True], ids=["outputs", "states"])
def test_killed_at_any_moment(tmp_path: Path, expected: Expected, state: bool) -> None:
    """The command, a worker, a process of one, or the command and all of these."""
    (tmp_path / "cluster").mkdir()
    with closing(Cluster(tmp_path / "cluster")) as cluster:
        kill_at_random_moments(OnCluster(cluster, tmp_path, expected, state=state))
