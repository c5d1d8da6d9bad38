"""The verdict on right and wrong results."""

import numpy as np
import pytest
from hypothesis import given
from strategies import Case, cases
from whole_runs import contracting, difference, run_tolerance

from rnncli import RNN, activation, seeded
from rnncli.engine.run import run
from rnncli.verify import case as verify
from rnncli.verify import steps
from rnncli.verify.steps import case_step_errors, largest_step_error, step_errors

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


def test_difference_is_relative_for_large_values() -> None:
    assert difference(np.array([101.0]), np.array([100.0])) == pytest.approx(0.01)
    assert difference(np.array([0.2]), np.array([0.1])) == pytest.approx(0.1)
    assert difference(np.empty((0, 4)), np.empty((0, 4))) == 0
    with pytest.raises(ValueError, match=r"cannot compare shapes \(3,\) and \(4,\)"):
        difference(np.ones(3), np.ones(4))


def test_which_networks_are_contracting() -> None:
    assert not contracting(CELL)
    assert contracting(scaled(0.9))
    assert not contracting(scaled(0.91))
    assert not contracting(scaled(0.9).replaced(activation=activation("affine", 1.1, 0)))
    assert not contracting(scaled(0.9).replaced(activation=activation("thresholded_relu")))


def scaled(norm: float) -> RNN:
    return CELL.replaced(weights=CELL.weights._replace(W_hh=np.eye(16) * norm))


def test_run_tolerances() -> None:
    assert [run_tolerance(4, "float64"), run_tolerance(4, "float32")] == [1e-14, 1e-6]
    assert run_tolerance(256, "float32") == 2e-6
    with pytest.raises(ValueError, match="nothing is promised of whole runs in tf32"):
        run_tolerance(4, "tf32")


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
@pytest.mark.parametrize("values", [1, 12, 40, 10_000])
def test_pieces_are_judged_as_the_whole(
    monkeypatch: pytest.MonkeyPatch, direction: str, values: int
) -> None:
    network = seeded(2, (3, 2), 1, "keras", direction=direction)
    random = np.random.RandomState(0)
    x, h0 = random.normal(size=(5, 11, 2)), random.normal(size=(5, network.state_size))
    x, h0 = x.astype(np.float32), h0.astype(np.float32)
    case = verify.Case(network, x, h0, np.array([11, 0, 4, 7, 10]))
    layers = case.outputs()
    whole = case_step_errors(case, layers)
    assert whole is not None
    monkeypatch.setattr(steps, "PIECE", values)
    # The same arithmetic, in sums that BLAS may take in another order.
    assert largest_step_error(case, layers) == pytest.approx(whole.max(), rel=1e-9)
    wrong = [h.copy() for h in layers]
    wrong[0][3, 6, 1] = np.nan
    assert largest_step_error(case, wrong) == np.inf


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_steps_of_sequences_are_those_of_each_alone(direction: str) -> None:
    network = seeded(2, 3, 1, "keras", direction=direction)
    random = np.random.RandomState(1)
    x, h0 = random.normal(size=(3, 9, 2)), random.normal(size=(3, network.state_size))
    case = verify.Case(network, x, h0, np.array([9, 1, 5]), "float64")
    (h,) = case.outputs()
    h = h + 1e-15 * random.normal(size=h.shape)  # so that no error is 0
    errors = case_step_errors(case, [h])
    assert errors is not None
    for n, length in enumerate(case.lengths):
        assert not errors[n, length:].any()
        alone = []
        (layer,), (slices,) = network.layers, network.state_slices
        for number, (cell, way, (place,)) in enumerate(
            zip(layer.cells, layer.directions, slices, strict=True)
        ):
            turn = -1 if way == "backward" else 1
            rows = h[n, :length, 3 * number : 3 * number + 3][::turn]
            of_cell = step_errors(cell, x[n, :length][::turn], h0[n, place], rows, "float64")
            alone.append(of_cell[::turn])
        np.testing.assert_allclose(errors[n, :length], np.hstack(alone), rtol=1e-6)


def test_states_that_are_hidden_have_no_step_error() -> None:
    network = seeded(1, 3, 1, "torch", direction="bidirectional", merge="sum")
    case = verify.Case(network, np.ones((1, 4, 1)), np.zeros((1, 6)), np.array([4]))
    assert largest_step_error(case, case.outputs()) is None
