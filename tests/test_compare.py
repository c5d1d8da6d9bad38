"""The verdict on right and wrong results."""

import numpy as np
import pytest
from hypothesis import given
from networks import Case, cases
from whole_runs import difference

from rnncli import RNN, seeded
from rnncli.engine.run import run
from rnncli.verify import case as verify
from rnncli.verify.steps import largest_step_error, step_errors

NETWORK = seeded(2, 16, seed=5)
X = np.random.RandomState(0).normal(size=(200, 2)).astype(np.float32)
(CELL,) = (cell for cell in NETWORK.layers[0].cells if isinstance(cell, RNN))
H0 = np.zeros(16, np.float32)


def share(h: np.ndarray, precision: str = "float32") -> float:
    return float(step_errors(CELL, X, H0, h, precision).max())


def test_right_runs_part_and_every_step_is_right() -> None:
    runs = [run(NETWORK, X, unroll=unroll).h for unroll in ("stepwise", "fused")]
    assert difference(*runs) > 0.1  # this network amplifies the last bit
    assert all(share(h) < 0.5 for h in runs)


@pytest.mark.parametrize("name", ["W_xh", "W_hh", "b_h"])
def test_a_wrong_weight_is_caught(name: str) -> None:
    wrong = CELL.weights._replace(**{name: getattr(CELL.weights, name) + np.float32(1e-3)})
    assert share(run(type(NETWORK)(wrong), X).h) > 10


def test_another_precision_is_caught() -> None:
    tf32 = run(NETWORK, X, precision="tf32").h
    assert share(tf32) > 10
    assert share(tf32, "tf32") < 0.5
    assert share(run(NETWORK, X).h, "tf32") > 10
    assert share(run(NETWORK, X).h, "float64") > 1e6


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_never_passes(value: float) -> None:
    h = run(NETWORK, X).h
    h[100, 3] = value
    errors = step_errors(CELL, X, H0, h)
    assert np.isinf(errors[100, 3])
    assert difference(h, h) == np.inf


@pytest.mark.slow
@given(case=cases(N=1, T=1))
def test_one_unit_of_the_last_place_more_or_less_is_right(case: Case) -> None:
    x, h0 = case.x[0], case.h0[0]
    h = run(case.network, case.x, case.h0, precision=case.precision).h[0]
    nudged = np.nextafter(h, np.ones_like(h))
    assert step_errors(case.cell, x, h0, nudged, case.precision).max() < 0.75


def test_states_that_are_hidden_have_no_step_error() -> None:
    network = seeded(1, 3, 1, "torch", direction="bidirectional", merge="sum")
    case = verify.Case(network, np.ones((1, 4, 1)), np.zeros((1, 6)), np.array([4]))
    assert largest_step_error(case, case.outputs()) is None
