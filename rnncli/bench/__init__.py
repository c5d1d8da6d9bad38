"""Timing: strategies and peers side by side, each in a process of its own, in turn."""

from rnncli.bench.contender import Contender, contenders
from rnncli.bench.machine import describe_machine
from rnncli.bench.racing import race
from rnncli.bench.results import Timing, fastest_peer, times_faster
from rnncli.bench.sizes import SIZES, Size

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
