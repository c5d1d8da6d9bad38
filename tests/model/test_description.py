"""Titles, documents and tables of networks: any cells, any layers."""

import io
import json
from typing import Any

import numpy as np
import pytest
from random_networks import weight_shapes

from rnncli.model.cells import GRU, LSTM, Weights
from rnncli.model.description import describe, model_line
from rnncli.model.layers import Dense, Embedding, Masking, Normalization, Pointwise
from rnncli.model.network import Network
from rnncli.writers.weights import write_weights_table


def drawn(kind: type[LSTM] | type[GRU], I: int, H: int, **others: tuple[int, ...]) -> Weights:
    """Arrays of numbers each of which is another."""
    shapes = weight_shapes(I, H, kind.gates, others.get("W_hr", (H, H))[1]) | others
    arrays, start = {}, 1
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        arrays[name] = np.arange(start, start + size, dtype="f").reshape(shape)
        start += size
    return Weights(**arrays)


DESCRIBED: dict[str, tuple[list[Any], str, dict[str, Any]]] = {
    "peepholes, projection": (
        [LSTM(drawn(LSTM, 1, 4, w_ch=(12,), W_hr=(4, 2)), output_activation="linear")],
        "LSTM: I = 1, H = 4, P = 2, tanh, output linear, peepholes",
        {"projected_sizes": [2], "peepholes": True},
    ),
    "layers around": (
        [
            Embedding(np.ones((9, 2)), mask_zero=True),
            GRU(drawn(GRU, 2, 3), "relu", "hard_sigmoid", 2.0, reset="before"),
            Dense(np.ones((3, 4)), activation="softmax"),
        ],
        "GRU: I = 1, Embedding 2 mask_zero, H = 3, relu, gates hard_sigmoid:0.2,0.5, clip 2.0, "
        "reset before, Dense 4 softmax",
        {
            "layers": [
                {"layer": "embedding", "input_size": 1, "output_size": 2, "mask_zero": True},
                {"layer": "recurrent", "input_size": 2, "output_size": 3},
                {"layer": "dense", "input_size": 3, "output_size": 4, "activation": "softmax"},
            ]
        },
    ),
    "no state": (
        [Masking(-1, 2), Normalization([0, 0], [1, 1]), Pointwise("relu", 2)],
        "Network: I = 2, Masking -1.0, Normalization, Activation relu",
        {"cell": [], "hidden_sizes": []},
    ),
}


@pytest.mark.parametrize(("layers", "line", "part"), DESCRIBED.values(), ids=DESCRIBED)
def test_a_network_is_described(layers: list[Any], line: str, part: dict[str, Any]) -> None:
    described = describe(Network(*layers), {"seed": 7}, "1")
    assert json.loads(json.dumps(described)) == described
    assert model_line(described) == f"{line}, seed 7"
    assert {name: described[name] for name in part} == part


NETWORK = Network(
    Embedding(np.full((3, 2), 0.5)),
    LSTM(drawn(LSTM, 2, 3, w_ch=(9,), W_hr=(3, 3))),
    GRU(drawn(GRU, 3, 2, b_n=(2,))),
    Dense(np.full((2, 1), 0.25), [0.75]),
)


def table(network: Network) -> list[str]:
    out = io.StringIO()
    write_weights_table(out, network, describe(network, {}, "1"))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("columns", ["40", "80"])
def test_every_array_of_any_cell_is_drawn(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = table(NETWORK)
    titles = [line for line in lines if line.endswith(")")]
    assert [titles[n] for n in (0, 1, 5, 6, -1)] == [
        "layer 1: W  (3, 2)",
        "layer 2, forward: W_xh  (2, 12)",
        "layer 2, forward: W_hr  (3, 3)",
        "layer 3, forward: W_xh  (3, 6)",
        "layer 4: b  (1,)",
    ]
    assert max(map(len, lines[1:])) <= int(columns)


def test_columns_stand_under_their_gate() -> None:
    lines = table(Network(LSTM(drawn(LSTM, 1, 1, w_ch=(3,), W_hr=(1, 1)))))
    rows = [line.split() for line in lines if line.strip() and "─" not in line]
    assert rows[2:4] == [["i_0", "f_0", "g_0", "o_0"], ["x_0", "1.0", "2.0", "3.0", "4.0"]]
    assert rows[11:13] == [["i_0", "f_0", "o_0"], ["13.0", "14.0", "15.0"]]
    assert rows[14:] == [["h_0"], ["c_0", "16.0"]]
