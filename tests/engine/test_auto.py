"""The strategy that `auto` takes: by the seconds that each is expected to take."""

from typing import Any

import numpy as np
import pytest

import rnncli
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.unroll import Auto
from rnncli.engine.unroll.loops import Projected

# Cell, steps, sequences, H, rows of the whole batch and stream, whether LLVM is there.
CASES = {
    ("rnn", 2_000, 1, 16, 0, True): "Projected",
    ("lstm", 30_000, 1, 16, 0, True): "Compiled",
    ("lstm", 1_000, 200, 128, 0, True): "Compiled",
    ("gru", 20, 64, 16, 0, True): "Projected",
    ("rnn", 50, 10_000, 16, 0, True): "Compiled",
    # The last steps of a few sequences of a long stream are not worth a call.
    ("rnn", 1, 50, 4, 1_000_000, True): "Projected",
    # A share of a batch, and a block of a stream, take their share of compiling.
    ("rnn", 20_000, 1, 16, 200_000, True): "Compiled",
    ("lstm", 50, 1_250, 16, 500_000, True): "Compiled",
    # Weights that leave the cache, in a network that is contracting.
    ("rnn", 40_000, 1, 300, 0, True): "run_segments",
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_fastest_strategy(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cell, T, N, H, rows, compiles = case
    network = rnncli.seeded(1, H, seed=1, init="torch" if H == 300 else "tensorflow", cell=cell)
    (one,) = network.converted(PRECISIONS["float32"].convert).layers[0].cells
    calls, run = [], Projected.__call__

    def projected(self: Any, x: Any, state: Any, out: Any) -> Any:
        if len(x) < T:  # where `Parallel` measures how fast runs converge
            return run(self, x, state, out)
        return calls.append("Projected")

    monkeypatch.setattr(Projected, "__call__", projected)
    monkeypatch.setattr(Auto, "run_segments", lambda *_: calls.append("run_segments"))
    compiled = (lambda *_: calls.append("Compiled")) if compiles else None
    monkeypatch.setattr(Auto, "compiled", compiled)
    auto, x = Auto(one, PRECISIONS["float32"]), np.random.RandomState(1).normal(size=(T, N, 1))
    auto.rows_run = rows
    state = tuple(np.zeros((N, size), "f") for size in one.state_sizes)
    auto(x.astype("f"), state, (np.empty((T, N, H), "f"),))
    assert calls == [CASES[case]]
