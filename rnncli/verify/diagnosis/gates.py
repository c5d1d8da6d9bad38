"""Mistakes in the gates of an LSTM or a GRU."""

from itertools import permutations
from typing import Any

import numpy as np

from rnncli.model.activations import Activation, activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, LSTM, Cell
from rnncli.verify.diagnosis.hypothesis import CellChange

Gated = type[LSTM] | type[GRU]

# In the order of the columns of their weights; the peepholes of an LSTM are those of i, f and o.
GATES: dict[Gated, str] = {LSTM: "ifgo", GRU: "zrn"}
PEEPHOLES = "ifo"
LINEAR, SIGMOID = activation("linear"), activation("sigmoid")


def _orders(mine: str, what: str) -> dict[str, str]:
    """Return each other order, by its name, which tells both: files have orders of their own."""
    others = ("".join(order) for order in permutations(mine))
    taken = f"{what} {' '.join(mine)} taken for"
    return {f"{taken} {' '.join(order)}": order for order in others if order != mine}


ORDERS = {kind: _orders(mine, "gates") for kind, mine in GATES.items()}


def ordered(array: Floats, order: str, mine: str) -> Floats:
    """Take blocks of columns, which stand as `mine`, for blocks that stand in another order."""
    blocks = dict(zip(order, np.split(array, len(order), axis=-1), strict=True))
    return np.concatenate([blocks[letter] for letter in mine], axis=-1)


def gates_as(kind: Gated, order: str) -> CellChange:
    """Read the weights of such a cell as if their gates stood in another order."""

    def change(cell: Cell) -> Cell:
        if not isinstance(cell, kind):
            return cell
        W_xh, W_hh, b_h = (ordered(array, order, GATES[kind]) for array in cell.weights[:3])
        return cell.replaced(cell.weights._replace(W_xh=W_xh, W_hh=W_hh, b_h=b_h))

    return change


def _peepholes_as(order: str) -> CellChange:
    def change(cell: Cell) -> Cell:
        w_ch = cell.weights.w_ch
        if w_ch is None:
            return cell
        return cell.replaced(cell.weights._replace(w_ch=ordered(w_ch, order, PEEPHOLES)))

    return change


# LSTM


def _no_peepholes(cell: Cell) -> Cell:
    weights = cell.weights
    return cell if weights.w_ch is None else cell.replaced(weights._replace(w_ch=None))


def _forget_bias(by: float) -> CellChange:
    """Return what adds to the bias of the forget gate."""

    def change(cell: Cell) -> Cell:
        if not isinstance(cell, LSTM):
            return cell
        H, b_h = cell.hidden_size, cell.weights.b_h.copy()
        b_h[H : 2 * H] += by
        return cell.replaced(cell.weights._replace(b_h=b_h))

    return change


def _activation(name: str, other: Activation) -> CellChange:
    """Return what takes another activation of the candidate alone, or of c alone."""

    def change(cell: Cell) -> Cell:
        if not isinstance(cell, LSTM) or cell.settings[name] == other:
            return cell
        settings: dict[str, Any] = {name: other}
        return cell.replaced(**settings)

    return change


# GRU


def _reset(reset: str) -> CellChange:
    """Reset elsewhere; before the product there is one bias of the candidate alone."""

    def change(cell: Cell) -> Cell:
        if not isinstance(cell, GRU) or cell.reset == reset:
            return cell
        weights = cell.weights if reset == "after" else _outside(cell).weights
        return cell.replaced(weights, reset=reset)

    return change


def _outside(cell: Cell) -> Cell:
    """Add the candidate's recurrent bias outside of what r multiplies."""
    b_n = cell.weights.b_n
    if b_n is None:
        return cell
    b_h = cell.weights.b_h.copy()
    b_h[-len(b_n) :] += b_n
    return cell.replaced(cell.weights._replace(b_h=b_h, b_n=None))


def _times_b_n(times: int) -> CellChange:
    def change(cell: Cell) -> Cell:
        b_n = cell.weights.b_n
        return cell if b_n is None else cell.replaced(cell.weights._replace(b_n=times * b_n))

    return change


def _update_exchanged(cell: Cell) -> Cell:
    """Turn z into 1 - z, which is the gate of the negative sum."""
    if not isinstance(cell, GRU):
        return cell
    H = cell.hidden_size
    signs = np.repeat([-1.0, 1.0, 1.0], H)
    W_xh, W_hh, b_h = ((signs * array).astype(array.dtype) for array in cell.weights[:3])
    return cell.replaced(cell.weights._replace(W_xh=W_xh, W_hh=W_hh, b_h=b_h))


GATE_CHANGES: dict[str, CellChange] = {
    **{name: gates_as(kind, order) for kind in ORDERS for name, order in ORDERS[kind].items()},
    **{name: _peepholes_as(order) for name, order in _orders(PEEPHOLES, "peepholes").items()},
    "1 added to the forget bias": _forget_bias(1),
    "1 left out of the forget bias": _forget_bias(-1),
    "activation of c left out": _activation("output_activation", LINEAR),
    "activation of g left out": _activation("activation", LINEAR),
    "sigmoid for the activation of c": _activation("output_activation", SIGMOID),
    "sigmoid for the activation of g": _activation("activation", SIGMOID),
    "no peepholes": _no_peepholes,
    "`reset` before": _reset("before"),
    "`reset` after": _reset("after"),
    "no recurrent bias of the candidate": _times_b_n(0),
    "recurrent bias of the candidate added twice": _times_b_n(2),
    "recurrent bias of the candidate outside r": _outside,
    "z and 1 - z exchanged": _update_exchanged,
}
