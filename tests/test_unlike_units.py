"""Networks whose units, inputs, biases and time constants are of unlike size.

A unit of 1e-7 beside one of 1 has as many digits of its own: every step of every unit is held
to the step error, however the steps are unrolled.
"""

import os
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import RUNNABLE, runnable
from networks import ALL_ACTIVATIONS

import rnncli
from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN, Weights
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.verify.steps import step_errors

module: Any = import_module(
    "rnncli.engine.unroll.parallel"
)  # the package has the function by that name
# Strategies of their own for long sequences.
LONG = [name for name in RUNNABLE if name in ("parallel", "compiled")]
# .ci/run asks for more.
CASES = int(os.environ.get("RNN_UNLIKE_CASES", "200"))
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
    # What a unit keeps of itself: time constants from none to a hundred steps.
    kept = (1 - 10 ** -random.uniform(0, 2, H)) * random.choice([0, 1, 1, -1], H) / f.slope
    among = random.normal(size=(H, H)) * (random.random((H, H)) < 0.5) / f.slope
    among = np.triu(among, 1) if random.random() < 0.8 else 0.3 * among / np.sqrt(H)
    W_hh = (np.diag(kept) + among) * unit / unit[:, None]
    W_xh = random.normal(size=(I, H)) * (random.random((I, H)) < 0.8) * unit / feature[:, None]
    b_h = random.normal(size=H) * bias * unit * 10.0 ** random.uniform(0, 3)
    weights = Weights(*(array.astype("f") for array in (W_xh, W_hh, b_h)))
    T = int(4_096 * (50_000 / 4_096) ** random.random())
    offset = random.choice([0, 0, 1, 1000])
    x = (random.normal(size=(T, I)) + offset) * feature
    precision = list(PRECISIONS)[seed // len(ALL_ACTIVATIONS) % len(PRECISIONS)]
    return Case(Network(Recurrent(RNN(weights, f))), x.astype("f"), precision)


def run(case: Case, unroll: str) -> Floats:
    with np.errstate(all="ignore"):
        return rnncli.run(case.network, case.x, precision=case.precision, unroll=unroll).h


def worst(case: Case, h: Floats) -> float:
    """Give the largest step error, up to where states, and then the bound, overflow."""
    bounded = (np.abs(h) < np.finfo(h.dtype).max / 1e6).all(axis=1)
    T = len(h) if bounded.all() else int(np.argmin(bounded))
    dtype = PRECISIONS[case.precision].dtype
    h0 = np.zeros(h.shape[1], dtype)
    errors = step_errors(
        case.network.layers[0].cells[0], case.x[:T].astype(dtype), h0, h[:T], case.precision
    )
    return float(errors.max(initial=0))


@pytest.mark.slow
def test_every_step_of_every_unit_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    worthwhile_segments, parallel = module.worthwhile_segments, []

    def counted(*arguments: Any) -> int:
        S: int = worthwhile_segments(*arguments)
        parallel.append(S > 0)
        return S

    monkeypatch.setattr(module, "worthwhile_segments", counted)
    wrong: dict[tuple[int, str], float] = {}
    for seed in range(CASES):
        case = case_of(seed)
        ways = [how for how in runnable(case.precision) if how in LONG]
        errors = {(seed, how): worst(case, run(case, how)) for how in ("auto", *ways)}
        wrong |= {where: error for where, error in errors.items() if not error <= RIGHT}
    assert not wrong
    assert np.mean(parallel) > 0.6  # as many did run in segments, and had joins to get wrong


@pytest.mark.parametrize("unroll", ["auto", *LONG])
def test_a_slow_unit_beside_a_large_one_that_does_not_touch_it(unroll: str) -> None:
    """Pressure in Pa beside a slow mean: the mean forgets within 1,600 steps, not at once."""
    weights = Weights(*(np.array(rows, "f") for rows in ([[0, 1]], [[0, 0], [0, 0.99]], [1e6, 0])))
    network = Network(Recurrent(RNN(weights, rnncli.activation("linear"))))
    x = np.random.default_rng(0).normal(size=(20_000, 1)).astype("f")
    case = Case(network, x, "float32")
    assert worst(case, run(case, unroll)) < RIGHT
