"""Comparisons of a run with the float64 loop, every strategy, other libraries and a file."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncli.engine.unroll import UNROLLS, missing
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError
from rnncli.model.network import Network
from rnncli.verification import peers, reference
from rnncli.verification.case import Case
from rnncli.verification.comparison import Comparison, Tolerance, Verdict
from rnncli.verification.diagnosis import explain
from rnncli.verification.peers import PEERS, Unsupported


class Result(NamedTuple):
    """The comparison of a run with one other result."""

    name: str  # but for a file's: parameters stand between backticks, see `diagnosis`
    version: str = ""  # of a library
    verdict: Verdict | None = None  # None where there was nothing to compare
    note: str = ""  # why not, or what was run
    explanations: Mapping[str, float] | None = None  # of a file that differs: `explain`

    @property
    def differs(self) -> bool:
        """Whether it was compared, and is not equal."""
        return self.verdict is not None and not self.verdict.equal


def compare(case: Case, unroll: str, tolerance: Tolerance | None = None) -> Comparison:
    """Run a case, to compare every step; of a model that gives one row a sequence, that too."""
    states = case.run(unroll)
    every = case._replace(network=Network(*case.network.layers))
    comparison = Comparison(every, states.layers, tolerance)
    if case.network.last and states.y_n is not None:
        comparison.row = Comparison(case, [states.y_n[:, None]], tolerance)
    return comparison


def result_of(
    comparison: Comparison,
    name: str,
    theirs: Floats,
    layers: Sequence[Floats] = (),
    *,
    own: bool = False,
) -> Result:
    """Judge another run by `Comparison.judge`; the note is the reason if that cannot be done."""
    try:
        return Result(name, verdict=comparison.judge(theirs, layers, own=own))
    except ValueError as error:
        return Result(name, note=str(error))


def _with_row(comparison: Comparison, result: Result, row: Floats | None) -> Result:
    """Judge the row that a model gives of a sequence too, where the steps are equal."""
    verdict = result.verdict
    if not (comparison.row and verdict and verdict.equal and row is not None):
        return result
    of_row = result_of(comparison.row, result.name, row[:, None]).verdict or verdict
    of_row = of_row._replace(step_error=verdict.step_error, values=row.size)
    return result._replace(verdict=of_row)


def with_reference(comparison: Comparison) -> Result:
    """Compare with the float64 loop: the steps judged are our own.

    Where they are judged, and one is wrong, `comparison` knows it from then
    on. A step is judged by the equation of its cell, so the steps of the loop,
    which has equations of its own, are judged too.
    """
    case, name = (comparison.row or comparison).case, "float64 loop"
    exact, ends = [np.zeros(rows.shape) for rows in comparison.layers], list[Any]()
    try:
        network = case.network_as_run()
        for n, length in enumerate(case.lengths):
            run, row = reference.run(network, case.x[n, :length], case.h0[n], case.precision)
            ends.append(row)
            for rows, layer in zip(exact[::-1], run[::-1], strict=False):
                rows[n, :length] = layer
    except ValueError as error:  # a cell whose step is not written out
        return Result(name, note=str(error))
    result = result_of(comparison, name, exact[-1], comparison.layers, own=True)
    if result.verdict and not comparison.tolerance:
        comparison.wrong = result.verdict.first
        if result.verdict.equal and result.verdict.step_error is not None:
            of_loop = result_of(comparison, name, exact[-1], exact)
            result = of_loop if of_loop.differs else result
    return _with_row(comparison, result, np.concatenate(ends) if comparison.row else None)


def with_strategies(comparison: Comparison) -> Iterator[Result]:
    """Compare with every strategy that can run here."""
    case = (comparison.row or comparison).case
    for unroll in UNROLLS:
        name, lacking = f"`unroll` {unroll}", missing(unroll, case.precision)
        if lacking:
            yield Result(name, note=lacking)
            continue
        states = case.run(unroll)
        result = result_of(comparison, name, states.layers[-1], states.layers)
        yield _with_row(comparison, result, states.y_n)


def with_peers(
    comparison: Comparison, wanted: Sequence[str] = (), path: str | None = None
) -> Iterator[Result]:
    """Compare with each library, or with those that are wanted: these have to run it.

    A model file at `path` is run by its own library.
    """
    case, target = comparison.case, comparison.row or comparison
    x = case.x if case.network.indices is None else case.x[..., 0].astype(np.int64)
    for name in wanted or PEERS:
        version, note = peers.version(name), ""
        if version is None:
            note = f"not installed: {peers.requirement(name)}"
            if wanted:
                raise ValueError(f"peer {name} is {note}")
            yield Result(name, note=note)
            continue
        theirs = None
        try:
            if path is not None:
                try:
                    theirs = peers.run_file(name, path, x, case.lengths, target.ours)
                    note = f"ran {os.path.basename(path)} itself" * (theirs is not None)
                except Unsupported as error:
                    note = f"{error}; built from its weights"
            result = _built(comparison, name) if theirs is None else result_of(target, name, theirs)
        except Unsupported as error:
            if wanted:
                raise ValueError(f"peer {name}: {error}") from error
            result = Result(name, note=str(error))
        yield result._replace(version=version, note=result.note or note)


def _built(comparison: Comparison, name: str) -> Result:
    """Compare with the network built in a library from its weights."""
    case = comparison.case
    all_layers = len(case.network.layers) > 1
    peer = peers.build(name, case.network, precision=case.precision, all_layers=all_layers)
    states = peer(case.x, case.h0, case.lengths)
    theirs = states.h if states.y is None else states.y
    return result_of(comparison, name, theirs, states.layers)


def with_expected(comparison: Comparison, name: str, theirs: Floats, hint: str = "") -> Result:
    """Compare with what a file holds; where it differs, look for what explains it."""
    ours, last = comparison.ours, comparison.case.network.last
    result = Result(
        name,
        note=f"expected shape {_shape(ours, last)}, as the input and the network give, "
        f"got {_shape(theirs, last)}",
    )
    if theirs.shape == ours.shape:
        result = result_of(comparison, name, theirs)
        if not result.differs:
            return result
    found = {}
    if theirs.shape[-1] == ours.shape[-1] and np.isfinite(theirs).all():
        found = explain(comparison, theirs)
    if not (result.verdict or found):
        raise InputError(name, result.note, hint)
    return result._replace(explanations=found)


def _shape(h: Floats, last: str | None) -> tuple[int, ...]:
    """Return the shape of a result: of one sequence as (T, O), of a row a sequence as (N, O)."""
    if last:
        return h[:, 0].shape
    return h.shape[1:] if len(h) == 1 else h.shape
