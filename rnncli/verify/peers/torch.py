"""The network in PyTorch: ``torch.nn.RNN``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.run import States
from rnncli.model.arrays import Floats, Integers
from rnncli.model.network import Network
from rnncli.verify.peers import (
    Peer,
    RNNLayer,
    lacks,
    one_for_both,
    refuse_clip,
    refuse_no_steps,
    rnn_layers,
)

if TYPE_CHECKING:
    import torch

LIBRARY = "PyTorch's nn.RNN"
ACTIVATIONS = ("tanh", "relu")
PRECISIONS = ("float32", "float64")


class Module(NamedTuple):
    """One ``nn.RNN`` of the chain that makes up the network.

    Parameters
    ----------
    rnn : torch.nn.RNN
    backward : bool
        Whether sequences are turned around before it, and its states after.
    cells : int
        Number of its cells, K.
    """

    rnn: "torch.nn.RNN"
    backward: bool
    cells: int


def build(network: Network, *, precision: str = "float32", all_layers: bool = False) -> Peer:
    """Make the network of ``torch.nn.RNN`` modules, on the CPU.

    It is a single module where one can be the whole network: layers of one
    size and one activation, all forward or all bidirectional. Otherwise, or
    for the states of all layers, it is a module a layer. PyTorch has no
    backward layer: a forward one takes each sequence turned around. ``b_h``
    becomes ``bias_ih``, and ``bias_hh`` is zero. See
    `rnncli.verify.peers.build`.
    """
    layers = rnn_layers(LIBRARY, network, precision, PRECISIONS)
    _check(layers)
    import torch

    whole = not all_layers and _is_one_module(layers)
    modules = [_module(group) for group in ([layers] if whole else [[each] for each in layers])]
    sizes = [module.cells * module.rnn.hidden_size for module in modules]

    def run(x: Floats, h0: Floats, lengths: Integers | None = None) -> States:
        refuse_no_steps(LIBRARY, x, lengths)
        with torch.inference_mode():
            h, start = _tensor(x, precision), _tensor(h0, precision)
            steps = None if lengths is None else _tensor(lengths, "int64")
            outputs, finals = [], []
            for module, state in zip(modules, start.split(sizes, dim=1), strict=True):
                h, final = _run(module, h, state, steps)
                outputs.append(h.numpy())
                finals.append(final)
            h_n = torch.cat(finals, dim=1).numpy()
        return States(outputs[-1], h_n, tuple(outputs) if all_layers else ())

    return run


def _check(layers: Sequence[RNNLayer]) -> None:
    refuse_clip(LIBRARY, layers)
    for layer, cells in layers:
        if layer.direction == "bidirectional" and layer.merge != "concat":
            raise lacks(LIBRARY, "merge", layer.merge, ("concat",))
        for cell in cells:
            if cell.activation.name not in ACTIVATIONS:
                raise lacks(LIBRARY, "activation", cell.activation, ACTIVATIONS)
        activations = dict.fromkeys(cell.activation for cell in cells)
        if len(activations) > 1:
            raise one_for_both(LIBRARY, "activation", activations)


def _is_one_module(layers: Sequence[RNNLayer]) -> bool:
    """Return whether one ``nn.RNN`` can be the whole network."""
    kinds = {
        (layer.hidden_size, layer.direction, cells[0].activation.name) for layer, cells in layers
    }
    return len(kinds) == 1 and layers[0][0].direction != "backward"


def _module(layers: Sequence[RNNLayer]) -> Module:
    """Make one ``nn.RNN`` of layers that are alike."""
    import torch

    bottom = layers[0][0]
    cells = [cell for _, cells in layers for cell in cells]
    # The module draws weights that are not kept.
    with torch.random.fork_rng(devices=[]):
        rnn = torch.nn.RNN(
            bottom.input_size,
            bottom.hidden_size,
            num_layers=len(layers),
            nonlinearity=cells[0].activation.name,
            batch_first=True,
            bidirectional=bottom.direction == "bidirectional",
            dtype=getattr(torch, cells[0].weights.W_xh.dtype.name),
        )
    parameters = iter(rnn.parameters())
    with torch.no_grad():
        for W_xh, W_hh, b_h in (cell.weights[:3] for cell in cells):
            for array in (W_xh.T, W_hh.T, b_h, np.zeros_like(b_h)):
                next(parameters).copy_(_tensor(array))
    return Module(rnn, bottom.direction == "backward", len(cells))


def _run(
    module: Module, x: "torch.Tensor", h0: "torch.Tensor", lengths: "torch.Tensor | None"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return the output (N, T, O) and the final states (N, K H) of a module."""
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    N, T, _ = x.shape
    start = h0.reshape(N, module.cells, -1).transpose(0, 1).contiguous()  # (K, N, H)
    if module.backward:
        x = _turned(x, lengths)
    if lengths is None:
        h, h_n = module.rnn(x, start)
    else:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        packed, h_n = module.rnn(packed, start)
        h, _ = pad_packed_sequence(packed, batch_first=True, total_length=T)
    if module.backward:
        h = _turned(h, lengths)
    return h, h_n.transpose(0, 1).reshape(N, -1)


def _tensor(array: NDArray[Any], dtype: str | None = None) -> "torch.Tensor":
    """Share an array with PyTorch, or copy it: one that is read-only or has gaps."""
    import torch

    return torch.from_numpy(np.require(array, dtype, ["C", "W"]))


def _turned(x: "torch.Tensor", lengths: "torch.Tensor | None") -> "torch.Tensor":
    """Turn each sequence around; what lies beyond its end stays there."""
    import torch

    if lengths is None:
        return x.flip(1)
    t = torch.arange(x.shape[1]).expand(x.shape[:2])  # (N, T)
    source = torch.where(t < lengths[:, None], lengths[:, None] - 1 - t, t)
    return x.gather(1, source[..., None].expand(x.shape))
