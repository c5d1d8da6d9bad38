"""The step of a cell in place is the equation that the cell has for any kind of number."""

from math import inf

import numpy as np
from any_cell import Leaky
from any_cell import drawn as drawn_leaky
from hypothesis import given
from hypothesis import strategies as st
from networks import OF_LAYERS, VARIANTS, gated_cell, gated_cells

from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN, Arrays, Cell, Operands, Weights

# Both round each operation once, though not always the same ones: values are up to some tens.
NEAR = 1e-13


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    """Any cell, one in two of the gated ones with the usual gates."""
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    kind, H = draw(st.sampled_from(["rnn", "lstm", "gru", "leaky"])), draw(st.integers(1, 5))
    if kind == "leaky":
        return drawn_leaky(Leaky, 2, H, seed=1)
    if kind == "rnn":
        arrays = (random.normal(size=shape) for shape in ((2, H), (H, H), H))
        clip = draw(st.sampled_from([inf, 2.0]))
        return RNN(Weights(*arrays), draw(st.sampled_from(OF_LAYERS)), clip)
    if draw(st.booleans()):
        return gated_cell(draw(st.sampled_from(VARIANTS)), 2, H)
    return draw(gated_cells(kind, 2, H, draw(st.integers(1, H)) if kind == "lstm" else H, random))


def sums(operands: Operands, x: Floats, h: Floats, H: int) -> Floats:
    W_xh, W_hh, b_h = operands
    a = x @ W_xh + b_h
    a[:, len(b_h) - W_hh.shape[1] :] += h @ W_hh
    return np.ascontiguousarray(a.reshape(len(x), -1, H).swapaxes(0, 1))


@given(cell=cells(), seed=st.integers(0, 2**32 - 1))
def test_it_is_the_same_step(cell: Cell, seed: int) -> None:
    random, H = np.random.RandomState(seed), cell.hidden_size
    cell = cell.replaced(cell.weights.converted(lambda _, array: array.astype(np.float64)))
    x = random.normal(size=(3, len(cell.weights.W_xh)))
    state = tuple(random.normal(size=(3, size)) for size in cell.state_sizes)
    operands, step = cell.in_place(np.matmul)
    out = np.empty_like(state[0])
    with np.errstate(all="ignore"):
        right = cell.step(Arrays(), list(sums(cell.operands, x, state[0], H)), *state)
        after = step(sums(operands, x, state[0], H), out, *(array.copy() for array in state))
    assert after[0] is out
    assert len(after) == len(right) == len(cell.state_names)
    for one, other in zip(after, right, strict=True):
        np.testing.assert_allclose(one, other, rtol=NEAR, atol=NEAR)
