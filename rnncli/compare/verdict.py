"""Verdicts: whether a result is that of a network on an input, and where it is not."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnncli import reference
from rnncli.arrays import Floats, Integers, Truths
from rnncli.compare.runs import relative
from rnncli.compare.steps import row_errors
from rnncli.forward import run
from rnncli.network import Layer, Network, Part

# Whole runs are compared until our own run is so far, relative to max(1, |h|),
# from one of higher precision; two right runs are then within `WITHIN` of each
# other: each one `PARTED` from the truth, doubled.
PARTED = {"float32": 1e-6, "tf32": 1e-6, "bfloat16": 1e-6, "float64": 1e-14}
WITHIN = 4.0


class Case(NamedTuple):
    """A network and an input: what a result is a result of.

    Parameters
    ----------
    network : Network
    x : array, shape (N, T, I)
    h0 : array, shape (N, S)
    lengths : array of int, shape (N,)
        Number of steps of each sequence.
    precision : str
        What it is computed in.
    """

    network: Network
    x: Floats
    h0: Floats
    lengths: Integers
    precision: str = "float32"

    def running(self) -> Truths:
        """Tell which sequences have a step t, shape (N, T)."""
        return np.asarray(np.arange(self.x.shape[1]) < self.lengths[:, None])

    def states(self, unroll: str = "auto") -> tuple[Floats, ...]:
        """Run it: what every layer gives, the bottom one first."""
        return run(
            self.network,
            self.x,
            self.h0,
            lengths=self.lengths,
            precision=self.precision,
            unroll=unroll,
            all_layers=True,
        ).layers


class Tolerance(NamedTuple):
    """Two values are equal where ``|a - b| <= atol + rtol |b|``."""

    atol: float = 0.0
    rtol: float = 0.0


class Place(NamedTuple):
    """A value in a result: sequence and step counted from 1, unit from 0."""

    sequence: int
    step: int
    unit: int


class Apart(NamedTuple):
    """How far two whole runs are apart.

    Parameters
    ----------
    largest : float
        Largest distance of two values.
    at : Place or None
        Where that is; None where the runs are equal.
    atol, rtol : float
        The smallest that would pass, each with the other 0.
    steps : int
        Steps of each sequence that are compared, at most.
    """

    largest: float
    at: Place | None
    atol: float
    rtol: float
    steps: int


class Verdict(NamedTuple):
    """What comes of a comparison.

    Parameters
    ----------
    equal : bool
    step_error : float or None
        Largest error of a step as a share of its bound; None where steps
        cannot be judged, since the states that they start from are unknown.
    first : Place or None
        The first value that is wrong.
    apart : Apart
        How far the whole runs are apart.
    """

    equal: bool
    step_error: float | None
    first: Place | None
    apart: Apart


def judge(
    case: Case,
    ours: Floats,
    theirs: Floats,
    layers: Sequence[Floats] = (),
    tolerance: Tolerance | None = None,
) -> Verdict:
    """Judge a result.

    By default every step is judged by itself, from the states of the same
    result (`step_errors`). Where those are not known (of the layers below,
    or of two directions that are merged), whole runs are compared, up to the
    step where our own run and one of higher precision part. With a tolerance
    whole runs are compared over all steps.

    Parameters
    ----------
    case : Case
    ours : array, shape (N, T, H)
        Our own run of it: what the top layer gives.
    theirs : array, shape (N, T, H)
        What is judged.
    layers : sequence of arrays, optional
        What every layer gives in the result whose steps are judged, the
        bottom one first; `theirs`, of the top layer alone, by default.
    tolerance : Tolerance, optional

    Raises
    ------
    ValueError
        The shapes differ, or there is nothing to compare.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"expected shape {ours.shape}, got {theirs.shape}")
    compared = case.running()
    if not compared.any():
        raise ValueError("nothing to compare: there are no steps")
    errors = None if tolerance is not None else step_shares(case, layers or [theirs])
    if tolerance is not None:
        wide = _wide(theirs)  # a float32 may not hold the tolerance
        within = np.abs(ours - wide) <= tolerance.atol + tolerance.rtol * np.abs(wide)
        wrong = ~(within & np.isfinite(theirs))
    elif errors is not None:
        wrong = errors > 1
    else:
        compared = compared & together(case, ours)
        wrong = relative(ours, theirs) > WITHIN * PARTED[case.precision]
    if not compared.any():
        raise ValueError(
            "nothing to compare: our own run and one of higher precision part at the first step"
        )
    wrong &= compared[..., None]
    step_error = None if errors is None else float(errors.max())
    return Verdict(not wrong.any(), step_error, _place(wrong), _apart(ours, theirs, compared))


def step_shares(case: Case, layers: Sequence[Floats]) -> Floats | None:
    """Give the step errors of a result, the largest of all cells for each value of the top layer.

    Parameters
    ----------
    case : Case
    layers : sequence of arrays
        What every layer gives, the bottom one first, or the top one alone.

    Returns
    -------
    array of float64, shape (N, T, H), or None
        0 beyond a sequence's length; None where a cell's states or its
        inputs are not known. An error in a layer below counts for all values.
    """
    network = case.network
    if len(layers) < len(network.layers) or any(map(_hides_cells, network.layers)):
        return None
    inputs = [case.x, *layers[:-1]]
    states = [
        h
        for layer, given in zip(network.layers, layers, strict=True)
        for h in np.split(given, len(layer.cells), axis=2)
    ]
    each = [
        _part_shares(case, part, inputs[part.layer - 1], h)
        for part, h in zip(network.parts(), states, strict=True)
    ]
    top = len(network.layers[-1].cells)
    shares = np.concatenate(each[-top:], axis=2)
    for below in each[:-top]:
        shares = np.maximum(shares, below.max(axis=2, keepdims=True))
    return shares


def together(case: Case, ours: Floats) -> Truths:
    """Tell at which steps our own run has not parted from one of higher precision, (N, T).

    Once parted, they stay so: in a layer that goes backward towards the
    first step, and with one in each direction nowhere.
    """
    exact = _exact(case)
    apart = (relative(ours, exact) > PARTED[case.precision]).any(axis=2)
    directions = {part.direction for part in case.network.parts()}
    if directions == {"forward"}:
        return ~np.logical_or.accumulate(apart, axis=1)
    if directions == {"backward"}:
        return ~np.logical_or.accumulate((apart & case.running())[:, ::-1], axis=1)[:, ::-1]
    return np.broadcast_to(~(apart & case.running()).any(axis=1, keepdims=True), apart.shape)


def _exact(case: Case) -> Floats:
    """Run a case in float64, its operands rounded as the precision has it."""
    if case.precision == "float32":
        return case._replace(precision="float64").states()[-1]
    h = np.zeros((*case.x.shape[:2], case.network.output_size))
    for n, length in enumerate(case.lengths):
        h[n, :length] = reference.run(case.network, case.x[n, :length], case.h0[n], case.precision)[
            -1
        ]
    return h


def _hides_cells(layer: Layer) -> bool:
    """Tell whether the states of a layer's cells cannot be told from what it gives."""
    return len(layer.cells) > 1 and layer.merge != "concat"


def _part_shares(case: Case, part: Part, x: Floats, h: Floats) -> Floats:
    """Step errors of a cell over all sequences."""
    before = np.empty_like(h)
    n = np.arange(len(h))
    start = case.h0[:, part.state].astype(h.dtype)
    has_steps = case.lengths > 0
    if part.direction == "forward":
        before[:, 1:], before[:, :1] = h[:, :-1], start[:, None]
    else:
        before[:, :-1] = h[:, 1:]
        before[n[has_steps], case.lengths[has_steps] - 1] = start[has_steps]
    rows = case.running()
    shares = np.zeros(h.shape)
    shares[rows] = row_errors(part.cell, x[rows], before[rows], h[rows], case.precision)
    return shares


def _apart(ours: Floats, theirs: Floats, compared: Truths) -> Apart:
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.where(compared[..., None], np.abs(_wide(ours) - theirs), 0)
        distance = np.where(np.isnan(distance), np.inf, distance)
        share = np.where(distance > 0, distance / np.abs(theirs), 0)
    largest = float(distance.max())
    return Apart(
        largest,
        _place(distance == largest) if largest else None,
        atol=largest,
        rtol=float(np.where(np.isnan(share), np.inf, share).max()),
        steps=int(compared.sum(axis=1).max()),
    )


def _place(wanted: Truths) -> Place | None:
    if not wanted.any():
        return None
    sequence, step, unit = (int(i) for i in np.argwhere(wanted)[0])
    return Place(sequence + 1, step + 1, unit)


def _wide(h: Floats) -> Floats:
    return h.astype(np.float64)
