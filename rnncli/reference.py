"""The forward pass written out in float64, to check the fast ones against.

It shares nothing with `cells`, `unroll` and `forward`: sums are taken term
by term, without BLAS, and operands are rounded by arithmetic, not by bits.
"""

import numpy as np

from rnncli.network import Floats, Weights

# Explicit mantissa bits of a product's operands, where a precision rounds them.
MANTISSA_BITS = {"tf32": 10, "bfloat16": 7}


def step(weights: Weights, x: Floats, h: Floats, precision: str = "float64") -> Floats:
    """One step in float64 from each of n inputs and states.

    ``h_t = tanh(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``

    Parameters
    ----------
    weights : Weights
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
    W_xh, W_hh, x, h = (_rounded(array, bits) for array in (weights.W_xh, weights.W_hh, x, h))
    total = np.zeros((len(x), W_hh.shape[0])) + weights.b_h
    for i, row in enumerate(W_xh):
        total += x[:, i, None] * row
    for k, row in enumerate(W_hh):
        total += h[:, k, None] * row
    return np.tanh(total)


def run(weights: Weights, x: Floats, h0: Floats, precision: str = "float64") -> Floats:
    """States of one sequence, step by step in float64.

    Parameters
    ----------
    weights : Weights
    x : array, shape (T, I)
    h0 : array, shape (H,)
    precision : str
        As for `step`.

    Returns
    -------
    array of float64, shape (T, H)
    """
    states = np.empty((len(x), len(h0)))
    before = np.asarray(h0, np.float64)
    for t, x_t in enumerate(x):
        states[t] = before = step(weights, x_t[None], before[None], precision)[0]
    return states


def _rounded(values: Floats, bits: int | None) -> Floats:
    """Float64 values with at most `bits` explicit mantissa bits, halves to even."""
    if bits is None:
        return np.asarray(values, np.float64)
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    rounded: Floats = np.ldexp(np.rint(np.ldexp(mantissa, bits + 1)), exponent - bits - 1)
    return rounded
