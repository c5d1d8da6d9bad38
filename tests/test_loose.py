"""Arrays under the names that people give them: states are those of a loop in their own layout."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gated_loops import lstm_loop

import rnncli
from rnncli import LSTM, Weights
from rnncli.model.formats import load_network

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]

TANH = "does not name the activation: tanh is taken (`activation`)"


def numbers(*shape: int) -> Array:
    return np.random.RandomState(sum(shape)).normal(scale=0.5, size=shape).astype(np.float32)


def rnn(x: Array, W_x: Array, W_h: Array, b: Array) -> Array:
    """Columns lead to units; h at each step, in float64."""
    h, states = np.zeros(len(W_h)), []
    for x_t in x:
        h = np.tanh(x_t @ W_x.astype(float) + h @ W_h.astype(float) + b.ravel())
        states.append(h)
    return np.array(states)


def lstm(x: Array, W_x: Array, W_h: Array, b: Array) -> Array:
    zeros = (np.zeros((1, len(W_h))),) * 2
    h: Array = lstm_loop(LSTM(Weights(W_x, W_h, b)), x[None], zeros)[0][0]
    return h


X = numbers(5, 2)
SQUARE = numbers(5, 3)
KERAS = (numbers(2, 9), numbers(3, 9), numbers(2, 9))
TORCH = (numbers(12, 2), numbers(12, 3), numbers(12), numbers(1, 12)[0])
# Arrays by name, a row or a column for each unit; input, states, and what is taken for granted.
FOUND: dict[str, tuple[Arrays, Array, Array, list[str]]] = {
    "PyTorch's, after a word": (
        {
            "enc_weight_ih_l0": TORCH[0],
            "enc_weight_hh_l0": TORCH[1],
            "enc_bias_ih_l0": TORCH[2],
            "enc_bias_hh_l0": TORCH[3],
        },
        X,
        lstm(X, TORCH[0].T, TORCH[1].T, TORCH[2] + TORCH[3]),
        [],
    ),
    "rows, and a head": (
        {
            "Wxh": numbers(3, 2),
            "Whh": numbers(3, 3),
            "bh": numbers(3, 1),
            "Why": numbers(4, 3),
            "by": numbers(4, 1),
        },
        X,
        rnn(X, numbers(3, 2).T, numbers(3, 3).T, numbers(3, 1)),
        [
            "Wxh, Whh, bh are taken with a row for each unit, as shapes fit",
            "passes over Why, by: names do not tell how it is joined",
            TANH,
        ],
    ),
    "columns, as a bias tells": (
        {"Wxh": numbers(3, 3).T, "Whh": numbers(3, 3), "bh": numbers(1, 3)},
        SQUARE,
        rnn(SQUARE, numbers(3, 3).T, numbers(3, 3), numbers(1, 3)),
        ["Wxh, Whh, bh are taken with a column for each unit, as shapes fit", TANH],
    ),
    "no bias": (
        {"Wxh": numbers(3, 2), "Whh": numbers(3, 3)},
        X,
        rnn(X, numbers(3, 2).T, numbers(3, 3).T, np.zeros(3)),
        ["Wxh, Whh are taken with a row for each unit, as shapes fit", TANH],
    ),
    "rows, as a bias tells": (
        {"Wxh": numbers(3, 3).T, "Whh": numbers(3, 3), "bh": numbers(3, 1)},
        SQUARE,
        rnn(SQUARE, numbers(3, 3), numbers(3, 3).T, numbers(3, 1)),
        ["Wxh, Whh, bh are taken with a row for each unit, as shapes fit", TANH],
    ),
}


@pytest.mark.parametrize(("arrays", "x", "states", "notes"), FOUND.values(), ids=FOUND)
def test_what_is_found(
    tmp_path: Path, arrays: Arrays, x: Array, states: Array, notes: list[str]
) -> None:
    """Within 1e-6, as weights are small and the rest is float32's rounding of five steps."""
    np.savez(tmp_path / "w.npz", **dict[str, Any](arrays))
    loaded = load_network(tmp_path / "w.npz")
    np.testing.assert_allclose(rnncli.run(loaded.network, x).h, states, rtol=0, atol=1e-6)
    assert loaded.assumptions == notes


MATRICES = {"Wxh": numbers(2, 3), "Whh": numbers(3, 3)}
REFUSED: list[tuple[str, Arrays]] = [
    (
        "rnn: shapes do not tell whether a unit has a row or a",
        {"Wxh": numbers(3, 3), "Whh": numbers(3, 3), "bh": numbers(3)},
    ),
    (
        "Whh: expected shape (H, H), got (3, 12)",
        {"Wxh": numbers(2, 12), "Whh": numbers(3, 12), "bh": numbers(12)},
    ),
    ("Wxh: expected shape (I, 3), as Whh is (3, 3), got (5, 4)", MATRICES | {"Wxh": numbers(5, 4)}),
    (
        "its arrays have no names: arr_0, arr_1; write them by",
        {"arr_0": numbers(2, 3), "arr_1": numbers(3, 3)},
    ),
    ("holds no recurrent layer: expected W_xh, W_hh and b_h", {"x": numbers(2, 3)}),
    (
        "b_h: expected a single bias, got two axes, as Keras's",
        dict(zip(("W_xh", "W_hh", "b_h"), KERAS, strict=True)),
    ),
]


@pytest.mark.parametrize(("message", "arrays"), REFUSED)
def test_what_is_refused(tmp_path: Path, message: str, arrays: Arrays) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, **dict[str, Any](arrays))
    with pytest.raises(ValueError, match=r"\A.+\Z") as caught:
        load_network(path)
    assert str(caught.value).removeprefix(f"{path}: ").startswith(message)
