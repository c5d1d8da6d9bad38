"""Arrays under the names that people give them: states are those of a loop in their own layout."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnncli
from rnncli.model.formats import load_network

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]

TANH = "does not name the activation: tanh is taken (`activation`)"
GATES = "does not name the activation of the gates: sigmoid is taken (`recurrent_activation`)"
AFTER = "does not say whether r multiplies after or before the product: after is taken (`reset`)"


def numbers(*shape: int) -> Array:
    return np.random.RandomState(sum(shape)).normal(scale=0.5, size=shape).astype(np.float32)


def sigmoid(a: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-a)))


def rnn(x: Array, W_x: Array, W_h: Array, b: Array) -> Array:
    """Columns lead to units; h at each step, in float64."""
    h, states = np.zeros(len(W_h)), []
    for x_t in x:
        h = np.tanh(x_t @ W_x.astype(float) + h @ W_h.astype(float) + b.ravel())
        states.append(h)
    return np.array(states)


def lstm(x: Array, W_x: Array, W_h: Array, b: Array) -> Array:
    h = c = np.zeros(len(W_h))
    states = []
    for x_t in x:
        a = x_t @ W_x.astype(float) + h @ W_h.astype(float) + b
        i, f, g, o = np.split(a, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.array(states)


def gru(x: Array, W_x: Array, W_h: Array, b_x: Array, b_h: Array, first: str) -> Array:
    """r z n, as PyTorch's stand, or z r n, as Keras's; r multiplies after the product."""
    h, states = np.zeros(len(W_h)), []
    for x_t in x:
        a = np.split(x_t @ W_x.astype(float) + b_x, 3)
        u = np.split(h @ W_h.astype(float) + b_h, 3)
        one, two = sigmoid(a[0] + u[0]), sigmoid(a[1] + u[1])
        r, z = (one, two) if first == "r" else (two, one)
        h = (1 - z) * np.tanh(a[2] + r * u[2]) + z * h
        states.append(h)
    return np.array(states)


X = numbers(5, 2)
SQUARE = numbers(5, 3)
KERAS = (numbers(2, 9), numbers(3, 9), numbers(2, 9))
TORCH = (numbers(12, 2), numbers(12, 3), numbers(12), numbers(1, 12)[0])
# Arrays by name, a row or a column for each unit; input, states, and what is taken for granted.
FOUND: dict[str, tuple[Arrays, Array, Array, list[str]]] = {
    "Keras's, alone": (
        {"kernel": numbers(2, 3), "recurrent_kernel": numbers(3, 3), "bias": numbers(3)},
        X,
        rnn(X, numbers(2, 3), numbers(3, 3), numbers(3)),
        [TANH],
    ),
    "Keras's of a GRU, after a word": (
        dict(zip(("gru_kernel", "gru_recurrent_kernel", "gru_bias"), KERAS, strict=True)),
        X,
        gru(X, KERAS[0], KERAS[1], KERAS[2][0], KERAS[2][1], "z"),
        [TANH, GATES],
    ),
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
    "short for PyTorch's": (
        {"a.w_ih": TORCH[0], "a.w_hh": TORCH[1], "a.b_ih": TORCH[2], "a.b_hh": TORCH[3]},
        X,
        lstm(X, TORCH[0].T, TORCH[1].T, TORCH[2] + TORCH[3]),
        [
            "a.w_ih, a.w_hh, a.b_ih, a.b_hh are taken with a row for each unit, as shapes fit, "
            "and gates in PyTorch's order",
            TANH,
            GATES,
        ],
    ),
    "short for PyTorch's, turned": (
        {"W_ih": numbers(2, 9), "W_hh": numbers(3, 9), "b_ih": numbers(9), "b_hh": numbers(9)},
        X,
        gru(X, numbers(2, 9), numbers(3, 9), numbers(9), numbers(9), "r"),
        [
            "W_ih, W_hh, b_ih, b_hh are taken with a column for each unit, as shapes fit, and "
            "gates in PyTorch's order",
            TANH,
            GATES,
            AFTER,
        ],
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
    "rows, as a bias tells": (
        {"Wxh": numbers(3, 3).T, "Whh": numbers(3, 3), "bh": numbers(3, 1)},
        SQUARE,
        rnn(SQUARE, numbers(3, 3), numbers(3, 3).T, numbers(3, 1)),
        ["Wxh, Whh, bh are taken with a row for each unit, as shapes fit", TANH],
    ),
    "columns, as a bias tells": (
        {"W_x": numbers(3, 3).T, "W_h": numbers(3, 3), "b": numbers(1, 3)},
        SQUARE,
        rnn(SQUARE, numbers(3, 3).T, numbers(3, 3), numbers(1, 3)),
        ["W_x, W_h, b are taken with a column for each unit, as shapes fit", TANH],
    ),
    "no bias": (
        {"W_hx": numbers(3, 2), "W_hh": numbers(3, 3)},
        X,
        rnn(X, numbers(3, 2).T, numbers(3, 3).T, np.zeros(3)),
        ["W_hx, W_hh are taken with a row for each unit, as shapes fit", TANH],
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


MATRICES = {"Wx": numbers(2, 3), "Wh": numbers(3, 3)}
REFUSED: dict[str, tuple[Arrays, str]] = {
    "squares": (
        {"Wxh": numbers(3, 3), "Whh": numbers(3, 3), "bh": numbers(3)},
        "shapes do not tell whether a unit has a row or a column: Wxh, Whh, bh; name them "
        "weight_ih, weight_hh, ... for rows, kernel, recurrent_kernel, ... for columns",
    ),
    "gates in whichever order": (
        {"Wx": numbers(2, 12), "Wh": numbers(3, 12), "b": numbers(12)},
        "names do not tell the order of the gates: Wx, Wh, b; put them in PyTorch's order, and "
        "name them weight_ih, weight_hh, ..., or in Keras's, and name them kernel, "
        "recurrent_kernel, ...",
    ),
    "one array by two names": (
        MATRICES | {"b": numbers(3), "bh": numbers(3)},
        "expected one of the two, b or bh, got both",
    ),
    "shapes that do not fit": (
        MATRICES | {"Wx": numbers(5, 4)},
        "Wx: expected shape (I, 3), as Wh is (3, 3), got (5, 4)",
    ),
    "a vector for a matrix": (MATRICES | {"Wh": numbers(3)}, "Wh: expected shape (H, H) or "),
    "two layers": (
        {f"{stem}_{name}": array for stem in ("a", "b") for name, array in MATRICES.items()},
        "holds several recurrent modules: a, b; pick one with `layer` NAME",
    ),
    "one direction by other names": (
        {"w_ih": numbers(3, 2), "w_hh": numbers(3, 3), "b_ih": numbers(4)},
        "w_ih: expected shape (I, 3), as w_hh is (3, 3), got (3, 2)",
    ),
    "no names": (
        {"arr_0": numbers(2, 3), "arr_1": numbers(3, 3)},
        "its arrays have no names: arr_0, arr_1; write them by names: numpy.savez(file, W_xh=..., "
        "W_hh=...)",
    ),
    "names of something else": (
        {"x": numbers(2, 3)},
        "holds no recurrent layer: expected W_xh, W_hh and b_h, or for several layers or "
        "directions layer_1.forward.W_xh, layer_1.backward.W_hh, layer_2.forward.b_h, ...; or "
        "names as PyTorch's (weight_ih_l0, weight_hh_l0, ...) or Keras's (.../kernel, "
        ".../recurrent_kernel, ...), got x",
    ),
    "Keras's GRU by our names": (
        dict(zip(("W_xh", "W_hh", "b_h"), KERAS, strict=True)),
        "b_h: expected a single bias, got two axes, as Keras's GRU has it; name its arrays "
        "kernel, recurrent_kernel and bias",
    ),
}


@pytest.mark.parametrize(("arrays", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(tmp_path: Path, arrays: Arrays, message: str) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, **dict[str, Any](arrays))
    with pytest.raises(ValueError, match=r"\A.+\Z") as caught:
        load_network(path)
    assert str(caught.value).removeprefix(f"{path}: ").startswith(message)


def test_a_module_is_picked_by_what_stands_before(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    arrays = {f"{s}_{name}": i * a for i, s in enumerate("ab") for name, a in MATRICES.items()}
    np.savez(path, **dict[str, Any](arrays))
    (cell,) = load_network(path, "b").network.layers[0].cells
    np.testing.assert_array_equal(cell.weights.W_xh, MATRICES["Wx"])
    arrays = {f"rnn_2/{name}": array for name, array in MATRICES.items()}
    np.savez(path, **dict[str, Any](arrays))
    with pytest.raises(ValueError, match="holds no tensor under `layer` rnn; it holds rnn_2"):
        load_network(path, "rnn")
