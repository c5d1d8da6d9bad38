"""The diagnosis of a result that differs: each mistake of a port is made, and compared with it.

First all mistakes run over a few rows. The nearest then run over many, with the last bits of their
weights nudged: a mistake explains a result if no value is further from it than these runs show.
"""

from collections.abc import Sequence
from math import inf
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.network import Network
from rnncli.verification.case import Case
from rnncli.verification.comparison import (
    Comparison,
    distances,
    nudged_runs,
    spread_bounds,
)
from rnncli.verification.digits import Digits, find_half
from rnncli.verification.mistakes import Mistake, make_mistakes

# Rows of a few sequences on which every mistake is tried; where the last state of a sequence or a
# backward direction shows in them, more rows, of more sequences, have to run.
ROWS, SEQUENCES, RUN_ROWS, LAST_SEQUENCES = 32, 4, 256, 16
# Rows on which the nearest mistakes are judged, and how many of them.
JUDGED_ROWS, NEAREST = 2_000, 12
# A mistake is near if it leaves this share of the differences, see `_score`.
NEAR = 0.5
# Mistakes whose distances are within this ratio explain a result equally well.
ALIKE, LAST_BITS = 1.1, 32
# Seconds after which no more mistakes are tried.
BUDGET = 20.0


class Diagnosis(NamedTuple):
    """The mistakes that reproduce a result, or the nearest ones."""

    causes: dict[str, float]  # by name, the largest distance that is left
    nearest: dict[str, float]  # by name, the share of the differences that is left
    stopped: bool = False  # whether time ran out before all mistakes were tried


class Excerpt(NamedTuple):
    """Some rows of a case and of a result."""

    case: Case
    rows: Truths  # of the result
    judged: Truths  # of these, the rows that are compared

    @property
    def compared(self) -> Integers:
        """The rows of the whole result that are compared."""
        return np.flatnonzero(self.rows)[self.judged]


class Trial(NamedTuple):
    """A mistake, and its run over an excerpt."""

    score: float
    number: int  # in the order of the table
    mistake: Mistake
    result: Floats


def find_causes(comparison: Comparison, theirs: Floats, digits: Digits | None = None) -> Diagnosis:
    """Find the mistakes that reproduce a result best."""
    if not theirs.any():  # zeros explain nothing
        return Diagnosis({"all values are 0": 0.0}, {})
    case, ours = comparison.case, comparison.ours
    with np.errstate(all="ignore"):
        off = distances(ours, theirs).max(axis=1)
        start = int(case.result_steps[off > 0.01 * off.max()].min())
        few = choose_rows(case, start + ROWS, SEQUENCES)
        tried, stopped = _try_all(comparison, theirs, few)
        tried.sort(key=lambda trial: trial.score)
        many = choose_rows(case, JUDGED_ROWS, None)
        trials = []
        for trial in tried[:NEAREST]:
            result = trial.mistake.make(many.case).outputs()[-1]
            if result.shape == theirs[many.rows].shape:
                score = _score(comparison, result, theirs, many)
                trials.append(trial._replace(score=score, result=result))
        trials.sort(key=lambda trial: trial.score)
        causes = _choose(comparison, theirs, many, trials)
        causes = causes or _find_half(ours, theirs, digits)
    nearest: dict[str, float] = {}
    for trial in trials:
        if trial.score < NEAR:
            nearest.setdefault(trial.mistake.name, trial.score)
    return Diagnosis(causes, nearest, stopped)


def _find_half(ours: Floats, theirs: Floats, digits: Digits | None) -> dict[str, float]:
    """Find the kind of half that a port computes in: its values are such numbers, and near."""
    kind, off = find_half(theirs, digits), distances(ours, theirs)
    if kind is None or not np.sqrt(np.mean(off**2)) <= 0.1 * np.abs(ours).max():
        return {}
    return {f"computed in {kind} throughout: all values are {kind} numbers": float(off.max())}


def _try_all(comparison: Comparison, theirs: Floats, few: Excerpt) -> tuple[list[Trial], bool]:
    """Run every mistake over a few rows; return the near ones, and whether time ran out."""
    end, whole, near = monotonic() + BUDGET, few, list[Trial]()
    if not few.judged.all() or len(few.case.x) < len(comparison.case.x):
        whole = choose_rows(comparison.case, None, SEQUENCES)
    mistakes = make_mistakes(comparison.case, comparison.ours, theirs)
    for number, mistake in enumerate(mistakes):
        if monotonic() > end:
            return near, True
        excerpt = whole if mistake.whole else few
        result = mistake.make(excerpt.case).outputs()[-1]
        if result.shape == theirs[excerpt.rows].shape:
            score = _score(comparison, result, theirs, excerpt)
            if score < NEAR:
                near.append(Trial(score, number, mistake, result))
    return near, False


def choose_rows(case: Case, rows: int | None, sequences: int | None) -> Excerpt:
    """Choose the first rows of the first sequences; None for all of them."""
    network, lengths = case.network, case.groups.lengths
    if network.last:
        sequences = sequences and LAST_SEQUENCES
    present = case.groups.present[:sequences]
    if rows and network.last:  # whole sequences, the first at least
        present = present[: max(1, int((lengths[: len(present)].cumsum() <= 64 * rows).sum()))]
    chosen = np.isin(case.groups.keys, present)
    if network.last:
        of_result = np.isin(case.result_groups.keys, present)
        return Excerpt(case.choose(chosen), of_result, np.ones(int(of_result.sum()), bool))
    steps = case.steps
    if rows is None:
        return Excerpt(case.choose(chosen), chosen, np.ones(int(chosen.sum()), bool))
    # A backward direction forgets where it began.
    run = chosen & (steps <= (rows + RUN_ROWS * network.needs_whole_sequences))
    if len(present) > 1:
        run &= np.cumsum(run) <= 4 * JUDGED_ROWS
    return Excerpt(case.choose(run), run, steps[run] <= rows)


def _score(comparison: Comparison, result: Floats, theirs: Floats, excerpt: Excerpt) -> float:
    """Compute how much of the difference a mistake leaves: 0 is nothing, 1 all or more.

    Values that are right with the mistake and without it say nothing.
    """
    rows = excerpt.compared
    left = distances(theirs[rows], result[excerpt.judged])
    before = np.maximum(distances(theirs[rows], comparison.ours[rows]), comparison.floor(rows))
    tell = ~((left <= comparison.floor(rows)) & (before <= comparison.floor(rows)))
    if not tell.any():
        return 1.0
    share = left[tell] / before[tell]
    return float(np.where(share < 1, share, 1).mean())


def _choose(
    comparison: Comparison, theirs: Floats, many: Excerpt, trials: Sequence[Trial]
) -> dict[str, float]:
    """Choose the trial that explains a result best, and those that do as well, by the table."""
    explaining: list[tuple[Trial, float]] = []
    best = inf
    rows = many.compared
    shown = theirs[rows].astype(np.float64)
    last_bits = LAST_BITS * np.finfo(theirs.dtype).eps * max(1.0, np.abs(shown).max())
    for trial in trials:
        left = distances(shown, trial.result[many.judged])
        exact = comparison.units is None
        size = float(left.max() if exact else np.sqrt(np.mean(left**2)))
        most = max(ALIKE * best, last_bits if exact else 0)
        if size <= most and _explains(comparison, theirs, many, trial):
            best = min(best, size)
            explaining.append((trial, float(left.max())))
    causes: dict[str, float] = {}
    chosen: list[tuple[str, Network]] = []
    for trial, distance in sorted(explaining, key=lambda pair: pair[0].number):
        # Two functions may be alike at all values, and two changes of an array the same.
        kind = trial.mistake.name.split()[0]
        network = trial.mistake.make(many.case).network
        changes = network is not many.case.network
        if not any(kind == k or (changes and _are_alike(network, n)) for k, n in chosen):
            causes[trial.mistake.name] = distance
            chosen.append((kind, network))
    return causes


def _are_alike(network: Network, second: Network) -> bool:
    """Check whether two networks compute the same."""
    for layer, same in zip(network.layers, second.layers, strict=True):
        a: Any
        b: Any
        for a, b in zip((layer, *layer.cells), (same, *same.cells), strict=True):
            ours, theirs = (getattr(each, "weights", each).arrays for each in (a, b))
            if type(a) is not type(b) or dict(a.settings) != dict(b.settings):
                return False
            if ours.keys() != theirs.keys():
                return False
            if not all(np.array_equal(ours[name], theirs[name]) for name in ours):
                return False
    directions = ([layer.directions for layer in each.layers] for each in (network, second))
    return next(directions) == next(directions) and network.last == second.last


def _explains(comparison: Comparison, theirs: Floats, many: Excerpt, trial: Trial) -> bool:
    """Judge a trial by runs whose weights are nudged, or by a tolerance."""
    rows = many.compared
    left = distances(theirs[rows], trial.result[many.judged])
    before = distances(theirs[rows], comparison.ours[rows])
    if comparison.tolerance:
        bound = comparison.tolerance.bound(theirs[rows])
        judged = np.ones(bound.shape, bool)
    else:
        case = trial.mistake.make(many.case)
        keys = case.result_groups.keys * (not case.network.last)
        runs = nudged_runs(case, trial.result, lambda case: case.outputs()[-1])
        bound, judged = spread_bounds(trial.result, keys, runs, case.precision)
        bound, judged = bound[many.judged], judged[many.judged]
    bound = bound + comparison.unit(rows)
    if not judged.any() or not trial.result.any() or not (left <= bound)[judged].all():
        return False
    # Bounds are wide where operands are rounded: most of the difference must go.
    return bool((left / bound)[judged].max() <= (before / bound)[judged].max() / 4)
