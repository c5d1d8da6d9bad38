"""The identity of a network: whatever one has that another lacks, their digests differ."""

from collections.abc import Iterator, Mapping
from copy import copy
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from onnx_graphs import Graph
from random_networks import Choices, network_cases

import rnncli
from model.test_cells import Leaky, drawn
from model.test_layers import EVERY
from rnncli import LSTM, Dense, Network, Recurrent, Weights, seeded
from rnncli.cli import rnn
from rnncli.model.fingerprint import fingerprint
from rnncli.model.graph.node_layers import SequenceGraph
from rnncli.model.layers import MERGES, Layer, Stateless, name_of
from rnncli.states.format import load_state, save_state


def change(value: Any) -> Iterator[Any]:
    """Yield copies of a value, each with one difference, wherever it is."""
    if isinstance(value, np.ndarray):
        for index in [*np.ndindex(value.shape)][:3]:
            other = value.copy()
            one = value[index]
            is_float = value.dtype.kind == "f"
            other[index] = np.nextafter(one, one.dtype.type(9)) if is_float else one ^ 1
            yield other
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from ({**value, name: other} for other in change(each))
            yield {k: v for k, v in value.items() if k != name}
    elif isinstance(value, list | tuple):
        make = getattr(value, "_make", type(value))
        for n, each in enumerate(value):
            yield from (make([*value[:n], other, *value[n + 1 :]]) for other in change(each))
    elif hasattr(value, "__dict__"):
        for name, each in vars(value).items():
            for other in change(each):
                changed = copy(value)
                setattr(changed, name, other)
                yield changed
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1 if isfinite(value) else 9.0
    else:
        yield np.zeros(1) if value is None else f"{value}'"


def change_layer(layer: Layer) -> Iterator[Any]:
    """Yield the same layer with another array, setting or source."""
    if not name_of(layer) and not layer.cells:
        yield from change(layer)
        return
    wired = copy(layer)
    wired.sources = (0, 1)
    yield wired
    if isinstance(layer, Stateless):
        for name, array in layer.arrays.items():
            for other in change(array):
                changed = copy(layer)
                setattr(changed, name, other)
                yield changed
        for name, value in layer.settings.items():
            for other in change(value):
                changed = copy(layer)
                changed.settings = {**layer.settings, name: other}
                yield changed
    else:
        yield from change_cells(layer)


def change_cells(layer: Recurrent) -> Iterator[Recurrent]:
    """Yield the same layer with another weight or setting of a cell, direction or merge."""
    for n, cell in enumerate(layer.cells):
        for weights in change(cell.weights.arrays):
            if weights.keys() == cell.weights.arrays.keys():
                other = copy(cell)
                other.weights = Weights(**weights)
                yield with_cell(layer, n, other)
        for name, value in cell.settings.items():
            for setting in change(value):
                other = copy(cell)
                setattr(other, name, setting)
                yield with_cell(layer, n, other)
    if len(layer.cells) == 2:
        for merge in {*MERGES} - {layer.merge}:
            yield Recurrent(*layer.cells, direction="bidirectional", merge=merge)
    else:
        direction = "forward" if layer.direction == "backward" else "backward"
        yield Recurrent(*layer.cells, direction=direction)


def with_cell(layer: Recurrent, n: int, cell: Any) -> Recurrent:
    layer = copy(layer)
    layer.cells = (*layer.cells[:n], cell, *layer.cells[n + 1 :])
    return layer


def check_changes(network: Network, precision: str) -> None:
    """Change one thing of a layer: each change has a digest of its own."""
    digests = [fingerprint(network, precision)]
    for stack in ("front", "layers"):
        layers = getattr(network, stack)
        for n, layer in enumerate(layers):
            for other in change_layer(layer):
                changed = copy(network)
                setattr(changed, stack, (*layers[:n], other, *layers[n + 1 :]))
                digests.append(fingerprint(changed, precision))
    assert len(digests) > 1
    assert len({*digests}) == len(digests)


@given(network_cases(Choices()), st.sampled_from(["float32", "float64"]))
def test_any_change_of_a_random_network(case: Any, precision: str) -> None:
    check_changes(case.network, precision)


def test_any_change_of_a_layer_without_state() -> None:
    for layer in EVERY.values():
        check_changes(Network(layer), "float32")


def graph_file(path: Path, start: int = 0, *, strides: int = 2, above: str = "ReduceMax") -> Path:
    """Write a graph with layers of whole sequences below and above, and rows joined in between."""
    g = Graph()
    rows = g.add("Transpose", "x", perm=[1, 2, 0])
    rows = g.add("Conv", rows, g.draw(4, 2, 3), strides=[strides])
    h = g.rows("LSTM", g.add("Transpose", rows, perm=[2, 0, 1]), size=4)
    bounds = [g.array([each]) for each in (start, start + 2, 2)]
    low = g.add("Mul", g.add("Slice", h, *bounds), g.draw(2))
    both = g.add("Concat", h, g.add("Where", g.add("Greater", low, g.array(0.1)), low, low), axis=2)
    h = g.rows("GRU", both, size=5)
    path.write_bytes(g.model(g.add(above, h, axes=[0], keepdims=0), opset=13))
    return path


def test_any_change_of_a_graph(tmp_path: Path) -> None:
    network = rnncli.load(graph_file(tmp_path / "a.onnx"))
    kinds = {type(layer).__name__ for layer in (*network.front, *network.layers)}
    assert {"RowGraph", "SequenceGraph", "Recurrent"} <= kinds
    check_changes(network, "float32")
    again = rnncli.load(graph_file(tmp_path / "a.onnx"))
    assert fingerprint(network, "float32") == fingerprint(again, "float32")
    changes: list[dict[str, Any]] = [{"start": 1}, {"strides": 1}, {"above": "ReduceMin"}]
    others = [rnncli.load(graph_file(tmp_path / "b.onnx", **each)) for each in changes]
    digests = {fingerprint(each, "float32") for each in (network, *others)}
    assert len(digests) == 4


def test_a_value_that_moves_between_lists_is_a_change(tmp_path: Path) -> None:
    network = rnncli.load(graph_file(tmp_path / "a.onnx"))
    graph = network.front[0]
    assert isinstance(graph, SequenceGraph)
    digests = set()
    for pair in ([["a"], []], [[], ["a"]]):
        names: dict[str, Any] = dict(zip(("inputs", "outputs"), pair, strict=True))
        graph.nodes = [graph.nodes[0]._replace(**names)]
        digests.add(fingerprint(network, "float32"))
    assert len(digests) == 2


def test_cells_of_two_classes_with_the_same_weights() -> None:
    class Leaking(Leaky):
        pass

    cell = drawn(2, 3, seed=1)
    other = Leaking(cell.weights)
    other.__class__.settings = cell.settings  # type: ignore[assignment, method-assign]
    assert len({fingerprint(Network(each), "float32") for each in (cell, other)}) == 2


def test_networks_that_differ_in_the_merge_have_results_of_their_own(tmp_path: Path) -> None:
    source, rows = tmp_path / "in.csv", {}
    source.write_text("1\n2\n3\n")
    for merge in ("sum", "ave", "mul"):
        network = seeded(1, 2, direction="bidirectional", merge=merge)
        summary = rnncli.batch(source, network, tmp_path / "{stem}.out.csv")
        assert (summary.done, summary.skipped) == (1, 0)
        written = np.loadtxt(tmp_path / "in.out.csv", delimiter=",", skiprows=1)
        rows[merge] = written[:, 1:]
        np.testing.assert_allclose(rows[merge], rnncli.run(network, [[1], [2], [3]]).h, 1e-5)
    np.testing.assert_allclose(rows["sum"], 2 * rows["ave"], 1e-5)


def slice_file(path: Path, start: int) -> Path:
    """Write a graph that takes two of three units of an LSTM, from the start on."""
    g = Graph()
    bounds = [g.array([each]) for each in (start, start + 2, 2)]
    path.write_bytes(g.model(g.add("Tanh", g.add("Slice", g.rows(), *bounds))))
    return path


def test_another_graph_refuses_a_state(tmp_path: Path) -> None:
    first, second = (slice_file(tmp_path / f"{n}.onnx", n) for n in (0, 1))
    state, source = tmp_path / "s.npz", tmp_path / "in.csv"
    source.write_text("1,2\n3,4\n")

    def go_on(path: Path) -> str:
        words = ["run", source, "-w", path, "--state", state, "--format", "csv"]
        result = CliRunner().invoke(rnn, [*map(str, words)])
        return result.stderr if result.exit_code else ""

    assert [go_on(first), go_on(first)] == ["", ""]
    assert "the state of a network with other weights" in go_on(second)
    # A state file of an earlier version does not tell the two.
    left = load_state(str(state))
    for path in (first, second):
        digest = fingerprint(rnncli.load(path), "float32", whole=False)
        with state.open("wb") as file:
            save_state(file, left._replace(network=digest))
        assert "took graphs with the same weights for one network; remove it" in go_on(path)


# As before graphs counted whole.
PLAIN = "3aabbae2961aa06e06385130fe880704d2465763e7a06f9538f7c7e159172df8"


@pytest.mark.parametrize("whole", [True, False])
def test_a_plain_network_has_one_digest_in_every_version(*, whole: bool) -> None:
    arrays = (np.full(shape, 0.5, "f") for shape in ((3, 4), (1, 4), 4))
    below, above = (Dense(np.full((I, 3), 0.5, "f"), activation="softmax") for I in (4, 1))
    network = Network(below, LSTM(Weights(*arrays)), above, last="state")
    assert fingerprint(network, "float32", whole=whole) == PLAIN
