"""The step errors of a whole network, where its result holds the states of all cells."""

from collections.abc import Sequence

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network, Part
from rnncli.verify import reference
from rnncli.verify.case import Case
from rnncli.verify.steps import row_errors


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
    if hides_states(network, len(layers)):
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


def hides_states(network: Network, layers: int = 1) -> bool:
    """Tell whether what so many layers give, the top one or all, leaves states of cells unknown."""
    return layers < len(network.layers) or any(map(_hides_cells, network.layers))


def _hides_cells(layer: Recurrent) -> bool:
    """Tell whether the states of a layer's cells cannot be told from what it gives."""
    return len(layer.cells) > 1 and layer.merge != "concat"


def one_step(case: Case, h: Floats, place: tuple[int, int, int]) -> float:
    """Compute a value of a network of one layer in float64 from the h_{t-1} of a result.

    Parameters
    ----------
    case : Case
    h : array, shape (N, T, H)
    place : tuple of int
        The value's sequence, step and unit, from 0.
    """
    n, t, column = place
    cells = zip(case.network.parts(), np.split(h, len(case.network.cells), axis=2), strict=True)
    which, unit = divmod(column, case.network.layers[0].hidden_size)
    part, states = list(cells)[which]
    before = _before(case, part, states)[n, t]
    with np.errstate(invalid="ignore", over="ignore"):
        sums = reference.sums(part.cell, case.x[n, t][None], before[None], case.precision)
    return float(reference.activate(part.cell, sums)[0, unit])


def _part_shares(case: Case, part: Part, x: Floats, h: Floats) -> Floats:
    """Step errors of a cell over all sequences."""
    rows = case.running()
    before = _before(case, part, h)
    shares = np.zeros(h.shape)
    shares[rows] = row_errors(part.cell, x[rows], before[rows], h[rows], case.precision)
    return shares


def _before(case: Case, part: Part, h: Floats) -> Floats:
    """Give the state from which each step of a cell starts, shape (N, T, H)."""
    before = np.empty_like(h)
    n = np.arange(len(h))
    start = case.h0[:, part.state].astype(h.dtype)
    has_steps = case.lengths > 0
    if part.direction == "forward":
        before[:, 1:], before[:, :1] = h[:, :-1], start[:, None]
    else:
        before[:, :-1] = h[:, 1:]
        before[n[has_steps], case.lengths[has_steps] - 1] = start[has_steps]
    return before
