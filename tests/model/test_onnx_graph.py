"""ONNX graphs: the numbers of those that are run, and why others are refused.

``tests/peers`` compares random graphs with ONNX Runtime.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import content, inspect, layers, load, refusal
from onnx_graphs import Axes, Graph

import rnncli
from rnncli import LSTM, Network, Weights
from rnncli.model.formats.containers.protobuf import message

Build = Callable[[Graph], str]
FAR = 2**31 - 1
MANY = 2**20
TWO: dict[str, Any] = {"direction": "bidirectional"}


def write(path: Path, graph: Graph, *outputs: str, **about: Any) -> Path:
    path.write_bytes(graph.model(*outputs, **about))
    return path


def both(g: Graph, op: str = "LSTM") -> str:
    """Add a node of both directions; return its rows, (T, 2, N, 3)."""
    return g.recurrent(op, **TWO)


def cut(g: Graph, rows: str, axis: int, *places: int) -> str:
    """Slice an axis: from the first place to the second, by the third."""
    lists = [g.array([place]) for place in (*places[:2], axis, *places[2:])]
    return g.add("Slice", rows, *lists)


def backwards(g: Graph, rows: str, axis: int = 0) -> str:
    return cut(g, rows, axis, -1, -FAR, -1)


def swapped(g: Graph, rows: str) -> str:
    return g.add("Transpose", rows, perm=[1, 0, 2])


def batch_first(g: Graph, rows: str) -> str:
    """Swap the axes of steps and sequences."""
    return g.add("Transpose", rows, perm=[1, 0, 2])


def size(g: Graph, place: int) -> str:
    """Return a size of x, as PyTorch's exporter takes it."""
    one = g.add("Gather", g.add("Shape", "x"), g.array(place), axis=0)
    return g.add("Unsqueeze", one, g.array([0]))


def count(g: Graph, place: int) -> str:
    """Return a size of x as a float."""
    return g.add("Cast", size(g, place), to=1)


def mean(g: Graph, rows: str) -> str:
    """Return the mean over the steps."""
    return g.add("ReduceMean", rows, axes=[0], keepdims=0)


def chosen(g: Graph, rows: str, places: list[int]) -> str:
    """Choose sequences."""
    return g.add("Gather", rows, g.array(places), axis=1)


def start(g: Graph, h: str = "", c: str = "", op: str = "RNN") -> str:
    """Add a node that starts from states."""
    return g.recurrent(op, "x", "", "", h, *[c] * bool(c))


def inside(g: Graph) -> str:
    """Add a node of given lengths that starts from the final state of another."""
    state = f"{g.recurrent('RNN')}.1"
    return g.recurrent("RNN", "x", "", g.add("Expand", size(g, 0), size(g, 1)), state)


def zeros(g: Graph, directions: str) -> str:
    """Add a node that starts from zeros of a shape that is computed."""
    shape = g.add("Concat", directions, size(g, 1), g.array([3]), axis=0)
    return start(g, g.add("ConstantOfShape", shape))


def stored(g: Graph, *shape: int) -> str:
    return g.array(np.zeros(shape, np.float32))


def number(g: Graph, value: float, *shape: int) -> str:
    return g.array(np.full(shape, value, np.float32))


def repeated(g: Graph, op: str, value: str, times: int, *rest: str, **attributes: Any) -> str:
    """Apply an operator to a value, and again; to the value and itself without a rest."""
    for _ in range(times):
        value = g.add(op, value, *(rest or [value]), **attributes)
    return value


def normal(g: Graph, rows: str, **attributes: Any) -> str:
    return g.add("BatchNormalization", rows, *(g.draw(3) for _ in range(4)), **attributes)


def convolved(g: Graph, rows: str = "x", **attributes: Any) -> str:
    """Convolve rows along their steps."""
    turned = g.add("Transpose", rows, perm=[1, 2, 0])
    found = g.add("Conv", turned, g.draw(2, 2, 3), g.draw(2), **attributes)
    return g.add("Transpose", found, perm=[2, 0, 1])


def narrowed(g: Graph, *sizes: int) -> str:
    """Convolve x by a kernel, pool windows, and so on; nothing is padded."""
    rows = g.add("Transpose", "x", perm=[1, 2, 0])
    for k, size in enumerate(sizes):
        if k % 2:
            rows = g.add("MaxPool", rows, kernel_shape=[size], strides=[size])
        else:
            rows = g.add("Conv", rows, g.draw(2, 2, size))
    return g.add("Transpose", rows, perm=[2, 0, 1])


def decoder(g: Graph) -> str:
    """Run a layer on the final state of another, repeated for each step."""
    final = f"{g.recurrent('GRU')}.1"
    shape = g.add("Concat", size(g, 0), g.array([1, 1]), axis=0)
    return g.rows("LSTM", g.add("Expand", final, shape), size=3)


def pooled(g: Graph, rows: str, size: int, pad: int) -> str:
    """Take the largest values of neighbouring steps."""
    turned = g.add("Transpose", rows, perm=[1, 2, 0])
    found = g.add("MaxPool", turned, kernel_shape=[size], pads=[pad, pad])
    return g.add("Transpose", found, perm=[2, 0, 1])


def attention(g: Graph) -> str:
    """Weigh the steps by a softmax over them, and sum them."""
    rows = g.rows("GRU")
    return g.add("ReduceSum", g.add("Mul", rows, g.add("Softmax", rows, axis=0)), g.array([0]))


def queried(g: Graph) -> str:
    """Weigh the steps of two directions by their final states, and sum them."""
    return g.add("ReduceSum", g.add("Mul", rows := both(g), f"{rows}.1"), g.array([0]))


def last_forward_first_backward(g: Graph) -> str:
    rows = both(g)
    ends = [cut(g, cut(g, rows, 1, d, d + 1), 0, d - 1, d or FAR) for d in (0, 1)]
    return g.add("Squeeze", g.add("Concat", *ends, axis=3), g.array([0, 1]))


def stacked(g: Graph) -> tuple[str, str]:
    """Add two layers; return what each gives."""
    below = g.rows("GRU")
    return below, g.rows("GRU", below, size=3)


def meeting(g: Graph, low: str) -> str:
    """Add two layers above one; multiply what they add to it."""
    top = g.rows("GRU", g.rows("GRU", low, size=3), size=3)
    return g.add("Mul", low, g.add("Sub", top, low))


def long(g: Graph, lengths: str) -> str:
    """Add a node that takes lengths of sequences."""
    return g.recurrent("RNN", "x", "", lengths)


def lengths(g: Graph, most: int) -> str:
    """Return the number of steps of each sequence, or a number that is less."""
    return g.add("Expand", g.add("Min", size(g, 0), g.array([most])), size(g, 1))


def above(g: Graph, *rows: str) -> str:
    return g.add("Concat", *rows, axis=2)


# The part that is refused, a key word of the reason, and the graph.
REFUSED: list[tuple[str, str, Build]] = [
    ("LSTM_0", "projection", lambda g: g.rows(projection=3)),
    ("LSTM_0", "input_forget", lambda g: g.rows(input_forget=1)),
    ("RNN_0", "ThresholdedRelu is", lambda g: g.rows("RNN", activations=["ThresholdedRelu"])),
    ("GRU_0", "R: expected shape", lambda g: g.add("GRU", "x", g.draw(1, 9, 2), g.draw(1, 12, 3))),
    ("RNN_0", "weights that are constants", lambda g: g.add("RNN", "x", "x", g.draw(1, 3, 3))),
    ("RNN_0", "sequence_lens is a constant", lambda g: long(g, g.array([1, 2]))),
    ("RNN_0", "sequence_lens is a constant", lambda g: long(g, g.array([7, 7, 7]))),
    ("Min_3", "number of steps", lambda g: long(g, lengths(g, 7))),
    ("RNN_0", "initial_h differs between sequences", lambda g: start(g, g.draw(1, 2, 3))),
    ("RNN_0", "initial_h is not a state of 3 units", lambda g: start(g, g.draw(1, 1, 2))),
    ("RNN_8", "state is computed", inside),
    ("LSTM_0", "initial_c", lambda g: start(g, "", stored(g, 1, 1, 7), op="LSTM")),
    ("GRU_1", "order of its input", lambda g: g.recurrent("GRU", backwards(g, "x"), **TWO)),
    ("GRU_1", "other axes", lambda g: g.recurrent("GRU", backwards(g, "x", 1))),
    ("GRU_3", "other axes", lambda g: g.recurrent("GRU", swapped(g, g.rows()), size=3)),
    ("LSTM_0", "layout: expected 0 or 1, got 7", lambda g: g.rows(layout=7)),
    ("LSTM_0", "layout: expected 0 or 1, got -1", lambda g: g.rows(layout=-1)),
    # Sequences, each of which runs alone.
    ("ReduceMean_3", "all sequences in the order", lambda g: mean(g, backwards(g, g.rows(), 1))),
    ("ReduceMean_3", "all sequences in", lambda g: mean(g, chosen(g, g.rows(), [2, 0, 1]))),
    ("ReduceMean_3", "all sequences in", lambda g: mean(g, chosen(g, g.rows(), [0, 1]))),
    ("Slice_2", "a fixed number of the sequences", lambda g: cut(g, g.rows(), 1, 0, 3)),
    ("Mul_", "with the number of sequences", lambda g: g.add("Mul", g.rows(), count(g, 1))),
    # Rows that the output does not depend on.
    ("tensor_3", "does not depend on the rows", lambda g: [g.rows(), g.draw(3)][1]),
    ("Cast_", "does not depend on the rows", lambda g: [g.rows(), count(g, 0)][1]),
    # Axes.
    ("Gather_2", "step 1", lambda g: g.add("Gather", g.rows(), g.array(0))),
    ("Gather_2", "order of its input", lambda g: g.add("Gather", g.rows(), g.array(-1), axis=1)),
    ("Gather_2", "some steps", lambda g: g.add("Gather", g.rows(), g.array([0, -1]))),
    ("Slice_2", "order of its input", lambda g: backwards(g, g.rows())),
    ("Reshape_1", "rows and feat", lambda g: g.add("Reshape", both(g), g.array([0, 0, -1]))),
    # Rows.
    ("Relu_2", "attribute alpha", lambda g: g.add("Relu", g.rows(), alpha=0.5)),
    ("BatchNormalization_2", "that", lambda g: normal(g, g.rows(), training_mode=1)),
    ("Add_2", "each sequence", lambda g: g.add("Add", g.rows(), g.draw(3, 1))),
    ("MatMul_2", "multiplies other axes", lambda g: g.add("MatMul", g.draw(3, 3), g.rows())),
    ("Softmax_2", "another axis", lambda g: g.add("Softmax", g.rows(), axis=1)),
    ("Dropout_2", "trained", lambda g: g.add("Dropout", g.rows(), number(g, 0.5), g.array(True))),
    ("Add_2", "takes b", lambda g: g.add("Add", g.rows(), "b")),
    (
        "Concat_",
        "rows and constants",
        lambda g: g.add("Concat", g.rows(), number(g, 0, 2, 3, 3), axis=0),
    ),
    # Constants.
    ("Slice_2", "goes back", lambda g: g.add("Add", g.rows(), cut(g, g.draw(3), 0, -1, FAR, -1))),
    (
        "Concat_",
        "more values",
        lambda g: g.add("Add", repeated(g, "Concat", g.draw(9), 200, axis=0), g.rows()),
    ),
    (
        "Expand_0",
        "more values",
        lambda g: g.add("Add", g.add("Expand", g.draw(1), g.array([MANY, MANY])), g.rows()),
    ),
    ("Conv_2", "more values", lambda g: g.add("Conv", g.rows(), g.draw(2, 3, 3), pads=[MANY] * 2)),
    ("Slice_2", "no values", lambda g: cut(g, g.rows(), 0, 0, 0)),
    # Operators.
    ("Gelu_2", "com.x Gelu", lambda g: g.add("Gelu", g.rows(), domain="com.x")),
]

# What is run, and as which layers: of pieces of a graph `tests/peers` compares the numbers.
RUN: list[tuple[str, Build]] = [
    (
        "GRU 3 bidirectional, rows: Slice",
        lambda g: backwards(g, g.recurrent("GRU", backwards(g, "x"), **TWO)),
    ),
    ("LSTM 3 bidirectional", last_forward_first_backward),
    ("LSTM 3, Pointwise 3", lambda g: g.add("Relu", g.add("Squeeze", g.rows()))),
    ("LSTM 3, rows: Relu Add", lambda g: g.add("Add", (rows := g.rows()), g.add("Relu", rows))),
    ("LSTM 3, rows: Clip", lambda g: g.add("Clip", g.rows(), number(g, 0), number(g, 1e30))),
    (
        "LSTM 3, rows: Concat, whole sequences: Shape Cast Mul",
        lambda g: g.add("Mul", g.rows(), count(g, 0)),
    ),
    ("LSTM 3, Pointwise 3, rows: Div", lambda g: g.add("Div", g.draw(3), g.add("Exp", g.rows()))),
    ("LSTM 3, Dense 2", lambda g: g.add("MatMul", g.rows(), g.draw(1, 3, 2))),
    ("whole sequences: Conv, GRU 3", lambda g: g.rows("GRU", convolved(g, strides=[2]))),
    (
        "whole sequences: Conv Relu MaxPool, GRU 3",
        lambda g: g.rows("GRU", pooled(g, g.add("Relu", convolved(g, pads=[2, 0])), 3, 1)),
    ),
    (
        "Normalization 2, whole sequences: Conv, GRU 3",
        lambda g: g.rows("GRU", convolved(g, g.add("Sub", "x", number(g, 0.5)), strides=[2])),
    ),
    ("GRU 3, rows: Concat, whole sequences: Shape, LSTM 3", decoder),
    ("GRU 3, whole sequences: Softmax Mul ReduceSum", attention),
    (
        "whole sequences: Shape Cast Tanh Add, GRU 3",
        lambda g: g.rows("GRU", g.add("Add", "x", g.add("Tanh", count(g, 0)))),
    ),
    ("whole sequences: Slice, GRU 3", lambda g: g.rows("GRU", cut(g, "x", 0, 0, 4))),
    ("GRU 3, whole sequences: Slice", lambda g: cut(g, g.rows("GRU"), 0, -100, FAR)),
    ("LSTM 3 bidirectional, whole sequences: Mul ReduceSum", queried),
    ("GRU 3, GRU 3, rows: Add", lambda g: g.add("Add", *stacked(g))),
    ("GRU 3, GRU 3, rows: Concat, LSTM 3", lambda g: g.rows("LSTM", above(g, *stacked(g)), size=6)),
    ("GRU 3, rows: Identity, LSTM 3, rows: Concat", lambda g: above(g, g.rows("GRU"), g.rows())),
    ("LSTM 3", lambda g: repeated(g, "Unsqueeze", g.rows(), 20, g.array([0]))),
    # Layers are numbered from the first above the one that gives fewer steps.
    (
        "whole sequences: Conv, GRU 3, GRU 3, GRU 3, rows: Sub Mul",
        lambda g: meeting(g, g.rows("GRU", convolved(g, strides=[2]))),
    ),
    # Constants that are computed, and nodes that start from zeros of a shape that fits.
    ("RNN 3", lambda g: zeros(g, g.array([1]))),
    ("RNN 3", lambda g: zeros(g, cut(g, g.array([3, 2, 1]), 0, -1, -9, -4))),
    (
        "LSTM 3, Normalization 3",
        lambda g: g.add("Add", g.rows(), cut(g, g.draw(3), 0, -9, -9, -1)),
    ),
]


# Graphs whose windows take many steps.
LONG: list[tuple[str, Build]] = [
    ("whole sequences: Conv MaxPool, GRU 3", lambda g: g.rows("GRU", narrowed(g, 5, 2, 2, 2))),
    ("whole sequences: Conv MaxPool, GRU 3", lambda g: g.rows("GRU", narrowed(g, 200, 2))),
]
LONG_T = 210


@pytest.mark.parametrize(("named", "build"), RUN + LONG, ids=[named for named, _ in RUN + LONG])
def test_graphs_that_are_run(tmp_path: Path, named: str, build: Build) -> None:
    graph = Graph()
    network, _ = load(write(tmp_path / "m.onnx", graph, build(graph)))
    assert str(network) == f"Network({named})"
    x = np.random.default_rng(0).normal(size=(2, LONG_T if (named, build) in LONG else 5, 2))
    both, one = (rnncli.run(network, rows) for rows in (x, x[1]))
    for two, alone in ((both.h, one.h), (both.y, one.y), (both.y_n, one.y_n)):
        assert two is None or alone is None or np.allclose(two[1], alone, atol=1e-6)


@pytest.mark.parametrize(
    ("place", "why", "build"), REFUSED, ids=[f"{place} {why}" for place, why, _ in REFUSED]
)
def test_graphs_that_are_refused(tmp_path: Path, place: str, why: str, build: Build) -> None:
    graph = Graph()
    path = write(tmp_path / "m.onnx", graph, build(graph))
    found = refusal(path)
    assert found.startswith(place)
    assert why in found


def test_a_decoder_takes_the_final_state_at_each_step(tmp_path: Path) -> None:
    graph = Graph()
    path = write(tmp_path / "m.onnx", graph, decoder(graph))
    x = np.random.default_rng(1).normal(size=(2, 6, 2)).astype(np.float32)
    encoder, top = (load(path, layer=name)[0] for name in ("GRU_0", "LSTM_6"))
    states = np.repeat(rnncli.run(encoder, x).h_n[:, None], 6, axis=1)
    np.testing.assert_allclose(rnncli.run(load(path)[0], x).h, rnncli.run(top, states).h, atol=1e-6)


def test_a_width_that_a_weight_tells(tmp_path: Path) -> None:
    """Steps and features have both free numbers."""
    made = []
    axes: tuple[Axes, ...] = (("T", "N", 2), ("T", "I"))
    for own in axes:
        graph, whole = Graph(), len(own) == 3
        rows = "x" if whole else graph.add("Unsqueeze", "x", graph.array([1]))
        top = graph.recurrent("GRU", rows)
        output = graph.add("Squeeze", top, graph.array([1] if whole else [1, 2]))
        made.append(load(write(tmp_path / "m.onnx", graph, output, inputs={"x": own}))[0])
    assert content(made[0]) == content(made[1])


def chunks(g: Graph, rows: str, *, mixed: bool = False) -> tuple[str, str]:
    """Add a detector that takes a chunk a call: a convolution, a recurrent node, and a head."""
    W = g.array(CHUNK_WEIGHTS["W"])
    conv = g.add("Conv", g.add("Unsqueeze", rows, g.array([1])), W, strides=[2])
    conv = g.add("Sub", conv, g.add("ReduceMean", conv, axes=[0])) if mixed else conv
    mean = g.add("ReduceMean", g.add("Relu", conv), axes=[2], keepdims=0)
    rest = ("", "", g.add("Gather", "state", g.array([0]), axis=0))
    weights = (g.array(CHUNK_WEIGHTS[name]) for name in ("W_xh", "W_hh"))
    top = g.add("RNN", g.add("Unsqueeze", mean, g.array([0])), *weights, *rest)
    final = g.add("Unsqueeze", g.add("Squeeze", f"{top}.1", g.array([0])), g.array([2]))
    head = g.add("Sigmoid", g.add("Conv", final, g.array(CHUNK_WEIGHTS["head"])))
    return g.add("ReduceMean", head, axes=[2], keepdims=0), f"{top}.1"


def detected(network: Network) -> Any:
    """Run the detector over its chunks."""
    return rnncli.run(network, CHUNKS).y


def chunk_states(x: Any) -> Any:
    """Compute what the detector gives for rows (T, 6), in plain loops."""
    W, W_xh, W_hh, head = (each.astype(float) for each in CHUNK_WEIGHTS.values())
    h, y = np.zeros(3), []
    for row in x:
        conv = [[(row[k : k + 3] * kernel[0]).sum() for k in (0, 2)] for kernel in W]
        h = np.tanh(W_xh[0] @ np.maximum(conv, 0).mean(axis=1) + W_hh[0] @ h)
        y.append(1 / (1 + np.exp(-head[:, :, 0] @ h)))
    return y


SIZES = {"W": (4, 1, 3), "W_xh": (1, 3, 4), "W_hh": (1, 3, 3), "head": (1, 3, 1)}
CHUNK_WEIGHTS = {
    name: np.random.default_rng(5).normal(size=shape).astype(np.float32)
    for name, shape in SIZES.items()
}
CHUNKS = np.random.default_rng(6).normal(size=(9, 6))
BATCHED: dict[str, Axes | None] = {"x": ("N", 6), "state": (2, "N", 3)}


@pytest.mark.parametrize("size", ["N", 1])
def test_a_chunk_for_each_call(tmp_path: Path, size: str | int) -> None:
    """Each row is convolved by itself, so that rows may be followed."""
    graph, inputs = Graph(), dict[str, Axes | None](x=(size, 6), state=(2, size, 3))
    network, _ = load(write(tmp_path / "m.onnx", graph, *chunks(graph, "x"), inputs=inputs))
    assert not network.needs_whole_sequences
    assert network.last is None
    np.testing.assert_allclose(detected(network), chunk_states(CHUNKS), atol=1e-6)


def test_rows_that_a_call_mixes_are_refused(tmp_path: Path) -> None:
    graph, inputs = Graph(), dict[str, Axes | None](x=(1, 6), state=(2, 1, 3))
    path = write(tmp_path / "m.onnx", graph, *chunks(graph, "x", mixed=True), inputs=inputs)
    assert "makes something of several rows" in refusal(path)


def compare_rate(g: Graph) -> str:
    return g.add("Equal", "sr", g.add("Constant", value_int=16000))


def compare_first_rate(g: Graph) -> str:
    one = g.add("Gather", g.add("Reshape", "sr", g.array([1])), g.array(0), axis=0)
    return g.add("Equal", one, g.add("Constant", value_int=16000))


def has_states(g: Graph) -> str:
    """Compare a size of the state with 0, as Silero VAD does."""
    return g.add("Cast", g.add("Gather", g.add("Shape", "state"), g.array(0), axis=0), to=9)


@pytest.mark.parametrize(
    ("condition", "rate"),
    [(compare_rate, True), (compare_first_rate, True), (has_states, False)],
)
def test_what_chooses_a_branch(
    tmp_path: Path, condition: Callable[[Graph], str], rate: bool
) -> None:
    """A rate is what the graph compares it with, and sizes of other inputs are declared."""
    inner, outer = Graph(), Graph()
    y, h = chunks(inner, "x")
    nodes = [(1, node) for node in inner.nodes] + [(5, each) for each in inner.tensors]
    right = message(*nodes, (12, message((1, y))), (12, message((1, h))))
    wrong = message((1, message((1, "x"), (2, "z"), (4, "Tanh"))), *[(12, message((1, "z")))] * 2)
    branches: dict[str, Any] = {"then_branch": right, "else_branch": wrong}
    output = outer.add("If", condition(outer), **branches)
    inputs = {**BATCHED, "sr": ()}
    path = write(tmp_path / "m.onnx", outer, output, f"{output}.1", inputs=inputs)
    network, notes = load(path)
    assert ("takes sr too: 16000, which it is compared with" in notes) == rate
    np.testing.assert_allclose(detected(network), chunk_states(CHUNKS), atol=1e-6)


@pytest.mark.parametrize(("axis", "runs"), [(1, True), (0, False)])
def test_a_branch_that_a_size_chooses(tmp_path: Path, axis: int, runs: bool) -> None:
    """It has to be the same for any number of rows."""
    graph, branches = Graph(), dict[str, Any]()
    for name, op in (("then_branch", "Relu"), ("else_branch", "Identity")):
        node = message((1, "x"), (2, name), (4, op))
        branches[name] = message((1, node), (12, message((1, name))))
    count = graph.add("Gather", graph.add("Shape", "x"), graph.array(axis), axis=0)
    rows = graph.add("If", graph.add("Equal", count, graph.array(1)), **branches)
    path = write(tmp_path / "m.onnx", graph, *chunks(graph, rows), inputs=BATCHED)
    if not runs:
        assert refusal(path)
    else:
        np.testing.assert_allclose(detected(load(path)[0]), chunk_states(CHUNKS), atol=1e-6)


def test_a_branch_that_changes_the_shape_alone(tmp_path: Path) -> None:
    """One sequence loses its axis, as in exports of Silero VAD; the rows are the same."""
    graph, branches = Graph(), dict[str, Any]()
    apart = batch_first(graph, "x")  # (N, T, 2)
    for name, op in (("then_branch", "Squeeze"), ("else_branch", "Identity")):
        node = message((1, apart), *[(1, graph.array([0]))] * (op == "Squeeze"), (2, name), (4, op))
        branches[name] = message((1, node), (12, message((1, name))))
    rows = graph.add("If", graph.add("Equal", size(graph, 1), graph.array([1])), **branches)
    shape = graph.add("Concat", size(graph, 1), size(graph, 0), graph.array([2]), axis=0)
    rows = batch_first(graph, graph.add("Reshape", rows, shape))
    output = graph.rows("RNN", rows)
    network, _ = load(write(tmp_path / "m.onnx", graph, output))
    plain = Graph()
    same_seed = load(write(tmp_path / "plain.onnx", plain, plain.rows("RNN", "x")))[0]
    x = np.random.default_rng(3).normal(size=(5, 2))
    np.testing.assert_array_equal(rnncli.run(network, x).h, rnncli.run(same_seed, x).h)


def test_a_kernel_over_all_frequencies(tmp_path: Path) -> None:
    """The labels of a convolution over two axes cost no more than its windows."""
    graph = Graph()
    rows = graph.add("Unsqueeze", "x", graph.array([1]))  # (N, 1, F, T)
    rows = graph.add("Conv", rows, graph.draw(8, 1, 5, 5), kernel_shape=[5, 5], pads=[0, 2, 0, 2])
    rows = graph.add("Conv", rows, graph.draw(300, 8, 96, 3), kernel_shape=[96, 3], pads=[0, 1] * 2)
    rows = graph.add("Transpose", graph.add("Squeeze", rows, graph.array([2])), perm=[2, 0, 1])
    output = graph.rows("RNN", rows, size=300)
    inputs: dict[str, Axes | None] = {"x": ("N", 100, "T")}
    network, _ = load(write(tmp_path / "m.onnx", graph, output, inputs=inputs))
    assert network.input_size == 100


def quantized_weights(g: Graph, rows: int, columns: int) -> tuple[list[str], Any]:
    """Add whole numbers, a scale and a zero point for each column; return the floats too."""
    whole = g.random.randint(-128, 128, (1, rows, columns)).astype(np.int8)
    scale = g.random.uniform(0.001, 0.01, (1, columns)).astype(np.float32)
    zero = g.random.randint(-9, 9, (1, columns)).astype(np.int8)
    floats = (whole.astype(np.float32) - zero[:, None]) * scale[:, None]
    return [g.array(each) for each in (whole, scale, zero)], floats


def test_quantized_weights_become_floats(tmp_path: Path) -> None:
    graph = Graph()
    (W, *W_more), W_floats = quantized_weights(graph, 2, 12)
    (R, *R_more), R_floats = quantized_weights(graph, 3, 12)
    names = ["x", W, R, *[""] * 5, *W_more, *R_more]
    rows = graph.add("DynamicQuantizeLSTM", *names, domain="com.microsoft", hidden_size=3)
    rows = graph.add("DynamicQuantizeLinear", graph.add("Squeeze", rows, graph.array([1])))
    head = graph.random.randint(-128, 128, (3, 2)).astype(np.int8)
    zeros = f"{rows}.2", graph.array(np.int8(4))
    product = graph.add("Cast", graph.add("MatMulInteger", rows, graph.array(head), *zeros), to=1)
    scale = graph.add("Mul", f"{rows}.1", graph.array(np.float32(0.02)))
    path = write(tmp_path / "m.onnx", graph, graph.add("Mul", product, scale))
    network, notes = load(path)
    assert "rounds rows to 8 bits while it runs (DynamicQuantizeLSTM, DynamicQuant" in notes[0]
    order = np.arange(12).reshape(4, 3)[[0, 2, 3, 1]].ravel()  # ONNX's gates are i o f g
    W_xh, W_hh = (each[0].astype(np.float64)[:, order] for each in (W_floats, R_floats))
    x = np.random.default_rng(1).normal(size=(5, 2))
    states = rnncli.run(Network(LSTM(Weights(W_xh, W_hh, np.zeros(12)))), x)
    expected = states.h @ ((head - 4.0) * 0.02)
    given = rnncli.run(network, x).y
    assert given is not None
    np.testing.assert_allclose(given, expected, atol=1e-6)


def test_a_convolution_of_rounded_rows(tmp_path: Path) -> None:
    """Its filters have zero points, and its bias is rounded by the scale of the rows."""
    networks = []
    for rounds in (True, False):
        graph, random = Graph(), np.random.default_rng(3)
        whole = random.integers(-128, 128, (2, 2, 3)).astype(np.int8)
        zeros, bias = np.array([3, -5], np.int8), np.array([[[0.3], [-0.7]]], np.float32)
        rows = graph.add("Transpose", "x", perm=[1, 2, 0])
        known: dict[str, Any] = {"kernel_shape": [3], "pads": [1, 1]}
        if rounds:
            rows = graph.add("DynamicQuantizeLinear", rows)
            arrays = graph.array(whole), f"{rows}.2", graph.array(zeros)
            scale = graph.add("Mul", f"{rows}.1", graph.array(np.float32(0.01)))
            share = graph.add("Floor", graph.add("Div", graph.array(bias), scale))
            rows = graph.add("ConvInteger", rows, *arrays, **known)
            rows = graph.add("Cast", graph.add("Add", rows, graph.add("Cast", share, to=6)), to=1)
            rows = graph.add("Mul", rows, scale)
        else:
            weights = 0.01 * (whole - zeros[:, None, None].astype(np.float32))
            rows = graph.add("Conv", rows, graph.array(weights), **known)
            rows = graph.add("Add", rows, graph.array(bias))
        rows = graph.rows("GRU", graph.add("Transpose", rows, perm=[2, 0, 1]))
        networks.append(load(write(tmp_path / "m.onnx", graph, rows))[0])
    x = np.random.default_rng(1).normal(size=(5, 2))
    a, b = (rnncli.run(network, x).h for network in networks)
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_channels_of_a_deep_convolution_cost_little(tmp_path: Path) -> None:
    """Labels are the same along channels: 30 operators would have 200 million of them."""
    graph = Graph()
    rows, W = graph.add("Unsqueeze", "x", graph.array([1])), graph.draw(512, 1, 3, 3)
    rows = graph.add("Conv", rows, W, pads=[1, 1, 1, 1])
    for _ in range(10):
        rows = graph.add("Relu", graph.add("Add", rows, graph.draw(512, 1, 1)))
        rows = graph.add("MaxPool", rows, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    rows = graph.add("Conv", rows, graph.draw(2, 512, 64, 1))
    rows = graph.add("Transpose", graph.add("Squeeze", rows, graph.array([2])), perm=[2, 0, 1])
    inputs: dict[str, Axes | None] = {"x": (1, 64, 40)}
    network, _ = load(write(tmp_path / "m.onnx", graph, graph.rows("RNN", rows), inputs=inputs))
    assert network.input_size == 64


def test_rounded_rows_stay_as_they_are(tmp_path: Path) -> None:
    graph = Graph()
    rows = graph.add("DynamicQuantizeLinear", graph.rows())
    path = write(tmp_path / "m.onnx", graph, graph.add("Cast", rows, to=1))
    assert "operator DynamicQuantizeLinear is not read" in refusal(path)


@pytest.mark.parametrize("way", ["forward", "reverse", "bidirectional"])
def test_states_that_the_file_starts_from(tmp_path: Path, way: str, run_rnn: Any) -> None:
    graph, plain, D = Graph(), Graph(), 2 if way == "bidirectional" else 1
    h, c = (graph.random.normal(size=(D, 1, 3)).astype(np.float32) for _ in range(2))
    graph.random.seed(0)
    one = graph.add("Concat", graph.array([D]), size(graph, 1), graph.array([3]), axis=0)
    starts = [graph.add("Expand", graph.array(each), one) for each in (h, c)]
    path = tmp_path / "m.onnx"
    write(path, graph, graph.recurrent("LSTM", "x", "", "", *starts, direction=way))
    network, notes = load(path)
    assert any("starts from states in the file: `h0` replaces them" in note for note in notes)
    same_weights, _ = load(write(tmp_path / "p.onnx", plain, plain.recurrent(direction=way)))
    x, state = np.random.default_rng(2).normal(size=(2, 5, 2)), np.concatenate([h, c]).ravel()
    expected = rnncli.run(same_weights, x, state).h
    np.testing.assert_array_equal(rnncli.run(network, x).h, expected)
    zeros = rnncli.run(same_weights, x)
    np.testing.assert_array_equal(rnncli.run(network, x, np.zeros_like(state)).h, zeros.h)
    np.savetxt(tmp_path / "x.csv", x[0], delimiter=",", fmt="%.17g")
    text = run_rnn("run", str(tmp_path / "x.csv"), "-w", str(path), "-f", "csv", "--no-header")
    rows = [[float(cell) for cell in line.split(",")[1:]] for line in text.stdout.splitlines()]
    np.testing.assert_array_equal(np.array(rows, np.float32), expected[0])
    with pytest.raises(ValueError, match="starts from states that are not zeros"):
        rnncli.save(network, tmp_path / "n.npz")


QUANTIZED: dict[str, tuple[Any, ...]] = {
    "one scale": (np.float32(0.5), np.int8(3), "0 7,-128 127", "-1.5 2,-65.5 62"),
    "a scale for each": (
        np.array([0.5, 2], np.float32),
        np.array([3, -1], np.int8),
        "0 1,-128 99",
        "-1.5 4,-65.5 200",
    ),
}


@pytest.mark.parametrize("case", QUANTIZED)
def test_rows_of_whole_numbers(tmp_path: Path, case: str) -> None:
    scale, zero, x, y = QUANTIZED[case]
    graph = Graph()
    more = graph.array(scale), graph.array(zero)
    whole = graph.add("QuantizeLinear", same(graph), *more, axis=-1)
    output = graph.add("DequantizeLinear", whole, *more, axis=-1)
    network, _ = load(write(tmp_path / "m.onnx", graph, output))
    whole_rows, rows = (np.array([r.split() for r in t.split(",")], float) for t in (x, y))
    np.testing.assert_array_equal((whole_rows - zero) * scale, rows)
    given = rnncli.run(network, rows + np.array([0.1, -0.1]))
    np.testing.assert_array_equal(given.y if given.y is not None else given.h, rows)


def test_a_number_of_features_that_the_input_tells(tmp_path: Path, run_rnn: Any) -> None:
    graph, path = Graph(), tmp_path / "m.onnx"
    write(path, graph, *chunks(graph, "x"), inputs={**BATCHED, "x": ("N", "I")})
    assert "does not tell how many features a step has" in refusal(path)
    text = run_rnn("inspect", path).stdout
    assert "\nLeaves open how many columns it takes:\n" in text
    assert "annot be run" not in text  # the columns tell whether it can
    network, _ = load(path, input_size=6)
    np.testing.assert_allclose(detected(network), chunk_states(CHUNKS), atol=1e-6)
    np.savetxt(tmp_path / "x.csv", CHUNKS, delimiter=",")
    given = str(tmp_path / "x.csv"), "-w", str(path)
    result = run_rnn("run", *given, "-f", "csv", "--no-header")
    run_rnn("batch", *given, "--no-header", "-o", str(tmp_path / "out" / "{stem}.csv"))
    assert (tmp_path / "out" / "x.csv").read_text() == result.stdout
    assert run_rnn("inspect", str(path)).exit_code == 0
    assert "--inputs" in run_rnn("weights", "-w", str(path)).stderr
    alone = run_rnn("run", "--seq", "1 2 3 4", "-w", str(path), "--layer", "RNN_6", "-f", "csv")
    assert alone.stdout.startswith("t,h_0,h_1,h_2\n")
    rows = [float(line.split(",")[1]) for line in result.stdout.splitlines()]
    np.testing.assert_allclose(np.array(rows)[:, None], chunk_states(CHUNKS), atol=1e-6)


def test_a_graph_frozen_with_one_step(tmp_path: Path) -> None:
    """More steps show that its rows are turned."""
    graph, inputs = Graph(), {"x": (1, 1, 2)}
    rows = graph.rows("GRU", backwards(graph, "x"))
    assert "order of its input" in refusal(write(tmp_path / "m.onnx", graph, rows, inputs=inputs))
    turned = write(tmp_path / "m.onnx", graph, backwards(graph, rows), inputs=inputs)
    assert str(load(turned)[0].layers[0]) == "GRU 3 backward"


@pytest.mark.parametrize("size", ["N", 1])
def test_a_step_for_each_call(tmp_path: Path, size: str | int) -> None:
    """A graph that takes and gives states runs a step a row."""
    graph = Graph()
    rows = graph.add("Unsqueeze", graph.add("Relu", "x"), graph.array([0]))
    top = graph.recurrent("RNN", rows, "", "", "h")
    output = graph.add("Squeeze", top, graph.array([0, 1]))
    inputs: dict[str, Axes | None] = {"x": (size, 2), "h": (1, size, 3)}
    path = write(tmp_path / "m.onnx", graph, output, f"{top}.1", inputs=inputs)
    network, notes = load(path)
    assert layers(network) == "Pointwise 2, RNN 3"
    assert any("from h: `h0` gives it" in note for note in notes)
    assert not network.needs_whole_sequences


def test_no_step_for_each_call_goes_backward(tmp_path: Path) -> None:
    graph, inputs = Graph(), dict[str, Axes | None](x=("N", 2), h=(1, "N", 3))
    rows = graph.add("Unsqueeze", "x", graph.array([0]))
    top = graph.recurrent("RNN", rows, "", "", "h", direction="reverse")
    output = graph.add("Squeeze", top, graph.array([0, 1]))
    assert refusal(write(tmp_path / "m.onnx", graph, output, f"{top}.1", inputs=inputs))


@pytest.mark.parametrize(
    ("axes", "why"), [(None, "number of axes"), ((), "number of axes"), ((MANY, MANY, 2), "needs")]
)
def test_an_input_that_is_not_labelled(tmp_path: Path, axes: Axes | None, why: str) -> None:
    graph = Graph()
    rows = graph.rows(rows=graph.add("MatMul", "x", graph.draw(2, 2)))
    assert why in refusal(write(tmp_path / "m.onnx", graph, rows, inputs={"x": axes}))


def shared(g: Graph, W: str) -> str:
    """Run layers of 1,200 units that have all weights from one tensor."""
    rows = "x"
    for _ in range(4):
        rows = g.add("Squeeze", g.add("RNN", rows, W, W), g.array([1]))
    return rows


def filled(g: Graph, W: str) -> str:
    """Divide many features, which takes two rows as long."""
    rows = g.add("MatMul", g.rows("RNN", size=1200), g.add("Reshape", W, g.array([3, -1])))
    return repeated(g, "Div", rows, 4, number(g, 2))


@pytest.mark.parametrize("build", [shared, filled])
def test_layers_that_take_far_more_than_the_file(
    tmp_path: Path, build: Callable[[Graph, str], str]
) -> None:
    graph = Graph()
    W = graph.add("ConstantOfShape", graph.array([1, 1200, 1200]))
    inputs: dict[str, Axes | None] = {"x": ("T", "N", 1200)}
    path = write(tmp_path / "m.onnx", graph, build(graph, W), inputs=inputs)
    assert path.stat().st_size < 100_000
    assert "needs more values to be computed" in refusal(path)


def costly(g: Graph, rows: str) -> str:
    """Take more values than a graph may compute."""
    return g.add("Expand", rows, g.array([2**15, 2**15, 3]))


def started(g: Graph) -> str:
    """Start from a state that the graph computes from the rows."""
    start = g.add("Unsqueeze", g.add("ReduceMean", g.rows(), axes=[0], keepdims=0), g.array([0]))
    return g.add("Squeeze", g.recurrent("GRU", "x", "", "", start), g.array([1]))


def below_and_above(g: Graph) -> str:
    rows = g.rows("RNN", costly(g, g.rows("LSTM")), size=3)
    return g.add("Add", rows, costly(g, g.draw(1)))


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (below_and_above, {"LSTM_0": "LSTM 3", "RNN_3": "RNN 3"}),
        (lambda g: g.rows("GRU", g.rows(named="a"), size=3), {"a": "LSTM 3"}),
        (
            lambda g: g.rows("GRU", swapped(g, g.rows()), size=3),
            {"LSTM_0": "LSTM 3", "GRU_3": "GRU 3"},
        ),
        (started, {"LSTM_0": "LSTM 3", "GRU_4": "GRU 3"}),
    ],
)
def test_a_node_needs_its_constants_alone(
    tmp_path: Path, build: Build, named: dict[str, str]
) -> None:
    graph = Graph()
    path = write(tmp_path / "m.onnx", graph, build(graph))
    for name, found in named.items():
        assert layers(load(path, layer=name)[0]) == found


def test_a_declared_size_allows_as_much_work(tmp_path: Path) -> None:
    """A convolution over 9,000 steps, for which the graph was exported."""
    graph, inputs = Graph(), dict[str, Axes | None](x=(9_000, 1, 2))
    rows = graph.rows("GRU", convolved(graph))
    network, _ = load(
        write(tmp_path / "m.onnx", graph, repeated(graph, "Add", rows, 40), inputs=inputs)
    )
    assert rnncli.run(network, np.ones((9_000, 2), np.float32)).h.shape == (8_998, 3)


def test_layers_that_run_are_offered(tmp_path: Path) -> None:
    graph = Graph()
    rows = graph.rows(rows=graph.add("Hardmax", "x"))
    relu = graph.add("Relu", graph.recurrent("GRU"))
    path = write(tmp_path / "m.onnx", graph, rows, relu, producer="by hand")
    assert inspect(path)["title"] == "ONNX opset 17, by hand"
    assert [(each["name"], each.get("needed")) for each in inspect(path)["parts"]] == [
        *(("Hardmax_0", True), ("LSTM_1", None), ("GRU_3", None))
    ]
    assert refusal(path).endswith("pick one with `layer` NAME: LSTM_1, GRU_3")
    assert layers(load(path, layer="LSTM_1")[0]) == "LSTM 3"


def test_a_node_that_leads_to_no_output_is_passed_over(tmp_path: Path) -> None:
    graph = Graph()
    rows, _ = graph.rows(), graph.rows("GRU")
    path = write(tmp_path / "m.onnx", graph, rows)
    assert "not on the way to the output" in inspect(path)["parts"][1]["why"]
    assert layers(load(path)[0]) == "LSTM 3"
    assert layers(load(path, layer="GRU_2")[0]) == "GRU 3"


def test_a_start_that_is_not_known(tmp_path: Path) -> None:
    """As PyTorch's exporter has the initial state of a layer above another operator."""
    graph = Graph()
    below = graph.add("Hardmax", "x")
    top = graph.recurrent("RNN", below, "", "", graph.add("Relu", below))
    _, notes = load(write(tmp_path / "m.onnx", graph, top), layer=top)
    assert notes == [f"{top} takes initial_h from the graph: `h0` gives it, zeros else"]


def test_steps_that_are_nodes_of_their_own(tmp_path: Path) -> None:
    graph = Graph()
    W, state = graph.draw(2, 2), graph.draw(2)
    for step in range(3):
        row = graph.add("Gather", "x", graph.array(step))
        state = graph.add("Tanh", graph.add("Add", row, graph.add("MatMul", state, W)))
    found = refusal(write(tmp_path / "m.onnx", graph, state))
    assert "no recurrent layer: expected a node RNN, LSTM or GRU" in found
    assert "torch.onnx.export with `dynamo=False`" in found


# What is assumed or rounded.


def test_notes(tmp_path: Path) -> None:
    path, graph = tmp_path / "m.onnx", Graph()
    h, c = (graph.add("Unsqueeze", name, graph.array([0])) for name in ("h", "c"))
    rows = graph.recurrent("LSTM", "rows", "", "lengths", h, c)
    inputs: dict[str, Axes | None] = {"rows": ("T", "N", 2), "lengths": ("N",)}
    inputs |= {"h": ("N", 3), "c": ("N", 3)}
    _, notes = load(write(path, graph, rows, inputs=inputs))
    expected = ("sequences from lengths", "from h: `h0` gives it", "from c: `c0` gives it")
    assert all(words in note for words, note in zip(expected, notes, strict=True))
    graph = Graph()
    rows = graph.rows()
    head = graph.add("Tanh", rows)
    network, notes = load(write(path, graph, "LSTM_0.1", head, rows, "LSTM_0.2"))
    assert layers(network) == "LSTM 3, Pointwise 3"
    pick = "(`output_name` NAME picks one)"
    assert notes == [f"gives {head}, and passes over {rows} {pick}"]
    for name, last in {rows: None, "LSTM_0.1": "state"}.items():
        network, notes = load(tmp_path / "m.onnx", output_name=name)
        assert (layers(network), network.last, notes) == ("LSTM 3", last, [])
    network, notes = load(tmp_path / "m.onnx", output_name="LSTM_0.2")
    assert (layers(network), network.last, notes) == ("whole sequences: LSTM", "step", [])
    why = refusal(tmp_path / "m.onnx", output_name="LSTM_0.11")
    assert why.startswith(f"has no output LSTM_0.11; it has LSTM_0.1, {head}, {rows}, LSTM_0.2")
    assert why.endswith("did you mean 'LSTM_0.1'?")
    assert load(write(path, graph, "LSTM_0.1", "LSTM_0.2"))[0].last == "state"


@pytest.mark.parametrize(
    ("direction", "place", "last"),
    [("forward", -1, "state"), ("reverse", -1, "step"), ("reverse", 0, "state")],
)
def test_the_last_row_that_a_direction_takes_is_its_state(
    tmp_path: Path, direction: str, place: int, last: str
) -> None:
    graph = Graph()
    output = graph.add("Gather", graph.rows(direction=direction), graph.array(place))
    assert load(write(tmp_path / "m.onnx", graph, output))[0].last == last


# Numbers: what a graph makes of X.

X = "-2 0.5,3 1"


def same(g: Graph, **attributes: Any) -> str:
    """Add a cell whose states are x itself, (T, N, 2)."""
    weights = (np.eye(2), np.zeros((2, 2)))
    arrays = (g.array(array[None].astype(np.float32)) for array in weights)
    linear: dict[str, Any] = {"activation_alpha": [1.0], "activation_beta": [0.0]}
    rows = g.add("RNN", "x", *arrays, activations=["Affine"], **linear, **attributes)
    return g.add("Squeeze", rows, g.array([1]))


NUMBERS: dict[str, tuple[Build, str]] = {
    "clip to": (lambda g: g.add("Clip", same(g), "", number(g, 0.75)), "-2 0.5,0.75 0.75"),
    "clip to an attribute": (lambda g: g.add("Clip", same(g), max=0.75), "-2 0.5,0.75 0.75"),
    "clip without ends": (lambda g: g.add("Clip", same(g)), X),
    "max from the left": (lambda g: g.add("Max", number(g, 0.75, 1), same(g)), "0.75 0.75,3 1"),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers(tmp_path: Path, case: str) -> None:
    build, expected = NUMBERS[case]
    graph = Graph()
    opset = 9 if "attribute" in case else 17
    network, _ = load(write(tmp_path / "m.onnx", graph, build(graph), opset=opset))
    x, y = (np.array([step.split() for step in text.split(",")], float) for text in (X, expected))
    for T in (2, 1):
        states = rnncli.run(network, x[None, :T])
        given = states.h if states.y is None else states.y
        np.testing.assert_array_equal(given[0], y[:T])


def reversed_rows(g: Graph) -> str:
    """Reverse all steps, run a layer, and reverse its rows."""
    lengths = g.add("Expand", size(g, 0), size(g, 1))
    rows = g.add("ReverseSequence", "x", lengths)
    return g.add("ReverseSequence", g.rows("RNN", rows), lengths)


def windowed(g: Graph, op: str, times: int = 2, **attributes: Any) -> str:
    """Repeat each step, and take windows over them."""
    scales = g.array(np.array([1, 1, times], np.float32))
    known = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    repeats = g.add("Resize", g.add("Transpose", same(g), perm=[1, 2, 0]), "", scales, **known)
    return g.add("Transpose", g.add(op, repeats, **attributes), perm=[2, 0, 1])


WHOLE: dict[str, tuple[Build, Callable[[Any], Any]]] = {
    "a running sum": (lambda g: g.add("CumSum", same(g), g.array(0)), lambda x: np.cumsum(x, 0)),
    "a running sum from the end": (
        lambda g: g.add("CumSum", same(g), g.array(0), reverse=1),
        lambda x: np.cumsum(x[::-1], 0)[::-1],
    ),
    "products with later steps": (
        lambda g: g.add(
            "Einsum",
            g.add("Trilu", g.add("Einsum", same(g), same(g), equation="tni,sni->nts"), g.array(1)),
            same(g),
            equation="nts,sni->tni",
        ),
        lambda x: np.triu(x @ x.T, 1) @ x,
    ),
    "steps twice, then the mean of two": (
        lambda g: windowed(g, "AveragePool", kernel_shape=[2], strides=[2]),
        lambda x: x,
    ),
    "windows of which the last is not full": (
        lambda g: windowed(g, "MaxPool", kernel_shape=[3], strides=[2], ceil_mode=1),
        lambda x: np.maximum(x, [*x[1:], x[-1]]),
    ),
    "a mean over the steps that there are": (
        lambda g: windowed(g, "AveragePool", 1, kernel_shape=[3], pads=[1, 1]),
        lambda x: np.array([x[max(0, t - 1) : t + 2].mean(0) for t in range(len(x))]),
    ),
    "a mean over zeros at both ends": (
        lambda g: windowed(g, "AveragePool", 1, kernel_shape=[3], pads=[1, 1], count_include_pad=1),
        lambda x: np.array([x[max(0, t - 1) : t + 2].sum(0) / 3 for t in range(len(x))]),
    ),
}


@pytest.mark.parametrize("case", WHOLE)
def test_numbers_of_several_steps(tmp_path: Path, case: str) -> None:
    build, compute = WHOLE[case]
    graph = Graph()
    network, _ = load(write(tmp_path / "m.onnx", graph, build(graph)))
    for T in (1, 4, 7):
        x = np.random.default_rng(T).normal(size=(T, 2))
        states = rnncli.run(network, x)
        given = states.h if states.y is None else states.y
        np.testing.assert_allclose(given, compute(x), atol=1e-6)


def test_reversed_sequences_run_backward(tmp_path: Path) -> None:
    graph, plain = Graph(), Graph()
    path = write(tmp_path / "m.onnx", graph, reversed_rows(graph))
    backward = plain.recurrent("RNN", direction="reverse")
    expected, _ = load(write(tmp_path / "plain.onnx", plain, backward))
    x = np.random.default_rng(2).normal(size=(5, 2))
    np.testing.assert_array_equal(rnncli.run(load(path)[0], x).h, rnncli.run(expected, x).h)


# Whole numbers that become floats: T is no square, and no power of 2.
COUNTED: dict[str, tuple[Build, Callable[[int], float]]] = {
    "the root of a size": (lambda g: g.add("Pow", count(g, 0), number(g, 0.5)), lambda T: T**0.5),
    "a size below 1": (lambda g: g.add("Pow", count(g, 0), number(g, -1)), lambda T: 1 / T),
    "a share of a size": (
        lambda g: g.add("Div", number(g, 1), g.add("Sqrt", count(g, 0))),
        lambda T: T**-0.5,
    ),
    "a whole power": (
        lambda g: g.add("Cast", g.add("Pow", size(g, 0), number(g, 0.5)), to=1),
        lambda T: int(T**0.5),
    ),
    "a whole quotient": (
        lambda g: g.add("Cast", g.add("Div", size(g, 0), g.array([-2])), to=1),
        lambda T: -(T // 2),
    ),
    "a whole mean": (
        lambda g: g.add("Cast", g.add("ReduceMean", g.add("Shape", "x"), axes=[0]), to=1),
        lambda T: (T + 1 + 2) // 3,
    ),
}


@pytest.mark.parametrize("case", COUNTED)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_numbers_that_depend_on_the_number_of_steps(
    tmp_path: Path, case: str, precision: str
) -> None:
    build, factor = COUNTED[case]
    graph = Graph()
    output = graph.add("Mul", same(graph), build(graph))
    inputs: dict[str, Axes | None] = {"x": ("T", 1, 2)}
    network, _ = load(write(tmp_path / "m.onnx", graph, output, inputs=inputs))
    for T in (9, 1, 7, 12):
        x = np.random.default_rng(T).normal(size=(T, 2)).astype(np.float32)
        y = rnncli.run(network, x, precision=precision).y
        rtol = 1e-6 if precision == "float32" else 1e-15
        assert y is not None
        np.testing.assert_allclose(y, x.astype(float) * factor(T), rtol=rtol)


# Halves go to the even neighbour; float16 has 10 bits of a fraction, bfloat16 has 7.
ROUNDED = {
    "float16": (10, [1 + 2**-11, 1 + 3 * 2**-11, 65503, 3e-9], [1, 1 + 2**-9, 65504, 0]),
    "bfloat16": (16, [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-7, 3], [1, 1 + 2**-6, 1 + 2**-7, 3]),
}


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("whole", [False, True], ids=["rows", "whole sequences"])
def test_casts_to_fewer_digits_round(
    tmp_path: Path, name: str, precision: str, whole: bool
) -> None:
    kind, values, expected = ROUNDED[name]
    graph = Graph()
    cast = graph.add("Cast", same(graph), to=kind)
    output = graph.add("Cast", cast, to=1)
    output = graph.add("Mul", output, count(graph, 0)) if whole else graph.add("Neg", output)
    network, notes = load(write(tmp_path / "m.onnx", graph, output))
    x, y = (np.array([[each, -each] for each in column]) for column in (values, expected))
    given = rnncli.run(network, x, precision=precision).y
    np.testing.assert_array_equal(given, y * 4 if whole else -y)
    assert notes == [f"{cast} rounds to {name}; nodes above it have the precision of the run"]


def test_rows_times_the_steps_in_other_orders(tmp_path: Path) -> None:
    graph = Graph()
    rows = same(graph)
    other = graph.add("Gather", rows, graph.array([0, 2, 1]))
    output = graph.add("Mul", rows, graph.add("Mul", other, backwards(graph, rows)))
    network, _ = load(write(tmp_path / "m.onnx", graph, output, inputs={"x": (3, 1, 2)}))
    found = rnncli.run(network, np.array([[[-2, 0.5], [3, 1], [5, 7]]]))
    np.testing.assert_array_equal(found.y, [[[20, 1.75], [45, 7], [-30, 3.5]]])


def test_gates_and_peepholes_of_an_lstm(tmp_path: Path) -> None:
    """Gates are i o f c in ONNX, peepholes i o f; here they are i f g o, and i f o."""
    gates, path, graph = np.arange(1, 5, dtype="f"), tmp_path / "m.onnx", Graph()
    i_o_f_c = gates[[0, 3, 1, 2]].reshape(1, 4, 1)
    bias = np.concatenate([i_o_f_c * 100, i_o_f_c * 0], axis=1)[..., 0]
    arrays = map(graph.array, (i_o_f_c, 10 * i_o_f_c, bias))
    peepholes = graph.array(np.array([[1, 3, 2]], "f"))
    rows = graph.add("LSTM", "x", *arrays, "", "", "", peepholes, hidden_size=1)
    expected = Weights(gates[None], 10 * gates[None], 100 * gates, w_ch=gates[:3])
    found, _ = load(write(path, graph, rows, inputs={"x": ("T", "N", 1)}))
    assert content(found) == content(Network(LSTM(expected)))


def test_alphas_and_betas_go_to_the_activations_that_have_them(tmp_path: Path) -> None:
    graph = Graph()
    rows = graph.recurrent(
        "LSTM",
        direction="bidirectional",
        activations=["HardSigmoid", "Affine", "Tanh", "HardSigmoid", "Elu", "Elu"],
        activation_alpha=[0.3, 2.0, 0.4, 0.7, 0.8],
        activation_beta=[0.6, 3.0, 0.5],
    )
    network, _ = load(write(tmp_path / "m.onnx", graph, rows))
    names = ("recurrent_activation", "activation", "output_activation")
    assert [[str(c.settings[n]) for n in names] for c in network.layers[0].cells] == [
        ["hard_sigmoid:0.3,0.6", "affine:2.0,3.0", "tanh"],
        ["hard_sigmoid:0.4,0.5", "elu:0.7", "elu:0.8"],
    ]


def test_a_softmax_before_opset_13_is_over_all_axes_from_the_second(tmp_path: Path) -> None:
    graph, path = Graph(), tmp_path / "m.onnx"
    output = graph.add("Softmax", graph.rows())
    assert refusal(write(path, graph, output, opset=12)).startswith("Softmax_2: ")
    assert layers(load(write(path, graph, output, opset=13))[0]) == "LSTM 3, Pointwise 3"


# Names of nodes and tensors, which need not tell them apart.


def test_nodes_of_any_names(tmp_path: Path) -> None:
    made: list[Path] = []
    for names in (("same", None, "same"), (None, None, None)):
        graph = Graph()
        rows = graph.recurrent("RNN", "x", named=names[0])
        rows = graph.add("Squeeze", rows, graph.array([1]), named=names[1])
        rows = graph.recurrent("RNN", rows, size=3, named=names[2])
        made.append(write(tmp_path / f"{len(made)}.onnx", graph, rows))
    assert content(load(made[0])[0]) == content(load(made[1])[0])
    assert "it has same, same (2)" in refusal(made[0], layer="other")


def strided(g: Graph, batch: list[int], back: list[int]) -> str:
    """Convolve steps of x, every second one; return rows (T, N, 3)."""
    rows = g.add("Transpose", "x", perm=batch)
    conv = g.add("Conv", rows, g.draw(3, 2, 3), strides=[2], pads=[1, 1])
    return g.add("Transpose", conv, perm=back)


def test_features_that_are_known_leave_no_others(tmp_path: Path) -> None:
    """With a state beside it, an open axis of steps is none of features."""
    graph, inputs = Graph(), dict[str, Axes | None](x=("T", "N", 2), state=(1, "N", 3))
    rows = strided(graph, [1, 2, 0], [2, 0, 1])
    rows = backwards(graph, rows)
    y = f"{graph.recurrent('GRU', rows, '', '', 'state', size=3)}.1"
    network, _ = load(write(tmp_path / "m.onnx", graph, y, inputs=inputs))
    assert str(network) == "Network(whole sequences: Conv, GRU 3)"


def test_features_are_no_steps_where_others_are(tmp_path: Path) -> None:
    """A refusal above a layer that takes rows lets no other axis be taken."""
    graph, inputs = Graph(), dict[str, Axes | None](x=(2, 4, 2))
    rows = strided(graph, [0, 2, 1], [2, 0, 1])
    both = graph.add("Add", graph.rows("GRU", rows, size=3), rows)
    total = graph.add("ReduceMean", both, axes=[0])
    assert "not rows" in refusal(write(tmp_path / "m.onnx", graph, total, inputs=inputs))


def test_two_branches_look_up_the_input(tmp_path: Path) -> None:
    graph = Graph()
    branches = [graph.rows("LSTM", graph.add("Gather", graph.draw(7, 2), "x")) for _ in range(2)]
    ids, ys = np.random.RandomState(0).randint(0, 7, (3, 5, 1)).astype(np.float32), []
    for k, output in enumerate([*branches, graph.add("Add", *branches)]):
        about: dict[str, Any] = {"inputs": {"x": ("T", "N")}, "integers": ["x"]}
        path = write(tmp_path / f"{k}.onnx", graph, output, **about)
        result = rnncli.run(load(path)[0], ids)
        ys.append(result.h if result.y is None else result.y)
    np.testing.assert_allclose(ys[2], ys[0] + ys[1], atol=1e-6)


ONE_LENGTH: dict[str, Callable[[Graph, int], str]] = {
    "shape": lambda g, T: g.add("Reshape", g.rows(), g.array([T, -1, 3])),
    "values": lambda g, T: g.add("Add", g.rows(), g.array(np.ones((T, 1, 1), np.float32))),
}


@pytest.mark.parametrize("build", ONE_LENGTH.values(), ids=ONE_LENGTH)
@pytest.mark.parametrize("sizes", [range(0), range(1, 98)])
@pytest.mark.parametrize("T", [7, 11, 13, 97, 98])
def test_nodes_of_one_number_of_steps_are_refused(
    tmp_path: Path, T: int, sizes: range, build: Callable[[Graph, int], str]
) -> None:
    """They are none for any number, whichever one the graph is run over."""
    graph = Graph()
    for size in sizes:
        graph.array(np.int64(size))
    assert "LSTM_0" in refusal(write(tmp_path / "m.onnx", graph, build(graph, T)))


@pytest.mark.parametrize("T", [9, None])
@pytest.mark.parametrize("k", range(1, 5))
@pytest.mark.parametrize(("below", "above"), [(0, 0), (-1, 0), (-2, 0), (0, 1), (0, -2)])
def test_steps_that_are_taken_by_their_numbers(
    tmp_path: Path, below: int, above: int, k: int, T: int | None
) -> None:
    """Slices below and above the layer leave fewer steps, of which k may be the last one."""
    graph, whole = Graph(), Graph()

    def ends(n: int) -> tuple[int, int]:
        return max(n, 0), n if n < 0 else FAR

    rows = graph.rows("GRU", cut(graph, "x", 0, *ends(below)))
    step = graph.add("Gather", cut(graph, rows, 0, *ends(above)), graph.array(k))
    inputs: Any = {"inputs": {"x": (T or "T", "N", 2)}}
    network, _ = load(write(tmp_path / "step.onnx", graph, step, **inputs))
    alone, _ = load(write(tmp_path / "rows.onnx", whole, whole.rows("GRU")))
    for steps in [T] if T else [7, 8, 9, 14]:
        x = np.random.default_rng(steps).uniform(-1, 1, (2, steps, 2)).astype(np.float32)
        h = rnncli.run(alone, x[:, slice(*ends(below))]).h[:, slice(*ends(above))]
        y: Any = rnncli.run(network, x).y_n
        np.testing.assert_allclose(y, h[:, k].astype(float), atol=1e-6)
    with pytest.raises(ValueError, match="cannot be computed for a sequence of 1 steps"):
        rnncli.run(network, np.zeros((1, 1, 2)))


def test_each_second_step_ends_in_the_last_one_of_some_numbers(tmp_path: Path) -> None:
    graph = Graph()
    last = graph.add("Gather", cut(graph, graph.rows("GRU"), 0, 0, FAR, 2), graph.array([-1]))
    assert "gives the rows of step" in refusal(write(tmp_path / "m.onnx", graph, last))


def test_a_slice_that_leaves_all_of_few_steps(tmp_path: Path) -> None:
    """A slice from T // 40 on leaves all steps of 39, and fewer of 40."""
    graph = Graph()
    T = graph.add("Gather", graph.add("Shape", "x"), graph.array([0]))
    start = graph.add("Div", T, graph.array([40]))
    rest = graph.add("Slice", graph.rows("GRU"), start, graph.array([FAR]), graph.array([0]))
    network, _ = load(write(tmp_path / "m.onnx", graph, rest))
    rnncli.run(network, np.zeros((39, 2)))
    with pytest.raises(ValueError, match="cannot be computed for a sequence of 40 steps"):
        rnncli.run(network, np.zeros((40, 2)))


def test_a_row_of_a_table_for_the_last_step(tmp_path: Path) -> None:
    graph, whole = Graph(), Graph()
    rows, table = graph.rows("GRU"), np.arange(60, dtype=np.float32).reshape(20, 1, 3)
    T = graph.add("Gather", graph.add("Shape", "x"), graph.array([0]))
    last = graph.add("Sub", T, graph.array([1]))
    row = graph.add("Slice", graph.array(table), last, T, graph.array([0]))
    y = graph.add("Add", graph.add("Gather", rows, graph.array([-1])), row)
    network, _ = load(write(tmp_path / "m.onnx", graph, y))
    alone, _ = load(write(tmp_path / "rows.onnx", whole, whole.rows("GRU")))
    for steps in (3, 7, 14, 20):
        x = np.random.default_rng(steps).uniform(-1, 1, (2, steps, 2)).astype(np.float32)
        h: Any = rnncli.run(alone, x).h
        result: Any = rnncli.run(network, x).y_n
        np.testing.assert_allclose(result, h[:, -1] + table[steps - 1], atol=1e-5)


@pytest.mark.parametrize("op", ["Add", "Max", "PRelu"])
def test_numbers_that_differ_between_sequences(tmp_path: Path, op: str) -> None:
    graph, frozen = Graph(), dict[str, Axes | None](x=(4, 3, 2))
    weights = graph.add("Softmax", graph.rows("GRU"), axis=0)
    y = graph.add(op, weights, graph.array(-np.arange(3, dtype=np.float32)[:, None]))
    path = write(tmp_path / "m.onnx", graph, y, inputs=frozen)
    assert "makes something else of each sequence" in refusal(path)


def test_sequences_that_a_graph_was_frozen_for(tmp_path: Path) -> None:
    """Nodes of three sequences compute each sequence three times, if they compute the same."""
    graph, frozen = Graph(), dict[str, Axes | None](x=(4, 3, 2))
    weights = graph.add("Softmax", graph.rows("GRU"), axis=0)
    expected, _ = load(write(tmp_path / "open.onnx", graph, weights))
    reshaped = graph.add("Reshape", weights, graph.array([4, 3, 3]))
    network, _ = load(write(tmp_path / "m.onnx", graph, reshaped, inputs=frozen))
    x = np.random.default_rng(0).uniform(-1, 1, (5, 4, 2))
    y: Any = rnncli.run(network, x).y
    np.testing.assert_allclose(y, np.asarray(rnncli.run(expected, x).y, float), atol=1e-12)
    turned = graph.add("Transpose", reshaped, perm=[1, 0, 2])
    network, _ = load(write(tmp_path / "t.onnx", graph, turned, inputs=frozen))
    np.testing.assert_array_equal(rnncli.run(network, x).y, y)  # steps are another axis than x's


def cut_positions(g: Graph, steps: str, P: int) -> str:
    return g.add("Slice", g.draw(P, 1, 2), g.array([0]), steps, g.array([0]))


def look_positions_up(g: Graph, steps: str, P: int) -> str:
    """Look ids up that begin with 2, as those of RoBERTa do."""
    ids = g.add("Slice", g.array(np.arange(P) + 2), g.array([0]), steps, g.array([0]))
    return g.add("Gather", g.draw(P + 2, 1, 2), ids)


def count_positions(g: Graph, steps: str, P: int) -> str:
    T = g.add("Cast", g.add("Squeeze", steps), to=7)
    return g.add("Gather", g.draw(P, 1, 2), g.add("Range", g.array(0), T, g.array(1)))


@pytest.mark.parametrize("P", [8, 12, 40])
@pytest.mark.parametrize("add_positions", [cut_positions, look_positions_up, count_positions])
def test_tables_of_positions(
    tmp_path: Path, P: int, add_positions: Callable[[Graph, str, int], str]
) -> None:
    """The graph runs over at most P steps."""
    graph = Graph()
    steps = graph.add("Gather", graph.add("Shape", "x"), graph.array([0]))
    x = graph.add("Add", "x", add_positions(graph, steps, P))
    network, _ = load(write(tmp_path / "m.onnx", graph, graph.rows("LSTM", x)))
    zeros = np.zeros((2, P, 2), np.float32)
    states = rnncli.run(network, zeros).h
    np.testing.assert_array_equal(rnncli.run(network, zeros[:, :3]).h, states[:, :3])
    assert np.ptp(states) > 0.1
    with pytest.raises(ValueError, match=f"for a sequence of {P + 1} steps"):
        rnncli.run(network, np.zeros((2, P + 1, 2), np.float32))
