"""The recorded cases against the peers that are installed."""

import json
from pathlib import Path

import numpy as np
import pytest
import recorded_cases as recorded
from recorded_cases import FOLDER, RecordedCase, recorded_cases

from peers import record
from peers.networks import Array, furthest
from rnncli.model.layers import Recurrent
from rnncli.verify import peers
from rnncli.verify.peers import PEERS

EACH_PEER = pytest.mark.parametrize("peer", PEERS)
# Keras draws a recurrent kernel by a QR in float32, whose last digits are the processor's.
DRAWS = {"keras": 2e-5, "torch": 0, "onnxruntime": 0}


@EACH_PEER
def test_recording_again_gives_the_same_networks_and_inputs(peer: str) -> None:
    cases = [case for case in recorded_cases() if case.peer == peer]
    for recorded_case, plan in zip(cases, record.plans(peer), strict=True):
        assert recorded_case.name.endswith(f": {plan.name}")
        assert recorded_case.seed == plan.seed
        case, again = recorded_case.case, record.case_of(peer, plan)
        np.testing.assert_array_equal(case.x, again.x, strict=True)
        np.testing.assert_array_equal(case.h0, again.h0, strict=True)
        np.testing.assert_array_equal(case.lengths, again.lengths)
        atol = DRAWS[peer] if plan.seed else 0
        for layer, planned in zip(case.network.layers, again.network.layers, strict=True):
            assert isinstance(layer, Recurrent)
            assert isinstance(planned, Recurrent)
            assert (layer.direction, layer.merge) == (planned.direction, planned.merge)
            for cell, drawn in zip(layer.cells, planned.cells, strict=True):
                assert cell.settings == drawn.settings
                arrays, expected = cell.weights.arrays, drawn.weights.arrays
                assert list(arrays) == list(expected)
                for name in arrays:
                    np.testing.assert_allclose(
                        arrays[name], expected[name], rtol=0, atol=atol, strict=True
                    )


@EACH_PEER
def test_the_peer_gives_the_recorded_states(peer: str) -> None:
    distances = {
        recorded_case.name: furthest(run(recorded_case), [recorded_case.h, recorded_case.h_n])
        for recorded_case in recorded_cases()
        if recorded_case.peer == peer
    }
    # Other versions and processors may round in other places, over at most six steps.
    assert {name: far for name, far in distances.items() if far > 1e-6} == {}


@EACH_PEER
def test_files_are_as_the_script_writes_them(peer: str) -> None:
    written = (FOLDER / f"{peer}.json").read_text(encoding="utf-8")
    assert record.text(json.loads(written)) == written


def test_the_script_writes_what_it_records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plans = {peer: list(record.plans(peer))[:4] for peer in PEERS}
    monkeypatch.setattr(record, "plans", plans.get)
    for module in (record, recorded):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    record.main()
    again = list(recorded_cases())
    assert len(again) == 4 * len(PEERS)
    for recorded_case in again:
        assert furthest(run(recorded_case), [recorded_case.h, recorded_case.h_n]) == 0


def run(recorded_case: RecordedCase) -> list[Array]:
    """Run a case as it was recorded: with lengths where these differ."""
    network, x, h0, lengths, *_ = recorded_case.case
    masked = None if recorded_case.case.running().all() else lengths
    return list(peers.build(recorded_case.peer, network)(x, h0, masked)[:2])
