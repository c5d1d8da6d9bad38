"""Machines that code is compiled for, and that run it here."""

import re

from rnncli.engine.compiled.code import Machine, this_machine

MACHINES = ["this", "avx2", "sse", "generic"]


def machine(name: str) -> Machine:
    """Return this machine, or one that lacks some of what it has."""
    here = this_machine()
    if name == "generic":
        return Machine("generic", "", 16, 2)
    if name == "sse":
        return Machine(here.cpu, without(here, "avx|fma|f16c|xop|vaes|vpclmul"), 16, 2)
    if name == "avx2":
        return Machine(here.cpu, without(here, "avx512|avx10"), min(here.bytes, 32), 2)
    return here


def without(machine: Machine, names: str) -> str:
    """Return the features of a machine, but for those whose names begin so."""
    return re.sub(rf"\+(?={names})", "-", machine.features)
