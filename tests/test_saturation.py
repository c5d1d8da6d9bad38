"""The note on states at the ends of their range, which a terminal gets."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from test_terminal import on_terminal

from rnncli.cli import saturation
from rnncli.cli.saturation import Saturation
from rnncli.engine.stream import Block
from rnncli.model.arrays import Floats
from rnncli.model.cells.cell import Weights
from rnncli.model.cells.gru import GRU
from rnncli.model.cells.lstm import LSTM
from rnncli.model.cells.rnn import RNN
from rnncli.model.layers import Recurrent
from rnncli.model.layers.stateless import Embedding
from rnncli.model.network import Network

NOTE = (
    "Note: {} of the states are within 0.001 of {}, the ends of their range: they say little but "
    "on which side a unit is"
)
WAY_OUT = (
    ". Is the input large? --center and --scale bring it near 0: auto, or a number for each column"
)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saturation, "on_terminal", lambda: True)


def weights(gates: int, H: int = 2, projected: int = 0) -> Weights:
    P = projected or H
    found = Weights(np.ones((1, gates * H)), np.ones((P, gates * H)), np.zeros(gates * H))
    return found._replace(W_hr=np.ones((H, P))) if projected else found


def blocks(h: Floats, *sizes: int) -> Iterator[Block]:
    for part in np.split(h, np.cumsum(sizes)):
        yield Block(np.arange(1, len(part) + 1), np.ones((len(part), 1)), part)


def told(layer: Recurrent, h: Floats, *sizes: int, scaled: bool = False) -> None:
    watch = Saturation(Network(layer), quiet=False)
    passed = list(watch.watched(blocks(h, *sizes)))
    np.testing.assert_array_equal(np.concatenate([block.h for block in passed]), h)
    watch.write(scaled=scaled)


RANGES: dict[str, tuple[Any, str]] = {
    "tanh": (RNN(weights(1)), "-1 or 1"),
    "sigmoid": (RNN(weights(1), "sigmoid"), "0 or 1"),
    "scaled_tanh": (RNN(weights(1), "scaled_tanh:-1.5,0.5"), "-1.5 or 1.5"),
    "relu6": (RNN(weights(1), "relu6"), "0 or 6"),
    "gru": (GRU(weights(3)), "-1 or 1"),
    "lstm": (LSTM(weights(4), "softsign"), "-1 or 1"),
    "lstm's output": (LSTM(weights(4), output_activation="sigmoid"), "0 or 1"),
}


@pytest.mark.parametrize(("cell", "ends"), RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("share", [0.9, 0.89])
def test_nine_tenths(
    capsys: pytest.CaptureFixture[str], cell: Any, ends: str, share: float
) -> None:
    least, greatest = map(float, ends.split(" or "))
    h = np.full((100, 2), (least + greatest) / 2 + 0.1)
    at_end = round(200 * share)
    h.reshape(-1)[:at_end] = np.resize([least + 9e-4, greatest - 9e-4], at_end)
    h.reshape(-1)[at_end:][::2] = least + 1.1e-3
    told(Recurrent(cell), h, 30, 50)
    expected = f"{NOTE.format('90%', ends)}{WAY_OUT}\n" if share == 0.9 else ""
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    "layer",
    [
        Recurrent(RNN(weights(1), "relu")),
        Recurrent(LSTM(weights(4, projected=1))),
        Recurrent(RNN(weights(1)), RNN(weights(1), "sigmoid"), direction="bidirectional"),
        Recurrent(RNN(weights(1)), RNN(weights(1)), direction="bidirectional", merge="mul"),
    ],
)
def test_states_without_two_ends(capsys: pytest.CaptureFixture[str], layer: Recurrent) -> None:
    told(layer, np.ones((10, layer.output_size)))
    assert capsys.readouterr().err == ""


def test_the_top_layer_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """Below it in a block stand those of others."""
    layer = Recurrent(RNN(weights(1)), RNN(weights(1)), direction="bidirectional")
    told(layer, np.c_[np.ones((10, 3)), np.zeros((10, 4))])
    assert capsys.readouterr().err == ""
    told(layer, np.c_[np.zeros((10, 3)), np.ones((10, 4))], scaled=True)
    assert capsys.readouterr().err == f"{NOTE.format('100%', '-1 or 1')}\n"


def test_a_long_block_is_looked_at_here_and_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    count = np.count_nonzero

    def counted(found: Floats) -> int:
        seen.append(found.size)
        return int(count(found))

    monkeypatch.setattr(np, "count_nonzero", counted)
    half = np.repeat([[1.0, 1.0], [0.0, 0.0]], [60_000, 5536], axis=0)
    told(Recurrent(RNN(weights(1))), half)
    assert "Note: 91% of the states" in capsys.readouterr().err
    assert 0 < max(seen) <= 2 * 512


def test_indices_cannot_be_scaled(capsys: pytest.CaptureFixture[str]) -> None:
    layer = Recurrent(RNN(weights(1)))
    watch = Saturation(Network(Embedding(np.ones((5, 1))), layer), quiet=False)
    list(watch.watched(blocks(np.ones((10, 2)))))
    watch.write(scaled=False)
    assert capsys.readouterr().err == f"{NOTE.format('100%', '-1 or 1')}\n"


def test_all_of_them_is_all(capsys: pytest.CaptureFixture[str]) -> None:
    h = np.ones((500, 2))
    h[0, 0] = 0
    told(Recurrent(RNN(weights(1))), h)
    assert capsys.readouterr().err == f"{NOTE.format('99%', '-1 or 1')}{WAY_OUT}\n"


def test_no_states_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    told(Recurrent(RNN(weights(1))), np.ones((0, 2)))
    assert capsys.readouterr().err == ""


LARGE = ("run", "--seq", "100,200,300", "--hidden", "2", "--init", "keras")


def test_a_run_says_it_once_after_the_result(run_rnn: Rnn) -> None:
    result = run_rnn(*LARGE)
    assert result.stderr == f"{NOTE.format('100%', '-1 or 1')}{WAY_OUT}\n"
    assert result.output.endswith(result.stderr)
    scaled = run_rnn(*LARGE, "--scale", "0.1")
    assert scaled.stderr == f"{NOTE.format('100%', '-1 or 1')}\n"
    assert run_rnn(*LARGE, "--scale", "500").stderr == ""
    follow = ("--follow", "--format", "csv")
    assert run_rnn("run", "-", *LARGE[3:], *follow, stdin="900\n900\n").stderr == ""
    failed = run_rnn(*LARGE, "--activation", "exponential")
    assert failed.stderr.startswith("Error: ")


def test_what_is_no_terminal_gets_none(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("COLUMNS", "80")
    assert not sys.stderr.isatty()
    assert run_rnn(*LARGE).stderr == ""


@pytest.mark.slow
def test_a_terminal_gets_it() -> None:
    assert WAY_OUT in on_terminal(*LARGE, TERM="dumb").replace("\r\n", "")
