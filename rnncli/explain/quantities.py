"""What a step computes, in the order in which it does.

A cell, or a layer without state, is one function here and one entry in
`OF_CELLS` or `OF_LAYERS`. Each computes by the operations of
`rnncli.engine.unroll.stepwise`, so that every number is that of a run.
"""

from collections.abc import Callable, Sequence
from math import inf, isinf
from typing import Any, NamedTuple

import numpy as np

from rnncli.engine.precision import Precision
from rnncli.engine.unroll.stepwise import row_products
from rnncli.model.activations import Activation, clipped, saturated
from rnncli.model.arrays import Floats, Truths, contiguous
from rnncli.model.cells import GRU, LSTM, RNN, Cell, State


class Term(NamedTuple):
    """One of the arrays that a sum adds.

    Parameters
    ----------
    name : str
        As it stands in the equation.
    values : array, shape (H,)
    left : array, shape (K,) or (H,), optional
        Of a product: what stands on its left.
    weights : array, shape (K, H) or (H,), optional
        What stands on its right: weights, or one value for each unit.
    """

    name: str
    values: Floats
    left: Floats | None = None
    weights: Floats | None = None


class Single(NamedTuple):
    """One product of a sum, or what it adds as it is.

    Parameters
    ----------
    name : str
        Such as ``x_t[0] W_xh[0, i_2]``.
    value : float
    left, weight : float, optional
        What is multiplied, as the product takes it: `weight` is what stands
        on the right, also where that is no weight.
    """

    name: str
    value: np.floating[Any]
    left: np.floating[Any] | None = None
    weight: np.floating[Any] | None = None


class Quantity(NamedTuple):
    """An array that a step computes.

    ``values = function(clip(sum of terms))``

    Parameters
    ----------
    name : str
        Such as ``i_t``.
    equation : str
        What it is equal to.
    terms : list of Term
    values : array, shape (H,)
    sum : array, shape (H,), optional
        What the function takes, before the clip; None where there is none.
    function : Activation or str, optional
        Of single values, or the name of one of the row.
    clip : float
        The sum is limited to ±`clip` first; infinite for no limit.
    of_unit : list of Single, optional
        Of a quantity of one unit: every single term, the largest first.
    """

    name: str
    equation: str
    terms: list[Term]
    values: Floats
    sum: Floats | None = None
    function: Activation | str | None = None
    clip: float = inf
    of_unit: list[Single] | None = None

    @property
    def saturated(self) -> Truths | None:
        """Which units are at an end of their function, (H,); None if it has no ends."""
        f = self.function
        found = f.ends if isinstance(f, Activation) else None
        return saturated(self.values, found) if found else None


class CellStep(NamedTuple):
    """A step of a cell.

    Parameters
    ----------
    cell : Cell
        With its weights in the precision.
    precision : Precision
    x : array, shape (1, I)
        In its float type.
    state : tuple of arrays, shape (1, size) each
        Before the step.
    before : str
        When that was: ``t-1``, or ``t+1`` of a cell that goes backward.
    """

    cell: Cell
    precision: Precision
    x: Floats
    state: State
    before: str = "t-1"

    @property
    def operand(self) -> Floats:
        """The input as a product takes it."""
        return contiguous(self.precision.operand(self.x))

    @property
    def h(self) -> str:
        """What the hidden state before the step is called."""
        return f"h_{{{self.before}}}"

    @property
    def c(self) -> str:
        """What the cell state before the step is called."""
        return f"c_{{{self.before}}}"

    def product(self, rows: Floats, W: Floats) -> Floats:
        """Multiply as the run does."""
        return row_products(self.precision.operand(rows), W)

    def term(self, left: str, rows: Floats, name: str, W: Floats, values: Floats) -> Term:
        """Return a product with weights as a term."""
        return Term(f"{left} @ {name}", values[0], self.precision.operand(rows)[0], W)


class Sum(NamedTuple):
    """The terms of a sum, and what they add up to, (1, H)."""

    terms: list[Term]
    total: Floats

    def plus(self, term: Term) -> "Sum":
        """Add another term."""
        return Sum([*self.terms, term], self.total + term.values)


def rnn(step: CellStep) -> list[Quantity]:
    """Return ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``."""
    cell = step.cell
    assert isinstance(cell, RNN)
    (total,) = _sums(step, [""])
    return [_applied("h_t", total, cell.activation, cell.clip)]


def lstm(step: CellStep) -> list[Quantity]:
    """Return the gates i, f, g and o, c_t, and h_t."""
    cell = step.cell
    assert isinstance(cell, LSTM)
    i, f, o, g = _sums(step, ["i", "f", "o", "g"], halved="ifo" if cell.halved else "")
    c = step.state[1]
    w_ch = cell.weights.w_ch
    peepholes = None if w_ch is None else dict(zip("ifo", np.split(w_ch, 3), strict=True))

    def gate(name: str, total: Sum, of: str, c: Floats) -> Quantity:
        if peepholes:
            w = peepholes[name]
            total = total.plus(Term(f"w_ch[{name}] {of}", (w * c)[0], c[0], w))
        f = cell.recurrent_activation
        return _applied(f"{name}_t", total, f, cell.clip, halved=cell.halved)

    i_t = gate("i", i, step.c, c)
    f_t = gate("f", f, step.c, c)
    g_t = _applied("g_t", g, cell.activation, cell.clip)
    kept, added = f_t.values * c[0], i_t.values * g_t.values
    terms = [
        Term(f"f_t {step.c}", kept, f_t.values, c[0]),
        Term("i_t g_t", added, i_t.values, g_t.values),
    ]
    c_t = sum_of("c_t", terms, kept + added)
    o_t = gate("o", o, "c_t", c_t.values[None])
    out = _applied(
        "out_t", Sum([Term("c_t", c_t.values)], c_t.values[None]), cell.output_activation
    )
    out = out._replace(name=out.equation)  # c_t itself where the function is linear
    h = o_t.values * out.values
    product = f"o_t {out.name}"
    found = [i_t, f_t, g_t, o_t, c_t] if peepholes is None else [i_t, f_t, g_t, c_t, o_t]
    if out.function is not None:
        found.append(out)
    last = sum_of("h_t", [Term(product, h, o_t.values, out.values)], h)
    if cell.weights.W_hr is None:
        return [*found, last]
    W = cell.weights.W_hr
    projected = step.term(f"({product})", h[None], "W_hr", W, step.product(h[None], W))
    whole = last._replace(name=product)
    return [*found, whole, sum_of("h_t", [projected], projected.values)]


def gru(step: CellStep) -> list[Quantity]:
    """Return the gates z and r, the candidate n, and h_t."""
    cell = step.cell
    assert isinstance(cell, GRU)
    after = cell.reset == "after"
    n, z, r, *m = _sums(step, ["n", "z", "r", *(["m"] if after else [])], "zr" * cell.halved)
    f = cell.recurrent_activation
    z_t = _applied("z_t", z, f, cell.clip, halved=cell.halved)
    r_t = _applied("r_t", r, f, cell.clip, halved=cell.halved)
    h = step.state[0]
    if after:
        inner = sum_of("m_t", m[0].terms, m[0].total[0])
        term = Term("r_t m_t", r_t.values * inner.values, r_t.values, inner.values)
    else:
        reset = r_t.values * h[0]
        name = f"r_t {step.h}"
        inner = sum_of(name, [Term(name, reset, r_t.values, h[0])], reset)
        W = cell.inner
        assert W is not None
        term = step.term(f"({inner.name})", reset[None], "W_hh[n]", W, step.product(reset[None], W))
    n_t = _applied("n_t", n.plus(term), cell.activation, cell.clip)
    apart = h[0] - n_t.values
    moved = Term(f"z_t ({step.h} - n_t)", z_t.values * apart, z_t.values, apart)
    h_t = sum_of("h_t", [Term("n_t", n_t.values), moved], n_t.values + moved.values)
    equation = f"{h_t.equation} = z_t {step.h} + (1 - z_t) n_t"
    return [z_t, r_t, inner, n_t, h_t._replace(equation=equation)]


# quantities(step): what a step of a cell computes, by its class. The last is h_t.
OF_CELLS: dict[type, Callable[[CellStep], list[Quantity]]] = {RNN: rnn, LSTM: lstm, GRU: gru}


def _sums(step: CellStep, blocks: Sequence[str], halved: str = "") -> list[Sum]:
    """Return the sums of a step, each of ``x_t @ W_xh + h_{t-1} @ W_hh + b_h`` for its block."""
    cell = step.cell
    W_xh, W_hh, b_h = cell.operands
    before = len(b_h) - W_hh.shape[1]  # sums without the state's product
    of_x = row_products(step.operand, W_xh)
    of_h = step.product(step.state[0], W_hh)
    sums = of_x.copy()
    sums[:, before:] += of_h
    sums += b_h
    H = cell.hidden_size
    missing = np.zeros((1, before), of_h.dtype)
    arrays = [of_x, np.concatenate([missing, of_h], axis=1), b_h[None], sums]
    found = []
    for number, gate in enumerate(blocks):
        factor = 2 if gate and gate in halved else 1
        x, h, b, total = (factor * a[:, number * H : (number + 1) * H] for a in arrays)
        terms = _terms(step, gate, x, h, b[0])
        if number * H < before:
            del terms[1]
        found.append(Sum(terms, total))
    return found


def _terms(step: CellStep, gate: str, x: Floats, h: Floats, b: Floats) -> list[Term]:
    cell = step.cell
    if gate == "m":
        W_hh = np.split(cell.weights.W_hh, cell.gates, axis=1)[-1]
        of_h = step.term(step.h, step.state[0], "W_hh[n]", W_hh, h)
        return [of_h, Term("b_n", b)]
    of = f"[{gate}]" if gate else ""
    place = cell.gate_names.index(gate) if gate else 0
    W_xh, W_hh = (np.split(W, cell.gates, axis=1)[place] for W in cell.weights[:2])
    return [
        step.term("x_t", step.x, f"W_xh{of}", W_xh, x),
        step.term(step.h, step.state[0], f"W_hh{of}", W_hh, h),
        Term(f"b_h{of}", b),
    ]


def sum_of(name: str, terms: list[Term], values: Floats) -> Quantity:
    """Return a sum that no function is applied to."""
    return Quantity(name, " + ".join(term.name for term in terms), terms, values)


def _applied(
    name: str, total: Sum, f: Activation, clip: float = inf, *, halved: bool = False
) -> Quantity:
    """Return a function of a sum; with `halved` a sigmoid, by the tanh of half of it."""
    values = np.empty_like(total.total)
    if halved:
        half = values.dtype.type(0.5)
        np.tanh(total.total * half, values)
        values *= half
        values += half
    else:
        clipped(f, clip)(total.total, values)
    found = sum_of(name, total.terms, values[0])
    equation = found.equation
    if not isinf(clip):
        equation = f"clip({equation}, -{clip:g}, {clip:g})"
    elif f.name == "linear":
        return found
    equation = equation if f.name == "linear" else f"{f.name}({equation})"
    return found._replace(equation=equation, sum=total.total[0], function=f, clip=clip)
