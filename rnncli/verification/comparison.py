"""The one judgement: whether a result is that of a case, and where it is not.

A value is wrong if it is further from what is right than a bound, both by one of three rules: each
step from the state that the result itself holds (`steps`); whole runs, where such states are not
known, as far as nudged runs are apart (`nudged`); or a tolerance for whole runs.
"""

from collections.abc import Sequence
from functools import cached_property
from math import inf
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.errors import OptionError
from rnncli.verification.case import Case
from rnncli.verification.nudged import whole_run_bounds
from rnncli.verification.steps import can_judge_steps, right_steps, times_bound

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

    @classmethod
    def read(cls, atol: float | None, rtol: float | None) -> "Tolerance | None":
        """Check the numbers of a tolerance; one that is left out is 0."""
        if not all(0 <= (each or 0) < inf for each in (atol, rtol)):
            raise OptionError("`atol` and `rtol` are numbers from 0 on")
        return None if atol is rtol is None else cls(atol or 0.0, rtol or 0.0)

    def bound(self, theirs: Floats) -> Floats:
        """Compute it in float64: a float32 may not hold its numbers."""
        with np.errstate(invalid="ignore"):  # 0 times infinity
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
        known = layers or [theirs]
        if not layers and not any(layer.cells for layer in case.network.layers[:-1]):
            known = [*self.layers[:-1], theirs]  # what the layers below give is ours
        steps = self.tolerance is None and can_judge_steps(case.network, len(known))
        distance, judged = distances(ours, theirs), np.broadcast_to(rows[..., None], ours.shape)
        if steps:
            references = right_steps(case, known, guessed=not layers)
            tables = [(output, *each) for output, each in zip(known, references, strict=True)]
            tables = tables if layers else tables[-1:]
        elif self.tolerance:
            tables = [(theirs, ours, self.tolerance.bound(theirs))]
        else:
            bound, can_be_judged = self.bounds
            judged = judged & (can_be_judged | (not distance[judged].any()))
            tables = [(theirs, ours, bound)]
        wrong, times = list[Result](), list[Floats]()
        lowest = len(case.network.layers) + 1 - len(tables)
        for layer, (output, right, bound) in enumerate(tables, lowest):
            times.append(times_bound(output, right, bound, rows))
            indices = np.flatnonzero(times[-1] > 1)
            largest = indices[np.argsort(-times[-1].flat[indices], kind="stable")][:WORST]
            for index in dict.fromkeys([*largest, *indices[:1]]):
                wrong.append(_value(case, layer, index, output, right, times[-1]))
        share = float(judged.sum() / (rows.sum() * ours.shape[2]))
        if share < ENOUGH and not wrong:
            return not_compared(
                name,
                "too little to compare: rounding alone drives right runs apart; "
                f"{share:.0%} of the values can be judged, and they are equal",
            )
        off = np.where(rows[..., None], distance, 0)
        return {
            "name": name,
            "verdict": "different" if wrong else "equal",
            "step_error": max(float(each.max()) for each in times) if steps else None,
            "difference": float(np.where(np.isnan(off), np.inf, off).max()),
            "first": min(wrong, key=itemgetter("sequence", "step", "layer", "unit"), default=None),
            "judged": share,
            "worst": sorted(wrong, key=itemgetter("times"), reverse=True)[:WORST],
            "values": sum(int(rows.sum()) * each.shape[2] for each in times),
            "wrong": sum(int((each > 1).sum()) for each in times),
            "where": in_words(case, times[-1] > 1),
        }


def not_compared(name: str, note: str) -> Result:
    """Return the result where nothing could be compared, and why."""
    return {"name": name, "note": note, "verdict": "not compared"}


def distances(ours: Floats, theirs: Floats) -> Floats:
    """Compute the distance of all values in float64."""
    with np.errstate(invalid="ignore"):
        return np.abs(ours.astype(np.float64) - theirs)


def _value(case: Case, layer: int, index: int, output: Floats, right: Floats, times: Floats) -> Any:
    """Describe a wrong value of a layer, with the digits of its float type."""
    n, t, unit = map(int, np.unravel_index(index, output.shape))
    expected, actual = (float(str(output.dtype.type(each[n, t, unit]))) for each in (output, right))
    return {
        **case.describe_row(n, t),
        "unit": unit,
        "expected": expected,
        "actual": actual,
        "difference": abs(expected - actual),
        "times": float(times[n, t, unit]),
        "layer": layer,
    }


def in_words(case: Case, wrong: Truths) -> str:
    """Describe the sequences, steps and units of the wrong values, (N, T, O)."""
    n, t, unit = map(np.unique, np.nonzero(wrong))
    if not len(n):
        return ""
    N, T, O = wrong.shape
    sequences = [case.keys[i] for i in n] if case.keys else n + 1
    longest = int(case.rows()[n].sum(axis=1).max())
    words = [f"in {_few('sequence', sequences, N)}"] if N > 1 else []
    words += [f"at {_few('step', t + 1, longest)}"] if T > 1 else []
    words += [f"in {_few('unit', unit, O)}"] if O > 1 else []
    return ", ".join(words)


def _few(kind: str, labels: Sequence[Any] | Integers, count: int) -> str:
    if len(labels) == count:
        return f"every {kind}"
    if len(labels) == 1:
        return f"{kind} {labels[0]} alone"
    return f"{len(labels):,} of {count:,} {kind}s ({labels[0]} to {labels[-1]})"
