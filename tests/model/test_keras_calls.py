"""Keras layers that take several values, are called several times, or give their states on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_configs import MASKING, WHOLE, Config, functional, input_layer, node, tensor
from model_files import layers, load, refusal

import rnncli

X = np.random.default_rng(0).normal(scale=0.3, size=(2, 5, 2)).astype("f4")
LSTM = node("a", "LSTM", "x", settings=WHOLE)


def takes(name: str, kind: str, *sources: Any, settings: Config = {}, **given: Any) -> Config:  # noqa: B006
    """Return a layer that takes a list of values."""
    call = {"args": [[tensor(each) for each in sources]], "kwargs": given}
    return {**node(name, kind, settings=settings), "inbound_nodes": [call]}


def output(path: Path, x: Any = X, **options: Any) -> Any:
    run = rnncli.run(load(path, **options)[0], x)
    return run.h if run.y is None else run.y


def weigh(scores: Any, values: Any) -> Any:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return (powers / powers.sum(-1, keepdims=True)) @ values


def test_attention(tmp_path: Path) -> None:
    path = functional(tmp_path / "m.keras", LSTM, takes("b", "Attention", "a", "a"))
    h = output(path, layer="a")
    np.testing.assert_allclose(output(path), weigh(h @ h.swapaxes(1, 2), h), atol=1e-6)


def test_additive_attention(tmp_path: Path) -> None:
    additive = takes("b", "AdditiveAttention", "a", "x", "x")
    path = functional(tmp_path / "m.keras", LSTM, additive)
    scale = np.array([3, 3.01])  # the third array of the file
    sums = np.tanh(output(path, layer="a")[:, :, None] + X[:, None])
    np.testing.assert_allclose(output(path), weigh(sums @ scale, X), atol=1e-6)


def test_attention_of_several_heads(tmp_path: Path) -> None:
    heads = node("b", "MultiHeadAttention", "a", settings={"key_dim": 2}, value=tensor("x"))
    path = functional(tmp_path / "m.keras", LSTM, heads)
    assert refusal(
        functional(
            tmp_path / "n.keras",
            LSTM,
            {
                **heads,
                "inbound_nodes": [
                    {"args": [tensor("a"), tensor("x")], "kwargs": {"use_causal_mask": True}}
                ],
            },
        )
    ).startswith("b: is called with use_causal_mask")
    W = [np.arange(4).reshape(2, 2) / 100 + k for k in range(3, 11, 2)]
    b = [np.arange(2) / 100 + k for k in range(4, 12, 2)]
    q, k, v = (x @ w + c for x, w, c in zip((output(path, layer="a"), X, X), W, b, strict=False))
    expected = weigh(q @ k.swapaxes(1, 2) / np.sqrt(2), v) @ W[3] + b[3]
    np.testing.assert_allclose(output(path), expected, rtol=1e-5)


@pytest.mark.parametrize("first", [0, 1], ids=["from 0", "from 1"])
def test_a_layer_is_called_twice(tmp_path: Path, first: int) -> None:
    """Keras 2 numbers the calls of a model in a model from 1 on."""
    shared = node("a", "LSTM", "x", settings=WHOLE)
    above = tensor("a")
    above["config"]["keras_history"] = ["a", first, 0]
    shared["inbound_nodes"].append({"args": [above], "kwargs": {}})
    ends = ["a", first + 1, 0]
    path = functional(tmp_path / "m.keras", shared, output_layers=ends)
    assert layers(load(path)[0]) == "LSTM 2, LSTM 2"
    expected = output(path, output(path, layer="a"), layer="a")
    np.testing.assert_array_equal(output(path), expected)


def test_calls_with_other_numbers_are_refused(tmp_path: Path) -> None:
    shared = node("a", "LSTM", "x", settings=WHOLE)
    shared["inbound_nodes"] *= 3
    path = functional(tmp_path / "m.keras", shared, output_layers=["a", 1, 0])
    assert refusal(path).startswith("a: is called in a way that is not read")


def test_a_layer_starts_from_the_state_of_another(tmp_path: Path) -> None:
    encoder = node("a", "GRU", "x", settings={"return_state": True})
    decoder = node("b", "GRU", "x", settings=WHOLE, initial_state=[tensor("a", 1)])
    path = functional(tmp_path / "m.keras", encoder, decoder)
    assert layers(load(path)[0]) == "GRU 2, rows: Concat, whole sequences: GRU"
    start = rnncli.run(load(path, layer="a")[0], X).h_n
    expected = rnncli.run(load(path, layer="b")[0], X, start).h
    np.testing.assert_allclose(output(path), expected, atol=1e-6)


def test_the_cell_state_of_rows_that_are_masked_is_refused(tmp_path: Path) -> None:
    masking = {**node("m", "Masking", "x"), "config": MASKING["config"]}
    below = node("a", "LSTM", "m", settings={"return_state": True})
    path = functional(tmp_path / "m.keras", masking, below, output_layers=["a", 0, 2])
    network, x = load(path)[0], X.copy()
    assert rnncli.run(network, x).h.shape == (2, 5, 2)
    x[0, 1] = -1
    with pytest.raises(ValueError, match="the network needs all"):
        rnncli.run(network, x)


@pytest.mark.parametrize("is_last", [False, True], ids=["steps first", "steps last"])
def test_a_convolution_over_steps_and_frequencies(tmp_path: Path, is_last: bool) -> None:
    conv = node("c", "Conv2D", "x", settings={"padding": "same"})
    size = [4, 1] if is_last else [1, 4]
    pool = node("p", "MaxPooling2D", "c", settings={"pool_size": size})
    flat = node("r", "Reshape", "p", settings={"target_shape": [-1, 2]})
    above = node("a", "LSTM", "r", settings=WHOLE)
    shape = (4, None, 1) if is_last else (None, 4, 1)
    path = functional(tmp_path / "m.keras", conv, pool, flat, above, shape=shape)
    assert load(path)[1][0].startswith("a step is an array of 4 x 1 values")
    x = np.random.default_rng(0).normal(scale=0.01, size=(2, 5, 4))
    kernel, b = np.array([[0, 0.01], [0.02, 0.03], [0.04, 0.05]]), np.array([1, 1.01])
    axis = 2 if is_last else 1  # that the kernel slides along
    padded = np.pad(x, [(0, 0), *((int(k == axis),) * 2 for k in (1, 2))])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 3, axis)  # (N, T, F, 3)
    rows = (windows @ kernel + b).max(2).astype("f4")
    np.testing.assert_allclose(output(path, x), output(path, rows, layer="a"), atol=1e-5)


def test_masks_of_several_inputs_are_refused_by_name(tmp_path: Path) -> None:
    embeddings = [
        node(name, "Embedding", below, settings={"mask_zero": True})
        for name, below in {"e": "x", "f": "w"}.items()
    ]
    found = [input_layer("w", None), *embeddings, takes("c", "Concatenate", "e", "f")]
    ends: Any = {"input_layers": [["x", 0, 0], ["w", 0, 0]]}
    path = functional(tmp_path / "m.keras", *found, node("a", "LSTM", "c"), shape=(None,), **ends)
    assert refusal(path).startswith("e, f: masks rows by one of several inputs")


def test_a_refused_encoder_is_named(tmp_path: Path) -> None:
    encoder = node("a", "GRU", "x", settings={"return_state": True, "activation": "mish2"})
    decoder = node("b", "GRU", "x", settings=WHOLE, initial_state=[tensor("a", 1)])
    path = functional(tmp_path / "m.keras", encoder, decoder)
    assert refusal(path).startswith("a: activation mish2 is not run here")
