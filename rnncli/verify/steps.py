"""The step error: right or wrong, however far whole runs are apart.

Networks that are not contracting amplify rounding, so that two right
programs end far apart. Each single step can still be judged: it is taken
from the state that the same output holds for the step before. What a step is,
and how far from it a right one may be, is in `rnncli.verify.bounded`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.cells import Cell
from rnncli.model.layers import Layer, Masks, Recurrent
from rnncli.model.network import Network
from rnncli.verify.bounded import (
    BOUNDED_ROWS,
    BOUNDED_STEPS,
    CellRun,
    StepAt,
    bounded_rows,
    kept_rows,
)
from rnncli.verify.case import Case
from rnncli.verify.near import held
from rnncli.verify.tally import PIECE, Tally


def step_errors(cell: Cell, x: Floats, h0: Floats, h: Floats, precision: str = "float32") -> Floats:
    """Return the error of every step as a share of what rounding explains.

    Row h_t is compared with one float64 step from x_t and the h_{t-1} of the
    same output. The bound is that of a sum of I + H + 1 products in any
    order, each operation off by half a unit of the last place (Higham
    (2002), "Accuracy and Stability of Numerical Algorithms", section 3.1),
    doubled, times the steepest slope of the activation where that is over 1,
    and a few units for the activation itself. For the vanilla cell::

        slope (I + H + 4) eps (|x_t| @ |W_xh| + |h_{t-1}| @ |W_hh| + |b_h|)
            + 4 eps max(1, |h_t|)

    Where an activation jumps, a sum that far off may fall on the other side:
    the state on either side is right. In a gated cell the errors of the sums
    go through its gates, see `rnncli.verify.bounded`.
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
            for n, t, errors, right in _errors(part):
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
            for n, t, each, _ in _errors(part):
                errors[n, t, part.columns] = each
        np.maximum(errors, below, out=errors)
    return errors


def largest_step_error(case: Case, layers: Sequence[Floats]) -> float | None:
    """Return the largest of the `case_step_errors`, piece by piece: the result may be long."""
    tallies = judged_steps(case, layers)
    return max(tally.times for tally in tallies) if tallies else None


def can_judge_steps(network: Network, layers: int = 1) -> bool:
    """Return whether every step can be judged by itself.

    That needs cells and layers of classes that are in `BOUNDED_STEPS` and
    `BOUNDED_ROWS`, and the states of all cells in the outputs of so many
    layers, the top one or all, at every step.
    """
    shown = layers == len(network.layers) and not network.last
    return shown and all(map(_shows_states, network.layers))


def concatenates(layer: Layer) -> bool:
    """Return whether a layer has two directions, and both of them in its output."""
    return isinstance(layer, Recurrent) and len(layer.cells) > 1 and layer.merge == "concat"


def cell_outputs(layer: Layer, output: Floats) -> list[Floats]:
    """View the output of each cell in that of a layer: of one cell, or that concatenates."""
    ends = np.cumsum([cell.state_sizes[0] for cell in layer.cells])
    return np.split(output, ends[:-1], axis=-1)


def _shows_states(layer: Layer) -> bool:
    """Return whether a layer's output is known by what it takes, and by its own states."""
    if not layer.cells:
        return type(layer) in BOUNDED_ROWS
    alone = isinstance(layer, Recurrent) and len(layer.cells) == 1
    return (alone or concatenates(layer)) and all(
        type(cell) in BOUNDED_STEPS for cell in layer.cells
    )


class Part(NamedTuple):
    """A part of a result: what a cell gives, or a layer without state.

    Parameters
    ----------
    rows : array of bool, shape (N, T)
        At which steps.
    direction : {"forward", "backward"}
        In which they are taken.
    columns : slice
        Where in the output of the layer.
    output : array, shape (N, T, H)
        These columns of it.
    step_at : callable
        See `rnncli.verify.bounded.StepAt`.
    """

    rows: Truths
    direction: str
    columns: slice
    output: Floats
    step_at: StepAt


def _parts(case: Case, layers: Sequence[Floats]) -> Iterator[list[Part]]:
    """Yield the parts of each layer in a result."""
    network, x, running = case.network_as_run(), case.x, case.running()
    masked = np.zeros(running.shape, bool)
    for layer, slices, output in zip(network.layers, network.state_slices, layers, strict=True):
        if layer.masks:
            narrow = x.astype(PRECISIONS[case.precision].dtype, copy=False)
            masked |= running & cast(Masks, layer).masked(narrow)
        if layer.cells:
            yield list(_parts_of_cells(case, layer, slices, x, output, masked))
        else:
            step_at = bounded_rows(layer, x, case.precision)
            yield [Part(running, "forward", slice(None), output, step_at)]
        x = output


def _parts_of_cells(
    case: Case,
    layer: Layer,
    slices: Sequence[Sequence[slice]],
    x: Floats,
    output: Floats,
    masked: Truths,
) -> Iterator[Part]:
    """Yield the steps of each cell of a layer, and its masked rows if there are any."""
    steps, begin = case.running() & ~masked, 0
    for cell, direction, places in zip(layer.cells, layer.directions, slices, strict=True):
        columns = slice(begin, begin + cell.state_sizes[0])
        start = tuple(case.h0[:, place] for place in places)
        h, before = output[..., columns], _rows_before(steps, direction)
        # The steps leave what it becomes there, and `start` of float64 would be h0 itself.
        carried = [held(array.copy(), case.precision) for array in start[1:]]
        run = CellRun(case, cell, direction, start, x, h, before, carried)
        yield Part(steps, direction, columns, h, BOUNDED_STEPS[type(cell)](run))
        if masked.any():
            step_at = kept_rows(run, zero=len(layer.cells) > 1)
            yield Part(masked, direction, columns, h, step_at)
        begin = columns.stop


def _rows_before(steps: Truths, direction: str) -> Integers:
    """Return the last of the steps before each row, (N, T), in a direction; -1 for none."""
    N, T = steps.shape
    if direction == "backward":
        turned = _rows_before(steps[:, ::-1], "forward")[:, ::-1]
        return np.where(turned < 0, -1, T - 1 - turned)
    last = np.maximum.accumulate(np.where(steps, np.arange(T), -1), axis=1)
    return np.concatenate([np.full((N, 1), -1), last], axis=1)[:, :-1]


def _errors(part: Part) -> Iterator[tuple[Integers, Integers, Floats, Floats]]:
    """Yield n, t, the errors of the steps t of the sequences n, (k, H), and the right steps.

    They come piece by piece, as they are taken: the result may be long.
    """
    t, n = np.nonzero(part.rows.T)
    if part.direction == "backward":
        t, n = t[::-1], n[::-1]
    piece = max(1, PIECE // part.output.shape[2])
    for start in range(0, len(n), piece):
        rows = slice(start, start + piece)
        with np.errstate(invalid="ignore", over="ignore"):
            steps, bound = part.step_at(n[rows], t[rows])
            errors = np.abs(part.output[n[rows], t[rows]] - steps).min(axis=0) / bound
        yield n[rows], t[rows], np.where(np.isfinite(errors), errors, np.inf), steps[0]
