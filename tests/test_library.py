"""The library can do what the command can, with the same numbers."""

import re
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Rnn

import rnncli
from rnncli.model.errors import NotFiniteError


def test_every_public_name_is_there() -> None:
    for name in rnncli.__all__:
        assert getattr(rnncli, name) is not None
    assert dir(rnncli) == sorted(rnncli.__all__)


@pytest.mark.parametrize("name", ["net.npz", "net.safetensors"])
def test_a_saved_network_runs_as_it_did(run_rnn: Rnn, tmp_path: Path, name: str) -> None:
    """In Python as from the shell, to the bit."""
    network = rnncli.seeded(2, (4, 4), seed=3, init="torch", direction="bidirectional")
    path = tmp_path / name
    rnncli.save(network, path)
    x = np.random.RandomState(0).normal(size=(5, 2)).astype("f")
    h = rnncli.run(rnncli.load(path), x, unroll="stepwise").h
    assert h.tobytes() == rnncli.run(network, x, unroll="stepwise").h.tobytes()
    np.save(tmp_path / "x.npy", x)
    arguments = ("run", str(tmp_path / "x.npy"), "--weights", str(path), "--unroll", "stepwise")
    result = run_rnn(*arguments, "-o", str(tmp_path / "h.npy"))
    assert result.exit_code == 0, result.output
    assert np.load(tmp_path / "h.npy").tobytes() == h.tobytes()


def test_what_is_saved_by_the_command_is_the_same_file(run_rnn: Rnn, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.npz", tmp_path / "theirs.npz"
    rnncli.save(rnncli.seeded(1, 4, seed=5), ours)
    assert run_rnn("weights", "--hidden", "4", "--seed", "5", "-o", str(theirs)).exit_code == 0
    loaded = [rnncli.load(path).layers[0].cells[0].weights[:3] for path in (ours, theirs)]
    for a, b in zip(*loaded, strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_file_that_cannot_hold_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_text("before")
    network = rnncli.seeded(direction="backward")
    with pytest.raises(ValueError, match="PyTorch's names are for"):
        rnncli.save(network, path)
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["net.safetensors"]


def test_what_names_leave_open_is_warned_of_where_it_is_saved(tmp_path: Path) -> None:
    network = rnncli.seeded(activation="relu")
    with pytest.warns(UserWarning, match="do not tell activation relu") as warned:
        rnncli.save(network, tmp_path / "net.safetensors")
    assert warned[0].filename == __file__


def test_what_a_network_is_printed_as() -> None:
    network = rnncli.load(ROOT / "sample_data" / "sunspots.keras")
    assert repr(network) == "Network(GRU 8, Dense 1)"
    both = rnncli.seeded(1, (3, 4), cell="lstm", direction="bidirectional")
    assert repr(both) == "Network(LSTM 3 bidirectional, LSTM 4 bidirectional)"


def test_errors_name_parameters_not_options(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, one=np.ones(3))
    with pytest.raises(rnncli.InputError) as raised:
        rnncli.load(path)
    assert "--" not in str(raised.value)
    assert raised.value.place == str(path)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ([1, 2], r"x: expected blocks of shape \(n, 1\), got \(2,\)"),
        ([[1, 2]], r"x: expected blocks of shape \(n, 1\), got \(1, 2\)"),
        ([[np.nan]], r"x: not finite in float32: nan at \[0, 0\]"),
        ([["a"]], "x: expected numbers, got an array of <U1"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(block: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        next(rnncli.stream(rnncli.seeded(), [block]))


def test_a_stream_of_several_sequences_is_each_by_itself() -> None:
    network = rnncli.seeded(1, 4)
    x = np.random.RandomState(1).normal(size=(6, 1)).astype("f")
    key = np.array([0, 1, 0, 1, 1, 0])
    carried = rnncli.Carried(np.zeros(4, "f"), sequences=0)
    rows = [rnncli.Rows(x[:4], key[:4]), rnncli.Rows(x[4:], key[4:])]
    h = np.concatenate(
        [b.h for b in rnncli.stream(network, rows, carried=carried, unroll="stepwise")]
    )
    for number in (0, 1):
        alone = rnncli.run(network, x[key == number], unroll="stepwise")
        assert h[key == number].tobytes() == alone.h.tobytes()
        assert carried.state[number].tobytes() == alone.h_n.tobytes()
    assert carried.t.tolist() == [3, 3]


def test_a_stream_starts_from_a_state_of_the_right_size() -> None:
    with pytest.raises(ValueError, match=r"^h0: expected shape \(4,\), got \(3,\)$"):
        rnncli.stream(rnncli.seeded(1, 4), [], np.zeros(3))


def growing() -> rnncli.Network:
    weights = rnncli.Weights(np.full((1, 1), 3e38), np.full((1, 1), 3e38), np.zeros(1))
    return rnncli.Network(rnncli.RNN(weights, "linear"))


def test_an_overflow_names_the_number_of_a_sequence_without_a_name() -> None:
    rows = rnncli.Rows(np.array([[1], [1], [9]]), np.array([0, 1, 1]))
    blocks = rnncli.stream(growing(), [rows])
    assert len(next(blocks).h) == 2
    with pytest.raises(NotFiniteError, match=r"^sequence 1: step 2, unit 0: overflow \(inf\)$"):
        next(blocks)


def test_rows_are_converted_as_arrays_are() -> None:
    network, x = rnncli.seeded(2, 3), np.random.RandomState(0).normal(size=(4, 2))
    key = np.array([0, 1, 0, 1])
    (block,) = rnncli.stream(network, [rnncli.Rows(x, key)], unroll="stepwise")
    assert block.h.dtype == np.float32
    for number in (0, 1):
        alone = rnncli.run(network, x[key == number], unroll="stepwise").h
        assert block.h[key == number].tobytes() == alone.tobytes()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (rnncli.Rows(np.ones((3, 2)), np.zeros(3, int)), r"x: expected blocks of shape \(n, 1\)"),
        (
            rnncli.Rows(np.ones((3, 1)), np.array([0, -1, 0])),
            "key: expected numbers from 0, got -1",
        ),
        (rnncli.Rows(np.ones((3, 1)), np.zeros(2, int)), "key: expected 3 values, one a row"),
        (rnncli.Rows(np.full((1, 1), np.nan), np.zeros(1, int)), "x: not finite in float32"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows: rnncli.Rows, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next(rnncli.stream(rnncli.seeded(), [rows]))


def test_what_is_carried_has_to_be_of_the_network() -> None:
    network = rnncli.seeded(1, 4)
    carried = rnncli.Carried([0, 0, 0, 0], sequences=0)  # integers become the run's floats
    rows = rnncli.Rows(np.ones((2, 1)), np.array([0, 1]))
    deque(rnncli.stream(network, [rows], carried=carried), maxlen=0)
    assert carried.state.dtype == np.float32
    with pytest.raises(ValueError, match=r"^carried: expected states of shape \(4,\), got \(3,\)$"):
        rnncli.stream(network, [], carried=rnncli.Carried(np.zeros(3)))
    with pytest.raises(ValueError, match=r"^h0 and carried: give one"):
        rnncli.stream(network, [], np.zeros(4), carried=carried)


def test_blocks_with_keys_and_without_are_not_joined() -> None:
    network = rnncli.seeded(direction="backward")
    blocks: list[Any] = [np.ones((2, 1)), rnncli.Rows(np.ones((3, 1)), np.zeros(3, int))]
    with pytest.raises(ValueError, match=r"^key: expected keys in all blocks or in none$"):
        next(rnncli.stream(network, blocks))


def test_a_network_is_made_of_cells_weights_and_layers_and_nothing_else() -> None:
    weights = rnncli.seeded(1, 2).layers[0].cells[0].weights
    network = rnncli.Network(rnncli.RNN(weights, "relu"))
    assert str(network.layers[0].cells[0].settings["activation"]) == "relu"
    for wrong in ("rnn", (np.ones((1, 2)), np.ones((2, 2)), np.ones(2))):
        with pytest.raises(TypeError, match=r"^expected a cell, such as RNN, or Weights, got "):
            rnncli.Network(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected one of tanh, relu"):
        rnncli.RNN(weights, "sin")


def test_what_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    message = "extension: expected one of .npz, .safetensors, .onnx, got '.pt'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        rnncli.save(rnncli.seeded(), tmp_path / "net.pt")
    assert not list(tmp_path.iterdir())


def test_features_of_a_masked_row_are_not_looked_at() -> None:
    x, masked = np.array([[1], [1e300], [2]]), np.array([False, True, False])
    (block,) = rnncli.stream(rnncli.seeded(), [rnncli.Rows(x, masked=masked)], unroll="stepwise")
    alone = rnncli.run(rnncli.seeded(), [[1], [2]], unroll="stepwise").h
    assert block.h.tobytes() == alone[[0, 0, 1]].tobytes()


def test_a_block_without_rows_is_no_step_of_a_sequence_that_is_yet_to_come() -> None:
    network, carried = rnncli.seeded(1, 4), rnncli.Carried(np.zeros(4), sequences=0)
    blocks = list(rnncli.stream(network, [np.empty((0, 1)), [[1]]], carried=carried))
    assert [block.t.tolist() for block in blocks] == [[1]]
    assert carried.t.tolist() == [1]


def test_a_stream_of_no_sequence_has_no_last_row() -> None:
    network = rnncli.Network(rnncli.seeded(1, 2).layers[0], last="step")
    carried = rnncli.Carried(np.zeros(2), sequences=0)
    assert list(rnncli.stream(network, [np.empty((0, 1))], carried=carried)) == []
