"""ONNX graphs: what is refused, and how the message names it.

What is run is compared with ONNX Runtime in ``tests/peers``, and with what
the kept models give.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import Axes, Graph

from rnncli.model.cells import GRU, LSTM
from rnncli.model.errors import InputError
from rnncli.model.formats import Loaded, load_network, opened
from rnncli.model.formats.containers.protobuf import message
from rnncli.model.layers import Pointwise, Recurrent

Build = Callable[[Graph], str]
FAR = 2**31 - 1


def load(tmp_path: Path, data: bytes, layer: str | None = None) -> Loaded:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    return load_network(path, layer)


def refusal(tmp_path: Path, data: bytes, layer: str | None = None) -> str:
    with pytest.raises(InputError, match=r"\A.+\Z") as caught:
        load(tmp_path, data, layer)
    return str(caught.value).removeprefix(f"{tmp_path}/m.onnx: ")


def both(graph: Graph, op: str = "LSTM") -> str:
    """Add a node of both directions; return its rows, (T, 2, N, 3)."""
    return graph.recurrent(op, direction="bidirectional")


def took(graph: Graph, rows: str, axis: int, *places: int) -> str:
    """Slice an axis: from the first place to the second, by the third."""
    lists = [graph.array([place]) for place in (*places[:2], axis, *places[2:])]
    return graph.add("Slice", rows, *lists)


def halves(graph: Graph) -> list[str]:
    """Add a node of both directions; return the rows of each, (T, N, 3)."""
    rows = both(graph)
    return [graph.add("Gather", rows, graph.array(place), axis=1) for place in (0, 1)]


def crossed(graph: Graph) -> list[str]:
    """Add a forward node along an axis of x and a backward one along the other."""
    turned = graph.add("Transpose", "x", perm=[1, 0, 2])
    ways = {"x": "forward", turned: "reverse"}
    return [graph.recurrent("GRU", rows, direction=way) for rows, way in ways.items()]


def layered(graph: Graph) -> str:
    """Add two nodes of both directions; return their states, (2, 2, N, 3)."""
    states = graph.add("Concat", *(f"{both(graph, 'GRU')}.1" for _ in range(2)), axis=0)
    return graph.add("Reshape", states, graph.array([2, 2, -1, 3]))


NODES: list[tuple[str, Build]] = [
    ("LSTM_0: attribute projection is not read", lambda g: g.rows(projection=3)),
    ("LSTM_0: input_forget (a forget gate of 1 - i)", lambda g: g.rows(input_forget=1)),
    ("LSTM_0: there is no direction up", lambda g: g.rows(direction="up")),
    (
        "GRU_0: there is no activation Swish",
        lambda g: g.rows("GRU", activations=["Sigmoid", "Swish"]),
    ),
    (
        "RNN_0: activation ThresholdedRelu without",
        lambda g: g.rows("RNN", activations=["ThresholdedRelu"]),
    ),
    ("LSTM_0: clip: expected a number over 0, got", lambda g: g.rows(clip=-1.0)),
    ("LSTM_0: attribute hidden_size: expected int", lambda g: g.rows(hidden_size=3.0)),
    (
        "GRU_0: R: expected shape (1, 9, 3), got (1",
        lambda g: g.add("GRU", "x", g.draw(1, 9, 2), g.draw(1, 12, 3)),
    ),
    (
        "RNN_0: B: expected shape (1, 6), got (1, 3)",
        lambda g: g.recurrent("RNN", "x", g.draw(1, 3)),
    ),
    (
        "RNN_0: input 2: expected a constant, got what",
        lambda g: g.add("RNN", "x", "x", g.draw(1, 3, 3)),
    ),
    (
        "RNN_0: input sequence_lens is a constant",
        lambda g: g.recurrent("RNN", "x", "", g.array(np.array([1, 2], np.int32))),
    ),
    (
        "RNN_1: input sequence_lens is computed in the",
        lambda g: g.recurrent("RNN", "x", "", g.add("Relu", "x")),
    ),
    (
        "RNN_0: input initial_h is a constant other",
        lambda g: g.recurrent("RNN", "x", "", "", g.draw(1, 1, 3)),
    ),
    (
        "GRU_1: input initial_h is computed in the",
        lambda g: g.recurrent("GRU", "x", "", "", f"{g.recurrent('GRU')}.1"),
    ),
    (
        "GRU_1: input initial_h is computed in the",
        lambda g: g.recurrent("GRU", "x", "", "", g.add("Transpose", "x", perm=[1, 0, 2])),
    ),
    (
        "GRU_1: takes the steps from the last to the",
        lambda g: g.recurrent("GRU", took(g, "x", 0, -1, -FAR, -1), direction="bidirectional"),
    ),
    (
        "GRU_1: takes what stands in the wrong order",
        lambda g: g.recurrent("GRU", took(g, "x", 1, -1, -FAR, -1)),
    ),
    (
        "GRU_3: takes other axes for steps, sequences",
        lambda g: g.recurrent("GRU", g.add("Transpose", g.rows(), perm=[1, 0, 2]), size=3),
    ),
    (
        "GRU_1: expected three axes, got 2",
        lambda g: g.recurrent("GRU", g.add("Flatten", "x", axis=2)),
    ),
    (
        "GRU_1: takes one row a sequence of the layer",
        lambda g: g.recurrent("GRU", f"{g.recurrent('GRU')}.1", size=3),
    ),
]
AXES: list[tuple[str, Build]] = [
    ("Gather_2: takes place 2 of an axis", lambda g: g.add("Gather", g.rows(), g.array(2))),
    ("Slice_2: takes some places of an axis", lambda g: took(g, g.rows(), 1, 0, 2)),
    (
        "Gather_2: takes one place of an axis that is",
        lambda g: g.add("Gather", g.rows(), g.array(-1), axis=1),
    ),
    (
        "Unsqueeze_3: input 2: expected a list of whole",
        lambda g: g.add("Unsqueeze", g.rows(), g.add("Shape", "x")),
    ),
    ("Gather_2: takes several places", lambda g: g.add("Gather", g.rows(), g.array([0, -1]))),
    (
        "Gather_4: takes several places of an axis",
        lambda g: g.add("Gather", g.rows(), g.add("ConstantOfShape", g.add("Shape", "x", end=1))),
    ),
    ("Slice_2: gives its rows from the last step to", lambda g: took(g, g.rows(), 0, -1, -FAR, -1)),
    (
        "Reshape_1: makes one axis of features and",
        lambda g: g.add("Reshape", both(g), g.array([0, 0, -1])),
    ),
    (
        "Reshape_2: divides sizes that are not known",
        lambda g: g.add("Reshape", g.rows(), g.array([-1, 2])),
    ),
    (
        "Flatten_3: makes one axis of features and",
        lambda g: g.add("Flatten", g.add("Transpose", g.rows(), perm=[1, 0, 2]), axis=1),
    ),
    (
        "Transpose_2: Transpose: no order of 3 axes",
        lambda g: g.add("Transpose", g.rows(), perm=[0, 0, 1]),
    ),
    (
        "Squeeze_2: drops axis 1, which is not known to",
        lambda g: g.add("Squeeze", g.rows(), g.array([1])),
    ),
    (
        "Squeeze_2: drops all axes of size 1, where not",
        lambda g: g.add("Relu", g.add("Squeeze", g.rows())),
    ),
    (
        "Concat_3: brings together what is not the two",
        lambda g: g.add("Concat", *halves(g)[::-1], axis=2),
    ),
    (
        "Concat_4: joins what is not the two directions",
        lambda g: g.add("Concat", g.rows(), g.rows(), axis=0),
    ),
    ("Concat_3: brings together two paths that do", lambda g: g.add("Concat", *crossed(g), axis=3)),
    (
        "Concat_5: brings together rows of different",
        lambda g: g.add(
            "Concat",
            *(
                g.add("Gather", half, g.array(k))
                for half, k in zip(halves(g), (0, -1), strict=True)
            ),
            axis=1,
        ),
    ),
    ("Relu_1: takes two directions before they are", lambda g: g.add("Relu", both(g))),
    (
        "Concat_1: takes 80 directions",
        lambda g: g.add("Concat", *[f"{both(g, 'GRU')}.1"] * 40, axis=0),
    ),
    (
        "Concat_3: gives the states of several layers",
        lambda g: g.add("Concat", *(f"{g.recurrent('GRU')}.1" for _ in range(3)), axis=0),
    ),
    (
        "Gather_4: takes directions of several layers",
        lambda g: g.add("Gather", layered(g), g.array(0), axis=1),
    ),
    (
        "Relu_2: gives the cell state",
        lambda g: g.add("Relu", g.add("Squeeze", f"{g.recurrent()}.2", g.array([0]))),
    ),
]
WHOLE: list[tuple[str, Build]] = [
    (
        "FusedMatMul_2: operator com.microsoft FusedMatMul",
        lambda g: g.add("FusedMatMul", g.rows(), g.draw(3, 2), domain="com.microsoft"),
    ),
    (
        "DynamicQuantizeLSTM_0: operator com.microsoft",
        lambda g: g.add("DynamicQuantizeLSTM", "x", domain="com.microsoft"),
    ),
    (
        "If_2: operator If has a graph of its own, and is",
        lambda g: g.add("If", g.rows(), then_branch=b"", else_branch=b""),
    ),
    (
        "expected a node RNN, LSTM or GRU, got MatMul_0",
        lambda g: g.add("Relu", g.add("MatMul", "x", g.draw(2, 3))),
    ),
    (
        "Loop_0: runs its steps in a Loop, which does not",
        lambda g: g.add("Loop", "", "", "x", body=b""),
    ),
]


@pytest.mark.parametrize(("why", "build"), [*NODES, *AXES, *WHOLE])
def test_refused(why: str, build: Build, tmp_path: Path) -> None:
    graph = Graph()
    output = build(graph)
    assert why in refusal(tmp_path, graph.model(output))


def test_parts_are_listed_though_one_cannot_be_run(tmp_path: Path) -> None:
    graph = Graph()
    below = graph.add("Conv", "x", graph.draw(2, 2, 1))
    rows = graph.rows(rows=below)
    other = graph.add("Relu", graph.recurrent("GRU"))
    path = tmp_path / "m.onnx"
    path.write_bytes(graph.model(rows, other))
    with opened(str(path)) as (model, _):
        named = [(part.name, part.kind, part.needed) for part in model.parts]
    assert named == [("Conv_0", "Conv", True), ("LSTM_1", "LSTM", False), ("GRU_3", "GRU", False)]
    assert list(model.parts[0].tensors) == ["tensor_0"]
    assert refusal(tmp_path, path.read_bytes()) == (
        "Conv_0: operator Conv is not read; pick one with `layer` NAME: LSTM_1, GRU_3"
    )
    for name, cell in (("LSTM_1", LSTM), ("GRU_3", GRU)):
        (layer,) = load(tmp_path, path.read_bytes(), name).network.layers
        assert isinstance(layer.cells[0], cell)


@pytest.mark.parametrize("op", ["Expand", "ConstantOfShape"])
def test_zeros_of_a_shape_of_which_nothing_is_known(op: str, tmp_path: Path) -> None:
    """As PyTorch's exporter has the initial states of a layer above a convolution."""
    graph = Graph()
    below = graph.add("Conv", "x", graph.draw(2, 2, 1))
    size = graph.add("Gather", graph.add("Shape", below), graph.array([1]))
    shape = graph.add("Concat", graph.array([1]), size, graph.array([3]), axis=0)
    filled = (graph.array(np.zeros((1, 1, 3), np.float32)), shape)[op == "ConstantOfShape" :]
    top = graph.recurrent("RNN", below, "", "", graph.add(op, *filled))
    assert len(load(tmp_path, graph.model(top), top).network.layers) == 1
    moved = graph.recurrent("RNN", below, "", "", graph.add("Expand", graph.draw(1, 1, 3), shape))
    assert refusal(tmp_path, graph.model(moved), moved).startswith(
        f"{moved}: input initial_h is computed in the graph"
    )


def test_a_recurrent_node_beside_the_way_to_the_output_is_passed_over(tmp_path: Path) -> None:
    graph = Graph()
    rows, _ = graph.rows(), graph.rows("GRU")
    path = tmp_path / "m.onnx"
    path.write_bytes(graph.model(rows))
    with opened(str(path)) as (model, _digest):
        aside = model.parts[1]
    assert (aside.name, aside.why, aside.layers) == ("GRU_2", "is not on the way to the output", ())
    assert len(load(tmp_path, path.read_bytes()).network.layers) == 1
    (layer,) = load(tmp_path, path.read_bytes(), "GRU_2").network.layers
    assert isinstance(layer.cells[0], GRU)


@pytest.mark.parametrize(
    ("producer", "hint"),
    [
        ("pytorch", "export it with torch.onnx.export(..., dynamo=False)"),
        ("", "export it with nodes RNN, LSTM or GRU"),
    ],
)
def test_steps_that_are_nodes_of_their_own(producer: str, hint: str, tmp_path: Path) -> None:
    graph = Graph()
    W, state = graph.draw(2, 2), graph.draw(2)
    for step in range(3):
        row = graph.add("Gather", "x", graph.array(step))
        state = graph.add("Tanh", graph.add("Add", row, graph.add("MatMul", state, W)))
    assert refusal(tmp_path, graph.model(state, producer=producer)) == (
        "MatMul_1: is a step of a recurrent layer, each of which has nodes of its own; " + hint
    )


def test_what_is_said_of_inputs_that_the_graph_takes(tmp_path: Path) -> None:
    graph = Graph()
    h, c = (graph.add("Unsqueeze", name, graph.array([0])) for name in ("h", "c"))
    rows = graph.recurrent("LSTM", "rich", "", "lengths", h, c)
    inputs: dict[str, Axes | None] = {
        "rich": ("T", "N", 2),
        "lengths": ("N",),
        "h": ("N", 3),
        "c": ("N", 3),
    }
    assert load(tmp_path, graph.model(rows, inputs=inputs)).assumptions == [
        "LSTM_2 takes lengths of sequences from lengths: each sequence is run as long as it is",
        "LSTM_2 takes initial_h from h: `h0` gives it, zeros else",
        "LSTM_2 takes initial_c from c: `c0` gives it, zeros else",
    ]


def test_what_is_said_of_values_that_are_rounded(tmp_path: Path) -> None:
    graph = Graph()
    output = graph.add("Cast", graph.add("Cast", graph.rows(), to=10), to=1)
    notes = load(tmp_path, graph.model(output)).assumptions
    assert notes == ["Cast_2 rounds to float16, which is not done here"]


@pytest.mark.parametrize(("producer", "said"), [("pytorch", 1), ("", 0)])
def test_a_gru_of_pytorch_that_resets_before(producer: str, said: int, tmp_path: Path) -> None:
    graph = Graph()
    found = load(tmp_path, graph.model(graph.rows("GRU"), producer=producer))
    assert found.network.layers[0].cells[0].settings["reset"] == "before"
    mistake = (
        "GRU_0 resets before the product, which no GRU of PyTorch does: exporters of PyTorch 2.10 "
        "to 2.12 wrote so by mistake"
    )
    assert found.assumptions == [mistake] * said


def test_of_several_outputs_the_first_is_run(tmp_path: Path) -> None:
    graph = Graph()
    rows = graph.rows()
    head = graph.add("Tanh", rows)
    found = load(tmp_path, graph.model("LSTM_0.1", head, rows, "LSTM_0.2"))
    assert [type(layer) for layer in found.network.layers] == [Recurrent, Pointwise]
    assert found.assumptions == [f"gives {head}, and passes over {rows}"]
    states = load(tmp_path, graph.model("LSTM_0.1", "LSTM_0.2"))
    assert states.network.last == "state"


def test_an_old_opset(tmp_path: Path) -> None:
    graph = Graph()
    assert refusal(tmp_path, graph.model(graph.rows(), opset=6)) == (
        "expected operators of opset 7 or later, got 6; convert it with onnx.version_converter"
    )


def test_an_operator_that_the_model_defines(tmp_path: Path) -> None:
    graph = Graph()
    output = graph.add("Relu", graph.rows())
    data = graph.model(output) + message((25, message((1, "Relu"))))
    assert "Relu_2: operator Relu is defined by the model" in refusal(tmp_path, data)


def test_an_input_without_a_shape(tmp_path: Path) -> None:
    graph = Graph()
    rows = graph.rows()
    assert "x: an input of which" in refusal(tmp_path, graph.model(rows, inputs={"x": None}))


@pytest.mark.parametrize(
    ("direction", "place", "last"),
    [("forward", -1, "state"), ("reverse", -1, "step"), ("reverse", 0, "state")],
)
def test_the_last_row_a_direction_takes_is_its_state(
    direction: str, place: int, last: str, tmp_path: Path
) -> None:
    graph = Graph()
    output = graph.add("Gather", graph.rows(direction=direction), graph.array(place))
    assert load(tmp_path, graph.model(output)).network.last == last
