"""The recorded cases against the peers that are installed."""

import json
from pathlib import Path

import numpy as np
import pytest

from peers import record
from peers.networks import furthest
from rnncli.verify import peers, recorded
from rnncli.verify.recorded import PEERS, recorded_cases

EACH_PEER = pytest.mark.parametrize("peer", PEERS)
# Keras draws a recurrent kernel by a QR in float32, whose last digits are the processor's.
DRAWS = {"keras": 2e-5, "torch": 0, "onnxruntime": 0}


@EACH_PEER
def test_recording_again_gives_the_same_networks_and_inputs(peer: str) -> None:
    cases = [case for case in recorded_cases() if case.peer == peer]
    for case, plan in zip(cases, record.plans(peer), strict=True):
        network, x, h0, lengths = record.given(peer, plan)
        assert case.name.endswith(f": {plan.name}")
        assert case.seed == plan.seed
        np.testing.assert_array_equal(case.x, x, strict=True)
        np.testing.assert_array_equal(case.h0, h0, strict=True)
        np.testing.assert_array_equal(case.lengths, lengths)
        for layer, planned in zip(case.network.layers, network.layers, strict=True):
            assert (layer.direction, layer.merge) == (planned.direction, planned.merge)
        for cell, drawn in zip(case.network.cells, network.cells, strict=True):
            assert (cell.activation, cell.clip) == (drawn.activation, drawn.clip)
            atol = DRAWS[peer] if plan.seed else 0
            for array, expected in zip(cell.weights, drawn.weights, strict=True):
                np.testing.assert_allclose(array, expected, rtol=0, atol=atol, strict=True)


@EACH_PEER
def test_the_peer_gives_the_recorded_states(peer: str) -> None:
    distances = {}
    for case in recorded_cases():
        if case.peer == peer:
            h, h_n, _ = peers.build(peer, case.network)(case.x, case.h0, case.lengths)
            distances[case.name] = furthest([h, h_n], [case.h, case.h_n])
    # Other versions and processors may round in other places, over at most six steps.
    assert {name: far for name, far in distances.items() if far > 1e-6} == {}


@EACH_PEER
def test_files_are_as_the_script_writes_them(peer: str) -> None:
    written = (Path(recorded.__file__).parent / f"{peer}.json").read_text(encoding="utf-8")
    assert record.text(json.loads(written)) == written


def test_the_script_writes_what_it_records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plans = {peer: list(record.plans(peer))[:4] for peer in PEERS}
    monkeypatch.setattr(record, "plans", plans.get)
    monkeypatch.setattr(recorded, "__file__", str(tmp_path / "__init__.py"))
    record.main()
    again = list(recorded_cases())
    assert len(again) == 4 * len(PEERS)
    for case in again:
        h, h_n, _ = peers.build(case.peer, case.network)(case.x, case.h0, case.lengths)
        assert furthest([h, h_n], [case.h, case.h_n]) == 0
