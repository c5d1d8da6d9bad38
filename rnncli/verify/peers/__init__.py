"""Peers: the same network in another library, to check against and to race."""

from rnncli.model.choices import choice
from rnncli.model.network import Network
from rnncli.verify.peers import keras, onnxruntime, torch
from rnncli.verify.peers.peer import Peer, PeerStates, Unsupported

__all__ = ["PEERS", "Peer", "PeerStates", "Unsupported", "build", "requirement", "version"]

# Every member has one signature: build(network, precision=..., all_layers=...)
# gives a function of (x, h0, lengths), and imports its library only then.
PEERS = {"keras": keras.build, "torch": torch.build, "onnxruntime": onnxruntime.build}

# What a peer is installed as.
DISTRIBUTIONS = {
    "keras": ("keras",),
    "torch": ("torch",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}


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
        Whether the peer gives the states of all layers, not of the top one
        alone.

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
    member = choice("peer", name, PEERS)
    try:
        return member(network, precision=precision, all_layers=all_layers)
    except ImportError as error:
        raise ValueError(f"peer {name}: {error}: {requirement(name)}") from error


def version(name: str) -> str | None:
    """Give the installed version of a peer's library, without loading it; None if there is none."""
    from importlib import metadata

    for distribution in choice("peer", name, DISTRIBUTIONS):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def requirement(name: str) -> str:
    """Give the command that installs a peer."""
    choice("peer", name, PEERS)
    return "pip install 'rnncli[peers]'"
