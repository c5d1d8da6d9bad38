"""LSTM and GRU in Keras, PyTorch and ONNX Runtime: states and final states, h and c.

Weights are drawn as Keras and PyTorch do by default. Such networks are contracting, so
that two right programs in float32 end within 1e-6 of each other, relative to max(1, |h|).
"""

from itertools import product
from math import inf
from typing import Any

import numpy as np
import pytest

import rnncli
from peers.draws import Stack, keras_model, keras_network, torch_module, torch_network
from peers.networks import (
    ACTIVATIONS,
    WAYS,
    Array,
    batch,
    check,
    flat,
    furthest,
    network,
    stack,
)
from rnncli.model.cells import CELLS
from rnncli.model.network import Network
from rnncli.verify import peers
from rnncli.verify.peers import PEERS, Unsupported

# Cells, and for a GRU where r multiplies.
KINDS = [("lstm", "after"), ("gru", "after"), ("gru", "before")]
SIZES = ((4,), (4, 4), (5, 3, 4))


def drawn(name: str, layers: Stack) -> Network:
    """Let Keras draw what it alone knows, PyTorch the rest, whose biases are not zeros."""
    seed = len(layers.sizes)
    if name == "keras" or layers.merge != "concat" or layers.reset != "after":
        return keras_network(layers, seed)
    return torch_network(layers._replace(sizes=(4,) * seed), seed)  # of one size


def stacks(name: str) -> list[Stack]:
    """Return what a peer knows: every depth in every way, and two layers without a bias."""
    kinds = [kind for kind in KINDS if name != "torch" or kind[1] == "after"]
    made = [
        Stack(sizes, *way, cell, reset=reset)
        for sizes, way, (cell, reset) in product(SIZES, WAYS, kinds)
        # PyTorch has no other merge, and Keras takes its time.
        if way[1] == "concat" or name == "onnxruntime" or (name == "keras" and len(sizes) == 2)
    ]
    return made + [Stack((4, 4), "bidirectional", "concat", cell, False, r) for cell, r in kinds]


def named(layers: Stack) -> str:
    return "-".join(map(str, layers[1:6])) + f"-{len(layers.sizes)}"


@pytest.mark.parametrize(
    ("name", "layers"),
    [pytest.param(name, s, id=f"{name}-{named(s)}") for name in PEERS for s in stacks(name)],
)
def test_default_initialisations(name: str, layers: Stack) -> None:
    check(name, drawn(name, layers))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize(("cell", "reset"), KINDS)
def test_a_peer_is_the_model_of_keras(cell: str, reset: str, direction: str, bias: bool) -> None:
    layer = Stack((4,), direction, "concat", cell, bias, reset)
    x = batch(keras_network(layer, 1)).x
    expected = np.array(keras_model(layer, 1)(x))
    for states in of_both("keras", keras_network(layer, 1), x):
        assert furthest([states.h], [expected]) <= 1e-6


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize(("cell", "projected"), [("lstm", 0), ("lstm", 3), ("gru", 0)])
def test_a_peer_is_the_module_of_pytorch(
    cell: str, projected: int, direction: str, bias: bool
) -> None:
    import torch

    layers = Stack((5, 5), direction, "concat", cell, bias, projected=projected)
    x = batch(torch_network(layers, 1)).x
    with torch.no_grad():
        h, final = torch_module(layers, 1)(torch.from_numpy(x))
    finals = [final] if cell == "gru" else final
    h_n = np.concatenate([array.swapaxes(0, 1).flatten(1) for array in finals], axis=1)
    for states in of_both("torch", torch_network(layers, 1), x):
        assert furthest([states.h, states.h_n], [h.numpy(), h_n]) <= 1e-6


def of_both(name: str, network: Network, x: Array) -> list[rnncli.States]:
    h0 = np.zeros((len(x), network.state_size), np.float32)
    return [peers.build(name, network)(x, h0), rnncli.run(network, x, h0)]


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
@pytest.mark.parametrize("sizes", [(4,), (5, 4, 4), (4, 4)])
def test_projections(sizes: tuple[int, ...], direction: str) -> None:
    projected = network(sizes, direction, cell="lstm", extra=["W_hr"])
    check("torch", projected)
    given = batch(projected)
    top = peers.build("torch", projected)(*given)  # one module, where that can be
    ours = rnncli.run(projected, given.x, given.h0, lengths=given.lengths)
    assert furthest(flat(top), [ours.h, ours.h_n]) <= 1e-6


# ONNX Runtime's own tanh and sigmoid are approximations that end at 1 - 5e-7.
ONNX = 2e-6
EACH_DIRECTION = pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])


@EACH_DIRECTION
@pytest.mark.parametrize("clip", [inf, 0.4])
@pytest.mark.parametrize("extra", [(), ("w_ch",)])
def test_what_the_lstm_of_onnx_has(extra: tuple[str, ...], clip: float, direction: str) -> None:
    given = network((4, 3), direction, cell="lstm", extra=extra, clips=[clip])
    check("onnxruntime", given, tolerance=ONNX)


@EACH_DIRECTION
@pytest.mark.parametrize("reset", ["after", "before"])
def test_the_clip_of_a_gru_of_onnx(reset: str, direction: str) -> None:
    given = network((4, 3), direction, cell="gru", clips=[0.4], reset=[reset])
    check("onnxruntime", given, tolerance=ONNX)


def test_peepholes_in_one_direction_alone() -> None:
    layer = network((4,), "bidirectional", cell="lstm", extra=["w_ch"]).layers[0]
    forward, backward = layer.cells
    plain = backward.replaced(backward.weights._replace(w_ch=None))
    check("onnxruntime", Network(rnncli.Recurrent(forward, plain, direction="bidirectional")))


@pytest.mark.parametrize("first", range(len(ACTIVATIONS)))
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_gate_has_its_own_activation_in_each_direction(cell: str, first: int) -> None:
    """Six one after the other in an LSTM, four in a GRU.

    Sums are limited: gates far over 1 make states grow, and rounding with them.
    """
    names = ("recurrent_activation", "activation", "output_activation")[: CELLS[cell].gates - 1]
    each = ACTIVATIONS[first:] + ACTIVATIONS[:first]
    settings: dict[str, Any] = {
        name: each[number :: len(names)][:2] for number, name in enumerate(names)
    }
    settings |= {"activations": settings.pop("activation"), "clips": [0.9]}
    check("onnxruntime", network((4,), "bidirectional", cell=cell, **settings), tolerance=ONNX, T=8)


@pytest.mark.parametrize("reset", ["", "after", "before"])
def test_keras_has_activations_of_its_own(reset: str) -> None:
    settings: dict[str, Any] = {
        "recurrent_activation": [f"hard_sigmoid:{1 / 6!r},0.5", "softsign"],
        "activations": ["leaky_relu:0.25", "elu:0.5"],
    }
    cell = "gru" if reset else "lstm"
    if reset:
        settings["reset"] = [reset]
    check("keras", network((4,), "bidirectional", cell=cell, **settings))


@pytest.mark.parametrize("name", ["keras", "torch"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_float64(name: str, cell: str) -> None:
    extra = ["b_n"] if cell == "gru" else []
    check(name, network((4, 4), "bidirectional", cell=cell, extra=extra), "float64")


@pytest.mark.parametrize("name", PEERS)
def test_another_cell_and_direction_in_every_layer(name: str) -> None:
    layers = ("backward", "concat", 4), ("bidirectional", "concat", 3), ("forward", "concat", 5)
    check(name, stack(*layers, cells=["lstm", "gru", "rnn"]))


LSTM, GRU = {"cell": "lstm"}, {"cell": "gru"}
BOTH = {"direction": "bidirectional"}
UNSUPPORTED: list[tuple[str, dict[str, Any], str]] = [
    ("keras", {**LSTM, "extra": ["w_ch"]}, "no peepholes"),
    ("keras", {**LSTM, "extra": ["W_hr"]}, "no projection"),
    ("keras", {**LSTM, "output_activation": ["relu"]}, "one activation for the candidate and"),
    ("keras", {**GRU, "clips": [0.5]}, "no clip"),
    ("torch", {**LSTM, "recurrent_activation": ["hard_sigmoid"]}, "no recurrent activation"),
    ("torch", {**GRU, "activations": ["relu"]}, "no activation relu"),
    ("torch", {**GRU, "reset": ["before"]}, "no reset before"),
    ("torch", {**LSTM, **BOTH, "merge": "sum"}, "no merge sum"),
    ("onnxruntime", {**LSTM, "extra": ["W_hr"]}, "no projection"),
    ("onnxruntime", {**GRU, **BOTH, "reset": ["after", "before"]}, "one reset for both"),
]


@pytest.mark.parametrize(("name", "options", "message"), UNSUPPORTED)
def test_what_a_peer_cannot_express(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        peers.build(name, network(**options))
