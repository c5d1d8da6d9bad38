"""Names of nodes and tensors in ONNX graphs, which need not tell them apart."""

from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import Axes, Graph
from test_onnx_graph import load, refusal

from rnncli.model.formats.containers.protobuf import message


@pytest.mark.parametrize("named", ["", "same"])
def test_nodes_of_one_name_are_told_apart_by_their_outputs(named: str, tmp_path: Path) -> None:
    graph, like = Graph(), Graph()
    rows = graph.recurrent("RNN", "x", graph.draw(1, 6), named=named)
    rows = graph.add("Squeeze", rows, graph.array([1]))
    rows = graph.recurrent("RNN", rows, graph.draw(1, 6), size=3, named=named)
    below = like.add("Squeeze", like.recurrent("RNN", "x", like.draw(1, 6)), like.array([1]))
    above = like.recurrent("RNN", below, like.draw(1, 6), size=3)
    networks = [load(tmp_path, each).network for each in (graph.model(rows), like.model(above))]
    for one, other in zip(*(network.layers for network in networks), strict=True):
        arrays = (layer.cells[0].weights.arrays for layer in (one, other))
        for array, expected in zip(*(each.values() for each in arrays), strict=True):
            np.testing.assert_array_equal(array, expected)
    assert refusal(tmp_path, graph.model(rows), "other") == (
        "has no layer other; it has RNN_0, RNN_2"
    )


def cells_of(tmp_path: Path, data: bytes) -> list[list[list[float]]]:
    """Return what the cell of each layer multiplies its rows by."""
    layers = load(tmp_path, data).network.layers
    return [layer.cells[0].weights.arrays["W_xh"].tolist() for layer in layers]


def test_a_node_whose_name_is_another_name_with_its_number(tmp_path: Path) -> None:
    graph, like = (Graph() for _ in range(2))
    for each, names in ((graph, ("RNN_2 (2)", "RNN_2", "")), (like, (None, None, None))):
        rows = each.recurrent("RNN", "x", size=3, named=names[0])
        rows = each.add("Squeeze", rows, each.array([1]), named=names[1])
        each.recurrent("RNN", rows, size=3, named=names[2])
    inputs: dict[str, Axes | None] = {"x": ("T", "N", 3)}
    found, expected = (
        cells_of(tmp_path, each.model("RNN_2", inputs=inputs)) for each in (graph, like)
    )
    assert found == expected


def test_a_tensor_that_has_the_name_of_what_is_computed(tmp_path: Path) -> None:
    graph = Graph()
    output = graph.recurrent("RNN")
    graph.tensors.append(message((1, 1), (2, 1), (8, "RNN_0: R[0]"), (9, bytes(4))))
    assert refusal(tmp_path, graph.model(output)) == (
        "damaged: RNN_0: R[0] is the name of a tensor, and of what is computed of one"
    )
