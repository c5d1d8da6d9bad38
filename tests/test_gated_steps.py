"""The step error of LSTM and GRU: right runs are far below their bound, wrong ones far above."""

from collections.abc import Callable

import numpy as np
import pytest
from conftest import runnable
from networks import gated_cell, step_errors

from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, LSTM, Cell, Weights
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.verification.case import Case
from rnncli.verification.comparison import Comparison
from rnncli.verification.steps import case_step_errors, largest_step_error
from rnncli.verification.verify import with_reference

# Right code stays far below the bound; half of it is an operand on the other side of the
# middle between two, where a precision rounds these.
RIGHT = {"float32": 0.25, "float64": 0.25, "tf32": 0.6, "bfloat16": 0.6}


KINDS = [
    "lstm",
    "lstm peepholes",
    "lstm projection",
    "lstm others",
    "gru after",
    "gru before",
    "gru after others",
]


def drawn(name: str, I: int, H: int, seed: int = 0, scale: float = 1.0) -> Cell:
    """Draw a cell as PyTorch does, its weights `scale` times as large."""
    cell = gated_cell(name, I, H, seed)
    return cell.replaced(cell.weights.converted(lambda _, array: array * np.float32(scale)))


def case_of(network: Network, precision: str = "float32", T: int = 24, scale: float = 1.0) -> Case:
    random = np.random.RandomState(1)
    dtype = PRECISIONS[precision].dtype
    x = scale * random.normal(size=(3, T, network.input_size))
    h0 = random.uniform(-1, 1, (3, network.state_size))
    return Case(network, x.astype(dtype), h0.astype(dtype), np.array([T, T // 3, T - 1]), precision)


def worst(case: Case, unroll: str = "auto") -> float:
    """Return the largest step error of our own run."""
    error = largest_step_error(case, case.outputs(unroll))
    assert error is not None
    return error


def negative(name: str) -> Callable[[Cell], Cell]:
    """Make a change that negates an array."""
    return lambda cell: changed(cell, **{name: -cell.weights.arrays[name]})


def zero(name: str, gate: int | None = None) -> Callable[[Cell], Cell]:
    """Make a change that zeroes an array, or its block of a gate."""

    def change(cell: Cell) -> Cell:
        array = cell.weights.arrays[name].copy()
        gates = array.reshape(*array.shape[:-1], -1, cell.hidden_size)
        gates[..., slice(None) if gate is None else gate, :] = 0
        return changed(cell, **{name: array})

    return change


def in_order(*order: int) -> Callable[[Cell], Cell]:
    """Make a change that puts the gates in another order."""

    def change(cell: Cell) -> Cell:
        def moved(array: Floats) -> Floats:
            blocks = np.split(array, len(order), axis=-1)
            return np.concatenate([blocks[k] for k in order], axis=-1)

        names = ("W_xh", "W_hh", "b_h")
        return changed(cell, **{name: moved(cell.weights.arrays[name]) for name in names})

    return change


def changed(cell: Cell, **arrays: Floats) -> Cell:
    return cell.replaced(cell.weights._replace(**arrays))


def other_reset(cell: Cell) -> Cell:
    """Exchange before and after; b_n goes where it belongs before."""
    assert isinstance(cell, GRU)
    reset = "after" if cell.reset == "before" else "before"
    W, H = cell.weights, cell.hidden_size
    if W.b_n is None:
        return cell.replaced(reset=reset)
    b_h = W.b_h + np.concatenate([np.zeros(2 * H, W.b_h.dtype), W.b_n])
    return GRU(W._replace(b_h=b_h, b_n=None), reset=reset)


ALL = ("W_xh", "W_hh", "b_h")
COMMON = {
    **{f"-{name}": negative(name) for name in ALL},
    **{f"no {name}": zero(name) for name in ALL},
}
LSTM_FAULTS = {
    **COMMON,
    **{f"no b_h of {gate}": zero("b_h", k) for k, gate in enumerate("ifgo")},
    "i f o g": in_order(0, 1, 3, 2),
    "i o f g": in_order(0, 3, 1, 2),
    "f i g o": in_order(1, 0, 2, 3),
    "another gate activation": lambda cell: cell.replaced(recurrent_activation="hard_sigmoid"),
    "another output activation": lambda cell: cell.replaced(output_activation="softsign"),
}
GRU_FAULTS = {
    **COMMON,
    **{f"no b_h of {gate}": zero("b_h", k) for k, gate in enumerate("zrn")},
    "r z n": in_order(1, 0, 2),
    "z n r": in_order(0, 2, 1),
    "-z": lambda cell: changed(cell, **{name: signed(cell, name) for name in ALL}),
    "another gate activation": lambda cell: cell.replaced(recurrent_activation="hard_sigmoid"),
    "the other reset": other_reset,
}
FAULTS: list[tuple[str, str, Callable[[Cell], Cell]]] = [
    *(("lstm", fault, change) for fault, change in LSTM_FAULTS.items()),
    *(("gru after", fault, change) for fault, change in GRU_FAULTS.items()),
    *(("gru before", fault, change) for fault, change in GRU_FAULTS.items()),
    ("gru after", "no b_n", zero("b_n")),
    ("gru after", "-b_n", negative("b_n")),
    ("lstm peepholes", "-w_ch", negative("w_ch")),
    ("lstm peepholes", "no peephole of o", zero("w_ch", 2)),
    ("lstm projection", "-W_hr", negative("W_hr")),
]


def signed(cell: Cell, name: str) -> Floats:
    """Turn the sign of z, which exchanges z and 1 - z."""
    array = cell.weights.arrays[name].copy()
    array[..., : cell.hidden_size] *= -1
    return array


@pytest.mark.parametrize(
    ("name", "change"), [pytest.param(*each[::2], id=": ".join(each[:2])) for each in FAULTS]
)
def test_a_wrong_port_is_far_above_the_bound(name: str, change: Callable[[Cell], Cell]) -> None:
    cell = drawn(name, 3, 16)
    case = case_of(Network(Recurrent(cell)), T=20)
    theirs = case._replace(network=Network(Recurrent(change(cell)))).outputs()
    error = largest_step_error(case, theirs)
    assert error is not None
    assert error > 100


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in KINDS if "lstm" in name])
def test_cells_of_hundreds_are_right(name: str, precision: str) -> None:
    """As real networks with peepholes have them: c of 290."""
    case = case_of(Network(Recurrent(drawn(name, 3, 8))), precision)
    case.h0[:, case.network.state_names["c"]] *= 290
    assert all(worst(case, unroll) < RIGHT[precision] for unroll in runnable(precision))


def test_c_that_never_forgets_hides_no_wrong_forget_gate() -> None:
    """The bound of c grows with the steps, and so does the fault."""
    H = 4
    cell = drawn("lstm", 1, H)
    b_h = cell.weights.b_h.copy()
    b_h[H : 2 * H] = 12.0  # f of 1 - 6e-6
    cell = changed(cell, b_h=b_h)
    case = case_of(Network(Recurrent(cell)), T=2_000, scale=0.05)
    assert worst(case) < RIGHT["float32"]
    for by in (-1.0, 1.0):
        other = b_h.copy()
        other[H : 2 * H] += by
        wrong = case._replace(network=Network(Recurrent(changed(cell, b_h=other)))).outputs()
        errors = case_step_errors(case, wrong)
        assert errors is not None
        assert errors[:, :20].max() > 1
        assert errors[0, -1].max() > 1


def test_a_gate_that_jumps_is_right_on_either_side() -> None:
    W_xh = np.array([[1, 1, 1, 1]], "f")
    weights = Weights(W_xh, np.zeros((1, 4), "f"), np.zeros(4, "f"))
    cell = LSTM(weights, recurrent_activation="thresholded_relu:1")
    x, start = np.ones((1, 1), "f"), np.zeros(2, "f")
    for i in (0.0, 1.0):
        h = np.array([[i * np.tanh(i * np.tanh(1))]], "f")
        assert step_errors(cell, x, start, h).max() <= 1
    assert step_errors(cell, x * 1.01, start, np.zeros((1, 1), "f")).max() > 100


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", KINDS)
def test_saturated_gates_and_large_cells_are_right_in_whole_runs(name: str, precision: str) -> None:
    """Weights no longer move such gates, rounding does."""
    cells = [drawn(name, 2, 6, seed, scale=8.0) for seed in range(2)]
    layer = Recurrent(*cells, direction="bidirectional", merge="ave")
    case = case_of(Network(layer, drawn(name, layer.output_size, 4)), precision, scale=3.0)
    case.h0[:, case.network.state_names.get("c", slice(0))] *= 290
    assert with_reference(Comparison(case, case.outputs()))["verdict"] != "different"
