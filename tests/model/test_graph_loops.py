"""Loops of an ONNX graph whose body is a step of a cell: their numbers, and what is no such loop.

``tests/peers/models_tf2onnx.py`` records loops that Keras exports.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import inspect, layers, load, refusal
from onnx_steps import CELLS, Steps

import rnncli
from rnncli import Masking, Network, Recurrent
from rnncli.model.formats.containers.protobuf import message

X = np.random.default_rng(1).normal(size=(3, 9, 2)).astype(np.float32)
X[1, 4:] = X[2, [0, 3]] = 0  # rows that are masked, in tests of a mask
X[0, :, 1] = 0  # one feature alone


Change = Callable[["Looped", str, str], str]


class Looped(Steps):
    """A graph of a loop over steps of x, (T, N, 2).

    `change` is called with the name of a part and its value, and returns the value to use.
    """

    def __init__(
        self, kind: str, change: Change = lambda _, __, value: value, size: int = 2
    ) -> None:
        super().__init__(kind, size)
        self.change, self.size = change, size
        self.states = ["h", "c"] if kind == "lstm" else ["h"]

    def body(self, inputs: list[str], add: Callable[["Looped"], list[str]]) -> bytes:
        """Return a body that has a step of the cell: `add` adds it."""
        body = Looped(self.kind, self.change, self.size)
        # Its values have other names than those outside, and it takes arrays from there.
        body.nodes, body.tensors = [b""] * 200, self.tensors
        outputs = add(body)
        return message(
            *((1, node) for node in body.nodes[200:]),
            *((11, message((1, name))) for name in inputs),
            *((12, message((1, name))) for name in outputs),
        )

    def loop(self, x: str = "x", mask: str = "", stop: bool = False) -> str:
        """Add a node ``Loop``; return h of all steps. With `stop`, its body has the condition."""
        steps = self.add("Gather", self.add("Shape", x), self.array(0), axis=0)
        steps = self.change(self, "steps", steps)
        counted = self.kind != "lstm"

        def add(body: Looped) -> list[str]:
            t = "k" if counted else "t"
            x_t = body.add("Gather", x, self.change(body, "t", t), axis=0)
            after = body.step(x_t, self.change(body, "state", "h"), *self.states[1:])
            if mask:
                runs = body.add("Gather", mask, t, axis=0)
                pairs = zip(after, self.states, strict=True)
                after = tuple(body.add("Where", runs, new, old) for new, old in pairs)
            after = (self.change(body, "h", after[0]), *after[1:])
            more = [body.add("Add", "k", body.array(1))] * counted
            going = body.add("Less", body.add("Add", t, body.array(1)), steps) if stop else "going"
            y = self.change(body, "y", body.add("Identity", after[0]))
            going = self.change(body, "going", body.add("Identity", going))
            return [going, *more, *after, y]

        names = ["t", "going", *["k"] * counted, *self.states]
        first = [self.array(0)] * counted
        inputs = "" if stop else steps, self.array(np.array(True)), *first, *self.zeros()
        return f"{self.add('Loop', *inputs, body=self.body(names, add))}.2"

    def scan(self, **attributes: Any) -> str:
        """Add a node ``Scan``; return h of all steps."""

        def add(body: Looped) -> list[str]:
            after = body.step("x_t", *self.states)
            return [*after, *(body.add("Identity", after[0]) for _ in range(3 - len(after)))]

        inputs = *self.zeros(), "x"
        body = self.body([*self.states, "x_t"], add)
        return f"{self.add('Scan', *inputs, body=body, num_scan_inputs=1, **attributes)}.2"

    def write(self, folder: Path, output: str) -> Path:
        path = folder / "m.onnx"
        path.write_bytes(self.model(output))
        return path


def compute(graph: Looped, *below: Any, direction: str = "forward") -> np.ndarray:
    """Return h of our cell."""
    network = Network(*below, Recurrent(graph.cell, direction=direction))
    return np.asarray(rnncli.run(network, X).h)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("stop", [False, True])
def test_a_loop_runs_as_the_cell(tmp_path: Path, kind: str, stop: bool) -> None:
    graph = Looped(kind)
    network, notes = load(graph.write(tmp_path, graph.loop(stop=stop)))
    assert (layers(network), notes) == (f"{kind.upper()} 3", [])
    np.testing.assert_allclose(rnncli.run(network, X).h, compute(graph), atol=1e-6)


def multiply_by_ones(graph: Looped, part: str, value: str) -> str:
    """Multiply h by ones, as dropout leaves them."""
    if part != "state":
        return value
    one = np.ones(1, np.float32)
    ones = graph.add("ConstantOfShape", graph.add("Shape", value), value=one)
    return graph.add("Mul", value, ones)


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_a_loop_with_dropout(tmp_path: Path, kind: str) -> None:
    graph = Looped(kind, multiply_by_ones)
    network, _ = load(graph.write(tmp_path, graph.loop()))
    np.testing.assert_allclose(rnncli.run(network, X).h, compute(graph), atol=1e-6)


@pytest.mark.parametrize("kind", CELLS)
def test_a_scan_runs_as_the_cell(tmp_path: Path, kind: str) -> None:
    graph = Looped(kind)
    network, _ = load(graph.write(tmp_path, graph.scan()))
    np.testing.assert_allclose(rnncli.run(network, X).h, compute(graph), atol=1e-6)


@pytest.mark.parametrize("change", ["h", "y"])
def test_a_scan_of_a_state_that_is_h_only_where_rows_are_not_masked(
    tmp_path: Path, change: str
) -> None:
    graph = Looped("gru")
    mask = add_mask(graph)

    def add(body: Looped) -> list[str]:
        (new,) = body.step("x_t", "h")
        h, again = (
            body.add("Where", "m_t", new, old) for old in ("h", body.array(np.zeros(1, "f4")))
        )
        taken = body.add("Where", "m_t", new, "again")
        return [taken if change == "h" else h, again, taken if change == "y" else h]

    body = graph.body(["h", "again", "x_t", "m_t"], add)
    inputs = graph.zeros() * 2, add_masked(graph, mask), mask
    y = f"{graph.add('Scan', *inputs[0], *inputs[1:], body=body, num_scan_inputs=2)}.2"
    assert refusal(graph.write(tmp_path, y))


def test_a_scan_of_a_mask_backward(tmp_path: Path) -> None:
    for turned in (0, 1):
        graph = Looped("rnn")
        mask = add_mask(graph)

        def add(body: Looped) -> list[str]:
            (new,) = body.step("x_t", "h")
            h = body.add("Where", "m_t", new, "h")
            return [h, *(body.add("Identity", h) for _ in range(2))]

        body = graph.body(["h", "x_t", "m_t"], add)
        known: dict[str, Any] = {"num_scan_inputs": 2, "scan_input_directions": [0, turned]}
        inputs = *graph.zeros(), add_masked(graph, mask), mask
        path = graph.write(tmp_path, f"{graph.add('Scan', *inputs, body=body, **known)}.1")
        if turned:
            assert refusal(path)
        else:
            expected = compute(graph, Masking(0, 2))
            np.testing.assert_allclose(rnncli.run(load(path)[0], X).h, expected, atol=1e-6)


def test_a_scan_backward(tmp_path: Path) -> None:
    graph = Looped("gru")
    y = graph.scan(scan_input_directions=[1])
    y = graph.add("Slice", y, *(graph.array([k]) for k in (-1, -(2**31), 0, -1)))
    network, _ = load(graph.write(tmp_path, y))
    expected = compute(graph, direction="backward")
    np.testing.assert_allclose(rnncli.run(network, X).h, expected, atol=1e-6)


CHANGES: dict[str, tuple[str, Callable[[Looped, str], str]]] = {
    "one step fewer": ("steps", lambda g, n: g.add("Sub", n, g.array(1))),
    "one step more": ("steps", lambda g, n: g.add("Add", n, g.array(1))),
    "seven steps": ("steps", lambda g, _: g.array(7)),
    "a step for each sequence": (
        "steps",
        lambda g, _: g.add("Gather", g.add("Shape", "x"), g.array(1), axis=0),
    ),
    "the step before": ("t", lambda g, t: g.add("Sub", t, g.array(1))),
    "one step alone": ("t", lambda g, _: g.array(0)),
    "7 steps at most": (
        "going",
        lambda g, going: g.add("And", going, g.add("Less", "t", g.array(6))),
    ),
    "fewer of many steps": (
        "steps",
        lambda g, n: g.add("Sub", n, g.add("Div", n, g.array(8))),
    ),
    "steps that a small type holds": (
        "steps",
        lambda g, n: g.add("Cast", g.add("Cast", n, to=3), to=7),
    ),
    "the first two steps": ("t", lambda g, t: g.add("Cast", g.add("Cast", t, to=9), to=7)),
    "half of h": ("h", lambda g, h: g.add("Mul", h, g.array(np.float32(0.5)))),
    "more than h": ("y", lambda g, h: g.add("Add", h, g.array(np.float32(1e-6)))),
}


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("change", CHANGES)
def test_loops_that_are_none_of_a_cell(tmp_path: Path, kind: str, change: str) -> None:
    what, make = CHANGES[change]
    graph = Looped(kind, lambda g, part, value: make(g, value) if part == what else value)
    assert refusal(graph.write(tmp_path, graph.loop()))


def add_mask(graph: Looped, reduce: str = "ReduceMax") -> str:
    """Add whether rows are other than 0, (T, N, 1)."""
    other = graph.add("Not", graph.add("Equal", "x", graph.array(np.float32(0))))
    number = graph.add(reduce, graph.add("Cast", other, to=1), axes=[2])
    return graph.add("Greater", number, graph.array(np.float32(0)))


def add_masked(graph: Looped, mask: str) -> str:
    return graph.add("Mul", "x", graph.add("Cast", mask, to=1))


@pytest.mark.parametrize("kind", CELLS)
def test_a_loop_with_a_mask(tmp_path: Path, kind: str) -> None:
    graph = Looped(kind)
    mask = add_mask(graph)
    network, _ = load(graph.write(tmp_path, graph.loop(add_masked(graph, mask), mask)))
    expected = compute(graph, Masking(0, 2))
    np.testing.assert_allclose(rnncli.run(network, X).h, expected, atol=1e-6)
    assert not np.allclose(expected, compute(graph))


def add_seven(graph: Looped) -> str:
    """Add whether rows have a 7."""
    seven = graph.add("Cast", graph.add("Equal", "x", graph.array(np.float32(7))), to=1)
    return graph.add("Greater", graph.add("ReduceMax", seven, axes=[2]), graph.array(np.float32(0)))


SHIFTED = [([1], [2**31], [0]), ([0], [1], [0])]


def test_masks_that_are_none_of_the_rows(tmp_path: Path) -> None:
    ends = ("all features", "another step", "not the rows", "another layer", "two numbers", "clip")
    for end in ends:
        graph = Looped("lstm")
        rows = mask = add_mask(graph, "ReduceMin" if end == "all features" else "ReduceMax")
        if end == "another step":
            parts = [graph.add("Slice", mask, *map(graph.array, each)) for each in SHIFTED]
            mask = graph.add("Concat", *parts, axis=0)
        if end == "two numbers":
            mask = graph.add("And", mask, graph.add("Not", add_seven(graph)))
        x = "x" if end == "not the rows" else add_masked(graph, rows)
        if end == "clip":
            x = graph.add("Clip", "x", *(graph.array(np.float32(k)) for k in (-5, 5)))
            x = graph.add("Mul", x, graph.add("Cast", rows, to=1))
        y = graph.loop(x, mask)
        if end == "another layer":
            y = graph.rows("RNN", y, size=3)
        assert refusal(graph.write(tmp_path, y)), end


def test_arrays_of_one_name_are_counted(tmp_path: Path) -> None:
    graph, path = Looped("lstm", size=3), tmp_path / "m.onnx"
    path.write_bytes(graph.model(graph.loop(graph.loop()), inputs={"x": ("T", "N", 3)}))
    assert inspect(path)["parameters"] == {"read": 2 * 84, "all": 2 * 84}
