"""``rnn bench`` beside the libraries themselves."""

import json
import os
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner

import rnncli
from rnncli.bench.process import processors
from rnncli.cli import rnn
from rnncli.verify.peers import build, version

SEQ = ("--seq", "1,2,3,4,5,6", "--repeats", "1")
PEERS = ["keras", "torch", "onnxruntime"]


def benched(*arguments: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the document, and the results of peers for its only case."""
    result = CliRunner(env={"COLUMNS": "80"}).invoke(rnn, ["bench", *SEQ, *arguments, "--json"])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    (case,) = document["cases"]
    return document, {item["name"]: item for item in case["results"] if item["kind"] == "peer"}


def test_every_peer_is_timed_and_judged() -> None:
    document, results = benched("--hidden", "4")
    assert list(results) == PEERS
    assert document["machine"]["peers"] == {name: version(name) for name in PEERS}
    for item in results.values():
        assert 0 < item["step_error"] < 1
        assert {int(threads) for threads in item["rounds"]} == {len(cpus) for cpus in processors()}
    fastest = results[document["cases"][0]["fastest_peer"]]
    assert fastest["times_faster"] == 1
    assert fastest["median"] == min(item["median"] for item in results.values())
    for item in document["cases"][0]["results"]:
        assert item["times_faster"] == fastest["median"] / item["median"]


def test_stacks_are_judged_by_all_their_layers() -> None:
    _, results = benched("--hidden", "3,3", "--init", "torch", "--direction", "bidirectional")
    assert all(0 < item["step_error"] < 1 for item in results.values())


def test_what_a_peer_cannot_do_is_said() -> None:
    _, results = benched("--hidden", "4", "--activation", "softplus", "--precision", "float64")
    assert results["keras"]["step_error"] < 1
    assert results["torch"]["note"].startswith("PyTorch's nn.RNN has no activation softplus")
    assert results["onnxruntime"]["note"] == (
        "ONNX Runtime's RNN has no precision float64; it has float32"
    )


def test_one_peer_alone() -> None:
    assert list(benched("--hidden", "4", "--peer", "torch")[1]) == ["torch"]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
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
    peer(np.ones((1, 3, 1), np.float32), np.zeros((1, 2), np.float32))
    assert taken == [count]
