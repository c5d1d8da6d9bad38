"""LSTM and GRU written out as float64 loops, gate by gate, and cells to run them against."""

from collections.abc import Callable

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, LSTM, Cell, Weights

Function = Callable[[Floats], Floats]

FUNCTIONS: dict[str, Function] = {
    "tanh": np.tanh,
    "sigmoid": lambda a: np.asarray(1 / (1 + np.exp(-a))),
    "relu": lambda a: np.asarray(np.where(a > 0, a, 0)),
    "hard_sigmoid:0.2,0.5": lambda a: np.asarray(np.clip(0.2 * a + 0.5, 0, 1)),
    f"hard_sigmoid:{1 / 6!r},0.5": lambda a: np.asarray(np.clip(a / 6 + 0.5, 0, 1)),
    "softsign": lambda a: np.asarray(a / (1 + np.abs(a))),
}


def _limited(name: str, clip: float) -> Function:
    return lambda a: FUNCTIONS[name](np.clip(a, -clip, clip))


def exact(values: Floats) -> Floats:
    return values


def operands_of(cell: Cell, operand: Function) -> dict[str, Floats]:
    """Return the weights in float64, the matrices rounded as operands."""
    weights = {name: array.astype(np.float64) for name, array in cell.weights.arrays.items()}
    return {n: operand(array) if array.ndim == 2 else array for n, array in weights.items()}


def to_bits(bits: int) -> Function:
    """Round operands to so many bits after the leading one."""

    def rounded(values: Floats) -> Floats:
        mantissa, exponent = np.frexp(values)
        return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, bits + 1)), exponent - bits - 1))

    return rounded


def lstm_loop(
    cell: LSTM, x: Floats, state: tuple[Floats, ...], operand: Function = exact
) -> list[Floats]:
    """Run sequences (N, T, I); return h and c of all steps, (N, T, size)."""
    weights = operands_of(cell, operand)
    H = len(weights["b_h"]) // 4
    peepholes = weights.get("w_ch", np.zeros(3 * H)).reshape(3, H)
    f_gate = _limited(str(cell.recurrent_activation), cell.clip)
    f_new = _limited(str(cell.activation), cell.clip)
    h, c = (array.astype(np.float64) for array in state)
    rows = []
    for x_t in x.astype(np.float64).swapaxes(0, 1):
        a = operand(x_t) @ weights["W_xh"] + operand(h) @ weights["W_hh"] + weights["b_h"]
        i = f_gate(a[:, :H] + peepholes[0] * c)
        f = f_gate(a[:, H : 2 * H] + peepholes[1] * c)
        c = f * c + i * f_new(a[:, 2 * H : 3 * H])
        o = f_gate(a[:, 3 * H :] + peepholes[2] * c)
        h = o * FUNCTIONS[str(cell.output_activation)](c)
        if "W_hr" in weights:
            h = operand(h) @ weights["W_hr"]
        rows.append((h, c))
    return [np.array(each).swapaxes(0, 1) for each in zip(*rows, strict=True)]


def gru_loop(
    cell: GRU, x: Floats, state: tuple[Floats, ...], operand: Function = exact
) -> list[Floats]:
    """Run sequences (N, T, I); return h of all steps, (N, T, H)."""
    weights = operands_of(cell, operand)
    W, R, b = (weights[name] for name in ("W_xh", "W_hh", "b_h"))
    H = len(R)
    b_n = weights.get("b_n", np.zeros(H))
    f_gate = _limited(str(cell.recurrent_activation), cell.clip)
    f_new = _limited(str(cell.activation), cell.clip)
    (h,) = (array.astype(np.float64) for array in state)
    rows = []
    for x_t in x.astype(np.float64).swapaxes(0, 1):
        a, u = operand(x_t) @ W + b, operand(h) @ R
        z = f_gate(a[:, :H] + u[:, :H])
        r = f_gate(a[:, H : 2 * H] + u[:, H : 2 * H])
        after, before = r * (u[:, 2 * H :] + b_n), operand(r * h) @ R[:, 2 * H :]
        n = f_new(a[:, 2 * H :] + (after if cell.reset == "after" else before))
        h = z * h + (1 - z) * n
        rows.append(h)
    return [np.array(rows).swapaxes(0, 1)]


def gated_loop(
    cell: Cell, x: Floats, state: tuple[Floats, ...], operand: Function = exact
) -> list[Floats]:
    if isinstance(cell, LSTM):
        return lstm_loop(cell, x, state, operand)
    assert isinstance(cell, GRU)
    return gru_loop(cell, x, state, operand)


def drawn_weights(I: int, H: int, gates: int, seed: int, extra: str = "", P: int = 0) -> Weights:
    """Draw weights as small as PyTorch's, and the arrays that are named too."""
    random = np.random.RandomState(seed)
    shapes = {
        "W_xh": (I, gates * H),
        "W_hh": (P or H, gates * H),
        "b_h": (gates * H,),
        "b_n": (H,),
        "w_ch": (3 * H,),
        "W_hr": (H, P),
    }
    named = ["W_xh", "W_hh", "b_h", *extra.split()]
    high = 1 / np.sqrt(H)
    return Weights(**{n: random.uniform(-high, high, shapes[n]).astype("f") for n in named})


def gated_cell(variant: str, I: int, H: int, seed: int = 1) -> Cell:
    """Make one of the `VARIANTS`."""
    if variant.startswith("lstm"):
        P = max(1, H // 2) if "projection" in variant else 0
        extra = "w_ch " * ("peepholes" in variant) + "W_hr" * ("projection" in variant)
        weights = drawn_weights(I, H, 4, seed, extra, P)
        if "others" in variant:
            return LSTM(weights, "relu", "hard_sigmoid", "softsign", 2.0)
        clip = 0.3 if "clip" in variant else np.inf
        return LSTM(weights, clip=clip)
    weights = drawn_weights(I, H, 3, seed, "" if "before" in variant else "b_n")
    reset = "before" if "before" in variant else "after"
    if "others" in variant:
        return GRU(weights, "softsign", "hard_sigmoid", 2.0, reset)
    return GRU(weights, clip=0.3 if "clip" in variant else np.inf, reset=reset)


VARIANTS = [
    "lstm",
    "lstm peepholes",
    "lstm clip",
    "lstm peepholes clip",
    "lstm projection",
    "lstm peepholes projection",
    "lstm others",
    "gru after",
    "gru before",
    "gru after clip",
    "gru before clip",
    "gru after others",
]
