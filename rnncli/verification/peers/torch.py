"""Cells and Dense in PyTorch, on the CPU."""

import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, reorder
from rnncli.model.cells import split_bias
from rnncli.verification.peers import Unsupported

TITLE, PRECISIONS = "PyTorch", ("float32", "float64")
FILES = (".pt", ".pth", ".bin", ".ckpt")
# Of our gates, the one at each place of its own.
GATES = {"RNN": (0,), "LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2)}
HEADS = ("linear", "tanh", "relu", "sigmoid", "softmax", "log_softmax")
CELL = {"activation": ("tanh",), "recurrent_activation": ("sigmoid",), "reset": ("after",)}
CELL |= {"output_activation": ("tanh",), "clip": ("inf",)}
RNN, DENSE = CELL | {"activation": ("tanh", "relu")}, {"activation": HEADS}
SETTINGS = {"RNN": RNN, "LSTM": CELL, "GRU": CELL, "Dense": DENSE}


def make(layer: Any) -> Callable[..., Floats]:
    """Make a cell, or Linear; ``b_h`` is ``bias_ih``, and ``bias_hh`` holds ``b_n`` alone."""
    import torch

    name, activation = type(layer).__name__, str(layer.settings["activation"])
    if name == "Dense":
        W, b = map(_tensor, layer.arrays.values())
        options = {"dim": -1} if "softmax" in activation else {}
        f = (lambda a: a) if activation == "linear" else getattr(torch, activation)
        return lambda x: np.asarray(f(torch.nn.functional.linear(_tensor(x), W.T, b), **options))
    W_xh, W_hh = layer.weights[:2]
    settings: dict[str, Any] = {"batch_first": True, "dtype": getattr(torch, W_xh.dtype.name)}
    settings |= {"nonlinearity": activation} if name == "RNN" else {}
    rnn = getattr(torch.nn, name)(len(W_xh), len(W_hh), **settings)
    arrays = (W_xh, W_hh, *split_bias(layer.weights))
    with torch.no_grad():
        for parameter, array in zip(rnn.parameters(), arrays, strict=True):
            parameter.copy_(_tensor(reorder(array, GATES[name]).T))

    def forward(x: Floats, states: Sequence[Floats]) -> Floats:
        start = tuple(_tensor(state[None]) for state in states)
        with torch.inference_mode():
            h, _ = rnn(_tensor(x), start if len(start) > 1 else start[0])
        return np.asarray(h)

    return forward


def open_file(path: str) -> Callable[..., Sequence[Floats]]:
    """Run TorchScript; a pickle, which could run any code, is not loaded."""
    import torch

    if not any("/code/" in name for name in zipfile.ZipFile(path).namelist()):
        raise Unsupported("a pickle, which may run any code, is not loaded")
    module = torch.jit.load(path, map_location="cpu").eval()

    def forward(x: Floats, *_: int) -> Sequence[Floats]:
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


def _tensor(array: NDArray[Any], dtype: str | None = None) -> Any:
    """Share an array with PyTorch, or copy it: one that is read-only or has gaps."""
    import torch

    return torch.from_numpy(np.require(array, dtype, ["C", "W"]))
