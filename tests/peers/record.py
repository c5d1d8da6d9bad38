"""Record what the peers compute: ``python -m peers.record`` in ``tests`` writes the cases.

Weights are a peer's own draws from a seed, or chosen and of two decimals,
as inputs and initial states are. States are the shortest text of each
float32. The same case has the same numbers for every peer.
"""

import json
import os
from collections.abc import Iterator
from itertools import product
from math import inf
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from recorded_cases import FOLDER

from peers.draws import Stack, keras_network, torch_network
from rnncli.model.activations import ACTIVATIONS, Activation
from rnncli.model.cells import CELLS, Cell, Weights
from rnncli.model.layers import DIRECTIONS, MERGES, Recurrent
from rnncli.model.network import Network
from rnncli.verify import peers
from rnncli.verify.case import Case
from rnncli.verify.peers import keras, onnxruntime, torch

Array = NDArray[np.floating]

LIBRARIES = {"keras": "Keras", "torch": "PyTorch", "onnxruntime": "ONNX Runtime"}
# Parameters, where an activation has some; the hard_sigmoid of Keras has its own.
PARAMETERS = {
    "affine": "0.8,0.1",
    "leaky_relu": "0.25",
    "thresholded_relu": "0.5",
    "scaled_tanh": "1.25,0.75",
    "hard_sigmoid": "0.2,0.5",
    "elu": "0.5",
}
OF_KERAS = {"hard_sigmoid": f"{1 / 6!r},0.5"}
COUNTED = {1: "a", 2: "two", 3: "three"}

# The numbers of a case come from its name. Where the first ones hide a fault
# that tests/test_recorded.py tries (an initial state of which relu lets nothing
# through, say), later ones are taken.
NUMBERS = {
    "a forward layer, relu": 1,
    "a bidirectional layer, sum, relu": 1,
    "a bidirectional layer, mul, relu": 1,
    "a backward layer, thresholded_relu:0.5": 1,
    "a bidirectional layer, sum, thresholded_relu:0.5": 1,
    "a bidirectional layer, mul, thresholded_relu:0.5": 6,
    "a bidirectional layer, sum, clip 1": 1,
    "a bidirectional layer, ave, clip 1": 1,
    "a bidirectional LSTM layer, concat, clip 0.75": 1,
    "a bidirectional layer, concat, relu6": 2,
}


# Activations that cells seldom have: each is recorded in both directions at once.
OF_MODELS = ("relu6", "silu", "gelu", "gelu_tanh", "selu", "mish", "hard_silu")


class LayerPlan(NamedTuple):
    """A layer before it has weights."""

    direction: str
    merge: str = "concat"
    activations: tuple[str, ...] = ("tanh", "tanh")  # of its directions
    size: int = 2
    cell: str = "rnn"
    settings: tuple[tuple[str, tuple[Any, Any]], ...] = ()  # others, of its directions
    extra: tuple[str, ...] = ()  # arrays beside the three of every cell


class Plan(NamedTuple):
    """What a peer is to run."""

    name: str
    layers: tuple[LayerPlan, ...]
    steps: int
    features: int = 1
    lengths: tuple[int, ...] = (0,)  # 0: all steps
    started: bool = True
    clip: float = inf
    seed: int | None = None


def plans(peer: str) -> Iterator[Plan]:
    """Yield what is recorded of a peer."""
    known = MERGES if peer != "torch" else ("concat",)
    ways = [("forward", "concat"), ("backward", "concat")]
    ways += [("bidirectional", merge) for merge in known]
    for seed, (way, depth) in enumerate(product(ways, COUNTED), start=1):
        yield _stack(LayerPlan(*way), depth, seed if peer in DRAWS else None)
    for activation, way in product(activations(peer), ways):
        layer = LayerPlan(*way, (activation, activation))
        if activation not in OF_MODELS or way == ("bidirectional", "concat"):
            yield Plan(f"{_named(layer)}, {activation}", (layer,), 6)
    for layer in map(LayerPlan, *zip(*ways, strict=True)) if peer == "onnxruntime" else ():
        yield Plan(f"{_named(layer)}, clip 1", (layer,), 6, clip=1.0)
    merge, inner = ("concat", "relu") if peer == "torch" else ("mul", "softsign")
    middle = LayerPlan("bidirectional", merge, (inner, inner))
    name = f"a backward, a bidirectional and a forward layer, {merge}, {inner} in the middle"
    layers = (LayerPlan("backward", size=3), middle, LayerPlan("forward", size=3))
    yield Plan(f"{name}, lengths 2, 4", layers, 4, features=2, lengths=(2, 4))
    if peer != "torch":
        layer = LayerPlan("bidirectional", activations=("elu:0.5", "sigmoid"))
        yield Plan(f"{_named(layer)}, elu:0.5 forward, sigmoid backward", (layer,), 6)
    for cell in ("lstm", "gru"):
        yield from gated_plans(peer, cell)


def gated_plans(peer: str, cell: str) -> Iterator[Plan]:
    """Yield what is recorded of a peer's LSTM or GRU."""
    plain = LayerPlan("forward", cell=cell, extra=("b_n",) if cell == "gru" else ())
    kinds = {"": plain}
    if cell == "gru" and peer != "torch":
        kinds[", reset before"] = plain._replace(settings=RESET_BEFORE, extra=())
    for (what, kind), direction in product(kinds.items(), DIRECTIONS):
        layer = kind._replace(direction=direction)
        yield Plan(f"{_named(layer)}{what}", (layer,), 6)
    for (what, kind), seed in zip(kinds.items(), (1, 2), strict=False) if peer in DRAWS else ():
        layer = kind._replace(direction="bidirectional")
        name = f"{_named(layer, 2)}{what}, lengths 3, 2"
        yield Plan(name, (layer, layer), 3, lengths=(3, 2), seed=seed)
    both = plain._replace(direction="bidirectional")
    for name, layer in PARTICULARS[peer, cell].items():
        wide = both._replace(**layer)
        yield Plan(f"{_named(wide)}, {name}", (wide,), 6)
    if cell == "lstm":
        top = LayerPlan("backward", size=3, cell="gru", extra=("b_n",))
        layers = (both, top, LayerPlan("forward"))
        name = "a bidirectional LSTM, a backward GRU and a forward layer, lengths 2, 4"
        yield Plan(name, layers, 4, features=2, lengths=(2, 4))


RESET_BEFORE = (("reset", ("before", "before")),)
CLIP = (("clip", (0.75, 0.75)),)
GATES = (("recurrent_activation", (f"hard_sigmoid:{1 / 6!r},0.5", "softsign")),)
ONNX_GATES = (("recurrent_activation", ("hard_sigmoid:0.3,0.4", "softsign")),)
OUTPUTS = (("output_activation", ("leaky_relu:0.25", "scaled_tanh:1.25,0.75")),)
OWN = {"activations": ("elu:0.5", "sigmoid"), "settings": GATES}
# What a layer may have that not every library knows.
PARTICULARS: dict[tuple[str, str], dict[str, dict[str, Any]]] = {
    ("keras", "lstm"): {"activations of its own": OWN},
    ("keras", "gru"): {"activations of its own": OWN},
    ("torch", "lstm"): {"projection": {"size": 3, "extra": ("W_hr",)}},
    ("torch", "gru"): {},
    ("onnxruntime", "lstm"): {
        "activations of its own": {
            "activations": ("elu:0.5", "affine:0.8,0.1"),
            "settings": ONNX_GATES + OUTPUTS,
        },
        "peepholes": {"extra": ("w_ch",)},
        "clip 0.75": {"settings": CLIP},
    },
    ("onnxruntime", "gru"): {
        "activations of its own": {
            "activations": ("elu:0.5", "affine:0.8,0.1"),
            "settings": ONNX_GATES,
        },
        "clip 0.75": {"settings": CLIP},
        "reset before, clip 0.75": {"settings": CLIP + RESET_BEFORE, "extra": ()},
    },
}


def activations(peer: str) -> list[str]:
    """Name the activations of a peer beside tanh, with parameters."""
    members = {"keras": keras, "torch": torch, "onnxruntime": onnxruntime}
    given = PARAMETERS | (OF_KERAS if peer == "keras" else {})
    others = ACTIVATIONS.keys() - {"tanh", "exponential"}  # its states grow without end
    known = [name for name in ACTIVATIONS if name in members[peer].ACTIVATIONS and name in others]
    return [f"{name}:{given[name]}" if name in given else name for name in known]


def _stack(layer: LayerPlan, depth: int, seed: int | None) -> Plan:
    """Stack layers that are alike: one plain, two from an initial state, three of other lengths."""
    plain = Plan(_named(layer, depth), (layer,) * depth, 5, 2, started=False, seed=seed)
    if depth == 1:
        return plain
    if depth == 2:
        name = f"{plain.name}, from an initial state"
        return plain._replace(name=name, steps=3, lengths=(0, 0), started=True)
    return plain._replace(name=f"{plain.name}, lengths 5, 1, 3", lengths=(5, 1, 3))


def _named(layer: LayerPlan, depth: int = 1) -> str:
    merge = f", {layer.merge}" if layer.direction == "bidirectional" else ""
    kind = "" if layer.cell == "rnn" else f"{layer.cell.upper()} "
    return f"{COUNTED[depth]} {layer.direction} {kind}layer{'s' if depth > 1 else ''}{merge}"


# ONNX Runtime draws nothing.
DRAWS = {"keras": keras_network, "torch": torch_network}


def _drawn(peer: str, plan: Plan, seed: int) -> Network:
    """Let the peer draw the weights of layers that are alike."""
    layer = plan.layers[0]
    stack = Stack(
        (layer.size,) * len(plan.layers),
        layer.direction,
        layer.merge,
        layer.cell,
        reset="before" if layer.settings == RESET_BEFORE else "after",
        features=plan.features,
    )
    return DRAWS[peer](stack, seed)


def _chosen(plan: Plan, random: np.random.RandomState) -> Network:
    """Choose weights."""
    made: list[Recurrent] = []
    for layer in plan.layers:
        I = made[-1].output_size if made else plan.features
        cells = []
        for way, _ in enumerate(DIRECTIONS[layer.direction]):
            own: dict[str, Any] = {"activation": layer.activations[way], "clip": plan.clip}
            own |= {name: both[way] for name, both in layer.settings}
            cells.append(CELLS[layer.cell](_weights(layer, random, I), **own))
        made.append(Recurrent(*cells, direction=layer.direction, merge=layer.merge))
    return Network(*made)


def _weights(layer: LayerPlan, random: np.random.RandomState, I: int) -> Weights:
    H, gates = layer.size, CELLS[layer.cell].gates
    P = H - 1 if "W_hr" in layer.extra else H
    W_xh, b_h = _values(random, (I, gates * H), 0.5, 1), _values(random, (gates * H,), 0.1, 0.3)
    W_hh = np.concatenate([_contracting(random, P, H) for _ in range(gates)], axis=1)
    shapes: dict[str, tuple[int, ...]] = {"b_n": (H,), "w_ch": (3 * H,), "W_hr": (H, P)}
    extra = {name: _values(random, shapes[name], 0.1, 0.9) for name in layer.extra}
    return Weights(W_xh, W_hh, b_h, **extra)


def _contracting(random: np.random.RandomState, rows: int, H: int) -> Array:
    """Choose recurrent weights that shrink what differs between two states, and so rounding."""
    while np.linalg.norm(W_hh := _values(random, (rows, H), 0.1, 0.9), 2) > 0.9:
        pass
    return W_hh


def _values(
    random: np.random.RandomState, shape: tuple[int, ...], smallest: float, largest: float
) -> Array:
    """Choose numbers of two decimals and of these sizes, with any sign."""
    sizes = random.uniform(smallest, largest, shape).round(2)
    values: Array = (sizes * random.choice([-1, 1], shape)).astype(np.float32)
    return values


def case_of(peer: str, plan: Plan) -> Case:
    """Make a network and its input."""
    random = np.random.RandomState(crc32(plan.name.encode()) + NUMBERS.get(plan.name, 0))
    network = _chosen(plan, random) if plan.seed is None else _drawn(peer, plan, plan.seed)
    N = len(plan.lengths)
    x = _values(random, (N, plan.steps, plan.features), 0.1, 2)
    h0 = _values(random, (N, network.state_size), 0.3, 1) * np.float32(plan.started)
    return Case(network, x, h0, np.array([length or plan.steps for length in plan.lengths]))


def record(peer: str) -> dict[str, Any]:
    """Run all that is recorded of a peer."""
    version = str(peers.version(peer)).partition("+")[0]
    cases = [_recorded(peer, plan) for plan in plans(peer)]
    return {"library": LIBRARIES[peer], "version": version, "cases": cases}


def _recorded(peer: str, plan: Plan) -> dict[str, Any]:
    case = case_of(peer, plan)
    lengths = case.lengths if any(plan.lengths) else None
    states = peers.build(peer, case.network)(case.x, case.h0, lengths)
    layers = [_layer(layer) for layer in case.network.layers if isinstance(layer, Recurrent)]
    arrays = {"x": case.x, "h0": case.h0, "h": states.h, "h_n": states.h_n}
    document = {"name": plan.name, "layers": layers}
    document |= {name: numbers(array) for name, array in arrays.items()}
    if lengths is not None:
        document["lengths"] = lengths.tolist()
    return document if plan.seed is None else document | {"seed": plan.seed}


def _layer(layer: Recurrent) -> dict[str, Any]:
    (name,) = {name for name, kind in CELLS.items() for cell in layer.cells if type(cell) is kind}
    head = {} if name == "rnn" else {"cell": name}
    cells = [_cell(cell) for cell in layer.cells]
    return {**head, "direction": layer.direction, "merge": layer.merge, "cells": cells}


def _cell(cell: Cell) -> dict[str, Any]:
    """Describe a cell: its activation, the settings that are not the default, its arrays."""
    kind: Any = type(cell)
    usual = kind(cell.weights, cell.settings["activation"]).settings
    described = {
        name: str(given) if isinstance(given, Activation) else given
        for name, given in cell.settings.items()
        if name == "activation" or given != usual[name]
    }
    return described | {name: numbers(array) for name, array in cell.weights.arrays.items()}


def numbers(array: Array) -> Any:
    """Make lists of numbers whose texts are the shortest that read back to the same float32."""
    if array.ndim:
        return [numbers(row) for row in array]
    assert array.dtype == np.float32
    shortest = float(str(array))
    assert np.float32(shortest) == array
    return int(shortest) if shortest.is_integer() else shortest


def text(document: dict[str, Any]) -> str:
    """Write a file: a line for each case."""
    cases = ",\n".join(json.dumps(case, separators=(",", ":")) for case in document["cases"])
    head = json.dumps({name: document[name] for name in ("library", "version")})
    return f'{head[:-1]}, "cases": [\n{cases}\n]}}\n'


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    for peer in peers.PEERS:
        (FOLDER / f"{peer}.json").write_text(text(record(peer)), encoding="utf-8")


if __name__ == "__main__":
    main()
