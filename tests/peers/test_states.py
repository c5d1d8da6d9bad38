"""The same networks in Keras, PyTorch and ONNX Runtime: all states and what a head gives.

All of them forget, so that whole runs can be compared.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from conftest import NIGHTLY

import rnncli
from peers.nets import (
    ACTIVATIONS,
    HARD_SIGMOID,
    TOLERANCES,
    WAYS,
    Plan,
    batch,
    check,
    drawn,
    flat,
    furthest,
    network,
)
from rnncli.model.cells import CELLS
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
from rnncli.verification import peers
from rnncli.verification.peers import PEERS, Unsupported, torch

SIZES = ((4,), (4, 4), (5, 3, 4))
KINDS = [("rnn", None), ("lstm", None), ("gru", "after"), ("gru", "before")]
# ONNX Runtime's own tanh and sigmoid are approximations that end at 1 - 5e-7.
ONNX = 2e-6
BELOW = [
    Normalization(drawn(3), drawn(3) + 2, drawn(3, seed=1), drawn(3, seed=2)),
    Dense(drawn(3, 3), drawn(3), "tanh"),
    Pointwise("affine:0.5,0.25", 3),
]
ABOVE = [
    LayerNormalization(drawn(5) + 2, drawn(5), 0.1),
    Dense(drawn(5, 4)),
    Pointwise("softmax", 4),
]


def test_keras() -> None:
    """Every cell, direction, merge and place of the reset, in single precision and in double."""
    many = network(
        Plan("lstm", 4, "backward"),
        Plan("gru", 3, "bidirectional"),
        Plan("gru", 4, "backward", settings={"reset": ("before",)}),
        Plan("lstm", 3, "bidirectional", "sum"),
        Plan("rnn", 4, "bidirectional", "mul", settings={"activation": ("relu", "elu:0.5")}),
        Plan("gru", 3, "bidirectional", "ave", ("b_n",)),
        Plan("rnn", 5),
        below=BELOW,
        above=ABOVE,
    )
    check("keras", many, tolerance=2e-6)
    check("keras", many, "float64", tolerance=2e-14)


def test_activations_of_keras() -> None:
    """Activations of cells and of rows are compared at sums of all sizes."""
    own = {"recurrent_activation": (HARD_SIGMOID, "softsign")}
    own |= {"activation": ("leaky_relu:0.25", "elu:0.5")}
    plain = [each for each in OF_CELLS["keras"] if each not in ("linear", "exponential")]
    layers = [
        Plan("rnn", 4, "bidirectional", "ave", settings={"activation": plain[at : at + 2]})
        for at in range(0, len(plain), 2)
    ]
    gated = (Plan("lstm", 4, "bidirectional", "mul", settings=own), Plan("gru", 4, settings=own))
    check("keras", network(*gated, *layers, above=heads("keras")), tolerance=2e-6, T=12)


def heads(name: str) -> list[Layer]:
    """A layer of each function; unlike biases let it see sums of all sizes."""
    bias = np.array([-3.5, -1, 1, 7], np.float32)
    return [Dense(drawn(4, 4) / 10, bias, each) for each in KNOWN[name]]


OF_CELLS = {
    "keras": [
        *("relu", "sigmoid", "linear", "leaky_relu:0.25", "thresholded_relu:0.5", HARD_SIGMOID),
        *("elu:1.0", "softsign", "softplus", "relu6", "silu", "gelu", "gelu_tanh", "selu"),
        *("mish", "hard_silu", "exponential"),
    ],
    "torch": ["tanh", "relu"],
    "onnxruntime": list(ACTIVATIONS),
}
OF_ROWS = ["relu6", "silu", "gelu", "gelu_tanh", "selu", "mish", "hard_silu", "softmax"]
OF_ROWS += ["log_softmax", "exponential"]
KNOWN = {
    "keras": [*OF_CELLS["keras"][:-1], "softmax", "log_softmax", "exponential"],
    "torch": [e for e in (*ACTIVATIONS, *OF_ROWS) if e.partition(":")[0] in torch.FUNCTIONS],
    "onnxruntime": [
        *(e for e in (*ACTIVATIONS, *OF_ROWS) if not e.startswith(("affine", "scaled"))),
        *("maximum:-0.1", "minimum:0.1", "power:2"),
    ],
}


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_activations_of_rows(name: str) -> None:
    check(name, network(Plan("lstm"), above=heads(name)))


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_layers_around(name: str) -> None:
    plans = (Plan("gru", 4, "bidirectional"), Plan("rnn", 5))
    check(name, network(*plans, below=BELOW, above=ABOVE))
    last = LayerNormalization(drawn(5) + 2)
    check(name, network(Plan(size=5), above=[last]), tolerance=1e-5)  # it magnifies distances
    embedded = Network(Embedding(drawn(7, 3)), *network(Plan("gru")).layers)
    x, h0 = np.random.RandomState(0).randint(0, 7, (2, 6, 1)).astype("f"), np.zeros((2, 4), "f")
    theirs, ours = peers.build(name, embedded)(x, h0), rnncli.run(embedded, x, h0)
    assert furthest(flat(theirs), flat(ours)) <= 1e-6


@pytest.mark.parametrize("name", PEERS if NIGHTLY else ["torch", "onnxruntime"])
@pytest.mark.parametrize(("cell", "reset"), KINDS)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_layers_directions_and_merges(
    name: str, cell: str, reset: str | None, way: tuple[str, str]
) -> None:
    """All layers of stacks of one kind, and the top alone."""
    direction, merge = way
    if name == "torch" and (reset == "before" or merge != "concat"):
        return  # refused, as below
    settings = {"reset": (reset,)} if reset else {}
    for sizes, all_layers in product(SIZES, (True, False)):
        plans = [Plan(cell, size, direction, merge, (), settings) for size in sizes]
        check(name, network(*plans), tolerance=ONNX, all_layers=all_layers)


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_another_cell_and_direction_in_every_layer(name: str) -> None:
    merge = "mul" if name == "onnxruntime" else "concat"
    check(
        name,
        network(Plan("lstm", 4, "backward"), Plan("gru", 3, "bidirectional", merge), Plan(size=5)),
    )


def test_torch_in_double_precision() -> None:
    relu = {"activation": ("relu",)}
    for cell, settings in (("rnn", relu), ("lstm", {}), ("gru", {})):
        extra = ("b_n",) if cell == "gru" else ()
        plan = Plan(cell, 4, "bidirectional", extra=extra, settings=settings)
        check("torch", network(plan, plan), "float64")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_projections_of_torch(direction: str) -> None:
    plans = [Plan("lstm", size, direction, extra=("W_hr",)) for size in (5, 4, 4)]
    check("torch", network(*plans))


def test_peepholes_of_onnx_in_one_direction_alone() -> None:
    layer = network(Plan("lstm", 4, "bidirectional", extra=("w_ch",))).layers[0]
    forward, backward = layer.cells
    plain = backward.replaced(backward.weights._replace(w_ch=None))
    check("onnxruntime", Network(rnncli.Recurrent(forward, plain, direction="bidirectional")))


@pytest.mark.parametrize("first", range(len(ACTIVATIONS)))
def test_every_gate_of_onnx_has_its_own_activation(first: int) -> None:
    """Alphas and betas go to those that take one: six functions in a row in an LSTM.

    Sums are limited: gates far over 1 make states grow, and rounding with them.
    """
    each = ACTIVATIONS[first:] + ACTIVATIONS[:first]
    for cell, count in (("rnn", 1), ("lstm", 3), ("gru", 2)):
        names = ("activation", "recurrent_activation", "output_activation")[:count]
        settings: dict[str, Any] = {name: each[at::count][:2] for at, name in enumerate(names)}
        settings["clip"] = (0.9,)
        plan = Plan(cell, 4, "bidirectional", "sum", settings=settings)
        check("onnxruntime", network(plan), tolerance=ONNX, T=8)


# Gaps of one row and of several; the first begins with one, the third is masked whole.
GAPS = np.array([[1, 1, 0, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 1, 1, 0], [1] * 8, [0] * 8], bool)
MASKS = [Masking(0.125, 3), Embedding(drawn(7, 3), mask_zero=True)]


MIXED = [
    (MASKS[0], [Plan("rnn"), Plan("gru", 4, "bidirectional", "sum"), Plan("lstm")], "float32"),
    (MASKS[1], [Plan(cell, 4, "backward") for cell in ("lstm", "rnn", "gru")], "float32"),
]
EVERY = [
    (bottom, [Plan(cell, 4, direction, "sum")] * 2, precision)
    for bottom, cell, direction, precision in product(MASKS, CELLS, DIRECTIONS, TOLERANCES)
]


@pytest.mark.parametrize(("bottom", "plans", "precision"), EVERY if NIGHTLY else MIXED)
def test_masked_rows_in_keras(bottom: Layer, plans: Sequence[Plan], precision: str) -> None:
    """All layers at every row, and final states, from states of 0."""
    x = drawn(*GAPS.shape, 3)
    x[GAPS] = 0.125
    if isinstance(bottom, Embedding):
        x = np.where(GAPS, 0, np.random.RandomState(0).randint(1, 7, GAPS.shape))[..., None]
    net = Network(bottom, *network(*plans).layers, Dense(drawn(4, 2), drawn(2), "tanh"))
    peer = peers.build("keras", net, precision=precision, all_layers=True)
    x, h0 = x.astype(precision), np.zeros((4, net.state_size), precision)
    for lengths in (None, np.array([8, 6, 5, 1])):
        ours = rnncli.run(net, x, h0, lengths=lengths, precision=precision, all_layers=True)
        assert furthest(flat(peer(x, h0, lengths)), flat(ours)) <= TOLERANCES[precision]


def test_masked_rows_after_an_initial_state() -> None:
    """Keras gives 0 at rows that are masked before the first step, and rnn the initial state."""
    net = Network(Masking(0.1, 3), *network(Plan()).layers)
    with pytest.raises(Unsupported, match="Keras has no masked rows after an initial state"):
        peers.build("keras", net)(drawn(2, 5, 3), drawn(2, net.state_size))


def cell(kind: str, *extra: str, direction: str = "forward", **settings: Any) -> Network:
    merge = settings.pop("merge", "concat")
    return network(Plan(kind, 4, direction, merge, extra, settings))


def topped(activation: str) -> Network:
    return network(Plan("lstm"), above=[Dense(drawn(4, 3), drawn(3), activation)])


def unsupported() -> Iterator[tuple[str, Network, str, str]]:
    """Yield what a peer cannot express: itself, a network, its precision, what is said."""
    both = {"direction": "bidirectional"}
    clipped = {name: cell(name, clip=[0.5]) for name in ("rnn", "gru")}
    single = [
        ("keras", cell("rnn", activation=["affine:2,0"]), "no activation affine:2.0,0.0; it has"),
        ("keras", cell("rnn", activation=["hard_sigmoid"]), "hard_sigmoid is x/6"),
        ("keras", clipped["gru"], "no clip"),
        ("keras", cell("lstm", "w_ch"), "no peepholes"),
        ("keras", cell("lstm", "W_hr"), "no projection"),
        ("keras", cell("lstm", output_activation=["relu"]), "one activation for the candidate and"),
        ("torch", cell("rnn", activation=["softsign"]), "no activation softsign"),
        ("torch", clipped["rnn"], "no clip"),
        ("torch", cell("lstm", merge="ave", **both), "no merge ave"),
        ("torch", cell("rnn", activation=["tanh", "relu"], **both), "one activation for both"),
        (
            "torch",
            cell("lstm", recurrent_activation=["hard_sigmoid"]),
            "no recurrent_activation hard_sigmoid",
        ),
        ("torch", cell("gru", activation=["relu"]), "no activation relu"),
        ("torch", cell("gru", reset=["before"]), "no reset before"),
        ("torch", topped("hard_sigmoid"), "no activation hard_sigmoid:0.2,0.5; it has tanh"),
        ("torch", Network(MASKS[0], *cell("rnn").layers), "masks no rows between others"),
        (
            "onnxruntime",
            cell("rnn", clip=[0.5, 0.25], **both),
            "no node with clip 0.5 forward and 0.25 backward",
        ),
        (
            "onnxruntime",
            cell("gru", reset=["after", "before"], **both),
            "no node with reset after forward and before",
        ),
        ("onnxruntime", cell("lstm", "W_hr"), "no projection"),
        ("onnxruntime", cell("rnn", activation=["silu"]), "no activation silu in a cell"),
        ("onnxruntime", Network(MASKS[1], *cell("rnn").layers), "masks no rows between others"),
    ]
    for name, net, message in single:
        yield name, net, "float32", message
    slope = cell("rnn", activation=["leaky_relu"])
    yield "keras", slope, "float64", "no leaky_relu:0.01 in float64"
    for each in ("gelu", "gelu_tanh"):
        yield "keras", topped(each), "float64", f"no {each} in float64"
    yield "keras", cell("rnn"), "tf32", "no precision tf32; it has float32, float64"
    yield "torch", cell("rnn"), "bfloat16", "no precision bfloat16"
    yield "onnxruntime", cell("rnn"), "float64", "no precision float64; it has float32"


@pytest.mark.parametrize(("name", "net", "precision", "message"), list(unsupported()))
def test_what_a_peer_cannot_express(name: str, net: Network, precision: str, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        peers.build(name, net, precision=precision)


@pytest.mark.parametrize("name", PEERS)
def test_sequences_without_steps(name: str) -> None:
    net = network(Plan())
    peer, given = peers.build(name, net), batch(net)
    with pytest.raises(Unsupported, match="runs no sequence without steps"):
        peer(given.x[:, :0], given.h0)
    with pytest.raises(Unsupported, match="runs no sequence without steps"):
        peer(given.x, given.h0, np.array([3, 0, 1, 2]))


def test_tensorflow_says_nothing_when_it_is_loaded() -> None:
    command = [sys.executable, "-m", "rnncli", "verify", "--seq", "1,2", "--hidden", "1"]
    env = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([*command, "--peer", "keras"], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
