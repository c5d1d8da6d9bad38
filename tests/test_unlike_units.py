"""Networks whose units, inputs, biases and time constants are of unlike size.

A unit of 1e-7 next to one of 1 has as many digits of its own: every step of every unit stays
below the step error, however the steps are unrolled.
"""

from typing import NamedTuple

import numpy as np
import pytest
from conftest import NIGHTLY, RUNNABLE, runnable
from networks import ALL_ACTIVATIONS, slope, step_errors

import rnncli
from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN, Weights
from rnncli.model.network import Network

# Strategies of their own for long sequences.
LONG = [name for name in RUNNABLE if name in ("parallel", "compiled")]
CASES = 3_000 if NIGHTLY else 12
# Rounding uses a few hundredths of the bound, and at most half of it; a join may add a quarter.
RIGHT = 0.75


class Case(NamedTuple):
    network: Network
    x: Floats
    precision: str


def unlike(random: np.random.Generator, size: int) -> Floats:
    """Sizes from 1 down to 1e-7; one time in four all are alike."""
    return 10.0 ** -random.uniform(0, random.choice([0, 3, 7, 7]), size)


def case_of(seed: int) -> Case:
    """Draw a network that is contracting in most cases, and inputs of 4,096 to 50,000 steps."""
    random = np.random.default_rng(seed)
    f = ALL_ACTIVATIONS[seed % len(ALL_ACTIVATIONS)]
    I, H = int(random.integers(1, 4)), int(random.integers(1, 9))
    unit, feature, bias = (unlike(random, n) for n in (H, I, H))
    if random.random() < 0.5:
        unit *= 10.0 ** random.uniform(0, 7)  # above 1 too
    # How much of itself a unit carries on: time constants from none to a hundred steps.
    own = (1 - 10 ** -random.uniform(0, 2, H)) * random.choice([0, 1, 1, -1], H) / slope(f)
    among = random.normal(size=(H, H)) * (random.random((H, H)) < 0.5) / slope(f)
    among = np.triu(among, 1) if random.random() < 0.8 else 0.3 * among / np.sqrt(H)
    W_hh = (np.diag(own) + among) * unit / unit[:, None]
    W_xh = random.normal(size=(I, H)) * (random.random((I, H)) < 0.8) * unit / feature[:, None]
    b_h = random.normal(size=H) * bias * unit * 10.0 ** random.uniform(0, 3)
    weights = Weights(*(array.astype("f") for array in (W_xh, W_hh, b_h)))
    T = int(4_096 * (50_000 / 4_096) ** random.random())
    offset = random.choice([0, 0, 1, 1000])
    x = (random.normal(size=(T, I)) + offset) * feature
    precision = list(PRECISIONS)[seed // len(ALL_ACTIVATIONS) % len(PRECISIONS)]
    return Case(Network(RNN(weights, f)), x.astype("f"), precision)


def worst(case: Case, unroll: str) -> float:
    """Return the largest step error, up to where states, and then the bound, overflow."""
    h = rnncli.run(case.network, case.x, precision=case.precision, unroll=unroll).h
    bounded = (np.abs(h) < np.finfo(h.dtype).max / 1e6).all(axis=1)
    T = len(h) if bounded.all() else int(np.argmin(bounded))
    (cell,), h0 = case.network.layers[0].cells, np.zeros(h.shape[1], h.dtype)
    errors = step_errors(cell, case.x[:T].astype(h.dtype), h0, h[:T], case.precision)
    return float(errors.max(initial=0))


def test_every_step_of_every_unit_is_right() -> None:
    wrong: dict[tuple[int, str], float] = {}
    for seed in range(CASES):
        case = case_of(seed)
        ways = [how for how in runnable(case.precision) if how in LONG]
        errors = {(seed, how): worst(case, how) for how in ("auto", *ways)}
        wrong |= {where: error for where, error in errors.items() if not error <= RIGHT}
    assert not wrong


@pytest.mark.parametrize("unroll", ["auto", *LONG])
def test_a_slow_unit_next_to_a_large_one_that_does_not_touch_it(unroll: str) -> None:
    """Pressure in Pa and a slow mean: the mean forgets within 1,600 steps, not at once."""
    weights = Weights(*(np.array(rows, "f") for rows in ([[0, 1]], [[0, 0], [0, 0.99]], [1e6, 0])))
    x = np.random.default_rng(0).normal(size=(20_000, 1)).astype("f")
    assert worst(Case(Network(RNN(weights, "linear")), x, "float32"), unroll) < RIGHT
