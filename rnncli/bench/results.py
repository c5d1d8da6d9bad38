"""What comes of timings: medians, spreads, ratios."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from rnncli.bench.contender import Contender


class Timing(NamedTuple):
    """How fast a contender is, on the number of threads that suits it best.

    Parameters
    ----------
    contender : Contender
    rounds : mapping
        By the number of threads, the microseconds that a step takes, one
        for each round: a step of all sequences together.
    steps : mapping
        By the number of threads, how many of the first steps were timed.
    step_error : float or None
        The largest, of one run; None where it is not known.
    note : str
        Why it was not timed, if it was not.
    failed : bool
        Whether it should have been.
    """

    contender: Contender
    rounds: Mapping[int, Sequence[float]] = {}
    steps: Mapping[int, int] = {}
    step_error: float | None = None
    note: str = ""
    failed: bool = False

    @property
    def threads(self) -> int:
        """The number of threads with the smallest median."""
        return min(self.rounds, key=lambda threads: median(self.rounds[threads]))

    @property
    def best(self) -> Sequence[float]:
        """Microseconds a step of the rounds with that many threads."""
        return self.rounds[self.threads]

    @property
    def median(self) -> float:
        """The median of the best rounds, in microseconds a step."""
        return median(self.best)


def fastest_peer(timings: Sequence[Timing]) -> Timing | None:
    """Find the peer with the smallest median; None if no peer was timed."""
    peers = [each for each in timings if each.contender.kind == "peer" and each.rounds]
    return min(peers, key=lambda timing: timing.median, default=None)


def times_faster(timing: Timing, than: Timing) -> float:
    """Give how many times faster a contender is than another, by their medians."""
    return than.median / timing.median
