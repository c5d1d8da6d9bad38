"""The forward pass written out in float64, which shares no arithmetic with the engine.

Sums are taken term by term, without BLAS; operands are rounded by arithmetic, not by bits. Layers
without state are computed by numbers that know how far a correct program may be from them.
"""

from collections.abc import Callable
from math import erfc, inf, pi, sqrt
from typing import Any, NamedTuple

import numpy as np

from rnncli.engine.bounded import Bounded
from rnncli.engine.precision import PRECISIONS
from rnncli.model import layers
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats, Truths
from rnncli.model.cells import GRU, LSTM, RNN, Cell, State
from rnncli.model.layers import Layer, Recurrent
from rnncli.model.network import Network

# Explicit mantissa bits of a product's operands, where a precision rounds them.
MANTISSA_BITS = {"tf32": 10, "bfloat16": 7}


def _elu(a: Floats, alpha: float) -> Floats:
    return np.where(a < 0, alpha * np.expm1(np.minimum(a, 0)), a)


_ACTIVATIONS: dict[str, Callable[..., Floats]] = {
    "tanh": np.tanh,
    "relu": lambda a: np.where(a < 0, 0, a),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "linear": lambda a: a,
    "affine": lambda a, alpha, beta: alpha * a + beta,
    "leaky_relu": lambda a, alpha: np.where(a < 0, alpha * a, a),
    "thresholded_relu": lambda a, alpha: np.where(a <= alpha, 0, a),
    "scaled_tanh": lambda a, alpha, beta: alpha * np.tanh(beta * a),
    "hard_sigmoid": lambda a, alpha, beta: np.minimum(np.maximum(alpha * a + beta, 0), 1),
    "elu": _elu,
    "softsign": lambda a: a / (1 + np.abs(a)),
    "softplus": lambda a: np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a))),
    "relu6": lambda a: np.minimum(np.where(a < 0, 0, a), 6),
    "hard_tanh": lambda a: np.minimum(np.maximum(a, -1), 1),
    "silu": lambda a: a / (1 + np.exp(-a)),
    "gelu": lambda a: a * np.vectorize(erfc, otypes=[float])(-a / sqrt(2)) / 2,
    "gelu_tanh": lambda a: a / (1 + np.exp(-2 * sqrt(2 / pi) * (a + 0.044715 * a**3))),
    "selu": lambda a: 1.0507009873554805 * _elu(a, 1.6732632423543772),
    "mish": lambda a: a * np.tanh(np.logaddexp(0, a)),
    "exponential": np.exp,
    "hard_silu": lambda a: a * (np.minimum(np.maximum(a + 3, 0), 6) / 6),
}
_MERGES: dict[str, Callable[..., Floats]] = {
    "concat": lambda forward, backward: np.hstack([forward, backward]),
    "sum": lambda forward, backward: forward + backward,
    "ave": lambda forward, backward: 0.5 * forward + 0.5 * backward,
    "mul": lambda forward, backward: forward * backward,
}


def product(rows: Floats, W: Floats, start: Floats, precision: str) -> Floats:
    """Compute ``start + rows @ W`` in float64, term by term, of operands rounded by `round_to`."""
    rows, W = round_to(rows, precision), round_to(W, precision)
    return np.asarray(start + np.add.reduce(rows.T[:, :, None] * W[:, None], axis=0))


def round_to(values: Floats, precision: str) -> Floats:
    """Round float64 values as a product in a precision takes them, halves rounded to even."""
    bits = MANTISSA_BITS.get(precision)
    if bits is None:
        return np.asarray(values, np.float64)
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    shorter: Floats = np.ldexp(np.rint(np.ldexp(mantissa, bits + 1)), exponent - bits - 1)
    return shorter


def activate(f: Activation, a: Floats, clip: float = inf) -> Floats:
    """Compute ``f(min(max(a, -clip), clip))``."""
    with np.errstate(all="ignore"):
        return _ACTIVATIONS[f.name](np.minimum(np.maximum(a, -clip), clip), *f.parameters)


def log_softmax(a: Floats) -> Floats:
    """Compute ``a - log(sum(exp(a)))`` of each row, the largest taken off first."""
    a = a - a.max(axis=1, keepdims=True)
    return np.asarray(a - np.logaddexp.reduce(a, axis=1, keepdims=True))


def rnn_step(cell: RNN, x: Floats, state: State, precision: str) -> State:
    """Compute ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``."""
    W_xh, W_hh, b_h = cell.weights[:3]
    a = product(state[0], W_hh, product(x, W_xh, b_h, precision), precision)
    return (activate(cell.activation, a, cell.clip),)


def lstm_step(cell: LSTM, x: Floats, state: State, precision: str) -> State:
    """Compute h_t and c_t, with the peepholes p and the projection W_hr where there are any."""
    h, c = state
    W_xh, W_hh, b_h, _, w_ch, W_hr = cell.weights
    sums = product(h, W_hh, product(x, W_xh, b_h, precision), precision)
    i, f, g, o = np.split(sums, 4, axis=1)
    p_i, p_f, p_o = np.zeros((3, 1)) if w_ch is None else np.split(w_ch, 3)
    gate, clip = cell.recurrent_activation, cell.clip
    i, f = activate(gate, i + p_i * c, clip), activate(gate, f + p_f * c, clip)
    c = f * c + i * activate(cell.activation, g, clip)
    h = activate(gate, o + p_o * c, clip) * activate(cell.output_activation, c)
    return h if W_hr is None else product(h, W_hr, np.zeros(1), precision), c


def gru_step(cell: GRU, x: Floats, state: State, precision: str) -> State:
    """Compute h_t; r multiplies the product of h, or h before the product."""
    (h,) = state
    W_xh, W_hh, b_h, b_n, _, _ = cell.weights
    gate, clip = cell.recurrent_activation, cell.clip
    z, r, n = np.split(product(x, W_xh, b_h, precision), 3, axis=1)
    W_z, W_r, W_n = np.split(W_hh, 3, axis=1)
    z = activate(gate, product(h, W_z, z, precision), clip)
    r = activate(gate, product(h, W_r, r, precision), clip)
    if cell.reset == "after":
        n = n + r * product(h, W_n, np.zeros(1) if b_n is None else b_n, precision)
    else:
        n = product(r * h, W_n, n, precision)
    return (z * h + (1 - z) * activate(cell.activation, n, clip),)


# step(cell, x, state, precision): one float64 step from inputs (n, I) and states (n, size).
STEPS: dict[type, Callable[..., State]] = {RNN: rnn_step, LSTM: lstm_step, GRU: gru_step}


class ReferenceBounded(Bounded):
    """Values in float64, and bounds for the error of a correct program."""

    def function(self, f: Activation, a: Floats, clip: float) -> Floats:
        """Compute an activation in float64."""
        return activate(f, a, clip)

    def operand(self, values: Floats) -> Floats:
        """Round values as operands of a product, in float64."""
        return round_to(values, self.precision)


def exact(values: Floats, precision: str) -> ReferenceBounded:
    """Return values without error, as every program has the same."""
    wide = np.asarray(values, np.float64)
    return ReferenceBounded(wide, np.zeros(wide.shape), precision)


def inexact(values: Floats, precision: str) -> ReferenceBounded:
    """Return values that a program has rounded to its float type."""
    result = exact(values, precision)
    return result.of(result.value, result.eps * np.abs(result.value))


def layer_rows(layer: Any, x: ReferenceBounded) -> ReferenceBounded:
    """Compute rows (k, O) of a layer without state from rows (k, I)."""
    match layer:
        case layers.Dense():
            return _activate(layer.activation, x.multiply(layer.W, layer.b, len(layer.W)))
        case layers.Pointwise():
            return _activate(layer.activation, x)
        case layers.Normalization():
            return _normalize(layer, x)
    # Any other layer runs by itself, in float64 and in its precision.
    like = PRECISIONS[x.precision].dtype
    wide = np.asarray(layer(x.value, lambda a, W: x.operand(a) @ x.operand(W)), np.float64)
    narrow = layer(x.value.astype(like), lambda a, W: (x.operand(a) @ x.operand(W)).astype(like))
    size = np.abs(wide) + np.abs(wide).max(axis=1, keepdims=True)
    off = 8 * np.abs(narrow - wide).max(axis=1, keepdims=True) + 64 * x.eps * np.maximum(1, size)
    if isinstance(layer, layers.LayerNormalization):
        # The mean is off by units of x, as is x that is scaled before it is subtracted.
        root = np.sqrt(x.value.var(axis=1, keepdims=True) + layer.epsilon)
        size = np.abs(x.value).max(axis=1, keepdims=True) * np.abs(layer.factor) / root
        off = off + 16 * x.eps * size
    return x.of(wide, off)


def _activate(f: Activation | str, a: ReferenceBounded) -> ReferenceBounded:
    """Apply an activation, or the softmax of each row, whose logarithm moves with every a."""
    if not isinstance(f, str):
        return a.activate(f)
    below = a.value.max(axis=1, keepdims=True) - a.value
    off = a.off + a.off.max(axis=1, keepdims=True)
    off = off + a.eps * (below + a.value.shape[1] + 4)  # a - max a, the sum, the function
    log = log_softmax(a.value)
    if f == "softmax":
        value = np.exp(log)
        return a.of(value, value * np.expm1(off))
    return a.of(log, off + 2 * a.eps * np.abs(log))


def _normalize(layer: layers.Normalization, x: ReferenceBounded) -> ReferenceBounded:
    """Allow for programs that multiply by ``factor / scale`` and add what remains."""
    center, scale = layer.center.astype(np.float64), layer.scale.astype(np.float64)
    factor, shift = layer.arrays.get("factor", 1.0), layer.arrays.get("shift", 0.0)
    slope = np.abs(factor / scale)
    off = 4 * x.eps * (slope * (np.abs(x.value) + np.abs(center)) + np.abs(shift))
    return x.of(factor * (x.value - center) / scale + shift, slope * x.off + off)


def unroll(
    cell: Cell, x: Floats, state: State, precision: str, masked: Truths, turn: int
) -> tuple[list[Floats], State]:
    """Run one sequence in float64, backward where `turn` is -1.

    Return the arrays of the state after every step, (T, size) each, and the last state.
    """
    if type(cell) not in STEPS:
        raise ValueError(f"the step of {type(cell).__name__} is not written out in float64")
    # Convert the weights once, and not at every step.
    cell = cell.replaced(cell.weights.converted(lambda _, array: array.astype(np.float64)))
    states: list[Floats] = [np.empty((len(x), size)) for size in cell.state_sizes]
    for t in range(len(x))[::turn]:
        if not masked[t]:
            state = STEPS[type(cell)](cell, x[t][None], state, precision)
        for rows, (array,) in zip(states, state, strict=True):
            rows[t] = array
    return states, state


class Result(NamedTuple):
    """The outputs and states of a network over one sequence."""

    outputs: list[Floats]  # of each layer, (T, O)
    c: list[Floats]  # of each layer, its states beside h, (T, C)
    h_n: Floats  # final state of all cells, (S,)
    y_n: Floats  # output for the whole sequence, (O,); NaN without a row that counts


@np.errstate(all="ignore")
def run(
    network: Network,
    x: Floats,
    h0: Floats,
    precision: str = "float64",
    by_input: Truths | None = None,
) -> Result:
    """Run one sequence, (T, I), from a state, (S,); `by_input` are the rows that it masks."""
    by_input = np.zeros(len(x), bool) if by_input is None else by_input
    masked, x = by_input, np.where(by_input[:, None], 0, x)
    result = Result([x], [], np.array(h0, np.float64), np.empty(0))
    finals: dict[int, Floats] = {}  # by layer, the output of the final states
    pairs = zip(network.layers, network.state_slices, strict=True)
    for number, (layer, slices) in enumerate(pairs, start=1):
        x, c = network.select_inputs(number, result.outputs), [x[:, :0]]
        if isinstance(layer, Recurrent):
            halves, ends = list[Floats](), list[Floats]()
            for cell, columns, direction in zip(layer.cells, slices, layer.directions, strict=True):
                state = tuple(result.h_n[None, each].copy() for each in columns)
                turn = -1 if direction == "backward" else 1
                (h, *rest), last = unroll(cell, x, state, precision, masked, turn)
                # With two directions a row that a layer masks is 0, as in Keras.
                zero = (masked & ~by_input)[:, None] & (len(layer.cells) > 1)
                halves.append(np.where(zero, 0, h))
                ends.append(last[0])
                c += rest
                for each, (array,) in zip(columns, last, strict=True):
                    result.h_n[each] = array
            merge = _MERGES[layer.merge] if len(halves) > 1 else lambda h: h
            output, finals[number] = merge(*halves), merge(*ends)
        else:
            masked = masked | find_masked(layer, x)
            output = layer_rows(layer, exact(x, precision)).value
            if number in network.final:
                row = np.hstack([finals[k] for k in layer.sources or (number - 1,)])
                finals[number] = layer_rows(layer, exact(row, precision)).value
        result.outputs.append(output)
        result.c.append(np.hstack(c))
    y_n = finals.get(len(network.layers), np.full((1, network.output_size), np.nan))
    if network.by_row and not by_input.all():
        y_n = result.outputs[-1][~by_input][-1:]
    return result._replace(outputs=result.outputs[1:], y_n=y_n[0])


def find_masked(layer: Layer, x: Floats) -> Truths:
    """Find the rows that a layer masks."""
    match layer:
        case layers.Masking():
            with np.errstate(over="ignore"):  # no row has a value that the type cannot hold
                return np.asarray((x == x.dtype.type(layer.value)).all(axis=1))
        case layers.Embedding(masks=True):
            return np.asarray(x[:, 0] == 0)
    return np.zeros(len(x), bool)
