"""The notebook's own numbers."""

import json
from typing import Any

import numpy as np
import pytest
from conftest import SAMPLES, Rnn

SEQ = ("--seq", "1,2,3,4,5,6", "--hidden", "4")


def states(run_rnn: Rnn, *options: str) -> np.ndarray:
    result = run_rnn("run", *options, "--json")
    assert result.exit_code == 0, result.stderr
    return np.array([step["h"] for step in json.loads(result.stdout)["steps"]])


def test_weights_are_the_printed_ones(run_rnn: Rnn, notebook: dict[str, Any]) -> None:
    (weights,) = json.loads(run_rnn("weights", "--hidden", "4", "--json").stdout)["weights"]
    for name in ("W_xh", "W_hh", "b_h"):
        # Printed with 8 digits, of values up to 1.8.
        np.testing.assert_allclose(weights[name], notebook[name], rtol=0, atol=2e-7)


@pytest.mark.parametrize(("unroll", "cell"), [("stepwise", "cell_6"), ("fused", "cell_7")])
def test_tf32_states_are_the_printed_ones(
    run_rnn: Rnn, notebook: dict[str, Any], unroll: str, cell: str
) -> None:
    computed = states(run_rnn, *SEQ, "--precision", "tf32", "--unroll", unroll)
    # One unit in the last place of a float32 near 1 is 1.2e-7 or 6e-8.
    np.testing.assert_allclose(computed, notebook[cell], rtol=0, atol=1.5e-7)


def test_float32_states_are_not_the_printed_ones(run_rnn: Rnn, notebook: dict[str, Any]) -> None:
    distance = np.abs(states(run_rnn, *SEQ) - notebook["cell_6"]).max()
    assert distance == pytest.approx(2.2e-4, rel=0.1)


@pytest.mark.parametrize("file", ["notebook.csv", "notebook.npy"])
def test_the_sample_files_hold_the_sequence(run_rnn: Rnn, file: str) -> None:
    options = ("--hidden", "4")
    from_file = run_rnn("run", str(SAMPLES / file), *options, "--format", "csv")
    assert from_file.stdout == run_rnn("run", *SEQ, "--format", "csv").stdout
