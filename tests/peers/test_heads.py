"""Layers without state in Keras, PyTorch and ONNX Runtime, below and above recurrent ones."""

from typing import Any

import numpy as np
import pytest

import rnncli
from peers.networks import ACTIVATIONS, BY_PEER, Array, check, network
from rnncli.model.layers import Dense, Embedding, Layer, Masking, Normalization, Pointwise
from rnncli.model.network import Network
from rnncli.verify import peers
from rnncli.verify.peers import PEERS, Unsupported, torch

RANDOM = np.random.RandomState(0)


def drawn(*shape: int) -> Array:
    values: Array = RANDOM.uniform(-1, 1, shape).astype(np.float32)
    return values


W, B = drawn(4, 3), drawn(3)
KNOWN = {
    "keras": BY_PEER["keras"],
    "torch": [name for name in ACTIVATIONS if name.partition(":")[0] in torch.FUNCTIONS],
    "onnxruntime": [name for name in ACTIVATIONS if not name.startswith(("affine", "scaled"))],
}


def topped(*head: Layer) -> Network:
    return Network(*network((4,), cell="lstm").layers, *head)


@pytest.mark.parametrize(
    ("name", "activation"), [(name, each) for name in PEERS for each in (*KNOWN[name], "softmax")]
)
def test_dense_with_every_activation(name: str, activation: str) -> None:
    check(name, topped(Dense(W, B, activation)))


@pytest.mark.parametrize("name", PEERS)
def test_layers_below_and_above(name: str) -> None:
    (recurrent,) = network((4,), "bidirectional", cell="gru").layers
    scale, shift = drawn(3) + 2, drawn(3)
    below = [
        Normalization(drawn(3), scale, shift, drawn(3)),
        Dense(drawn(3, 3), drawn(3), "tanh"),
        Pointwise("relu", 3),
    ]
    above = [Dense(drawn(8, 5)), Normalization(drawn(5), drawn(5) + 2), Pointwise("softmax", 5)]
    check(name, Network(*below, recurrent, *above))


@pytest.mark.parametrize("name", PEERS)
def test_a_head_alone(name: str) -> None:
    """Without the layers below, whether one module is the whole network or not."""
    net = Network(*network((4, 4), cell="lstm").layers, Dense(W, B))
    x = np.ones((2, 5, 3), np.float32)
    h0 = np.zeros((2, net.state_size), np.float32)
    theirs, ours = peers.build(name, net)(x, h0), rnncli.run(net, x, h0)
    assert theirs.layers == ()
    assert theirs.y is not None
    assert ours.y is not None
    for given, expected in ((theirs.h, ours.h), (theirs.y, ours.y), (theirs.h_n, ours.h_n)):
        np.testing.assert_allclose(given, expected, rtol=0, atol=1e-6, strict=True)


@pytest.mark.parametrize("name", PEERS)
def test_an_embedding(name: str) -> None:
    net = Network(Embedding(drawn(7, 3)), *network((4,), cell="gru").layers)
    x = RANDOM.randint(0, 7, (2, 6, 1)).astype(np.float32)
    h0 = np.zeros((2, 4), np.float32)
    ours = rnncli.run(net, x, h0, all_layers=True)
    theirs = peers.build(name, net, all_layers=True)(x, h0)
    for given, expected in zip(theirs.layers, ours.layers, strict=True):
        np.testing.assert_allclose(given, expected, rtol=0, atol=1e-6, strict=True)


@pytest.mark.parametrize("name", PEERS)
def test_layers_that_mask_are_refused(name: str) -> None:
    (recurrent,) = network((4,)).layers
    for bottom, message in (
        (Masking(0, 3), "has no layer Masking; it has Recurrent, Dense, Embedding, Normalization"),
        (Embedding(drawn(7, 3), mask_zero=True), "rnn runs no layer that masks rows in"),
    ):
        with pytest.raises(Unsupported, match=message):
            peers.build(name, Network(bottom, recurrent))


UNSUPPORTED: list[tuple[str, str, str]] = [
    ("keras", "affine:2,0", "Keras has no activation affine:2.0,0.0; it has tanh"),
    ("keras", "hard_sigmoid", r"Keras's hard_sigmoid is x/6 \+ 0.5"),
    ("torch", "hard_sigmoid", "PyTorch has no activation hard_sigmoid:0.2,0.5; it has tanh"),
    ("onnxruntime", "scaled_tanh:1,2", "ONNX Runtime has no activation scaled_tanh:1.0,2.0; it"),
]


@pytest.mark.parametrize(("name", "activation", "message"), UNSUPPORTED)
def test_activations_that_a_peer_has_not(name: str, activation: str, message: str) -> None:
    with pytest.raises(Unsupported, match=f"^{message}"):
        peers.build(name, topped(Dense(W, B, activation)))


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("fault", ["W", "b"])
def test_a_wrong_sign_is_caught_by_each(name: str, fault: str) -> None:
    arrays: dict[str, Any] = {"W": W, "b": B}
    right, wrong = topped(Dense(**arrays)), topped(Dense(**(arrays | {fault: -arrays[fault]})))
    x = np.ones((1, 5, 3), np.float32)
    h0 = np.zeros((1, right.state_size), np.float32)
    theirs, ours = peers.build(name, right)(x, h0).y, rnncli.run(wrong, x, h0).y
    assert theirs is not None
    assert ours is not None
    assert np.abs(theirs - ours).max() > 1e-2
