"""The network in PyTorch: ``torch.nn.RNN``, ``LSTM`` and ``GRU``, on the CPU."""

import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import ACTIVATIONS as KINDS
from rnncli.model.activations import SIGMOID, TANH, Activation
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import RNN
from rnncli.model.cells.gates import ordered, two_biases
from rnncli.model.layers import (
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Normalization,
    Recurrent,
)
from rnncli.verification.peers import Unsupported, lacks, normalize, row_activation

TITLE, PRECISIONS, LACKS = "PyTorch", ("float32", "float64"), ("masks", "clip", "peepholes")
# Of our gates, the one at each place of its own.
GATES = {"RNN": (0,), "LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2)}
# Settings that its gated cells have alone.
FIXED: dict[str, Any] = {
    "recurrent_activation": SIGMOID,
    "activation": TANH,
    "output_activation": TANH,
    "reset": "after",
}
# Of layers without state: modules, which take the parameters or these arguments.
FUNCTIONS = {name: kind.torch for name, kind in KINDS.items() if kind.torch} | {
    "gelu_tanh": "GELU",
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "gelu_tanh": {"approximate": "tanh"},
    "softmax": {"dim": -1},
    "log_softmax": {"dim": -1},
}


def make(layer: Layer) -> Callable[..., tuple[Floats, Sequence[Floats]]]:
    """Make a layer.

    PyTorch has no backward layer: a forward one takes each sequence turned around. ``b_h`` becomes
    ``bias_ih``, and ``bias_hh`` is zero but for the ``b_n`` of a GRU.
    """
    made: Any = _module(layer) if isinstance(layer, Recurrent) else _stateless(layer)
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    def turn(x: Any, lengths: Any) -> Any:
        """Turn each sequence around; what lies beyond its end stays there."""
        t = torch.arange(x.shape[1]).expand(x.shape[:2])  # (N, T)
        ends = torch.full(x.shape[:1], x.shape[1]) if lengths is None else lengths
        source = torch.where(t < ends[:, None], ends[:, None] - 1 - t, t)
        return x.gather(1, source[..., None].expand(x.shape))

    def forward(
        x: Floats, start: Sequence[Floats], lengths: Integers | None, _mask: object
    ) -> tuple[Floats, Sequence[Floats]]:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
            h, ends = _tensor(x), None if lengths is None else _tensor(lengths, "int64")
            if not isinstance(layer, Recurrent):
                return made(h).numpy(), []
            backward = layer.direction == "backward"
            h = turn(h, ends) if backward else h
            states = tuple(map(_tensor, start))
            state = states[0] if len(states) == 1 else states
            if ends is None:
                h, final = made(h, state)
            else:
                packed = pack_padded_sequence(h, ends, batch_first=True, enforce_sorted=False)
                packed, final = made(packed, state)
                h, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
            h = turn(h, ends) if backward else h
            return h.numpy(), [each.numpy() for each in ([final] if len(states) == 1 else final)]

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

    def forward(x: Floats, _lengths: Integers) -> Sequence[Floats]:
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


def _check(layer: Recurrent) -> None:
    """Raise `Unsupported` if PyTorch lacks what a layer and its cells have."""
    if layer.direction == "bidirectional" and layer.merge != "concat":
        raise lacks(TITLE, f"merge {layer.merge}")
    for cell in layer.cells:
        title, function = f"{TITLE}'s nn.{type(cell).__name__}", cell.settings["activation"]
        for name, fixed in FIXED.items() if not isinstance(cell, RNN) else ():
            if cell.settings.get(name, fixed) != fixed:
                raise lacks(title, f"{name} {cell.settings[name]}", (str(fixed),))
        if function.name not in ("tanh", "relu"):
            raise lacks(title, f"activation {function}", ("tanh", "relu"))
        if function != layer.cells[0].settings["activation"]:
            raise Unsupported(f"{title} has one activation for both directions of a layer")
        if cell.weights.W_hr is not None and cell.state_sizes[0] >= cell.hidden_size:
            raise lacks(title, "projection to as many values or more")


def _stateless(layer: Layer) -> Callable[[Any], Any]:
    name, parameters = activation = row_activation(layer) or Activation("linear")
    if name not in FUNCTIONS:
        raise lacks(TITLE, f"activation {activation}", FUNCTIONS)
    import torch

    functional, f = torch.nn.functional, getattr(torch.nn, FUNCTIONS[name])
    f = f(*parameters, **ARGUMENTS.get(name, {}))
    arrays = {name: _tensor(array) for name, array in layer.arrays.items()}
    if isinstance(layer, Normalization):
        return lambda x: normalize(x, **arrays)
    if isinstance(layer, Embedding):
        return lambda x: functional.embedding(x[..., 0].long(), arrays["W"])
    if isinstance(layer, LayerNormalization):
        size, shift = (layer.input_size,), arrays.get("shift")
        return lambda x: functional.layer_norm(x, size, arrays["factor"], shift, layer.epsilon)
    if isinstance(layer, Dense):
        return lambda x: f(functional.linear(x, arrays["W"].T, arrays["b"]))
    return f  # type: ignore[no-any-return]


def _module(layer: Recurrent) -> Any:
    _check(layer)
    import torch

    first, kind = layer.cells[0], type(layer.cells[0]).__name__
    options: dict[str, Any] = {}
    if isinstance(first, RNN):
        options["nonlinearity"] = first.activation.name
    elif first.weights.W_hr is not None:
        options["proj_size"] = first.state_sizes[0]
    with torch.random.fork_rng(devices=[]):  # the module draws weights that are not kept
        rnn = getattr(torch.nn, kind)(
            layer.input_size,
            layer.hidden_size,
            batch_first=True,
            bidirectional=layer.direction == "bidirectional",
            dtype=getattr(torch, first.weights.W_xh.dtype.name),
            **options,
        )
    parameters = iter(rnn.parameters())
    with torch.no_grad():
        for weights in (cell.weights for cell in layer.cells):
            arrays = [weights.W_xh, weights.W_hh, *two_biases(weights)]
            arrays = [ordered(array, GATES[kind]).T for array in arrays]
            for array in arrays if weights.W_hr is None else [*arrays, weights.W_hr.T]:
                next(parameters).copy_(_tensor(array))
    return rnn


def _tensor(array: NDArray[Any], dtype: str | None = None) -> Any:
    """Share an array with PyTorch, or copy it: one that is read-only or has gaps."""
    import torch

    return torch.from_numpy(np.require(array, dtype, ["C", "W"]))
