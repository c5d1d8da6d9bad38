"""What the peers share: how one is called, what it gives, and how it says what it cannot do."""

from collections.abc import Collection
from math import isinf
from typing import NamedTuple, Protocol

from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import RNN
from rnncli.model.network import Network


class Unsupported(ValueError):  # noqa: N818 - no mistake of the caller's: the peer lacks something
    """A network, a precision or an input that a peer cannot express."""


class PeerStates(NamedTuple):
    """Hidden states as a peer computed them, in the float type of the precision.

    Parameters
    ----------
    h : array, shape (N, T, output_size)
        What the top layer gives at every step, in the order of the input;
        zeros beyond the end of a sequence.
    h_n : array, shape (N, S)
        Final state of all cells, in the order of ``Network.cells``; that of
        a backward cell is its state at t = 1.
    layers : tuple of arrays like `h`
        What every layer gives, the bottom one first, where asked for.
    """

    h: Floats
    h_n: Floats
    layers: tuple[Floats, ...] = ()


class Peer(Protocol):
    """A network built in another library, ready to run.

    Parameters
    ----------
    x : array, shape (N, T, I)
        Input at every step, T at least 1.
    h0 : array, shape (N, S)
        Initial state of all cells, in the order of ``Network.cells``.
    lengths : array of int, shape (N,), optional
        Number of steps of each sequence, 1 to T; T by default.
    """

    def __call__(self, x: Floats, h0: Floats, lengths: Integers | None = None) -> PeerStates:
        """Run the network over a batch of sequences."""


def lacks(library: str, kind: str, wanted: object, has: Collection[str]) -> Unsupported:
    """Say what a library does not have, and what it has instead."""
    *others, last = has
    listed = f"{', '.join(others)} and {last}" if others else last
    return Unsupported(f"{library} has no {kind} {wanted}; it has {listed}")


def one_for_both(library: str, kind: str, wanted: Collection[object]) -> Unsupported:
    """Say that a library does not tell the two directions of a layer apart."""
    first, second = wanted
    return Unsupported(
        f"{library} has one {kind} for both directions of a layer, "
        f"and the network has {first} and {second}"
    )


def cells_in(
    library: str, network: Network, precision: str, precisions: Collection[str]
) -> list[RNN]:
    """Give the network's cells with their weights in a precision that the library has.

    Raises
    ------
    Unsupported
        The library does not compute in the precision.
    ValueError
        A weight is too large for its float type.
    """
    if precision not in precisions:
        raise lacks(library, "precision", precision, precisions)
    return [PRECISIONS[precision].prepare(cell) for cell in network.cells]


def refuse_clip(library: str, network: Network) -> None:
    """Raise `Unsupported` if a cell limits its sums, for a library that cannot."""
    for cell in network.cells:
        if not isinf(cell.clip):
            raise Unsupported(f"{library} has no clip, and the network has clip {cell.clip:g}")


def refuse_no_steps(library: str, x: Floats, lengths: Integers | None) -> None:
    """Raise `Unsupported` if a sequence has no steps: no peer runs one."""
    if x.shape[1] < 1 or (lengths is not None and (lengths < 1).any()):
        raise Unsupported(f"{library} runs no sequence without steps")
