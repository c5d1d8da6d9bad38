"""Verdicts: whether a result is that of a network on an input, and where it is not."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Truths
from rnncli.verify.case import Case
from rnncli.verify.shares import one_step, step_shares
from rnncli.verify.whole import Bounds, whole_run_bounds

# Whole runs are equal if so many of their values can be judged, and are.
ENOUGH = 0.9


class Tolerance(NamedTuple):
    """Two values are equal where ``|a - b| <= atol + rtol |b|``."""

    atol: float = 0.0
    rtol: float = 0.0


class Place(NamedTuple):
    """A value in a result: sequence and step counted from 1, unit from 0."""

    sequence: int
    step: int
    unit: int


class Apart(NamedTuple):
    """How far two whole runs are apart.

    Parameters
    ----------
    largest : float
        Largest distance of two values.
    at : Place or None
        Where that is; None where the runs are equal.
    atol, rtol : float
        The smallest that would pass, each with the other 0.
    steps : int
        Steps of each sequence that are compared, at most.
    """

    largest: float
    at: Place | None
    atol: float
    rtol: float
    steps: int


class Verdict(NamedTuple):
    """What comes of a comparison.

    Parameters
    ----------
    equal : bool
    step_error : float or None
        Largest error of a step as a share of its bound; None where steps
        cannot be judged, since the states that they start from are unknown.
    first : Place or None
        The first value that is wrong.
    apart : Apart
        How far the whole runs are apart.
    judged : float
        Share of the values that could be judged.
    values : tuple of float or None
        Of the first wrong value: what it should be, which is what was
        compared with, and what the network computes. Where steps are judged
        each is computed from the h_{t-1} of the same result.
    """

    equal: bool
    step_error: float | None
    first: Place | None
    apart: Apart
    judged: float = 1.0
    values: tuple[float, float] | None = None


def judge(
    case: Case,
    ours: Floats,
    theirs: Floats,
    layers: Sequence[Floats] = (),
    tolerance: Tolerance | None = None,
    bounds: Bounds | None = None,
) -> Verdict:
    """Judge a result.

    By default every step is judged by itself, from the states of the same
    result (`step_errors`). Where those are not known (of the layers below,
    or of two directions that are merged), whole runs are compared, each value
    as far as rounding cannot move it (`whole_run_bounds`). With a
    tolerance all values of whole runs are compared.

    Parameters
    ----------
    case : Case
    ours : array, shape (N, T, H)
        Our own run of it: what the top layer gives.
    theirs : array, shape (N, T, H)
        What is judged.
    layers : sequence of arrays, optional
        What every layer gives in the result whose steps are judged, the
        bottom one first; `theirs`, of the top layer alone, by default.
    tolerance : Tolerance, optional
    bounds : Bounds, optional
        Those of `ours`, where they have been measured.

    Raises
    ------
    ValueError
        The shapes differ, there are no steps, or rounding moves so many
        values that those which can be judged, and are equal, are too few.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"expected shape {ours.shape}, got {theirs.shape}")
    running = np.broadcast_to(case.running()[..., None], ours.shape)
    if not running.any():
        raise ValueError("nothing to compare: there are no steps")
    layers = layers or [theirs]
    errors = None if tolerance is not None else step_shares(case, layers)
    judged = running
    with np.errstate(invalid="ignore"):
        distance = np.abs(_wide(ours) - theirs)
    if tolerance is not None:
        # In float64: a float32 may not hold the tolerance.
        wrong = ~(distance <= tolerance.atol + tolerance.rtol * np.abs(_wide(theirs)))
    elif errors is not None:
        wrong = errors > 1
    else:
        bounds = bounds or whole_run_bounds(case, ours)
        judged = running & (bounds.judged | bool((distance == 0).all()))
        wrong = ~(distance <= bounds.distance)
    wrong = running & (wrong | ~np.isfinite(theirs))
    share = float(judged.sum() / running.sum())
    if share < ENOUGH and not wrong.any():
        raise ValueError(
            f"too little to compare: rounding alone drives right runs apart; {share:.0%} of the "
            "values can be judged, and they are equal"
        )
    first = _place(wrong)
    by_step = layers[0] if errors is not None and len(layers) == 1 else None
    return Verdict(
        equal=first is None,
        step_error=None if errors is None else float(errors.max()),
        first=first,
        apart=_apart(ours, theirs, judged | wrong),
        judged=share,
        values=values_at(case, ours, theirs, first, by_step) if first else None,
    )


def values_at(
    case: Case, ours: Floats, theirs: Floats, place: Place, by_step: Floats | None = None
) -> tuple[float, float]:
    """Give the value of a result at a place, and ours, with the digits of their float type.

    Where the steps of one of them are judged, `by_step`, the other value is
    what one step makes of the h_{t-1} of the same result.
    """
    at = place.sequence - 1, place.step - 1, place.unit
    expected, actual = theirs[at], ours[at]
    if by_step is not None:
        step = ours.dtype.type(one_step(case, by_step, at))
        expected, actual = (step, actual) if by_step is ours else (expected, step)
    return float(str(expected)), float(str(actual))


def _apart(ours: Floats, theirs: Floats, compared: Truths) -> Apart:
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.where(compared, np.abs(_wide(ours) - theirs), 0)
        distance = np.where(np.isnan(distance), np.inf, distance)
        share = np.where(distance > 0, distance / np.abs(theirs), 0)
    largest = float(distance.max())
    return Apart(
        largest,
        _place(distance == largest) if largest else None,
        atol=largest,
        rtol=float(np.where(np.isnan(share), np.inf, share).max()),
        steps=int(compared.any(axis=2).sum(axis=1).max()),
    )


def _place(wanted: Truths) -> Place | None:
    if not wanted.any():
        return None
    sequence, step, unit = (int(i) for i in np.argwhere(wanted)[0])
    return Place(sequence + 1, step + 1, unit)


def _wide(h: Floats) -> Floats:
    return h.astype(np.float64)
