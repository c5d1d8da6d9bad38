"""Cells in bare operators of an ONNX graph: the numbers of their layers, and why others are none.

``tests/peers/test_onnx_steps.py`` compares those that PyTorch exports.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import layers, load, refusal
from onnx_graphs import Graph
from onnx_steps import CELLS, H, State, Steps

import rnncli
from rnncli import Network


@pytest.mark.parametrize("kind", CELLS)
def test_repeated_steps(tmp_path: Path, kind: str) -> None:
    graph = Steps(kind)
    network, notes = load(graph.unrolled(tmp_path / "m.onnx", 4))
    assert (layers(network), notes) == (f"{kind.upper()} 3", [])
    x = np.random.default_rng(1).uniform(-1, 1, (2, 4, 2)).astype(np.float32)
    expected = rnncli.run(Network(graph.cell), x).h
    np.testing.assert_allclose(rnncli.run(network, x).h, expected, atol=1e-6)


@pytest.mark.parametrize("N", ["N", 2])
def test_steps_from_zeros_of_three_axes(tmp_path: Path, N: int | str) -> None:
    """So PyTorch's exporter by `torch.export` writes `nn.RNN`; of two sequences they are folded."""
    graph, T, rows = Steps("rnn"), 4, list[str]()
    h = graph.add("Unsqueeze", graph.zeros()[0], graph.array([0]))
    for t in range(T):
        x_t = graph.add("Gather", "x", graph.array(t), axis=0)
        if N == 2 and t == 0:
            zeros = graph.array(np.zeros((1, N, H), np.float32))
            h = graph.add("Tanh", graph.add("Add", graph.affine(x_t, 0), zeros))
        else:
            (h,) = graph.step(x_t, h)
        rows.append(h)
    output = graph.add("Transpose", graph.add("Concat", *rows, axis=0), perm=[1, 0, 2])
    (tmp_path / "m.onnx").write_bytes(graph.model(output, inputs={"x": (T, N, 2)}))
    network, _ = load(tmp_path / "m.onnx")
    assert layers(network) == "RNN 3"
    x = np.random.default_rng(1).uniform(-1, 1, (2, T, 2)).astype(np.float32)
    expected = rnncli.run(Network(graph.cell), x).h
    np.testing.assert_allclose(rnncli.run(network, x).h, expected, atol=1e-6)


@pytest.mark.parametrize("kind", CELLS)
def test_a_step_a_call(tmp_path: Path, kind: str) -> None:
    graph, names = Steps(kind), ("h", "c")[: 1 + (kind == "lstm")]
    after = graph.step("x", *names)
    head = graph.add("Softmax", graph.add("MatMul", after[0], graph.draw(H, 2)))
    inputs: Any = {"x": ("N", 2), **dict.fromkeys(names, ("N", H))}
    (tmp_path / "m.onnx").write_bytes(graph.model(head, *after, inputs=inputs))
    network, notes = load(tmp_path / "m.onnx")
    assert layers(network).startswith(f"{kind.upper()} 3, Dense 2")
    assert any("takes initial_h from h" in note for note in notes)
    x = np.random.default_rng(1).uniform(-1, 1, (2, 4, 2)).astype(np.float32)
    expected = rnncli.run(Network(graph.cell), x).h
    np.testing.assert_allclose(rnncli.run(network, x).h, expected, atol=1e-6)


def halve(g: Steps, t: int, states: State) -> State:
    return (g.add("Mul", states[0], g.array(np.float32(0.5))), *states[1:]) if t else states


def start_anew(g: Steps, t: int, states: State) -> State:
    return g.zeros() if t == 2 else states


def change_weights(g: Steps, t: int, states: State) -> State:
    g.W_hh[0] = g.W_hh[0] * np.float32(1 + 1e-6 * (t == 2))
    return states


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("change", [halve, start_anew, change_weights])
def test_steps_that_are_none_of_one_cell(tmp_path: Path, kind: str, change: Any) -> None:
    assert refusal(Steps(kind).unrolled(tmp_path / "m.onnx", 4, change))


@pytest.mark.parametrize("op", ["Tanh", "Relu"])
def test_a_value_that_comes_from_itself_is_no_step(tmp_path: Path, op: str) -> None:
    graph, path = Steps("rnn"), tmp_path / "m.onnx"
    # Names count nodes: the first sum takes the second, which takes the first.
    first = graph.add("Add", graph.affine("x", 0), "Add_3")
    graph.add("Add", first, graph.add("MatMul", "h", graph.array(graph.W_hh[0])))
    after = graph.add(op, first)
    inputs: Any = {"x": ("N", 2), "h": ("N", H)}
    path.write_bytes(graph.model(graph.add("Softmax", after), after, inputs=inputs))
    assert "holds no recurrent layer" in refusal(path)


def write_call(path: Path, kind: str, outputs: Callable[[State], State], size: int = 2) -> Path:
    graph, names = Steps(kind, size), ("h", "c")[: 1 + (kind == "lstm")]
    after = graph.step("x", *names)
    inputs: Any = {"x": ("N", size), **dict.fromkeys(names, ("N", H))}
    path.write_bytes(graph.model(*outputs((graph.add("Softmax", after[0]), *after)), inputs=inputs))
    return path


def test_a_sum_without_weights_is_no_step(tmp_path: Path) -> None:
    graph = Graph()
    output = graph.add("Relu", graph.add("Add", graph.add("Abs", "x"), graph.add("Exp", "x")))
    (tmp_path / "m.onnx").write_bytes(graph.model(output))
    assert refusal(tmp_path / "m.onnx").endswith("got Add_2 (Abs Exp Add), Relu_3 (Relu)")


def test_a_sum_without_a_product_of_the_state_is_no_step(tmp_path: Path) -> None:
    graph, path = Graph(), tmp_path / "m.onnx"
    after = graph.add("Relu", graph.add("Add", graph.add("Abs", "x"), "h"))
    inputs: Any = {"x": ("N", H), "h": ("N", H)}
    path.write_bytes(graph.model(graph.add("Softmax", after), after, inputs=inputs))
    assert "holds no recurrent layer" in refusal(path)


def test_a_state_from_the_input_of_x_is_no_state(tmp_path: Path) -> None:
    graph, path = Steps("gru"), tmp_path / "m.onnx"
    x = graph.add("Slice", "xh", *(graph.array([k]) for k in (0, 2, 1)))
    h = graph.add("Slice", "xh", *(graph.array([k]) for k in (2, 2 + H, 1)))
    (after,) = graph.step(x, h)
    head = graph.add("Softmax", after)
    path.write_bytes(graph.model(head, after, inputs={"xh": ("N", 2 + H)}))
    assert "holds no recurrent layer" in refusal(path)


def test_calls_that_may_be_no_steps(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for kind in CELLS:  # without a state for the next call
        assert refusal(write_call(path, kind, lambda outputs: outputs[:1]))
    # A sum of two inputs, and inputs of equal widths, of which either may be h.
    assert refusal(write_call(path, "rnn", lambda outputs: outputs[1:]))
    for kind in ("rnn", "lstm"):
        assert refusal(write_call(path, kind, lambda outputs: outputs, size=H))
