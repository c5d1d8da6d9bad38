"""The recorded cases against the peers that are installed."""

import json

import pytest
from conftest import NIGHTLY
from recorded_cases import FOLDER, recorded_cases

from peers import record
from peers.nets import furthest
from rnncli.verify.peers import PEERS


@pytest.mark.parametrize("peer", PEERS)
def test_the_peer_gives_the_recorded_states(peer: str) -> None:
    """Keras, which builds slowly, one of thirty but for the nightly run."""
    distances = {}
    cases = [each for each in recorded_cases() if each.peer == peer]
    for recorded in cases[:: 30 if peer == "keras" and not NIGHTLY else 1]:
        states = record.run(recorded)
        distances[recorded.name] = furthest(states[:2], [recorded.h, recorded.h_n])
    # Other versions and processors may round in other places, over at most six steps.
    assert {name: far for name, far in distances.items() if far > 1e-6} == {}


@pytest.mark.parametrize("peer", PEERS)
def test_files_are_as_the_script_writes_them(peer: str) -> None:
    written = (FOLDER / f"{peer}.json").read_text(encoding="utf-8")
    document = json.loads(written)
    cases = [record.described(each) for each in recorded_cases() if each.peer == peer]
    assert record.text(document | {"cases": cases}) == written
