"""The library can do what the command can, with the same numbers, and refuses what does not fit."""

import builtins
import json
import re
from collections import deque
from collections.abc import Callable
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RUNNABLE, SAMPLES
from random_networks import gated_cell

import rnncli
from rnncli import (
    RNN,
    Carried,
    Dense,
    Embedding,
    Masking,
    Network,
    Normalization,
    Recurrent,
    Rows,
    Weights,
    run,
    seeded,
    stream,
)
from rnncli.run_options import Options, ScoreOptions


def test_every_public_name_exists() -> None:
    for name in rnncli.__all__:
        assert getattr(rnncli, name) is not None
    assert dir(rnncli) == sorted(rnncli.__all__)
    with pytest.raises(AttributeError, match="module 'rnncli' has no attribute 'train'"):
        rnncli.train  # noqa: B018


def test_a_file_that_cannot_hold_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_text("before")
    with pytest.raises(ValueError, match="PyTorch's names are for"):
        rnncli.save(seeded(direction="backward"), path)
    with pytest.raises(ValueError, match=r"^extension: expected one of .* got '\.pt'$"):
        rnncli.save(seeded(), tmp_path / "net.pt")
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["net.safetensors"]


def test_a_warning_points_to_the_line_that_saves(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="cannot record activation relu") as warned:
        rnncli.save(seeded(activation="relu"), tmp_path / "net.safetensors")
    assert warned[0].filename == __file__


def test_a_warning_of_large_states_points_to_the_line_that_scores(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("100\n200\n")
    with pytest.warns(UserWarning, match="within 0.001 of -1 or 1; is the input large") as warned:
        rnncli.score(tmp_path / "in.csv", seeded(1, 2), tmp_path / "out.csv")
    assert [each.filename for each in warned] == [__file__]


def test_one_initial_state_serves_a_batch() -> None:
    network, x, h0 = seeded(2, 3), np.ones((4, 5, 2)), np.array([0.1, -0.2, 0.3])
    np.testing.assert_array_equal(run(network, x, h0).h, run(network, x, np.tile(h0, (4, 1))).h)


@pytest.mark.parametrize("unroll", ["auto", *RUNNABLE])
def test_no_steps_no_sequences_and_the_arrays_of_the_caller(unroll: str) -> None:
    """A step may overwrite c, but not the caller's."""
    network, h0 = Network(gated_cell("lstm", 2, 2)), np.array([0.5, -0.25, 0.125, 1], "f")
    states = run(network, np.empty((0, 2)), h0, unroll=unroll)
    assert states.h.shape == (0, 2)
    np.testing.assert_array_equal(states.h_n, h0)
    assert run(network, np.ones((0, 3, 2)), unroll=unroll).h.shape == (0, 3, 2)
    x, weights = np.ones((4, 5, 2), "f"), network.layers[0].cells[0].weights[:3]
    before = [array.tobytes() for array in (x, h0, *weights)]
    run(network, x, h0, unroll=unroll).h[:] = 7
    assert [array.tobytes() for array in (x, h0, *weights)] == before


def test_a_stream_of_no_sequence_has_no_last_row() -> None:
    network = Network(seeded(1, 2).layers[0], last="step")
    carried = Carried(np.zeros(2), sequences=0)
    assert list(stream(network, [np.empty((0, 1))], carried=carried)) == []


def test_rows_are_converted_as_arrays_are() -> None:
    """Features of a masked row are not looked at."""
    x, masked = np.array([[1], [1e300], [2]]), np.array([False, True, False])
    (block,) = stream(seeded(), [Rows(x, masked=masked)], unroll="stepwise")
    alone = run(seeded(), [[1], [2]], unroll="stepwise").h
    assert block.h.tobytes() == alone[[0, 0, 1]].tobytes()


def test_the_carried_state_is_of_the_network() -> None:
    network, carried = seeded(1, 4), Carried([0, 0, 0, 0], sequences=0)
    rows = Rows(np.ones((2, 1)), np.array([0, 1]))
    deque(stream(network, [rows], carried=carried), maxlen=0)
    assert carried.state.dtype == np.float32  # integers become the run's floats
    with pytest.raises(ValueError, match=r"^carried: expected states of shape \(4,\), got \(3,\)$"):
        stream(network, [], carried=Carried(np.zeros(3)))
    with pytest.raises(TypeError, match=r"^carried: expected an rnncli.Carried, got int$"):
        stream(network, [], carried=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^h0 and carried: give one"):
        stream(network, [], np.zeros(4), carried=carried)
    with pytest.raises(ValueError, match=r"^h0: expected shape \(4,\) or \(1, 4\), .* got \(3,\)$"):
        stream(network, [], np.zeros(3))


def ones(input_size: int, hidden_size: int) -> Weights:
    I, H = input_size, hidden_size
    return Weights(np.ones((I, H)), np.ones((H, H)), np.ones(H))


def with_array(name: str, value: Any) -> Callable[[], Network]:
    return lambda: Network(ones(2, 3)._replace(**{name: value}))


TABLE, CELL = Embedding(np.ones((10, 1))), RNN(ones(1, 1))
ONE = np.ones((1, 1))
LARGE = Network(Weights(np.full((1, 1), 1e39), ONE, np.ones(1)))
NETWORKS: list[tuple[Callable[[], object], str]] = [
    (with_array("W_xh", np.ones(3)), r"W_xh: expected shape \(I, 1 H\), got \(3,\)"),
    (with_array("W_xh", np.ones((0, 3))), "expected sizes of at least 1, got 0"),
    (with_array("b_h", [1, 2, np.nan]), "b_h: holds a value that is not finite"),
    (lambda: Network(), "a network has at least one layer"),
    (lambda: Network(ones(2, 3), ones(4, 3)), "layer 2: takes 4 values, 3 come from below"),
    (lambda: Recurrent(ones(2, 3), direction="bidirectional"), "a bidirectional layer has 2 cells"),
    (
        lambda: Recurrent(ones(2, 3), ones(2, 4), direction="bidirectional"),
        r"W_xh: expected shape \(2, 3\) backward too",
    ),
    (lambda: RNN(ones(2, 3), clip=0), "clip: expected a number over 0"),
    (lambda: Network(CELL, TABLE), "layer 2: an embedding is the bottom layer"),
    (lambda: Network(CELL, Masking(0, 1), CELL), "layer 2: masks rows above a recurrent layer"),
    (lambda: Network(Dense(ONE), last="state"), "last: a network without recurrent layers"),
]
INPUTS: list[tuple[Callable[[], object], str]] = [
    (lambda: run(seeded(2), [1, 2]), r"x: expected shape \(T, 2\) or \(N, T, 2\), got \(2,\)"),
    (lambda: run(seeded(), [[1, 2]]), r"x: expected shape .*, got \(1, 2\)"),
    (lambda: run(seeded(), [[1, 2], [3]]), "x: .* of unlike length; fill them .* give `lengths`"),
    (lambda: run(seeded(), [[1j]]), "x: expected numbers, got an array of complex128"),
    (lambda: run(seeded(), [[1]], [1, 2]), r"h0: expected shape \(4,\) or \(1, 4\), .* got \(2,\)"),
    (lambda: run(seeded(), [[1]], [0, 0, 0, np.inf]), "h0: not finite in float32: inf"),
    (lambda: run(LARGE, [[0]]), r"W_xh: not finite in float32: 1e\+39 at \[0, 0\]"),
    (lambda: run(seeded(), [[1]], unroll="fast"), "unroll: expected one of .*, got 'fast'"),
    (
        lambda: run(seeded(), [ONE, ONE], lengths=[1]),
        r"lengths: expected 2 integers from 0 to 1, got",
    ),
    (lambda: run(seeded(), [ONE], lengths=[1.0]), r"lengths: expected 1 integers .* got \[1.0\]"),
    (
        lambda: run(seeded(), [[[1.0], [np.nan]]] * 2, lengths=[1, 2]),
        r"x: not finite in float32: nan at \[1, 1, 0\]",
    ),
    (lambda: run(Network(TABLE), [[3], [10]]), r"x: 10 is outside the .* 9\) at \[1, 0\]"),
    (lambda: run(Network(Normalization([0, 0], [1, 1])), [[1]]), r"x: expected shape \(T, 2\)"),
]
BLOCKS: list[tuple[Any, str]] = [
    ([[1, 2]], r"x: expected blocks of shape \(n, 1\), got \(1, 2\)"),
    ([[np.nan]], r"x: not finite in float32: nan at \[0, 0\]"),
    (Rows(np.ones((3, 2)), np.zeros(3, int)), r"x: expected blocks of shape \(n, 1\)"),
    (Rows(np.ones((3, 1)), np.array([0, -1, 0])), "key: expected 3 integers from 0, one a row"),
]


@pytest.mark.parametrize(
    ("make", "message"),
    [*NETWORKS, *INPUTS, *[(lambda b=b: next(stream(seeded(), [b])), m) for b, m in BLOCKS]],
)
def test_a_mistake_is_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def test_a_layer_is_a_cell_weights_or_a_layer() -> None:
    for wrong in ("rnn", (np.ones((1, 2)), np.ones((2, 2)), np.ones(2))):
        with pytest.raises(TypeError, match=r"^expected a cell, such as RNN, or Weights, got "):
            Network(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [rnncli.score, rnncli.batch])
def test_options_are_in_the_signature(function: Callable[..., Any]) -> None:
    parameters = signature(function).parameters
    for name in ScoreOptions.__annotations__:
        assert parameters[name].default == Options._field_defaults[name]
        assert parameters[name].kind == Parameter.KEYWORD_ONLY
        assert re.search(rf"^ *([a-z_0-9]+, )*{name}[ ,\n]", rnncli.score.__doc__ or "", re.M), name
    with pytest.raises(TypeError, match=r"^network: expected a Network or the name .*, got list$"):
        rnncli.verify([1], seeded())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^unexpected keyword argument 'colums'$"):
        function("in.csv", seeded(), "out.csv", colums=["a"])


def test_functions_of_arrays_read_files(tmp_path: Path) -> None:
    network, x = rnncli.load(SAMPLES / "sunspots.keras"), np.arange(6.0)[:, None]
    np.savetxt(tmp_path / "x.csv", x, header="v", comments="")
    np.save(tmp_path / "x.npy", np.stack([x, x + 1]))
    expected = rnncli.run(network, x)
    for found in (
        rnncli.run(network, tmp_path / "x.csv"),
        rnncli.run(network, x=str(tmp_path / "x.csv")),
    ):
        np.testing.assert_array_equal(found.y, expected.y)
    both = rnncli.run(network, tmp_path / "x.npy")
    np.testing.assert_allclose(both.h[0], expected.h, rtol=1e-6)
    ahead = rnncli.forecast(network, tmp_path / "x.csv", 3)
    np.testing.assert_array_equal(ahead, rnncli.forecast(network, x, 3))
    with pytest.raises(rnncli.InputError, match=r"takes 1 column, .*; .rnncli.score. chooses"):
        rnncli.run(network, SAMPLES / "sunspots.csv")


def test_results_print_as_the_commands_show_them(tmp_path: Path) -> None:
    model = SAMPLES / "sunspots.keras"
    states = rnncli.run(model, [5, 11])
    assert str(states).startswith("h (2, 8):\n[[")
    assert "\ny_n (1,):\n[" in str(states)
    assert "  rnn run FILE.csv --weights " in str(rnncli.inspect(model))
    assert json.loads(json.dumps(rnncli.inspect(model))) == rnncli.inspect(model)
    steps = rnncli.explain(rnncli.seeded(1, 2), [1, 2], unit=1)
    assert "\nUnit h_1 of layer 1: RNN 2, tanh" in str(steps)
    (tmp_path / "a.csv").write_text("v\n1\n")
    summary = rnncli.batch(tmp_path / "a.csv", model, tmp_path / "out", jobs=1)
    assert str(summary).startswith("1 done, 0 skipped, 0 failed, 1 rows, ")


@pytest.mark.parametrize(
    "name", ["run", "forecast", "stream", "score", "explain", "verify", "load"]
)
def test_signatures_show_the_names_of_types(name: str) -> None:
    text = str(signature(getattr(rnncli, name)))
    assert "_typing" not in text
    assert len(text) < 1400


def test_errors_in_docstrings_can_be_imported() -> None:
    for name in rnncli.__all__:
        doc = getattr(rnncli, name).__doc__ or ""
        for error in re.findall(r"^ {4}(\w+Error)$", doc, re.MULTILINE):
            assert hasattr(rnncli, error) or hasattr(builtins, error), (name, error)
