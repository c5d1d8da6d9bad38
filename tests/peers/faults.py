"""Faults put into rnncli on purpose, to see that a test notices."""

from collections.abc import Callable
from typing import Any

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
