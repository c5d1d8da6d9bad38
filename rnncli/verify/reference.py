"""The forward pass written out in float64, to check the fast ones against.

It shares nothing with `cells`, `unroll`, `forward`, `activations` and
`merges`: sums are taken term by term, without BLAS, operands are rounded by
arithmetic, not by bits, and every sequence runs by itself.
"""

from collections.abc import Callable

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN
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


def sums(cell: RNN, x: Floats, h: Floats, precision: str = "float64") -> Floats:
    """Give the sums of one step in float64 from each of n inputs and states.

    ``a_t = x_t @ W_xh + h_{t-1} @ W_hh + b_h``

    Parameters
    ----------
    cell : RNN
    x : array, shape (n, I)
    h : array, shape (n, H)
    precision : str
        For ``tf32`` and ``bfloat16`` the operands of both products are
        rounded first, and then multiplied and added in float64.

    Returns
    -------
    array of float64, shape (n, H)
    """
    bits = MANTISSA_BITS.get(precision)
    W_xh, W_hh, b_h = cell.weights
    W_xh, W_hh, x, h = (_rounded(array, bits) for array in (W_xh, W_hh, x, h))
    total = np.zeros((len(x), W_hh.shape[0])) + b_h
    for i, row in enumerate(W_xh):
        total += x[:, i, None] * row
    for k, row in enumerate(W_hh):
        total += h[:, k, None] * row
    return total


def activate(cell: RNN, a: Floats) -> Floats:
    """Give the states of sums: ``h = f(min(max(a, -clip), clip))``."""
    name, parameters = cell.activation
    with np.errstate(all="ignore"):
        return _ACTIVATIONS[name](np.minimum(np.maximum(a, -cell.clip), cell.clip), *parameters)


def unroll(cell: RNN, x: Floats, h0: Floats, precision: str = "float64") -> Floats:
    """States of one sequence, step by step in float64.

    Parameters
    ----------
    cell : RNN
    x : array, shape (T, I)
    h0 : array, shape (H,)
    precision : str
        As for `sums`.

    Returns
    -------
    array of float64, shape (T, H)
    """
    states = np.empty((len(x), len(h0)))
    before = np.asarray(h0, np.float64)
    for t, x_t in enumerate(x):
        states[t] = before = activate(cell, sums(cell, x_t[None], before[None], precision))[0]
    return states


def run(network: Network, x: Floats, h0: Floats, precision: str = "float64") -> list[Floats]:
    """Give what each layer does for one sequence, the bottom one first.

    Parameters
    ----------
    network : Network
    x : array, shape (T, I)
    h0 : array, shape (S,)
    precision : str
        As for `sums`.

    Returns
    -------
    list of arrays of float64, shape (T, H) or (T, 2 H)
    """
    outputs, start = [], 0
    for layer in network.layers:
        states = []
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            stop = start + layer.hidden_size
            turn = -1 if direction == "backward" else 1
            states.append(unroll(cell, x[::turn], h0[start:stop], precision)[::turn])
            start = stop
        x = _MERGES[layer.merge](*states) if len(states) > 1 else states[0]
        outputs.append(x)
    return outputs


def _rounded(values: Floats, bits: int | None) -> Floats:
    """Float64 values with at most `bits` explicit mantissa bits, halves to even."""
    if bits is None:
        return np.asarray(values, np.float64)
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    rounded: Floats = np.ldexp(np.rint(np.ldexp(mantissa, bits + 1)), exponent - bits - 1)
    return rounded
