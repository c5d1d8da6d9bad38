"""The quantities of a layer without state at one row."""

import numpy as np

from rnncli.engine.runner import Runner
from rnncli.explain.quantities import Quantity, Term
from rnncli.model.arrays import Floats
from rnncli.model.layers import (
    Dense,
    Embedding,
    LayerNormalization,
    Masking,
    Normalization,
    Pointwise,
    Stateless,
)


def explain_row(layer: Stateless, x: Floats, y: Floats, runner: Runner) -> list[Quantity]:
    """Explain how a layer makes y (O,) of x (1, I); the last quantity is y_t.

    Of a layer that has no case here the output is all.
    """
    found: list[Quantity] = []
    function, shift = getattr(layer, "activation", "linear"), layer.arrays.get("shift")
    match layer:
        case Dense():
            left, product = runner.precision.operand(x)[0], runner.multiply(x, layer.W)[0]
            terms = [Term("x_t @ W", product, left, layer.W), Term("b", layer.b)]
        case Embedding():
            return [Quantity("y_t", "W[x_t]", [Term(f"W[{int(x[0, 0])}]", y)], y)]
        case Normalization():
            centred, name = x[0] - layer.center, "x_t - center"
            parts = [Term("x_t", x[0]), Term("-center", -layer.center)]
            found.append(Quantity(name, name, parts, centred))
            terms = [Term(f"({name}) / scale", centred / layer.scale)]
            if layer.factor is not None:
                terms = [Term(f"factor {terms[0].name}", terms[0].values * layer.factor)]
        case LayerNormalization():
            (n,) = LayerNormalization(np.ones_like(layer.factor), None, layer.epsilon)(x)
            name = f"(x_t - mean(x_t)) / sqrt(var(x_t) + {layer.epsilon:g})"
            found.append(Quantity("n_t", name, [Term(name, n)], n))
            terms = [Term("factor n_t", n * layer.factor)]
        case Pointwise() | Masking():
            terms = [Term("x_t", x[0])]
        case _:
            function, terms = "linear", [Term(f"{type(layer).__name__}(x_t)", y)]
    terms += [] if shift is None else [Term("shift", shift)]
    equation, name = " + ".join(term.name for term in terms), str(function).partition(":")[0]
    if name == "linear":
        return [*found, Quantity("y_t", equation, terms, y)]
    total = terms[0].values if len(terms) == 1 else terms[0].values + terms[1].values
    y_t = Quantity("y_t", f"{name}({equation})", terms, y)
    return [*found, y_t.apply(function, total)]
