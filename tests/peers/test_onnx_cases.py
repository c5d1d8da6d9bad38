"""ONNX's own cases of the operators RNN, LSTM and GRU, run by rnncli."""

import warnings
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import rnncli
from rnncli.model.cells import CELLS, GRU, LSTM, RNN, Weights
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network

Array = NDArray[Any]

DIRECTIONS = {"forward": "forward", "reverse": "backward", "bidirectional": "bidirectional"}
OPERATORS = [name.upper() for name in CELLS]
# Attributes that the cases are run with; any other is an error.
KNOWN = {"direction", "hidden_size", "layout"}
# Which gate of ONNX stands at each place of ours.
GATES = {"RNN": [0], "LSTM": [0, 2, 3, 1], "GRU": [0, 1, 2]}


class Case(NamedTuple):
    """A node of the ONNX standard with inputs and outputs, by the names of the standard."""

    operator: str
    attributes: dict[str, Any]
    inputs: dict[str, Array]
    outputs: dict[str, Array]
    rtol: float
    atol: float


@cache
def cases() -> dict[str, Case]:
    """Find every case that is a single such node; onnx makes them while it is imported."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of other operators' cases
        found = collect_testcases(None)
    single = [(each, *each.model.graph.node) for each in found if len(each.model.graph.node) == 1]
    return {
        f"{each.name}-{number}": _case(each, node, *data)
        for each, node in single
        if node.op_type in OPERATORS
        for number, data in enumerate(each.data_sets)
    }


def _case(found: Any, node: Any, inputs: list[Array], outputs: list[Array]) -> Case:
    import onnx

    schema = onnx.defs.get_schema(node.op_type)
    given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    return Case(
        node.op_type,
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
    X = case.inputs["X"]
    x = X if layout else X.swapaxes(0, 1)  # (N, T, I)
    N, T, _ = x.shape
    h0 = np.zeros((N, network.state_size), X.dtype)
    for name, place in network.state_names.items():
        if (start := case.inputs.get(f"initial_{name}")) is not None:
            h0[:, place] = (start if layout else start.swapaxes(0, 1)).reshape(N, -1)
    h, h_n, *_ = rnncli.run(network, x, h0, lengths=case.inputs.get("sequence_lens"))
    D = len(network.layers[0].cells)
    Y = h.reshape(N, T, D, -1)
    given: dict[str, Array] = {"Y": Y if layout else Y.transpose(1, 2, 0, 3)}  # (T, D, N, H)
    for name, place in network.state_names.items():
        end = h_n[:, place].reshape(N, D, -1)
        given[f"Y_{name}"] = end if layout else end.swapaxes(0, 1)  # (D, N, H)
    return given


def _network(case: Case) -> Network:
    W, R = case.inputs["W"], case.inputs["R"]  # (D, G H, I), (D, G H, H)
    D, width, _ = W.shape
    H = case.attributes["hidden_size"]
    assert width == len(GATES[case.operator]) * H
    B = case.inputs.get("B", np.zeros((D, 2 * width), W.dtype))
    P = case.inputs.get("P", [None] * D)
    direction = case.attributes.get("direction", b"forward").decode()
    cells = (_cell(case, *arrays) for arrays in zip(W, R, B, P, strict=True))
    return Network(Recurrent(*cells, direction=DIRECTIONS[direction]))


def _cell(case: Case, W: Array, R: Array, B: Array, P: Array | None) -> RNN | LSTM | GRU:
    def ours(array: Array) -> Array:
        blocks = np.split(array, len(GATES[case.operator]))
        return np.concatenate([blocks[gate] for gate in GATES[case.operator]]).T

    of_input, of_state = map(ours, np.split(B, 2))
    weights = Weights(ours(W), ours(R), of_input + of_state)
    if case.operator == "RNN":
        return RNN(weights)
    if case.operator == "LSTM":
        if P is not None:
            i, o, f = np.split(P, 3)
            weights = weights._replace(w_ch=np.concatenate([i, f, o]))
        return LSTM(weights)
    return GRU(weights, reset="before")  # linear_before_reset is 0, and no case has another


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


@pytest.mark.parametrize(("operator", "count"), [("RNN", 6), ("LSTM", 6), ("GRU", 6)])
def test_all_cases_are_found(operator: str, count: int) -> None:
    found = [case for case in cases().values() if case.operator == operator]
    assert len(found) >= count
    directions = {case.attributes.get("direction", b"forward") for case in found}
    assert directions == {b"forward", b"reverse", b"bidirectional"}
    assert {case.attributes.get("layout", 0) for case in found} == {0, 1}
    assert operator != "LSTM" or any("P" in case.inputs for case in found)
