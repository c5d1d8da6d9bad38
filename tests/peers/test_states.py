"""The same networks in Keras, PyTorch and ONNX Runtime: states at every step, and final ones.

All of them are contracting, so that whole runs can be compared: two right programs
in float32 end within 1e-6 of each other, in float64 within 1e-14.
"""

import subprocess
import sys
from math import inf
from typing import Any

import numpy as np
import pytest

import rnncli
from peers.networks import (
    BY_PEER,
    SIZES,
    WAYS,
    Batch,
    batch,
    check,
    flat,
    furthest,
    network,
    stack,
)
from rnncli.model.network import Network
from rnncli.verify import peers
from rnncli.verify.peers import PEERS, Unsupported


def cases(name: str) -> list[tuple[str, str, str]]:
    """What a peer knows: itself, direction and merge."""
    return [(name, *way) for way in WAYS if name != "torch" or way[1] == "concat"]


@pytest.mark.parametrize(
    ("name", "direction", "merge"), [case for name in PEERS for case in cases(name)]
)
@pytest.mark.parametrize("sizes", SIZES)
def test_layers_directions_and_merges(
    name: str, direction: str, merge: str, sizes: tuple[int, ...]
) -> None:
    check(name, network(sizes, direction, merge))


@pytest.mark.parametrize(
    ("name", "activation"), [(name, each) for name in PEERS for each in BY_PEER[name]]
)
def test_activations(name: str, activation: str) -> None:
    check(name, network((5, 4), "bidirectional", activations=[activation]))


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("keras", [("backward", "", 4), ("bidirectional", "sum", 3), ("forward", "", 5)]),
        ("torch", [("backward", "", 4), ("bidirectional", "concat", 3), ("forward", "", 5)]),
        ("onnxruntime", [("backward", "", 4), ("bidirectional", "mul", 3), ("forward", "", 5)]),
    ],
)
def test_layers_that_differ(name: str, layers: list[tuple[str, str, int]]) -> None:
    named = [(direction, merge or "concat", size) for direction, merge, size in layers]
    check(name, stack(*named))


@pytest.mark.parametrize("name", ["keras", "onnxruntime"])
def test_each_direction_has_its_own_activation(name: str) -> None:
    check(
        name, network((4, 4), "bidirectional", activations=["tanh", "leaky_relu:0.25", "elu:0.5"])
    )


# ONNX Runtime hands out alphas and betas to those that take one: every pair of
# none, alpha alone, and both has its own lists.
@pytest.mark.parametrize("first", ["tanh", "elu:0.5", "affine:0.8,0.1"])
@pytest.mark.parametrize("second", ["relu", "leaky_relu:0.25", "hard_sigmoid:0.3,0.4", "linear"])
@pytest.mark.parametrize("clip", [inf, 0.4])
def test_onnx_parameters(first: str, second: str, clip: float) -> None:
    activations, clips = [first, second], [clip]
    check("onnxruntime", network((4, 3), "bidirectional", "sum", activations, clips))


@pytest.mark.parametrize("activation", BY_PEER["onnxruntime"])
def test_onnx_clip(activation: str) -> None:
    clipped = network((4,), "backward", activations=[activation], clips=[0.4])
    check("onnxruntime", clipped)
    given = batch(clipped)
    free = network((4,), "backward", activations=[activation])
    assert furthest([run(clipped, given).h], [run(free, given).h]) > 1e-2  # it does something


def run(network: Network, given: Batch) -> rnncli.States:
    return rnncli.run(network, given.x, given.h0, lengths=given.lengths)


@pytest.mark.parametrize(
    ("name", "activation"),
    [("torch", each) for each in BY_PEER["torch"]] + [("keras", each) for each in BY_PEER["keras"]],
)
def test_float64(name: str, activation: str) -> None:
    check(name, network((4, 4), "bidirectional", activations=[activation]), "float64")


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("sizes", [(4, 4), (5, 3)])
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_the_top_layer_alone(name: str, sizes: tuple[int, ...], direction: str) -> None:
    """In PyTorch another module: one of two layers."""
    net = network(sizes, direction)
    given = batch(net)
    top = peers.build(name, net)(*given)
    assert top.layers == ()
    assert furthest(flat(top), list(run(net, given)[:2])) <= 1e-6


BOTH: dict[str, Any] = {"direction": "bidirectional"}
UNSUPPORTED: list[tuple[str, dict[str, Any], str]] = [
    ("torch", {"activations": ["softsign"]}, "no activation softsign"),
    ("keras", {"activations": ["affine:2,0"]}, "no activation affine:2.0,0.0"),
    ("keras", {"activations": ["hard_sigmoid"]}, "hard_sigmoid is x/6"),
    ("keras", {"clips": [0.5]}, "no clip"),
    ("torch", {"clips": [0.5]}, "no clip"),
    ("torch", {**BOTH, "merge": "ave"}, "no merge ave"),
    ("torch", {**BOTH, "activations": ["tanh", "relu"]}, "one activation for both directions"),
    ("onnxruntime", {**BOTH, "clips": [0.5, 0.25]}, "one clip for both directions"),
]


@pytest.mark.parametrize(("name", "options", "message"), UNSUPPORTED)
def test_what_a_peer_cannot_express(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        peers.build(name, network(**options))


@pytest.mark.parametrize(
    ("name", "precision", "message"),
    [
        ("keras", "tf32", "Keras has no precision tf32; it has float32 and float64"),
        ("torch", "bfloat16", "PyTorch's nn.RNN has no precision bfloat16; it has float32 and"),
        ("onnxruntime", "float64", "ONNX Runtime's RNN has no precision float64; it has float32"),
    ],
)
def test_precisions_that_a_peer_has_not(name: str, precision: str, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        peers.build(name, network(), precision=precision)


def test_keras_keeps_a_slope_in_float32() -> None:
    with pytest.raises(Unsupported, match="rounds the slope of leaky_relu:0"):
        peers.build("keras", network(activations=["leaky_relu"]), precision="float64")


@pytest.mark.parametrize("name", PEERS)
def test_sequences_without_steps(name: str) -> None:
    net = network()
    peer, given = peers.build(name, net), batch(net)
    with pytest.raises(Unsupported, match=r"runs no sequence without steps$"):
        peer(given.x[:, :0], given.h0)
    with pytest.raises(Unsupported, match=r"runs no sequence without steps$"):
        peer(given.x, given.h0, np.array([3, 0, 1, 2]))


ALONE = """
import sys
import numpy as np
from rnncli.verify import peers
from rnncli.model.cells import Weights
from rnncli.model.network import Network
libraries = {"keras", "tensorflow", "torch", "onnxruntime", "onnx"}
assert not libraries & set(sys.modules)
weights = Weights(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32), np.zeros(1))
states = peers.build(sys.argv[1], Network(weights))(np.ones((1, 2, 1)), np.zeros((1, 1)))
print(states.h[0, 0, 0])
"""


@pytest.mark.parametrize("name", PEERS)
def test_a_library_is_loaded_late_and_says_nothing(name: str) -> None:
    command = [sys.executable, "-c", ALONE, name]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stderr == ""
    assert float(done.stdout) == pytest.approx(np.tanh(1), abs=1e-6)
