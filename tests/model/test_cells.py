"""A cell that rnncli does not know runs as the plain loop does, wherever cells run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RUNNABLE, runnable

import rnncli
from rnncli import Network, Recurrent, Rows, Weights
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.stream import Carried
from rnncli.engine.unroll import Compiled
from rnncli.explanation.steps import Wanted, explain_steps
from rnncli.model.activations import SIGMOID, TANH
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, Cell, Numbers, State
from rnncli.model.cells.cell import Operands
from rnncli.verification import reference
from rnncli.verification.case import case_of_batch
from rnncli.verification.reference import product
from rnncli.verification.steps import case_step_errors, largest_step_error


class Leaky(Cell):
    """``i, g = sigmoid, tanh of the sums; c_t = keep c_{t-1} + i g; h_t = tanh(c_t)``.

    The output is not the whole state, and there are two gates.
    """

    gates = 2
    gate_names = ("i", "g")
    state_names = ("h", "c")

    def __init__(self, weights: Weights, keep: float = 0.5) -> None:
        self.weights, self.keep = weights, keep

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"cell": type(self).__name__, "keep": self.keep}

    @property
    def needs_only_operands(self) -> bool:
        return False

    def step(self, n: Numbers, sums: Sequence[Any], *state: Any) -> tuple[Any, ...]:
        (i, g), (_h, c) = sums, state
        keep = np.full(self.hidden_size, self.keep, self.weights.b_h.dtype)
        c = n.carry(c, n.weight(keep, "keep"), n.apply(SIGMOID, i) * n.apply(TANH, g))
        return n.apply(TANH, c), c

    def replaced(self, weights: Weights | None = None, **settings: Any) -> "Leaky":
        weights = self.weights if weights is None else weights
        return type(self)(weights, **{"keep": self.keep, **settings})


def leaky_step(cell: Leaky, x: Floats, state: State, precision: str) -> State:
    (h, c), (W_xh, W_hh, b_h) = state, cell.weights[:3]
    sums = product(h, W_hh, product(x, W_xh, b_h, precision), precision)
    i, g = np.split(sums, 2, axis=1)
    c = cell.keep * c + np.tanh(g) / (1 + np.exp(-i))
    return np.tanh(c), c


reference.STEPS[Leaky] = leaky_step


def drawn(I: int, H: int, seed: int) -> Leaky:
    random = np.random.RandomState(seed)
    shapes = ((I, 2 * H), (H, 2 * H), (2 * H,))
    arrays = (random.uniform(-1, 1, shape) / np.sqrt(2 * H) for shape in shapes)
    return Leaky(Weights(*(array.astype(np.float32) for array in arrays)))


@pytest.mark.parametrize("unroll", ["auto", *RUNNABLE])
def test_every_strategy(unroll: str) -> None:
    network, random = Network(drawn(3, 5, seed=1)), np.random.RandomState(2)
    long = unroll in ("auto", "parallel")
    for T, N in [(40, 1), (40, 3), *([(9_001, 1), (9_001, 2)] if long else [])]:
        x = random.normal(size=(N, T, 3)).astype("f")
        h0 = random.uniform(-1, 1, (N, 10)).astype("f")
        states = rnncli.run(network, x, h0, unroll=unroll)
        for n in range(N):
            right = reference.run(network, x[n], h0[n])
            # The cells are contracting: float32 stays this near to float64, at a few roundings.
            np.testing.assert_allclose(states.h[n], right.outputs[0], rtol=0, atol=4e-6)
            np.testing.assert_allclose(states.h_n[n], right.h_n, rtol=0, atol=4e-6)


@pytest.mark.parametrize(("precision", "within"), [("float64", 1e-13), ("bfloat16", 1e-6)])
def test_every_precision(precision: str, within: float) -> None:
    """Three steps: later, a value falls on the other side of a rounding."""
    network = Network(drawn(3, 5, seed=3))
    x = np.random.RandomState(4).normal(size=(3, 3)).astype("f")
    right = reference.run(network, x, np.zeros(10), precision)
    for unroll in runnable(precision):
        h = rnncli.run(network, x, precision=precision, unroll=unroll).h
        np.testing.assert_allclose(h, right.outputs[0], rtol=0, atol=within)


def test_an_array_that_is_no_operand_is_not_compiled() -> None:
    assert Compiled(drawn(3, 5, seed=1), PRECISIONS["float32"]).compiled is None


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_step_is_judged_by_the_equation_of_the_cell(precision: str) -> None:
    random, cell = np.random.RandomState(6), drawn(3, 5, seed=1)
    x, h0 = random.normal(size=(3, 40, 3)), random.uniform(-1, 1, (3, 20))
    layers = [Recurrent(cell, drawn(3, 5, seed=2), direction="bidirectional")]
    lengths = np.array([40, 7, 39])
    case = case_of_batch(Network(*layers), x, h0, lengths, precision)
    rounds = PRECISIONS[precision].rounds  # half of the bound is an operand on the other side
    right = case.outputs("stepwise")
    error = largest_step_error(case, right)
    assert error is not None
    assert error < (0.6 if rounds else 0.25)
    for n, t, unit in [(0, 0, 0), (0, 39, 9), (1, 6, 4), (2, 20, 7)]:
        wrong, row = right[0].copy(), lengths[:n].sum() + t
        wrong[row, unit] += 1e-2
        errors = case_step_errors(case, [wrong])
        assert errors is not None
        assert errors[row, unit] > 1


class Minimal(Cell):
    """``f, g = sigmoid, tanh of the sums; h_t = h_{t-1} + f (g - h_{t-1})``."""

    gates = 2
    gate_names = ("f", "g")

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def step(self, n: Numbers, sums: Sequence[Any], *state: Any) -> tuple[Any, ...]:
        (f, g), (h,) = sums, state
        return (h + n.apply(SIGMOID, f) * (n.apply(TANH, g) - h),)


@pytest.mark.parametrize("unroll", RUNNABLE)
def test_an_equation_may_subtract(unroll: str) -> None:
    x = np.random.RandomState(5).normal(size=(1, 40, 3)).astype("f")
    case = case_of_batch(Network(Minimal(drawn(3, 5, seed=1).weights)), x)
    error = largest_step_error(case, case.outputs(unroll))
    assert error is not None
    assert error < 0.25


class Independent(Cell):
    """``h_t = tanh(sum + w h_{t-1})``: a recurrent weight for each unit (IndRNN)."""

    gates = 1
    gate_names = ("h",)

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    @classmethod
    def shapes(cls, weights: Weights) -> dict[str, tuple[int, ...]]:
        return super().shapes(weights) | {"W_hh": weights.W_xh.shape[1:]}

    @property
    def operands(self) -> Operands:
        W_xh, w, b_h = self.weights[:3]
        return Operands(W_xh, np.zeros((len(w), 0), w.dtype), b_h)

    @property
    def needs_only_operands(self) -> bool:
        return False

    def step(self, n: Numbers, sums: Sequence[Any], *state: Any) -> tuple[Any, ...]:
        return (n.apply(TANH, sums[0] + n.weight(self.weights.W_hh, "W_hh") * state[0]),)


def test_a_cell_tells_the_shapes_of_its_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.RandomState(0)
    W_xh, w, b_h, x = (random.normal(size=k).astype("f") for k in ((2, 3), 3, 3, (9, 2)))
    h, right = np.zeros(3), []
    for row in x:
        h = np.tanh(row @ W_xh + w * h + b_h)
        right.append(h)
    monkeypatch.setitem(CELLS, "independent", Independent)
    np.savez(tmp_path / "model.npz", W_xh=W_xh, W_hh=w, b_h=b_h)
    network = rnncli.load(tmp_path / "model.npz")
    np.testing.assert_allclose(rnncli.run(network, x).h, right, atol=1e-6)
    with pytest.raises(
        ValueError, match=r"^W_hh: expected shape \(3,\), as W_xh is .*, got \(2,\)"
    ):
        Network(Independent(Weights(W_xh, w[:2], b_h)))
    np.savez(tmp_path / "model.npz", W_xh=W_xh, W_hh=w[:2], b_h=b_h)
    with pytest.raises(ValueError, match=r"npz: W_hh: expected shape .* or \(3,\), as W_xh is"):
        rnncli.load(tmp_path / "model.npz")


EQUATIONS = [
    "i_t = sigmoid(x_t @ W_xh[i] + h_{t-1} @ W_hh[i] + b_h[i])",
    "g_t = tanh(x_t @ W_xh[g] + h_{t-1} @ W_hh[g] + b_h[g])",
    "c_t = keep c_{t-1} + i_t g_t",
    "h_t = tanh(c_t)",
]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_step_is_explained(precision: str) -> None:
    network = Network(drawn(3, 5, seed=1))
    x = np.random.RandomState(7).normal(size=(4, 3)).astype("f")
    ran = rnncli.run(network, x, precision=precision, unroll="stepwise", all_states=True)
    assert ran.c is not None
    start = Carried(np.zeros(10))
    steps = explain_steps(network, [Rows(x)], Wanted(1), start, precision=precision)
    for t, step in enumerate(steps):
        quantities = step.layers[0].cells[0].quantities
        assert [f"{q.name} = {q.equation}" for q in quantities] == EQUATIONS
        of_c, of_h = (q.values for q in quantities[-2:])
        assert np.array_equal(of_c, ran.c[t])
        assert np.array_equal(of_h, ran.h[t])
        for quantity in quantities:
            total = quantity.values if quantity.sum is None else quantity.sum
            terms = [term.values for term in quantity.terms]
            np.testing.assert_allclose(sum(terms), total, rtol=1e-5, atol=1e-6)


def test_runs_join_only_where_every_array_of_the_state_has_converged() -> None:
    """c is near 100, where tanh(c) is 1 whatever c is: h alone would join two runs at once."""
    b_h = np.array([9, 9], "f")
    cell = Leaky(Weights(np.zeros((1, 2), "f"), np.zeros((1, 2), "f"), b_h), keep=0.99)
    states = rnncli.run(Network(cell), np.zeros((20_000, 1), "f"), unroll="parallel")
    c = 1 / (1 + np.exp(-9)) * np.tanh(9) / (1 - 0.99)
    assert states.h_n[1] == pytest.approx(c, rel=1e-5)
