"""Draws against TensorFlow's own, and the generator against its authors' vectors."""

import numpy as np
import pytest
from conftest import load

from rnncli import seeded
from rnncli.initializers.philox import philox4x32
from rnncli.initializers.tensorflow import _CHUNK, _gaussians, _normal

TENSORFLOW = load("tensorflow")

# Random123 1.14, tests/kat_vectors, philox4x32 with 10 rounds.
KNOWN_ANSWERS = [
    ("00000000" * 4, "00000000" * 2, "6627e8d5e169c58dbc57ac4c9b00dbd8"),
    ("ffffffff" * 4, "ffffffff" * 2, "408f276d41c83b0ea20bc7c66d5451fd"),
    ("243f6a8885a308d313198a2e03707344", "a4093822299f31d0", "d16cfe0994fdcceb5001e42024126ea1"),
]


def words(text: str) -> list[int]:
    return [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_words(counter: str, key: str, answer: str) -> None:
    first, second = words(key)
    counters = np.array(words(counter), np.uint64)[:, None]
    assert philox4x32((first, second), counters).tolist() == [words(answer)]


def units_apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance in units of the last place, for values of one sign and size."""
    bits = (np.asarray(v, np.float32).reshape(-1).view(np.int32).astype(np.int64) for v in (a, b))
    return np.abs(np.subtract(*bits))


def test_weights_are_tensorflows() -> None:
    drawn = []
    for seed, *_ in TENSORFLOW["draws"]:
        W_xh, W_hh, b_h = seeded(1, 4, seed).weights
        drawn.append([*W_xh.ravel(), *W_hh.ravel()])
        assert not b_h.any()
    apart = units_apart(np.array(drawn), np.array([row[1:] for row in TENSORFLOW["draws"]]))
    # TensorFlow's own log, sin and cos are approximations in float32.
    assert apart.max() <= 4
    assert np.mean(apart == 0) >= 0.95


def test_counts_that_do_not_fill_a_block() -> None:
    weights = seeded(3, 5, 1).weights
    for array, expected in zip(weights[:2], TENSORFLOW["odd"], strict=True):
        assert units_apart(array, np.array(expected)).max() <= 4


def test_large_draws_go_on_where_a_chunk_ends() -> None:
    large = _normal((2 * _CHUNK + 10,), 1, 2)
    assert large[: _CHUNK // 2].tobytes() == _normal((_CHUNK // 2,), 1, 2).tobytes()
    # A tensor one chunk longer has the same beginning and goes on.
    assert large[: _CHUNK + 6].tobytes() == _normal((_CHUNK + 6,), 1, 2).tobytes()
    assert abs(large.mean()) < 4 / np.sqrt(len(large))  # four standard errors
    assert abs(large.std() - 1) < 4 / np.sqrt(2 * len(large))


def test_a_pair_of_zero_seeds_is_replaced() -> None:
    # tensorflow/python/framework/random_seed.py: (0, 0) would mean "no seed" to a kernel.
    assert _normal((4,), 0, 0).tobytes() == _gaussians(0, 2**31 - 1, 0, 1).tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 4, -1), "seed: expected 0 to 4294967295, got -1"),
        ((1, 4, 2**32), "seed: expected 0 to 4294967295, got 4294967296"),
        ((0, 4, 1), "input_size: expected at least 1, got 0"),
        ((1, 0, 1), "hidden_size: expected at least 1, got 0"),
        ((1, 4, 1, "mine"), "init: expected one of tensorflow, got 'mine'"),
    ],
)
def test_bad_arguments(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seeded(*arguments)


def test_integers_of_any_kind_and_nothing_else() -> None:
    drawn = seeded(1, np.int32(4), np.int64(3))  # type: ignore[arg-type]
    np.testing.assert_array_equal(drawn.weights.W_hh, seeded(1, 4, 3).weights.W_hh)
    with pytest.raises(TypeError, match="'float' object cannot be interpreted as an integer"):
        seeded(1, 4, 1.5)  # type: ignore[arg-type]
