"""Shapes and values of weights, checked where a network is made."""

from collections.abc import Callable

import numpy as np
import pytest

from rnncli import RNN, Network, Recurrent, Weights, activation, seeded
from rnncli.model.cells import weight_shapes
from rnncli.model.layers import Architecture

GOOD = Weights(np.ones((2, 3)), np.ones((3, 3)), np.ones(3))


def test_sizes() -> None:
    network = Network(GOOD)
    assert (network.input_size, network.output_size, network.state_size) == (2, 3, 3)
    assert sum(array.size for array in GOOD[:3]) == Architecture(2, (3,)).weight_count()
    assert {name: np.shape(getattr(GOOD, name)) for name in GOOD.arrays} == weight_shapes(2, 3)


def test_lists_and_integers_become_floats() -> None:
    network = Network(Weights([[1, 2]], [[1, 2], [3, 4]], [0, 0]))  # type: ignore[arg-type]
    assert [array.dtype for array in network.layers[0].cells[0].weights[:3]] == [np.float64] * 3


def test_transposed_views_become_contiguous() -> None:
    weights = GOOD._replace(W_xh=np.ones((3, 2)).T)
    assert Network(weights).layers[0].cells[0].weights.W_xh.flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("W_xh", np.ones(3), r"W_xh: expected shape \(I, H\), got \(3,\)"),
        ("W_xh", np.ones((0, 3)), "input_size: expected at least 1, got 0"),
        ("W_hh", np.ones((3, 2)), r"W_hh: expected shape \(3, 3\)"),
        ("b_h", np.ones((1, 3)), r"b_h: expected shape \(3,\)"),
        ("b_h", [1, 2, np.nan], "b_h: holds a value that is not finite"),
        ("W_hh", np.full((3, 3), "a"), "W_hh: expected numbers, got an array of <U1"),
    ],
)
def test_bad_weights(name: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Network(GOOD._replace(**{name: value}))


def cell(input_size: int, hidden_size: int) -> Weights:
    return Weights(*map(np.ones, weight_shapes(input_size, hidden_size).values()))


NETWORKS: list[tuple[Callable[[], object], str]] = [
    (lambda: Network(), "a network has at least one layer"),
    (lambda: Network(cell(2, 3), cell(4, 3)), "layer 2: W_xh: expected 3 rows"),
    (
        lambda: Network(Recurrent(cell(2, 3), cell(2, 3), direction="bidirectional"), cell(3, 3)),
        "layer 2: W_xh: expected 6 rows",
    ),
    (
        lambda: Recurrent(cell(2, 3), direction="bidirectional"),
        "a bidirectional layer has 2 cells, got 1",
    ),
    (
        lambda: Recurrent(cell(2, 3), cell(2, 4), direction="bidirectional"),
        r"W_xh: expected shape \(2, 3\) backward too",
    ),
    (lambda: Recurrent(cell(2, 3), direction="up"), "direction: expected one of"),
    (lambda: Recurrent(cell(2, 3), merge="max"), "merge: expected one of"),
    (lambda: Recurrent(RNN(cell(2, 3), clip=0)), "clip: expected a number over 0"),
]


@pytest.mark.parametrize(("make", "message"), NETWORKS)
def test_bad_networks(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


@pytest.mark.parametrize("init", ["tensorflow", "keras", "torch"])
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_what_is_drawn_is_the_architecture(init: str, direction: str, merge: str) -> None:
    sizes = (3,) if init == "torch" else (3, 4)
    options = {"direction": direction, "merge": merge}
    network = seeded(2, sizes, init=init, activation="relu", clip=0.5, **options)  # type: ignore[arg-type]
    architecture = Architecture(2, sizes, direction, merge)
    cells = [cell for layer in network.layers for cell in layer.cells]
    drawn = [layer for layer in network.layers if isinstance(layer, Recurrent)]
    assert architecture.sizes() == [
        [(layer.input_size, layer.hidden_size, False)] * len(layer.cells) for layer in drawn
    ]
    assert {layer.directions for layer in network.layers} == {architecture.directions}
    assert [layer.settings for layer in network.layers] == [options] * len(sizes)
    expected = {"activation": activation("relu"), "clip": 0.5}
    assert [cell.settings for cell in cells] == [expected] * len(cells)
    numbers = sum(array.size for cell in cells for array in cell.weights[:3])
    assert numbers == architecture.weight_count()
    places = [places[0] for layer in network.state_slices for places in layer]
    assert [place.start for place in places] == [0, *(place.stop for place in places[:-1])]
    assert places[-1].stop == network.state_size
