"""Faults put into rnncli on purpose, to see that a test notices."""

import pytest
from rnncli.engine.steps import Steps

from rnncli.engine.precision import Precision
from rnncli.engine.unroll import fastest
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN


def turn_sign(name: str, patch: pytest.MonkeyPatch) -> None:
    """Let every cell take one of its arrays of weights with the wrong sign."""

    def wrong(cell: RNN, x: Steps, h0: Floats, precision: Precision, out: Steps) -> None:
        turned = cell.weights._replace(**{name: -getattr(cell.weights, name)})
        fastest(cell._replace(weights=turned), x, h0, precision, out)

    patch.setattr("rnncli.engine.run.fastest", wrong)
