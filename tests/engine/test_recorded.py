"""States of other libraries equal those of rnncli."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import ROOT, RUNNABLE
from random_networks import difference

import rnncli
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import CELLS, Cell, Weights
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.verification import reference
from rnncli.verification.peers import PEERS

FOLDER = ROOT / "tests" / "data" / "recorded"
# Two right programs in float32, over at most five steps and three layers.
TOLERANCE = 1e-6


class RecordedCase(NamedTuple):
    """A small case, and the states that a peer computed, all in float32."""

    name: str  # library, version and what is special
    peer: str  # one of `PEERS`
    network: Network
    x: Floats  # (N, T, I); what stands beyond the end of a sequence does not count
    h0: Floats  # (N, S)
    lengths: Integers  # (N,)
    h: Floats  # output of the top layer, (N, T, O); zeros beyond the end of a sequence
    h_n: Floats  # final state of all cells, (N, S), as ``Network.state_slices`` places it


def recorded_cases() -> Iterator[RecordedCase]:
    """Read the recorded cases from a file a peer, one peer after the other."""
    for peer in PEERS:
        document = json.loads((FOLDER / f"{peer}.json").read_text(encoding="utf-8"))
        for recorded in document["cases"]:
            x, h0, h, h_n = (
                np.array(recorded[name], np.float32) for name in ("x", "h0", "h", "h_n")
            )
            N, T, _ = x.shape
            lengths = np.array(recorded.get("lengths", [T] * N), np.intp)
            yield RecordedCase(
                f"{document['library']} {document['version']}: {recorded['name']}",
                peer,
                Network(*map(_layer, recorded["layers"])),
                x,
                h0,
                lengths,
                h,
                h_n,
            )


def _layer(layer: dict[str, Any]) -> Recurrent:
    cells = (_cell(CELLS[layer.get("cell", "rnn")], cell) for cell in layer["cells"])
    return Recurrent(*cells, direction=layer["direction"], merge=layer["merge"])


def _cell(kind: Callable[..., Cell], cell: dict[str, Any]) -> Cell:
    """Make a cell of its arrays and its settings."""
    arrays = {name: np.array(cell[name], np.float32) for name in Weights._fields if name in cell}
    settings = {name: given for name, given in cell.items() if name not in arrays}
    return kind(Weights(**arrays), **settings)


CASES = list(recorded_cases())


@pytest.mark.parametrize("unroll", ["auto", *RUNNABLE])
@pytest.mark.parametrize("peer", PEERS)
def test_states_are_the_recorded_ones(peer: str, unroll: str) -> None:
    apart = {}
    for case in (each for each in CASES if each.peer == peer):
        states = rnncli.run(case.network, case.x, case.h0, lengths=case.lengths, unroll=unroll)
        apart[case.name] = max(difference(states.h, case.h), difference(states.h_n, case.h_n))
    assert {name: far for name, far in apart.items() if far > TOLERANCE} == {}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_reference_gives_the_recorded_states(case: RecordedCase) -> None:
    for x, h0, T, h, h_n in zip(case.x, case.h0, case.lengths, case.h, case.h_n, strict=True):
        result = reference.run(case.network, x[:T], h0)
        assert difference(result.outputs[-1], h[:T]) < TOLERANCE
        assert difference(result.h_n, h_n) < TOLERANCE
