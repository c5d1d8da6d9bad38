"""Layers without state give what a loop in float64 gives, and refuse what does not fit."""

from collections.abc import Callable
from math import erf, exp, fsum, log, sqrt, tanh
from typing import Any

import numpy as np
import pytest

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
    stream,
)
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.state import fingerprint
from rnncli.model.arrays import Floats
from rnncli.model.errors import NotFiniteError
from rnncli.model.layers import LAYERS, Layer, Stateless

RANDOM = np.random.RandomState(7)
ROWS = RANDOM.normal(0, 3, (6, 4))
W, B = RANDOM.normal(size=(4, 3)), RANDOM.normal(size=3)
# Sums of few terms in float64, in another order.
NEAR = 1e-14

FORMULAS: dict[str, Callable[[float], float]] = {
    "linear": lambda a: a,
    "tanh": tanh,
    "leaky_relu:0.2": lambda a: a if a > 0 else 0.2 * a,
    "gelu": lambda a: a * (1 + erf(a / sqrt(2))) / 2,
}


def given(layer: Stateless, x: Floats) -> Floats:
    """What a layer gives, without a network around it."""
    y = layer(x)
    assert y.shape == (*x.shape[:-1], layer.output_size)
    return y


def dense_loop(x: Floats, f: Callable[[float], float]) -> list[list[float]]:
    sums = [
        [sum(row[i] * W[i, o] for i in range(4)) + B[o] for o in range(3)] for row in x.tolist()
    ]
    return [[f(a) for a in row] for row in sums]


def softmax_loop(rows: list[list[float]]) -> list[list[float]]:
    return [[exp(a) / sum(map(exp, row)) for a in row] for row in rows]


@pytest.mark.parametrize("activation", FORMULAS)
def test_dense(activation: str) -> None:
    y = given(Dense(W, B, activation), ROWS)
    np.testing.assert_allclose(y, dense_loop(ROWS, FORMULAS[activation]), rtol=NEAR, atol=NEAR)


def test_dense_softmax() -> None:
    y = given(Dense(W, B, "softmax"), ROWS)
    np.testing.assert_allclose(y, softmax_loop(dense_loop(ROWS, float)), rtol=NEAR)


def test_dense_without_bias_has_zeros() -> None:
    assert Dense(W).arrays["b"].tolist() == [0, 0, 0]
    assert given(Dense(W), ROWS).tobytes() == given(Dense(W, np.zeros(3)), ROWS).tobytes()


@pytest.mark.parametrize("activation", FORMULAS)
def test_an_activation_alone(activation: str) -> None:
    y = given(Pointwise(activation, 4), ROWS)
    expected = [[FORMULAS[activation](a) for a in row] for row in ROWS.tolist()]
    np.testing.assert_allclose(y, expected, rtol=NEAR, atol=NEAR)


def log_softmax_loop(rows: list[list[float]]) -> list[list[float]]:
    return [[log(share) for share in row] for row in softmax_loop(rows)]


def normalized_loop(rows: list[list[float]]) -> list[list[float]]:
    """Of a factor of 3 and a shift of -1, which is added to a variance of epsilon 0.01."""
    normal = []
    for row in rows:
        mean = fsum(row) / len(row)
        variance = fsum((value - mean) ** 2 for value in row) / len(row)
        normal.append([3 * (value - mean) / sqrt(variance + 0.01) - 1 for value in row])
    return normal


OF_ROWS: dict[str, tuple[Callable[[int], Stateless], Callable[..., list[list[float]]]]] = {
    "softmax": (lambda size: Pointwise("softmax", size), softmax_loop),
    "log_softmax": (lambda size: Pointwise("log_softmax", size), log_softmax_loop),
    "layer_normalization": (
        lambda size: LayerNormalization(np.full(size, 3.0), np.full(size, -1.0), 0.01),
        normalized_loop,
    ),
}


@pytest.mark.parametrize("size", [1, 2, 16, 17, 200])
@pytest.mark.parametrize("name", OF_ROWS)
def test_functions_of_rows_are_the_same_for_one_row_as_for_many(name: str, size: int) -> None:
    make, loop = OF_ROWS[name]
    rows = RANDOM.normal(0, 3, (3, 5, size))
    y = given(make(size), rows)
    np.testing.assert_allclose(
        y.reshape(15, size), loop(rows.reshape(15, size).tolist()), rtol=1e-13, atol=NEAR
    )
    for alone in (rows[2, :1], rows[2, 0], np.asfortranarray(rows)[2, :1]):
        assert given(make(size), alone).tobytes() == y[2, :1].tobytes()


@pytest.mark.parametrize("dtype", ["f", "d"])
def test_softmax_of_large_sums_does_not_overflow(dtype: str) -> None:
    a = np.array([[1e4, 1e4, -1e4], [-1e4, -1e4, -1e4]], dtype)
    y = given(Pointwise("softmax", 3), a)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, [[0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-7)
    half, third = -log(2), -log(3)
    y = given(Pointwise("log_softmax", 3), a)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, [[half, half, half - 2e4], [third] * 3], rtol=1e-7)


def test_layer_normalization_has_its_own_factor_and_shift_for_each_value() -> None:
    factor, shift = RANDOM.normal(size=(2, 4))
    normal = given(LayerNormalization(np.ones(4), epsilon=1e-5), ROWS)
    np.testing.assert_allclose(normal.mean(axis=1), 0, atol=NEAR)
    np.testing.assert_allclose(normal.std(axis=1), 1, rtol=1e-4)
    y = given(LayerNormalization(factor, shift, 1e-5), ROWS)
    np.testing.assert_allclose(y, normal * factor + shift, rtol=NEAR)
    # Values that are all alike have no variance but epsilon.
    assert given(LayerNormalization(factor, shift), np.full((1, 4), 7.0)).tolist() == [
        shift.tolist()
    ]


@pytest.mark.parametrize("names", [(), ("shift",), ("factor",), ("shift", "factor")])
def test_normalization(names: tuple[str, ...]) -> None:
    center, scale, shift, factor = RANDOM.uniform(0.5, 2, (4, 4))
    more = {name: {"shift": shift, "factor": factor}[name] for name in names}
    y = given(Normalization(center, scale, **more), ROWS)
    for row, normal in zip(ROWS, y, strict=True):
        for i, value in enumerate(row.tolist()):
            expected = (value - center[i]) / scale[i]
            expected *= factor[i] if "factor" in names else 1
            expected += shift[i] if "shift" in names else 0
            assert normal[i] == pytest.approx(expected, abs=NEAR)


def test_embedding() -> None:
    x = np.array([[2.0], [0], [3], [2]])
    assert given(Embedding(W), x).tolist() == [W[i].tolist() for i in (2, 0, 3, 2)]
    assert Embedding(W, mask_zero=True).masked(x).tolist() == [False, True, False, False]
    assert (Embedding(W).masks, Embedding(W, mask_zero=True).masks) == (False, True)


def test_masking() -> None:
    x = np.array([[-1.0, -1], [-1, 2], [0, 0]])
    assert Masking(-1, 2).masked(x).tolist() == [True, False, False]
    assert given(Masking(-1, 2), x).tolist() == [[0, 0], [-1, 2], [0, 0]]
    # In float32 the rows hold 0.1 rounded, and so does the layer.
    assert Masking(0.1, 1).masked(np.array([[0.1]], "f")).all()


def test_a_value_too_large_for_the_type_masks_no_row() -> None:
    with np.errstate(all="raise"):
        assert not Masking(1e39, 1).masked(np.array([[3e38]], "f")).any()


EVERY: dict[str, Stateless] = {
    "dense": Dense(W, B, "leaky_relu:0.3"),
    "embedding": Embedding(W, mask_zero=True),
    "normalization": Normalization(B, B, factor=B),
    "layer_normalization": LayerNormalization(B, -B, 0.1),
    "activation": Pointwise("log_softmax", 4),
    "masking": Masking(-1, 4),
}


@pytest.mark.parametrize("name", LAYERS)
def test_arrays_and_settings_are_all_of_a_layer(name: str) -> None:
    layer = EVERY[name]
    again: Any = LAYERS[name]
    again = again(**layer.arrays, **layer.settings)
    x = np.ones((2, layer.input_size))
    assert given(layer, x).tobytes() == given(again, x).tobytes()
    assert again.settings == layer.settings
    assert fingerprint(Network(again), "float32") == fingerprint(Network(layer), "float32")


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_runs_in_the_type_of_its_rows(name: str) -> None:
    layer = EVERY[name].converted(PRECISIONS["float32"].convert)
    assert given(layer, np.ones((2, layer.input_size), "f")).dtype == np.float32
    assert all(array.dtype == np.float32 for array in layer.arrays.values())


def test_only_operands_of_products_are_rounded() -> None:
    """1.001 has no bfloat16; the nearest is 1."""
    fine = np.full((2, 2), 1.001, "f")
    convert = PRECISIONS["bfloat16"].convert
    assert (Dense(fine).converted(convert).arrays["W"] == 1).all()
    assert (Dense(fine, fine[0]).converted(convert).arrays["b"] == fine[0]).all()
    assert (Embedding(fine).converted(convert).arrays["W"] == fine).all()
    normal = Normalization(fine[0], fine[0]).converted(convert)
    assert all((array == fine[0]).all() for array in normal.arrays.values())


def test_a_scale_that_is_zero_in_the_type_is_refused() -> None:
    layer = Normalization([0, 0], [1, 1e-60])
    with pytest.raises(ValueError, match=r"^scale: 0 in float32: 1e-60 at \[1\] \(`precision` "):
        run(Network(layer), [[0, 0]])
    assert run(Network(layer), [[0, 1e-60]], precision="float64").h[0, 1] == 1


def test_an_embedding_whose_rows_have_no_numbers_of_their_own_is_refused() -> None:
    """The first whole number that float32 does not have is 2^24 + 1."""
    rows = 2**24 + 2
    layer = Embedding([[1]])
    layer.W = np.broadcast_to(np.ones(1, "f"), (rows, 1))
    convert = PRECISIONS["float32"].convert
    with pytest.raises(ValueError, match=f"^W: {rows} rows, float32 numbers 16777217 "):
        layer.converted(convert)
    layer.W = layer.W[1:]
    layer.converted(convert)


def test_networks_with_other_layers_have_other_fingerprints() -> None:
    layers = [
        *EVERY.values(),
        Dense(W, B, "softmax"),
        Dense(W, 2 * B, "leaky_relu:0.3"),
        Embedding(W),
        Normalization(B, B, shift=B),
        LayerNormalization(B, epsilon=0.1),
        LayerNormalization(B, -B),
        Pointwise("tanh", 4),
        Pointwise("softmax", 4),
        Masking(-2, 4),
    ]
    assert len({fingerprint(Network(layer), "float32") for layer in layers}) == len(layers)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(np.ones((0, 3))), r"W: expected shape \(I, O\)"),
        (lambda: Dense(W, B[:2]), r"b: expected shape \(3,\)"),
        (lambda: Dense(W * np.nan), "W: holds a value that is not finite"),
        (lambda: Dense(W, activation="softmax:1"), "activation: expected one of"),
        (lambda: Embedding(B), r"W: expected shape \(V, E\)"),
        (lambda: Normalization(W, W), r"center: expected shape \(I,\)"),
        (lambda: Normalization(B, B[:2]), r"scale: expected shape \(3,\)"),
        (lambda: Normalization(B, [1, 0, 1]), "scale: expected no 0, got one at 1"),
        (lambda: LayerNormalization(B, B[:2]), r"shift: expected shape \(3,\)"),
        (lambda: LayerNormalization(B, epsilon=-1), "epsilon: expected a finite number from 0 on"),
        (lambda: Pointwise("tanh", 0), "size: expected at least 1, got 0"),
        (lambda: Masking(float("nan"), 1), "value: expected a finite number, got nan"),
    ],
)
def test_bad_layers(make: Callable[[], Layer], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def test_widths_that_do_not_fit() -> None:
    ones = [1] * 4
    for layer in (
        *(Dense(W), Normalization(ones, ones), LayerNormalization(ones)),
        *(Pointwise("tanh", 4), Masking(0, 4)),
    ):
        with pytest.raises(ValueError, match=r"^layer 2: .*: expected 3 .*, got 4$"):
            Network(Dense(np.ones((2, 3))), layer)


def test_the_head_is_what_stands_above_the_top_recurrent_layer() -> None:
    recurrent = seeded(3, 4).layers[0]
    assert Network(recurrent).head == 0
    assert Network(Normalization(B, B), recurrent, Dense(W), Pointwise("softmax", 3)).head == 2
    assert Network(Dense(W)).head == 0


def test_a_head_gives_y_beside_the_top_recurrent_layers_h() -> None:
    below, top = seeded(4, 2, 1).layers[0], seeded(2, 3, 2).layers[0]
    network = Network(Normalization(B[[0, 0, 0, 0]], W[:, 0]), below, top, Dense(W[:3]))
    headless = Network(*network.layers[:-1])
    states = run(network, ROWS, precision="float64", all_layers=True)
    assert states.y is not None
    assert states.h.tobytes() == run(headless, ROWS, precision="float64").h.tobytes()
    np.testing.assert_allclose(states.y, states.h @ W[:3], rtol=NEAR)
    assert [rows.shape[1] for rows in states.layers] == [4, 2, 3, 3]
    (block,) = stream(network, [ROWS], precision="float64")
    (whole,) = stream(network, [ROWS], precision="float64", all_layers=True)
    assert block.h.tobytes() == states.h.tobytes()
    assert whole.h.tobytes() == np.hstack(states.layers[:3]).tobytes()
    for each in (block, whole, block.cut(0, 6)):
        assert each.y is not None
        np.testing.assert_allclose(each.y, states.y, rtol=NEAR)
    (plain,) = stream(headless, [ROWS])
    assert run(headless, ROWS).y is None
    assert plain.y is None


@pytest.mark.parametrize(
    ("layers", "place"),
    [
        ([Dense([[3e38]]), seeded(1, 1).layers[0]], "layer 1: "),
        ([seeded(1, 1).layers[0], Dense([[-1]]), Normalization([0], [1e-40])], "layer 3: "),
        ([Pointwise("affine:3e38,0", 1)], ""),
    ],
)
def test_what_is_not_finite_is_named_with_its_layer(layers: list[Layer], place: str) -> None:
    blocks = stream(Network(*layers), [[[0], [2], [2]]])
    assert len(next(blocks).t) == 1
    with pytest.raises(NotFiniteError, match=rf"^{place}step 2, unit 0 of y: overflow \(inf\)$"):
        next(blocks)
