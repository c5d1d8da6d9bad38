"""Who is timed: every strategy, and the same network in other libraries."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from rnncli.engine.run import States, run
from rnncli.engine.unroll import UNROLLS
from rnncli.verify.case import Case
from rnncli.verify.peers import PEERS, PeerStates, build, requirement, version

Runner: TypeAlias = Callable[[Case], States | PeerStates]


class Contender(NamedTuple):
    """A strategy or a peer.

    Parameters
    ----------
    kind : {"strategy", "peer"}
    name : str
        Of the strategy or the peer.
    """

    kind: str
    name: str

    @property
    def label(self) -> str:
        """What it is called in results: strategies by their option."""
        return f"--unroll {self.name}" if self.kind == "strategy" else self.name

    def runner(self, case: Case, *, all_layers: bool = False) -> Runner:
        """Make the network of a case ready, and give what runs cases of it.

        Raises
        ------
        Unsupported
            The peer cannot express it.
        """
        network, precision = case.network, case.precision
        if self.kind == "peer":
            peer = build(self.name, network, precision=precision, all_layers=all_layers)
            return lambda case: peer(case.x, case.h0, None if _equal(case) else case.lengths)
        return lambda case: run(
            network,
            case.x,
            case.h0,
            lengths=None if _equal(case) else case.lengths,
            precision=precision,
            unroll=self.name,
            all_layers=all_layers,
        )


def contenders(wanted: Sequence[str] = ()) -> tuple[list[Contender], dict[str, str]]:
    """Name every strategy, and the peers that are wanted, or else all that are installed.

    Returns
    -------
    list of Contender
    dict
        By the names of peers that are not installed, how to install them.

    Raises
    ------
    ValueError
        A peer that is wanted is not installed.
    """
    strategies = [Contender("strategy", name) for name in ("auto", *UNROLLS)]
    names = dict.fromkeys(wanted or PEERS)
    absent = {name: requirement(name) for name in names if version(name) is None}
    if wanted and absent:
        name, way_out = next(iter(absent.items()))
        raise ValueError(f"peer {name} is not installed: {way_out}")
    peers = [Contender("peer", name) for name in names if name not in absent]
    return strategies + peers, absent


def _equal(case: Case) -> bool:
    """Tell whether every sequence is as long as the array."""
    return bool((case.lengths == case.x.shape[1]).all())
