"""Timing: strategies and peers side by side, each in a process of its own, in turn."""

from rnncli.timing.contender import Contender, contenders
from rnncli.timing.machine import describe_machine
from rnncli.timing.racing import race
from rnncli.timing.results import Timing, fastest_peer, times_faster
from rnncli.timing.sizes import SIZES, Size

__all__ = [
    "SIZES",
    "Contender",
    "Size",
    "Timing",
    "contenders",
    "describe_machine",
    "fastest_peer",
    "race",
    "times_faster",
]
