"""Comparisons of a run with the float64 loop, all strategies, other libraries and results."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike

from rnncli import __version__
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.unroll import UNROLLS, why_unavailable
from rnncli.model.arrays import Floats
from rnncli.model.description import describe
from rnncli.model.errors import InputError, NotFiniteError, choice, one_line
from rnncli.model.formats.load import load_network
from rnncli.model.network import Network
from rnncli.model.seeds import seeded
from rnncli.readers import read_file
from rnncli.readers.expected import read_expected
from rnncli.readers.input import Keys, Layout, check_width
from rnncli.verification import peers, reference
from rnncli.verification.advice import advise
from rnncli.verification.case import Case, case_of_batch
from rnncli.verification.comparison import (
    LOOP,
    Comparison,
    Result,
    Tolerance,
    describe_row,
    not_compared,
)
from rnncli.verification.diagnosis import Diagnosis, find_causes
from rnncli.verification.digits import find_digits
from rnncli.verification.report import Report
from rnncli.verification.steps import can_judge_steps

# Rows at which rnn checks the ways to unroll, where the question is whether one result is right.
CHECKED = 2_000
# The states that the notebook printed, h after each step of cell 6, on a GPU that rounds to TF32.
PRINTED = (
    (-0.80105966, 0.9131062, 0.36578208, -0.7063606),
    (-0.9702719, 0.9996024, -0.6609227, -0.9999491),
    (-0.9489414, 0.9999923, -0.19376709, -0.99991894),
    (-0.99817336, 0.99999964, -0.07197513, -0.9999971),
    (-0.9998569, 1.0, 0.24250329, -0.99999964),
    (-0.99999285, 1.0, 0.42822266, -1.0),
)


def verify(
    network: Network | str | os.PathLike[str],
    x: ArrayLike | str | os.PathLike[str],
    expected: ArrayLike | str | os.PathLike[str] | None = None,
    *,
    h0: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    precision: str = "float32",
    unroll: str = "auto",
    peers: str | Sequence[str] = (),
    atol: float | None = None,
    rtol: float | None = None,
) -> Report:
    """Compare a run with a float64 loop, every way to unroll, and other results.

    Each step is judged by itself: h_t is equal if it is what one float64 step makes of x_t and of
    the h_{t-1} of the same result, of a vanilla cell within::

        max |f(a +- da) - f(a)| + 8 eps max(1, |f(a)|)
        da = (I + H + 4) eps (|x_t| @ |W_xh| + |h_{t-1}| @ |W_hh| + |b_h|)

    Where the states between steps are not known, whole runs are judged by how far apart runs with
    nudged weights are.

    Parameters
    ----------
    network : Network, str or path
        A path is read by `load`; a library among `peers` whose own file it is runs the file itself.
    x : array, shape (T, I) or (N, T, I)
        Input at every step, as for `run`; a table, or the name of a file of one sequence.
    expected : array, shape (T, O) or (N, T, O), optional
        What another program computed: states, or predictions of a model with a head; an array,
        a table, or the name of a file. (O,) or (N, O) of a model that gives one row a sequence
        (`Network.last`), (T,) of one that gives one value a step. Where it differs, the usual
        mistakes of a port are tried.
    h0 : array, shape (S,) or (N, S), optional
        State of all cells before the first step; zeros by default.
    lengths : array of int, shape (N,), optional
        Number of steps of each sequence; T by default.
    precision, unroll : str
        As for `run`.
    peers : {"keras", "torch", "onnxruntime"}, or a sequence of these
        Libraries to compare with.
    atol, rtol : float, optional
        Judge whole runs by ``|a - b| <= atol + rtol |b|`` in place of each step.

    Returns
    -------
    Report
        A dict whose text, as `print` shows it, is the report of ``rnn verify``, and which it
        writes as JSON: ``verdict`` is "equal", "different" or "not compared"; ``results`` has a
        dict for each comparison, that with `expected` first; ``explanations`` has the mistakes
        that reproduce `expected`, ``advice`` what to do where none does, ``digits`` how few digits
        it has.

    Raises
    ------
    ValueError
        A shape does not fit, a name is unknown, or a library is not installed or cannot run the
        network.
    NotFiniteError
        A state overflowed.

    Examples
    --------
    >>> network = rnncli.seeded(input_size=1, hidden_size=4)
    >>> rnncli.verify(network, [[1], [2], [3]])["verdict"]
    'equal'
    """
    path: str | None = None
    if isinstance(network, Network):
        model = network
    else:
        loaded = load_network(network, digest=False)
        path = os.fspath(network)
        for sentence in loaded.assumptions:
            warn(f"{path}: {sentence}", stacklevel=2)
        model = loaded.network
    dtype = choice("precision", precision, PRECISIONS).dtype
    if isinstance(x, str | os.PathLike):
        x = _read_input(os.fspath(x), model, dtype)
    values = model.checked_shape(x)
    case = case_of_batch(model, values, h0, lengths, precision).above_front()
    theirs = None
    if expected is not None:
        T = case.groups.lengths.max(initial=0) if model.front else values.shape[-2]
        name = "expected"
        if isinstance(expected, str | os.PathLike):
            name = os.fspath(expected)
            letter, count = "y" if model.head else "h", len(case.h0 if model.last else case.x)
            expected = read_expected(name, letter, warn, count)
        values = np.atleast_1d(np.asarray(expected, dtype))
        if values.ndim == model.output_size == 1:
            values = values[:, None]
        theirs = name, arrange(case, name, values, T)
    document = judge(
        case,
        unroll,
        describe(model, {}, __version__) | {"precision": precision},
        Tolerance.read(atol, rtol),
        theirs,
        (peers,) if isinstance(peers, str) else tuple(peers),
        path if precision == "float32" and h0 is None else None,
        path or "",
    )
    return Report(document)


def _read_input(path: str, network: Network, dtype: np.dtype[np.floating]) -> Floats:
    """Read the rows of a file, which are one sequence."""
    source = read_file(path, Layout(dtype, indices=network.indices), Keys())
    check_width(source, network.input_size)
    return np.concatenate([np.empty((0, network.input_size), dtype), *(b.x for b in source.blocks)])


def arrange(case: Case, name: str, theirs: Floats, T: int) -> Floats:
    """Arrange a result of shape (n, O) or (N, T, O), or (N, O) if the model gives one row."""
    network, groups, N = case.network, case.groups, len(case.h0)
    got: tuple[int, ...]
    wanted: tuple[int, ...] = (N, T, network.output_size)
    if network.last:
        wanted, theirs = (N, network.output_size), theirs.reshape(-1, theirs.shape[-1])
        rows = theirs[np.minimum(groups.present, len(theirs) - 1)]
        got = theirs.shape
    elif theirs.ndim == 2 and len(theirs) == len(case.x):
        rows, got = theirs, (N, T, theirs.shape[1])
    else:
        theirs = theirs if theirs.ndim == 3 else theirs[None]
        ends = np.zeros(N, np.intp)
        ends[groups.present] = groups.lengths
        rows, got = theirs, theirs.shape
        if got == wanted:
            rows = theirs[np.arange(T) < ends[:, None]]
    if got == wanted:
        return rows
    if not network.last:
        got, wanted = (each[1:] if each[0] == 1 else each for each in (got, wanted))
    hint = ""
    if theirs.shape[-1] == network.layers[-1 - network.head].output_size != wanted[-1]:
        hint = "`layer` NAME compares the states below the head"
    elif not network.last and got == (N, wanted[-1]):
        hint = "`last` compares one row per sequence"
    elif theirs.shape[-2:][::-1] == wanted[-2:]:
        hint = "its rows are the units: transpose it"
    what = f"expected shape {wanted}, as the input and the network give, got {got}"
    raise InputError(name, what, hint)


def judge(
    case: Case,
    unroll: str,
    model: dict[str, Any],
    tolerance: Tolerance | None = None,
    expected: tuple[str, Floats] | None = None,
    peers: Sequence[str] | None = (),
    path: str | None = None,
    source: str = "",
) -> dict[str, Any]:
    """Compare a run with everything; `peers` is None for every library that is installed.

    A peer may run the file at `path`; `source` is the file of the network.
    """
    comparison = Comparison(case, case.outputs(unroll), tolerance)
    _check_finite(comparison)
    results, document = list[Result](), dict[str, Any]()
    if expected is not None:
        results, document = judge_expected(comparison, *expected, source)
    ours, checked_rows = judge_ours(comparison, unroll, whole=expected is None)
    results += [*ours, *judge_peers(comparison, peers, path, model)]
    verdicts = {result["verdict"] for result in results}
    verdict = next((each for each in ("different", "equal") if each in verdicts), "not compared")
    if expected is not None and results[0]["verdict"] == "not compared":
        verdict = "not compared"
    return {
        "equal": verdict == "equal",
        "verdict": verdict,
        "model": model | {"unroll": unroll},
        "rule": tolerance._asdict() if tolerance else "step error",
        "results": results,
        **({"checked_rows": checked_rows} if checked_rows else {}),
        **document,
    }


def _check_finite(comparison: Comparison) -> None:
    for values in comparison.layers:
        for row, unit in np.argwhere(~np.isfinite(values)).tolist():
            at = describe_row(comparison.case, row)
            where = f"{at['key']}: " if "key" in at else ""
            raise NotFiniteError(where, at["step"], unit, values[row, unit])


def judge_expected(
    comparison: Comparison, name: str, theirs: Floats, source: str
) -> tuple[list[Result], dict[str, Any]]:
    """Judge a result from outside; return the judgement, and what explains a difference."""
    case, digits = comparison.case, find_digits(theirs)
    of_file = Comparison(case, comparison.layers, comparison.tolerance, digits)
    result = of_file.judge(name, theirs)
    different = result["verdict"] == "different" and np.isfinite(theirs).all()
    if different and source:
        of_file.case = case._replace(extension=os.path.splitext(source)[1].lower())
    diagnosis = find_causes(of_file, theirs, digits) if different else Diagnosis({}, {})
    document: dict[str, Any] = {"digits": digits.name} if digits else {}
    document["explanations"] = [
        {"name": cause, "difference": left} for cause, left in diagnosis.causes.items()
    ]
    if different and not diagnosis.causes:
        document["advice"] = [*advise(of_file, result, diagnosis)]
    return [result], document


def judge_ours(comparison: Comparison, unroll: str, *, whole: bool) -> tuple[list[Result], int]:
    """Judge our loop and strategies; return the number of rows that they ran on, 0 for all.

    A long input is run again over its first rows alone, where steps judge them; with `whole`, the
    run by `unroll`, which is the one that is asked about, is judged at all rows.
    """
    case, tolerance, checked = comparison.case, comparison.tolerance, comparison
    by_steps = not tolerance and can_judge_steps(case.network, len(comparison.layers))
    first = first_rows(case) if by_steps or not whole else None
    results = list[Result]()
    if first:
        checked = Comparison(first, first.outputs(unroll), tolerance)
        if whole:
            results = [comparison.judge(f"`unroll` {unroll}", comparison.ours, comparison.layers)]
    names = {result["name"] for result in results}
    strategies = [each for each in judge_strategies(checked) if each["name"] not in names]
    return [judge_loop(checked), *results, *strategies], len(first.x) if first else 0


def first_rows(case: Case) -> Case | None:
    """Return the case of the first rows, by which rnn checks itself; None if there are no more."""
    if len(case.x) <= CHECKED or any(layer.takes_sequences for layer in case.network.layers):
        return None
    return case.choose(np.arange(len(case.x)) < CHECKED)


def judge_notebook(unroll: str) -> dict[str, Any]:
    """Compare the states that the notebook printed with a run of its network."""
    network = seeded(1, 4, 1, "tensorflow")
    case = case_of_batch(network, np.arange(1.0, 7)[:, None], precision="tf32")
    model = describe(network, {"init": "tensorflow", "seed": 1}, __version__)
    printed = ("the notebook's states", np.array(PRINTED, np.float32))
    return judge(case, unroll, model | {"precision": "tf32"}, expected=printed)


def judge_loop(comparison: Comparison) -> Result:
    """Compare with the float64 loop, whose cells have equations of their own."""
    case = comparison.case
    network = case.network.converted(PRECISIONS[case.precision].convert)
    try:
        runs = [
            reference.run(network, case.x[rows], case.h0[key], case.precision)
            for key, rows in zip(case.groups.present, case.groups.split(), strict=True)
        ]
    except ValueError as error:  # a cell whose step is not written out
        return not_compared(LOOP, str(error))
    if not runs:
        return comparison.judge(LOOP, comparison.ours)
    layers = [[run.y_n[None]] if network.last else run.outputs for run in runs]
    exact = [*map(np.concatenate, zip(*layers, strict=True))]
    return comparison.judge(LOOP, exact[-1], exact)


def judge_strategies(comparison: Comparison) -> Iterator[Result]:
    """Compare with every strategy that can run here."""
    for unroll in UNROLLS:
        name, lacking = f"`unroll` {unroll}", why_unavailable(unroll, comparison.case.precision)
        if lacking:
            yield not_compared(name, lacking)
        else:
            layers = comparison.case.outputs(unroll)
            yield comparison.judge(name, layers[-1], layers)


def judge_peers(
    comparison: Comparison,
    wanted: Sequence[str] | None,
    path: str | None,
    model: Mapping[str, Any],
) -> Iterator[Result]:
    """Compare with these libraries, None for all; the file at `path` lacks a layer that scales."""
    for name in peers.PEERS if wanted is None else dict.fromkeys(wanted):
        installed = peers.version(name)
        try:
            if not installed:
                raise peers.Unsupported(f"not installed: {peers.REQUIREMENT}")
            result = _run_peer(comparison, name, path, model)
        except Exception as error:  # whatever a library raises
            if wanted:
                raise InputError(f"peer {name}", one_line(error)) from error
            result = not_compared(name, one_line(error))
        yield {"name": name, "version": installed} | result


def _run_peer(
    comparison: Comparison, name: str, path: str | None, model: Mapping[str, Any]
) -> Result:
    """Run the file at `path` if the library reads such files; else build the network in it."""
    case, note = comparison.case, {}
    file = os.path.basename(path or "")
    if path:
        original = case.original or case
        bottom: Any = (*original.network.front, *original.network.layers)[0]
        x = bottom(original.x) if model.keys() & {"center", "scale"} else original.x
        x = x if original.network.indices is None else x[:, 0].astype(np.int64)
        try:
            ours = peers.Ours(
                comparison.ours,
                case.result_groups,
                model["source"].get("output_name"),
                model["source"].get("inputs", {}),
            )
            theirs = peers.run_file(name, path, x, original.groups, ours)
            if theirs is not None:
                return {"note": f"ran {file} itself"} | comparison.judge(name, theirs)
        except Exception as error:  # whatever a library raises
            note = {"note": f"cannot run {file}: {one_line(error)}; built from its weights"}
    run = peers.build(name, case.network, case.precision)
    layers = run(case.x, case.groups, case.h0)
    if case.network.last:  # a peer gives a row a step
        case = case._replace(network=Network(*case.network.layers))
        comparison = Comparison(case, case.outputs(), comparison.tolerance)
    return note | comparison.judge(name, layers[-1], layers)
