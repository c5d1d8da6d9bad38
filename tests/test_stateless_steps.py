"""Rows of layers without state are judged by themselves, as steps are."""

import numpy as np
import pytest
from conftest import with_runnable

import rnncli
from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats
from rnncli.model.layers import (
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Masking,
    Normalization,
    Pointwise,
)
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.compared import with_reference
from rnncli.verify.comparison import Comparison
from rnncli.verify.steps import can_judge_steps, largest_step_error

RANDOM = np.random.RandomState(5)
(RECURRENT,) = rnncli.seeded(2, 5, 1, "torch", cell="lstm").layers


def normal(*shape: int, scale: float = 1.0) -> Floats:
    return (scale * RANDOM.normal(size=shape)).astype("f")


W, B, TABLE = normal(5, 4), normal(4), normal(6, 2)
CENTER, SCALE = np.array([1e4, -3.0], "f"), np.array([250.0, 0.01], "f")
SHIFT, FACTOR = normal(2), normal(2)
# Layers below and above an LSTM, and what makes each wrong.
NETWORKS: dict[str, tuple[list[Layer], list[Layer], list[list[Layer]]]] = {
    "dense": ([], [Dense(W, B)], [[Dense(-W, B)], [Dense(W, -B)], [Dense(W)]]),
    "dense, tanh": (
        [],
        [Dense(W, B, "tanh")],
        [[Dense(W, B, "softsign")], [Dense(W[::-1].copy(), B, "tanh")]],
    ),
    "softmax": (
        [],
        [Dense(W, B, "softmax")],
        [[Dense(W, B, "sigmoid")], [Dense(W, -B, "softmax")], [Dense(W, B + W[0], "softmax")]],
    ),
    "two": (
        [],
        [Dense(W, B, "elu"), Dense(W.T.copy()), Pointwise("softmax", 5)],
        [
            [Dense(W, B, "elu"), Dense(-W.T.copy()), Pointwise("softmax", 5)],
            [Dense(W, B, "elu"), Dense(W.T.copy()), Pointwise("sigmoid", 5)],
        ],
    ),
    "normalization": (
        [Normalization(CENTER, SCALE, SHIFT, FACTOR)],
        [],
        [
            [Normalization(CENTER, SCALE, -SHIFT, FACTOR)],
            [Normalization(CENTER, SCALE, SHIFT)],
            [Normalization(CENTER, SCALE**2, SHIFT, FACTOR)],
        ],
    ),
    "log_softmax": (
        [],
        [Dense(W, B, "log_softmax")],
        [[Dense(W, B)], [Dense(W, -B, "log_softmax")], [Dense(W, B + W[0], "log_softmax")]],
    ),
    "exponential": (
        [],
        [Dense(W, B - 10, "exponential")],  # far under 1, where the error is a share of that
        [[Dense(W, B - 10.01, "exponential")], [Dense(-W, B - 10, "exponential")]],
    ),
    "gelu": (
        [],
        [Dense(W, B, "gelu")],
        [[Dense(W, B, "gelu_tanh")], [Dense(W, B, "silu")]],
    ),
    "layer normalization": (
        [],
        [LayerNormalization(W[:, 0], W[:, 1], 1e-3)],
        [
            [LayerNormalization(W[:, 0], W[:, 1], 1e-2)],
            [LayerNormalization(W[:, 0])],
            [LayerNormalization(-W[:, 0], W[:, 1])],
        ],
    ),
    "embedding": ([Embedding(TABLE)], [], [[Embedding(np.roll(TABLE, 1, axis=0))]]),
}


def case_of(name: str, precision: str) -> tuple[Case, list[Case]]:
    """Return a case, and the same with each fault."""
    below, above, faults = NETWORKS[name]
    random, shape = np.random.RandomState(0), (3, 12)
    x = random.normal(size=(*shape, 2))
    if name == "embedding":
        x = random.randint(0, 6, (*shape, 1)).astype(float)
    elif below:
        x = CENTER + SCALE * x
    h0 = random.uniform(-1, 1, (3, 10))

    def case(below: list[Layer], above: list[Layer]) -> Case:
        network, dtype = Network(*below, RECURRENT, *above), PRECISIONS[precision].dtype
        return Case(network, x.astype(dtype), h0.astype(dtype), np.array([12, 5, 0]), precision)

    wrong = [case(fault, above) if below else case(below, fault) for fault in faults]
    return case(below, above), wrong


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_right_rows_are_far_below_their_bound_and_wrong_ones_above(
    name: str, precision: str
) -> None:
    case, wrong = case_of(name, precision)
    assert can_judge_steps(case.network, len(case.network.layers))
    comparison = Comparison(case, case.outputs())
    for result in (with_reference(comparison), *with_runnable(comparison)):
        assert result.verdict
        assert result.verdict.equal
        assert result.verdict.step_error is not None
        assert 0 < result.verdict.step_error < 0.6
    for other in wrong:
        error = largest_step_error(case, other.outputs())
        assert error is not None
        assert error > 100


def test_an_operand_of_a_head_that_is_not_rounded_is_caught() -> None:
    case, _ = case_of("dense", "bfloat16")
    *below, h = case.outputs()[:1]
    y = h @ W + B
    error = largest_step_error(case, [*below, h, y])
    assert error is not None
    assert error > 10


def test_layer_normalization_may_be_computed_in_other_ways() -> None:
    """As in Keras and PyTorch, or with another variance, of features far from 0.

    What follows the first is judged as a whole run, by what rounding makes of it.
    """
    normal_layer = LayerNormalization(normal(4) + 2, normal(4), 1e-3)
    x = normal(2, 9, 4) + np.float32(100)
    mean = x.mean(axis=-1, keepdims=True)
    spread = ((x - mean) ** 2).mean(axis=-1, keepdims=True), (x * x).mean(axis=-1, keepdims=True)
    (lstm,) = rnncli.seeded(4, 5, 1, "torch", cell="lstm").layers
    network = Network(normal_layer, lstm, Dense(W, B))
    case = Case(network, x, np.zeros((2, 10), "f"), np.array([9, 9]))
    comparison = Comparison(case, case.outputs())
    for variance in (spread[0], spread[1] - mean * mean):
        share = normal_layer.factor / np.sqrt(variance + np.float32(1e-3))
        rows = x * share - mean * share + normal_layer.shift
        assert np.abs(rows - comparison.layers[0]).max() > 1e-5
        above = case._replace(x=rows, network=Network(*network.layers[1:])).outputs()
        error = largest_step_error(case, [rows, *above])
        assert error is not None
        assert error < 1
        assert variance is not spread[0] or comparison.judge(above[-1]).equal
        assert not comparison.judge(above[-1] + np.float32(1e-2)).equal


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
@pytest.mark.parametrize("layer", [Embedding(TABLE, mask_zero=True), Masking(0.1, 2)], ids=str)
def test_masked_rows_are_no_steps(layer: Layer, direction: str, cell: str) -> None:
    random = np.random.RandomState(0)
    recurrent = rnncli.seeded(2, 5, 1, "torch", cell=cell, direction=direction).layers
    head = Dense(normal(recurrent[0].output_size, 4), B, "softmax")
    network = Network(layer, *recurrent, head)
    x = random.normal(size=(3, 12, 2))
    x[:, [0, 4, 5, 10]] = 0.1
    if isinstance(layer, Embedding):
        x = random.randint(0, 3, (3, 12, 1)).astype(float)
    h0 = random.uniform(-1, 1, (3, network.state_size)).astype("f")
    case = Case(network, x.astype("f"), h0, np.array([12, 6, 1]))
    comparison = Comparison(case, case.outputs())
    for result in (with_reference(comparison), *with_runnable(comparison)):
        assert result.verdict
        assert result.verdict.equal
        assert result.verdict.step_error is not None
        assert 0 < result.verdict.step_error < 0.6
    masked = layer.masked(case.x)  # type: ignore[union-attr]
    for row in (masked, ~masked):
        layers = [each.copy() for each in comparison.layers]
        n, t = np.argwhere(row & case.running())[0]
        layers[1][n, t, 2] += np.float32(1e-3)
        error = largest_step_error(case, layers)
        assert error is not None
        assert error > 10
    if isinstance(layer, Masking):
        through = case._replace(network=Network(Masking(9, 2), *network.layers[1:]))
        error = largest_step_error(case, through.outputs())
        assert error is not None
        assert error > 100
