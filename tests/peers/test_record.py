"""The recorded cases, computed anew by the peers that are installed."""

import pytest
from conftest import NIGHTLY
from recorded_cases import recorded_cases

from peers.nets import furthest
from rnncli.verification import peers


@pytest.mark.parametrize("peer", peers.PEERS)
def test_the_peer_gives_the_recorded_states(peer: str) -> None:
    """Keras, which builds slowly, one of thirty but for the nightly run."""
    distances = {}
    cases = [each for each in recorded_cases() if each.peer == peer]
    for recorded in cases[:: 30 if peer == "keras" and not NIGHTLY else 1]:
        network, x, h0, lengths, *_ = recorded.case
        unequal = None if recorded.case.running().all() else lengths
        try:
            outputs = peers.build(peer, network)(x, h0, unequal)
        except peers.Unsupported:  # recorded by a script of its own
            continue
        distances[recorded.name] = furthest(outputs[-1:], [recorded.h])
    assert len(distances) > len(cases) / 100
    # Other versions and processors may round in other places, over at most six steps.
    assert {name: far for name, far in distances.items() if far > 1e-6} == {}
