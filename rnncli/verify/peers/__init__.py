"""Peers: the same network in another library, to check against and to race.

A peer is a module here with a function ``build``, as `build` calls it, that
imports its library only then; and an entry in `PEERS`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from math import isinf
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, cast

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.run import States
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import GRU, LSTM, RNN, Cell
from rnncli.model.cells.gates import ordered
from rnncli.model.errors import choice
from rnncli.model.layers import (
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Masking,
    Normalization,
    Pointwise,
    Recurrent,
)
from rnncli.model.network import Network

# What each may be installed as.
PEERS = {
    "keras": ("keras",),
    "torch": ("torch",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}

# The cells that peers have, and a layer with its own.
PeerCell: TypeAlias = RNN | LSTM | GRU
PeerLayer: TypeAlias = tuple[Layer, Sequence[PeerCell]]
# The layers without state that they have.
STATELESS = (Dense, Embedding, LayerNormalization, Masking, Normalization, Pointwise)
Tensor = TypeVar("Tensor")
Value = TypeVar("Value")


class Unsupported(ValueError):  # noqa: N818 - no mistake of the caller's: the peer lacks something
    """A network, a precision or an input that a peer cannot express."""


class Peer(Protocol):
    """A network built in another library, ready to run.

    Parameters
    ----------
    x : array, shape (N, T, I)
        Input at every step, T at least 1.
    h0 : array, shape (N, S)
        Initial state of all cells, as ``Network.state_slices`` places it.
    lengths : array of int, shape (N,), optional
        Number of steps of each sequence, 1 to T; T by default.

    Returns
    -------
    States
        As `rnncli.engine.run.run` returns them for a batch.
    """

    def __call__(self, x: Floats, h0: Floats, lengths: Integers | None = None) -> States:
        """Run the network over a batch of sequences."""


def build(
    name: str, network: Network, *, precision: str = "float32", all_layers: bool = False
) -> Peer:
    """Build a network in a peer."""
    choice("peer", name, PEERS)
    member = import_module(f"{__name__}.{name}")
    try:
        peer: Peer = member.build(network, precision=precision, all_layers=all_layers)
    except ImportError as error:
        raise ValueError(f"peer {name}: {error}: {requirement(name)}") from error
    return peer


def version(name: str) -> str | None:
    """Return the installed version of a peer, without loading it; None if there is none."""
    from importlib import metadata

    for distribution in choice("peer", name, PEERS):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def requirement(name: str) -> str:
    """Return the command that installs a peer."""
    choice("peer", name, PEERS)
    return "pip install 'rnncli[peers]'"


# What the peers share


class Kind(NamedTuple):
    """What a library has for a kind of cell.

    Parameters
    ----------
    name : str
        Its class, or its operator.
    gates : sequence of int
        Which of our gates stands at each place of its own.
    lacks : collection of str
        What it has not, of the names that `particulars` has.
    """

    name: str
    gates: Sequence[int]
    lacks: Collection[str] = ()

    def ordered(self, array: Floats) -> Floats:
        """Return an array (..., gates * H) with the gates in the order of the library."""
        return ordered(array, self.gates)


class Library(NamedTuple):
    """What a peer is built with.

    Parameters
    ----------
    name : str
    titles : str
        What an error calls a kind of cell, with braces for its name.
    kinds : mapping
        The kinds of cells that it has, by our own classes.
    masks : bool
        Whether its cells keep their state at masked rows.
    """

    name: str
    titles: str
    kinds: Mapping[type, Kind]
    masks: bool = False

    def title(self, *cells: Cell) -> str:
        """Return what an error calls the kind of the first cell that it has."""
        kinds = (self.kinds[type(cell)] for cell in cells if type(cell) in self.kinds)
        first = next(kinds, None)
        return self.titles.format(first.name) if first else self.name

    def title_of(self, network: Network) -> str:
        """Return `title` for all cells of a network."""
        return self.title(*(cell for layer in network.layers for cell in layer.cells))

    def layers(self, network: Network) -> list[PeerLayer]:
        """Return the layers of a network, each with its cells."""
        layers: list[PeerLayer] = []
        for layer in network.layers:
            if not isinstance(layer, (Recurrent, *STATELESS)):
                known = [kind.__name__ for kind in (Recurrent, *STATELESS)]
                raise lacks(self.name, "layer", type(layer).__name__, known)
            if layer.masks and not self.masks:
                raise Unsupported(f"{self.name} masks no rows between others")
            cells = [cell for cell in layer.cells if isinstance(cell, PeerCell)]
            if len(cells) < len(layer.cells):
                names = ", ".join(type(cell).__name__ for cell in layer.cells)
                known = [kind.__name__ for kind in self.kinds]
                raise lacks(self.name, "cell", names, known)
            layers.append((layer, cells))
        for cell in (cell for _, cells in layers for cell in cells):
            for what, has in particulars(cell).items():
                if what in self.kinds[type(cell)].lacks:
                    raise Unsupported(
                        f"{self.title(cell)} has no {what}, and the network has {has}"
                    )
        return layers


def particulars(cell: PeerCell) -> dict[str, str]:
    """Return what a cell has that not every library knows, and what it is called here."""
    weights, has = cell.weights, {}
    if not isinf(cell.clip):
        has["clip"] = f"clip {cell.clip:g}"
    if weights.w_ch is not None:
        has["peepholes"] = "w_ch"
    if weights.W_hr is not None:
        has["projection"] = "W_hr"
    return has


def activations(cell: PeerCell) -> list[Activation]:
    """Return the functions of a cell: of its gates, of the candidate, of the output."""
    names = ("recurrent_activation", "activation", "output_activation")
    return [cell.settings[name] for name in names if name in cell.settings]


def stateless_activation(layer: Layer) -> Activation | None:
    """Return the function of a layer without state, one of rows by its name; None for none."""
    given = layer.settings.get("activation")
    return Activation(given) if isinstance(given, str) else given


def normalized(layer: Normalization, x: Tensor, tensor: Callable[[Floats], Any]) -> Tensor:
    """Return what a normalization gives, by the arithmetic of a library."""
    y: Any = (x - tensor(layer.center)) / tensor(layer.scale)
    if layer.factor is not None:
        y = y * tensor(layer.factor)
    if layer.shift is not None:
        y = y + tensor(layer.shift)
    return cast(Tensor, y)


def as_states(
    network: Network,
    outputs: Sequence[Floats],
    h_n: Floats,
    lengths: Integers | None,
    *,
    all_layers: bool,
) -> States:
    """Return what a peer computed as `rnncli.engine.run.run` returns it."""
    outputs = list(outputs)
    layers = network.layers[-len(outputs) :]
    for number, layer in enumerate(layers):
        if lengths is not None and (network.masking or not layer.cells):
            N, T, _ = outputs[number].shape
            running = np.arange(T) < np.broadcast_to(lengths[:, None], (N, T))
            outputs[number] = np.where(running[..., None], outputs[number], 0)
    top = len(outputs) - 1 - network.head
    y = outputs[-1] if network.head else None
    return States(outputs[top], h_n, tuple(outputs) if all_layers else (), y)


def converted(title: str, network: Network, precision: str, precisions: Collection[str]) -> Network:
    """Return the network with its arrays in a precision."""
    if precision not in precisions:
        raise lacks(title, "precision", precision, precisions)
    layers = map(_spelled_out, network.layers)
    return Network(*layers, last=network.last).converted(PRECISIONS[precision].convert)


def _spelled_out(layer: Layer) -> Layer:
    """Return ``alpha x + beta`` as a layer of arrays, for libraries that have no such function."""
    if not isinstance(layer, Pointwise) or not isinstance(layer.activation, Activation):
        return layer
    name, parameters = layer.activation
    if name != "affine":
        return layer
    none, one, alpha, beta = (np.full(layer.input_size, value) for value in (0.0, 1.0, *parameters))
    return Normalization(none, one, beta, alpha)


def lacks(library: str, kind: str, wanted: object, has: Collection[str]) -> Unsupported:
    """Return the error that a library lacks something, with what it has instead."""
    *others, last = has
    listed = f"{', '.join(others)} and {last}" if others else last
    return Unsupported(f"{library} has no {kind} {wanted}; it has {listed}")


def one_for_both(library: str, kind: str, wanted: Sequence[Value]) -> Value:
    """Return what the cells of a layer have, for a library that has one for both directions."""
    one, *others = dict.fromkeys(wanted)
    if others:
        raise Unsupported(
            f"{library} has one {kind} for both directions of a layer, "
            f"and the network has {one} and {others[0]}"
        )
    return one


def refuse_no_steps(library: str, x: Floats, lengths: Integers | None) -> None:
    """Raise `Unsupported` if a sequence has no steps: no peer runs one."""
    if x.shape[1] < 1 or (lengths is not None and (lengths < 1).any()):
        raise Unsupported(f"{library} runs no sequence without steps")
