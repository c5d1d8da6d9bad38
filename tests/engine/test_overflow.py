"""A state that is not finite ends a run, and so does a sum that overflows on the way."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RUNNABLE, Rnn

import rnncli
from rnncli import (
    GRU,
    LSTM,
    RNN,
    Dense,
    LayerNormalization,
    Network,
    Normalization,
    Recurrent,
    Rows,
    Weights,
)
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell
from rnncli.model.errors import NotFiniteError

I, H = 9, 4
NO_DATA = float(np.finfo("f").min)


def weights(first: float, second: float, gates: int = 1, of_state: float = 0) -> Weights:
    """Weights that are 0 but for those of features 0 and 2, and of the states of units 0 and 2."""
    W_xh, W_hh = np.zeros((I, gates * H), "f"), np.zeros((H, gates * H), "f")
    W_xh[0], W_xh[2] = first, second
    W_hh[0], W_hh[2] = -2 * of_state, 3 * of_state
    return Weights(W_xh, W_hh, np.zeros(gates * H, "f"))


def features(first: float, second: float) -> Floats:
    """Four steps, of which the third has two features that are not 0."""
    x = np.zeros((4, I), "f")
    x[2, [0, 2]] = first, second
    return x


def cell_of(cell: Cell, *below: Any, direction: str = "forward") -> Network:
    cells = [cell] * (2 if direction == "bidirectional" else 1)
    return Network(*below, Recurrent(*cells, direction=direction))


NO_DATA_TWICE = features(NO_DATA, NO_DATA)
HUGE = features(1e30, 1e30)
OPPOSITE = weights(-1e30, 1e30, 3)
HEAD = np.outer([-2e8, 0, 3e8, 0], np.ones(H)).astype("f")
SCALED = Dense(np.eye(I, dtype="f") * 1e20)
# Network, input and the step that overflows.
HIDDEN: dict[str, tuple[Network, Floats, int]] = {
    "two marks of missing values": (cell_of(RNN(weights(1.5, -2))), NO_DATA_TWICE, 3),
    "relu": (cell_of(RNN(weights(1.5, -2), "relu")), NO_DATA_TWICE, 3),
    "terms of one sign": (cell_of(RNN(weights(3, 2))), NO_DATA_TWICE, 3),
    "a clip": (cell_of(RNN(weights(1.5, -2), "linear", clip=2)), NO_DATA_TWICE, 3),
    "backward": (cell_of(RNN(weights(1.5, -2)), direction="backward"), NO_DATA_TWICE, 3),
    "both": (cell_of(RNN(weights(1.5, -2)), direction="bidirectional"), NO_DATA_TWICE, 3),
    "an LSTM": (cell_of(LSTM(weights(1.5, -2, 4))), NO_DATA_TWICE, 3),
    "a GRU": (cell_of(GRU(weights(1.5, -2, 3))), NO_DATA_TWICE, 3),
    "an LSTM whose halved sums fit": (cell_of(LSTM(weights(1.2, -1.3, 4))), NO_DATA_TWICE, 3),
    "a GRU whose halved sums fit": (cell_of(GRU(weights(1.2, -1.3, 3))), NO_DATA_TWICE, 3),
    "a GRU with a clip": (cell_of(GRU(OPPOSITE, clip=1)), HUGE, 3),
    "a GRU that resets before": (cell_of(GRU(OPPOSITE, clip=1, reset="before")), HUGE, 3),
    "a layer below": (cell_of(RNN(weights(-1e19, 1e19)), SCALED), features(1, 1), 3),
    "a head": (Network(RNN(weights(1, 1), "linear"), Dense(HEAD, None, "tanh")), HUGE, 3),
    "states": (cell_of(RNN(weights(3e8, 0, of_state=1), "relu")), HUGE, 4),
    "a layer normalization": (
        Network(LayerNormalization(np.ones(I)), RNN(weights(1, 1))),
        features(1e25, 1e25),
        3,
    ),
}
SHOWN: dict[str, tuple[Network, Floats, float]] = {
    "a mark whose weights are small": (cell_of(RNN(weights(0.5, 0))), NO_DATA_TWICE, -1),
    "a sum that fits": (cell_of(RNN(weights(0.3, -0.4))), NO_DATA_TWICE, 1),
}


@pytest.mark.parametrize("unroll", ["auto", *RUNNABLE])
@pytest.mark.parametrize("name", HIDDEN)
def test_an_overflow_that_an_activation_hides_is_refused(name: str, unroll: str) -> None:
    network, x, step = HIDDEN[name]
    blocks = rnncli.stream(network, [x], unroll=unroll)
    if step > 1 and not network.needs_whole_sequences:
        assert len(next(blocks).t) == step - 1
    with pytest.raises(NotFiniteError, match=rf"step {step}, unit \d( of y)?: overflow \("):
        next(blocks)


@pytest.mark.parametrize("unroll", ["auto", *RUNNABLE])
@pytest.mark.parametrize("name", SHOWN)
def test_a_sum_that_is_right_is_not_refused(name: str, unroll: str) -> None:
    network, x, value = SHOWN[name]
    h = rnncli.run(network, x, unroll=unroll).h
    np.testing.assert_array_equal(h[2], value)


@pytest.mark.parametrize("precision", ["float64", "tf32", "bfloat16"])
def test_in_other_precisions(precision: str) -> None:
    large = np.finfo("d" if precision == "float64" else "f").max
    network = cell_of(RNN(Weights(*(a.astype("d") for a in weights(1.5, -2)[:3]))))
    x = features(0, 0).astype("d")
    x[2, [0, 2]] = large / 1.01
    h = rnncli.run(network, x, precision=precision).h
    assert not h[:2].any()
    assert np.isnan(h[2:]).all()


@pytest.mark.parametrize("name", ["relu", "an LSTM whose halved sums fit"])
def test_other_sequences_of_a_batch_are_as_they_were(name: str) -> None:
    network, x, _ = HIDDEN[name]
    batch = np.stack([np.zeros_like(x), x, np.ones_like(x)])
    states = rnncli.run(network, batch, lengths=[3, 3, 3], all_states=True)
    assert np.isnan(states.h[1, 2]).all()
    assert np.isnan(states.h_n[1]).all()
    assert np.isfinite(states.h[[0, 2]]).all()
    assert np.isfinite(states.h[1, :2]).all()


def cell(x: float, h: float, activation: str = "linear") -> RNN:
    """Make a cell of one unit."""
    return RNN(Weights(np.array([[x]], "f"), np.array([[h]], "f"), np.zeros(1, "f")), activation)


def grown_c() -> LSTM:
    """``c_t = c_{t-1} + 2e38`` of unit 1, of which the tanh is 1."""
    weights = Weights(np.zeros((1, 8)), np.zeros((2, 8)), np.array([9e1] * 4 + [0, 2e38] + [9] * 2))
    return LSTM(weights, "linear", output_activation="tanh")


# At step 4 the product of the input overflows.
OPPOSED = Weights(np.full((1, 2), 4, "f"), np.full((2, 2), -1e38, "f"), np.zeros(2, "f"))
X = np.array([[1], [-1], [1], [-3e38], [1]], "f")
TOP = cell(1, 1, "tanh")
BOTH = Recurrent(cell(3e38, 0), cell(3e38, 0), direction="bidirectional", merge="sum")
GROWING, LATE = cell(3e38, 1), np.array([[0], [1], [1]], "f")
AB = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
# Network, rows, the rows that come before and the message.
ENDS: dict[str, tuple[Network, Rows, int, str]] = {
    "no number": (Network(OPPOSED), Rows(X), 3, "step 4, unit 0: overflow (nan)"),
    "at once": (Network(OPPOSED), Rows(-X[3:4]), 0, "step 1, unit 0: overflow (nan)"),
    "named": (
        Network(OPPOSED),
        Rows(np.concatenate([np.ones_like(X), X]), AB),
        8,
        "a 1: step 4, unit 0: overflow (nan)",
    ),
    "below": (Network(GROWING, TOP), Rows(LATE), 2, "layer 1: step 3, unit 0: overflow (inf)"),
    "backward": (
        Network(Recurrent(GROWING, direction="backward"), TOP),
        Rows(LATE),
        0,
        "layer 1: step 2, unit 0: overflow (inf)",
    ),
    "of two": (
        Network(Recurrent(GROWING, GROWING, direction="bidirectional", merge="ave"), TOP),
        Rows(LATE),
        0,
        "layer 1 backward: step 2, unit 0: overflow (inf)",
    ),
    "a head": (
        Network(TOP, Dense([[-1]]), Normalization([0], [1e-40])),
        Rows(LATE),
        1,
        "layer 3: step 2, unit 0 of y: overflow (-inf)",
    ),
    "merged": (Network(BOTH), Rows(LATE[:2]), 1, "step 2, unit 0: overflow (inf)"),
    "c": (Network(grown_c()), Rows(np.ones((4, 1))), 3, "step 4, unit 1 of c: overflow (inf)"),
    "c of a key": (
        Network(grown_c()),
        Rows(np.ones((4, 1)), np.array([2, 0, 2, 1])),
        2,
        "sequence 2: step 2, unit 1 of c: overflow (inf)",
    ),
}


H0 = {"no number": [1, 0.1], "at once": [1, 1], "named": [1, 0.1]}


@pytest.mark.parametrize("name", ENDS)
def test_the_rows_before_come_and_then_the_step_is_named(name: str) -> None:
    network, rows, before, message = ENDS[name]
    h0 = np.array(H0.get(name, np.zeros(network.state_size)), "f")
    keys = [("a", "1"), ("b", "2")] if name == "named" else []
    carried = rnncli.Carried(h0, 0 if rows.key is not None else 1)
    blocks = rnncli.stream(network, [rows], unroll="stepwise", carried=carried, keys=keys)
    found, error = until_error(blocks)
    assert sum(len(block.t) for block in found) == before
    assert error == message


def until_error(blocks: Iterator[Any]) -> tuple[list[Any], str]:
    found: list[Any] = []
    with pytest.raises(NotFiniteError) as raised:
        found.extend(iter(lambda: next(blocks), None))
    return found, str(raised.value)


def test_c_that_is_asked_for_ends_a_run_at_its_own_step() -> None:
    blocks = rnncli.stream(Network(grown_c()), [np.ones((4, 1))], all_states=True)
    found, error = until_error(blocks)
    assert ([len(block.t) for block in found], error[:6]) == ([1], "step 2")
    one_by_one = rnncli.stream(Network(grown_c()), np.ones((4, 1, 1)))
    found, error = until_error(one_by_one)
    assert ([block.t.tolist() for block in found], error[:6]) == ([[1]], "step 2")


def test_a_final_output_that_overflows(run_rnn: Rnn, tmp_path: Path) -> None:
    """``y_t = 1e308 (x_0 + x_1)`` of a row, but x_0 of the last and x_1 of the first one."""
    weights = (Weights(W_xh, np.zeros((1, 1)), np.zeros(1)) for W_xh in np.eye(2)[..., None])
    both = Recurrent(*(RNN(each, "linear") for each in weights), direction="bidirectional")
    rnncli.save(Network(both, Dense(np.full((2, 1), 1e308))), tmp_path / "w.npz")
    options = ["run", "--weights", str(tmp_path / "w.npz"), "--precision", "float64", "--last"]
    what = "layer_2: step 2, unit 0 of final y: overflow (nan)"
    result = run_rnn(*options, "--first-row", "data", stdin="0,1\n1,0\n")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {what}\n")
    keyed = run_rnn(*options, "--group-by", "k", stdin="k,v,w\na,1,0\na,0,1\nb,0,1\nb,1,0\n")
    assert keyed.stderr == f"Error: b: {what}\n"


def test_an_overflow_names_the_layer_as_its_file_does() -> None:
    large = Weights(np.full((1, 1), 1e30), np.ones((1, 1)), np.zeros(1))
    network = Network(RNN(large, "linear"), RNN(large, "linear"))
    for layers, name in [(["lower", "upper"], "upper"), (["rnn", "rnn"], "layer 2 of rnn")]:
        for layer, each in zip(network.layers, layers, strict=True):
            layer.name = each
        with pytest.raises(rnncli.NotFiniteError, match=f"^{name}: step 1, unit 0: overflow"):
            list(rnncli.stream(network, [[[1.0]]]))
