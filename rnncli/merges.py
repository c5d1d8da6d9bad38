"""Merges: what becomes of the two states that a bidirectional layer has at a step."""

from collections.abc import Sequence

import numpy as np

from rnncli.arrays import Floats


def output_size(hidden_size: int, direction: str, merge: str) -> int:
    """Count the values that a layer gives a step."""
    return hidden_size * (2 if direction == "bidirectional" and merge == "concat" else 1)


def merged(states: Sequence[Floats], merge: str) -> Floats:
    """Make one array of the states of a layer's directions, shape (..., H) each."""
    if len(states) == 1:
        return states[0]
    with np.errstate(all="ignore"):
        return MERGES[merge](*states)


def _concat(forward: Floats, backward: Floats) -> Floats:
    return np.concatenate([forward, backward], axis=-1)


def _sum(forward: Floats, backward: Floats) -> Floats:
    return forward + backward


def _ave(forward: Floats, backward: Floats) -> Floats:
    return (forward + backward) / 2


def _mul(forward: Floats, backward: Floats) -> Floats:
    return forward * backward


MERGES = {"concat": _concat, "sum": _sum, "ave": _ave, "mul": _mul}
