"""The network in PyTorch: ``torch.nn.RNN``, ``LSTM`` and ``GRU``, on the CPU."""

import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import ACTIVATIONS as KINDS
from rnncli.model.activations import SIGMOID, TANH, Activation
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import GRU, RNN
from rnncli.model.cells.gates import ordered, two_biases
from rnncli.model.layers import (
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Normalization,
    Recurrent,
)
from rnncli.verify.peers import Unsupported, activations, lacks, normalize, row_activation

if TYPE_CHECKING:
    import torch

TITLE, PRECISIONS, LACKS = "PyTorch", ("float32", "float64"), ("masks", "clip", "peepholes")
# Of our gates, the one at each place of its own.
GATES = {"RNN": (0,), "LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2)}
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
    if isinstance(layer, Recurrent):
        _check(layer)
        rnn = _module(layer)
    else:
        f = _stateless(layer)
    import torch

    def forward(
        x: Floats, start: Sequence[Floats], lengths: Integers | None, _mask: object
    ) -> tuple[Floats, Sequence[Floats]]:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
            given = _tensor(x)
            if not isinstance(layer, Recurrent):
                return f(given).numpy(), []
            steps = None if lengths is None else _tensor(lengths, "int64")
            state = tuple(map(_tensor, start))
            back = layer.direction == "backward"
            h, final = _run(rnn, _turn(given, steps) if back else given, state, steps)
            return (_turn(h, steps) if back else h).numpy(), [array.numpy() for array in final]

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
        raise lacks(TITLE, f"merge {layer.merge}", ("concat",))
    for cell in layer.cells:
        title, functions = f"{TITLE}'s nn.{type(cell).__name__}", activations(cell)
        if isinstance(cell, RNN):
            if cell.activation.name not in ("tanh", "relu"):
                raise lacks(title, f"activation {cell.activation}", ("tanh", "relu"))
            if cell.activation != layer.cells[0].settings["activation"]:
                raise Unsupported(f"{title} has one activation for both directions of a layer")
            continue
        for activation, fixed in zip(functions, (SIGMOID, TANH, TANH), strict=False):
            if activation != fixed:
                kind = "recurrent activation" if fixed == SIGMOID else "activation"
                raise lacks(title, f"{kind} {activation}", (fixed.name,))
        if isinstance(cell, GRU) and cell.reset != "after":
            raise lacks(title, f"reset {cell.reset}", ("after",))
        if cell.weights.W_hr is not None and cell.state_sizes[0] >= cell.hidden_size:
            raise lacks(title, "projection to as many values or more")


def _stateless(layer: Layer) -> "Callable[[torch.Tensor], torch.Tensor]":
    activation = row_activation(layer) or Activation("linear")
    name, parameters = activation
    if name not in FUNCTIONS:
        raise lacks(TITLE, f"activation {activation}", FUNCTIONS)
    import torch

    if isinstance(layer, Normalization):
        return lambda x: normalize(layer, x, _tensor)  # type: ignore[no-any-return]
    if isinstance(layer, Embedding):
        table = _tensor(layer.W)
        return lambda x: torch.nn.functional.embedding(x[..., 0].long(), table)
    if isinstance(layer, LayerNormalization):
        factor, epsilon = _tensor(layer.factor), layer.epsilon
        shift = None if layer.shift is None else _tensor(layer.shift)
        return lambda x: torch.nn.functional.layer_norm(x, factor.shape, factor, shift, epsilon)
    f: Any = getattr(torch.nn, FUNCTIONS[name])(*parameters, **ARGUMENTS.get(name, {}))
    if not isinstance(layer, Dense):
        return f  # type: ignore[no-any-return]
    W, b = _tensor(layer.W.T), _tensor(layer.b)
    return lambda x: f(torch.nn.functional.linear(x, W, b))  # type: ignore[no-any-return]


def _module(layer: Recurrent) -> "torch.nn.RNNBase":
    import torch

    first, kind = layer.cells[0], type(layer.cells[0]).__name__
    options: dict[str, Any] = {}
    if isinstance(first, RNN):
        options["nonlinearity"] = first.activation.name
    elif first.weights.W_hr is not None:
        options["proj_size"] = first.state_sizes[0]
    with torch.random.fork_rng(devices=[]):  # the module draws weights that are not kept
        rnn: torch.nn.RNNBase = getattr(torch.nn, kind)(
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


def _run(
    rnn: "torch.nn.RNNBase",
    x: "torch.Tensor",
    start: "tuple[torch.Tensor, ...]",
    lengths: "torch.Tensor | None",
) -> "tuple[torch.Tensor, Sequence[torch.Tensor]]":
    """Return the output (N, T, O) of a module, and the arrays (D, N, size) of its final state."""
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    state = start[0] if len(start) == 1 else start
    if lengths is None:
        h, final = rnn(x, state)
    else:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        packed, final = rnn(packed, state)
        h, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
    return h, [final] if len(start) == 1 else final


def _tensor(array: NDArray[Any], dtype: str | None = None) -> "torch.Tensor":
    """Share an array with PyTorch, or copy it: one that is read-only or has gaps."""
    import torch

    return torch.from_numpy(np.require(array, dtype, ["C", "W"]))


def _turn(x: "torch.Tensor", lengths: "torch.Tensor | None") -> "torch.Tensor":
    """Turn each sequence around; what lies beyond its end stays there."""
    import torch

    if lengths is None:
        return x.flip(1)
    t = torch.arange(x.shape[1]).expand(x.shape[:2])  # (N, T)
    source = torch.where(t < lengths[:, None], lengths[:, None] - 1 - t, t)
    return x.gather(1, source[..., None].expand(x.shape))
