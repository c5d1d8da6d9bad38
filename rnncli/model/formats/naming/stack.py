"""What each naming finds in a file: stacks of recurrent layers."""

from collections.abc import Callable
from typing import NamedTuple

from rnncli.model.formats.tensors import NamedNetwork, Shape

PICK = "pick one with --layer NAME"

# By how many matrices stand side by side in the recurrent weights.
_GATED = {3: "a GRU", 4: "an LSTM"}


class Stack(NamedTuple):
    """Recurrent layers that belong together.

    Parameters
    ----------
    labels : tuple of str
        What picks it, or a part of it, by --layer.
    gated : str or None
        What shows that it is an LSTM or a GRU; None for simple layers.
    network : callable
        Names its tensors; raises ValueError where they do not go together.
    """

    labels: tuple[str, ...]
    gated: str | None
    network: Callable[[], NamedNetwork]


def gated(shape: Shape) -> str | None:
    """Tell an LSTM or a GRU by its recurrent weights, (H, 4 H) or (H, 3 H)."""
    if len(shape) != 2 or not shape[0] or shape[1] % shape[0]:
        return None
    return _GATED.get(shape[1] // shape[0])
