"""Layers without state in Keras, PyTorch and ONNX Runtime, below and above recurrent ones."""

import numpy as np
import pytest

import rnncli
from peers.networks import (
    ACTIVATIONS,
    BY_PEER,
    TOLERANCES,
    Array,
    check,
    flat,
    furthest,
    network,
)
from rnncli.model.layers import (
    DIRECTIONS,
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Masking,
    Normalization,
    Pointwise,
)
from rnncli.model.network import Network
from rnncli.verify import peers
from rnncli.verify.peers import PEERS, Unsupported, torch

RANDOM = np.random.RandomState(0)


def drawn(*shape: int) -> Array:
    values: Array = RANDOM.uniform(-1, 1, shape).astype(np.float32)
    return values


W, B = drawn(4, 3), drawn(3)
# Those that cells of Keras may have too, and those of rows.
OF_CELLS = ("relu6", "silu", "gelu", "gelu_tanh", "selu", "mish", "exponential", "hard_silu")
MORE = (*OF_CELLS, "softmax", "log_softmax")
KNOWN = {
    "keras": [*BY_PEER["keras"], *MORE],
    "torch": [name for name in (*ACTIVATIONS, *MORE) if name.partition(":")[0] in torch.FUNCTIONS],
    "onnxruntime": [
        *(name for name in (*ACTIVATIONS, *MORE) if not name.startswith(("affine", "scaled"))),
        *("maximum:-0.1", "minimum:0.1", "power:2"),
    ],
}


def topped(*head: Layer) -> Network:
    return Network(*network((4,), cell="lstm").layers, *head)


@pytest.mark.parametrize(
    ("name", "activation"), [(name, each) for name in PEERS for each in KNOWN[name]]
)
def test_dense_with_every_activation(name: str, activation: str) -> None:
    check(name, topped(Dense(W, B, activation)))


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("shift", [drawn(4), None])
@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
def test_layer_normalization(name: str, shift: Array | None, epsilon: float) -> None:
    """It magnifies how far states are apart, by the spread of a row: here to a tenth."""
    normal = LayerNormalization(drawn(4) + 2, shift, epsilon)
    check(name, topped(normal, Dense(W, B)), tolerance=1e-5)


@pytest.mark.parametrize("activation", OF_CELLS)
def test_cells_of_keras_with_every_activation(activation: str) -> None:
    """Sums are limited by what goes in: an exponential drives states apart."""
    (cell,) = network((4,), activations=[activation]).layers[0].cells
    small = cell.weights.converted(lambda name, array: array / (8 if name == "W_hh" else 2))
    check("keras", Network(cell.replaced(small)))


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
def test_a_rescaling(name: str) -> None:
    check(name, Network(Pointwise("affine:0.5,0.25", 3), *network((4,), cell="gru").layers))


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


MASKS = [Masking(0.125, 3), Embedding(drawn(7, 3), mask_zero=True)]


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
@pytest.mark.parametrize("bottom", MASKS, ids=["masking", "embedding"])
def test_layers_that_mask_are_refused(name: str, bottom: Layer) -> None:
    with pytest.raises(Unsupported, match="masks no rows between others"):
        peers.build(name, Network(bottom, *network((4,)).layers))


# Gaps of one row and of several; the first begins with one, the last is masked whole.
GAPS = np.array(
    [[1, 1, 0, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 1, 1, 0], [0] * 8, [1] * 8],
    bool,
)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    ("cell", "precision"),
    [("rnn", "float32"), ("lstm", "float32"), ("gru", "float32"), ("gru", "float64")],
)
@pytest.mark.parametrize("bottom", MASKS, ids=["masking", "embedding"])
def test_masked_rows_in_keras(bottom: Layer, cell: str, precision: str, direction: str) -> None:
    """All layers at every row, and the final states, from states of 0."""
    recurrent = network((4, 4), direction, "sum", cell=cell).layers
    net = Network(bottom, *recurrent, Dense(drawn(4, 2), drawn(2), "tanh"))
    peer = peers.build("keras", net, precision=precision, all_layers=True)
    x = drawn(*GAPS.shape, 3)
    x[GAPS] = 0.125
    if isinstance(bottom, Embedding):
        x = np.where(GAPS, 0, RANDOM.randint(1, 7, GAPS.shape))[..., None]
    x, h0 = x.astype(precision), np.zeros((4, net.state_size), precision)
    for lengths in (None, np.array([8, 6, 5, 1])):
        ours = rnncli.run(net, x, h0, lengths=lengths, precision=precision, all_layers=True)
        theirs = peer(x, h0, lengths)
        assert furthest(flat(theirs), flat(ours)) <= TOLERANCES[precision]


def test_a_value_that_keras_rounds() -> None:
    net = Network(Masking(0.1, 3), *network((4,)).layers)
    message = r"^Keras on TensorFlow rounds the value 0.1 of Masking to float32$"
    with pytest.raises(Unsupported, match=message):
        peers.build("keras", net, precision="float64")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_masked_rows_before_the_first_step(direction: str) -> None:
    """Where the state is not 0 Keras gives something else there, but zeros in two directions."""
    net = Network(Masking(0.1, 3), *network((4,), direction).layers)
    x, h0 = drawn(2, 5, 3), drawn(2, net.state_size)
    peer = peers.build("keras", net)
    x[:, 2] = 0.1
    ours = rnncli.run(net, x, h0)
    assert furthest(flat(peer(x, h0)), flat(ours)) <= 1e-6
    x[1, [0, 4]] = 0.1
    ours = rnncli.run(net, x, h0)
    if direction == "bidirectional":
        assert furthest(flat(peer(x, h0)), flat(ours)) <= 1e-6
        return
    message = r"^Keras gives 0 at rows that are masked before the first step, rnn the initial state"
    with pytest.raises(Unsupported, match=message):
        peer(x, h0)
    ends = np.array([5, 4])
    x[1, [0, 3, 4]] = [[0.1], [0.2], [0.1]] if direction == "backward" else [[0.2], [0.1], [0.1]]
    ours = rnncli.run(net, x, h0, lengths=ends)
    assert furthest(flat(peer(x, h0, ends)), flat(ours)) <= 1e-6


UNSUPPORTED: list[tuple[str, str, str]] = [
    ("keras", "affine:2,0", "Keras has no activation affine:2.0,0.0; it has tanh"),
    ("keras", "hard_sigmoid", r"Keras's hard_sigmoid is x/6 \+ 0.5"),
    ("torch", "hard_sigmoid", "PyTorch has no activation hard_sigmoid:0.2,0.5; it has tanh"),
    ("torch", "exponential", "PyTorch has no activation exponential; it has tanh"),
    ("onnxruntime", "scaled_tanh:1,2", "ONNX Runtime has no activation scaled_tanh:1.0,2.0; it"),
]


@pytest.mark.parametrize(("name", "activation", "message"), UNSUPPORTED)
def test_activations_that_a_peer_has_not(name: str, activation: str, message: str) -> None:
    with pytest.raises(Unsupported, match=f"^{message}"):
        peers.build(name, topped(Dense(W, B, activation)))


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_constants_that_keras_rounds(activation: str) -> None:
    message = f"^Keras on TensorFlow rounds the constants of {activation} to float32$"
    with pytest.raises(Unsupported, match=message):
        peers.build("keras", topped(Dense(W, B, activation)), precision="float64")


def test_a_cell_with_an_activation_that_onnx_has_for_none() -> None:
    message = r"^ONNX Runtime's RNN has no activation silu; it has tanh, .* and softplus$"
    with pytest.raises(Unsupported, match=message):
        peers.build("onnxruntime", network((4,), activations=["silu"]))
