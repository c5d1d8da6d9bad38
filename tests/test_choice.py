"""Which strategy `auto` takes: by the seconds that each is expected to take."""

from typing import Any

import numpy as np
import pytest

import rnncli
from rnncli.engine.batch import Steps
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.unroll import choice
from rnncli.model.cells import LSTM, Cell


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the strategies that were taken, none of which computes anything."""
    names: list[str] = []
    for name in ("compiled", "projected"):

        def strategy(_cell: Cell, _x: Steps, state: Any, *_rest: Any, name: str = name) -> Any:
            names.append(name)
            return state

        monkeypatch.setattr(choice, name, strategy)
    monkeypatch.setattr(choice, "missing", lambda _: "")
    monkeypatch.setattr("rnncli.engine.compiled.machine.installed", lambda: True)
    return names


def auto(cell: Cell, T: int, N: int = 1, before: int = 0) -> None:
    x = np.random.RandomState(1).normal(size=(T, N, len(cell.weights.W_xh))).astype("f")
    state = tuple(np.zeros((N, size), "f") for size in cell.state_sizes)
    out = np.empty((T, N, cell.hidden_size), "f")
    choice.fastest(cell, Steps(x), state, PRECISIONS["float32"], Steps(out), before)


def cell_of(kind: str, H: int = 16, init: str = "tensorflow") -> Cell:
    network = rnncli.seeded(1, H, seed=1, init=init, cell=kind)
    return network.converted(PRECISIONS["float32"].convert).layers[0].cells[0]


@pytest.mark.parametrize(
    ("kind", "T", "N", "H", "before", "expected"),
    [
        ("rnn", 2_000, 1, 16, 0, "projected"),
        ("rnn", 100_000, 1, 16, 0, "compiled"),
        ("lstm", 2_000, 1, 16, 0, "projected"),
        ("lstm", 30_000, 1, 16, 0, "compiled"),
        ("gru", 30_000, 1, 16, 0, "compiled"),
        ("rnn", 8_000, 64, 64, 0, "projected"),
        ("gru", 500, 500, 32, 0, "projected"),
        ("lstm", 2_000, 64, 64, 0, "projected"),
        ("lstm", 30_000, 8, 16, 0, "compiled"),
        # A stream that has been long will be so, but for short blocks: their numbers stay the same.
        ("rnn", 20_000, 1, 16, 0, "projected"),
        ("rnn", 20_000, 1, 16, 200_000, "compiled"),
        ("rnn", 1_000, 1, 16, 10**9, "projected"),
    ],
)
def test_steps_that_are_worth_compiling(
    taken: list[str], kind: str, T: int, N: int, H: int, before: int, expected: str
) -> None:
    auto(cell_of(kind, H), T, N, before)
    assert taken == [expected]


@pytest.mark.parametrize(("most", "expected"), [(1, "compiled"), (1_000, "projected")])
def test_a_loop_is_called_once_for_each_end(taken: list[str], most: int, expected: str) -> None:
    batch_sizes = sorted([*range(501 - most // 2, 501 + most // 2 + most % 2)] * (20_000 // most))
    x = Steps(np.zeros((sum(batch_sizes), 1), "f"), batch_sizes[::-1])
    choice.fastest(cell_of("lstm", 1), x, (), PRECISIONS["float32"], x)
    assert taken == [expected]


def test_a_contracting_network_runs_in_segments(taken: list[str]) -> None:
    auto(cell_of("rnn", init="torch"), 40_000)
    assert taken == []


def test_a_run_without_a_compiler_or_a_loop_is_projected(
    taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cell_of("lstm")
    auto(LSTM(cell.weights._replace(w_ch=np.ones(48, "f"))), 30_000)
    monkeypatch.setattr(choice, "missing", lambda _: "not installed")
    auto(cell, 30_000)
    assert taken == ["projected", "projected"]


def test_a_stream_tells_how_many_rows_it_has_had(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []

    def recorded(*arguments: Any, **options: Any) -> Any:
        rows.append(options.get("before", 0))
        return choice.fastest(*arguments, **options)

    monkeypatch.setattr("rnncli.engine.passes.fastest", recorded)
    list(rnncli.stream(rnncli.seeded(1, 2), [np.ones((n, 1), "f") for n in (3, 4, 5)]))
    assert rows == [0, 3, 7]
