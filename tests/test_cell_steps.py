"""The step of a cell as an equation of any values: what `combine` computes of whole arrays."""

from math import inf
from typing import Any

import numpy as np
from any_cell import Leaky
from any_cell import drawn as drawn_leaky
from hypothesis import given
from hypothesis import strategies as st
from networks import OF_LAYERS, gated_cell, gated_cells

from rnncli.engine.unroll.stepwise import row_products
from rnncli.model.activations import Activation, clipped
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN, Cell, Weights

# Both round each operation once, though not always the same ones: values are up to some tens.
NEAR = 1e-13


def apply(activation: Activation, a: Floats, clip: float) -> Floats:
    out = np.empty_like(a)
    clipped(activation, clip)(a, out)
    return out


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    """Any cell that has a step, one in three of them with the usual gates."""
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    kind, H = draw(st.sampled_from(["rnn", "lstm", "gru", "leaky"])), draw(st.integers(1, 5))
    usual = {"gru": ["gru after", "gru before"], "lstm": ["lstm"]}.get(kind)
    if usual and draw(st.integers(0, 2)) == 0:
        return gated_cell(draw(st.sampled_from(usual)), 2, H)
    if kind == "leaky":
        return drawn_leaky(Leaky, 2, H, seed=1)
    if kind == "rnn":
        arrays = (random.normal(size=shape) for shape in ((2, H), (H, H), H))
        clip = draw(st.sampled_from([inf, 2.0]))
        return RNN(Weights(*arrays), draw(st.sampled_from(OF_LAYERS)), clip)
    return draw(gated_cells(kind, 2, H, H, random).filter(lambda cell: cell.has_step))


@given(cell=cells(), seed=st.integers(0, 2**32 - 1))
def test_it_is_the_same_step(cell: Cell, seed: int) -> None:
    random = np.random.RandomState(seed)
    cell = cell.replaced(cell.weights.converted(lambda _, array: array.astype(np.float64)))
    blocks, N, H = len(cell.operands.b_h) // cell.hidden_size, 3, cell.hidden_size
    sums, state = random.normal(0, 3, (blocks, N, H)), random.normal(size=(2, N, H))
    state = state[: len(cell.state_names)]
    with np.errstate(all="ignore"):
        given_sums: list[Any] = list(sums.copy())
        if cell.inner is not None:
            operand = cell.inner_operand(apply, given_sums, *state)
            given_sums.append(row_products(operand, cell.inner))
        found = cell.step(apply, given_sums, *state.copy())
        out = np.empty((N, H))
        combine: Any = cell.combine(lambda W: lambda h: row_products(h, W))
        if cell.sums_alone:
            combine(sums[0], out)
            expected = (out,)
        else:
            expected = combine(sums, out, *state)
    assert len(found) == len(expected) == len(cell.state_names)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=NEAR, atol=NEAR)
