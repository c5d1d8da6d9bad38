"""The same networks in Keras, PyTorch and ONNX Runtime: what all layers give.

All of them forget, so that whole runs can be compared.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import NIGHTLY
from engine.test_recorded import recorded_cases

from peers.nets import ACTIVATIONS, HARD_SIGMOID, Plan, batch, check, drawn, furthest, network
from rnncli.model.layers import (
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
from rnncli.verification.case import case_of_batch
from rnncli.verification.peers import PEERS, TORCH_HEADS, Unsupported

# Functions of Keras that have our names.
FUNCTIONS = ["tanh", "relu", "sigmoid", "linear", "softmax", "log_softmax", "softsign", "softplus"]
FUNCTIONS += ["relu6", "hard_tanh", "silu", "selu", "mish"]
KINDS: list[tuple[str, str, tuple[str, ...]]] = [
    *(("rnn", "", ()), ("lstm", "", ()), ("lstm", "", ("w_ch",))),
    *(("gru", "after", ("b_n",)), ("gru", "before", ())),
]
# ONNX Runtime's own tanh and sigmoid are approximations that end at 1 - 5e-7.
ONNX = 2e-6


def test_keras() -> None:
    """Every cell, direction, merge and place of the reset, in single precision and in double."""
    many = network(
        Plan("lstm", 4, "backward"),
        Plan("gru", 3, "bidirectional"),
        Plan("gru", 4, "backward", settings={"reset": ("before",)}),
        Plan("lstm", 3, "bidirectional", "sum"),
        Plan("rnn", 4, "bidirectional", "mul", settings={"activation": ("relu", "softsign")}),
        Plan("gru", 3, "bidirectional", "ave", ("b_n",)),
        Plan("rnn", 5, settings={"activation": ("selu",)}),
        above=heads(FUNCTIONS, 5),
    )
    check("keras", many, tolerance=2e-6)
    check("keras", many, "float64", tolerance=2e-14)


def heads(functions: Any, width: int = 4) -> list[Layer]:
    """A layer of each function; unlike biases let it see sums of all sizes."""
    bias, widths = np.array([-3.5, -1, 1, 7], np.float32), [width] + [4] * len(functions)
    return [Dense(drawn(w, 4) / 10, bias, f) for w, f in zip(widths, functions, strict=False)]


OF_ROWS = ["silu", "gelu", "gelu_tanh", "selu", "mish", "hard_silu", "softmax", "log_softmax"]
OF_ROWS += ["exponential"]
ROWS = [each for each in (*ACTIVATIONS, *OF_ROWS) if not each.startswith(("affine", "scaled"))]


def test_layers_without_state() -> None:
    check("torch", network(Plan("lstm"), above=heads(TORCH_HEADS)))
    check("onnxruntime", network(Plan("lstm"), above=heads(ROWS)))
    below = [
        Normalization(drawn(3), drawn(3) + 2, drawn(3, seed=1), drawn(3, seed=2)),
        Dense(drawn(3, 3), drawn(3), "tanh"),
    ]
    above = [LayerNormalization(drawn(5) + 2, drawn(5), 0.1), Pointwise("softmax", 5)]
    plans = (Plan("gru", 4, "bidirectional"), Plan("rnn", 5))
    check("onnxruntime", network(*plans, below=below, above=above))
    embedded = Network(Embedding(drawn(7, 3)), *network(Plan("gru")).layers)
    x, h0 = np.random.RandomState(0).randint(0, 7, (2, 6, 1)).astype("f"), np.zeros((2, 4), "f")
    case = case_of_batch(embedded, x, h0)
    theirs = peers.build("onnxruntime", embedded)(case.x, case.groups, case.h0)
    assert furthest(theirs, case.outputs()) <= 1e-6


@pytest.mark.parametrize(
    ("name", "precision"), [("torch", "float32"), ("torch", "float64"), ("onnxruntime", "float32")]
)
@pytest.mark.parametrize(("cell", "reset", "extra"), KINDS)
def test_every_cell_in_every_direction(
    name: str, precision: str, cell: str, reset: str, extra: tuple[str, ...]
) -> None:
    if "w_ch" in extra or (name == "torch" and reset == "before"):
        return  # refused, as below
    settings = {"reset": (reset,)} if reset else {}
    ways = [(5, "bidirectional", "concat"), (3, "backward", "concat"), (4, "bidirectional", "mul")]
    plans = [Plan(cell, *way, extra, settings) for way in ways]
    check(name, network(*plans), precision, tolerance=ONNX if precision == "float32" else None)


@pytest.mark.parametrize("first", range(0, len(ACTIVATIONS), 3))
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


def cell(kind: str, *extra: str, direction: str = "forward", **settings: Any) -> Network:
    merge = settings.pop("merge", "concat")
    return network(Plan(kind, 4, direction, merge, extra, settings))


def unsupported() -> Iterator[tuple[str, Network, str, str]]:
    """Yield what a peer cannot express: itself, a network, its precision, what is said."""
    clipped, masked = cell("rnn", clip=[0.5]), Network(Masking(0.1, 3), *cell("rnn").layers)
    hard = cell("lstm", recurrent_activation=[HARD_SIGMOID])
    topped = network(Plan("lstm"), above=[Dense(drawn(4, 3), None, "hard_sigmoid")])
    single = [
        ("keras", clipped, "no clip 0.5"),
        ("keras", cell("lstm", "w_ch"), "LSTM is not built in Keras here"),
        ("keras", cell("lstm", output_activation=["relu"]), "no output_activation relu"),
        ("keras", masked, "masks no rows"),
        ("torch", cell("rnn", activation=["softsign"]), "no activation softsign"),
        ("torch", clipped, "no clip"),
        ("torch", cell("lstm", "W_hr"), "LSTM is not built in PyTorch here"),
        ("torch", hard, "no recurrent_activation hard_sigmoid"),
        ("torch", cell("gru", activation=["relu"]), "no activation relu"),
        ("torch", cell("gru", reset=["before"]), "no reset before"),
        ("torch", topped, "no activation hard_sigmoid:0.2,0.5"),
        ("torch", Network(Embedding(drawn(7, 3)), *cell("rnn").layers), "Embedding is not built"),
        ("onnxruntime", cell("lstm", "W_hr"), "a projection"),
        ("onnxruntime", cell("lstm", "w_ch"), "peepholes"),
        ("onnxruntime", cell("rnn", activation=["silu"]), "activation silu in a cell"),
    ]
    for name, net, message in single:
        yield name, net, "float32", message
    yield "keras", cell("rnn"), "tf32", "no precision tf32"
    yield "torch", cell("rnn"), "bfloat16", "no precision bfloat16"
    yield "onnxruntime", cell("rnn"), "float64", "no precision float64"


@pytest.mark.parametrize(("name", "net", "precision", "message"), list(unsupported()))
def test_what_a_peer_cannot_express(name: str, net: Network, precision: str, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        peers.build(name, net, precision)


@pytest.mark.parametrize("name", PEERS)
def test_sequences_without_steps_are_left_out(name: str) -> None:
    net = network(Plan())
    peer, given = peers.build(name, net), batch(net)
    case = case_of_batch(net, given.x, given.h0, np.array([3, 0, 1, 2]))
    assert furthest(peer(case.x, case.groups, case.h0), case.outputs()) <= 1e-6
    assert peer(case.x[:0], case.choose(case.steps < 0).groups, case.h0)[0].shape == (0, 4)


def test_tensorflow_says_nothing_when_it_is_loaded() -> None:
    command = [sys.executable, "-m", "rnncli", "verify", "--seq", "1,2", "--hidden", "1"]
    env = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([*command, "--peer", "keras"], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("peer", PEERS)
def test_the_peer_gives_the_recorded_states(peer: str) -> None:
    """Keras, which builds slowly, one of thirty but for the nightly run."""
    distances = {}
    cases = [each for each in recorded_cases() if each.peer == peer]
    for recorded in cases[:: 30 if peer == "keras" and not NIGHTLY else 1]:
        _, _, network, x, h0, lengths, h, _ = recorded
        case = case_of_batch(network, x, h0, lengths)
        try:
            outputs = peers.build(peer, network)(case.x, case.groups, case.h0)
        except Unsupported:  # recorded by a script of its own
            continue
        distances[recorded.name] = furthest(
            outputs[-1:], [h[np.arange(x.shape[1]) < lengths[:, None]]]
        )
    assert len(distances) > len(cases) / 100
    # Other versions and processors may round in other places, over at most six steps.
    assert {name: far for name, far in distances.items() if far > 1e-6} == {}
