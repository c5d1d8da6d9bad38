"""Whether a result is that of a case, and where it is not.

A value is wrong if it is further from what is right than a bound, both of
which one of three rules gives: every step from the state that the result
itself holds (`rnncli.verification.steps`); whole runs, where such states are not
known, as far as nudged runs are apart (`rnncli.verification.whole`); or a tolerance
that the user gives for whole runs.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rnncli.model.arrays import Floats, Truths
from rnncli.model.network import Network
from rnncli.verification.case import Case
from rnncli.verification.steps import can_judge_steps, right_steps, times_bound
from rnncli.verification.whole import Bounds, whole_run_bounds

# What a document has of a comparison: see `rnncli.verify`.
Result: TypeAlias = dict[str, Any]
# The result that stands first, or behind that of another program.
LOOP = "float64 loop"
# Whole runs are equal if so many of their values can be judged, and are.
ENOUGH = 0.9
WORST = 5


class Tolerance(NamedTuple):
    """Two values are equal where ``|a - b| <= atol + rtol |b|``."""

    atol: float = 0.0
    rtol: float = 0.0


class Comparison:
    """A case, our own run of it, and how other runs are judged by it.

    `wrong` is the first wrong value of our own run, once known: nothing is equal to that. `row` is
    the comparison of the row that a model gives of a sequence alone.
    """

    def __init__(
        self, case: Case, layers: Sequence[Floats], tolerance: Tolerance | None = None
    ) -> None:
        self.case, self.layers, self.tolerance = case, layers, tolerance
        self.ours = layers[-1]
        self.wrong: Result | None = None
        self.row: Comparison | None = None

    @classmethod
    def of_run(cls, case: Case, unroll: str, tolerance: Tolerance | None = None) -> "Comparison":
        """Run a case, to compare every step, and the row of a model that gives one a sequence."""
        states = case.run(unroll)
        every = case._replace(network=Network(*case.network.layers))
        comparison = cls(every, states.layers, tolerance)
        if case.network.last and states.y_n is not None:
            comparison.row = cls(case, [states.y_n[:, None]], tolerance)
        return comparison

    @cached_property
    def bounds(self) -> Bounds:
        """How far whole runs may be apart, measured once and only where it is needed."""
        return whole_run_bounds(self.case, self.ours)

    def judge(
        self, name: str, theirs: Floats, layers: Sequence[Floats] = (), *, own: bool = False
    ) -> Result:
        """Judge a result: its top layer, and all layers where they are known.

        `own` says that the layers are those of our own run, and `theirs` is what is right.
        """
        case, ours, rows = self.case, self.ours, self.case.rows()
        if ours.shape != theirs.shape:
            return not_compared(name, f"expected shape {ours.shape}, got {theirs.shape}")
        if not rows.any():
            return not_compared(name, "nothing to compare: there are no steps")
        stateless = not any(layer.cells for layer in case.network.layers[:-1])
        known = layers or [*(self.layers[:-1] if stateless else ()), theirs]
        steps = self.tolerance is None and can_judge_steps(case.network, len(known))
        distance = distances(ours, theirs)
        compared = judged = np.broadcast_to(rows[..., None], ours.shape)
        if steps:
            tables = zip(known, right_steps(case, known, guessed=not layers), strict=True)
            each = [(given, right, bound) for given, (right, bound) in tables]
        else:
            if self.tolerance:  # in float64: a float32 may not hold its numbers
                bound = self.tolerance.atol + self.tolerance.rtol * np.abs(theirs.astype("f8"))
                can_be_judged = np.ones(bound.shape, bool)
            else:
                bound, can_be_judged = self.bounds
            judged = compared & (can_be_judged | bool((distance[compared] == 0).all()))
            compared = judged | (compared & ~(distance <= bound))
            each = [(theirs, ours, bound)]
        number = len(case.network.layers) - len(each)  # of the layer below
        faults = [
            (number + n, given, right, times_bound(given, right, bound, rows))
            for n, (given, right, bound) in enumerate(each, start=1)
        ]
        firsts = [wrong for each in faults for wrong in _wrong_values(case, each, own and steps, 1)]
        places = ("sequence", "step", "layer")
        first = min(firsts, key=lambda wrong: [wrong[p] for p in places], default=self.wrong)
        share = float(judged.sum() / (rows.sum() * ours.shape[2]))
        if share < ENOUGH and not firsts:
            return not_compared(
                name,
                "too little to compare: rounding alone drives right runs apart; "
                f"{share:.0%} of the values can be judged, and they are equal",
            )
        shown = faults if layers else faults[-1:]
        worst = [wrong for each in shown for wrong in _wrong_values(case, each, own and steps)]
        result = {
            "name": name,
            "verdict": "different" if first else "equal",
            "step_error": max(float(times.max()) for *_, times in faults) if steps else None,
            **_furthest(case, theirs, np.where(compared, distance, 0)),
            "first": first,
            "steps": int(compared.any(axis=2).sum(axis=1).max()),
            "judged": share,
            "worst": sorted(worst, key=lambda each: -each["times"])[:WORST],
            "values": sum(int(rows.sum()) * times.shape[2] for *_, times in shown),
            "wrong": sum(int((times > 1).sum()) for *_, times in shown),
            "where": in_words(case, shown[-1][-1] > 1),
        }
        of_ours = bool(first) and (own and steps if firsts else True)
        return result | ({"own": True} if of_ours else {})


def not_compared(name: str, note: str) -> Result:
    """Return the result where nothing could be compared, and why."""
    return {"name": name, "note": note, "verdict": "not compared"}


def distances(ours: Floats, theirs: Floats) -> Floats:
    """Compute the distance of all values in float64."""
    with np.errstate(invalid="ignore"):
        return np.abs(ours.astype(np.float64) - theirs)


def _furthest(case: Case, theirs: Floats, distance: Floats) -> Result:
    """Find the largest distance of the values that are compared, its place, and tolerances."""
    distance = np.where(np.isnan(distance), np.inf, distance)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(distance > 0, distance / np.abs(theirs), 0)
    largest = float(distance.max())
    place = _place(case, *np.unravel_index(int(distance.argmax()), distance.shape))
    rtol = float(np.where(np.isnan(share), np.inf, share).max())
    return {"difference": largest, "at": place if largest else None, "atol": largest, "rtol": rtol}


def _place(case: Case, n: Any, t: Any, unit: Any) -> Result:
    """Count sequence and step from 1, units from 0; a row of a sequence is at its last step."""
    step = int(case.lengths[n]) if case.network.last else int(t) + 1
    return {"sequence": int(n) + 1, "step": step, "unit": int(unit)}


def _wrong_values(
    case: Case, fault: tuple[int, Floats, Floats, Floats], own: bool, first: int = 0
) -> list[Result]:
    """List the first wrong values of a layer, or the worst, with the digits of their float type.

    Where steps are judged, what is right is taken from the h_{t-1} of the result itself.
    """
    layer, given, right, times = fault
    places = np.flatnonzero(times > 1)
    if not first:
        places = places[np.argsort(-times.flat[places], kind="stable")]
    found = []
    for at in (np.unravel_index(place, times.shape) for place in places[: first or WORST]):
        pair = [float(str(given.dtype.type(array[at]))) for array in (given, right)]
        expected, actual = pair[::-1] if own else pair
        wrong = _place(case, *at)
        wrong |= {"expected": expected, "actual": actual, "difference": abs(expected - actual)}
        wrong |= {"times": float(times[at]), "layer": layer}
        key = {"key": case.keys[wrong["sequence"] - 1]} if case.keys else {}
        found.append(wrong | key)
    return found


def in_words(case: Case, wrong: Truths) -> str:
    """Describe the sequences, steps and units of the wrong values, (N, T, O)."""
    steps: Any = wrong.any(axis=2)
    sequences, units = steps.any(axis=1), np.asarray(wrong.any(axis=(0, 1)))
    if not units.any():
        return ""
    numbers = np.flatnonzero(sequences) + 1
    keys = [f"{n} ({case.keys[n - 1]})" if case.keys else str(n) for n in numbers.tolist()]
    rows = case.rows()[sequences]
    T = int(rows.sum(axis=1).max())
    rows, at = rows[:, :T], steps[sequences, :T]
    first = int(at.any(axis=0).argmax())
    onward = (rows[:, first:] == at[:, first:]).all() and 0 < first < T - 1
    words = [
        f"in {_few('sequence', sequences, keys)}" if len(sequences) > 1 else "",
        f"from step {first + 1} on" if onward else f"at {_few('step', at.any(axis=0))}",
        f"in {_few('unit', units, first=0)}" if len(units) > 1 else "",
    ]
    if case.network.last or steps.shape[1] == 1:
        words[1] = ""
    return ", ".join(filter(None, words))


def _few(kind: str, wrong: Truths, names: Sequence[str] = (), first: int = 1) -> str:
    numbers = np.flatnonzero(wrong) + first
    if wrong.all():
        return f"every {kind}"
    if len(numbers) == 1:
        return f"{kind} {names[0] if names else numbers[0]} alone"
    if numbers[-1] - numbers[0] < len(numbers):
        return f"{kind}s {numbers[0]} to {numbers[-1]}"
    return f"{len(numbers):,} of {len(wrong):,} {kind}s"
