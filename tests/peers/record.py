"""Record what the peers compute: ``python -m peers.record`` in ``tests`` writes the cases anew.

Networks and inputs are those of the files: weights are a peer's own draws from
a seed, or chosen and of two decimals, as inputs and initial states are. States
are the shortest text of each float32. For a new case add what `described` gives
of it to a file of each peer, with its name, and run this.
"""

import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from recorded_cases import FOLDER, RecordedCase, recorded_cases

from rnncli.engine.run import States
from rnncli.model.activations import Activation
from rnncli.model.cells import CELLS, Cell
from rnncli.model.layers import Recurrent
from rnncli.verify import peers

LIBRARIES = {"keras": "Keras", "torch": "PyTorch", "onnxruntime": "ONNX Runtime"}


def run(recorded: RecordedCase) -> States:
    """Run a case in its peer: with lengths where these differ."""
    network, x, h0, lengths, *_ = recorded.case
    masked = None if recorded.case.running().all() else lengths
    return peers.build(recorded.peer, network)(x, h0, masked)


def record(peer: str) -> dict[str, Any]:
    """Run all cases of a peer."""
    version = str(peers.version(peer)).partition("+")[0]
    cases = []
    for each in recorded_cases():
        if each.peer == peer:
            h, h_n, *_ = run(each)
            cases.append(described(each._replace(h=h, h_n=h_n)))
    return {"library": LIBRARIES[peer], "version": version, "cases": cases}


def described(recorded: RecordedCase) -> dict[str, Any]:
    """Return a case as a file has it."""
    case = recorded.case
    layers = [_layer(layer) for layer in case.network.layers if isinstance(layer, Recurrent)]
    arrays = {"x": case.x, "h0": case.h0, "h": recorded.h, "h_n": recorded.h_n}
    document = {"name": recorded.name.partition(": ")[2], "layers": layers}
    document |= {name: numbers(array) for name, array in arrays.items()}
    if not case.running().all():
        document["lengths"] = case.lengths.tolist()
    return document if recorded.seed is None else document | {"seed": recorded.seed}


def _layer(layer: Recurrent) -> dict[str, Any]:
    (name,) = {name for name, kind in CELLS.items() for cell in layer.cells if type(cell) is kind}
    head = {} if name == "rnn" else {"cell": name}
    cells = [_cell(cell) for cell in layer.cells]
    return {**head, "direction": layer.direction, "merge": layer.merge, "cells": cells}


def _cell(cell: Cell) -> dict[str, Any]:
    """Describe a cell: its activation, the settings that are not the default, its arrays."""
    kind: Any = type(cell)
    usual = kind(cell.weights, cell.settings["activation"]).settings
    described = {
        name: str(given) if isinstance(given, Activation) else given
        for name, given in cell.settings.items()
        if name == "activation" or given != usual[name]
    }
    return described | {name: numbers(array) for name, array in cell.weights.arrays.items()}


def numbers(array: NDArray[np.floating]) -> Any:
    """Make lists of numbers whose texts are the shortest that read back to the same float32."""
    if array.ndim:
        return [numbers(row) for row in array]
    assert array.dtype == np.float32
    shortest = float(str(array))
    assert np.float32(shortest) == array
    return int(shortest) if shortest.is_integer() else shortest


def text(document: dict[str, Any]) -> str:
    """Return the text of a file: a line for each case."""
    cases = ",\n".join(json.dumps(case, separators=(",", ":")) for case in document["cases"])
    head = json.dumps({name: document[name] for name in ("library", "version")})
    return f'{head[:-1]}, "cases": [\n{cases}\n]}}\n'


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    for peer in peers.PEERS:
        (FOLDER / f"{peer}.json").write_text(text(record(peer)), encoding="utf-8")


if __name__ == "__main__":
    main()
