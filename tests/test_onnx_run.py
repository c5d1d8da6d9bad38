"""ONNX graphs as commands take them: the numbers of a run, and the line of a refusal."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from onnx_graphs import Axes, Graph, ints

import rnncli

Build = Callable[[Graph], str]
X = "-2 0.5,3 1"
BOTH: dict[str, Any] = {"direction": "bidirectional"}


def rows(graph: Graph) -> str:
    """Add a cell whose states are x itself, (T, N, 2)."""
    weights = (np.eye(2), np.zeros((2, 2)))
    arrays = (graph.array(array[None].astype(np.float32)) for array in weights)
    linear: dict[str, Any] = {
        "activations": ["Affine"],
        "activation_alpha": [1.0],
        "activation_beta": [0.0],
    }
    return graph.add("Squeeze", graph.add("RNN", "x", *arrays, **linear), graph.array([1]))


def number(graph: Graph, value: float, *shape: int) -> str:
    return graph.array(np.full(shape, value, np.float32))


# What is made of -2 0.5 and 3 1.
NUMBERS: dict[str, tuple[Build, str]] = {
    "clip from": (lambda g: g.add("Clip", rows(g), number(g, -1)), "-1 0.5,3 1"),
    "clip to": (lambda g: g.add("Clip", rows(g), "", number(g, 0.75)), "-2 0.5,0.75 0.75"),
    "clip from and to": (
        lambda g: g.add("Clip", rows(g), number(g, -1), number(g, 0.75)),
        "-1 0.5,0.75 0.75",
    ),
    "clip to an attribute": (lambda g: g.add("Clip", rows(g), max=0.75), "-2 0.5,0.75 0.75"),
    "clip without ends": (lambda g: g.add("Clip", rows(g)), X),
    "max": (lambda g: g.add("Max", rows(g), number(g, 0.75)), "0.75 0.75,3 1"),
    "max from the left": (lambda g: g.add("Max", number(g, 0.75, 1), rows(g)), "0.75 0.75,3 1"),
    "min": (lambda g: g.add("Min", rows(g), number(g, 0.75)), "-2 0.5,0.75 0.75"),
    "square": (lambda g: g.add("Pow", rows(g), g.array(ints(2))), "4 0.25,9 1"),
    "cube": (lambda g: g.add("Pow", rows(g), number(g, 3)), "-8 0.125,27 1"),
    "squeeze at the end": (lambda g: g.add("Squeeze", rows(g)), X),
    "squeeze of directions": (
        lambda g: g.add("Squeeze", g.add("RNN", "x", *(number(g, 0, 2, 2, 2),) * 2, **BOTH)),
        "0 0 0 0,0 0 0 0",
    ),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers(case: str, tmp_path: Path) -> None:
    build, expected = NUMBERS[case]
    graph, path = Graph(), str(tmp_path / "m.onnx")
    Path(path).write_bytes(graph.model(build(graph), opset=17 if "attribute" not in case else 9))
    network = rnncli.load(path)
    x, y = (np.array([step.split() for step in text.split(",")], float) for text in (X, expected))
    for T in (2, 1):
        found = rnncli.run(network, x[None, :T])
        np.testing.assert_array_equal(found.h[0] if found.y is None else found.y[0], y[:T])


def started(shape: Iterable[int], *, c: bool = False, op: str = "LSTM", **more: Any) -> Build:
    """Add a node of three units that starts from zeros of a shape."""
    return lambda g: g.recurrent(
        op, "x", "", "", *[""] * c, g.array(np.zeros(tuple(shape), np.float32)), **more
    )


# Graphs of an input with such axes, and what the message of each names.
REFUSED: dict[str, tuple[Axes, Build, str]] = {
    "h of another size": (("T", 1, 2), started((1, 1, 4)), "initial_h: .*\\(1, 1, 3\\)"),
    "c of another size": (("T", "N", 2), started((1, 1, 7), c=True), "initial_c: .*\\(1, N, 3\\)"),
    "h without directions": (
        ("T", "N", 2),
        started((1, 3), op="GRU"),
        "initial_h: .*\\(1, N, 3\\)",
    ),
    "computed h of another size": (
        ("T", "N", 2),
        lambda g: g.recurrent("RNN", "x", "", "", g.add("ConstantOfShape", sizes(g, 7))),
        "initial_h: .*\\(1, N, 3\\)",
    ),
    "a product of no axes": (
        (),
        lambda g: g.rows(rows=g.add("MatMul", "x", g.draw(2, 2))),
        "expected an axis of features",
    ),
    "a number of more axes": (
        ("T", "N", 2),
        lambda g: g.add("Max", g.rows(), number(g, 1, 1, 1, 1, 1)),
        "expected one number",
    ),
    "no number": (
        ("T", "N", 2),
        lambda g: g.add("Min", g.rows(), number(g, np.nan)),
        "alpha is not finite",
    ),
}


def sizes(graph: Graph, size: int) -> str:
    """Return a shape (1, N, size)."""
    count = graph.add("Shape", "x", start=1, end=2)
    return graph.add("Concat", graph.array([1]), count, graph.array([size]), axis=0)


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path, run_rnn: Rnn) -> None:
    axes, build, expected = REFUSED[case]
    graph, path = Graph(), tmp_path / "m.onnx"
    path.write_bytes(graph.model(build(graph), inputs={"x": axes}))
    for command in ("run", "verify"):
        result = run_rnn(command, "--seq", "1 2", "--weights", str(path))
        assert (result.exit_code, result.stdout) == (2, "")
        assert re.fullmatch(f"Error: .*{expected}.*\n", result.stderr)
    assert run_rnn("inspect", str(path)).exit_code == 0


@pytest.mark.parametrize("below", [False, True])
def test_a_layer_has_both_directions_though_what_follows_is_not_read(
    below: bool, tmp_path: Path
) -> None:
    graph, path = Graph(), str(tmp_path / "m.onnx")
    node = graph.recurrent("GRU", **BOTH)
    taken = graph.add("Gather", node, graph.array(1), axis=1) if below else node
    output = graph.add("Conv", taken, graph.draw(2, 2, 1))
    Path(path).write_bytes(graph.model(output))
    (layer,) = rnncli.load(path, layer=node).layers
    assert layer.output_size == 6
