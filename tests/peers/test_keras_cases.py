"""Keras's own tests of its recurrent layers, run on what rnncli computes."""

import unittest
from importlib import import_module
from typing import Any, NamedTuple

import pytest

from peers.adapter import Output, adapted

# Methods by module, and how many assertions each has on what ours computes.
METHODS = {
    "simple_rnn_test": {
        "test_correctness": 4,
        "test_statefulness": 2,
        "test_pass_initial_state": 2,
        "test_masking": 6,
    },
    "lstm_test": {
        "test_correctness0": 5,  # two implementations
        "test_correctness1": 5,
        "test_statefulness": 2,
        "test_pass_initial_state": 2,
        "test_masking": 6,
    },
    "gru_test": {
        "test_correctness0": 5,
        "test_correctness1": 5,
        "test_statefulness": 2,
        "test_pass_initial_state": 2,
        "test_pass_return_state": 4,
        "test_masking": 6,
        "test_legacy_implementation_argument": 1,
    },
    "bidirectional_test": {
        "test_correctness": 6,
        "test_statefulness": 2,
        "test_pass_initial_state": 1,
        "test_masking": 1,
        "test_return_state": 5,
    },
}
# What the others are of: no states.
OTHERS = {
    "test_basics": "dropout, regularizers, saving and the rest of a layer",
    "test_stateful_with_symbolic_batch_size": "a graph of TensorFlow",
    "test_torch_cudnn": "Keras on PyTorch with CUDA",
    "test_output_shape": "shapes",
    "test_keeps_use_cudnn": "an argument of Keras",
    "test_fused": "how Keras computes both directions",
}
EACH = pytest.mark.parametrize(
    ("module", "method"),
    [(module, name) for module, methods in METHODS.items() for name in methods],
)


class Ran(NamedTuple):
    """What came of a method: what it has against the states, and its assertions."""

    failures: list[str]
    ours: int
    others: int


def case_of(module: Any) -> Any:
    """Return the class of the tests in a module."""
    (found,) = (
        each
        for each in vars(module).values()
        if isinstance(each, type) and each.__module__ == module.__name__
    )
    return found


def run(module: str, method: str, patch: pytest.MonkeyPatch) -> Ran:
    """Run one of Keras's methods on the adapter's layers; that it is not there is an error."""
    found: Any = import_module(f"keras.src.layers.rnn.{module}")
    patch.setattr(found, "layers", adapted(found.layers))
    case = case_of(found)(method)
    passed = {True: 0, False: 0}

    def checked(actual: Any, *arguments: Any, **options: Any) -> None:
        assert_close(actual, *arguments, **options)
        passed[isinstance(actual, Output)] += 1

    assert_close, case.assertAllClose = case.assertAllClose, checked
    result = unittest.TestResult()
    case.run(result)
    assert result.testsRun == 1
    assert not result.errors, result.errors[0][1]
    assert not result.skipped
    return Ran([text for _, text in result.failures], passed[True], passed[False])


@EACH
def test_keras_finds_no_fault(module: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run(module, method, monkeypatch)
    assert ran.failures == []
    assert ran.ours >= METHODS[module][method]
    assert ran.others == 0


@pytest.mark.parametrize("module", METHODS)
def test_every_method_is_run_or_named(module: str) -> None:
    case = case_of(import_module(f"keras.src.layers.rnn.{module}"))
    names = [name for name in unittest.TestLoader().getTestCaseNames(case) if name in vars(case)]
    left = [name for name in names if name not in METHODS[module]]
    assert [name for name in left if not name.startswith(tuple(OTHERS))] == []
