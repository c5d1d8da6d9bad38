"""The diagnosis of a result that differs: each of the `mistakes` is made, and judged."""

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.verification.case import Case
from rnncli.verification.comparison import Comparison, Tolerance, distances
from rnncli.verification.mistakes import mistakes
from rnncli.verification.nudged import most_driven
from rnncli.verification.steps import can_judge_steps, case_step_errors

# Digits after the point that states are looked at for; more are those of float32 itself.
MOST_DIGITS = 6
# A mistake is judged at all if it reproduces so many of the values in the first rows of a few
# sequences; where rows hang on later ones, in all rows of these.
SCREENED, SEQUENCES, ROWS = 0.5, 4, 32
# Two mistakes that leave so little reproduce a result equally well, in units of the last place.
UNITS = 32


def find_causes(comparison: Comparison, theirs: Floats) -> dict[str, float]:
    """Find what reproduces a result best, the first of equals, and the distance that is left."""
    if not theirs.any():  # zeros explain nothing
        return {"all values are 0": 0.0}
    causes: dict[str, float] = {}
    with np.errstate(over="ignore", invalid="ignore"):  # an exponential, say
        for name, case, result in mistakes(comparison.case, theirs):
            if name not in causes and _is_near(case, result, comparison.tolerance):
                left = _distance_left(comparison, case, result, theirs)
                if left is not None:
                    causes[name] = left
    causes |= _fewer_digits(comparison.ours, theirs)
    smallest = UNITS * np.finfo(theirs.dtype).eps * max(1.0, float(np.abs(theirs).max()))
    closest = max(min(causes.values(), default=0), smallest)
    return next(({name: left} for name, left in causes.items() if left <= 1.1 * closest), {})


def _is_near(case: Case, theirs: Floats, tolerance: Tolerance | None) -> bool:
    """Check whether half of the first rows of a few sequences are near, before all are run."""
    network = case.network
    steps = tolerance is None and can_judge_steps(network)
    needs_all = not steps and (network.needs_whole_sequences or network.last)
    T = case.x.shape[1] if needs_all else ROWS
    first = np.flatnonzero(case.lengths)[:SEQUENCES]
    theirs, lengths = theirs[first, :T], np.minimum(case.lengths[first], T)
    cut = case._replace(x=case.x[first, :T], h0=case.h0[first], lengths=lengths)
    errors = case_step_errors(cut, [theirs]) if steps else None
    if errors is not None:
        near = errors <= 1
    else:
        ours = cut.outputs()[-1]
        bound = tolerance.bound(theirs) if tolerance else most_driven(ours, case.precision)
        near = distances(ours, theirs) <= bound
    return bool(near[cut.rows()].mean() >= SCREENED)


def _distance_left(
    comparison: Comparison, case: Case, theirs: Floats, original: Floats
) -> float | None:
    """Compute how far a case is from what it explains; None where it does not."""
    tried = Comparison(case, case.outputs()[-1:], comparison.tolerance)
    result = tried.judge("", theirs)
    if result["verdict"] != "equal" or not tried.ours.any():
        return None
    if comparison.tolerance is None and not can_judge_steps(case.network):
        bound, judged = tried.bounds  # most has to go: what rounds operands has wide bounds
        before = (distances(comparison.ours, original) / bound)[judged].max()
        if (distances(tried.ours, theirs) / bound)[judged].max() > before / 4:
            return None
    return float(result["difference"])


def _fewer_digits(ours: Floats, theirs: Floats) -> dict[str, float]:
    """Find the rounding of a result whose digits alone were cut."""
    difference = float(distances(ours, theirs).max())
    last_bit = np.finfo(ours.dtype).eps * max(1.0, np.abs(theirs).max())
    for digits in range(1, MOST_DIGITS + 1):
        rounded = np.round(theirs.astype(np.float64), digits).astype(theirs.dtype)
        if difference <= 0.5 * 10.0**-digits + last_bit and (rounded == theirs).all():
            return {f"rounding to {digits} digits after the point": difference}
    return {}
