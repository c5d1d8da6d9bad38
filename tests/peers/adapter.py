"""Keras's recurrent layers, as Keras's own tests call them, computed by rnncli.

Only what those tests ask for: arguments that are not here are errors. Keras
does no more than draw the weights, which its initializers are asked for.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

import rnncli
from rnncli.engine.rows import Rows
from rnncli.engine.stream import Carried, stream
from rnncli.model import cells
from rnncli.model.cells import Cell, Weights
from rnncli.model.layers import MERGES, Recurrent
from rnncli.model.network import Network

Array: TypeAlias = NDArray[np.floating]
Mask: TypeAlias = NDArray[np.bool_]
Initializer: TypeAlias = Callable[[tuple[int, ...]], ArrayLike]

FLAGS = ("go_backwards", "return_sequences", "return_state", "stateful", "zero_output_for_mask")
HOW = ("unroll", "implementation")  # Keras computes, not what


class Output(NDArray[np.float32]):
    """States that rnncli computed, and whatever is cut out of them."""


class Layer:
    """A recurrent layer: its last h, or in the order of processing all of them."""

    gates = 1

    def __init__(self, units: int, **config: Any) -> None:
        self.units = units
        self.config = {"units": units, **config}
        left = {name: given for name, given in config.items() if name not in HOW}
        self.initializers: list[Initializer] = [
            left.pop(f"{name}_initializer") for name in ("kernel", "recurrent", "bias")
        ]
        self.use_bias = left.pop("use_bias", True)
        self.options = SimpleNamespace(**{flag: left.pop(flag, False) for flag in FLAGS})
        left = self.take(left)
        assert not left, f"arguments that the adapter does not know: {left}"
        self.states: list[Array] | None = None

    def take(self, left: dict[str, Any]) -> dict[str, Any]:
        """Take the arguments of this kind of layer, and return those left."""
        return left

    def get_config(self) -> dict[str, Any]:
        return dict(self.config)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Layer":
        return cls(**config)

    def __call__(
        self, sequence: Array, initial_state: Any = None, mask: Mask | None = None
    ) -> Output | list[Output]:
        options = self.options
        direction = "backward" if options.go_backwards else "forward"
        network = Network(Recurrent(self.cell(sequence.shape[-1]), direction=direction))
        h, finals = run(network, sequence, initial_state, mask, self.states)
        if options.stateful:
            self.states = finals
        output = finals[0]
        if options.return_sequences:
            if options.zero_output_for_mask and mask is not None:
                h[~mask] = 0
            output = h[:, ::-1] if options.go_backwards else h
        return with_states(output, finals) if options.return_state else output.view(Output)

    def reset_state(self) -> None:
        self.states = None

    def cell(self, input_size: int) -> Cell:
        raise NotImplementedError

    def kernels(self, input_size: int) -> tuple[Array, Array]:
        width = self.gates * self.units
        return self.drawn(0, (input_size, width)), self.drawn(1, (self.units, width))

    def bias(self, *shape: int) -> Array:
        return self.drawn(2, shape) if self.use_bias else np.zeros(shape, np.float32)

    def drawn(self, number: int, shape: tuple[int, ...]) -> Array:
        return np.asarray(self.initializers[number](shape))


class SimpleRNN(Layer):
    """``keras.layers.SimpleRNN``."""

    def cell(self, input_size: int) -> Cell:
        return cells.RNN(Weights(*self.kernels(input_size), self.bias(self.units)))


class LSTM(Layer):
    """``keras.layers.LSTM``."""

    gates = 4

    def take(self, left: dict[str, Any]) -> dict[str, Any]:
        self.unit_forget_bias = left.pop("unit_forget_bias", True)
        return left

    def cell(self, input_size: int) -> Cell:
        b_h = self.bias(4 * self.units)
        if self.use_bias and self.unit_forget_bias:
            b_h = np.copy(b_h)
            b_h[self.units : 2 * self.units] = 1
        return cells.LSTM(Weights(*self.kernels(input_size), b_h))


class GRU(Layer):
    """``keras.layers.GRU``."""

    gates = 3

    def take(self, left: dict[str, Any]) -> dict[str, Any]:
        self.reset_after = left.pop("reset_after", True)
        return left

    def cell(self, input_size: int) -> Cell:
        W_xh, W_hh = self.kernels(input_size)
        if not self.reset_after:
            return cells.GRU(Weights(W_xh, W_hh, self.bias(3 * self.units)), reset="before")
        of_input, of_state = self.bias(2, 3 * self.units)
        gates, b_n = np.split(of_state, [2 * self.units])
        b_h = of_input + np.concatenate([gates, np.zeros_like(b_n)])
        return cells.GRU(Weights(W_xh, W_hh, b_h, b_n))


class Bidirectional:
    """``keras.layers.Bidirectional`` around one of these layers."""

    def __init__(
        self,
        layer: Layer,
        *,
        merge_mode: str | None = "concat",
        backward_layer: Layer | None = None,
    ) -> None:
        self.layers = [layer, backward_layer or layer]
        self.merge_mode, self.options = merge_mode, layer.options
        self.states: list[Array] | None = None
        assert not layer.options.go_backwards
        assert backward_layer is None or backward_layer.options.go_backwards

    def __call__(
        self, sequence: Array, initial_state: Any = None, mask: Mask | None = None
    ) -> Output | list[Output]:
        both = [layer.cell(sequence.shape[-1]) for layer in self.layers]
        merge = self.merge_mode or "concat"
        network = Network(Recurrent(*both, direction="bidirectional", merge=merge))
        h, finals = run(network, sequence, initial_state, mask, self.states)
        ends = finals[0], finals[len(finals) // 2]
        if self.options.stateful:
            self.states = finals
        if self.merge_mode is None:
            return [end.view(Output) for end in ends]
        output = h if self.options.return_sequences else MERGES[merge](*ends)
        return with_states(output, finals) if self.options.return_state else output.view(Output)

    def reset_state(self) -> None:
        self.states = None


def with_states(output: Array, finals: Sequence[Array]) -> list[Output]:
    return [array.view(Output) for array in (output, *finals)]


def run(
    network: Network,
    x: Array,
    initial_state: Any,
    mask: Mask | None,
    kept: Sequence[Array] | None,
) -> tuple[Array, list[Array]]:
    """Run a layer, from an initial state or one that was kept; masked steps keep the state.

    Returns
    -------
    array, shape (N, T, O)
        Outputs in the order of the input.
    list of arrays, shape (N, H)
        Final states, cell by cell.
    """
    N, T, I = x.shape
    h0 = np.zeros((N, network.state_size), np.float32)
    places = list(chain.from_iterable(network.state_slices[0]))
    start = kept if initial_state is None else initial_state
    if isinstance(start, np.ndarray):
        start = [start]
    for place, array in zip(places, start or (), strict=bool(start)):
        h0[:, place] = array
    if mask is None:
        h, h_n, *_ = rnncli.run(network, x, h0)
    else:
        carried = Carried(np.zeros(network.state_size, x.dtype), N)
        carried.resume(np.zeros(N, np.intp), h0)
        rows = Rows(x.reshape(N * T, I), np.repeat(np.arange(N), T), ~mask.ravel())
        (block,) = stream(network, [rows], carried=carried)
        h, h_n = block.h.reshape(N, T, -1), carried.state
    return h, [h_n[:, place] for place in places]


def adapted(layers: Any) -> SimpleNamespace:
    """Keras's layers, with those that rnncli computes in the place of Keras's own."""

    def bidirectional(layer: Any, **options: Any) -> Any:
        around = Bidirectional if isinstance(layer, Layer) else layers.Bidirectional
        return around(layer, **options)

    ours = {kind.__name__: kind for kind in (SimpleRNN, LSTM, GRU)}
    return SimpleNamespace(**{**vars(layers), **ours, "Bidirectional": bidirectional})
