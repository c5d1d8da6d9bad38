"""Which strategy `auto` takes: by the seconds that each is expected to take."""

from collections.abc import Sequence
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

    def instead(name: str) -> None:
        def strategy(_cell: Cell, _x: Steps, state: Any, *_rest: Any) -> Any:
            names.append(name)
            return state

        monkeypatch.setattr(choice, name, strategy)

    for name in ("compiled", "projected"):
        instead(name)
    monkeypatch.setattr(choice, "missing", lambda _: "")
    monkeypatch.setattr("rnncli.engine.compiled.machine.installed", lambda: True)
    return names


def auto(cell: Cell, T: int, N: int = 1, before: int = 0) -> None:
    x = np.random.RandomState(1).normal(size=(T, N, len(cell.weights.W_xh))).astype("f")
    state = tuple(np.zeros((N, size), "f") for size in cell.state_sizes)
    out = np.empty((T, N, cell.hidden_size), "f")
    choice.fastest(cell, Steps(x), state, PRECISIONS["float32"], Steps(out), before)


def cell(kind: str, init: str, I: int = 1, H: int = 16) -> Cell:
    network = rnncli.seeded(I, H, seed=1, init=init, cell=kind)
    return network.converted(PRECISIONS["float32"].convert).layers[0].cells[0]


@pytest.mark.parametrize(
    ("kind", "T", "expected"),
    [
        ("rnn", 2_000, "projected"),
        ("rnn", 100_000, "compiled"),
        ("lstm", 2_000, "projected"),
        ("lstm", 30_000, "compiled"),
        ("gru", 30_000, "compiled"),
    ],
)
def test_steps_that_are_worth_compiling(taken: list[str], kind: str, T: int, expected: str) -> None:
    auto(cell(kind, "tensorflow"), T)
    assert taken == [expected]


@pytest.mark.parametrize(
    ("sizes", "expected"), [([500], "compiled"), (range(1, 1001), "projected")]
)
def test_a_loop_is_called_once_for_each_end(
    taken: list[str], sizes: Sequence[int], expected: str
) -> None:
    batch_sizes = sorted([*sizes] * (20_000 // len(sizes)), reverse=True)
    x = Steps(np.zeros((sum(batch_sizes), 1), "f"), batch_sizes)
    choice.fastest(cell("lstm", "tensorflow", H=1), x, (), PRECISIONS["float32"], x)
    assert taken == [expected]


@pytest.mark.parametrize(
    ("kind", "T", "N", "H", "expected"),
    [
        ("rnn", 8_000, 64, 64, "projected"),
        ("gru", 500, 500, 32, "projected"),
        ("lstm", 2_000, 64, 64, "projected"),
        ("lstm", 30_000, 2, 16, "compiled"),
        ("lstm", 30_000, 8, 16, "compiled"),
    ],
)
def test_batches_that_are_worth_compiling(
    taken: list[str], kind: str, T: int, N: int, H: int, expected: str
) -> None:
    auto(cell(kind, "tensorflow", H=H), T, N)
    assert taken == [expected]


def test_a_contracting_network_runs_in_segments(taken: list[str]) -> None:
    auto(cell("rnn", "torch"), 40_000)
    assert taken == []


@pytest.mark.parametrize(
    ("T", "before", "expected"),
    [(20_000, 0, "projected"), (20_000, 200_000, "compiled"), (1_000, 10**9, "projected")],
)
def test_a_stream_that_has_been_long_will_be_so(
    taken: list[str], T: int, before: int, expected: str
) -> None:
    """But for blocks as they come, which may be cut anywhere: their numbers stay the same."""
    auto(cell("rnn", "tensorflow"), T, before=before)
    assert taken == [expected]


def test_without_a_compiler_nothing_changes(
    taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "missing", lambda _: "not installed")
    auto(cell("lstm", "tensorflow"), 30_000)
    assert taken == ["projected"]


def test_a_cell_without_a_loop_runs_as_before(taken: list[str]) -> None:
    weights = cell("lstm", "tensorflow").weights
    auto(LSTM(weights._replace(w_ch=np.ones(48, "f"))), 30_000)
    assert taken == ["projected"]


def test_a_stream_says_how_many_rows_it_has_had(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []

    def recorded(*arguments: Any, **options: Any) -> Any:
        rows.append(options.get("before", 0))
        return choice.fastest(*arguments, **options)

    monkeypatch.setattr("rnncli.engine.passes.fastest", recorded)
    network = rnncli.seeded(1, 2, seed=1)
    list(rnncli.stream(network, [np.ones((n, 1), "f") for n in (3, 4, 5)]))
    assert rows == [0, 3, 7]
