"""Recorded cases: what other libraries computed, to check against where they are not installed."""

import json
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.activations import parse
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import RNN, WEIGHT_NAMES, Weights
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network

# A file each, named so.
PEERS = ("keras", "torch", "onnxruntime")


class RecordedCase(NamedTuple):
    """A small network, what it ran on, and the states that a peer gave, all in float32.

    Parameters
    ----------
    name : str
        Library, version and what is special, as in ``Keras 3.15.1: two
        bidirectional layers, sum, lengths 5, 2``. No two cases share one.
    peer : str
        Which peer computed it, one of `PEERS`.
    version : str
        Of the peer's library.
    network : Network
    x : array, shape (N, T, I)
        Input at every step; what stands beyond the end of a sequence does
        not count.
    h0 : array, shape (N, S)
        Initial state of all cells, in the order of ``network.cells``.
    lengths : array of int, shape (N,), optional
        Number of steps of each sequence; None where all have T.
    h : array, shape (N, T, output_size)
        States of the top layer; zeros beyond the end of a sequence.
    h_n : array, shape (N, S)
        Final state of all cells; of a backward one that at t = 1.
    seed : int, optional
        From which the peer's own initialisation drew the weights, as
        `rnncli.seeded` does; None where they were chosen.
    """

    name: str
    peer: str
    version: str
    network: Network
    x: Floats
    h0: Floats
    lengths: Integers | None
    h: Floats
    h_n: Floats
    seed: int | None = None


def recorded_cases() -> Iterator[RecordedCase]:
    """Read the recorded cases, a peer's after the other's."""
    for peer in PEERS:
        text = Path(__file__).with_name(f"{peer}.json").read_text(encoding="utf-8")
        document = json.loads(text)
        source = f"{document['library']} {document['version']}"
        for case in document["cases"]:
            lengths = case.get("lengths")
            yield RecordedCase(
                name=f"{source}: {case['name']}",
                peer=peer,
                version=document["version"],
                network=Network(*map(_layer, case["layers"])),
                lengths=None if lengths is None else np.array(lengths, np.intp),
                seed=case.get("seed"),
                **{name: np.array(case[name], np.float32) for name in ("x", "h0", "h", "h_n")},
            )


def _layer(layer: dict[str, Any]) -> Recurrent:
    cells = map(_cell, layer["cells"])
    return Recurrent(*cells, direction=layer["direction"], merge=layer["merge"])


def _cell(cell: dict[str, Any]) -> RNN:
    weights = Weights(*(np.array(cell[name], np.float32) for name in WEIGHT_NAMES))
    return RNN(weights, parse(cell["activation"]), cell.get("clip", inf))


class Notebook(NamedTuple):
    """What the notebook printed, see its ``source`` in the file.

    Parameters
    ----------
    network : Network
        The weights of cell 5.
    x : array, shape (T, 1)
    states : dict of arrays, shape (T, 4)
        The states of cells 6 and 7, by the cell's name.
    """

    network: Network
    x: Floats
    states: dict[str, Floats]


def notebook() -> Notebook:
    """Read the notebook's numbers."""
    text = Path(__file__).with_name("notebook.json").read_text(encoding="utf-8")
    printed = {
        name: np.array(values, np.float32)
        for name, values in json.loads(text).items()
        if name != "source"
    }
    states = {f"cell {number}": printed[f"cell_{number}"] for number in (6, 7)}
    weights = Weights(*(printed[name] for name in WEIGHT_NAMES))
    return Notebook(Network(weights), printed["x"][:, None], states)
