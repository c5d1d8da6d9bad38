"""Batches on a Dask cluster of this machine, killed at random moments and run again."""

from pathlib import Path

import pytest
from test_batches_killed import Batch, Expected, expected, kill_at_random_moments

__all__ = ["expected"]


@pytest.mark.slow
@pytest.mark.parametrize("state", [False, True], ids=["outputs", "states"])
def test_killed_at_any_moment(tmp_path: Path, expected: Expected, state: bool) -> None:
    """The command, its cluster, a worker or its process, or all of them."""
    cluster_is_lost = 1
    batch = Batch(tmp_path, expected, state=state)
    kill_at_random_moments(batch, {0, cluster_is_lost}, "-j", "2", "--scheduler", "local")
