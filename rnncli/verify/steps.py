"""The step error: right or wrong, however far whole runs are apart.

Networks that are not contracting amplify rounding, so that two right
programs end far apart. Each single step can still be judged: it is taken
from the state that the same output holds for the step before.

A new cell is one more entry in `ERRORS`.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TypeAlias

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import RNN, Cell
from rnncli.model.layers import Layer, Recurrent
from rnncli.model.network import Network
from rnncli.verify import reference
from rnncli.verify.case import Case

# errors(n, t): those of a cell, (k, H), at k places: the steps t of the sequences n.
ErrorsAt: TypeAlias = Callable[[Integers, Integers], Floats]

# Values that are judged at once: their arrays in float64 stay in the cache.
PIECE = 2**17


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
        Of a class that is in `ERRORS`.
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
    before = np.concatenate([h0[None], h[:-1]])[: len(h)]  # (T, H): h_{t-1}
    return _row_errors(cell, x, before, h, precision)


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
        errors = np.maximum(np.concatenate([cell(n, t) for cell in cells], axis=1), below)
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
            largest = max(largest, float(cell(n[rows], t[rows]).max()))
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
    (layer,), (slices,) = case.network.layers, case.network.state_slices
    which, unit = divmod(place[2], layer.cells[0].state_sizes[0])
    cell, h = layer.cells[which], cell_outputs(layer, output)[which]
    n, t = np.array([place[0]]), np.array([place[1]])
    before = _before(case, layer.directions[which], case.h0[:, slices[which][0]], h, n, t)
    with np.errstate(invalid="ignore", over="ignore"):
        after = reference.step_of(cell)(cell, case.x[n, t], (before,), case.precision)
    return float(after[0][0, unit])


def can_judge_steps(network: Network, layers: int = 1) -> bool:
    """Return whether every step can be judged by itself.

    That needs cells of classes that are in `ERRORS`, and the states of all of
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
    return (alone or concatenates(layer)) and all(type(cell) in ERRORS for cell in layer.cells)


def _rnn_errors(cell: RNN, x: Floats, before: Floats, h: Floats, precision: str) -> Floats:
    """Return the errors of steps of the vanilla cell, as `step_errors` defines them."""
    sums = reference.sums(cell, x, before, precision)
    W_xh, W_hh, b_h = (np.abs(array).astype(np.float64) for array in cell.weights)
    terms = np.abs(x.astype(np.float64)) @ W_xh + np.abs(before.astype(np.float64)) @ W_hh + b_h
    eps = float(np.finfo(PRECISIONS[precision].dtype).eps)
    off = (len(W_xh) + len(W_hh) + 4) * eps * terms  # how far rounding may move a sum
    sides = [sums - off, sums, sums + off] if cell.activation.jumps else [sums]
    distance = np.min([np.abs(h - reference.activate(cell, side)) for side in sides], axis=0)
    bound = max(1, cell.activation.slope) * off + 4 * eps * np.maximum(1, np.abs(h))
    return np.asarray(distance / bound)


# errors(cell, x, before, h, precision): those of steps in any order, each with its x_t,
# (n, I), h_{t-1}, (n, H), and h_t, (n, H), by the class of the cell.
ERRORS: dict[type, Callable[..., Floats]] = {RNN: _rnn_errors}


def _row_errors(cell: Cell, x: Floats, before: Floats, h: Floats, precision: str) -> Floats:
    with np.errstate(invalid="ignore", over="ignore"):
        errors = ERRORS[type(cell)](cell, x, before, h, precision)
    return np.where(np.isfinite(errors), errors, np.inf)


def _cells(case: Case, layers: Sequence[Floats]) -> Iterator[list[ErrorsAt]]:
    """Yield what returns the errors of each cell, a list a layer."""
    network, x = case.network, case.x
    for layer, slices, output in zip(network.layers, network.state_slices, layers, strict=True):
        places = [case.h0[:, place] for place, *_ in slices]
        cells = zip(layer.cells, layer.directions, places, cell_outputs(layer, output), strict=True)
        yield [_errors_of(case, cell, direction, h0, x, h) for cell, direction, h0, h in cells]
        x = output


def _errors_of(
    case: Case, cell: Cell, direction: str, h0: Floats, x: Floats, h: Floats
) -> ErrorsAt:
    def errors_at(n: Integers, t: Integers) -> Floats:
        before = _before(case, direction, h0, h, n, t)
        return _row_errors(cell, x[n, t], before, h[n, t], case.precision)

    return errors_at


def _before(case: Case, direction: str, h0: Floats, h: Floats, n: Integers, t: Integers) -> Floats:
    """Return the h (k, H) from which the steps t of the sequences n start."""
    backward = direction == "backward"
    begins = t == (case.lengths[n] - 1 if backward else 0)
    before: Floats = h[n, np.where(begins, t, t + 1 if backward else t - 1)]
    before[begins] = h0[n[begins]]
    return before
