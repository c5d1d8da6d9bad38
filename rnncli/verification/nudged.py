"""Whole runs: how far they are apart, and how much of that rounding explains.

A program that rounds in another way computes what this one would with weights that differ by about
a last bit (backward error analysis: Higham (2002), "Accuracy and Stability of Numerical
Algorithms", section 3.1). So runs with such weights show how far a network drives right results
apart. Activations of gated cells are nudged too: rounding moves a gate that is open or closed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats, Truths
from rnncli.model.cells import Cell
from rnncli.model.network import Network
from rnncli.verification.case import Case

# Nudges of the weights. Where operands are rounded, some fall on the other side.
NUDGES = {"float32": 2.0**-23, "float64": 2.0**-52, "tf32": 2.0**-19, "bfloat16": 2.0**-16}
# Over 381 runs of Keras, PyTorch and ONNX Runtime no value that is judged needs more than 2.7 times
# the largest distance that eight nudged runs show within eight steps.
RUNS, STEPS, FACTOR = 8, 8, 8.0
# What an activation and a merge may round, in units of the last place.
UNITS = 8
# A value is judged while rounding moves it by at most this share of the largest of its unit.
SMALL = {"float32": 0.01, "float64": 0.01, "tf32": 0.03, "bfloat16": 0.1}
NORMS = ("center", "scale", "factor", "shift")


def whole_run_bounds(case: Case, ours: Floats) -> tuple[Floats, Truths]:
    """Bound every value by ``8 eps max(|h|, min(1, max |h|)) + 8 d``; find those that tell much.

    d is the largest distance between our own run and eight nudged ones, within eight steps; where
    it is too large to judge, within all. One row a sequence is judged as if it followed the steps.
    """
    shown = ours.shape[1]
    ours = _top_rows(case) if case.network.last else ours
    random = np.random.RandomState(0)
    size = min(1.0, float(np.abs(ours).max(initial=0.0)))
    spread: Floats = np.zeros(ours.shape)
    for _ in range(RUNS):
        nudged = _top_rows(case._replace(network=_nudge(case, size, random)))
        with np.errstate(invalid="ignore"):
            distance = np.abs(nudged.astype(np.float64) - ours)
        np.maximum(spread, np.where(np.isfinite(distance), distance, np.inf), out=spread)
    driven = spread.copy()  # within so many steps before and after
    for shift in range(1, min(STEPS, spread.shape[1] - 1) + 1):
        np.maximum(driven[:, shift:], spread[:, :-shift], out=driven[:, shift:])
        np.maximum(driven[:, :-shift], spread[:, shift:], out=driven[:, :-shift])
    judged = FACTOR * driven <= most_driven(ours, case.precision)
    driven = np.where(judged, driven, spread.max(axis=(0, 1)))
    return (_rounding(ours) + FACTOR * driven)[:, -shown:], judged[:, -shown:]


def _top_rows(case: Case) -> Floats:
    """Run a case: the rows of the top layer, and behind them that of the sequence."""
    states = case.run()
    rows = [] if states.y_n is None or not case.network.last else [states.y_n[:, None]]
    return np.concatenate([states.layers[-1], *rows], axis=1)


def most_driven(ours: Floats, precision: str) -> Floats:
    """Compute how far a value may be off that is still judged."""
    largest = np.abs(ours.astype(np.float64)).max(axis=(0, 1))
    return np.asarray(np.maximum(_rounding(ours), SMALL[precision] * largest))


def _rounding(ours: Floats) -> Floats:
    """Compute how far rounding moves a value of a network that forgets."""
    size, kind = np.abs(ours.astype(np.float64)), np.finfo(ours.dtype)
    least = min(1.0, float(size.max(initial=0.0)))
    # Numbers under the smallest normal one may lose all digits.
    return np.asarray(UNITS * kind.eps * np.maximum(size, least) + kind.tiny)


def _nudge(case: Case, size: float, random: np.random.RandomState) -> Network:
    """Change every weight by about a last bit, but matrices that all programs round alike."""
    precision, nudge = PRECISIONS[case.precision], NUDGES[case.precision]
    last_bit = float(np.finfo(precision.dtype).eps)  # of what is no operand of a product

    def move(name: str, array: Floats) -> Floats:
        if array.ndim > 1 and precision.rounds:
            return array
        by, bias = np.abs(array), name in ("b_h", "b_n", "b")
        by = last_bit * by if name in NORMS else nudge * (by + size * bias)
        return np.asarray(array.astype(np.float64) + by * random.choice([-1.0, 1.0], array.shape))

    def move_gates(cell: Cell) -> Cell:
        activations: dict[str, Any] = {}
        for name, value in cell.settings.items() if cell.gates > 1 else ():
            if isinstance(value, Activation):
                by = (nudge * random.choice([-1.0, 1.0], cell.hidden_size)).astype(precision.dtype)
                activations[name] = NudgedActivation(*value)
                gate = name == "recurrent_activation"
                activations[name].change = (np.add, by) if gate else (np.multiply, 1 + by)
        return cell.replaced(**activations)

    masking, layers = case.network.masking, case.network.layers
    above = (layer.converted(move) for layer in layers[masking:])
    return Network(*layers[:masking], *above, last=case.network.last).with_cells(move_gates)


class NudgedActivation(Activation):
    """An activation of a gated cell that is off by about a last bit, up or down."""

    change: tuple[Callable[..., Any], Floats]

    def __eq__(self, value: object) -> bool:
        """Return False for the activation itself, which cells have other arithmetic for."""
        return self is value

    def function(self) -> Callable[[Floats, Floats], Any]:
        """Return ``function(a, out)``."""
        exact, (change, by) = super().function(), self.change
        return lambda a, out: (exact(a, out), change(out, by, out))
