"""The forward pass written out in float64, to check the fast ones against.

It shares no arithmetic with `rnncli.engine` and `rnncli.model`: sums are
taken term by term, without BLAS, operands are rounded by arithmetic, not by
bits, and every sequence runs by itself. A layer that is not recurrent is
called as it is, in float64.

A new cell is one more entry in `STEPS`.
"""

from collections.abc import Callable

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN, Cell, State
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network

# Explicit mantissa bits of a product's operands, where a precision rounds them.
MANTISSA_BITS = {"tf32": 10, "bfloat16": 7}

_ACTIVATIONS: dict[str, Callable[..., Floats]] = {
    "tanh": np.tanh,
    "relu": lambda a: np.where(a < 0, 0, a),
    "sigmoid": lambda a: np.exp(-np.logaddexp(0, -a)),
    "linear": lambda a: a,
    "affine": lambda a, alpha, beta: alpha * a + beta,
    "leaky_relu": lambda a, alpha: np.where(a < 0, alpha * a, a),
    "thresholded_relu": lambda a, alpha: np.where(a < alpha, 0, a),
    "scaled_tanh": lambda a, alpha, beta: alpha * np.tanh(beta * a),
    "hard_sigmoid": lambda a, alpha, beta: np.minimum(np.maximum(alpha * a + beta, 0), 1),
    "elu": lambda a, alpha: np.where(a < 0, alpha * np.expm1(np.minimum(a, 0)), a),
    "softsign": lambda a: a / (1 + np.abs(a)),
    "softplus": lambda a: np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a))),
}
_MERGES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "concat": lambda forward, backward: np.hstack([forward, backward]),
    "sum": lambda forward, backward: forward + backward,
    "ave": lambda forward, backward: 0.5 * forward + 0.5 * backward,
    "mul": lambda forward, backward: forward * backward,
}


def sums(cell: Cell, x: Floats, h: Floats, precision: str = "float64") -> Floats:
    """Return the sums of one step in float64, from each of n inputs and states.

    ``a_t = x_t @ W_xh + h_{t-1} @ W_hh + b_h``

    Parameters
    ----------
    cell : Cell
    x : array, shape (n, I)
    h : array, shape (n, H)
    precision : str
        For ``tf32`` and ``bfloat16`` the operands of both products are
        rounded first, and then multiplied and added in float64.

    Returns
    -------
    array of float64, shape (n, gates * H)
    """
    bits = MANTISSA_BITS.get(precision)
    W_xh, W_hh, b_h = cell.weights[:3]
    W_xh, W_hh, x, h = (_rounded(array, bits) for array in (W_xh, W_hh, x, h))
    total = np.zeros((len(x), len(b_h))) + b_h
    for i, row in enumerate(W_xh):
        total += x[:, i, None] * row
    for k, row in enumerate(W_hh):
        total += h[:, k, None] * row
    return total


def activate(cell: RNN, a: Floats) -> Floats:
    """Return the states of sums: ``h = f(min(max(a, -clip), clip))``."""
    name, parameters = cell.activation
    with np.errstate(all="ignore"):
        return _ACTIVATIONS[name](np.minimum(np.maximum(a, -cell.clip), cell.clip), *parameters)


def rnn_step(cell: RNN, x: Floats, state: State, precision: str) -> State:
    """Take a step of the vanilla cell: ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``."""
    return (activate(cell, sums(cell, x, state[0], precision)),)


# step(cell, x, state, precision): one float64 step from each of n inputs, (n, I),
# and states, (n, size) each, by the class of the cell.
STEPS: dict[type, Callable[..., State]] = {RNN: rnn_step}


def step_of(cell: Cell) -> Callable[..., State]:
    """Return the float64 step of a cell, see `STEPS`.

    Raises
    ------
    ValueError
        None is written for its class.
    """
    if type(cell) not in STEPS:
        raise ValueError(f"the step of {type(cell).__name__} is not written out in float64")
    return STEPS[type(cell)]


def unroll(cell: Cell, x: Floats, h0: Floats, precision: str = "float64") -> Floats:
    """Run one sequence step by step in float64.

    Parameters
    ----------
    cell : Cell
    x : array, shape (T, I)
    h0 : array, shape (sum of ``cell.state_sizes``,)
        The arrays of the state before the first step, side by side.
    precision : str
        As for `sums`.

    Returns
    -------
    array of float64, shape (T, H)
        h after each step.

    Raises
    ------
    ValueError
        As for `step_of`.
    """
    step = step_of(cell)
    ends = np.cumsum(cell.state_sizes)[:-1]
    state: State = tuple(np.split(np.asarray(h0, np.float64)[None], ends, axis=1))
    h = np.empty((len(x), cell.state_sizes[0]))
    for t, x_t in enumerate(x):
        state = step(cell, x_t[None], state, precision)
        h[t] = state[0]
    return h


def run(network: Network, x: Floats, h0: Floats, precision: str = "float64") -> list[Floats]:
    """Return the outputs of all layers for one sequence, the bottom one first.

    Parameters
    ----------
    network : Network
    x : array, shape (T, I)
    h0 : array, shape (S,)
        The state of all cells, as ``Network.state_slices`` places it.
    precision : str
        As for `sums`.

    Returns
    -------
    list of arrays of float64, shape (T, O)

    Raises
    ------
    ValueError
        As for `step_of`.
    """

    def in_direction(cell: Cell, x: Floats, state: State, direction: str) -> tuple[Floats, State]:
        turn = -1 if direction == "backward" else 1
        h = unroll(cell, x[::turn], np.concatenate(state), precision)[::turn]
        return h, ()  # final states are not asked for

    outputs = []
    for layer, slices in zip(network.layers, network.state_slices, strict=True):
        states = [tuple(h0[place] for place in places) for places in slices]
        if isinstance(layer, Recurrent):
            cells = zip(layer.cells, states, layer.directions, strict=True)
            each = [in_direction(cell, x, state, direction)[0] for cell, state, direction in cells]
            x = each[0] if len(each) == 1 else _MERGES[layer.merge](*each)
        else:
            x, _ = layer(np.asarray(x, np.float64), states, in_direction)
        outputs.append(x)
    return outputs


def _rounded(values: Floats, bits: int | None) -> Floats:
    """Return float64 values with at most `bits` explicit mantissa bits, halves to even."""
    if bits is None:
        return np.asarray(values, np.float64)
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    rounded: Floats = np.ldexp(np.rint(np.ldexp(mantissa, bits + 1)), exponent - bits - 1)
    return rounded
