"""Comparisons: whether a result is that of a case, and where it is not."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Truths
from rnncli.verify.case import Case
from rnncli.verify.steps import Judged, judged_steps, one_step
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


class Wrong(NamedTuple):
    """A wrong value: its place, what it should be, and what the network computes.

    Where steps are judged, each value is computed from the h_{t-1} of the
    same result.
    """

    place: Place
    expected: float
    actual: float


class WrongFinal(NamedTuple):
    """A wrong value of a final state; expected and actual are as in `Wrong`.

    Parameters
    ----------
    sequence, layer : int
        Counted from 1.
    direction : {"forward", "backward"}
    array : str
        As the cell names it: ``h`` or ``c``.
    unit : int
        Counted from 0.
    """

    sequence: int
    layer: int
    direction: str
    array: str
    unit: int
    expected: float
    actual: float


class Verdict(NamedTuple):
    """What comes of a comparison.

    Parameters
    ----------
    equal : bool
    difference : float
        The largest distance of two values of the whole runs, and so the
        smallest `Tolerance.atol` that would pass them.
    step_error : float or None
        Largest error of a step as a share of its bound; None where steps
        are not judged.
    first : Wrong or None
        The first value that is wrong; it should be what was compared with.
    at : Place or None
        Where the difference is largest; None where the runs are equal.
    rtol : float
        The smallest `Tolerance.rtol` that would pass the whole runs.
    steps : int
        Steps of each sequence that are compared, at most.
    judged : float
        Share of the values that could be judged.
    final : WrongFinal or None
        The first value of the final states that is wrong.
    """

    equal: bool
    difference: float
    step_error: float | None = None
    first: Wrong | None = None
    at: Place | None = None
    rtol: float = 0.0
    steps: int = 0
    judged: float = 1.0
    final: WrongFinal | None = None


@dataclass
class Comparison:
    """A case, our own run of it, and how other runs are judged by it.

    Parameters
    ----------
    case : Case
    layers : tuple of arrays, shape (N, T, O)
        The outputs of all layers in our run, the bottom one first; or the one
        row a sequence that the network gives, see `Case.outputs`.
    tolerance : Tolerance, optional
        By which whole runs are judged; every step is by default.
    wrong : Wrong, optional
        The first wrong step of our own run, once it is known.
        Nothing is equal to a wrong run, even if its own steps are right.
    h_n : array, shape (N, S), optional
        The final state of our run, by which others are judged where steps
        are not.
    """

    case: Case
    layers: tuple[Floats, ...]
    tolerance: Tolerance | None = None
    wrong: Wrong | None = None
    h_n: Floats | None = None

    @property
    def ours(self) -> Floats:
        """The output of the top layer in our run."""
        return self.layers[-1]

    @cached_property
    def bounds(self) -> Bounds:
        """How far whole runs may be apart, measured once and only where it is needed."""
        return whole_run_bounds(self.case, self.ours, h_n=self.h_n)

    def judge(
        self, theirs: Floats, layers: Sequence[Floats] = (), h_n: Floats | None = None
    ) -> Verdict:
        """Judge a result.

        By default every step is judged by itself, from the states of the
        same result (`rnncli.verify.steps`). Where those are not known (of
        the layers below, or of two directions that are merged), whole runs
        are compared, each value as far as rounding cannot move it
        (`rnncli.verify.whole`). With a tolerance all values of whole runs
        are compared.

        Parameters
        ----------
        theirs : array, shape (N, T, O)
            What is judged.
        layers : sequence of arrays, optional
            The outputs of all layers in the result whose steps are judged,
            the bottom one first; by default `theirs`, that of the top layer
            alone.
        h_n : array, shape (N, S), optional
            The final state of all cells in the result. Where its steps are
            judged it has to be what the last ones leave, up to rounding;
            else that of our run.

        Raises
        ------
        ValueError
            The shapes differ, there are no steps, or rounding moves so many
            values that those which can be judged, and are equal, are too few.
        """
        ours = self.ours
        # Layers without state below the top one give the same in every result.
        top_alone = not any(layer.cells for layer in self.case.network.layers[:-1])
        layers = layers or [*(self.layers[:-1] if top_alone else ()), theirs]
        if ours.shape != theirs.shape:
            raise ValueError(f"expected shape {ours.shape}, got {theirs.shape}")
        running = np.broadcast_to(self.case.rows()[..., None], ours.shape)
        if not running.any():
            raise ValueError("nothing to compare: there are no steps")
        steps = judged_steps(self.case, layers) if self.tolerance is None else None
        errors = steps.errors if steps else None
        distance, judged = distances(ours, theirs), running
        if self.tolerance is not None:
            # In float64: a float32 may not hold the tolerance.
            atol, rtol = self.tolerance
            wrong = ~(distance <= atol + rtol * np.abs(theirs.astype(np.float64)))
        elif errors is not None:
            wrong = errors > 1
        else:
            wrong = ~(distance <= self.bounds.distance)
            judged = running & (self.bounds.judged | bool((distance == 0).all()))
        wrong = running & (wrong | ~np.isfinite(theirs))
        share = float(judged.sum() / running.sum())
        if share < ENOUGH and not wrong.any():
            raise ValueError(
                f"too little to compare: rounding alone drives right runs apart; {share:.0%} of "
                "the values can be judged, and they are equal"
            )
        by_step: Sequence[Floats] = ()
        first = _first(wrong)
        if first and errors is not None and top_alone:
            by_step = layers
        elif self.wrong and not first:
            first = self.wrong.place
        final = self._wrong_final(steps, h_n)
        measured = _measured(theirs, distance, judged | wrong)
        return measured._replace(
            equal=first is None and final is None,
            step_error=None if errors is None else float(errors.max()),
            first=self._wrong_at(first, theirs, by_step) if first else None,
            at=self._placed(measured.at) if measured.at else None,
            judged=share,
            final=final,
        )

    def _placed(self, place: Place) -> Place:
        """Return a place as it is shown: a row of a sequence as a whole is at its last step."""
        if not self.case.network.last:
            return place
        return place._replace(step=int(self.case.lengths[place.sequence - 1]))

    def _wrong_final(self, steps: Judged | None, h_n: Floats | None) -> WrongFinal | None:
        """Return the first value that is further from the right one than rounding carries it."""
        if h_n is None or self.tolerance is not None:
            return None
        right = steps.final if steps else self.bounds.final
        if right is None:
            return None
        bound = np.where(np.isnan(right.off), np.inf, right.off) + np.finfo(h_n.dtype).tiny
        wrong = ~(distances(h_n, right.value) <= bound) & np.isfinite(right.value)
        if not wrong.any():
            return None
        n, at = (int(i) for i in np.argwhere(wrong)[0])
        expected, actual = h_n[n, at], h_n.dtype.type(right.value[n, at])
        layer, direction, array, unit = self.case.network.state_place(at)
        return WrongFinal(
            n + 1, layer, direction, array, unit, float(str(expected)), float(str(actual))
        )

    def _wrong_at(self, place: Place, theirs: Floats, by_step: Sequence[Floats]) -> Wrong:
        """Return the value of a result and ours, with the digits of their float type.

        Where the steps of one of them are judged, `by_step`, the other value
        is what one step makes of the h_{t-1} of the same result.
        """
        at = place.sequence - 1, place.step - 1, place.unit
        expected, actual = theirs[at], self.ours[at]
        if by_step:
            step = self.ours.dtype.type(one_step(self.case, by_step, at))
            expected, actual = (step, actual) if by_step[-1] is self.ours else (expected, step)
        return Wrong(self._placed(place), float(str(expected)), float(str(actual)))


def distances(ours: Floats, theirs: Floats) -> Floats:
    """Return the distance of all values in float64."""
    with np.errstate(invalid="ignore"):
        return np.abs(ours.astype(np.float64) - theirs)


def _measured(theirs: Floats, distance: Floats, compared: Truths) -> Verdict:
    """Return how far whole runs are apart in the values that are compared."""
    distance = np.where(compared, distance, 0)
    distance = np.where(np.isnan(distance), np.inf, distance)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(distance > 0, distance / np.abs(theirs), 0)
    largest = float(distance.max())
    return Verdict(
        largest == 0,
        largest,
        at=_first(distance == largest) if largest else None,
        rtol=float(np.where(np.isnan(share), np.inf, share).max()),
        steps=int(compared.any(axis=2).sum(axis=1).max()),
    )


def _first(wanted: Truths) -> Place | None:
    if not wanted.any():
        return None
    sequence, step, unit = (int(i) for i in np.argwhere(wanted)[0])
    return Place(sequence + 1, step + 1, unit)
