"""The forward pass as plain loops in float64, by which every way to run a network is measured.

One sequence, one step after the other, from the equations. Of rnncli it takes the weights and the
settings of cells and layers, and nothing that computes.
"""

from collections.abc import Callable
from math import erfc, inf, pi, sqrt
from typing import Any, NamedTuple

import numpy as np

import rnncli

Function = Callable[[Any], Any]


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def elu(a: Any, alpha: Any) -> Any:
    return np.where(a < 0, alpha * np.expm1(np.minimum(a, 0)), a)


# Activations of numbers, with their parameters.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": sigmoid,
    "linear": lambda a: a,
    "affine": lambda a, alpha, beta: alpha * a + beta,
    "leaky_relu": lambda a, alpha: np.where(a < 0, alpha * a, a),
    "thresholded_relu": lambda a, alpha: np.where(a <= alpha, 0, a),
    "scaled_tanh": lambda a, alpha, beta: alpha * np.tanh(beta * a),
    "hard_sigmoid": lambda a, alpha, beta: np.clip(alpha * a + beta, 0, 1),
    "elu": elu,
    "softsign": lambda a: a / (1 + np.abs(a)),
    "softplus": lambda a: np.logaddexp(a, 0),
    "relu6": lambda a: np.clip(a, 0, 6),
    "hard_tanh": lambda a: np.clip(a, -1, 1),
    "silu": lambda a: a * sigmoid(a),
    "gelu": lambda a: a * np.vectorize(erfc, otypes=[float])(-a / sqrt(2)) / 2,
    "gelu_tanh": lambda a: a * sigmoid(2 * sqrt(2 / pi) * (a + 0.044715 * a**3)),
    "selu": lambda a: 1.0507009873554805 * elu(a, 1.6732632423543772),
    "mish": lambda a: a * np.tanh(np.logaddexp(a, 0)),
    "exponential": np.exp,
    "hard_silu": lambda a: a * (np.clip(a + 3, 0, 6) / 6),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "power": lambda a, alpha: a**alpha,
}
# Activations of rows.
OF_ROWS: dict[str, Function] = {
    "softmax": lambda a: np.exp(a - np.logaddexp.reduce(a, axis=-1, keepdims=True)),
    "log_softmax": lambda a: a - np.logaddexp.reduce(a, axis=-1, keepdims=True),
}


def function(activation: Any, clip: float = inf) -> Function:
    """Return an activation of sums that are limited to ±`clip` first."""
    if activation in OF_ROWS:
        return OF_ROWS[activation]
    f, parameters = FUNCTIONS[activation.name], activation.parameters
    return lambda a: f(np.clip(a, -clip, clip), *parameters)


def exact(values: Any) -> Any:
    return values


def to_bits(bits: int) -> Function:
    """Round operands to so many bits after the leading one, halves to even."""

    def rounded(values: Any) -> Any:
        mantissa, exponent = np.frexp(values)
        return np.ldexp(np.rint(np.ldexp(mantissa, bits + 1)), exponent - bits - 1)

    return rounded


# By precision, how a product takes its operands.
OPERANDS = {"float64": exact, "float32": exact, "tf32": to_bits(10), "bfloat16": to_bits(7)}


def rnn(cell: Any, w: dict[str, Any], dot: Any) -> Any:
    f = function(cell.activation, cell.clip)
    return lambda x, h: (f(dot(x, w["W_xh"]) + dot(h, w["W_hh"]) + w["b_h"]),)


def lstm(cell: Any, w: dict[str, Any], dot: Any) -> Any:
    f_gate, f_new = (function(f, cell.clip) for f in (cell.recurrent_activation, cell.activation))
    f_out = function(cell.output_activation)
    p_i, p_f, p_o = w.get("w_ch", np.zeros(len(w["b_h"]) // 4 * 3)).reshape(3, -1)

    def step(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
        i, f, g, o = (dot(x, w["W_xh"]) + dot(h, w["W_hh"]) + w["b_h"]).reshape(4, -1)
        c_t = f_gate(f + p_f * c) * c + f_gate(i + p_i * c) * f_new(g)
        h_t = f_gate(o + p_o * c_t) * f_out(c_t)
        return (dot(h_t, w["W_hr"]) if "W_hr" in w else h_t), c_t

    return step


def gru(cell: Any, w: dict[str, Any], dot: Any) -> Any:
    f_gate, f_new = (function(f, cell.clip) for f in (cell.recurrent_activation, cell.activation))
    W_z, W_r, W_n = np.split(w["W_hh"], 3, axis=1)

    def step(x: Any, h: Any) -> tuple[Any]:
        z, r, n = (dot(x, w["W_xh"]) + w["b_h"]).reshape(3, -1)
        z, r = f_gate(z + dot(h, W_z)), f_gate(r + dot(h, W_r))
        m = r * (dot(h, W_n) + w.get("b_n", 0)) if cell.reset == "after" else dot(r * h, W_n)
        return (z * h + (1 - z) * f_new(n + m),)

    return step


def dense(layer: Any, x: Any, operand: Function) -> Any:
    return function(layer.activation)(operand(x) @ operand(layer.W.astype(float)) + layer.b)


def embedding(layer: Any, x: Any, _: Function) -> Any:
    return layer.W.astype(float)[x[:, 0].astype(int)]


def normalization(layer: Any, x: Any, _: Function) -> Any:
    y = (x - layer.center.astype(float)) / layer.scale
    return optional(layer.factor, 1) * y + optional(layer.shift, 0)


def layer_normalization(layer: Any, x: Any, _: Function) -> Any:
    y = x - x.mean(axis=1, keepdims=True)
    y = y / np.sqrt((y**2).mean(axis=1, keepdims=True) + layer.epsilon)
    return layer.factor * y + optional(layer.shift, 0)


def optional(array: Any, instead: float) -> Any:
    return instead if array is None else array


# By class: step(x_t, *state) of a cell, and what a layer without state makes of rows (T, I).
STEPS: dict[type, Callable[..., Any]] = {rnncli.RNN: rnn, rnncli.LSTM: lstm, rnncli.GRU: gru}
ROWS: dict[type, Callable[..., Any]] = {
    rnncli.Dense: dense,
    rnncli.Embedding: embedding,
    rnncli.Normalization: normalization,
    rnncli.LayerNormalization: layer_normalization,
    rnncli.Masking: lambda layer, x, _: np.where((x == layer.value).all(1, keepdims=True), 0, x),
    rnncli.Pointwise: lambda layer, x, _: function(layer.activation)(x),
}
# By class: which rows a layer masks.
MASKS: dict[type, Callable[..., Any]] = {
    rnncli.Masking: lambda layer, x: (x == layer.value).all(axis=1),
    rnncli.Embedding: lambda layer, x: (x[:, 0] == 0) & layer.mask_zero,
}
MERGES: dict[str, Callable[[Any, Any], Any]] = {
    "concat": lambda forward, backward: np.concatenate([forward, backward], axis=-1),
    "sum": lambda forward, backward: forward + backward,
    "ave": lambda forward, backward: (forward + backward) / 2,
    "mul": lambda forward, backward: forward * backward,
}


class Result(NamedTuple):
    """The outputs and states of a network over one sequence."""

    outputs: list[Any]  # of each layer, (T, O)
    c: list[Any]  # of each layer, what its state holds beside h after every step, (T, C)
    h_n: Any  # final state, (S,): h of all cells, then c of all cells
    y_n: Any  # what the model makes of the whole sequence, (O,)


@np.errstate(all="ignore")
def run(
    network: rnncli.Network, x: Any, h0: Any = None, operand: Function = exact, masked: Any = None
) -> Result:
    """Run one sequence, (T, I), from a state, (S,); the input may mask rows, (T,)."""
    held = np.zeros(len(x), bool) if masked is None else masked
    x, still = np.where(held[:, None], 0, np.asarray(x, float)), held
    cells = [cell for layer in network.layers for cell in layer.cells]
    states = split(cells, np.zeros(network.state_size) if h0 is None else np.asarray(h0, float))
    outputs: list[Any] = []
    of_c: list[Any] = []
    y_n, number = None, 0
    for layer in network.layers:
        h: list[Any] = []
        finals: list[Any] = []
        c = [x[:, :0]]
        for cell, direction in zip(layer.cells, layer.directions, strict=True):
            rows, states[number] = unroll(cell, direction, x, states[number], still, operand)
            h.append(rows[0])
            c += rows[1:]
            finals.append(states[number][0])
            number += 1
        if len(h) == 2:  # where a layer masks a row, both are 0
            merge, made = MERGES[layer.merge], (still & ~held)[:, None]  # type: ignore[union-attr]
            x, y_n = merge(*(np.where(made, 0, rows) for rows in h)), merge(*finals)
        elif h:
            (x,), (y_n,) = h, finals
        else:
            if type(layer) in MASKS:
                still = still | MASKS[type(layer)](layer, x)
            x = ROWS[type(layer)](layer, x, operand)
            y_n = None if y_n is None else ROWS[type(layer)](layer, y_n[None], operand)[0]
        outputs.append(x)
        of_c.append(np.concatenate(c, axis=1))
    if network.last == "step" and not held.all():
        y_n = x[~held][-1]
    arrays = [state[k] for k in (0, 1) for state in states if k < len(state)]
    return Result(outputs, of_c, np.concatenate([*arrays, []]), y_n)


def split(cells: list[Any], h0: Any) -> list[Any]:
    """Return the state of each cell: h of all cells come first, then c of those that have one."""
    states: list[Any] = [() for _ in cells]
    for k in (0, 1):
        for n, cell in enumerate(cells):
            size = sum(cell.state_sizes[k : k + 1])
            states[n] += (h0[:size],) * (k < len(cell.state_sizes))
            h0 = h0[size:]
    return states


def unroll(
    cell: Any, direction: str, x: Any, state: Any, still: Any, operand: Function
) -> tuple[list[Any], Any]:
    """Return the arrays of the state after every step, (T, size) each, and the final state."""
    weights = {name: array.astype(float) for name, array in cell.weights.arrays.items()}
    weights = {name: operand(w) if w.ndim == 2 else w for name, w in weights.items()}
    step = STEPS[type(cell)](cell, weights, lambda values, W: operand(values) @ W)
    rows = [np.empty((len(x), len(array))) for array in state]
    for t in range(len(x))[:: -1 if direction == "backward" else 1]:
        state = state if still[t] else step(x[t], *state)
        for array, of_t in zip(rows, state, strict=True):
            array[t] = of_t
    return rows, state


def difference(a: Any, b: Any) -> float:
    """Return the largest distance of two runs, relative to max(1, |b|); infinite if not finite."""
    assert a.shape == b.shape
    with np.errstate(invalid="ignore"):
        distance = np.abs(a.astype(np.float64) - b) / np.maximum(1, np.abs(b))
    return float(np.where(np.isfinite(distance), distance, np.inf).max(initial=0.0))
