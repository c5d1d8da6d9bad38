"""States of other libraries equal those of rnncli."""

import pytest
from conftest import RUNNABLE
from loop import difference
from recorded_cases import RecordedCase, recorded_cases

import rnncli
from rnncli.engine.run import States
from rnncli.verification.case import Case
from rnncli.verification.peers import PEERS

CASES = list(recorded_cases())
BY_PEER = {peer: [case for case in CASES if case.peer == peer] for peer in PEERS}
EACH_PEER = pytest.mark.parametrize("peer", PEERS)

# Two right programs in float32, over at most five steps and three layers.
TOLERANCE = 1e-6


def run(case: Case, unroll: str = "auto") -> States:
    return rnncli.run(case.network, case.x, case.h0, lengths=case.lengths, unroll=unroll)


def apart(states: States, recorded: RecordedCase) -> float:
    return max(difference(states.h, recorded.h), difference(states.h_n, recorded.h_n))


@pytest.mark.parametrize("unroll", ["auto", *RUNNABLE])
@EACH_PEER
def test_states_are_the_recorded_ones(peer: str, unroll: str) -> None:
    distances = {case.name: apart(run(case.case, unroll), case) for case in BY_PEER[peer]}
    assert {name: far for name, far in distances.items() if far > TOLERANCE} == {}
