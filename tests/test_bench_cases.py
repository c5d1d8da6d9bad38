"""What ``rnn bench`` times: its cases, and how much of each is run."""

from pathlib import Path

import numpy as np
import pytest

import rnncli
from rnncli.bench.candidates import affordable_steps
from rnncli.bench.cases import Size, load_case, save_case
from rnncli.verify.case import Case


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_a_case_goes_through_its_files(tmp_path: Path, precision: str) -> None:
    network = rnncli.seeded(
        2, (3, 2), 1, "keras", direction="bidirectional", activation="leaky_relu:0.2", clip=2.0
    )
    x = np.random.RandomState(0).normal(size=(3, 5, 2))
    case = Case(network, x, np.full((3, 10), 0.1), np.array([5, 1, 3]), precision)
    save_case(str(tmp_path), case)
    loaded = load_case(str(tmp_path))
    assert loaded.precision == precision
    for name in ("x", "h0", "lengths"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(case, name))
    assert [[cell.settings for cell in layer.cells] for layer in loaded.network.layers] == [
        [cell.settings for cell in layer.cells] for layer in network.layers
    ]
    np.testing.assert_array_equal(loaded.outputs()[-1], case.outputs()[-1])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_gate_that_keeps_the_state(cell: str) -> None:
    size = Size(5, 1, 3, cell=cell, slow=True)
    (drawn,) = rnncli.seeded(1, 3, 1, "torch", cell=cell).layers[0].cells
    (held,) = size.case(1, "float32").network.layers[0].cells
    differ = held.weights.b_h != drawn.weights.b_h
    assert (held.weights.b_h[differ] == 5).all()
    assert differ.sum() == 3
    for name, array in drawn.weights.arrays.items():
        if name != "b_h":
            np.testing.assert_array_equal(held.weights.arrays[name], array)
    # Without anything else the state is 1 / (1 + exp(-5)) of the one before.
    zeros = {name: np.zeros_like(array) for name, array in drawn.weights.arrays.items()}
    alone = held.replaced(rnncli.Weights(**zeros | {"b_h": np.where(differ, 5.0, 0)}))
    network = rnncli.Network(rnncli.Recurrent(alone))
    h0 = np.ones(network.state_size)
    after = rnncli.run(network, np.zeros((1, 1)), h0, precision="float64").h_n
    np.testing.assert_allclose(after[-3:], 0.9933071490757153, rtol=1e-12)


# How much is run for one timing.


def test_what_is_slow_is_timed_over_the_first_steps() -> None:
    took = []

    def seconds(steps: int) -> float:
        took.append(steps * 1.7e-4)
        # The first call compiles, the third is held up by others.
        return took[-1] + {1: 10, 3: 0.1}.get(len(took), 0)

    # A tenth of a second is 588 steps, of which one digit is kept.
    assert affordable_steps(seconds, 1_000_000) == 500
    assert sum(took) < 1


@pytest.mark.parametrize("most", [1, 15, 16, 17, 200_000])
def test_what_takes_no_longer_is_run_whole(most: int) -> None:
    assert affordable_steps(lambda steps: steps * 4e-7, most) == most
