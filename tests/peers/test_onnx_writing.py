"""Networks written as ONNX models, in ONNX Runtime.

The checker of onnx takes each model, types and shapes of all values included,
and what ONNX Runtime gives lies within 1e-6 of `rnncli.run`, relative to
max(1, |y|): both are float32, and the networks forget.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import rnncli
from peers.networks import ACTIVATIONS, SIZES, WAYS, Array, furthest, network, stack
from rnncli.model.activations import ACTIVATIONS as KNOWN
from rnncli.model.cells import CELLS, Cell
from rnncli.model.formats import save_network
from rnncli.model.layers import (
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Normalization,
    Pointwise,
)
from rnncli.model.network import LAST, Network

TOLERANCE = 1e-6
# What a cell may have beside its weights, and its arrays.
SETTINGS: dict[str, list[tuple[dict[str, Any], Sequence[str]]]] = {
    "rnn": [({}, ()), ({"clips": (0.5,)}, ())],
    "lstm": [
        ({}, ()),
        ({}, ("w_ch",)),
        ({"clips": (0.4,), "output_activation": ("softsign",)}, ("w_ch",)),
        ({"recurrent_activation": ("hard_sigmoid:0.25,0.4", "sigmoid")}, ()),
    ],
    "gru": [
        ({}, ()),
        ({}, ("b_n",)),
        ({"reset": ("before",)}, ()),
        ({"clips": (0.4,), "recurrent_activation": ("elu", "softplus")}, ("b_n",)),
    ],
}
CASES = [(kind, *each) for kind, settings in SETTINGS.items() for each in settings]
HEADS = [*ACTIVATIONS, "softmax", "log_softmax"]
HEADS += [name for name, kind in KNOWN.items() if None not in kind.defaults]
HEADS += ["maximum:-0.1", "minimum:0.1", "power:2"]
RANDOM = np.random.RandomState(0)


def drawn(*shape: int) -> Array:
    values: Array = RANDOM.uniform(-1, 1, shape).astype(np.float32)
    return values


def content(net: Network) -> bytes:
    file = io.BytesIO()
    assert save_network(file, net, ".onnx") == []
    return file.getvalue()


def check(net: Network, x: Array | None = None) -> None:
    model = content(net)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (output,) = session.get_outputs()
    assert output.name == ("y" if net.head else "h")
    given = drawn(3, 7, net.input_size) if x is None else x
    for each in (given, given[:1, :1]):
        (theirs,) = session.run(None, {"x": each})
        states = rnncli.run(net, each)
        ours = states.y_n if net.last else states.y if net.head else states.h
        assert ours is not None
        assert furthest([theirs], [ours]) <= TOLERANCE


def topped(*head: Layer, last: str | None = None) -> Network:
    return Network(*network((4,), cell="gru").layers, *head, last=last)


@pytest.mark.parametrize(("direction", "merge"), WAYS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("kind", "settings", "extra"), CASES)
def test_cells(
    kind: str,
    settings: dict[str, Any],
    extra: Sequence[str],
    sizes: Sequence[int],
    direction: str,
    merge: str,
) -> None:
    check(network(sizes, direction, merge, cell=kind, extra=extra, **settings))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", CELLS)
def test_activations_of_cells(kind: str, activation: str) -> None:
    """The two directions differ: alphas and betas go to each activation that has one."""
    others = ("tanh", activation, "elu:0.7", activation)
    gates = {"recurrent_activation": ("sigmoid", "hard_sigmoid:0.3,0.4")}
    settings: dict[str, Any] = gates if kind != "rnn" else {}
    check(network((4, 4), "bidirectional", activations=others, cell=kind, **settings))


@pytest.mark.parametrize("last", [None, *LAST])
@pytest.mark.parametrize(("direction", "merge"), WAYS)
@pytest.mark.parametrize("kind", CELLS)
def test_one_row_a_sequence(kind: str, direction: str, merge: str, last: str | None) -> None:
    """Layers of unlike directions; the top one decides which row."""
    below = stack(("backward", "concat", 5), ("forward", "concat", 3), cells=[kind]).layers
    top = stack(("forward", "concat", 3), (direction, merge, 4), cells=[kind]).layers[1]
    check(Network(*below, top, last=last))
    check(Network(*below, top, Dense(drawn(top.output_size, 2), drawn(2), "tanh"), last=last))


@pytest.mark.parametrize("activation", HEADS)
def test_heads(activation: str) -> None:
    wide = Dense(3 * drawn(4, 6), drawn(6), activation)
    check(topped(wide))
    check(topped(Dense(drawn(4, 6)), Pointwise(activation, 6), last="step"))


def test_layers_around() -> None:
    scale = drawn(3) + 2
    below = [
        Normalization(drawn(3), scale, drawn(3), drawn(3)),
        Dense(drawn(3, 3), drawn(3), "tanh"),
        Pointwise("relu", 3),
    ]
    recurrent = stack(("bidirectional", "concat", 4), ("forward", "concat", 5)).layers
    between = [Normalization(drawn(8), drawn(8) + 2), LayerNormalization(drawn(8), drawn(8), 1e-5)]
    above = [LayerNormalization(drawn(5)), Dense(drawn(5, 4)), Pointwise("softmax", 4)]
    check(Network(*below, recurrent[0], *between, recurrent[1], *above))
    check(Network(*below))


def test_embedding() -> None:
    cells: list[Cell] = [cell for layer in network((4,)).layers for cell in layer.cells]
    net = Network(Embedding(drawn(9, 3)), *cells, Dense(drawn(4, 2)))
    check(net, np.arange(18, dtype=np.float32).reshape(3, 6, 1) % 9)


def test_what_is_linear_alone() -> None:
    check(Network(Pointwise("linear", 3)))
