"""The reference against sums without any rounding of their own."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, cases

from rnncli.engine.precision import PRECISIONS
from rnncli.verify import reference


@pytest.mark.slow
@given(case=cases(N=1, T=3, I=3, H=5))
def test_a_step_is_the_exact_sum_and_tanh(case: Case) -> None:
    W_xh, W_hh, b_h = case.cell.weights[:3]
    before = case.h0[0]
    computed = reference.unroll(case.cell, case.x[0], before)
    for x_t, h_t in zip(case.x[0], computed, strict=True):
        for j, h in enumerate(h_t):
            terms = [*(x_t[i] * W for i, W in enumerate(W_xh[:, j].astype(float)))]
            exact = sum(map(exactly, x_t, W_xh[:, j])) + sum(map(exactly, before, W_hh[:, j]))
            size = sum(map(abs, terms)) + sum(abs(before) * abs(W_hh[:, j])) + abs(b_h[j])
            # Ten operations on float64, each half a unit off at most.
            assert abs(h - math.tanh(exact + Fraction(float(b_h[j])))) <= 10 * 2**-53 * (size + 1)
        before = h_t


def exactly(a: float, b: float) -> Fraction:
    return Fraction(float(a)) * Fraction(float(b))


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
@given(bits=st.integers(0x00800000, 0x7E7FFFFF), negative=st.booleans())
def test_two_ways_to_round_operands_agree(precision: str, bits: int, negative: bool) -> None:
    # Normal float32 numbers; under them the two keep different digits, of under 1e-38.
    values = np.array([bits | (negative << 31)], np.uint32).view(np.float32)
    by_arithmetic = reference._rounded(values, reference.MANTISSA_BITS[precision])
    assert PRECISIONS[precision].operand(values) == by_arithmetic
