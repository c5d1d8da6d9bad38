"""Recorded cases: what other libraries computed, to check against where they are not installed."""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnncli.engine.run import run
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, GRU, WEIGHT_NAMES, Cell, Weights
from rnncli.model.initializers import seeded
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.compared import Result, result_of
from rnncli.verify.comparison import Comparison, Verdict, distances
from rnncli.verify.peers import PEERS

# How far drawn weights may be from those recorded. Keras makes its recurrent kernels
# orthogonal in float32, and the wide ones of gated cells are better determined.
KERAS_WITHIN = {"rnn": 2e-5, "lstm": 1e-6, "gru": 1e-6}
NOTEBOOK_WITHIN = 2e-7  # they are printed with eight digits
# Two right programs in float32 over so few steps, relative to max(1, |h|) and max(1, |c|).
FINAL_WITHIN = 1e-6


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
        document = _read(peer)
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


def with_recorded() -> Iterator[Result]:
    """Run the recorded cases, and draw the weights of those that a seed gave."""
    yield from _with_notebook()
    for (name, cell), group in groupby(recorded_cases(), key=_library_and_cell):
        cases = list(group)
        kind = "" if cell == "rnn" else f"{cell.upper()} "
        verdicts = [_verdict(each) for each in cases]
        # The one furthest off stands for all.
        verdict = max(verdicts, key=lambda v: (not v.equal, v.difference))
        yield Result(f"{name}: {kind}states of {len(cases)} networks", verdict=verdict)
        seeded = [each for each in cases if each.seed is not None]
        if seeded:
            pairs = [(_drawn(each), each.case.network) for each in seeded]
            within = KERAS_WITHIN[cell] if seeded[0].peer == "keras" else 0.0
            seeds = "a seed" if len(seeded) == 1 else f"{len(seeded)} seeds"
            yield _weights(f"{name}: {kind}weights of {seeds}", pairs, within)


def _library_and_cell(recorded: RecordedCase) -> tuple[str, str]:
    """Return the library with its version, and the kind of the bottom cell."""
    (bottom, *_), *_ = (layer.cells for layer in recorded.case.network.layers)
    return recorded.name.partition(":")[0], _name_of(bottom)


def _name_of(cell: Cell) -> str:
    (name,) = (name for name, kind in CELLS.items() if isinstance(cell, kind))
    return name


def _verdict(recorded: RecordedCase) -> Verdict:
    """Judge our run of a case: h of every step, and the final states of all cells."""
    case = recorded.case
    states = run(case.network, case.x, case.h0, lengths=case.lengths, all_layers=True)
    verdict = Comparison(case, states.layers).judge(recorded.h)
    distance = distances(states.h_n, recorded.h_n)
    equal = bool((distance <= FINAL_WITHIN * np.maximum(1, np.abs(recorded.h_n))).all())
    difference = max(verdict.difference, float(distance.max(initial=0)))
    return verdict._replace(equal=verdict.equal and equal, difference=difference)


def _with_notebook() -> Iterator[Result]:
    """Compare with what the notebook printed: weights in cell 5, states in cells 6 and 7."""
    document = _read("notebook")
    printed = {name: np.array(document[name], np.float32) for name in document if name != "source"}
    drawn = seeded(1, 4, 1, "tensorflow")
    network = Network(Weights(*(printed[name] for name in WEIGHT_NAMES)))
    yield _weights("the notebook: weights of seed 1", [(drawn, network)], NOTEBOOK_WITHIN)
    x = printed["x"][None, :, None]
    case = Case(drawn, x, np.zeros((1, 4), np.float32), np.array([x.shape[1]]), "tf32")
    for number in (6, 7):
        name = f"the notebook: cell {number}, `precision` tf32"
        yield result_of(Comparison(case, case.outputs()), name, printed[f"cell_{number}"][None])


def _drawn(recorded: RecordedCase) -> Network:
    """Draw the network of a case from its seed."""
    network = recorded.case.network
    layers = [layer for layer in network.layers if isinstance(layer, Recurrent)]
    ((direction, merge),) = {(layer.direction, layer.merge) for layer in layers}
    sizes = [layer.hidden_size for layer in layers]
    cell = layers[0].cells[0]
    settings = {"reset": cell.settings["reset"]} if isinstance(cell, GRU) else {}
    return seeded(
        network.input_size,
        sizes,
        recorded.seed or 0,
        recorded.peer,
        direction=direction,
        merge=merge,
        cell=_name_of(cell),
        **settings,
    )


def _weights(name: str, pairs: Iterable[tuple[Network, Network]], within: float) -> Result:
    """Judge drawn weights by their distance from those recorded."""
    largest = max(
        float(np.abs(ours - theirs).max(initial=0.0))
        for networks in pairs
        for ours, theirs in zip(*map(_arrays, networks), strict=True)
    )
    return Result(name, verdict=Verdict(largest <= within, largest))


def _arrays(network: Network) -> list[Floats]:
    return [
        array
        for layer in network.layers
        for cell in layer.cells
        for array in cell.weights.arrays.values()
    ]


def _read(name: str) -> Any:
    return json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))


def _layer(layer: dict[str, Any]) -> Recurrent:
    cells = (_cell(CELLS[layer.get("cell", "rnn")], cell) for cell in layer["cells"])
    return Recurrent(*cells, direction=layer["direction"], merge=layer["merge"])


def _cell(kind: Callable[..., Cell], cell: dict[str, Any]) -> Cell:
    """Make a cell of its arrays and its settings."""
    arrays = {name: np.array(cell[name], np.float32) for name in Weights._fields if name in cell}
    settings = {name: given for name, given in cell.items() if name not in arrays}
    return kind(Weights(**arrays), **settings)
