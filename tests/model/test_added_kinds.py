"""Cells and layers that somebody adds: a file has the same numbers, or is not written."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import rnncli
from rnncli import GRU, LSTM, RNN, Dense, Embedding, Masking, Network, Recurrent, Weights
from rnncli.model.activations import SIGMOID, TANH
from rnncli.model.cells import CELLS, Cell, Numbers
from rnncli.model.errors import InputError
from rnncli.model.formats.load import WRITTEN
from rnncli.model.layers import LAYERS, Stateless

RANDOM = np.random.RandomState(5)


class MinimalUnit(Cell):
    """``f, n = sums; h_t = (1 - sigmoid(f)) h_{t-1} + sigmoid(f) tanh(n)``: half of its scale."""

    gates = 2
    gate_names = ("f", "n")
    setting_names = ("scale",)

    def __init__(self, weights: Weights, scale: float = 1.0) -> None:
        self.weights, self.scale = weights, float(scale)

    def step(self, n: Numbers, sums: Sequence[Any], *state: Any) -> tuple[Any, ...]:
        f = n.apply(SIGMOID, sums[0])
        scale = np.full(self.hidden_size, self.scale, self.weights.b_h.dtype)
        return (n.mix(f, n.apply(TANH, sums[1]) * n.weight(scale, "scale"), state[0]),)


class TwoFactors(MinimalUnit):
    """As many gates as `MinimalUnit` has, and other numbers."""

    def step(self, n: Numbers, sums: Sequence[Any], *state: Any) -> tuple[Any, ...]:
        return super().step(n, sums[::-1], *state)


class FlippedLSTM(LSTM):
    """Weights and settings of an LSTM, and other numbers."""

    def step(self, n: Numbers, sums: Sequence[Any], *state: Any) -> tuple[Any, ...]:
        return super().step(n, [-each for each in sums], *state)

    get_step = Cell.get_step


class Scale(Stateless):
    """``y = factor x / sqrt(mean(x^2) + epsilon)``."""

    array_names: ClassVar[tuple[str, ...]] = ("factor",)

    def __init__(self, factor: Any, epsilon: float = 1e-6) -> None:
        self.factor, self.epsilon = np.asarray(factor), epsilon
        self.input_size = self.output_size = len(self.factor)
        self.settings = {"epsilon": epsilon}

    def __call__(self, x: Any, multiply: Any = np.matmul) -> Any:  # noqa: ARG002
        return self.factor * x / np.sqrt((x * x).mean(-1, keepdims=True) + self.epsilon)


class Gain(Stateless):
    """``y = gain x``, an array of a name of its own."""

    array_names = ("gain",)

    def __init__(self, gain: Any) -> None:
        self.gain = np.asarray(gain)
        self.input_size = self.output_size = len(self.gain)

    def __call__(self, x: Any, multiply: Any = np.matmul) -> Any:  # noqa: ARG002
        return x * self.gain


class DoubleDense(Dense):
    """Arrays and settings of a dense layer, and other numbers."""

    def __call__(self, x: Any, multiply: Any = np.matmul) -> Any:
        return 2 * super().__call__(x, multiply)


class Difference(Recurrent):
    """A layer of two directions that merges them by a way of its own."""

    def merged(self, outputs: Any) -> Any:
        return np.concatenate([outputs[0], -outputs[1]], axis=-1)


CELLS_ADDED = {"minimal": MinimalUnit, "two_factors": TwoFactors, "flipped": FlippedLSTM}
LAYERS_ADDED: dict[str, type[Stateless]] = {"scale": Scale, "gain": Gain, "double": DoubleDense}


def draw(*shape: int) -> Any:
    return RANDOM.normal(0, 0.5, shape).astype("f")


def cell(kind: Callable[..., Cell], gates: int, I: int = 2, **settings: Any) -> Cell:
    return kind(Weights(draw(I, gates * 3), draw(3, gates * 3), draw(gates * 3)), **settings)


NETWORKS: dict[str, Callable[[], Network]] = {
    "cell": lambda: Network(cell(MinimalUnit, 2, scale=0.5)),
    "cells": lambda: Network(cell(TwoFactors, 2), cell(MinimalUnit, 2, I=3), Dense(draw(3, 2))),
    "both ways": lambda: Network(
        Recurrent(cell(MinimalUnit, 2), cell(MinimalUnit, 2), direction="bidirectional")
    ),
    "kinds": lambda: Network(cell(RNN, 1), cell(TwoFactors, 2, I=3), cell(GRU, 3, I=3)),
    "subclass of a cell": lambda: Network(cell(FlippedLSTM, 4)),
    "layer": lambda: Network(cell(LSTM, 4), Scale(draw(3))),
    "layer below": lambda: Network(Gain(draw(2)), cell(LSTM, 4)),
    "layer above a head": lambda: Network(cell(LSTM, 4), Dense(draw(3, 2)), Gain(draw(2))),
    "subclass of a layer": lambda: Network(cell(LSTM, 4), DoubleDense(draw(3, 2))),
    "subclass of a recurrent layer": lambda: Network(
        Difference(cell(RNN, 1), cell(RNN, 1), direction="bidirectional")
    ),
    "front": lambda: Network(cell(RNN, 1, I=3), front=[Dense(draw(2, 3))]),
    "masking": lambda: Network(Masking(0.0, 2), cell(MinimalUnit, 2)),
}
# Formats that have the network; the others refuse it.
WRITTEN_BY = {
    "subclass of a recurrent layer": (),
    "front": (),
    **dict.fromkeys(["cell", "cells", "both ways", "kinds", "masking"], (".npz",)),
    **dict.fromkeys(["subclass of a cell", "layer", "layer below"], (".npz",)),
    **dict.fromkeys(["layer above a head", "subclass of a layer"], (".npz",)),
}


@pytest.mark.parametrize("extension", WRITTEN)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_has_the_same_numbers_or_is_refused(
    name: str, extension: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for table, added in ((CELLS, CELLS_ADDED), (LAYERS, LAYERS_ADDED)):
        for kind, made in added.items():
            monkeypatch.setitem(table, kind, made)
    network, path = NETWORKS[name](), tmp_path / f"model{extension}"
    if extension not in WRITTEN_BY[name]:
        with pytest.raises(ValueError, match=r"cannot be saved|write [.]npz"):
            rnncli.save(network, path)
        assert not path.exists()
        return
    rnncli.save(network, path)
    x = RANDOM.normal(size=(2, 7, 2)).astype("f")
    x[:, 2:4] = 0
    right, again = (rnncli.run(each, x) for each in (network, rnncli.load(path)))
    for one, other in zip(right, again, strict=True):
        np.testing.assert_array_equal(one, other)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"which this version does not know|expected"):
        rnncli.load(path)


def test_a_network_does_not_change_its_layers() -> None:
    from rnncli.model.contents import make_network

    class Every(Stateless):
        takes_sequences = shortens = True
        input_size = output_size = 1

    merged = Embedding(draw(4, 2))
    merged.sources = (1,)
    layers = [Every(), merged]
    for _ in range(2):
        assert make_network("", layers, None).layers[0].sources == (0,)
    assert merged.sources == (1,)
