"""A network's run beside others of it: written out, by every strategy, in peers, from a file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from rnncli.engine.unroll import UNROLLS
from rnncli.model.arrays import Floats, Integers
from rnncli.verify import reference
from rnncli.verify.case import Case
from rnncli.verify.diagnosis import Explanation, explain
from rnncli.verify.shares import hides_states
from rnncli.verify.verdict import Place, Tolerance, Verdict, judge, values_at
from rnncli.verify.whole import Bounds, whole_run_bounds


class Result(NamedTuple):
    """What a run was compared with, and what came of it.

    Parameters
    ----------
    name : str
    version : str
        Of the library, where it is one.
    verdict : Verdict or None
        None where there was nothing to compare; then the note says why.
    note : str
    """

    name: str
    version: str = ""
    verdict: Verdict | None = None
    note: str = ""


@dataclass
class Comparison:
    """A case, our own run of it, and how others are judged by it.

    Parameters
    ----------
    case : Case
    layers : tuple of arrays
        What every layer gives in our run, the bottom one first.
    tolerance : Tolerance or None
        As for `judge`.
    wrong : Place or None
        The first step of our own run that is not right, once it is known.
        Nothing is equal to a wrong run, even if its own steps are right.
    """

    case: Case
    layers: tuple[Floats, ...]
    tolerance: Tolerance | None = None
    wrong: Place | None = None

    @cached_property
    def bounds(self) -> Bounds:
        """How far whole runs may be apart, measured for all results once one of them needs it."""
        return whole_run_bounds(self.case, self.layers[-1])

    def result(
        self, name: str, theirs: Floats, layers: Sequence[Floats] = (), version: str = ""
    ) -> Result:
        """Judge another run, of which all layers are known or the top one."""
        whole = not self.tolerance and hides_states(self.case.network, len(layers) or 1)
        bounds = self.bounds if whole else None
        try:
            verdict = judge(self.case, self.layers[-1], theirs, layers, self.tolerance, bounds)
        except ValueError as error:
            return Result(name, version, note=str(error))
        if self.wrong and not verdict.first:
            values = values_at(self.case, self.layers[-1], theirs, self.wrong)
            verdict = verdict._replace(equal=False, first=self.wrong, values=values)
        return Result(name, version, verdict)


def with_reference(comparison: Comparison) -> Result:
    """Compare with the written-out float64 loop: the steps judged are our own."""
    case = comparison.case
    exact = np.zeros(comparison.layers[-1].shape)
    for n, length in enumerate(case.lengths):
        run = reference.run(case.network, case.x[n, :length], case.h0[n], case.precision)
        exact[n, :length] = run[-1]
    return comparison.result("float64 loop", exact, comparison.layers)


def with_strategies(comparison: Comparison) -> Iterator[Result]:
    """Compare with every strategy."""
    for unroll in UNROLLS:
        layers = comparison.case.states(unroll)
        yield comparison.result(f"--unroll {unroll}", layers[-1], layers)


def with_peers(comparison: Comparison, wanted: Sequence[str]) -> Iterator[Result]:
    """Compare with peers: those that are wanted, or by default all that are installed.

    Raises
    ------
    ValueError
        One that is wanted is not installed, or cannot run the network.
    """
    from rnncli.verify.peers import PEERS, Unsupported, build, requirement, version

    case = comparison.case
    for name in wanted or PEERS:
        installed = version(name)
        if installed is None:
            if wanted:
                raise ValueError(f"peer {name} is not installed: {requirement(name)}")
            yield Result(name, note=f"not installed: {requirement(name)}")
            continue
        try:
            peer = build(
                name,
                case.network,
                precision=case.precision,
                all_layers=len(case.network.layers) > 1,
            )
            states = peer(case.x, case.h0, case.lengths)
        except Unsupported as error:
            if wanted:
                raise ValueError(f"peer {name}: {error}") from error
            yield Result(name, installed, note=str(error))
            continue
        yield comparison.result(name, states.h, states.layers, installed)


def with_expected(
    comparison: Comparison, name: str, theirs: Floats
) -> tuple[Result, list[Explanation]]:
    """Compare with what a file holds; where it differs, look for a convention that explains it.

    Parameters
    ----------
    comparison : Comparison
    name : str
        Of the file.
    theirs : array, shape (N, T, H)
        Another shape is an error, unless a convention explains it.

    Raises
    ------
    ValueError
        The shapes differ, and nothing explains it.
    """
    case, ours = comparison.case, comparison.layers[-1]
    if theirs.shape == ours.shape:
        result = comparison.result(name, theirs)
        differs = result.verdict is not None and not result.verdict.equal
        if not differs or not np.isfinite(theirs).all():
            return result, []
        return result, explain(case, theirs, comparison.tolerance)
    message = f"expected shape {_shape(ours)}, as the input and the network give, "
    same_width = theirs.shape[-1] == ours.shape[-1] and np.isfinite(theirs).all()
    explanations = explain(case, theirs, comparison.tolerance) if same_width else []
    if not explanations:
        raise ValueError(f"{name}: {message}got {_shape(theirs)}")
    return Result(name, note=f"{message}got {_shape(theirs)}"), explanations


def in_sequences(rows: Floats, key: Integers, lengths: Integers) -> Floats:
    """Gather rows of several sequences as (N, T, K), zeros beyond the end of each."""
    order = np.argsort(key, kind="stable")
    t = np.arange(len(key)) - np.repeat(lengths.cumsum() - lengths, lengths)
    gathered = np.zeros((len(lengths), lengths.max(initial=0), rows.shape[1]), rows.dtype)
    gathered[key[order], t] = rows[order]
    return gathered


def _shape(h: Floats) -> tuple[int, ...]:
    """Give the shape of a result, of one sequence as (T, H)."""
    return h.shape[1:] if len(h) == 1 else h.shape
