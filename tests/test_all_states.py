"""Names that other tests import; runs with all states are in `test_networks`."""

from typing import Any

import numpy as np
from gated_loops import gated_loop
from test_overflow import grown_c as growing

from rnncli import LSTM, Weights

__all__ = ["drawn", "growing", "lstm_loop"]


def drawn(I: int, H: int, seed: int, *, peepholes: bool = False, P: int | None = None) -> LSTM:
    random = np.random.RandomState(seed)
    arrays = {"W_xh": (I, 4 * H), "W_hh": (P or H, 4 * H), "b_h": (4 * H,)}
    if peepholes:
        arrays["w_ch"] = (3 * H,)
    if P:
        arrays["W_hr"] = (H, P)
    k = 1 / np.sqrt(H)
    return LSTM(Weights(**{name: random.uniform(-k, k, size) for name, size in arrays.items()}))


def lstm_loop(cell: LSTM, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """Return h and c after every step of one sequence, (T, H) each."""
    of_h, of_c = gated_loop(cell, x[None], (h[None], c[None]))
    return of_h[0], of_c[0]
