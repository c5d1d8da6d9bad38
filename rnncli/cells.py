"""One time step of each kind of cell."""

import numpy as np

from rnncli.network import Floats, Weights
from rnncli.precision import Precision


def elman(weights: Weights, x: Floats, h: Floats, precision: Precision) -> Floats:
    """One step of the recurrent network of Elman (1990).

    ``h_t = tanh(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``

    Each sequence is multiplied as a row of its own: a product of the whole
    batch may add in another order, and a row's bits would then depend on
    the rows beside it.

    Parameters
    ----------
    weights : Weights
        As ``precision.prepare`` gives them.
    x : array, shape (N, I)
        Input at this step, rounded as an operand.
    h : array, shape (N, H)
        Hidden state of the step before.
    precision : Precision
        Gives the rounding of `h` as an operand.

    Returns
    -------
    array, shape (N, H)
        Hidden state after this step.
    """
    from_input = (x[:, None] @ weights.W_xh)[:, 0]  # (N, H)
    from_state = (precision.operand(h)[:, None] @ weights.W_hh)[:, 0]  # (N, H)
    h_t: Floats = np.tanh(from_input + from_state + weights.b_h)
    return h_t
