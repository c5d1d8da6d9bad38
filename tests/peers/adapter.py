"""Keras's layers of simple recurrent networks, as Keras's own tests call them, computed by rnncli.

Only what those tests ask for: arguments that are not here are errors. Keras
does no more than draw the weights, which its initializers are asked for.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

import rnncli
from rnncli.engine.rows import Rows
from rnncli.engine.stream import Carried, stream
from rnncli.model.cells import Weights
from rnncli.model.layers import MERGES, Recurrent
from rnncli.model.network import Network

Array: TypeAlias = NDArray[np.floating]
Mask: TypeAlias = NDArray[np.bool_]
Initializer: TypeAlias = Callable[[tuple[int, ...]], ArrayLike]

FLAGS = ("go_backwards", "return_sequences", "stateful", "zero_output_for_mask")


class Output(NDArray[np.float32]):
    """States that rnncli computed, and whatever is cut out of them."""


class SimpleRNN:
    """``keras.layers.SimpleRNN``: the last state, or in the order of processing all of them."""

    def __init__(self, units: int, *, unroll: bool = False, **options: Any) -> None:
        del unroll  # how Keras computes, not what
        self.units = units
        self.initializers: list[Initializer] = [
            options.pop(f"{name}_initializer") for name in ("kernel", "recurrent", "bias")
        ]
        self.options = SimpleNamespace(**{flag: options.pop(flag, False) for flag in FLAGS})
        assert not options, f"arguments that the adapter does not know: {options}"
        self.state: Array | None = None

    def __call__(
        self, sequence: Array, initial_state: Array | None = None, mask: Mask | None = None
    ) -> Output:
        options = self.options
        direction = "backward" if options.go_backwards else "forward"
        network = Network(Recurrent(self.weights(sequence.shape[-1]), direction=direction))
        start = self.state if initial_state is None else initial_state
        h, h_n = run(network, sequence, start, mask)
        if options.stateful:
            self.state = h_n
        if not options.return_sequences:
            return h_n.view(Output)
        if options.zero_output_for_mask and mask is not None:
            h[~mask] = 0
        return (h[:, ::-1] if options.go_backwards else h).view(Output)

    def reset_state(self) -> None:
        self.state = None

    def weights(self, input_size: int) -> Weights:
        shapes = (input_size, self.units), (self.units, self.units), (self.units,)
        drawn = zip(self.initializers, shapes, strict=True)
        return Weights(*(np.asarray(initializer(shape)) for initializer, shape in drawn))


class Bidirectional:
    """``keras.layers.Bidirectional`` around a `SimpleRNN` that returns its last state."""

    def __init__(
        self,
        layer: SimpleRNN,
        *,
        merge_mode: str | None = "concat",
        backward_layer: SimpleRNN | None = None,
    ) -> None:
        self.layers = [layer, backward_layer or layer]
        self.merge_mode = merge_mode
        assert not any(vars(layer.options).values())
        assert backward_layer is None or backward_layer.options.go_backwards

    def __call__(self, sequence: Array) -> Output | tuple[Output, ...]:
        weights = [layer.weights(sequence.shape[-1]) for layer in self.layers]
        network = Network(Recurrent(*weights, direction="bidirectional"))
        _, h_n = run(network, sequence)
        ends = np.split(h_n, 2, axis=-1)
        if self.merge_mode is None:
            return tuple(end.view(Output) for end in ends)
        return MERGES[self.merge_mode](*ends).view(Output)


def run(
    network: Network, x: Array, h0: Array | None = None, mask: Mask | None = None
) -> tuple[Array, Array]:
    """States (N, T, H), in the order of the input, and final ones; masked steps keep the state."""
    if mask is None:
        h, h_n, _ = rnncli.run(network, x, h0)
    else:
        N, T, I = x.shape
        carried = Carried(np.zeros(network.state_size, x.dtype), N)
        if h0 is not None:
            carried.resume(np.zeros(N, np.intp), h0)
        rows = Rows(x.reshape(N * T, I), np.repeat(np.arange(N), T), ~mask.ravel())
        (block,) = stream(network, [rows], carried=carried)
        h, h_n = block.h.reshape(N, T, -1), carried.state
    return h, h_n


def adapted(layers: Any) -> SimpleNamespace:
    """Keras's layers, with those that rnncli computes in the place of Keras's own."""

    def bidirectional(layer: Any, **options: Any) -> Any:
        around = Bidirectional if isinstance(layer, SimpleRNN) else layers.Bidirectional
        return around(layer, **options)

    return SimpleNamespace(
        **{**vars(layers), "SimpleRNN": SimpleRNN, "Bidirectional": bidirectional}
    )
