"""What other libraries computed, against what rnncli computes."""

from collections.abc import Iterable, Iterator
from itertools import chain, combinations
from math import inf, isinf
from typing import Any

import numpy as np
import pytest
from conftest import RUNNABLE
from recorded_cases import FOLDER, RecordedCase, recorded_cases
from whole_runs import difference

import rnncli
from rnncli.engine.run import States
from rnncli.model.activations import ACTIVATIONS, Activation, parse
from rnncli.model.cells import GRU, LSTM, RNN, WEIGHT_NAMES, Cell, Weights
from rnncli.model.layers import DIRECTIONS, MERGES, Recurrent
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.peers import PEERS, keras, onnxruntime, torch


def kinds_of(case: RecordedCase) -> set[str]:
    return {type(cell).__name__ for layer in case.case.network.layers for cell in layer.cells}


CASES = list(recorded_cases())
BY_PEER = {peer: [case for case in CASES if case.peer == peer] for peer in PEERS}
VANILLA = {
    peer: [case for case in cases if kinds_of(case) == {"RNN"}] for peer, cases in BY_PEER.items()
}
EACH_PEER = pytest.mark.parametrize("peer", PEERS)

# Two right programs in float32, over at most five steps and three layers.
TOLERANCE = 1e-6
# Keras's recurrent kernels are a QR in float32, ours in float64; wide ones are better determined.
DRAWS = {
    ("keras", "rnn"): 2e-5,
    ("keras", "lstm"): 1e-6,
    ("keras", "gru"): 1e-6,
    ("torch", "rnn"): 0,
    ("torch", "lstm"): 0,
    ("torch", "gru"): 0,
}
KNOWN = {
    "keras": set(keras.ACTIVATIONS),
    "torch": set(torch.ACTIVATIONS),
    "onnxruntime": set(onnxruntime.ACTIVATIONS),
}
# Direction and merge of a layer.
WAYS = {(direction, "concat") for direction in DIRECTIONS}
WAYS |= {("bidirectional", merge) for merge in MERGES}
KNOWN_WAYS = {
    peer: {way for way in WAYS if peer != "torch" or way[1] == "concat"} for peer in PEERS
}


def run(case: Case, unroll: str = "auto") -> States:
    return rnncli.run(case.network, case.x, case.h0, lengths=case.lengths, unroll=unroll)


def apart(states: States, recorded: RecordedCase) -> float:
    return max(difference(states.h, recorded.h), difference(states.h_n, recorded.h_n))


@pytest.mark.parametrize("unroll", ["auto", *RUNNABLE])
@EACH_PEER
def test_states_are_the_recorded_ones(peer: str, unroll: str) -> None:
    distances = {case.name: apart(run(case.case, unroll), case) for case in BY_PEER[peer]}
    assert {name: far for name, far in distances.items() if far > TOLERANCE} == {}


@pytest.mark.parametrize(("peer", "cell"), DRAWS)
def test_seeds_give_the_recorded_weights(peer: str, cell: str) -> None:
    seeded = [case for case in BY_PEER[peer] if case.seed is not None]
    cases = [case for case in seeded if kinds_of(case) == {cell.upper()}]
    assert {len(layers_of(case)) for case in cases} == ({1, 2, 3} if cell == "rnn" else {2})
    for case in cases:
        assert case.seed is not None
        layers = layers_of(case)
        bottom = layers[0].cells[0]
        settings = {"reset": bottom.settings["reset"]} if cell == "gru" else {}
        drawn = rnncli.seeded(
            layers[0].input_size,
            [layer.hidden_size for layer in layers],
            case.seed,
            peer,
            direction=layers[0].direction,
            merge=layers[0].merge,
            cell=cell,
            **settings,
        )
        atol = DRAWS[peer, cell]
        for ours, theirs in zip(drawn.layers, layers, strict=True):
            for its, expected in zip(ours.cells, theirs.cells, strict=True):
                assert its.settings == expected.settings
                assert list(its.weights.arrays) == list(expected.weights.arrays)
                for name, array in its.weights.arrays.items():
                    wanted = expected.weights.arrays[name]
                    np.testing.assert_allclose(array, wanted, rtol=0, atol=atol, strict=True)


def layers_of(case: RecordedCase) -> list[Recurrent]:
    layers = [layer for layer in case.case.network.layers if isinstance(layer, Recurrent)]
    assert len(layers) == len(case.case.network.layers)
    return layers


def cells_of(layer: Recurrent) -> list[RNN | LSTM | GRU]:
    cells = [cell for cell in layer.cells if isinstance(cell, RNN | LSTM | GRU)]
    assert len(cells) == len(layer.cells)
    return cells


def ways(cases: Iterable[RecordedCase]) -> set[tuple[str, str]]:
    return {(layer.direction, layer.merge) for case in cases for layer in layers_of(case)}


@EACH_PEER
def test_every_activation_is_recorded_in_every_way(peer: str) -> None:
    found = {
        (layer.direction, layer.merge, cell.activation.name)
        for case in VANILLA[peer]
        for layer in layers_of(case)
        for cell in cells_of(layer)
    }
    both = ("bidirectional", "concat")
    seldom = {"relu6", "silu", "gelu", "gelu_tanh", "selu", "mish", "hard_silu"} & set(KNOWN[peer])
    usual = KNOWN[peer] - seldom - {"exponential"}  # whose states grow without end
    expected = {(*way, name) for way in KNOWN_WAYS[peer] for name in usual}
    assert found == expected | {(*both, name) for name in seldom}


@EACH_PEER
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_depth_is_recorded_in_every_way(peer: str, depth: int) -> None:
    cases = [case for case in VANILLA[peer] if len(layers_of(case)) == depth]
    assert ways(case for case in cases if len(ways([case])) == 1) == KNOWN_WAYS[peer]
    assert depth < 3 or any(len(ways([case])) == 3 for case in cases)


@EACH_PEER
def test_what_a_run_can_have_is_recorded_in_every_way(peer: str) -> None:
    cases = VANILLA[peer]
    assert ways(case for case in cases if not case.case.running().all()) == KNOWN_WAYS[peer]
    assert ways(case for case in cases if case.case.h0.any()) == KNOWN_WAYS[peer]
    assert ways(case for case in cases if not case.case.h0.any()) == KNOWN_WAYS[peer]
    clipped = ways(case for case in cases if not isinf(cells_of(layers_of(case)[0])[0].clip))
    assert clipped == (KNOWN_WAYS[peer] if peer == "onnxruntime" else set())
    of_its_own = any(
        len({cell.activation for cell in cells_of(layer)}) > 1
        for case in cases
        for layer in layers_of(case)
    )
    assert of_its_own == (peer != "torch")


@EACH_PEER
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_gated_cells_are_recorded_with_what_a_peer_has(peer: str, cell: str) -> None:
    cases = [case for case in BY_PEER[peer] if kinds_of(case) == {cell}]
    assert {layer.direction for case in cases for layer in layers_of(case)} == set(DIRECTIONS)
    assert all(case.case.h0.any() for case in cases if case.seed is None)
    settings = [each.settings for case in cases for each in cells_of(layers_of(case)[0])]
    arrays = {name for case in cases for name in cells_of(layers_of(case)[0])[0].weights.arrays}
    if cell == "GRU":
        resets = {own["reset"] for own in settings}
        assert resets == ({"after"} if peer == "torch" else {"after", "before"})
    assert any(not isinf(own["clip"]) for own in settings) == (peer == "onnxruntime")
    wanted = (
        {"b_n"} if cell == "GRU" else {"torch": {"W_hr"}, "onnxruntime": {"w_ch"}}.get(peer, set())
    )
    assert arrays - set(WEIGHT_NAMES) == wanted
    own_gates = len({own["recurrent_activation"] for own in settings}) > 1
    assert own_gates == (peer != "torch")
    assert any(not case.case.running().all() for case in cases) == (peer != "onnxruntime")


@EACH_PEER
def test_cells_of_all_kinds_are_recorded_in_one_network(peer: str) -> None:
    (case,) = (each for each in BY_PEER[peer] if kinds_of(each) == {"RNN", "LSTM", "GRU"})
    assert not case.case.running().all()


def test_cases_are_named_and_small() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        assert case.name.startswith(("Keras 3.", "PyTorch 2.", "ONNX Runtime 1."))
        for array in (case.case.x, case.case.h0, case.h, case.h_n):
            assert array.dtype == np.float32
    files = list(FOLDER.glob("*.json"))
    assert {file.stem for file in files} == set(PEERS)
    assert sum(file.stat().st_size for file in files) < 200_000


# Each with parameters that no case has.
OTHERS = {"affine": "affine:0.75,0.25", "scaled_tanh": "scaled_tanh:1.5,0.5"}
OTHERS |= {"leaky_relu": "leaky_relu:0.125", "elu": "elu:0.25"}
OTHERS |= {"thresholded_relu": "thresholded_relu:1.25", "power": "power:3"}
OTHERS |= {"maximum": "maximum:0.5", "minimum": "minimum:-0.5"}
# No case has a sum over 6.
ALIKE = {"relu", "relu6"}


def faults(case: RecordedCase) -> Iterator[tuple[str, Network]]:
    """Yield the network with one thing wrong, for each thing that can be."""
    for number, layer in enumerate(layers_of(case)):
        for what, wrong in chain(wrong_cells(layer), wrong_ways(layer)):
            layers = layers_of(case)
            layers[number] = wrong
            yield f"layer {number + 1}: {what}", Network(*layers)


def wrong_cells(layer: Recurrent) -> Iterator[tuple[str, Recurrent]]:
    for number, cell in enumerate(cells_of(layer)):
        for what, wrong in wrong_cell(cell):
            cells: list[Cell] = [*cells_of(layer)]
            cells[number] = wrong
            name = f"{layer.directions[number]}: {what}"
            yield name, Recurrent(*cells, direction=layer.direction, merge=layer.merge)


def wrong_cell(cell: RNN | LSTM | GRU) -> Iterator[tuple[str, Cell]]:
    weights = cell.weights
    for name, array in weights.arrays.items():
        if array.any():  # Keras draws no bias
            yield f"the sign of {name}", cell.replaced(weights._replace(**{name: -array}))
    for first, second in combinations(range(cell.gates), 2):
        order = list(range(cell.gates))
        order[first], order[second] = second, first
        yield f"gates {first} and {second} exchanged", cell.replaced(in_order(weights, order))
    if isinstance(cell, GRU) and cell.reset == "after":
        plain = weights._replace(b_n=None)
        yield "reset before", cell.replaced(plain, reset="before")
    for setting, given in cell.settings.items():
        for other in others(given):
            settings: dict[str, Any] = {setting: other}
            yield f"{setting} {other} for {given}", cell.replaced(**settings)


def others(given: Any) -> list[Any]:
    """Return what a setting could be instead."""
    if isinstance(given, Activation):
        known = [parse(OTHERS.get(name, name)) for name in ACTIVATIONS]
        unlike = [each for each in known if {each.name, given.name} != ALIKE]
        return [activation for activation in unlike if activation != given]
    if isinstance(given, bool):
        return [not given]
    if isinstance(given, float):
        return [inf] * (given < inf)
    return ["after"] * (given == "before")


def in_order(weights: Weights, order: list[int]) -> Weights:
    blocks = (np.split(array, len(order), axis=-1) for array in weights[:3])
    arrays = (np.concatenate([each[gate] for gate in order], axis=-1) for each in blocks)
    return weights._replace(**dict(zip(WEIGHT_NAMES, arrays, strict=True)))


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


@pytest.mark.slow
@EACH_PEER
def test_a_case_tells_whatever_is_wrong(peer: str) -> None:
    missed = []
    for recorded_case in BY_PEER[peer]:
        case = recorded_case.case
        N, T, _ = case.x.shape
        wrong = {
            fault: run(case._replace(network=network)) for fault, network in faults(recorded_case)
        }
        if not case.running().all():
            wrong["all steps"] = run(case._replace(lengths=np.full(N, T)))
        places = chain(*chain(*case.network.state_slices)) if case.h0.any() else ()
        for number, place in enumerate(places):
            h0 = case.h0.copy()
            h0[:, place] = 0
            wrong[f"no initial state of cell {number}"] = run(case._replace(h0=h0))
        for fault, states in wrong.items():
            if apart(states, recorded_case) < 100 * TOLERANCE:
                missed.append(f"{recorded_case.name}: {fault}")
    assert missed == []


def test_no_state_hangs_on_a_rounding() -> None:
    """A sum beside the threshold of an activation that jumps could fall to its other side."""
    for recorded_case in CASES:
        case = recorded_case.case
        for shift in (-1e-5, 1e-5):
            states = run(case._replace(x=case.x + np.float32(shift)))
            assert apart(states, recorded_case) < 1e-3, recorded_case.name
