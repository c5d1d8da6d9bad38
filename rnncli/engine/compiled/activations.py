"""Activations of vectors, as code; a cell with another activation has no loop."""

from collections.abc import Callable, Sequence
from math import factorial, floor, inf, isinf, log, pi, sqrt
from typing import Any

from rnncli.engine.compiled.code import Vector
from rnncli.model.activations import Activation

LOG_2 = log(2)
LOG_2_REST = 2.3190468138462996e-17  # what the double is less than log 2
# By bits of a float: from where exp is 0 or infinite, and the terms of its series and that of
# log that are seen in the last bit.
EXP_RANGE = {32: (-104.0, 89.0), 64: (-746.0, 710.0)}
EXP_TERMS = {32: 8, 64: 14}
LOG_TERMS = {32: 9, 64: 18}

# tanh(a) = a P(a^2) / Q(a^2) of floats up to 9: fitted by least squares, weighted until the
# largest relative error was least, 6.7e-9. From the last float on it is 1, since rounding leaves
# the ratio there 2.4e-7 over 1: a gate that is open keeps all of a state.
TANH_END = 9.000119
TANH_P = (
    1.0,
    0.13084010779857635,
    0.0031039563473314047,
    1.1154311323480215e-05,
    -2.0225243702043372e-08,
    5.2779596665386563e-11,
    -8.48874464644267e-14,
)
TANH_Q = (1.0, 0.4641733765602112, 0.02449517883360386, 0.0002546145406085998)
# The same of doubles up to 0.625: Lambert's continued fraction of eight levels, to 6.2e-18.
LAMBERT_END = 0.625
LAMBERT_P = (2027025.0, 270270.0, 6930.0, 36.0)
LAMBERT_Q = (2027025.0, 945945.0, 51975.0, 630.0, 1.0)


def apply(f: Activation, a: Vector, clip: float = inf) -> Vector:
    """Write ``f(a)`` for a limited to ±`clip`."""
    return FUNCTIONS[f.name](a if isinf(clip) else _limit(a, -clip, clip), *f.parameters)


def polynomial(x: Vector, coefficients: Sequence[float]) -> Vector:
    """Write the sum of ``coefficients[n] x ** n``, by pairs, so that few wait for each other.

    Source: Estrin (1960).
    """
    add = x.function.multiply_add
    terms: list[Any] = list(coefficients)
    while True:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        terms = [add(x, high, low) for low, high in pairs] + terms[len(terms) // 2 * 2 :]
        if len(terms) == 1:
            return terms[0]  # type: ignore[no-any-return]
        x = x * x


def exp(a: Vector) -> Vector:
    """Write ``exp(a) = 2 ** k exp(r)``, where ``r = a - k log(2)`` is in ±log(2) / 2."""
    f, lanes = a.function, a.function.lanes
    a = _limit(a, *EXP_RANGE[lanes.bits])
    k = f.call("rint", a * (1 / LOG_2))
    # The product with k of as many digits of log(2) as this is exact.
    digits = 2.0 ** (lanes.mantissa - 11)
    exact = floor(LOG_2 * digits) / digits
    r = f.multiply_add(k, -exact, a)
    r = f.multiply_add(k, -(LOG_2 - exact + LOG_2_REST), r)
    series = polynomial(r, [1 / factorial(n) for n in range(EXP_TERMS[lanes.bits])])
    half = f.call("rint", k * 0.5)  # 2 ** k may be no normal number
    return series * f.power_of_two(half) * f.power_of_two(k - half)


def tanh(a: Vector) -> Vector:
    """Write tanh: of floats a ratio of polynomials, of doubles by exp but for small ones."""
    f = a.function
    if f.lanes.bits == 32:
        a = _limit(a, -TANH_END, TANH_END)
        square = a * a
        ratio = a * polynomial(square, TANH_P) / polynomial(square, TANH_Q)
        return _limit(ratio, -1, 1)  # which rounding may pass
    square = a * a
    small = a * polynomial(square, LAMBERT_P) / polynomial(square, LAMBERT_Q)
    large = f.call("copysign", 1 - 2 / (exp(2 * abs(a)) + 1), a)
    return f.where(abs(a) < LAMBERT_END, small, large)


def _log_of_one_more(e: Vector) -> Vector:
    """Write ``log(1 + e)`` of 0 to 1: the series of ``2 artanh(e / (2 + e))``."""
    s = e / (e + 2)
    return s * polynomial(s * s, [2 / (2 * n + 1) for n in range(LOG_TERMS[e.function.lanes.bits])])


def _sigmoid(a: Vector) -> Vector:
    """Write sigmoid: of floats by tanh, which is faster."""
    return tanh(a * 0.5) * 0.5 + 0.5 if a.function.lanes.bits == 32 else _share(a)


def _share(a: Vector) -> Vector:
    """Write sigmoid, to the last digits also where it is small."""
    e = exp(-abs(a))
    return a.function.where(a < 0, e, 1) / (e + 1)


def _limit(a: Vector, low: float, high: float) -> Vector:
    return a.function.at_most(a.function.at_least(a, low), high)


def _relu(a: Vector) -> Vector:
    return a.function.at_least(a, 0)


def _elu(a: Vector, alpha: float) -> Vector:
    t = tanh(a.function.at_most(a, 0) * 0.5)  # exp(a) - 1 = 2 t / (1 - t)
    return a.function.where(a < 0, alpha * (2 * t / (1 - t)), a)


def _gelu_tanh(a: Vector) -> Vector:
    near = _limit(a, -30, 30)  # beyond, the share is 0 or 1
    return a * _share(near * (near * near * 0.044715 + 1) * (2 * sqrt(2 / pi)))


FUNCTIONS: dict[str, Callable[..., Vector]] = {
    "tanh": tanh,
    "relu": _relu,
    "sigmoid": _sigmoid,
    "linear": lambda a: a,
    "affine": lambda a, alpha, beta: a * alpha + beta,
    "leaky_relu": lambda a, alpha: a.function.where(a < 0, a * alpha, a),
    "scaled_tanh": lambda a, alpha, beta: tanh(a * beta) * alpha,
    "hard_sigmoid": lambda a, alpha, beta: _limit(a * alpha + beta, 0, 1),
    "elu": _elu,
    "softsign": lambda a: a / (abs(a) + 1),
    "softplus": lambda a: _relu(a) + _log_of_one_more(exp(-abs(a))),
    "silu": lambda a: a * _share(a),
    "gelu_tanh": _gelu_tanh,
}
