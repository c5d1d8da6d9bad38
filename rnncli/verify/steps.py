"""The step error: right or wrong, however far whole runs are apart.

Networks that are not contracting amplify rounding, so that two right
programs end far apart. Each single step can still be judged: it is taken
from the state that the same output holds for the step before.

A new cell is one more entry in `BOUNDED_STEPS`.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import RNN, Cell, State
from rnncli.model.layers import Layer, Recurrent
from rnncli.model.network import Network
from rnncli.verify import reference
from rnncli.verify.case import Case

# step_at(n, t): the steps t of the sequences n, k of them, taken in float64 from the
# states of a result, (alternatives, k, H), the first of which is the step itself; and how
# far from it rounding may carry a right h, (k, H).
StepAt: TypeAlias = Callable[[Integers, Integers], tuple[Floats, Floats]]

# Values that are judged at once: their arrays in float64 stay in the cache.
PIECE = 2**17


class CellRun(NamedTuple):
    """A cell of a network, and what a result holds of it.

    Parameters
    ----------
    case : Case
    cell : Cell
    direction : {"forward", "backward"}
    start : tuple of arrays, shape (N, size) each
        Its state before the first step.
    x : array, shape (N, T, I)
        Its input: what the layer below gives in the same result.
    h : array, shape (N, T, H)
        Its output.
    """

    case: Case
    cell: Cell
    direction: str
    start: State
    x: Floats
    h: Floats

    def h_before(self, n: Integers, t: Integers) -> Floats:
        """Return the h, (k, H), from which the steps t of the sequences n start."""
        backward = self.direction == "backward"
        begins = t == (self.case.lengths[n] - 1 if backward else 0)
        before: Floats = self.h[n, np.where(begins, t, t + 1 if backward else t - 1)]
        before[begins] = self.start[0][n[begins]]
        return before


def step_errors(cell: Cell, x: Floats, h0: Floats, h: Floats, precision: str = "float32") -> Floats:
    """Return the error of every step as a share of what rounding explains.

    Row h_t is compared with one float64 step from x_t and the h_{t-1} of the
    same output. The bound is that of a sum of I + H + 1 products in any
    order, each operation off by half a unit of the last place (Higham
    (2002), "Accuracy and Stability of Numerical Algorithms", section 3.1),
    doubled, times the steepest slope of the activation where that is over 1,
    and a few units for the activation itself::

        slope (I + H + 4) eps (|x_t| @ |W_xh| + |h_{t-1}| @ |W_hh| + |b_h|)
            + 4 eps max(1, |h_t|)

    Where an activation jumps, a sum that far off may fall on the other side:
    the state on either side is right.

    Parameters
    ----------
    cell : Cell
        Of a class that is in `BOUNDED_STEPS`.
    x : array, shape (T, I)
    h0 : array, shape (H,)
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
    run = CellRun(case, cell, "forward", (h0[None],), x[None], h[None])
    return _errors(
        run, BOUNDED_STEPS[type(cell)](run), np.zeros(len(x), np.intp), np.arange(len(x))
    )


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
    n, t = np.nonzero(case.running())
    below = np.zeros((len(n), 1))
    for cells in _cells(case, layers):
        errors = np.concatenate([_errors(*cell, n, t) for cell in cells], axis=1)
        errors = np.maximum(errors, below)
        below = errors.max(axis=1, keepdims=True)
    everywhere = np.zeros(layers[-1].shape)
    everywhere[n, t] = errors
    return everywhere


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
    t, n = np.nonzero(case.running().T)  # as the rows of a run lie
    piece = max(1, PIECE // max(layer.output_size for layer in case.network.layers))
    largest = 0.0
    for cell in chain.from_iterable(_cells(case, layers)):
        for start in range(0, len(n), piece):
            rows = slice(start, start + piece)
            largest = max(largest, float(_errors(*cell, n[rows], t[rows]).max()))
    return largest


def one_step(case: Case, output: Floats, place: tuple[int, int, int]) -> float:
    """Compute a value of a network of one layer in float64, from the h_{t-1} of a result.

    Parameters
    ----------
    case : Case
    output : array, shape (N, T, O)
    place : tuple of int
        The value's sequence, step and unit, from 0.
    """
    (cells,) = _cells(case, [output])
    which, unit = divmod(place[2], output.shape[2] // len(cells))
    _, step_at = cells[which]
    n, t = np.array([place[0]]), np.array([place[1]])
    with np.errstate(invalid="ignore", over="ignore"):
        steps, _ = step_at(n, t)
    return float(steps[0, 0, unit])


def can_judge_steps(network: Network, layers: int = 1) -> bool:
    """Return whether every step can be judged by itself.

    That needs cells of classes that are in `BOUNDED_STEPS`, and the states of all of
    them in the outputs of so many layers, the top one or all.
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
    """Return whether a layer's output is the outputs of its cells, and their steps are known."""
    alone = isinstance(layer, Recurrent) and len(layer.cells) == 1
    return (alone or concatenates(layer)) and all(
        type(cell) in BOUNDED_STEPS for cell in layer.cells
    )


def _rnn_steps(run: CellRun) -> StepAt:
    """Return the steps of the vanilla cell, and the bound that `step_errors` has."""
    cell, precision = run.cell, run.case.precision
    assert isinstance(cell, RNN)
    f, eps = cell.activation, float(np.finfo(PRECISIONS[precision].dtype).eps)
    W_xh, W_hh, b_h = (np.abs(array).astype(np.float64) for array in cell.weights[:3])

    def step_at(n: Integers, t: Integers) -> tuple[Floats, Floats]:
        x, before = run.x[n, t], run.h_before(n, t)
        sums = reference.sums(cell, x, before, precision)
        terms = np.abs(x.astype(np.float64)) @ W_xh + np.abs(before.astype(np.float64)) @ W_hh + b_h
        off = (len(W_xh) + len(W_hh) + 4) * eps * terms  # how far rounding may move a sum
        sides = [sums, sums - off, sums + off] if f.jumps else [sums]
        steps = np.array([reference.activate(cell, side) for side in sides])
        return steps, f.slope * off + 4 * eps * np.maximum(1, np.abs(run.h[n, t]))

    return step_at


# The steps of a cell in a result, by its class. A cell with more arrays than h carries
# these forward in float64 first, from the h of the result.
BOUNDED_STEPS: dict[type, Callable[[CellRun], StepAt]] = {RNN: _rnn_steps}


def _cells(case: Case, layers: Sequence[Floats]) -> Iterator[list[tuple[CellRun, StepAt]]]:
    """Yield the cells of each layer in a result, each with its steps."""
    network, x = case.network, case.x
    for layer, slices, output in zip(network.layers, network.state_slices, layers, strict=True):
        starts = [tuple(case.h0[:, place] for place in places) for places in slices]
        cells = zip(layer.cells, layer.directions, starts, cell_outputs(layer, output), strict=True)
        runs = [CellRun(case, cell, direction, start, x, h) for cell, direction, start, h in cells]
        yield [(run, BOUNDED_STEPS[type(run.cell)](run)) for run in runs]
        x = output


def _errors(run: CellRun, step_at: StepAt, n: Integers, t: Integers) -> Floats:
    """Return the step errors of a cell, (k, H), at the steps t of the sequences n."""
    with np.errstate(invalid="ignore", over="ignore"):
        steps, bound = step_at(n, t)
        errors = np.abs(run.h[n, t] - steps).min(axis=0) / bound
    return np.where(np.isfinite(errors), errors, np.inf)
