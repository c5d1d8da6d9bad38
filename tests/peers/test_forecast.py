"""Forecasts equal the same loop in Keras, PyTorch and ONNX Runtime.

All networks forget, so that the loops can be compared as whole runs.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnncli
from peers.nets import Array, Plan, drawn, network
from rnncli.model.layers import Dense, Embedding, Normalization
from rnncli.model.network import Network
from rnncli.verification import peers
from rnncli.verification.case import case_of_batch

BOTTOMS = (Embedding, Normalization)
STEPS, CUT, LENGTHS = 7, 5, (9, 6)
# Layers of three inputs and three outputs.
PLANS: dict[str, tuple[Plan, ...]] = {
    "rnn": (Plan("rnn"),),
    "relu": (Plan("rnn", settings={"activation": ("relu",)}),),
    "lstm": (Plan("lstm"),),
    "gru": (Plan("gru", extra=("b_n",)),),
    "two lstms": (Plan("lstm", 5), Plan("lstm", 3)),
    "gru on rnn": (Plan("rnn", 5), Plan("gru", 4, extra=("b_n",))),
    "three grus": (Plan("gru", extra=("b_n",)),) * 3,
}
MODELS: dict[str, Network] = {
    name: network(*plans, above=[Dense(drawn(plans[-1].size, 3), drawn(3))])
    for name, plans in PLANS.items()
}
MODELS["two heads"] = network(
    Plan("lstm"), above=[Dense(drawn(4, 6), drawn(6), "tanh"), Dense(drawn(6, 3), drawn(3))]
)
MODELS["normalization"] = network(
    Plan("lstm"),
    below=[Normalization(drawn(3), drawn(3, seed=2) + 2)],
    above=[Dense(drawn(4, 3), drawn(3))],
)
MODELS["indices"] = Network(
    Embedding(drawn(7, 3) * 3), *network(Plan("gru", extra=("b_n",))).layers, Dense(drawn(4, 7) * 3)
)


def below(model: Network, x: Array) -> Array:
    """Compute the bottom layer, which not every library builds."""
    bottom = model.layers[0]
    if isinstance(bottom, Embedding):
        return np.asarray(bottom.arrays["W"][x[:, 0].astype(int)])
    if isinstance(bottom, Normalization):
        return np.asarray((x - bottom.arrays["center"]) / bottom.arrays["scale"], "f")
    return x


def loop(name: str, model: Network, x: Array) -> Array:
    """Forecast in a library: after each step it runs the whole sequence again."""
    above = Network(*(each for each in model.layers if not isinstance(each, BOTTOMS)))
    peer, start = peers.build(name, above), len(x)
    for _ in range(STEPS):
        case = case_of_batch(above, below(model, x))
        y = peer(case.x, case.groups, case.h0)[-1][-1]
        x = np.concatenate([x, [y if model.indices is None else [y.argmax()]]], dtype="f")
    return x[start:]


@pytest.mark.parametrize("name", ["keras", "torch", "onnxruntime"])
@pytest.mark.parametrize("model", MODELS)
def test_the_same_loop(name: str, model: str, tmp_path: Path) -> None:
    """By `forecast`, and by key in two nights with a state between them."""
    net, random = MODELS[model], np.random.RandomState(1)
    sequences = [random.normal(size=(T, net.input_size)).astype("f") for T in LENGTHS]
    if net.indices:
        sequences = [random.randint(0, net.indices, (T, 1)).astype("f") for T in LENGTHS]
    theirs = [loop(name, net, x) for x in sequences]
    for x, expected in zip(sequences, theirs, strict=True):
        found = rnncli.forecast(net, x, STEPS)
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
    for night, part in enumerate((slice(CUT), slice(CUT, None))):
        rows = [(k, *row) for k, x in enumerate(sequences) for row in x[part].tolist()]
        file, out = tmp_path / f"{night}.csv", tmp_path / f"{night}.jsonl"
        np.savetxt(file, rows, "%.9g", ",")
        rnncli.score(
            *(file, net, out),
            group_by=[1],
            state=tmp_path / "state.npz",
            ahead=STEPS,
            missing="zero",
        )
    lines: list[dict[str, Any]] = [*map(json.loads, out.read_text().splitlines())]
    for key, expected in enumerate(theirs):
        own = [line for line in lines if float(line["key"]["column_1"]) == key]
        found = np.array([line["x"] for line in own if line["t"] > LENGTHS[key]])
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
