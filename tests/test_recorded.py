"""What other libraries computed, against what rnncli computes."""

import numpy as np
import pytest
from conftest import RUNNABLE
from recorded_cases import RecordedCase, recorded_cases
from whole_runs import difference

import rnncli
from rnncli.engine.run import States
from rnncli.model.layers import Recurrent
from rnncli.verify.case import Case
from rnncli.verify.peers import PEERS


def kinds_of(case: RecordedCase) -> set[str]:
    return {type(cell).__name__ for layer in case.case.network.layers for cell in layer.cells}


CASES = list(recorded_cases())
BY_PEER = {peer: [case for case in CASES if case.peer == peer] for peer in PEERS}
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
