"""Rounding to shorter mantissas."""

import numpy as np
import pytest
from conftest import Rnn
from random_networks import in_precision

from rnncli.engine.precision import round_mantissa
from rnncli.model.cells import RNN, Weights

MAX_TF32 = 3.4011621e38  # (2 - 2**-10) * 2**127


@pytest.mark.parametrize(
    ("value", "bits", "rounded"),
    [
        (1.1012203, 10, 1.1015625),  # the notebook's first weight, as its GPU took it
        (1 + 2**-11, 10, 1.0),  # half way, to even: down
        (1 + 3 * 2**-11, 10, 1 + 2**-9),  # half way, to even: up
        (1 + 2**-11 + 2**-23, 10, 1 + 2**-10),  # just over half
        (2 - 2**-12, 10, 2.0),  # a carry into the exponent
        (1 + 2**-8, 7, 1.0),
        (1 + 3 * 2**-8, 7, 1 + 2**-6),
        (-3.1415927, 7, -3.140625),
        (0.0, 10, 0.0),
        (MAX_TF32, 10, MAX_TF32),
        (3.4028235e38, 10, np.inf),  # the largest float32 is over half a unit above
        (np.inf, 10, np.inf),
        (-np.inf, 7, -np.inf),
    ],
)
def test_known_roundings(value: float, bits: int, rounded: float) -> None:
    assert round_mantissa(np.array([[value]], np.float32), bits) == np.float32(rounded)


def test_the_bias_is_not_an_operand() -> None:
    value = np.full((1, 1), 1 + 2**-12, np.float32)
    prepared = in_precision(RNN(Weights(value, value, value[0])), "tf32")
    assert [array.item() for array in prepared.weights[:3]] == [1.0, 1.0, 1 + 2**-12]


def test_no_loop_is_compiled_that_rounds_operands(run_rnn: Rnn) -> None:
    options = ["run", "--seq", "1", "--hidden", "1", "--precision", "tf32", "--unroll"]
    result = run_rnn(*options, "compiled")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "unroll compiled: computes in float32" in result.stderr
    assert run_rnn(*options, "auto").exit_code == 0
