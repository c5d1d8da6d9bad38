"""Faults put into rnncli on purpose, to see that a test notices."""

import pytest

from rnncli.engine.batch import Steps
from rnncli.engine.precision import Precision
from rnncli.engine.unroll import fastest
from rnncli.model.cells import RNN, State


def turn_sign(name: str, patch: pytest.MonkeyPatch) -> None:
    """Let every cell take one of its arrays of weights with the wrong sign."""

    def wrong(cell: RNN, x: Steps, state: State, precision: Precision, out: Steps) -> State:
        turned = cell.weights._replace(**{name: -getattr(cell.weights, name)})
        return fastest(cell.replaced(weights=turned), x, state, precision, out)

    patch.setattr("rnncli.engine.passes.fastest", wrong)
