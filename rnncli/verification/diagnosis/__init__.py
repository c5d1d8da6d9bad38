"""The diagnosis of a result that differs: the mistakes that people make in a port.

A mistake (`rnncli.verification.diagnosis.mistakes`) is a case and a result as they
would be if it were the cause. If these are judged equal, it explains the
result. Parameters stand between backticks, as in "`precision` tf32"; the
command line shows them as its options.
"""

from math import isclose, nan

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.verification.case import Case
from rnncli.verification.comparison import ENOUGH, Comparison, distances
from rnncli.verification.diagnosis.mistakes import mistakes
from rnncli.verification.steps import can_judge_steps, case_step_errors, cell_outputs
from rnncli.verification.whole import can_be_equal, whole_run_bounds

# Digits after the point that states are looked at for; more are those of float32 itself.
MOST_DIGITS = 6
# A mistake is judged at all if it reproduces so many of the values in the first rows of a few
# sequences. Where rows hang on later ones, a longer piece is run for them.
SCREENED, SEQUENCES, ROWS, PIECE = 0.5, 4, 32, 160
# So few nudged runs are enough to see whether half of the values are near.
NUDGED = 2
# Two mistakes that leave so little reproduce a result equally well, in units of the last place.
UNITS = 32
# What leaves more than so many times what the closest leaves does not explain the result.
LOOSE = 4
# A line is fitted to so many values at least, and to this share of their deviation.
FITTED, CLOSE = 6, 1e-3
# So far over what rounding does in a right run are the bounds of whole runs.
TYPICAL = 16


def explain(comparison: Comparison, theirs: Floats) -> dict[str, float]:
    """Find what reproduces a result, with the distance that is left."""
    found: dict[str, float] = {}
    if theirs.any():  # zeros explain nothing
        for name, tried, result in mistakes(comparison.case, theirs):
            with np.errstate(over="ignore", invalid="ignore"):  # an exponential, say
                left = None
                if _may_be_equal(comparison, tried, result):
                    left = _distance_left(comparison, tried, result, theirs)
            if left is not None:
                found.setdefault(name, left)
    ours = comparison.ours
    size = max(1.0, float(np.abs(theirs).max(initial=0.0)))
    found = _simplest(found, UNITS * float(np.finfo(ours.dtype).eps) * size)
    if ours.shape == theirs.shape:
        found |= fewer_digits(ours, theirs)
        found = found or scaled_output(comparison, theirs) or in_float16(comparison, theirs)
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


def _may_be_equal(comparison: Comparison, case: Case, theirs: Floats) -> bool:
    """Return whether the first rows of a few sequences are near enough to judge the rest.

    Rows of a cell do not depend on what it comes to later. One row a sequence hangs on the
    last steps, and rows of both directions on later ones; what lies beyond moves them little.
    """
    rows, tolerance, network = case.rows(), comparison.tolerance, case.network
    if theirs.shape != (*rows.shape, network.output_size) or not rows.any():
        return False
    if tolerance is None and can_judge_steps(network):
        (layer,) = network.layers
        for number, direction in enumerate(layer.directions):
            cut, some = _first_rows(case, theirs, ROWS, backward=direction == "backward")
            errors = case_step_errors(cut, [some])
            assert errors is not None
            of_cell = cell_outputs(layer, errors)[number]
            if (of_cell[cut.running()] <= 1).mean() < SCREENED:
                return False
        return True
    whole, last = network.needs_whole_sequences, bool(network.last)
    count = case.x.shape[1] if whole and last else PIECE if whole or last else ROWS
    cut, some = _first_rows(case, theirs, count, backward=last)
    ours = cut.outputs()[-1]
    distance = distances(ours, some)
    if count == PIECE < case.x.shape[1]:  # our own rows show how far the rest moves them
        own, right = _first_rows(comparison.case, comparison.ours, count, backward=last)
        off = distances(own.outputs()[-1], right)[:, :ROWS]
        distance = np.maximum(distance - 2 * off.max(axis=(0, 1)), 0)
    first = cut._replace(lengths=np.minimum(cut.lengths, ROWS))
    if tolerance is not None:
        near = distance <= tolerance.atol + tolerance.rtol * np.abs(some)
    elif can_be_equal(first, ours, ours + distance, SCREENED):
        bounds = whole_run_bounds(cut, ours, NUDGED)
        near = (distance <= bounds.distance) | ~bounds.judged
    else:
        return False
    return bool(near[first.rows()].mean() >= SCREENED)


def _first_rows(case: Case, theirs: Floats, count: int, *, backward: bool) -> tuple[Case, Floats]:
    """Return the rows of a few sequences to which a direction comes first."""
    some = np.flatnonzero(case.lengths)[:SEQUENCES]
    lengths = np.minimum(case.lengths[some], count)
    first = (case.lengths[some] - lengths) * backward
    t = np.minimum(first[:, None] + np.arange(lengths.max()), case.x.shape[1] - 1)
    at = some[:, None], t
    cut = case._replace(x=case.x[at], h0=case.h0[some], lengths=lengths)
    return cut, theirs[some] if case.network.last else theirs[at]


def _distance_left(
    comparison: Comparison, case: Case, theirs: Floats, original: Floats
) -> float | None:
    """Return how far a case is from what it explains; None where it does not.

    Whole runs are explained if most of the difference is gone too: what rounds operands has
    wide bounds. Distances are shares of the bound of each value: units may be of unlike size.
    """
    ours = case.outputs()[-1]
    if ours.shape != theirs.shape or not ours.any():
        return None
    tried = Comparison(case, [ours], comparison.tolerance)
    whole = tried.tolerance is None and not can_judge_steps(case.network)
    if whole and not can_be_equal(case, ours, theirs, ENOUGH):
        return None
    try:
        verdict = tried.judge(theirs)
    except ValueError:  # too little can be judged
        return None
    if whole and comparison.ours.shape == original.shape == ours.shape:
        left, before = (
            float((distance / tried.bounds.distance)[tried.bounds.judged].max())
            for distance in (distances(ours, theirs), distances(comparison.ours, original))
        )
        if not left <= before / 4:
            return None
    return verdict.difference if verdict.equal else None


def fewer_digits(ours: Floats, theirs: Floats) -> dict[str, float]:
    """Find the rounding of a result whose digits alone were cut."""
    if not theirs.any():
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


def scaled_output(comparison: Comparison, theirs: Floats) -> dict[str, float]:
    """Find a line on which the result lies over ours: one for all values, or for each of a head."""
    network, rows = comparison.case.network, comparison.case.rows()
    if not theirs.any():
        return {"all values are 0": nan}
    name, y = "y" if network.head else "h", theirs[rows].astype(np.float64)
    x, O = comparison.ours[rows].astype(np.float64), y.shape[1]
    for groups in [[slice(None)], [slice(k, k + 1) for k in range(O)]][: 1 + bool(network.head)]:
        pairs = [(x[:, some].ravel(), y[:, some].ravel()) for some in groups]
        if any(a.size < FITTED or not a.var() > 0 for a, _ in pairs):
            continue
        slopes = [float(((a - a.mean()) * b).mean() / a.var()) for a, b in pairs]
        lines = [(m, float((b - m * a).mean())) for m, (a, b) in zip(slopes, pairs, strict=True)]
        slope, shift = (np.repeat(each, O // len(lines)) for each in np.transpose(lines))
        off = np.abs(y - slope * x - shift)
        if not (off.max(axis=0) <= CLOSE * y.std(axis=0)).all():
            continue
        bounds, eps = comparison.bounds, float(np.finfo(theirs.dtype).eps)
        bound = np.abs(slope) * bounds.distance[rows] + 8 * eps * (np.abs(y) + np.abs(shift))
        if bounds.judged[rows].mean() >= ENOUGH and (off <= bound).all():
            if np.allclose(slope, -1) and np.allclose(shift, 0, atol=1e-6):
                return {"the sign of the output flipped": float(off.max())}
            each = [f"{a:.6g} {name}" + f" {b:+.6g}" * bool(abs(b) > 1e-6) for a, b in lines]
            each = [text.replace(" +", " + ").replace(" -", " - ") for text in each]
            return {f"the output scaled: expected = {', '.join(each)}": float(off.max())}
    return {}


def in_float16(comparison: Comparison, theirs: Floats) -> dict[str, float]:
    """Find a result that was computed in float16: its last bit explains the distance."""
    rows, ours, bounds = comparison.case.rows(), comparison.ours, comparison.bounds
    if not (theirs.astype(np.float16) == theirs).all():
        return {}
    wider = float(np.finfo(np.float16).eps / np.finfo(ours.dtype).eps) / TYPICAL
    distance, bound = distances(ours, theirs)[rows], wider * bounds.distance[rows]
    told = bound <= 0.1 * ours[rows].std(axis=0)
    if told.mean() >= ENOUGH and (distance <= bound).all():
        return {"float16 throughout": float(distance.max())}
    return {}
