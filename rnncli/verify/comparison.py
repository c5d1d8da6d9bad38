"""Comparisons: whether a result is that of a case, and where it is not."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Truths
from rnncli.verify.case import Case
from rnncli.verify.steps import judged_steps
from rnncli.verify.tally import PIECE, Place, Tally, Wrong
from rnncli.verify.whole import Bounds, whole_run_bounds

# Whole runs are equal if so many of their values can be judged, and are.
ENOUGH = 0.9


class Tolerance(NamedTuple):
    """Two values are equal where ``|a - b| <= atol + rtol |b|``."""

    atol: float = 0.0
    rtol: float = 0.0


class Verdict(NamedTuple):
    """The outcome of a comparison."""

    equal: bool
    difference: float  # of two values of the whole runs: the smallest `atol` that would pass them
    step_error: float | None = None  # the largest, as a share of its bound, if steps are judged
    # The first wrong value, by sequence, step and layer; of our own run where that is wrong.
    first: Wrong | None = None
    at: Place | None = None  # where the difference is largest
    rtol: float = 0.0  # the smallest that would pass the whole runs
    steps: int = 0  # of each sequence that are compared, at most
    judged: float = 1.0  # share of the values that could be judged
    # Of each layer of the result, the bottom one first; or of the top one, where only that is
    # compared.
    tallies: Sequence[Tally] = ()

    @property
    def values(self) -> int:
        """How many values were compared."""
        return sum(tally.values for tally in self.tallies)

    @property
    def wrong(self) -> int:
        """How many of them are wrong."""
        return sum(tally.wrong for tally in self.tallies)

    @property
    def own_wrong(self) -> bool:
        """Whether it is in our own run that values are wrong."""
        return any(tally.own and tally.wrong for tally in self.tallies)


@dataclass
class Comparison:
    """A case, our own run of it, and how other runs are judged by it."""

    case: Case
    layers: tuple[Floats, ...]  # of our run: `Case.outputs`
    tolerance: Tolerance | None = None  # by which whole runs are judged, instead of every step
    wrong: Wrong | None = None  # in our own run, once it is known: nothing is equal to that

    @property
    def ours(self) -> Floats:
        """The output of the top layer in our run."""
        return self.layers[-1]

    @cached_property
    def bounds(self) -> Bounds:
        """How far whole runs may be apart, measured once and only where it is needed."""
        return whole_run_bounds(self.case, self.ours)

    def judge(self, theirs: Floats, layers: Sequence[Floats] = ()) -> Verdict:
        """Judge a result.

        By default every step is judged by itself, from the states of the
        same result (`rnncli.verify.steps`). Where those are not known (of
        the layers below, or of two directions that are merged), whole runs
        are compared, each value as far as rounding cannot move it
        (`rnncli.verify.whole`). With a tolerance all values of whole runs
        are compared.
        """
        ours, rows = self.ours, self.case.rows()
        if ours.shape != theirs.shape:
            raise ValueError(f"expected shape {ours.shape}, got {theirs.shape}")
        if not rows.any():
            raise ValueError("nothing to compare: there are no steps")
        known = layers or [*self._below(), theirs]
        tallies = judged_steps(self.case, known) if self.tolerance is None else None
        steps = tallies is not None
        distance = distances(ours, theirs)
        compared = judged = np.broadcast_to(rows[..., None], ours.shape)
        if tallies is not None:
            for tally in tallies:
                tally.own = known[-1] is ours
        else:
            bound = self._bound(theirs)
            tallies = [self._tally(theirs, distance, bound)]
            if self.tolerance is None:
                judged = compared & (self.bounds.judged | bool((distance == 0).all()))
            compared = judged | (compared & ~(distance <= bound))
        share = float(judged.sum() / (rows.sum() * ours.shape[2]))
        firsts = [tally.first for tally in tallies if tally.first]
        first = min(firsts, key=lambda wrong: (wrong.place[:2], wrong.layer), default=self.wrong)
        if share < ENOUGH and not firsts:
            raise ValueError(
                f"too little to compare: rounding alone drives right runs apart; {share:.0%} of "
                "the values can be judged, and they are equal"
            )
        difference, at, rtol = _measured(self.case, theirs, distance, compared)
        return Verdict(
            equal=first is None,
            difference=difference,
            step_error=max(tally.times for tally in tallies) if steps else None,
            first=first,
            at=at,
            rtol=rtol,
            steps=int(compared.any(axis=2).sum(axis=1).max()),
            judged=share,
            tallies=tallies if layers else tallies[-1:],
        )

    def _below(self) -> Sequence[Floats]:
        """Return the layers below the top one if they give the same in every result."""
        stateless = not any(layer.cells for layer in self.case.network.layers[:-1])
        return self.layers[:-1] if stateless else ()

    def _bound(self, theirs: Floats) -> Floats:
        """Compute the bound of each value of whole runs."""
        if self.tolerance is None:
            return self.bounds.distance
        # In float64: a float32 may not hold the tolerance.
        atol, rtol = self.tolerance
        return np.asarray(atol + rtol * np.abs(theirs.astype(np.float64)))

    def _tally(self, theirs: Floats, distance: Floats, bound: Floats) -> Tally:
        """Count the values that are further apart than they may be."""
        tally = Tally(self.case, len(self.case.network.layers), theirs)
        n, t = np.nonzero(self.case.rows())
        piece = max(1, PIECE // theirs.shape[2])
        for start in range(0, len(n), piece):
            at = n[start : start + piece], t[start : start + piece]
            apart = distance[at]
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                times = np.where(apart > 0, apart / bound[at], 0)
            times[~np.isfinite(apart)] = np.inf
            tally.add(*at, slice(None), times, theirs, self.ours[at])
        return tally


def distances(ours: Floats, theirs: Floats) -> Floats:
    """Return the distance of all values in float64."""
    with np.errstate(invalid="ignore"):
        return np.abs(ours.astype(np.float64) - theirs)


def _measured(
    case: Case, theirs: Floats, distance: Floats, compared: Truths
) -> tuple[float, Place | None, float]:
    """Return the largest distance of the values that are compared, its place, and rtol."""
    distance = np.where(compared, distance, 0)
    distance = np.where(np.isnan(distance), np.inf, distance)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(distance > 0, distance / np.abs(theirs), 0)
    largest = float(distance.max())
    at = Place.of(case, np.argwhere(distance == largest)[0]) if largest else None
    return largest, at, float(np.where(np.isnan(share), np.inf, share).max())
