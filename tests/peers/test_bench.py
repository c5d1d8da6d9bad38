"""``rnn bench`` beside the libraries themselves, each of which it loads in a process of its own."""

import os
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner

import rnncli
from rnncli.cli import rnn
from rnncli.engine.rows import group
from rnncli.verification.peers import PEERS, build, version


def benched(*arguments: str) -> tuple[str, dict[str, list[str]]]:
    """Return the text, and the cells of the row of each peer."""
    options = ["--seq", "1,2,3,4,5,6", "--repeats", "1", *arguments]
    result = CliRunner(env={"COLUMNS": "80"}).invoke(rnn, ["bench", *options])
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    return result.stdout, {row[0]: row for row in rows if len(row) == 7 and row[0] in PEERS}


def test_every_peer_is_timed_and_judged_by_all_layers() -> None:
    text, rows = benched("--hidden", "3,3", "--init", "torch", "--direction", "bidirectional")
    assert list(rows) == list(PEERS)
    assert f"Peers: {', '.join(f'{name} {version(name)}' for name in PEERS)}\n" in text
    assert all(0 < float(row[-1]) < 1 for row in rows.values())
    fastest = min(rows, key=lambda name: float(rows[name][1]))
    assert f"Ratio: how many times faster than {fastest}." in text


@pytest.mark.parametrize("count", [1, 3])
def test_onnx_runtime_takes_the_processors_it_may_use(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Left to itself it takes a thread for each that the machine has."""
    taken = []

    class Session(onnxruntime.InferenceSession):  # type: ignore[misc]  # it has no types
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            taken.append(self.get_session_options().intra_op_num_threads)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)))
    peer = build("onnxruntime", rnncli.seeded(1, 2))
    peer(np.ones((3, 1), np.float32), group(None, 3), np.zeros((1, 2), np.float32))
    assert taken == [count]
