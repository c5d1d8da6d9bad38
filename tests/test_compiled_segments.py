"""One long sequence in a few segments, by compiled loops."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import RUNNABLE

import rnncli
from rnncli.engine.compiled import segments
from rnncli.engine.compiled.machine import this_machine
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.threads import THREADS
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.comparison import Comparison

pytestmark = pytest.mark.skipif("compiled" not in RUNNABLE, reason="needs the extra `fast`")

# Of eight segments, some steps behind them.
T = 8 * 1500 + 5


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "WORTH", 0)


def drawn(kind: str, init: str, I: int = 2, H: int = 20) -> Cell:
    network = rnncli.seeded(I, H, seed=3, init=init, cell=kind)
    return network.converted(PRECISIONS["float32"].convert).layers[0].cells[0]


def both(
    cell: Cell, precision: str = "float32", change: Callable[[Floats], None] = lambda _: None
) -> tuple[Case, list[Any]]:
    """Return a case, and its states and final ones in segments and in one loop."""
    random, dtype = np.random.RandomState(1), PRECISIONS[precision].dtype
    x = random.normal(size=(1, T, len(cell.weights.W_xh))).astype(dtype)
    change(x[0])
    h0 = random.uniform(-1, 1, (1, sum(cell.state_sizes))).astype(dtype)
    case = Case(Network(Recurrent(cell)), x, h0, np.array([T]), precision)
    found = [case.run("compiled")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SHORT", T + 1)
        found.append(case.run("compiled"))
    return case, found


def right(case: Case, states: Any) -> bool:
    verdict = Comparison(case, states.layers).judge(states.h, states.layers, states.h_n)
    return bool(verdict.equal and verdict.step_error and verdict.step_error < 0.4)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("I", [2, 40])
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_every_step_and_join_is_right(kind: str, I: int, precision: str) -> None:
    case, (in_segments, whole) = both(drawn(kind, "torch", I), precision)
    assert right(case, in_segments)
    # It did run in segments, whose bits are others; the network is contracting.
    assert not np.array_equal(in_segments.h, whole.h)
    near = {"float32": 2e-6, "float64": 1e-14}[precision]
    assert np.abs(in_segments.h - whole.h).max() < near
    assert np.abs(in_segments.h_n - whole.h_n).max() < near


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_segments_that_do_not_converge_run_again(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probes can miss a slow unit: it is seen at the joins."""
    monkeypatch.setattr(segments, "probed_horizon", lambda *_: 32)
    case, (in_segments, whole) = both(drawn(kind, "tensorflow"))
    assert right(case, in_segments)
    assert not np.array_equal(in_segments.h, whole.h)


def test_the_segment_behind_one_that_runs_again_does_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate holds the state for one segment, and lets go of it in the next, which converges."""
    cell = drawn("gru", "torch")
    W_xh = cell.weights.W_xh.copy()
    W_xh[0] = np.repeat((1, 0, 0), cell.hidden_size)
    L = T // (THREADS * this_machine().rows_at_once)

    def change(x: Floats) -> None:
        x[:, 0] = -10
        x[L : 2 * L, 0] = 10

    monkeypatch.setattr(segments, "probed_horizon", lambda *_: 32)
    case, (in_segments, whole) = both(
        cell.replaced(cell.weights._replace(W_xh=W_xh)), change=change
    )
    assert right(case, in_segments)
    assert not np.array_equal(in_segments.h, whole.h)


def test_a_network_that_does_not_converge_runs_whole() -> None:
    _, (in_segments, whole) = both(drawn("rnn", "tensorflow"))
    assert np.array_equal(in_segments.h, whole.h)
