"""Networks written as ONNX models, in ONNX Runtime.

The checker of onnx takes each model, types and shapes of all values included,
and what ONNX Runtime gives lies within 1e-6 of `rnncli.run`, relative to
max(1, |y|): both are float32, and the networks forget.
"""

import io
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import NIGHTLY

import rnncli
from peers.nets import ACTIVATIONS, Array, Plan, drawn, furthest, network, output
from rnncli.model.activations import ACTIVATIONS as KNOWN
from rnncli.model.cells import CELLS
from rnncli.model.formats.load import save_network
from rnncli.model.layers import Dense, Embedding, LayerNormalization, Normalization, Pointwise
from rnncli.model.network import LAST, Network

WAYS = (("forward", "concat"), ("backward", "concat"), ("bidirectional", "concat"))
SIZES = ((4,), (4, 4), (5, 3, 4))
# What a cell may have: its kind, arrays beside its weights, settings.
CELLS_AND_MORE: list[tuple[str, tuple[str, ...], dict[str, Sequence[Any]]]] = [
    ("rnn", (), {}),
    ("rnn", (), {"clip": (0.5,)}),
    ("lstm", (), {}),
    ("lstm", (), {"clip": (0.4,), "output_activation": ("softsign",)}),
    ("lstm", (), {"recurrent_activation": ("hard_sigmoid:0.25,0.4", "sigmoid")}),
    ("gru", (), {}),
    ("gru", ("b_n",), {}),
    ("gru", (), {"reset": ("before",)}),
    ("gru", ("b_n",), {"clip": (0.4,), "recurrent_activation": ("elu", "softplus")}),
]
HEADS = [each for each in ACTIVATIONS if not each.startswith(("affine", "scaled_tanh"))]
HEADS += ["softmax", "log_softmax"]
HEADS += [name for name, kind in KNOWN.items() if None not in kind.defaults]
HEADS = [name for name in HEADS if name not in ("relu6", "hard_tanh")]


def check(net: Network, x: Array | None = None) -> None:
    file = io.BytesIO()
    assert save_network(file, net, ".onnx") == []
    model = file.getvalue()
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_outputs()] == ["y" if net.head else "h"]
    given = drawn(3, 7, net.input_size) if x is None else x
    for each in (given, given[:1, :1]):
        (theirs,) = session.run(None, {"x": each})
        states = rnncli.run(net, each)
        ours = states.y_n if net.last else output(states)
        assert ours is not None
        assert furthest([theirs], [ours]) <= 1e-6


@pytest.mark.parametrize(("kind", "extra", "settings"), CELLS_AND_MORE)
def test_cells(kind: str, extra: tuple[str, ...], settings: dict[str, Sequence[Any]]) -> None:
    for sizes, (direction, merge) in product(SIZES if NIGHTLY else SIZES[2:], WAYS):
        check(network(*(Plan(kind, size, direction, merge, extra, settings) for size in sizes)))


@pytest.mark.parametrize("kind", CELLS)
def test_activations_of_cells(kind: str) -> None:
    """The two directions differ: alphas and betas go to each activation that has one."""
    for each in ACTIVATIONS:
        settings = {"activation": (each, "elu:0.7")}
        if kind != "rnn":
            settings["recurrent_activation"] = ("sigmoid", "hard_sigmoid:0.3,0.4")
        check(network(*[Plan(kind, 4, "bidirectional", settings=settings)] * 2))


@pytest.mark.parametrize("last", [None, *LAST])
@pytest.mark.parametrize("kind", CELLS)
def test_one_row_a_sequence(kind: str, last: str | None) -> None:
    """Layers of unlike directions; the top one decides which row."""
    for direction, merge in WAYS:
        plans = (Plan(kind, 5, "backward"), Plan(kind, 3), Plan(kind, 4, direction, merge))
        layers = network(*plans).layers
        head = Dense(drawn(layers[-1].output_size, 2), drawn(2), "tanh")
        check(Network(*layers, last=last))
        check(Network(*layers, head, last=last))


@pytest.mark.parametrize("activation", HEADS)
def test_heads(activation: str) -> None:
    layers = network(Plan("gru")).layers
    check(Network(*layers, Dense(3 * drawn(4, 6), drawn(6), activation)))
    check(Network(*layers, Dense(drawn(4, 6)), Pointwise(activation, 6), last="step"))


def test_layers_around() -> None:
    below = [
        Normalization(drawn(3), drawn(3) + 2, drawn(3, seed=1), drawn(3, seed=2)),
        Dense(drawn(3, 3), drawn(3), "tanh"),
        Pointwise("relu", 3),
    ]
    lower, _, upper = network(Plan(direction="bidirectional"), Plan(size=8), Plan(size=5)).layers
    between = [Normalization(drawn(8), drawn(8) + 2), LayerNormalization(drawn(8), drawn(8), 1e-5)]
    above = [LayerNormalization(drawn(5)), Dense(drawn(5, 4)), Pointwise("softmax", 4)]
    check(Network(*below, lower, *between, upper, *above))
    check(Network(*below))
    check(Network(Pointwise("linear", 3)))
    embedded = Network(Embedding(drawn(9, 3)), *network(Plan()).layers, Dense(drawn(4, 2)))
    check(embedded, np.arange(18, dtype=np.float32).reshape(3, 6, 1) % 9)
