"""The forward pass: a network over whole sequences."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rnncli.network import Floats, Network, choice
from rnncli.precision import PRECISIONS, in_dtype
from rnncli.unroll import UNROLLS, fastest


class States(NamedTuple):
    """Hidden states of a forward pass.

    Parameters
    ----------
    h : array, shape (T, H) or (N, T, H)
        Hidden state after every step.
    h_n : array, shape (H,) or (N, H)
        Hidden state after the last step; `h0` where T is 0.
    """

    h: Floats
    h_n: Floats


def run(
    network: Network,
    x: ArrayLike,
    h0: ArrayLike | None = None,
    *,
    precision: str = "float32",
    unroll: str = "auto",
) -> States:
    """Run a network over one sequence, or over a batch of equal lengths.

    ``h_t = tanh(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``, t = 1 ... T

    Parameters
    ----------
    network : Network
        What to run.
    x : array, shape (T, I) or (N, T, I)
        Input at every step, converted to the float type of `precision`.
    h0 : array, shape (H,) or (N, H), optional
        Hidden state before the first step; zeros by default. (H,) with a
        batch starts every sequence from the same state.
    precision : {"float32", "float64", "tf32", "bfloat16"}
        Float type and rounding, see `rnncli.precision`.
    unroll : {"auto", "stepwise", "fused", "projected"}
        How the steps are computed, see `rnncli.unroll`. ``auto`` takes the
        fastest measured for the sizes.

    Returns
    -------
    States
        In the float type of `precision`. A state that overflows is returned
        as it is.

    Raises
    ------
    ValueError
        A shape does not fit the network, a value of `x` or `h0` is not
        finite in the float type, or a name is unknown.
    """
    how = choice("precision", precision, PRECISIONS)
    strategy = choice("unroll", unroll, UNROLLS | {"auto": fastest})
    batched = np.ndim(x) == 3
    x = _sequences(network, x, how.dtype)  # (N, T, I)
    h0 = _initial_state(network, h0, batch=len(x), dtype=how.dtype)  # (N, H)
    steps = how.operand(x.swapaxes(0, 1))  # (T, N, I)
    with np.errstate(all="ignore"):
        h = strategy(how.prepare(network.weights), steps, h0, how)  # (T, N, H)
    h_n = h[-1] if len(h) else h0
    return States(h.swapaxes(0, 1), h_n) if batched else States(h[:, 0], h_n[0])


def _sequences(network: Network, x: ArrayLike, dtype: np.dtype[np.floating]) -> Floats:
    array = np.asarray(x)
    if array.ndim not in (2, 3) or array.shape[-1] != network.input_size:
        raise ValueError(
            f"x: expected shape (T, {network.input_size}) or (N, T, {network.input_size}), "
            f"as W_xh has {network.input_size} rows, got {array.shape}"
        )
    x = in_dtype("x", array, dtype)
    return x if x.ndim == 3 else x[None]


def _initial_state(
    network: Network, h0: ArrayLike | None, *, batch: int, dtype: np.dtype[np.floating]
) -> Floats:
    H = network.hidden_size
    if h0 is None:
        return np.zeros((batch, H), dtype)
    array = np.asarray(h0)
    if array.shape not in ((H,), (batch, H)):
        raise ValueError(
            f"h0: expected shape ({H},) or ({batch}, {H}), as the network has {H} units, "
            f"got {array.shape}"
        )
    return np.ascontiguousarray(np.broadcast_to(in_dtype("h0", array, dtype), (batch, H)))
