"""What other libraries computed, against what rnncli computes."""

from collections.abc import Iterable, Iterator
from itertools import chain
from math import inf, isinf
from pathlib import Path

import numpy as np
import pytest

import rnncli
from rnncli.engine.run import States
from rnncli.engine.unroll import UNROLLS
from rnncli.model.activations import ACTIVATIONS, parse
from rnncli.model.cells import RNN
from rnncli.model.layers import DIRECTIONS, MERGES, Recurrent
from rnncli.model.network import Network
from rnncli.verify import peers, recorded
from rnncli.verify.recorded import PEERS, RecordedCase, recorded_cases
from rnncli.verify.runs import difference

CASES = list(recorded_cases())
BY_PEER = {peer: [case for case in CASES if case.peer == peer] for peer in PEERS}
EACH_PEER = pytest.mark.parametrize("peer", PEERS)

# Two right programs in float32, over at most five steps and three layers.
TOLERANCE = 1e-6
# Keras's recurrent kernels are a QR in float32, ours in float64.
DRAWS = {"keras": 2e-5, "torch": 0}
KNOWN = {
    "keras": peers.keras.ACTIVATIONS,
    "torch": peers.torch.ACTIVATIONS,
    "onnxruntime": peers.onnxruntime.ACTIVATIONS,
}
# Direction and merge of a layer.
WAYS = {(direction, "concat") for direction in DIRECTIONS}
WAYS |= {("bidirectional", merge) for merge in MERGES}
KNOWN_WAYS = {
    peer: {way for way in WAYS if peer != "torch" or way[1] == "concat"} for peer in PEERS
}


def run(case: RecordedCase, network: Network | None = None, unroll: str = "auto") -> States:
    network = network or case.network
    return rnncli.run(network, case.x, case.h0, lengths=case.lengths, unroll=unroll)


def apart(states: States, case: RecordedCase) -> float:
    return max(difference(states.h, case.h), difference(states.h_n, case.h_n))


@pytest.mark.parametrize("unroll", ["auto", *UNROLLS])
@EACH_PEER
def test_states_are_the_recorded_ones(peer: str, unroll: str) -> None:
    distances = {case.name: apart(run(case, unroll=unroll), case) for case in BY_PEER[peer]}
    assert {name: far for name, far in distances.items() if far > TOLERANCE} == {}


@pytest.mark.parametrize("peer", DRAWS)
def test_seeds_give_the_recorded_weights(peer: str) -> None:
    cases = [case for case in BY_PEER[peer] if case.seed is not None]
    assert {len(case.network.layers) for case in cases} == {1, 2, 3}
    for case in cases:
        assert case.seed is not None
        layers = case.network.layers
        sizes = [layer.hidden_size for layer in layers]
        direction, merge = layers[0].direction, layers[0].merge
        drawn = rnncli.seeded(
            case.network.input_size, sizes, case.seed, peer, direction=direction, merge=merge
        )
        for ours, theirs in zip(drawn.cells, case.network.cells, strict=True):
            for array, expected in zip(ours.weights, theirs.weights, strict=True):
                np.testing.assert_allclose(array, expected, rtol=0, atol=DRAWS[peer], strict=True)


def ways(cases: Iterable[RecordedCase]) -> set[tuple[str, str]]:
    return {(layer.direction, layer.merge) for case in cases for layer in case.network.layers}


@EACH_PEER
def test_every_activation_is_recorded_in_every_way(peer: str) -> None:
    found = {
        (layer.direction, layer.merge, cell.activation.name)
        for case in BY_PEER[peer]
        for layer in case.network.layers
        for cell in layer.cells
    }
    assert found == {(*way, name) for way in KNOWN_WAYS[peer] for name in KNOWN[peer]}


@EACH_PEER
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_depth_is_recorded_in_every_way(peer: str, depth: int) -> None:
    cases = [case for case in BY_PEER[peer] if len(case.network.layers) == depth]
    assert ways(case for case in cases if len(ways([case])) == 1) == KNOWN_WAYS[peer]
    assert depth < 3 or any(len(ways([case])) == 3 for case in cases)


@EACH_PEER
def test_what_a_run_can_have_is_recorded_in_every_way(peer: str) -> None:
    cases = BY_PEER[peer]
    assert ways(case for case in cases if case.lengths is not None) == KNOWN_WAYS[peer]
    assert ways(case for case in cases if case.h0.any()) == KNOWN_WAYS[peer]
    assert ways(case for case in cases if not case.h0.any()) == KNOWN_WAYS[peer]
    clipped = ways(case for case in cases if not isinf(case.network.cells[0].clip))
    assert clipped == (KNOWN_WAYS[peer] if peer == "onnxruntime" else set())
    of_its_own = any(
        len({cell.activation for cell in layer.cells}) > 1
        for case in cases
        for layer in case.network.layers
    )
    assert of_its_own == (peer != "torch")


def test_cases_are_named_and_small() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        assert case.name.startswith(("Keras 3.", "PyTorch 2.", "ONNX Runtime 1."))
        assert f" {case.version}: " in case.name
        for array in (case.x, case.h0, case.h, case.h_n):
            assert array.dtype == np.float32
    files = list(Path(recorded.__file__).parent.glob("*.json"))
    assert {file.stem for file in files} >= set(PEERS)
    assert sum(file.stat().st_size for file in files) < 150_000


# Each with parameters that no case has.
OTHERS = {"affine": "affine:0.75,0.25", "scaled_tanh": "scaled_tanh:1.5,0.5"}
OTHERS |= {"leaky_relu": "leaky_relu:0.125", "elu": "elu:0.25"}
OTHERS |= {"thresholded_relu": "thresholded_relu:1.25"}


def faults(network: Network) -> Iterator[tuple[str, Network]]:
    """Give the network with one thing wrong, for each thing that can be."""
    for number, layer in enumerate(network.layers):
        for what, wrong in chain(wrong_cells(layer), wrong_ways(layer)):
            layers = list(network.layers)
            layers[number] = wrong
            yield f"layer {number + 1}: {what}", Network(*layers)


def wrong_cells(layer: Recurrent) -> Iterator[tuple[str, Recurrent]]:
    for number, cell in enumerate(layer.cells):
        for what, wrong in wrong_cell(cell):
            cells = list(layer.cells)
            cells[number] = wrong
            name = f"{layer.directions[number]}: {what}"
            yield name, Recurrent(*cells, direction=layer.direction, merge=layer.merge)


def wrong_cell(cell: RNN) -> Iterator[tuple[str, RNN]]:
    for name, array in cell.weights._asdict().items():
        if array.any():  # Keras draws no bias
            turned = cell.weights._replace(**{name: -array})
            yield f"the sign of {name}", cell._replace(weights=turned)
    for name in ACTIVATIONS:
        other = parse(OTHERS.get(name, name))
        if other != cell.activation:
            yield f"{other} for {cell.activation}", cell._replace(activation=other)
    if not isinf(cell.clip):
        yield "no clip", cell._replace(clip=inf)


def wrong_ways(layer: Recurrent) -> Iterator[tuple[str, Recurrent]]:
    if layer.direction != "bidirectional":
        other = "backward" if layer.direction == "forward" else "forward"
        yield other, Recurrent(*layer.cells, direction=other)
        return
    swapped = layer.cells[::-1]
    yield "directions swapped", Recurrent(*swapped, direction=layer.direction, merge=layer.merge)
    for merge in ("sum", "ave", "mul") if layer.merge != "concat" else ():
        if merge != layer.merge:
            yield merge, Recurrent(*layer.cells, direction=layer.direction, merge=merge)


@EACH_PEER
def test_a_case_tells_whatever_is_wrong(peer: str) -> None:
    missed = []
    for case in BY_PEER[peer]:
        wrong = {fault: run(case, network) for fault, network in faults(case.network)}
        if case.lengths is not None:
            wrong["all steps"] = run(case._replace(lengths=None))
        for number, part in enumerate(case.network.parts() if case.h0.any() else ()):
            h0 = case.h0.copy()
            h0[:, part.state] = 0
            wrong[f"no initial state of cell {number}"] = run(case._replace(h0=h0))
        for fault, states in wrong.items():
            if apart(states, case) < 100 * TOLERANCE:
                missed.append(f"{case.name}: {fault}")
    assert missed == []


def test_no_state_hangs_on_a_rounding() -> None:
    """A sum beside the threshold of an activation that jumps could fall to its other side."""
    for case in CASES:
        for shift in (-1e-5, 1e-5):
            states = run(case._replace(x=case.x + np.float32(shift)))
            assert apart(states, case) < 1e-3, case.name
