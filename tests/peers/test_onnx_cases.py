"""ONNX's own cases of the RNN operator, run by rnncli."""

import warnings
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import rnncli
from peers.faults import plant, turned
from rnncli.model.cells import RNN, WEIGHT_NAMES, Weights
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network

Array = NDArray[Any]

DIRECTIONS = {"forward": "forward", "reverse": "backward", "bidirectional": "bidirectional"}
# Attributes that the cases are run with; any other is an error.
KNOWN = {"direction", "hidden_size", "layout"}


class Case(NamedTuple):
    """A node of the ONNX standard with inputs and outputs, by the names of the standard."""

    attributes: dict[str, Any]
    inputs: dict[str, Array]
    outputs: dict[str, Array]
    rtol: float
    atol: float


@cache
def cases() -> dict[str, Case]:
    """Find every case that is a single RNN node; onnx makes them while it is imported."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of other operators' cases
        found = collect_testcases("RNN")
    return {
        f"{each.name}-{number}": _case(each, *data)
        for each in found
        if [node.op_type for node in each.model.graph.node] == ["RNN"]
        for number, data in enumerate(each.data_sets)
    }


def _case(found: Any, inputs: list[Array], outputs: list[Array]) -> Case:
    import onnx

    (node,) = found.model.graph.node
    schema = onnx.defs.get_schema("RNN")
    given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    return Case(
        given,
        _named(schema.inputs, node.input, inputs),
        _named(schema.outputs, node.output, outputs),
        found.rtol,
        found.atol,
    )


def _named(formal: Any, actual: Any, arrays: list[Array]) -> dict[str, Array]:
    """Name the arrays by their places in the standard: a node leaves out what has no name."""
    places = [place.name for place, name in zip(formal, actual, strict=False) if name]
    return dict(zip(places, arrays, strict=True))


def run(case: Case) -> dict[str, Array]:
    """Return all outputs of a case as rnncli computes them."""
    assert set(case.attributes) <= KNOWN
    layout = case.attributes.get("layout", 0)
    network = _network(case)
    X, h0 = case.inputs["X"], case.inputs.get("initial_h")
    x = X if layout else X.swapaxes(0, 1)  # (N, T, I)
    N, T, _ = x.shape
    if h0 is not None:
        h0 = (h0 if layout else h0.swapaxes(0, 1)).reshape(N, -1)  # (N, D H)
    h, h_n, _ = rnncli.run(network, x, h0, lengths=case.inputs.get("sequence_lens"))
    D = len(network.layers[0].cells)
    Y, Y_h = h.reshape(N, T, D, -1), h_n.reshape(N, D, -1)
    if not layout:
        Y, Y_h = Y.transpose(1, 2, 0, 3), Y_h.swapaxes(0, 1)  # (T, D, N, H), (D, N, H)
    return {"Y": Y, "Y_h": Y_h}


def _network(case: Case) -> Network:
    W, R = case.inputs["W"], case.inputs["R"]  # (D, H, I), (D, H, H)
    D, H, _ = W.shape
    assert case.attributes["hidden_size"] == H
    B = case.inputs.get("B", np.zeros((D, 2 * H), W.dtype))
    direction = case.attributes.get("direction", b"forward").decode()
    cells = (
        RNN(Weights(input_weights.T, recurrent.T, bias[:H] + bias[H:]))
        for input_weights, recurrent, bias in zip(W, R, B, strict=True)
    )
    return Network(Recurrent(*cells, direction=DIRECTIONS[direction]))


def distance(case: Case) -> float:
    """Return the largest distance from the outputs of the case, relative to max(1, |output|)."""
    ours, largest = run(case), 0.0
    assert case.outputs
    for name, expected in case.outputs.items():
        assert ours[name].shape == expected.shape
        assert ours[name].dtype == expected.dtype
        relative = np.abs(ours[name] - expected) / np.maximum(1, np.abs(expected))
        largest = max(largest, float(relative.max()))
    return largest


@pytest.mark.parametrize("name", cases())
def test_within_the_tolerance_of_onnx_and_our_own(name: str) -> None:
    case = cases()[name]
    for output, expected in case.outputs.items():
        np.testing.assert_allclose(run(case)[output], expected, case.rtol, case.atol)
    # Far tighter than onnx's 1e-3: four units in the last place of a state near 1.
    assert distance(case) <= 5e-7


def test_all_cases_are_found() -> None:
    assert len(cases()) >= 6
    directions = {case.attributes.get("direction", b"forward") for case in cases().values()}
    assert directions == {b"forward", b"reverse", b"bidirectional"}
    assert {case.attributes.get("layout", 0) for case in cases().values()} == {0, 1}


@pytest.mark.parametrize("name", WEIGHT_NAMES)
def test_a_wrong_sign_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(turned(name), monkeypatch)
    found = [distance(case) > 1e-2 for case in cases().values()]
    # Some have one step from a state of zeros, and most have no bias.
    assert any(found)
    assert all(found) or name != "W_xh"
