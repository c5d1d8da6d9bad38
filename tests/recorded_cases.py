"""Small networks, and the states that other libraries computed."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from conftest import ROOT

from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, Cell, Weights
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.verification.case import Case
from rnncli.verification.peers import PEERS

FOLDER = ROOT / "tests" / "data" / "recorded"


class RecordedCase(NamedTuple):
    """A small case, and the states that a peer computed, all in float32.

    Parameters
    ----------
    name : str
        Library, version and what is special, as in ``Keras 3.15.1: two
        bidirectional layers, sum, lengths 5, 2``. No two cases share one.
    peer : str
        Which peer computed it, one of `PEERS`.
    case : Case
        What its input holds beyond the end of a sequence does not count.
    h : array, shape (N, T, O)
        Output of the top layer; zeros beyond the end of a sequence.
    h_n : array, shape (N, S)
        Final state of all cells, as ``Network.state_slices`` places it; of a
        backward one that at t = 1.
    seed : int, optional
        From which the peer's own initialisation drew the weights, as
        `rnncli.seeded` does; None where they were chosen.
    """

    name: str
    peer: str
    case: Case
    h: Floats
    h_n: Floats
    seed: int | None = None


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
                Case(Network(*map(_layer, recorded["layers"])), x, h0, lengths),
                h,
                h_n,
                recorded.get("seed"),
            )


def _layer(layer: dict[str, Any]) -> Recurrent:
    cells = (_cell(CELLS[layer.get("cell", "rnn")], cell) for cell in layer["cells"])
    return Recurrent(*cells, direction=layer["direction"], merge=layer["merge"])


def _cell(kind: Callable[..., Cell], cell: dict[str, Any]) -> Cell:
    """Make a cell of its arrays and its settings."""
    arrays = {name: np.array(cell[name], np.float32) for name in Weights._fields if name in cell}
    settings = {name: given for name, given in cell.items() if name not in arrays}
    return kind(Weights(**arrays), **settings)
