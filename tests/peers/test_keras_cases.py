"""Keras's own tests of its simple recurrent layers, run on what rnncli computes."""

import unittest
from importlib import import_module
from typing import Any, NamedTuple

import pytest

from peers.adapter import Output, adapted
from peers.faults import plant, turned
from rnncli.model.cells import WEIGHT_NAMES

# Module, method, how many of its assertions are on layers of ours, and how many are not.
METHODS = [
    ("simple_rnn_test", "test_correctness", 4, 0),
    ("simple_rnn_test", "test_statefulness", 2, 0),
    ("simple_rnn_test", "test_pass_initial_state", 2, 0),
    ("simple_rnn_test", "test_masking", 6, 0),
    ("bidirectional_test", "test_correctness", 5, 1),  # one is of GRU
]
EACH = pytest.mark.parametrize(
    ("module", "method"), [(module, method) for module, method, *_ in METHODS]
)


class Ran(NamedTuple):
    """What came of a method: what it has against the states, and its assertions."""

    failures: list[str]
    ours: int
    others: int


def run(module: str, method: str, patch: pytest.MonkeyPatch) -> Ran:
    """Run one of Keras's methods on the adapter's layers; that it is not there is an error."""
    found: Any = import_module(f"keras.src.layers.rnn.{module}")
    patch.setattr(found, "layers", adapted(found.layers))
    case = found.SimpleRNNTest(method)
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


@pytest.mark.parametrize(("module", "method", "ours", "others"), METHODS)
def test_keras_finds_no_fault(
    module: str, method: str, ours: int, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run(module, method, monkeypatch)
    assert ran.failures == []
    assert ran.ours >= ours
    assert ran.others == others


@EACH
@pytest.mark.parametrize("name", WEIGHT_NAMES)
def test_keras_finds_a_wrong_sign(
    module: str, method: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(turned(name), monkeypatch)
    ran = run(module, method, monkeypatch)
    assert len(ran.failures) == 1
    assert "Not equal to tolerance" in ran.failures[0]


def test_a_method_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no such test method"):
        run("simple_rnn_test", "test_nothing", monkeypatch)
