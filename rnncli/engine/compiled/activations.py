"""Code of activations; a cell with another activation cannot be compiled."""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from rnncli.engine.compiled.code import Vector
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import Numbers

# tanh(a) = a P(a^2) / Q(a^2) for floats up to 9, fitted by least squares whose weights make the
# largest relative error least, 6.7e-9. From TANH_END on the ratio, which rounding carries over 1,
# is limited to 1, so that an open gate keeps all of a state.
TANH_END = 9.000119
TANH_P = (
    *(1.0, 0.13084010779857635, 0.0031039563473314047, 1.1154311323480215e-05),
    *(-2.0225243702042372e-08, 5.2779596665386563e-11, -8.48874464644267e-14),
)
TANH_Q = (1.0, 0.4641733765602112, 0.02449517883360386, 0.0002546145406085998)


class Vectors(Numbers):
    """Vectors of code as a kind of number for `Cell.step`."""

    def apply(self, f: Activation, a: Vector, clip: float = inf) -> Vector:
        """Write code for ``f(a)``, with a limited to ±`clip`."""
        return FUNCTIONS[f.name](a.function.limit(a, -clip, clip), *f.parameters)

    def product(self, a: Vector, W: Floats, name: str) -> Vector:
        """Refuse, as such a cell cannot be compiled."""
        raise NotImplementedError(name)


def _polynomial(x: Vector, coefficients: Sequence[float]) -> Any:
    """Write the sum of ``coefficients[n] x ** n`` by independent pairs (Estrin, 1960)."""
    terms: list[Any] = list(coefficients)
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        sums = [x.function.fmuladd(x, high, low) for low, high in pairs]
        terms, x = sums + terms[len(terms) // 2 * 2 :], x * x
    return terms[0]


def _tanh(a: Vector) -> Vector:
    """Write tanh as a ratio of polynomials, limited to ±1."""
    f = a.function
    a = f.limit(a, -TANH_END, TANH_END)
    square = a * a
    return f.limit(a * _polynomial(square, TANH_P) / _polynomial(square, TANH_Q), -1, 1)


FUNCTIONS: dict[str, Callable[..., Vector]] = {
    "tanh": _tanh,
    "relu": lambda a: a.function.limit(a, low=0),
    "sigmoid": lambda a: _tanh(a * 0.5) * 0.5 + 0.5,
    "linear": lambda a: a,
    "hard_sigmoid": lambda a, alpha, beta: a.function.limit(a * alpha + beta, 0, 1),
    "hard_tanh": lambda a: a.function.limit(a, -1, 1),
}
