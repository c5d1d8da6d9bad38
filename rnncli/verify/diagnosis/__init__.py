"""Conventions that people trip over when they bring a network elsewhere.

Every convention here has one signature, ``convention(case, theirs)``: for a
result that is not that of the case it gives attempts, each a case and a
result as they would be if the convention were the cause. An attempt that
is judged equal explains the result.
"""

from math import inf

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.verify.case import Case
from rnncli.verify.diagnosis.attempt import Attempt, Explanation
from rnncli.verify.diagnosis.digits import fewer_digits
from rnncli.verify.diagnosis.order import (
    axes_exchanged,
    halves_exchanged,
    processing_order,
    rows_shifted,
    time_reversed,
)
from rnncli.verify.diagnosis.start import another_start, carried_on
from rnncli.verify.diagnosis.weights import (
    another_activation,
    another_merge,
    no_bias,
    one_bias,
    products_rounded,
    weights_transposed,
)
from rnncli.verify.shares import hides_states
from rnncli.verify.verdict import ENOUGH, Tolerance, judge
from rnncli.verify.whole import Bounds, can_be_equal, whole_run_bounds

__all__ = ["CONVENTIONS", "Attempt", "Explanation", "explain"]

CONVENTIONS = (
    products_rounded,
    weights_transposed,
    another_activation,
    another_merge,
    time_reversed,
    processing_order,
    another_start,
    carried_on,
    axes_exchanged,
    rows_shifted,
    halves_exchanged,
    no_bias,
    one_bias,
)


def explain(case: Case, theirs: Floats, tolerance: Tolerance | None = None) -> list[Explanation]:
    """Find the conventions that reproduce a result, the closest first.

    Parameters
    ----------
    case : Case
    theirs : array, shape (N, T, H)
        A result that differs. Another shape is one to explain too.
    tolerance : Tolerance, optional
        As for `judge`.
    """
    ours = case.states()[-1]
    before = _distance(ours, theirs) if ours.shape == theirs.shape else None
    found: dict[str, float] = {}
    attempts = (attempt for convention in CONVENTIONS for attempt in convention(case, theirs))
    for attempt in attempts:
        left = _reproduced(attempt, before, tolerance)
        if left is not None:
            found[attempt.name] = min(left, found.get(attempt.name, inf))
    explanations = [Explanation(*each) for each in found.items()]
    explanations += fewer_digits(ours, theirs)
    return sorted(explanations, key=lambda explanation: explanation.difference)


def _reproduced(
    attempt: Attempt, before: Floats | None, tolerance: Tolerance | None
) -> float | None:
    """Give how far an attempt is from what it explains, or None where it does not.

    Zeros alone explain nothing.
    """
    case, theirs = attempt.case, attempt.theirs
    ours = case.states()[-1]
    if ours.shape != theirs.shape or not case.running().any() or not ours.any():
        return None
    bounds = None
    if tolerance is None and hides_states(case.network):
        if not can_be_equal(case, ours, theirs, ENOUGH):
            return None
        bounds = whole_run_bounds(case, ours)
    try:
        verdict = judge(case, ours, theirs, tolerance=tolerance, bounds=bounds)
    except ValueError:  # too little can be judged
        return None
    if not verdict.equal or (bounds and not _is_nearer(_distance(ours, theirs), before, bounds)):
        return None
    return verdict.apart.largest


def _is_nearer(left: Floats, before: Floats | None, bounds: Bounds) -> bool:
    """Tell whether most of the difference is gone: what rounds operands has wide bounds.

    Both distances count in shares of the bound of each value, since units may
    be of unlike size.
    """
    if before is None or before.shape != left.shape:
        return True
    most_left, most_before = (
        (distance / bounds.distance)[bounds.judged].max() for distance in (left, before)
    )
    return bool(most_left <= most_before / 4)


def _distance(ours: Floats, theirs: Floats) -> Floats:
    return np.abs(ours.astype(np.float64) - theirs)
