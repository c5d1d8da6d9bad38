"""What titles and documents say of a network, and its weights: any cells, any layers."""

import json
from typing import Any

import numpy as np
import pytest

from rnncli.model.cells import GRU, LSTM, Weights, weight_shapes
from rnncli.model.layers import Dense, Embedding, Masking, Normalization, Pointwise
from rnncli.model.network import Network
from rnncli.writers.model import describe, model_line


def zeros(kind: type[LSTM] | type[GRU], I: int, H: int, P: int | None = None) -> Weights:
    shapes = weight_shapes(I, H, kind.gates, P).values()
    return Weights(*(np.zeros(shape, "f") for shape in shapes))


DESCRIBED: dict[str, tuple[list[Any], str, dict[str, Any]]] = {
    "LSTM": (
        [LSTM(zeros(LSTM, 1, 4))],
        "LSTM: I = 1, H = 4, tanh",
        {"cell": "lstm", "recurrent_activation": "sigmoid", "hidden_sizes": [4]},
    ),
    "GRU": (
        [GRU(zeros(GRU, 2, 3), "relu", "hard_sigmoid", 2.0, reset="before")],
        "GRU: I = 2, H = 3, relu, gates hard_sigmoid:0.2,0.5, clip 2.0, reset before",
        {"cell": "gru", "clip": 2.0, "reset": "before"},
    ),
    "peepholes, projection": (
        [
            LSTM(
                zeros(LSTM, 1, 4, 2)._replace(w_ch=np.ones(12), W_hr=np.ones((4, 2))),
                output_activation="linear",
                input_forget=True,
            )
        ],
        "LSTM: I = 1, H = 4, P = 2, tanh, output linear, coupled gates, peepholes",
        {"projected_sizes": [2], "input_forget": True, "peepholes": True},
    ),
    "two kinds": (
        [LSTM(zeros(LSTM, 1, 4)), GRU(zeros(GRU, 4, 3), "relu")],
        "LSTM, GRU: I = 1, H = 4, 3, tanh, relu, reset None, after",
        {"cell": ["lstm", "gru"], "activation": ["tanh", "relu"], "reset": [None, "after"]},
    ),
    "a head": (
        [LSTM(zeros(LSTM, 1, 4)), Dense(np.ones((4, 4)), activation="softmax")],
        "LSTM: I = 1, H = 4, tanh, Dense 4 softmax",
        {
            "layers": [
                {"layer": "recurrent", "input_size": 1, "output_size": 4},
                {"layer": "dense", "input_size": 4, "output_size": 4, "activation": "softmax"},
            ]
        },
    ),
    "layers below": (
        [Embedding(np.ones((9, 2)), mask_zero=True), GRU(zeros(GRU, 2, 3)), Dense(np.ones((3, 1)))],
        "GRU: I = 1, Embedding 2 mask_zero, H = 3, tanh, Dense 1",
        {"hidden_sizes": [3]},
    ),
    "no state": (
        [Masking(-1, 2), Normalization([0, 0], [1, 1]), Pointwise("relu", 2)],
        "Network: I = 2, Masking -1.0, Normalization, Activation relu",
        {"cell": [], "hidden_sizes": []},
    ),
}


@pytest.mark.parametrize(("layers", "line", "told"), DESCRIBED.values(), ids=DESCRIBED)
def test_what_is_told_of_a_network(layers: list[Any], line: str, told: dict[str, Any]) -> None:
    described = describe(Network(*layers), {"seed": 7}, "1")
    assert json.loads(json.dumps(described)) == described
    assert model_line(described) == f"{line}, seed 7"
    assert {name: described[name] for name in told} == told


def test_what_is_as_usual_is_not_told() -> None:
    described = describe(Network(LSTM(zeros(LSTM, 1, 4))), {}, "1")
    assert not {"clip", "output_activation", "input_forget", "peepholes"} & described.keys()
