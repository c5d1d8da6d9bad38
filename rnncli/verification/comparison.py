"""The one judgement: whether a result is right for a case, and where it is not.

A value is wrong if it is further from the right one than a bound. There are three rules: each step
is judged from the state that the result itself holds (`steps`); whole runs, where such states are
not known, by how far apart nudged runs are; or whole runs by a tolerance.

A program that rounds in another way computes what this one would with weights that differ by about
a last bit (backward error analysis: Higham (2002), "Accuracy and Stability of Numerical
Algorithms", section 3.1). So runs with such weights show how far a network drives right results
apart. Activations of gated cells and sigmoids are nudged too: rounding moves a gate that is open
or closed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from itertools import chain
from math import inf, isnan
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.cells import Cell
from rnncli.model.errors import OptionError
from rnncli.model.network import Network
from rnncli.verification.case import Case
from rnncli.verification.digits import Digits
from rnncli.verification.steps import can_judge_steps, right_steps, times_bound

# An entry of `results` in the document of `rnncli.verify`.
Result: TypeAlias = dict[str, Any]
# Name of our own loop's result, which comes first, or second if there is an `expected` one.
LOOP = "float64 loop"
# Share of the values of a whole run that must be judged.
ENOUGH = 0.9
WORST = 5
# Nudges of the weights. Where operands are rounded, some fall on the other side.
NUDGES = {"float32": 2.0**-23, "float64": 2.0**-52, "tf32": 2.0**-19, "bfloat16": 2.0**-16}
# Over 381 runs of Keras, PyTorch and ONNX Runtime no value that is judged needs more than 2.7 times
# the largest distance that eight nudged runs show within eight steps.
RUNS, STEPS, FACTOR = 8, 8, 8.0
# Rounding of an activation and a merge, in units of the last place.
UNITS = 8
# A value is judged while rounding moves it by at most this share of the largest of its unit.
SMALL = {"float32": 0.01, "float64": 0.01, "tf32": 0.03, "bfloat16": 0.1}
NORMS = ("center", "scale", "factor", "shift")


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
        """Compute the bound in float64: float32 may not hold `atol`."""
        with np.errstate(invalid="ignore"):  # 0 times infinity
            return self.atol + self.rtol * np.abs(theirs.astype(np.float64))


class Table(NamedTuple):
    """The values of a layer in a result, the right ones, and how far they may be apart: (n, O)."""

    layer: int  # from 1
    output: Floats
    right: Floats
    bound: Floats


class Comparison:
    """A case and our own run of it, by which other runs are judged."""

    def __init__(
        self,
        case: Case,
        layers: Sequence[Floats],
        tolerance: Tolerance | None = None,
        digits: Digits | None = None,
    ) -> None:
        self.case, self.layers, self.tolerance = case, layers, tolerance
        self.ours, self.units = layers[-1], None if digits is None else digits.half_units

    def unit(self, rows: Any = slice(None)) -> Floats | float:
        """Return half a unit of the last digit of each value, 0 where all digits are known."""
        return 0.0 if self.units is None else self.units[rows]

    def floor(self, rows: Any) -> Floats:
        """Bound the rounding of values alone, without what a network makes of it."""
        return _rounding(self.ours[rows]) + self.unit(rows)

    @cached_property
    def bounds(self) -> tuple[Floats, Truths]:
        """Distances that whole runs may have, measured once and only where they are needed."""
        return whole_run_bounds(self.case, self.ours)

    def judge(self, name: str, theirs: Floats, layers: Sequence[Floats] = ()) -> Result:
        """Judge a result like ours: its top layer, and all layers where they are known."""
        case, known = self.case, layers or [theirs]
        if not len(self.ours):
            return not_compared(name, "nothing to compare: there are no steps")
        if not layers and not any(layer.cells for layer in case.network.layers[:-1]):
            known = [*self.layers[:-1], theirs]  # the layers below are taken to be ours
        steps, share = self.tolerance is None and can_judge_steps(case.network, len(known)), 1.0
        if self.tolerance:
            tables = self._judge_by_tolerance(theirs, self.tolerance)
        elif steps and self.units is None:
            tables = self._judge_by_steps(known, guessed=not layers)
        else:  # a step from a state of few digits is known less well than a whole run
            tables, share = self._judge_by_nudged_runs(theirs)
            if steps and share < ENOUGH:
                tables, share = self._judge_by_steps(known, guessed=True), 1.0
        times = [times_bound(output, right, bound) for _, output, right, bound in tables]
        wrong = [*chain.from_iterable(map(partial(_find_worst, case), tables, times))]
        if share < ENOUGH and not wrong:
            return not_compared(
                name,
                "too little to compare: rounding alone drives right runs apart; "
                f"{share:.0%} of the values can be judged, and they are equal",
            )
        difference = float(distances(self.ours, theirs).max())
        return {
            "name": name,
            "verdict": "different" if wrong else "equal",
            "step_error": max(float(each.max()) for each in times) if steps else None,
            "closeness": max(float(each.max()) for each in times),
            "difference": inf if isnan(difference) else difference,
            "first": min(wrong, key=itemgetter("sequence", "step", "layer", "unit"), default=None),
            "judged": share,
            "worst": sorted(wrong, key=itemgetter("times"), reverse=True)[:WORST],
            "values": sum(each.size for each in times),
            "wrong": sum(int((each > 1).sum()) for each in times),
            "where": describe_where(case, times[-1] > 1),
        }

    def _judge_by_steps(self, known: Sequence[Floats], *, guessed: bool) -> list[Table]:
        """Take each step from the state before it in the result; guessed layers are not judged."""
        off = 0.0 if self.units is None else self.units
        steps = right_steps(self.case, known, guessed=guessed, off=off)
        pairs = enumerate(zip(known, steps, strict=True), start=1)
        tables = [
            Table(layer, output, right, bound if self.units is None else bound + self.units)
            for layer, (output, (right, bound)) in pairs
        ]
        return tables[-1:] if guessed else tables

    def _judge_by_tolerance(self, theirs: Floats, tolerance: Tolerance) -> list[Table]:
        """Compare whole runs by a tolerance."""
        return [Table(len(self.case.network.layers), theirs, self.ours, tolerance.bound(theirs))]

    def _judge_by_nudged_runs(self, theirs: Floats) -> tuple[list[Table], float]:
        """Compare whole runs by how far nudged runs are apart; return the share that is judged."""
        bound, can_be_judged = self.bounds
        judged = can_be_judged | (not distances(self.ours, theirs).any())
        bound = bound + self.unit()
        table = Table(len(self.case.network.layers), theirs, self.ours, bound)
        return [table], float(judged.mean())


def not_compared(name: str, note: str) -> Result:
    """Return the result where nothing could be compared, and why."""
    return {"name": name, "note": note, "verdict": "not compared"}


def distances(ours: Floats, theirs: Floats) -> Floats:
    """Compute the distance of all values in float64."""
    with np.errstate(invalid="ignore"):
        distance = np.subtract(ours, theirs, dtype=np.float64)
    return np.abs(distance, out=distance)


def _find_worst(case: Case, table: Table, times: Floats) -> Iterator[Result]:
    """Describe the values that are the most bounds off, and the first that is wrong."""
    wrong = np.flatnonzero(times > 1)
    worst = wrong[np.argsort(-times.flat[wrong], kind="stable")][:WORST]
    for index in dict.fromkeys([*worst.tolist(), *wrong[:1].tolist()]):
        row, unit = divmod(index, times.shape[1])
        shown = (table.output.dtype.type(each[row, unit]) for each in table[1:3])
        expected, actual = (float(str(each)) for each in shown)  # the digits that are shown
        yield {
            **describe_row(case, row),
            "unit": unit,
            "expected": expected,
            "actual": actual,
            "difference": abs(expected - actual),
            "times": float(times[row, unit]),
            "layer": table.layer,
        }


def describe_row(case: Case, row: int) -> Result:
    """Describe a row of a result."""
    key, step = int(case.result_groups.keys[row]), int(case.result_steps[row])
    return {"sequence": key + 1, "step": step} | ({"key": case.keys[key]} if case.keys else {})


def describe_where(case: Case, wrong: Truths) -> str:
    """Describe the sequences, steps and units of the wrong values, (n, O)."""
    rows, units = np.flatnonzero(wrong.any(axis=1)), np.flatnonzero(wrong.any(axis=0))
    if not len(rows):
        return ""
    key, step = case.result_groups.keys, case.result_steps
    N, O, of_wrong = len(case.h0), wrong.shape[1], np.isin(key, key[rows])
    keys, steps = np.unique(key[rows]), np.unique(step[rows])
    sequences = [case.keys[each] for each in keys] if case.keys else keys + 1
    words = [f"in {_few('sequence', sequences, N)}"] if N > 1 else []
    if not case.network.last and case.groups.lengths.max() > 1:
        words.append(f"at {_few('step', steps, int(step[of_wrong].max()))}")
    words += [f"in {_few('unit', units, O)}"] if O > 1 else []
    return ", ".join(words)


def _few(kind: str, labels: Sequence[Any] | Integers, count: int) -> str:
    if len(labels) == count:
        return f"every {kind}"
    if len(labels) == 1:
        return f"{kind} {labels[0]} alone"
    return f"{len(labels):,} of {count:,} {kind}s ({labels[0]} to {labels[-1]})"


def whole_run_bounds(case: Case, ours: Floats) -> tuple[Floats, Truths]:
    """Bound every value by ``8 eps max(|h|, min(1, max |h|)) + 8 d``; find those to be judged.

    One row a sequence is judged as if it followed the steps.
    """
    groups, shown = case.groups, np.arange(len(ours))
    key = groups.keys
    if case.network.last:
        ours, ends = _top_rows(case), groups.starts + groups.lengths
        key, shown = np.insert(key, ends, groups.present), ends + shown
    runs = nudged_runs(case, ours, _top_rows)
    bound, judged = spread_bounds(ours, key, runs, case.precision)
    return bound[shown], judged[shown]


def nudged_runs(case: Case, ours: Floats, run: Callable[[Case], Floats]) -> Iterator[Floats]:
    """Run a case with the last bits of its weights changed, several times."""
    random = np.random.RandomState(0)
    size = min(1.0, float(np.abs(ours).max(initial=0.0)))
    for _ in range(RUNS):
        yield run(case._replace(network=_nudge(case, size, random)))


def spread_bounds(
    ours: Floats, key: Integers, runs: Iterable[Floats], precision: str
) -> tuple[Floats, Truths]:
    """Bound values by ``8 eps max(|h|, min(1, max |h|)) + 8 d``; find those to be judged.

    d is the largest distance between our own run and nudged ones, within eight steps of the same
    key; where it is too large to judge, within all.
    """
    spread: Floats = np.zeros(ours.shape)
    for nudged in runs:
        distance = distances(nudged, ours)
        np.maximum(spread, np.where(np.isfinite(distance), distance, np.inf), out=spread)
    nearby = spread.copy()
    for shift in range(1, min(STEPS, len(spread) - 1) + 1):
        same = (key[shift:] == key[:-shift])[:, None]
        np.maximum(nearby[shift:], spread[:-shift], out=nearby[shift:], where=same)
        np.maximum(nearby[:-shift], spread[shift:], out=nearby[:-shift], where=same)
    judged = FACTOR * nearby <= most_spread(ours, precision)
    nearby = np.where(judged, nearby, spread.max(axis=0))
    return _rounding(ours) + FACTOR * nearby, judged


def _top_rows(case: Case) -> Floats:
    """Run a case: the rows of the top layer, with that of each sequence behind its steps."""
    layers, final = case.run()
    if final is None:
        return layers[-1]
    return np.insert(layers[-1], case.groups.starts + case.groups.lengths, final, axis=0)


def most_spread(ours: Floats, precision: str) -> Floats:
    """Compute how far rounding may move a value that is still judged."""
    largest = np.abs(ours.astype(np.float64)).max(axis=0)
    return np.asarray(np.maximum(_rounding(ours), SMALL[precision] * largest))


def _rounding(ours: Floats) -> Floats:
    """Compute how far rounding moves a value of a network that forgets."""
    size, kind = np.abs(ours.astype(np.float64)), np.finfo(ours.dtype)
    least = min(1.0, float(size.max(initial=0.0)))
    # Numbers under the smallest normal one may lose all digits.
    return np.asarray(UNITS * kind.eps * np.maximum(size, least) + kind.tiny)


def _nudge(case: Case, size: float, random: np.random.RandomState) -> Network:
    """Change every weight by about a last bit, except matrices that all programs round alike."""
    precision, nudge = PRECISIONS[case.precision], NUDGES[case.precision]
    last_bit = float(np.finfo(precision.dtype).eps)  # for arrays that no product takes

    def move(name: str, array: Floats) -> Floats:
        if array.ndim > 1 and precision.rounds:
            return array
        by, bias = np.abs(array), name in ("b_h", "b_n", "b")
        by = last_bit * by if name in NORMS else nudge * (by + size * bias)
        return np.asarray(array.astype(np.float64) + by * random.choice([-1.0, 1.0], array.shape))

    def move_gates(cell: Cell) -> Cell:
        activations: dict[str, Any] = {}
        for name, value in cell.settings.items():
            # A program may compute (1 + tanh(a / 2)) / 2, of which the last bit is that of 1.
            gate = name == "recurrent_activation" or getattr(value, "name", "") == "sigmoid"
            if isinstance(value, Activation) and (gate or cell.gates > 1):
                by = (nudge * random.choice([-1.0, 1.0], cell.hidden_size)).astype(precision.dtype)
                activations[name] = NudgedActivation(*value)
                activations[name].change = (np.add, by) if gate else (np.multiply, 1 + by)
        return cell.replaced(**activations)

    masking, layers = case.network.masking, case.network.layers
    above = (layer.converted(move) for layer in layers[masking:])
    return Network(*layers[:masking], *above, last=case.network.last).with_cells(move_gates)


class NudgedActivation(Activation):
    """An activation that is off by about a last bit, up or down."""

    change: tuple[Callable[..., Any], Floats]

    def __eq__(self, value: object) -> bool:
        """Compare by identity: cells compute an equal activation in another, exact way."""
        return self is value

    def function(self) -> Callable[[Floats, Floats], Any]:
        """Return ``function(a, out)``."""
        exact, (change, by) = super().function(), self.change
        return lambda a, out: (exact(a, out), change(out, by, out))
