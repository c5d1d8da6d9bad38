"""Names that stand for one of several."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def choice(name: str, chosen: str, choices: Mapping[str, T]) -> T:
    """Look a name up.

    Raises
    ------
    ValueError
        There is no such name; the message lists those there are.
    """
    if chosen not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {chosen!r}")
    return choices[chosen]
