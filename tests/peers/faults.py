"""Faults put into rnncli on purpose, to see that a test notices."""

from collections.abc import Callable, Iterator
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

from rnncli.engine.unroll import fastest
from rnncli.model.cells import Cell, State, Weights

Change = Callable[[Weights], Weights]


def turned(name: str) -> Change:
    """Return the change of one array to the wrong sign; of a cell without it, none."""

    def change(weights: Weights) -> Weights:
        array = weights.arrays.get(name)
        return weights if array is None else weights._replace(**{name: -array})

    return change


def plant(change: Change, patch: pytest.MonkeyPatch) -> None:
    """Let every cell run with changed weights."""

    def wrong(cell: Cell, *rest: Any, **options: Any) -> State:
        return fastest(cell.replaced(change(cell.weights)), *rest, **options)

    patch.setattr("rnncli.engine.passes.fastest", wrong)


def faults(cell: Cell) -> Iterator[tuple[str, Change]]:
    """Yield every wrong sign, every two gates exchanged, and every bias that is wrong."""
    for name in cell.weights.arrays:
        yield f"the sign of {name}", turned(name)
    gates = range(cell.gates)
    for one, other in combinations(gates, 2):
        order = list(gates)
        order[one], order[other] = other, one
        yield f"gates {one} and {other} exchanged", _ordered(order)
    wrong = [("no bias", 0, "b_h"), ("the bias twice", 2, "b_h")]
    wrong += [(f"the sign of {name}", -1, name) for name in ("W_xh", "W_hh")]
    for gate, (what, factor, name) in product(gates, wrong):
        yield f"{what} in gate {gate}", _times(gate, cell.gates, factor, name)
    if cell.weights.b_n is not None:
        yield "b_n outside the product", _b_n_outside


def _ordered(order: list[int]) -> Change:
    def change(weights: Weights) -> Weights:
        arrays = (np.split(array, len(order), axis=-1) for array in weights[:3])
        W_xh, W_hh, b_h = (np.concatenate([each[gate] for gate in order], -1) for each in arrays)
        return weights._replace(W_xh=W_xh, W_hh=W_hh, b_h=b_h)

    return change


def _times(gate: int, gates: int, factor: float, name: str) -> Change:
    def change(weights: Weights) -> Weights:
        blocks = np.split(weights.arrays[name], gates, axis=-1)
        blocks[gate] = blocks[gate] * np.float32(factor)
        return weights._replace(**{name: np.concatenate(blocks, axis=-1)})

    return change


def _b_n_outside(weights: Weights) -> Weights:
    assert weights.b_n is not None
    b_h = weights.b_h.copy()
    b_h[-len(weights.b_n) :] += weights.b_n
    return weights._replace(b_h=b_h, b_n=None)
