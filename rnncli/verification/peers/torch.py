"""The network in PyTorch, on the CPU: ``torch.nn.RNN``, ``LSTM``, ``GRU`` and ``Linear``."""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, LSTM, RNN
from rnncli.model.cells.gates import ordered, two_biases
from rnncli.model.layers import Layer, Recurrent
from rnncli.verification.peers import Unsupported

TITLE, PRECISIONS = "PyTorch", ("float32", "float64")
# Of our gates, the one at each place of its own.
GATES = {RNN: (0,), LSTM: (0, 1, 2, 3), GRU: (1, 0, 2)}
HEADS = ("linear", "tanh", "relu", "sigmoid", "softmax", "log_softmax")
CELL = {"activation": ("tanh",), "recurrent_activation": ("sigmoid",), "reset": ("after",)}
CELL |= {"output_activation": ("tanh",), "clip": ("inf",), "merge": ("concat",)}
SETTINGS: dict[str, Mapping[str, Sequence[str]]] = {
    "RNN": CELL | {"activation": ("tanh", "relu")},
    "LSTM": CELL,
    "GRU": CELL,
    "Dense": {"activation": HEADS},
}


def make(layers: Sequence[Layer]) -> Callable[..., Sequence[Floats]]:
    """Make the layers.

    PyTorch has no backward layer: a forward one takes each sequence turned around. ``b_h`` becomes
    ``bias_ih``, and ``bias_hh`` is zero but for the ``b_n`` of a GRU.
    """
    import torch

    made: list[Any] = [
        _recurrent(each) if isinstance(each, Recurrent) else _dense(each) for each in layers
    ]

    def forward(x: Floats, states: Sequence[Sequence[Floats]]) -> Sequence[Floats]:
        outputs, h = [], _tensor(x)
        with torch.inference_mode():
            for layer, module, start in zip(layers, made, states, strict=True):
                if layer.cells:
                    backward = layer.directions == ("backward",)
                    state = tuple(map(_tensor, start))
                    h = h.flip(1) if backward else h
                    h, _ = module(h, state[0] if len(state) == 1 else state)
                    h = h.flip(1) if backward else h
                else:
                    h = module(h)
                outputs.append(h.numpy())
        return outputs

    return forward


def open_file(path: str) -> Callable[..., Sequence[Floats]] | None:
    """Run TorchScript; a pickle, which could run any code, is not loaded."""
    if not path.lower().endswith((".pt", ".pth", ".bin", ".ckpt")):
        return None
    import torch

    if not zipfile.is_zipfile(path) or not any(
        "/code/" in name for name in zipfile.ZipFile(path).namelist()
    ):
        raise Unsupported("a pickle, which may run any code, is not loaded")
    module = torch.jit.load(path, map_location="cpu").eval()

    def forward(x: Floats, _: int) -> Sequence[Floats]:
        with torch.inference_mode():
            left, outputs = [module(_tensor(x, "int64" if x.dtype.kind == "i" else "float32"))], []
            while left:
                each = left.pop()
                if isinstance(each, torch.Tensor):
                    outputs.append(each.numpy())
                else:
                    left += each.values() if isinstance(each, dict) else each
            return outputs

    return forward


def _dense(layer: Layer) -> Callable[[Any], Any]:
    import torch

    name, W, b = str(layer.settings["activation"]), *map(_tensor, layer.arrays.values())
    options = {"dim": -1} if "softmax" in name else {}
    f = (lambda a: a) if name == "linear" else getattr(torch, name)
    return lambda x: f(torch.nn.functional.linear(x, W.T, b), **options)


def _recurrent(layer: Recurrent) -> Any:
    import torch

    first, *others = layer.cells
    options = {"nonlinearity": first.activation.name} if isinstance(first, RNN) else {}
    if others and first.settings != others[0].settings:
        raise Unsupported(f"{TITLE} has one activation for both directions of a layer")
    rnn = getattr(torch.nn, type(first).__name__)(
        layer.input_size,
        layer.hidden_size,
        batch_first=True,
        bidirectional=len(layer.cells) > 1,
        dtype=getattr(torch, first.weights.W_xh.dtype.name),
        **options,
    )
    parameters = iter(rnn.parameters())
    with torch.no_grad():
        for weights in (cell.weights for cell in layer.cells):
            for array in (weights.W_xh, weights.W_hh, *two_biases(weights)):
                next(parameters).copy_(_tensor(ordered(array, GATES[type(first)]).T))
    return rnn


def _tensor(array: NDArray[Any], dtype: str | None = None) -> Any:
    """Share an array with PyTorch, or copy it: one that is read-only or has gaps."""
    import torch

    return torch.from_numpy(np.require(array, dtype, ["C", "W"]))
