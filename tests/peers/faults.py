"""Faults put into rnncli on purpose, to see that a test notices."""

import pytest

from rnncli.arrays import Floats
from rnncli.network import Cell
from rnncli.precision import Precision
from rnncli.steps import Steps
from rnncli.unroll import fastest


def turn_sign(name: str, patch: pytest.MonkeyPatch) -> None:
    """Let every cell take one of its arrays of weights with the wrong sign."""

    def wrong(cell: Cell, x: Steps, h0: Floats, precision: Precision, out: Steps) -> None:
        turned = cell.weights._replace(**{name: -getattr(cell.weights, name)})
        fastest(cell._replace(weights=turned), x, h0, precision, out)

    patch.setattr("rnncli.forward.fastest", wrong)
