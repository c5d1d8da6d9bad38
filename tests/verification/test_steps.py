"""The step error of LSTM and GRU: right runs are far below their bound, wrong ones far above."""

import numpy as np
import pytest
from random_networks import gated_cell

from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.verification.case import Case, case_of_batch
from rnncli.verification.comparison import Comparison
from rnncli.verification.steps import case_step_errors, largest_step_error
from rnncli.verification.verify import judge_loop

RIGHT = 0.25  # the share of the bound that right code stays below
KINDS = [
    *("lstm", "lstm peepholes", "lstm projection", "lstm others"),
    *("gru after", "gru before", "gru after others"),
]


def drawn(name: str, I: int, H: int, seed: int = 0, scale: float = 1.0) -> Cell:
    """Draw a cell as PyTorch does, its weights `scale` times as large."""
    cell = gated_cell(name, I, H, seed)
    return cell.replaced(cell.weights.converted(lambda _, array: array * np.float32(scale)))


def case_of(network: Network, precision: str = "float32", T: int = 24, scale: float = 1.0) -> Case:
    random = np.random.RandomState(1)
    x = scale * random.normal(size=(3, T, network.input_size))
    h0 = random.uniform(-1, 1, (3, network.state_size))
    return case_of_batch(network, x, h0, np.array([T, T // 3, T - 1]), precision)


def changed(cell: Cell, **arrays: Floats) -> Cell:
    return cell.replaced(cell.weights._replace(**arrays))


@pytest.mark.parametrize("name", KINDS)
def test_a_port_with_a_wrong_array_is_far_above_the_bound(name: str) -> None:
    cell = drawn(name, 3, 16)
    case = case_of(Network(Recurrent(cell)), T=20)
    for array, values in cell.weights.arrays.items():
        port = Network(Recurrent(changed(cell, **{array: -values})))
        error = largest_step_error(case, case._replace(network=port).outputs())
        assert error is not None, array
        assert error > 100, array


def test_c_that_never_forgets_hides_no_wrong_forget_gate() -> None:
    """The bound of c grows with the steps, and so does the fault."""
    H = 4
    cell = drawn("lstm", 1, H)
    b_h = cell.weights.b_h.copy()
    b_h[H : 2 * H] = 12.0  # f of 1 - 6e-6
    cell = changed(cell, b_h=b_h)
    case = case_of(Network(Recurrent(cell)), T=2_000, scale=0.05)
    error = largest_step_error(case, case.outputs())
    assert error is not None
    assert error < RIGHT
    for by in (-1.0, 1.0):
        other = b_h.copy()
        other[H : 2 * H] += by
        wrong = case._replace(network=Network(Recurrent(changed(cell, b_h=other)))).outputs()
        errors = case_step_errors(case, wrong)
        assert errors is not None
        assert errors[case.steps <= 20].max() > 1
        assert errors[case.groups.last[0]].max() > 1


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", KINDS)
def test_saturated_gates_and_large_cells_are_right_in_whole_runs(name: str, precision: str) -> None:
    """Weights no longer move such gates, rounding does."""
    cells = [drawn(name, 2, 6, seed, scale=8.0) for seed in range(2)]
    layer = Recurrent(*cells, direction="bidirectional", merge="ave")
    case = case_of(Network(layer, drawn(name, layer.output_size, 4)), precision, scale=3.0)
    case.h0[:, case.network.state_names.get("c", slice(0))] *= 290
    assert judge_loop(Comparison(case, case.outputs()))["verdict"] != "different"
