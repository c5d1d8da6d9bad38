"""The search: every hypothesis is tried, and what reproduces the whole result is kept."""

from math import isclose

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.verify.case import Case
from rnncli.verify.comparison import ENOUGH, Comparison, Tolerance, distances
from rnncli.verify.diagnosis.cells import all_cells_changed, products_rounded, some_cells_changed
from rnncli.verify.diagnosis.hypothesis import Hypothesis
from rnncli.verify.diagnosis.layers import (
    another_layer,
    another_merge,
    begun_in_the_padding,
    directions_exchanged,
    not_reversed,
)
from rnncli.verify.diagnosis.rows import (
    axes_exchanged,
    features_permuted,
    halves_exchanged,
    inputs_shifted,
    processing_order,
    rows_shifted,
    time_reversed,
    units_permuted,
)
from rnncli.verify.diagnosis.states import (
    another_start,
    begun_anew,
    carried_on,
    cell_state,
    final_rows,
    start_changed,
)
from rnncli.verify.steps import can_judge_steps, case_step_errors, cell_outputs
from rnncli.verify.whole import Bounds, can_be_equal, whole_run_bounds

# Digits after the point that states are looked at for; more are those of float32 itself.
MOST_DIGITS = 6
# A hypothesis is judged at all if it reproduces so many of the values in the first rows of
# a few sequences, or of a longer piece where both directions are in all rows.
SCREENED, ROWS, PIECE, SEQUENCES = 0.5, 32, 128, 4
# So few nudged runs are enough to see whether half of the values are near.
NUDGED = 2
# Two hypotheses that leave so little reproduce a result equally well, in units of the last place.
UNITS = 32
# What leaves more than so many times what the closest leaves does not explain the result.
LOOSE = 4

# From simple to involved: of those that leave as much the first is named.
HYPOTHESES: tuple[Hypothesis, ...] = (
    products_rounded,
    all_cells_changed,
    another_merge,
    directions_exchanged,
    time_reversed,
    processing_order,
    not_reversed,
    start_changed,
    another_start,
    carried_on,
    begun_anew,
    begun_in_the_padding,
    axes_exchanged,
    rows_shifted,
    inputs_shifted,
    halves_exchanged,
    another_layer,
    cell_state,
    final_rows,
    units_permuted,
    features_permuted,
    some_cells_changed,
)


def explain(case: Case, theirs: Floats, tolerance: Tolerance | None = None) -> dict[str, float]:
    """Find what reproduces a result.

    Parameters
    ----------
    case : Case
    theirs : array, shape (N, T, O)
        A result that differs. Another shape is one to explain too.
    tolerance : Tolerance, optional
        As for `Comparison`.

    Returns
    -------
    dict
        By the name of each hypothesis that holds, the largest distance that
        is left; the closest first. Of those that cannot be told apart here it
        is the simplest alone.
    """
    ours = case.outputs()[-1]
    before = distances(ours, theirs) if ours.shape == theirs.shape else None
    forgot = _forgot(case, ours)
    found: dict[str, float] = {}
    for hypothesis in HYPOTHESES:
        for name, tried, result in hypothesis(case, theirs):
            if _may_be_equal(tried, result, tolerance, forgot):
                left = _distance_left(tried, result, before, tolerance)
                if left is not None:
                    found.setdefault(name, left)
    size = max(1.0, float(np.abs(theirs).max(initial=0.0)))
    found = _simplest(found, UNITS * float(np.finfo(ours.dtype).eps) * size)
    found |= fewer_digits(ours, theirs)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _simplest(found: dict[str, float], least: float) -> dict[str, float]:
    """Keep the closest, and of those that leave as much the one that was tried first."""
    enough = {name: max(left, least) for name, left in found.items()}
    closest = min(enough.values(), default=least)
    kept: dict[str, float] = {}
    for name, left in enough.items():
        new = not any(isclose(left, enough[other], rel_tol=0.1) for other in kept)
        if left <= LOOSE * closest and new:
            kept[name] = found[name]
    return kept


def _may_be_equal(case: Case, theirs: Floats, tolerance: Tolerance | None, forgot: Floats) -> bool:
    """Return whether the first rows of a few sequences are near enough to judge the rest.

    Rows of a cell do not depend on what it comes to later. Where both directions
    are in all rows, the backward ones begin at the end of a longer piece, and
    values may be off by what that makes of ours.
    """
    network = case.network
    if theirs.shape != (*case.x.shape[:2], network.output_size) or not case.running().any():
        return False
    if tolerance is None and can_judge_steps(network):
        (layer,) = network.layers
        return all(_steps_are_near(case, theirs, number) for number in range(len(layer.directions)))
    cut, theirs = _first_rows(case, theirs, _piece(case))
    ours = cut.outputs()[-1]
    distance = np.maximum(distances(ours, theirs) - forgot, 0)
    if tolerance is not None:
        near = distance <= tolerance.atol + tolerance.rtol * np.abs(theirs)
    elif can_be_equal(cut._replace(lengths=np.minimum(cut.lengths, ROWS)), ours, theirs, SCREENED):
        bounds = whole_run_bounds(cut, ours, NUDGED)
        near = (distance <= bounds.distance) | ~bounds.judged
    else:
        return False
    return bool(near[:, :ROWS][cut.running()[:, :ROWS]].mean() >= SCREENED)


def _steps_are_near(case: Case, theirs: Floats, number: int) -> bool:
    """Return whether a cell of the one layer takes its first steps so."""
    (layer,) = case.network.layers
    cut, rows = _first_rows(case, theirs, ROWS, layer.directions[number] == "backward")
    errors = case_step_errors(cut, [rows])
    assert errors is not None
    of_cell = cell_outputs(layer, errors)[number]
    return bool((of_cell[cut.running()] <= 1).mean() >= SCREENED)


def _first_rows(
    case: Case, theirs: Floats, count: int, backward: bool = False
) -> tuple[Case, Floats]:
    """Return the rows of a few sequences to which a direction comes first."""
    some = np.flatnonzero(case.lengths)[:SEQUENCES]
    lengths = np.minimum(case.lengths[some], count)
    first = (case.lengths[some] - lengths) * backward
    at = some[:, None], first[:, None] + np.arange(lengths.max())
    at = at[0], np.minimum(at[1], case.x.shape[1] - 1)
    return case._replace(x=case.x[at], h0=case.h0[some], lengths=lengths), theirs[at]


def _piece(case: Case) -> int:
    """Return how many rows are run to see the first ones."""
    return PIECE if case.network.needs_whole_sequences else ROWS


def _forgot(case: Case, ours: Floats) -> Floats:
    """Return how far the first rows of each unit are off in a run that ends with the piece."""
    cut, whole = _first_rows(case, ours, _piece(case))
    off = distances(cut.outputs()[-1], whole)[:, :ROWS][cut.running()[:, :ROWS]]
    return np.asarray(off.max(axis=0, initial=0.0))


def _distance_left(
    case: Case, theirs: Floats, before: Floats | None, tolerance: Tolerance | None
) -> float | None:
    """Return how far a case is from what it explains; None where it does not.

    Zeros alone explain nothing.
    """
    layers = case.outputs()
    ours = layers[-1]
    if ours.shape != theirs.shape or not case.running().any() or not ours.any():
        return None
    comparison = Comparison(case, layers, tolerance)
    whole = tolerance is None and not can_judge_steps(case.network)
    if whole and not can_be_equal(case, ours, theirs, ENOUGH):
        return None
    try:
        verdict = comparison.judge(theirs)
    except ValueError:  # too little can be judged
        return None
    left = distances(ours, theirs)
    if not verdict.equal or (whole and not _is_nearer(left, before, comparison.bounds)):
        return None
    return verdict.difference


def _is_nearer(left: Floats, before: Floats | None, bounds: Bounds) -> bool:
    """Return whether most of the difference is gone: what rounds operands has wide bounds.

    Both distances count in shares of the bound of each value, since units may
    be of unlike size.
    """
    if before is None or before.shape != left.shape:
        return True
    most_left, most_before = (
        (distance / bounds.distance)[bounds.judged].max() for distance in (left, before)
    )
    return bool(most_left <= most_before / 4)


def fewer_digits(ours: Floats, theirs: Floats) -> dict[str, float]:
    """Return the rounding of a result that is right but for digits that were left out."""
    if ours.shape != theirs.shape:
        return {}
    difference = float(distances(ours, theirs).max())
    for digits in range(1, MOST_DIGITS + 1):
        rounded = np.round(theirs.astype(np.float64), digits).astype(theirs.dtype)
        # Half a unit of the last digit, and what the float type itself rounds.
        if difference <= 0.5001 * 10.0**-digits and (rounded == theirs).all():
            return {f"rounding to {digits} digits after the point": difference}
    if (theirs.astype(np.float16) == theirs).all() and (ours.astype(np.float16) == theirs).all():
        return {"rounding to float16": difference}
    return {}
