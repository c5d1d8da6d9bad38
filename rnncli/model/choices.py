"""Names that stand for the members of a family."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def choice(name: str, chosen: str, choices: Mapping[str, T]) -> T:
    """Look a name up among the members of a family.

    Raises
    ------
    ValueError
        No member has that name; the message lists those there are.
    """
    if chosen not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {chosen!r}")
    return choices[chosen]
