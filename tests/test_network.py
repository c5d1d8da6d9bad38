"""Shapes and values of weights, checked where a network is made."""

import numpy as np
import pytest

from rnncli import Network, Weights
from rnncli.network import weight_count, weight_shapes

GOOD = Weights(np.ones((2, 3)), np.ones((3, 3)), np.ones(3))


def test_sizes() -> None:
    network = Network(GOOD)
    assert (network.input_size, network.hidden_size) == (2, 3)
    assert sum(array.size for array in GOOD) == weight_count(2, 3)
    assert {name: np.shape(getattr(GOOD, name)) for name in GOOD._fields} == weight_shapes(2, 3)


def test_lists_and_integers_become_floats() -> None:
    network = Network(Weights([[1, 2]], [[1, 2], [3, 4]], [0, 0]))  # type: ignore[arg-type]
    assert [array.dtype for array in network.weights] == [np.float64] * 3


def test_transposed_views_become_contiguous() -> None:
    weights = GOOD._replace(W_xh=np.ones((3, 2)).T)
    assert Network(weights).weights.W_xh.flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("W_xh", np.ones(3), r"W_xh: expected shape \(I, H\), got \(3,\)"),
        ("W_xh", np.ones((0, 3)), "input_size: expected at least 1, got 0"),
        (
            "W_hh",
            np.ones((3, 2)),
            r"W_hh: expected shape \(3, 3\), as W_xh is \(2, 3\), got \(3, 2\)",
        ),
        ("b_h", np.ones((1, 3)), r"b_h: expected shape \(3,\), as W_xh is \(2, 3\), got \(1, 3\)"),
        ("b_h", [1, 2, np.nan], "b_h: holds a value that is not finite"),
        ("W_hh", np.full((3, 3), "a"), "W_hh: expected numbers, got an array of <U1"),
    ],
)
def test_bad_weights(name: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Network(GOOD._replace(**{name: value}))
