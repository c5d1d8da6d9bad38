"""Strategies against the float64 reference, and the bits of the stepwise one."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from conftest import RUNNABLE, runnable
from hypothesis import assume, given
from hypothesis import strategies as st
from networks import Case, cases
from whole_runs import contracting, difference, run_tolerance

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.run import run
from rnncli.model.cells import RNN, Weights
from rnncli.model.network import Network
from rnncli.verify import reference
from rnncli.verify.steps import step_errors

STRATEGIES = ["auto", *RUNNABLE]


def states(case: Case, unroll: str) -> np.ndarray:
    return run(case.network, case.x, case.h0, precision=case.precision, unroll=unroll).h


@pytest.mark.slow
@pytest.mark.parametrize("unroll", STRATEGIES)
@given(case=cases())
def test_every_step_is_right(unroll: str, case: Case) -> None:
    assume(unroll in ("auto", *runnable(case.precision)))
    for x, h0, h in zip(case.x, case.h0, states(case, unroll), strict=True):
        # Right code stays far below the bound, so that half of it is already suspicious.
        assert step_errors(case.cell, x, h0, h, case.precision).max(initial=0) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("unroll", STRATEGIES)
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(("input_size", "hidden_size"), [(1, 4), (8, 64), (64, 256)])
def test_whole_runs_agree_where_the_network_is_contracting(
    unroll: str, precision: str, input_size: int, hidden_size: int
) -> None:
    random = np.random.RandomState(5)
    k = 1 / np.sqrt(hidden_size)  # PyTorch's default initialisation
    shapes = ((input_size, hidden_size), (hidden_size, hidden_size), (hidden_size,))
    weights = Weights(*(random.uniform(-k, k, shape).astype(np.float32) for shape in shapes))
    weights = weights._replace(W_hh=weights.W_hh * np.float32(0.9 / norm(weights.W_hh) * 0.999))
    assert contracting(RNN(weights))
    x = random.normal(size=(200, input_size)).astype(PRECISIONS[precision].dtype)
    expected = reference.unroll(RNN(weights), x, np.zeros(hidden_size))
    computed = run(Network(weights), x, precision=precision, unroll=unroll).h
    assert difference(computed, expected) <= run_tolerance(hidden_size, precision)


def norm(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix.astype(np.float64), 2))


@pytest.mark.slow
@given(case=cases(), cut=st.floats(0, 1))
def test_stepwise_bits_do_not_depend_on_batch_or_blocks(case: Case, cut: float) -> None:
    network, T = case.network, case.x.shape[1]
    batch = states(case, "stepwise")
    middle = round(cut * T)
    for x, h0, expected in zip(case.x, case.h0, batch, strict=True):
        options: dict[str, Any] = {"precision": case.precision, "unroll": "stepwise"}
        first = run(network, x[:middle], h0, **options)
        second = run(network, x[middle:], first.h_n, **options)
        assert np.concatenate([first.h, second.h]).tobytes() == expected.tobytes()


PRODUCTS = """
import hashlib
import numpy as np
from rnncli.engine.unroll.stepwise import row_products
random = np.random.RandomState(0)
for dtype in (np.float32, np.float64):
    for K, H in ((101, 101), (100, 700), (700, 700), (1000, 1000), (2, 20000), (20000, 2)):
        rows, W = (random.normal(size=size).astype(dtype) for size in ((3, K), (K, H)))
        print(K, H, dtype, hashlib.sha256(row_products(rows, W).tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_stepwise_bits_do_not_depend_on_blas_threads() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PRODUCTS],
            env={"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
            check=True,
            capture_output=True,
        ).stdout
        for threads in ("1", "2", "3")
    }
    assert len(outputs) == 1
