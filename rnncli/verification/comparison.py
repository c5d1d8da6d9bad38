"""The one judgement: whether a result is that of a case, and where it is not.

A value is wrong if it is further from what is right than a bound, both by one of three rules: each
step from the state that the result itself holds (`steps`); whole runs, where such states are not
known, as far as nudged runs are apart (`whole`); or a tolerance for whole runs.
"""

from collections.abc import Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rnncli.model.arrays import Floats, Truths
from rnncli.verification.case import Case
from rnncli.verification.steps import can_judge_steps, right_steps, times_bound
from rnncli.verification.whole import whole_run_bounds

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

    def bound(self, theirs: Floats) -> Floats:
        """Compute it in float64: a float32 may not hold its numbers."""
        return self.atol + self.rtol * np.abs(theirs.astype(np.float64))


class Comparison:
    """A case, our own run of it, and how other runs are judged by it."""

    def __init__(
        self, case: Case, layers: Sequence[Floats], tolerance: Tolerance | None = None
    ) -> None:
        self.case, self.layers, self.tolerance = case, layers, tolerance
        self.ours = layers[-1]

    @cached_property
    def bounds(self) -> tuple[Floats, Truths]:
        """How far whole runs may be apart, measured once and only where it is needed."""
        return whole_run_bounds(self.case, self.ours)

    def judge(self, name: str, theirs: Floats, layers: Sequence[Floats] = ()) -> Result:
        """Judge a result like ours: its top layer, and all layers where they are known."""
        case, ours, rows = self.case, self.ours, self.case.rows()
        if not rows.any():
            return not_compared(name, "nothing to compare: there are no steps")
        below = self.layers[:-1] if not any(e.cells for e in case.network.layers[:-1]) else ()
        known = layers or [*below, theirs]
        steps = self.tolerance is None and can_judge_steps(case.network, len(known))
        distance, judged = distances(ours, theirs), np.broadcast_to(rows[..., None], ours.shape)
        if steps:
            right = right_steps(case, known, guessed=not layers)
            tables = [(given, *each) for given, each in zip(known, right, strict=True)]
            tables = tables if layers else tables[-1:]
        elif self.tolerance:
            tables = [(theirs, ours, self.tolerance.bound(theirs))]
        else:
            bound, can_be_judged = self.bounds
            judged = judged & (can_be_judged | (not distance[judged].any()))
            tables = [(theirs, ours, bound)]
        faults = [
            (given, right, times_bound(given, right, bound, rows)) for given, right, bound in tables
        ]
        wrong = list[Result]()
        for number, fault in enumerate(faults, start=1 + len(case.network.layers) - len(faults)):
            places = np.flatnonzero(fault[2] > 1)
            largest = places[np.argsort(-fault[2].flat[places], kind="stable")][:WORST]
            wrong += [_value(case, number, fault, place) for place in [*largest, *places[:1]]]
        share = float(judged.sum() / (rows.sum() * ours.shape[2]))
        if share < ENOUGH and not wrong:
            return not_compared(
                name,
                "too little to compare: rounding alone drives right runs apart; "
                f"{share:.0%} of the values can be judged, and they are equal",
            )
        off = np.where(rows[..., None], distance, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(off > 0, off / np.abs(theirs), off)
        worst = {(v["layer"], v["sequence"], v["step"], v["unit"]): v for v in wrong}.values()
        return {
            "name": name,
            "verdict": "different" if wrong else "equal",
            "step_error": max(float(fault[2].max()) for fault in faults) if steps else None,
            "difference": float(np.where(np.isnan(off), np.inf, off).max()),
            "rtol": float(np.where(np.isnan(relative), np.inf, relative).max()),
            "first": min(wrong, key=itemgetter("sequence", "step", "layer", "unit"), default=None),
            "judged": share,
            "worst": sorted(worst, key=itemgetter("times"), reverse=True)[:WORST],
            "values": sum(int(rows.sum()) * times.shape[2] for *_, times in faults),
            "wrong": sum(int((times > 1).sum()) for *_, times in faults),
            "where": in_words(case, faults[-1][2] > 1),
        }


def not_compared(name: str, note: str) -> Result:
    """Return the result where nothing could be compared, and why."""
    return {"name": name, "note": note, "verdict": "not compared"}


def distances(ours: Floats, theirs: Floats) -> Floats:
    """Compute the distance of all values in float64."""
    with np.errstate(invalid="ignore"):
        return np.abs(ours.astype(np.float64) - theirs)


def _value(case: Case, layer: int, fault: tuple[Floats, Floats, Floats], place: Any) -> Result:
    """Describe a wrong value of a layer, with the digits of its float type."""
    given, right, times = fault
    n, t, unit = np.unravel_index(place, times.shape)
    expected, actual = (float(str(given.dtype.type(each[n, t, unit]))) for each in (given, right))
    return {
        "sequence": int(n) + 1,
        "step": int(case.lengths[n]) if case.network.last else int(t) + 1,
        "unit": int(unit),
        "expected": expected,
        "actual": actual,
        "difference": abs(expected - actual),
        "times": float(times[n, t, unit]),
        "layer": layer,
        **({"key": case.keys[n]} if case.keys else {}),
    }


def in_words(case: Case, wrong: Truths) -> str:
    """Describe the sequences, steps and units of the wrong values, (N, T, O)."""
    units: Any = wrong.any(axis=(0, 1))
    steps: Any = wrong.any(axis=2)
    sequences = steps.any(axis=1)
    if not units.any():
        return ""
    words = []
    if len(sequences) > 1:
        names = [f"{n} ({key})" for n, key in enumerate(case.keys, start=1)]
        words.append(f"in {_few('sequence', sequences, 1, names)}")
    if steps.shape[1] > 1:
        rows = case.rows()[sequences]
        T = int(rows.sum(axis=1).max())
        rows, at = rows[:, :T], steps[sequences, :T]
        first = int(at.any(axis=0).argmax())
        onward = (rows[:, first:] == at[:, first:]).all() and 0 < first < T - 1
        words.append(
            f"from step {first + 1} on" if onward else f"at {_few('step', at.any(axis=0))}"
        )
    if len(units) > 1:
        words.append(f"in {_few('unit', units, 0)}")
    return ", ".join(words)


def _few(kind: str, wrong: Any, first: int = 1, names: Sequence[str] = ()) -> str:
    numbers = np.flatnonzero(wrong)
    if wrong.all():
        return f"every {kind}"
    if len(numbers) == 1:
        return f"{kind} {names[numbers[0]] if names else numbers[0] + first} alone"
    if numbers[-1] - numbers[0] < len(numbers):
        return f"{kind}s {numbers[0] + first} to {numbers[-1] + first}"
    return f"{len(numbers):,} of {len(wrong):,} {kind}s"
