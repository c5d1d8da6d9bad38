"""The diagnosis of a result that differs: the mistakes that people make in a port.

Every hypothesis in `HYPOTHESES` has one signature, ``hypothesis(case,
theirs)``: it yields, each with a name, a case and a result as they would be
if it were the cause. If these are judged equal, it explains the result.
Parameters stand between backticks, as in "`precision` tf32"; the command
line shows them as its options.

A mistake in a cell is one more entry in `CELL_CHANGES`: it is looked for in all
cells, and in each layer and direction alone. Any other one is in `cases`.
"""

from collections.abc import Callable, Iterator
from math import isclose

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.verify.case import Case
from rnncli.verify.comparison import ENOUGH, Comparison, Tolerance, distances
from rnncli.verify.diagnosis.cases import (
    another_merge,
    carried_on,
    cell_state,
    directions_exchanged,
    features_permuted,
    final_rows,
    halves_exchanged,
    head_changed,
    not_reversed,
    processing_order,
    products_rounded,
    rows_shifted,
    start_left_out,
    time_reversed,
)
from rnncli.verify.diagnosis.cells import Tried, all_cells_changed, some_cells_changed
from rnncli.verify.steps import can_judge_steps, case_step_errors, cell_outputs
from rnncli.verify.whole import Bounds, can_be_equal, whole_run_bounds

# Digits after the point that states are looked at for; more are those of float32 itself.
MOST_DIGITS = 6
# A hypothesis is judged at all if it reproduces so many of the values in the first rows of
# a few sequences. Where both directions are in all rows, a longer piece is run for them.
SCREENED, SEQUENCES, ROWS, PIECE = 0.5, 4, 32, 160
# So few nudged runs are enough to see whether half of the values are near.
NUDGED = 2
# Two hypotheses that leave so little reproduce a result equally well, in units of the last place.
UNITS = 32
# What leaves more than so many times what the closest leaves does not explain the result.
LOOSE = 4

# From simple to involved: of those that leave as much the first is named.
HYPOTHESES: tuple[Callable[[Case, Floats], Iterator[Tried]], ...] = (
    products_rounded,
    all_cells_changed,
    another_merge,
    directions_exchanged,
    time_reversed,
    processing_order,
    not_reversed,
    start_left_out,
    carried_on,
    rows_shifted,
    halves_exchanged,
    head_changed,
    cell_state,
    final_rows,
    features_permuted,
    some_cells_changed,
)


def explain(case: Case, theirs: Floats, tolerance: Tolerance | None = None) -> dict[str, float]:
    """Find what reproduces a result."""
    ours = case.outputs()[-1]
    before = distances(ours, theirs) if ours.shape == theirs.shape else None
    found: dict[str, float] = {}
    for hypothesis in HYPOTHESES:
        for name, tried, result in hypothesis(case, theirs):
            with np.errstate(over="ignore", invalid="ignore"):  # an exponential, say
                near = _may_be_equal(tried, result, tolerance)
                left = _distance_left(tried, result, before, tolerance) if near else None
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


def _may_be_equal(case: Case, theirs: Floats, tolerance: Tolerance | None) -> bool:
    """Return whether the first rows of a few sequences are near enough to judge the rest.

    Rows of a cell do not depend on what it comes to later. Where both directions
    are in all rows, the backward ones begin at the end of a longer piece, and
    values may be off by what they remember.
    """
    rows = case.rows()
    if theirs.shape != (*rows.shape, case.network.output_size) or not rows.any():
        return False
    if tolerance is None and can_judge_steps(case.network):
        return _steps_are_near(case, theirs)
    cut, ours, theirs, off = _piece(case, theirs)
    distance = np.maximum(distances(ours, theirs) - off, 0)
    first = cut._replace(lengths=np.minimum(cut.lengths, ROWS))
    if tolerance is not None:
        near = distance <= tolerance.atol + tolerance.rtol * np.abs(theirs)
    elif can_be_equal(first, ours, ours + distance, SCREENED):
        bounds = whole_run_bounds(cut, ours, NUDGED)
        near = (distance <= bounds.distance) | ~bounds.judged
    else:
        return False
    return bool(near[first.rows()].mean() >= SCREENED)


def _steps_are_near(case: Case, theirs: Floats) -> bool:
    """Return whether each cell of the one layer takes its first steps so."""
    (layer,) = case.network.layers
    for number, direction in enumerate(layer.directions):
        cut, rows = _first_rows(case, theirs, ROWS, direction == "backward")
        errors = case_step_errors(cut, [rows])
        assert errors is not None
        of_cell = cell_outputs(layer, errors)[number]
        if (of_cell[cut.running()] <= 1).mean() < SCREENED:
            return False
    return True


def _piece(case: Case, theirs: Floats) -> tuple[Case, Floats, Floats, Floats]:
    """Return a piece of a few sequences, our output and theirs, and how far ours may be off.

    What one row a sequence hangs on is the last rows, unless the network goes
    backward too. It is off by what those before them move it.
    """
    if case.network.last:
        longest = case.x.shape[1]
        count = longest if case.network.needs_whole_sequences else PIECE
        cut, rows = _first_rows(case, theirs, count, backward=True)
        ours, shorter = cut.outputs()[-1], cut
        if count < longest:
            shorter, _ = _first_rows(case, theirs, count // 2, backward=True)
        return cut, ours, rows, distances(ours, shorter.outputs()[-1])
    if case.network.needs_whole_sequences:
        cut, rows = _first_rows(case, theirs, PIECE)
        ours, off = _first_outputs(cut)
        return cut, ours, rows, off
    cut, rows = _first_rows(case, theirs, ROWS)
    ours = cut.outputs()[-1]
    return cut, ours, rows, np.zeros(ours.shape)


def _first_outputs(cut: Case) -> tuple[Floats, Floats]:
    """Run a piece; return also how far a unit's first rows are from those of half of it.

    What lies beyond the piece moves them less.
    """
    half = np.minimum(cut.lengths, PIECE // 2)
    twice = cut._replace(
        x=np.concatenate([cut.x, cut.x]),
        h0=np.concatenate([cut.h0, cut.h0]),
        lengths=np.concatenate([cut.lengths, half]),
    )
    ours, shorter = np.split(twice.outputs()[-1], 2)
    off = distances(ours, shorter)[:, :ROWS].max(axis=(0, 1))
    return ours, np.asarray(off)


def _first_rows(
    case: Case, theirs: Floats, count: int, backward: bool = False
) -> tuple[Case, Floats]:
    """Return the rows of a few sequences to which a direction comes first."""
    some = np.flatnonzero(case.lengths)[:SEQUENCES]
    lengths = np.minimum(case.lengths[some], count)
    first = (case.lengths[some] - lengths) * backward
    t = np.minimum(first[:, None] + np.arange(lengths.max()), case.x.shape[1] - 1)
    at = some[:, None], t
    cut = case._replace(x=case.x[at], h0=case.h0[some], lengths=lengths)
    return cut, theirs[some] if case.network.last else theirs[at]


def _distance_left(
    case: Case, theirs: Floats, before: Floats | None, tolerance: Tolerance | None
) -> float | None:
    """Return how far a case is from what it explains; None where it does not.

    Zeros alone explain nothing.
    """
    layers = case.outputs()
    ours = layers[-1]
    if ours.shape != theirs.shape or not case.rows().any() or not ours.any():
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

    Distances are shares of the bound of each value: units may be of unlike size.
    """
    if before is None or before.shape != left.shape:
        return True
    most_left, most_before = (
        (distance / bounds.distance)[bounds.judged].max() for distance in (left, before)
    )
    return bool(most_left <= most_before / 4)


def fewer_digits(ours: Floats, theirs: Floats) -> dict[str, float]:
    """Find the rounding of a result whose digits alone were cut."""
    if ours.shape != theirs.shape or not theirs.any():
        return {}
    difference = float(distances(ours, theirs).max())
    last_bit = np.finfo(ours.dtype).eps * max(1.0, np.abs(theirs).max())
    for digits in range(1, MOST_DIGITS + 1):
        rounded = np.round(theirs.astype(np.float64), digits).astype(theirs.dtype)
        if difference <= 0.5 * 10.0**-digits + last_bit and (rounded == theirs).all():
            return {f"rounding to {digits} digits after the point": difference}
    if (theirs.astype(np.float16) == theirs).all() and (ours.astype(np.float16) == theirs).all():
        return {"rounding to float16": difference}
    return {}
