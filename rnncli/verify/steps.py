"""The step error: right or wrong, however far whole runs are apart.

Networks that are not contracting amplify rounding, so that two right
programs end far apart. Each single step can still be judged: it is taken
from the state that the same output holds for the step before. What a step is,
and how far from it a right one may be, is in `rnncli.verify.bounded`.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.cells import Cell
from rnncli.model.layers import Layer, Recurrent
from rnncli.model.network import Network
from rnncli.verify.bounded import BOUNDED_ROWS, BOUNDED_STEPS, CellRun, StepAt, bounded_rows
from rnncli.verify.case import Case

# Values that are judged at once: their arrays in float64 stay in the cache.
PIECE = 2**17


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

    Parameters
    ----------
    cell : Cell
        Of a class that is in `BOUNDED_STEPS`.
    x : array, shape (T, I)
    h0 : array, shape (sum of ``cell.state_sizes``,)
        The arrays of the state before the first step, side by side.
    h : array, shape (T, H)
        The output to judge, in the order in which the cell went.
    precision : str
        What it was computed in: eps, and the rounding of operands.

    Returns
    -------
    array of float64, shape (T, H)
        Up to 1 is right; infinite where `h` is not finite.
    """
    case = Case(Network(Recurrent(cell)), x[None], h0[None], np.array([len(x)]), precision)
    (errors,) = _judged(case, [h[None]])
    return np.asarray(errors[0])


def case_step_errors(case: Case, layers: Sequence[Floats]) -> Floats | None:
    """Return the step errors of a result, the largest of all cells at each value of the top layer.

    Parameters
    ----------
    case : Case
    layers : sequence of arrays, shape (N, T, O)
        The outputs of all layers, the bottom one first, or of the top one
        alone.

    Returns
    -------
    array of float64, shape (N, T, O), or None
        0 beyond a sequence's length; None where steps cannot be judged
        (`can_judge_steps`). An error in a layer below counts for all values.
    """
    if not can_judge_steps(case.network, len(layers)):
        return None
    *_, top = _judged(case, layers)
    return top


def largest_step_error(case: Case, layers: Sequence[Floats]) -> float | None:
    """Return the largest of the `case_step_errors`, piece by piece: the result may be long.

    Parameters
    ----------
    case : Case
    layers : sequence of arrays, shape (N, T, O)
        As for `case_step_errors`.

    Returns
    -------
    float or None
        None where steps cannot be judged (`can_judge_steps`).
    """
    if not can_judge_steps(case.network, len(layers)):
        return None
    each = chain.from_iterable(map(_errors, chain.from_iterable(_parts(case, layers))))
    return max((float(errors.max()) for _, _, errors in each), default=0.0)


def one_step(case: Case, output: Floats, place: tuple[int, int, int]) -> float:
    """Compute a value of a network of one layer in float64, from the h_{t-1} of a result.

    Parameters
    ----------
    case : Case
    output : array, shape (N, T, O)
    place : tuple of int
        The value's sequence, step and unit, from 0.
    """
    sequence, step, unit = place
    only = [sequence]
    alone = case._replace(x=case.x[only], h0=case.h0[only], lengths=case.lengths[only])
    (parts,) = _parts(alone, [output[only]])
    which, unit = divmod(unit, output.shape[2] // len(parts))
    found = (steps[0, t == step, unit] for _, t, steps, _ in _steps(parts[which]) if step in t)
    return float(next(found).item())


def can_judge_steps(network: Network, layers: int = 1) -> bool:
    """Return whether every step can be judged by itself.

    That needs cells and layers of classes that are in `BOUNDED_STEPS` and
    `BOUNDED_ROWS`, rows of which none is masked, and the states of all cells
    in the outputs of so many layers, the top one or all.
    """
    return layers == len(network.layers) and all(map(_shows_states, network.layers))


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
        return type(layer) in BOUNDED_ROWS and not layer.masks
    alone = isinstance(layer, Recurrent) and len(layer.cells) == 1
    return (alone or concatenates(layer)) and all(
        type(cell) in BOUNDED_STEPS for cell in layer.cells
    )


class Part(NamedTuple):
    """A part of a result: the output of a cell, or of a layer without state.

    Parameters
    ----------
    running : array of bool, shape (N, T)
        Which steps there are.
    direction : {"forward", "backward"}
        In which they are taken.
    output : array, shape (N, T, H)
    step_at : callable
        See `rnncli.verify.bounded.StepAt`.
    """

    running: Truths
    direction: str
    output: Floats
    step_at: StepAt


def _judged(case: Case, layers: Sequence[Floats]) -> Iterator[Floats]:
    """Yield the step errors of each layer in a result, or those of the layers below."""
    below: Floats = np.zeros((*case.running().shape, 1))
    for layer, parts, output in zip(case.network.layers, _parts(case, layers), layers, strict=True):
        errors: Floats = np.zeros(output.shape)
        for part, of_part in zip(parts, cell_outputs(layer, errors), strict=True):
            for n, t, each in _errors(part):
                of_part[n, t] = each
        np.maximum(errors, below, out=errors)
        below = errors.max(axis=2, keepdims=True)
        yield errors


def _parts(case: Case, layers: Sequence[Floats]) -> Iterator[list[Part]]:
    """Yield the parts of each layer in a result."""
    network, x, running = case.network, case.x, case.running()
    for layer, slices, output in zip(network.layers, network.state_slices, layers, strict=True):
        starts = [tuple(case.h0[:, place] for place in places) for places in slices]
        outputs = cell_outputs(layer, output)
        cells = zip(layer.cells, layer.directions, starts, outputs, strict=False)
        runs = [CellRun(case, cell, direction, start, x, h) for cell, direction, start, h in cells]
        parts = [Part(running, r.direction, r.h, BOUNDED_STEPS[type(r.cell)](r)) for r in runs]
        yield parts or [Part(running, "forward", output, bounded_rows(layer, x, case.precision))]
        x = output


def _steps(part: Part) -> Iterator[tuple[Integers, Integers, Floats, Floats]]:
    """Yield n, t, the steps t of the sequences n, and the bounds, piece by piece as they are taken.

    The result may be long.
    """
    t, n = np.nonzero(part.running.T)
    if part.direction == "backward":
        t, n = t[::-1], n[::-1]
    piece = max(1, PIECE // part.output.shape[2])
    for start in range(0, len(n), piece):
        rows = slice(start, start + piece)
        with np.errstate(invalid="ignore", over="ignore"):
            steps, bound = part.step_at(n[rows], t[rows])
        yield n[rows], t[rows], steps, bound


def _errors(part: Part) -> Iterator[tuple[Integers, Integers, Floats]]:
    """Yield n, t, and the step errors, (k, H), piece by piece."""
    for n, t, steps, bound in _steps(part):
        with np.errstate(invalid="ignore", over="ignore"):
            errors = np.abs(part.output[n, t] - steps).min(axis=0) / bound
        yield n, t, np.where(np.isfinite(errors), errors, np.inf)
