"""Layers without state: their types, bad ones, and how verify judges their rows.

The plain loop over any network has their equations.
"""

from collections.abc import Callable, Sequence
from math import log
from typing import Any

import numpy as np
import pytest
from conftest import runnable

from rnncli import (
    Dense,
    Embedding,
    LayerNormalization,
    Masking,
    Network,
    Normalization,
    Pointwise,
    run,
    seeded,
)
from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats
from rnncli.model.fingerprint import fingerprint
from rnncli.model.layers import FEW, LAYERS, Layer, Stateless
from rnncli.verification import reference
from rnncli.verification.case import Case, case_of_batch
from rnncli.verification.comparison import Comparison
from rnncli.verification.steps import largest_step_error
from rnncli.verification.verify import judge_loop, judge_strategies

RANDOM = np.random.RandomState(7)
W, B = RANDOM.normal(size=(4, 3)), RANDOM.normal(size=3)


@pytest.mark.parametrize("size", [FEW, FEW + 1])
def test_short_and_long_rows_equal_the_loop(size: int) -> None:
    x, a, b = RANDOM.normal(0, 3, (6, size)), RANDOM.normal(size=size), RANDOM.normal(size=size)
    for layer in (Pointwise("softmax", size), LayerNormalization(a, b)):
        right = reference.run(Network(layer), x, np.empty(0)).outputs[0]
        np.testing.assert_allclose(layer(x), right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["f", "d"])
def test_softmax_of_large_sums_does_not_overflow(dtype: str) -> None:
    a = np.array([[1e4, 1e4, -1e4], [-1e4, -1e4, -1e4]], dtype)
    half, third = -log(2), -log(3)
    for name, expected in (
        ("softmax", [[0.5, 0.5, 0], [1 / 3] * 3]),
        ("log_softmax", [[half, half, half - 2e4], [third] * 3]),
    ):
        y = Pointwise(name, 3)(a)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected, rtol=1e-7)


EVERY: dict[str, Stateless] = {
    "dense": Dense(W, B, "leaky_relu:0.3"),
    "embedding": Embedding(W, mask_zero=True),
    "normalization": Normalization(B, B, factor=B),
    "layer_normalization": LayerNormalization(B, -B, 0.1),
    "activation": Pointwise("log_softmax", 4),
    "masking": Masking(-1, 4),
}


def test_rows_that_a_type_does_not_number() -> None:
    """The first whole number that float32 does not have is 2^24 + 1."""
    table = Embedding([[1]])
    table.W = np.broadcast_to(np.ones(1, "f"), (2**24 + 2, 1))
    with pytest.raises(ValueError, match=r"^W: 16777218 rows, float32 numbers 16777217"):
        run(Network(table), [[0]])
    table.W = table.W[1:]
    run(Network(table), [[0]])


def test_networks_of_other_layers_have_other_fingerprints() -> None:
    found = [
        *EVERY.values(),
        Dense(W, B, "softmax"),
        Dense(W, 2 * B, "leaky_relu:0.3"),
        Embedding(W),
        Normalization(B, B, shift=B),
        LayerNormalization(B, epsilon=0.1),
        LayerNormalization(B, -B),
        Pointwise("tanh", 4),
        Masking(-2, 4),
    ]
    assert len({fingerprint(Network(layer), "float32") for layer in found}) == len(found)
    again = [LAYERS[name](**each.arrays, **each.settings) for name, each in EVERY.items()]
    for one, other in zip(EVERY.values(), again, strict=True):
        assert fingerprint(Network(one), "float32") == fingerprint(Network(other), "float32")


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: Dense(np.ones((0, 3))), r"W: expected shape \(I, O\)"),
    (lambda: Dense(W * np.nan), "W: holds a value that is not finite"),
    (lambda: Dense(W, activation="softmax:1"), "activation: expected one of"),
    (lambda: Embedding(B), r"W: expected shape \(V, E\)"),
    (lambda: Normalization(B, B[:2]), r"scale: expected shape \(3,\)"),
    (lambda: Normalization(B, [1, 0, 1]), "scale: expected no 0, got one at 1"),
    (lambda: LayerNormalization(B, epsilon=-1), "epsilon: expected a finite number"),
    (lambda: Pointwise("tanh", 0), "size: expected a whole number"),
    (lambda: Masking(float("nan"), 1), "value: expected a finite number"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_layers(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


# Rows that verify judges by themselves, as it does steps: layers below and above an LSTM, and the
# same with a fault each.

(RECURRENT,) = seeded(2, 5, 1, "torch", cell="lstm").layers


OWN = np.random.RandomState(5)


def drawn(*shape: int) -> Floats:
    return OWN.normal(size=shape).astype("f")


V, A, TABLE = drawn(5, 4), drawn(4), drawn(6, 2)
FAR, WIDE = np.array([1e4, -3.0], "f"), np.array([250.0, 0.01], "f")
ADDED, TIMES = drawn(2), drawn(2)
ELU = [Dense(V, A, "elu"), Dense(V.T.copy())]
JUDGED: dict[str, tuple[list[Layer], list[list[Layer]]]] = {
    "dense": ([Dense(V, A)], [[Dense(-V, A)], [Dense(V, -A)], [Dense(V)]]),
    "tanh": ([Dense(V, A, "tanh")], [[Dense(V, A, "softsign")], [Dense(V[::-1], A, "tanh")]]),
    "softmax": (
        [Dense(V, A, "softmax")],
        [[Dense(V, A, "sigmoid")], [Dense(V, A + V[0], "softmax")]],
    ),
    "log_softmax": ([Dense(V, A, "log_softmax")], [[Dense(V, A)], [Dense(V, -A, "log_softmax")]]),
    "exponential": (  # far under 1, where the error is a share of that
        [Dense(V, A - 10, "exponential")],
        [[Dense(V, A - 10.01, "exponential")]],
    ),
    "two": (
        [*ELU, Pointwise("softmax", 5)],
        [[ELU[0], Dense(-V.T), Pointwise("softmax", 5)], [*ELU, Pointwise("sigmoid", 5)]],
    ),
    "layer normalization": (
        [LayerNormalization(V[:, 0], V[:, 1], 1e-3)],
        [[LayerNormalization(V[:, 0], V[:, 1], 1e-2)], [LayerNormalization(V[:, 0])]],
    ),
    "normalization below": (
        [Normalization(FAR, WIDE, ADDED, TIMES)],
        [[Normalization(FAR, WIDE, -ADDED, TIMES)], [Normalization(FAR, WIDE**2, ADDED, TIMES)]],
    ),
    "embedding below": ([Embedding(TABLE)], [[Embedding(np.roll(TABLE, 1, axis=0))]]),
}


def case_of(name: str, layers: list[Layer], precision: str) -> Case:
    random = np.random.RandomState(0)
    x: Floats = random.normal(size=(3, 12, 2))
    if "embedding" in name:
        x = random.randint(0, 6, (3, 12, 1)).astype(float)
    elif "below" in name:
        x = FAR + WIDE * x
    stack = [*layers, RECURRENT] if "below" in name else [RECURRENT, *layers]
    h0 = random.uniform(-1, 1, (3, 10))
    return case_of_batch(Network(*stack), x, h0, np.array([12, 5, 0]), precision)


def check_right(case: Case) -> Comparison:
    """Check that each way to run a network is far below its bound."""
    comparison = Comparison(case, case.outputs())
    names = [f"`unroll` {name}" for name in runnable(case.precision)]
    ran = [result for result in judge_strategies(comparison) if result["name"] in names]
    assert len(ran) == len(names)
    for result in (judge_loop(comparison), *ran):
        assert result["verdict"] == "equal"
        assert (result["step_error"] or 0) < 0.6
    return comparison


def error_of(case: Case, rows: Sequence[Floats]) -> float:
    error = largest_step_error(case, rows)
    assert error is not None
    return error


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", JUDGED)
def test_right_rows_are_far_below_their_bound_and_wrong_ones_above(
    name: str, precision: str
) -> None:
    right, faults = JUDGED[name]
    case = case_of(name, right, precision)
    check_right(case)
    for fault in faults:
        assert error_of(case, case_of(name, fault, precision).outputs()) > 100


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("layer", [Embedding(TABLE, mask_zero=True), Masking(0.1, 2)], ids=str)
def test_masked_rows_are_no_steps(layer: Any, direction: str, cell: str) -> None:
    random = np.random.RandomState(0)
    (recurrent,) = seeded(2, 5, 1, "torch", cell=cell, direction=direction).layers
    network = Network(layer, recurrent, Dense(drawn(recurrent.output_size, 4), A, "softmax"))
    x = random.normal(size=(3, 12, 2))
    x[:, [0, 4, 5, 10]] = 0.1
    if isinstance(layer, Embedding):
        x = random.randint(0, 3, (3, 12, 1)).astype(float)
    h0 = random.uniform(-1, 1, (3, network.state_size)).astype("f")
    case = case_of_batch(network, x, h0, np.array([12, 6, 1]))
    comparison = check_right(case)
    masked = layer.masked(case.x)
    for row in (masked, ~masked):
        rows = [each.copy() for each in comparison.layers]
        rows[1][np.flatnonzero(row)[0], 2] += np.float32(1e-3)
        assert error_of(case, rows) > 10
    if isinstance(layer, Masking):
        through = case._replace(network=Network(Masking(9, 2), *network.layers[1:]))
        assert error_of(case, through.outputs()) > 100
