"""The step error: right or wrong, however far whole runs are apart.

Networks that are not contracting amplify rounding, so that two right
programs end far apart. Each single step can still be judged: it is taken
from the state that the same output holds for the step before. What a step is,
and how far from it a right one may be, is in `rnncli.verify.bounded`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, cast

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.cells import Cell
from rnncli.model.layers import Layer, Masks, Recurrent
from rnncli.model.network import Network
from rnncli.verify.bounded import BOUNDED_ROWS, CellSteps, layer_rows
from rnncli.verify.case import Case
from rnncli.verify.near import Near
from rnncli.verify.tally import PIECE, Tally


def step_errors(cell: Cell, x: Floats, h0: Floats, h: Floats, precision: str = "float32") -> Floats:
    """Compute the error of every step as a share of what rounding explains.

    Row h_t is compared with one float64 step from x_t and the h_{t-1} of the
    same output. Its bound is that of the equation in which each operation is
    off by half a unit of the last place, doubled (`rnncli.engine.near`). For
    the vanilla cell, of a sum of I + H + 1 products in any order (Higham
    (2002), "Accuracy and Stability of Numerical Algorithms", section 3.1)::

        da = (I + H + 4) eps (|x_t| @ |W_xh| + |h_{t-1}| @ |W_hh| + |b_h|)
        dh = max |f(a +- da) - f(a)| + 8 eps max(1, |h_t|)

    Where an activation jumps, a sum that far off may fall on the other side:
    the state on either side is right.
    """
    case = Case(Network(Recurrent(cell)), x[None], h0[None], np.array([len(x)]), precision)
    errors = case_step_errors(case, [h[None]])
    assert errors is not None
    return np.asarray(errors[0])


def judged_steps(case: Case, layers: Sequence[Floats]) -> list[Tally] | None:
    """Judge every step of a result; None, and parameters, as for `case_step_errors`."""
    if not can_judge_steps(case.network, len(layers)):
        return None
    tallies, each = [], zip(_parts(case, layers), layers, strict=True)
    for number, (parts, output) in enumerate(each, start=1):
        tallies.append(Tally(case, number, output))
        for part in parts:
            for n, t, errors, right in _errors(part, case.precision):
                tallies[-1].add(n, t, part.columns, errors, part.output, right)
    return tallies


def case_step_errors(case: Case, layers: Sequence[Floats]) -> Floats | None:
    """Return the step errors of a result, the largest of all cells at each top value."""
    if not can_judge_steps(case.network, len(layers)):
        return None
    errors: Floats = np.zeros((*case.running().shape, 1))
    for parts, output in zip(_parts(case, layers), layers, strict=True):
        below, errors = errors.max(axis=2, keepdims=True), np.zeros(output.shape)
        for part in parts:
            for n, t, each, _ in _errors(part, case.precision):
                errors[n, t, part.columns] = each
        np.maximum(errors, below, out=errors)
    return errors


def largest_step_error(case: Case, layers: Sequence[Floats]) -> float | None:
    """Return the largest of the `case_step_errors`, piece by piece: the result may be long."""
    tallies = judged_steps(case, layers)
    return max(tally.times for tally in tallies) if tallies else None


def can_judge_steps(network: Network, layers: int = 1) -> bool:
    """Whether every step can be judged by itself.

    That needs layers without state of classes that are in `BOUNDED_ROWS`, and
    the states of all cells in the outputs of so many layers, the top one or
    all, at every step.
    """
    shown = layers == len(network.layers) and not network.last
    return shown and all(
        len(layer.cells) == 1 or concatenates(layer) if layer.cells else type(layer) in BOUNDED_ROWS
        for layer in network.layers
    )


def concatenates(layer: Layer) -> bool:
    """Whether a layer has two directions, and both of them in its output."""
    return isinstance(layer, Recurrent) and len(layer.cells) > 1 and layer.merge == "concat"


def cell_outputs(layer: Layer, output: Floats) -> list[Floats]:
    """View the output of each cell in that of a layer: of one cell, or that concatenates."""
    ends = np.cumsum([cell.state_sizes[0] for cell in layer.cells])
    return np.split(output, ends[:-1], axis=-1)


class Part(NamedTuple):
    """A part of a result: what a cell gives, or a layer without state."""

    rows: Truths  # (N, T)
    direction: str
    columns: slice  # of the output of the layer
    output: Floats  # (N, T, H), these columns
    # Takes the steps t of the sequences n, (k, H). It is called with those of a sequence in the
    # order in which the cell goes, each once; those of several sequences stand step by step.
    steps: Callable[[Integers, Integers], Near]


def _parts(case: Case, layers: Sequence[Floats]) -> Iterator[list[Part]]:
    """Yield the parts of each layer in a result; each has to be used before the next."""
    network, x, running = case.network_as_run(), case.x, case.running()
    masked, precision = np.zeros(running.shape, bool), case.precision
    each = zip(network.layers, network.state_slices, layers, strict=True)
    for number, (layer, slices, output) in enumerate(each, start=1):
        x = network.taken(number, [case.x, *layers])
        if layer.masks:
            narrow = x.astype(PRECISIONS[precision].dtype, copy=False)
            masked |= running & cast(Masks, layer).masked(narrow)
        parts = []
        if not layer.cells:
            steps = partial(layer_rows, layer, x, precision)
            parts.append(Part(running, "forward", slice(None), output, steps))
        begin = 0
        for cell, direction, places in zip(layer.cells, layer.directions, slices, strict=True):
            columns = slice(begin, begin + cell.state_sizes[0])
            begin, h = columns.stop, output[..., columns]
            start, active = tuple(case.h0[:, place] for place in places), running & ~masked
            before = _rows_before(active, direction)
            cell_steps = CellSteps(cell, precision, start, x, h, before)
            parts.append(Part(active, direction, columns, h, cell_steps))
            if masked.any():
                kept = partial(cell_steps.kept_rows, zero=len(layer.cells) > 1)
                parts.append(Part(masked, direction, columns, h, kept))
        yield parts


def _rows_before(steps: Truths, direction: str) -> Integers:
    """Return the last of the steps before each row, (N, T), in a direction; -1 for none."""
    N, T = steps.shape
    if direction == "backward":
        turned = _rows_before(steps[:, ::-1], "forward")[:, ::-1]
        return np.where(turned < 0, -1, T - 1 - turned)
    last = np.maximum.accumulate(np.where(steps, np.arange(T), -1), axis=1)
    return np.concatenate([np.full((N, 1), -1), last], axis=1)[:, :-1]


def _errors(part: Part, precision: str) -> Iterator[tuple[Integers, Integers, Floats, Floats]]:
    """Yield n, t, the errors of the steps t of the sequences n, (k, H), and the right steps.

    They come piece by piece, as they are taken: the result may be long.
    """
    t, n = np.nonzero(part.rows.T)
    if part.direction == "backward":
        t, n = t[::-1], n[::-1]
    tiny = np.finfo(PRECISIONS[precision].dtype).tiny
    piece = max(1, PIECE // part.output.shape[2])
    for start in range(0, len(n), piece):
        rows = slice(start, start + piece)
        with np.errstate(invalid="ignore", over="ignore"):
            right = part.steps(n[rows], t[rows])
            # Where a c grows without end, nothing is known; numbers under the smallest normal
            # one may lose all digits.
            bound = np.where(np.isnan(right.off), np.inf, right.off) + tiny
            errors = np.abs(part.output[n[rows], t[rows]] - right.value) / bound
        yield n[rows], t[rows], np.where(np.isfinite(errors), errors, np.inf), right.value
