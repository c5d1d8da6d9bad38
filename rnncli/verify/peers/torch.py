"""The network in PyTorch: ``torch.nn.RNN``, ``LSTM`` and ``GRU``."""

import warnings
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.run import States
from rnncli.model.activations import ACTIVATIONS as KNOWN
from rnncli.model.activations import SIGMOID, TANH, Activation
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import GRU, LSTM, RNN
from rnncli.model.cells.gates import two_biases
from rnncli.model.layers import (
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Normalization,
    Recurrent,
)
from rnncli.model.network import Network
from rnncli.verify.peers import (
    Kind,
    Library,
    Peer,
    PeerCell,
    PeerLayer,
    Unsupported,
    activations,
    as_states,
    converted,
    lacks,
    normalized,
    one_for_both,
    refuse_no_steps,
    stateless_activation,
)

if TYPE_CHECKING:
    import torch

LIBRARY = Library(
    "PyTorch",
    "PyTorch's nn.{}",
    {
        RNN: Kind("RNN", (0,), ("clip",)),
        LSTM: Kind("LSTM", (0, 1, 2, 3), ("clip", "peepholes")),
        GRU: Kind("GRU", (1, 0, 2), ("clip",)),
    },
)
ACTIVATIONS = ("tanh", "relu")  # of nn.RNN; those of the others are fixed
# Of layers without state: modules, which take the parameters or these arguments.
FUNCTIONS = {name: kind.torch for name, kind in KNOWN.items() if kind.torch} | {
    "gelu_tanh": "GELU",
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "gelu_tanh": {"approximate": "tanh"},
    "softmax": {"dim": -1},
    "log_softmax": {"dim": -1},
}
PRECISIONS = ("float32", "float64")


class Module(NamedTuple):
    """One module of the chain that makes up the network.

    Parameters
    ----------
    rnn : torch.nn.RNNBase
    backward : bool
        Whether sequences are turned around before it, and its states after.
    places : sequence of sequences of slices
        Where each array of the state of each of its cells stands among those
        of the network: by array, then by cell.
    """

    rnn: "torch.nn.RNNBase"
    backward: bool
    places: Sequence[Sequence[slice]]


# Recurrent layers, or what a layer without state computes.
Part: TypeAlias = "Module | Callable[[torch.Tensor], torch.Tensor]"


def build(network: Network, *, precision: str = "float32", all_layers: bool = False) -> Peer:
    """Make the network of ``torch.nn.RNN``, ``LSTM`` and ``GRU``, on the CPU.

    It is a single module where one can be the whole network: layers of one
    cell, one size and one activation, all forward or all bidirectional.
    Otherwise, or for the states of all layers, it is a module a layer.
    PyTorch has no backward layer: a forward one takes each sequence turned
    around. ``b_h`` becomes ``bias_ih``, and ``bias_hh`` is zero but for the
    ``b_n`` of a GRU. See `rnncli.verify.peers.build`.
    """
    title = LIBRARY.title_of(network)
    layers = LIBRARY.layers(converted(title, network, precision, PRECISIONS))
    for layer, cells in layers:
        _check(layer, cells)
    import torch

    each = list(zip(layers, network.state_slices, strict=True))
    end = len(layers) - network.head
    whole = not all_layers and _is_one_module(layers[:end])
    groups = [each[:end]] if whole else [[one] for one in each[:end]]
    groups += [[one] for one in each[end:]]
    parts = [_part(*zip(*group, strict=True)) for group in groups]

    def run(x: Floats, h0: Floats, lengths: Integers | None = None) -> States:
        refuse_no_steps(title, x, lengths)
        h_n = np.empty(h0.shape, precision)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
            h = _tensor(x, precision)
            steps = None if lengths is None else _tensor(lengths, "int64")
            outputs = []
            for part in parts:
                if not isinstance(part, Module):
                    h = part(h)
                    outputs.append(h.numpy())
                    continue
                start = [np.stack([h0[:, place] for place in places]) for places in part.places]
                h, finals = _run(part, h, [_tensor(state, precision) for state in start], steps)
                outputs.append(h.numpy())
                for places, final in zip(part.places, finals, strict=True):
                    for place, array in zip(places, final.numpy(), strict=True):
                        h_n[:, place] = array
        return as_states(network, outputs, h_n, lengths, all_layers=all_layers)

    return run


def _check(layer: Layer, cells: Sequence[PeerCell]) -> None:
    """Raise `Unsupported` if PyTorch lacks what a layer and its cells have."""
    if not isinstance(layer, Recurrent):
        activation = stateless_activation(layer)
        if activation and activation.name not in FUNCTIONS:
            raise lacks(LIBRARY.name, "activation", activation, FUNCTIONS)
        return
    title = LIBRARY.title(*cells)
    if layer.direction == "bidirectional" and layer.merge != "concat":
        raise lacks(title, "merge", layer.merge, ("concat",))
    for cell in cells:
        _check_cell(cell)
    one_for_both(title, "activation", [cell.activation for cell in cells])


def _check_cell(cell: PeerCell) -> None:
    title = LIBRARY.title(cell)
    if isinstance(cell, RNN):
        if cell.activation.name not in ACTIVATIONS:
            raise lacks(title, "activation", cell.activation, ACTIVATIONS)
        return
    for activation, fixed in zip(activations(cell), (SIGMOID, TANH, TANH), strict=False):
        if activation != fixed:
            kind = "recurrent activation" if fixed == SIGMOID else "activation"
            raise lacks(title, kind, activation, (fixed.name,))
    if isinstance(cell, GRU) and cell.reset != "after":
        raise lacks(title, "reset", cell.reset, ("after",))
    if cell.weights.W_hr is not None and cell.state_sizes[0] >= cell.hidden_size:
        H, P = cell.weights.W_hr.shape
        raise Unsupported(f"{title} projects {H} values to fewer, and the network to {P}")


def _is_one_module(layers: Sequence[PeerLayer]) -> bool:
    """Return whether one module can be the whole network."""
    kinds = {
        (type(cell), cell.state_sizes, cell.activation, len(cells))
        for _, cells in layers
        for cell in cells
    }
    forward = all("forward" in layer.directions for layer, _ in layers)
    return len(kinds) == 1 and forward


def _part(layers: Sequence[PeerLayer], slices: Sequence[list[list[slice]]]) -> Part:
    """Make one module of recurrent layers that are alike, or the function of another layer."""
    bottom = layers[0][0]
    return _module(layers, slices) if isinstance(bottom, Recurrent) else _stateless(bottom)


def _stateless(layer: Layer) -> "Callable[[torch.Tensor], torch.Tensor]":
    """Return what a layer without state computes."""
    import torch

    if isinstance(layer, Normalization):
        return lambda x: normalized(layer, x, _tensor)
    if isinstance(layer, Embedding):
        table = _tensor(layer.W)
        return lambda x: torch.nn.functional.embedding(x[..., 0].long(), table)
    if isinstance(layer, LayerNormalization):
        factor, epsilon = _tensor(layer.factor), layer.epsilon
        shift = None if layer.shift is None else _tensor(layer.shift)
        return lambda x: torch.nn.functional.layer_norm(x, factor.shape, factor, shift, epsilon)
    name, parameters = stateless_activation(layer) or Activation("linear")
    f = getattr(torch.nn, FUNCTIONS[name])(*parameters, **ARGUMENTS.get(name, {}))
    if not isinstance(layer, Dense):
        return cast("Callable[[torch.Tensor], torch.Tensor]", f)
    W, b = _tensor(layer.W.T), _tensor(layer.b)
    return lambda x: f(torch.nn.functional.linear(x, W, b))


def _module(layers: Sequence[PeerLayer], slices: Sequence[list[list[slice]]]) -> Module:
    """Make one module of layers that are alike, and have these places in the state."""
    import torch

    bottom, (first, *_) = layers[0]
    assert isinstance(bottom, Recurrent)
    kind = LIBRARY.kinds[type(first)]
    options: dict[str, Any] = {}
    if isinstance(first, RNN):
        options["nonlinearity"] = first.activation.name
    elif first.weights.W_hr is not None:
        options["proj_size"] = first.state_sizes[0]
    # The module draws weights that are not kept.
    with torch.random.fork_rng(devices=[]):
        rnn = getattr(torch.nn, kind.name)(
            bottom.input_size,
            bottom.hidden_size,
            num_layers=len(layers),
            batch_first=True,
            bidirectional=bottom.direction == "bidirectional",
            dtype=getattr(torch, first.weights.W_xh.dtype.name),
            **options,
        )
    parameters = iter(rnn.parameters())
    with torch.no_grad():
        for cell in (cell for _, cells in layers for cell in cells):
            W_xh, W_hh = cell.weights[:2]
            arrays = [kind.ordered(array).T for array in (W_xh, W_hh, *two_biases(cell.weights))]
            if cell.weights.W_hr is not None:
                arrays.append(cell.weights.W_hr.T)
            for array in arrays:
                next(parameters).copy_(_tensor(array))
    places = zip(*chain.from_iterable(slices), strict=True)
    return Module(rnn, bottom.direction == "backward", list(places))


def _run(
    module: Module,
    x: "torch.Tensor",
    start: "Sequence[torch.Tensor]",
    lengths: "torch.Tensor | None",
) -> "tuple[torch.Tensor, Sequence[torch.Tensor]]":
    """Return the output (N, T, O) of a module, and the arrays (K, N, size) of its final state."""
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    state = start[0] if len(start) == 1 else tuple(start)
    if module.backward:
        x = _turned(x, lengths)
    if lengths is None:
        h, final = module.rnn(x, state)
    else:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        packed, final = module.rnn(packed, state)
        h, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
    if module.backward:
        h = _turned(h, lengths)
    return h, [final] if len(start) == 1 else final


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
