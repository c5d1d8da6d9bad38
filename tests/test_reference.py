"""The reference against sums without any rounding of their own."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from gated_loops import gated_loop, to_bits
from hypothesis import given
from hypothesis import strategies as st
from networks import Case, cases

from rnncli.engine.precision import PRECISIONS
from rnncli.model.cells import GRU, LSTM, Weights
from rnncli.model.layers import (
    Dense,
    Embedding,
    Layer,
    Masking,
    Normalization,
    Pointwise,
    Recurrent,
)
from rnncli.model.network import Network
from rnncli.verify import reference


@pytest.mark.slow
@given(case=cases(N=1, T=3, I=3, H=5))
def test_a_step_is_the_exact_sum_and_tanh(case: Case) -> None:
    W_xh, W_hh, b_h = case.cell.weights[:3]
    before = case.h0[0]
    computed = reference.unroll(case.cell, case.x[0], before)
    for x_t, h_t in zip(case.x[0], computed, strict=True):
        for j, h in enumerate(h_t):
            terms = [*(x_t[i] * W for i, W in enumerate(W_xh[:, j].astype(float)))]
            exact = sum(map(exactly, x_t, W_xh[:, j])) + sum(map(exactly, before, W_hh[:, j]))
            size = sum(map(abs, terms)) + sum(abs(before) * abs(W_hh[:, j])) + abs(b_h[j])
            # Ten operations on float64, each half a unit off at most.
            assert abs(h - math.tanh(exact + Fraction(float(b_h[j])))) <= 10 * 2**-53 * (size + 1)
        before = h_t


def exactly(a: float, b: float) -> Fraction:
    return Fraction(float(a)) * Fraction(float(b))


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
@given(bits=st.integers(0x00800000, 0x7E7FFFFF), negative=st.booleans())
def test_two_ways_to_round_operands_agree(precision: str, bits: int, negative: bool) -> None:
    # Normal float32 numbers; under them the two keep different digits, of under 1e-38.
    values = np.array([bits | (negative << 31)], np.uint32).view(np.float32)
    by_arithmetic = reference.rounded(values, precision)
    assert PRECISIONS[precision].operand(values) == by_arithmetic


BITS = {"float64": 52, "tf32": 10, "bfloat16": 7}


def weights(H: int, gates: int, *, rows: int = 0, **extra: tuple[int, ...]) -> Weights:
    """Draw float32 weights for two features; `rows` of W_hh where they are not H."""
    random = np.random.RandomState(gates + H)
    shapes = {"W_xh": (2, gates * H), "W_hh": (rows or H, gates * H), "b_h": (gates * H,), **extra}
    drawn = {name: random.normal(0, 0.7, shape) for name, shape in shapes.items()}
    return Weights(**{name: array.astype("f") for name, array in drawn.items()})


CELLS: dict[str, LSTM | GRU] = {
    "lstm": LSTM(weights(3, 4)),
    "lstm, all of its own": LSTM(
        weights(3, 4, rows=2, w_ch=(9,), W_hr=(3, 2)), "relu", "hard_sigmoid", "softsign", 0.9
    ),
    "lstm, peepholes and a clip": LSTM(weights(3, 4, w_ch=(9,)), clip=1.1),
    "gru, after": GRU(weights(3, 3, b_n=(3,))),
    "gru, after, no b_n": GRU(weights(3, 3), "softsign", "hard_sigmoid", 0.8),
    "gru, before": GRU(weights(3, 3), reset="before"),
    "gru, before, clipped": GRU(weights(3, 3), "relu", clip=0.8, reset="before"),
}


@pytest.mark.parametrize("precision", BITS)
@pytest.mark.parametrize("name", CELLS)
def test_a_gated_step_is_its_equation(name: str, precision: str) -> None:
    cell = CELLS[name]
    random = np.random.RandomState(3)
    x, start = random.normal(size=(8, 2)), random.normal(0, 3, sum(cell.state_sizes))
    state = tuple(np.split(start[None], np.cumsum(cell.state_sizes)[:-1], axis=1))
    expected = gated_loop(cell, x[None], state, to_bits(BITS[precision]))[0][0]
    computed = reference.unroll(cell, x, start, precision)
    # A dozen float64 operations on values around 1, carried over eight steps.
    np.testing.assert_allclose(computed, expected, rtol=0, atol=2e-14)


X = np.array([[0.5, -1.25], [2.5, 0.1], [0.1, 0.1], [-0.3, 0.1]], "f")
W, B = np.array([[0.3, -0.7, 1.1], [-0.9, 0.2, 0.6]], "f"), np.array([0.1, -0.2, 0.3], "f")
SUMS = [
    [sum(float(v) * float(w) for v, w in zip(row, column, strict=True)) for column in W.T]
    for row in X
]
A = [[a + float(b) for a, b in zip(row, B, strict=True)] for row in SUMS]
LAYERS: dict[str, tuple[Layer, Sequence[Sequence[float]]]] = {
    "dense": (Dense(W, B, "tanh"), [[math.tanh(a) for a in row] for row in A]),
    "softmax": (
        Dense(W, B, "softmax"),
        [[math.exp(a) / sum(map(math.exp, row)) for a in row] for row in A],
    ),
    "pointwise": (Pointwise("softsign", 2), [[v / (1 + abs(v)) for v in r] for r in X.tolist()]),
    "normalization": (
        Normalization([0.5, -1], [2, 0.25], [1, 3], [1.5, -2]),
        [[1.5 * (a - 0.5) / 2 + 1, -2 * (b + 1) / 0.25 + 3] for a, b in X.tolist()],
    ),
    "masking": (Masking(0.1, 2), [*X[:2].tolist(), [0, 0], X[3].tolist()]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_without_state_is_its_equation(name: str) -> None:
    layer, expected = LAYERS[name]
    (computed,) = reference.run(Network(layer), X, np.zeros(0))
    assert computed.dtype == np.float64
    # A few float64 operations on values around 1.
    np.testing.assert_allclose(computed, expected, rtol=1e-14, atol=1e-14)


def test_an_embedding_is_looked_up() -> None:
    layer = Embedding(np.arange(8.0).reshape(4, 2))
    (computed,) = reference.run(Network(layer), np.array([[3.0], [0.0]]), np.zeros(0))
    assert computed.tolist() == [[6, 7], [0, 1]]


def test_a_softmax_of_large_sums_is_known() -> None:
    e = math.e
    rows = reference.softmax(np.array([[1000.0, 1001.0], [-1000.0, 0.0]]))
    expected = np.array([[1 / (1 + e), e / (1 + e)], [0, 1]])
    np.testing.assert_allclose(rows, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["lstm", "gru, before"])
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_a_masked_row_is_no_step(name: str, direction: str) -> None:
    cells = [CELLS[name]] * (2 if direction == "bidirectional" else 1)
    recurrent = Recurrent(*cells, direction=direction)
    network, alone = Network(Masking(0.1, 2), recurrent), Network(recurrent)
    x = np.vstack([X[2], X[0], X[2], X[1], X[3], X[2]])
    h0 = np.random.RandomState(0).normal(size=network.state_size)
    _, h = reference.run(network, x, h0)
    steps = [1, 3, 4]
    (without,) = reference.run(alone, x[steps], h0)
    assert h[steps].tolist() == without.tolist()
    before = {"forward": [h0[:3], h[1], h[4]], "backward": [h[1], h[3], h0[:3]]}
    kept = before.get(direction, [np.zeros(6)] * 3)  # Keras has 0 there
    assert h[[0, 2, 5]].tolist() == [row.tolist() for row in kept]
