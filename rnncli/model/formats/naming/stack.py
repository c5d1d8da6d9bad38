"""What each naming finds in a file: stacks of recurrent layers."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from rnncli.model.errors import shown
from rnncli.model.formats.spec import LayerSpec
from rnncli.model.formats.tensors import Tensors

PICK = "pick one with `layer` NAME"

# Layers, the bottom one first, and a sentence for each thing taken for granted.
Found = tuple[Sequence[LayerSpec], Sequence[str]]

# By how many matrices stand side by side in the recurrent weights.
_GATED = {3: "a GRU", 4: "an LSTM"}


class Stack(NamedTuple):
    """Recurrent layers that belong together.

    Parameters
    ----------
    labels : tuple of str
        What picks it, or a part of it.
    gated : str or None
        What shows that it is an LSTM or a GRU; None for simple layers.
    find : callable
        Returns its layers; raises InputError where they do not go together.
    """

    labels: tuple[str, ...]
    gated: str | None
    find: Callable[[], Found]


def gated(tensors: Tensors, names: Iterable[str], *, transposed: bool = False) -> str | None:
    """Tell an LSTM or a GRU by its recurrent weights, (H, 4 H) or (H, 3 H)."""
    for name in names:
        shape = tensors.entries[name].shape if name in tensors.entries else ()
        H, width = (shape[::-1] if transposed else shape) if len(shape) == 2 else (0, 0)
        kind = _GATED.get(width // H) if H and width % H == 0 else None
        if kind:
            return f"{shown(name)} has shape {shape}, as {kind}'s"
    return None
