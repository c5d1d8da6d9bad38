"""Peers: the same network in another library, to check against and to race.

A peer is a module here with a function ``build``, as `build` calls it, that
imports its library only then; and an entry in `PEERS`.
"""

from collections.abc import Collection, Sequence
from importlib import import_module
from math import isinf
from typing import Protocol, TypeAlias

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.run import States
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import RNN
from rnncli.model.errors import choice
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network

# What each may be installed as.
PEERS = {
    "keras": ("keras",),
    "torch": ("torch",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}

# A layer, and its cells.
RNNLayer: TypeAlias = tuple[Recurrent, Sequence[RNN]]


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
    """Build a network in a peer.

    Parameters
    ----------
    name : {"keras", "torch", "onnxruntime"}
    network : Network
    precision : str
        What the peer computes in.
    all_layers : bool
        Whether the peer returns the outputs of all layers, not of the top
        one alone.

    Returns
    -------
    Peer
        A function of (x, h0, lengths).

    Raises
    ------
    Unsupported
        The peer cannot express the network, or does not compute in the
        precision.
    ValueError
        No peer has that name, or what it needs is not installed.
    """
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


def rnn_layers(
    library: str, network: Network, precision: str, precisions: Collection[str]
) -> list[RNNLayer]:
    """Return the layers of a network of vanilla cells, the weights in a precision.

    Raises
    ------
    Unsupported
        The library does not compute in the precision, or there is another
        cell or layer.
    ValueError
        A weight is too large for its float type.
    """
    if precision not in precisions:
        raise lacks(library, "precision", precision, precisions)
    layers: list[RNNLayer] = []
    for layer in network.converted(PRECISIONS[precision].convert).layers:
        cells = [cell for cell in layer.cells if isinstance(cell, RNN)]
        if not isinstance(layer, Recurrent) or len(cells) < len(layer.cells):
            names = ", ".join(type(part).__name__ for part in layer.cells or (layer,))
            raise Unsupported(f"rnn runs vanilla cells alone in {library}, not {names}")
        layers.append((layer, cells))
    return layers


def lacks(library: str, kind: str, wanted: object, has: Collection[str]) -> Unsupported:
    """Return the error that a library lacks something, with what it has instead."""
    *others, last = has
    listed = f"{', '.join(others)} and {last}" if others else last
    return Unsupported(f"{library} has no {kind} {wanted}; it has {listed}")


def one_for_both(library: str, kind: str, wanted: Collection[object]) -> Unsupported:
    """Return the error that a library has one of a kind for both directions of a layer."""
    first, second = wanted
    return Unsupported(
        f"{library} has one {kind} for both directions of a layer, "
        f"and the network has {first} and {second}"
    )


def refuse_clip(library: str, layers: Sequence[RNNLayer]) -> None:
    """Raise `Unsupported` if a cell limits its sums, for a library that cannot."""
    for _, cells in layers:
        for cell in cells:
            if not isinf(cell.clip):
                raise Unsupported(f"{library} has no clip, and the network has clip {cell.clip:g}")


def refuse_no_steps(library: str, x: Floats, lengths: Integers | None) -> None:
    """Raise `Unsupported` if a sequence has no steps: no peer runs one."""
    if x.shape[1] < 1 or (lengths is not None and (lengths < 1).any()):
        raise Unsupported(f"{library} runs no sequence without steps")
