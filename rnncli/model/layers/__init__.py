"""Layers: what stands above each other in a network.

`Recurrent` has cells, which carry a state from step to step. The others are
functions of a row, see `rnncli.model.layers.stateless`.
"""

from rnncli.model.cells import CELLS, Cell
from rnncli.model.layers.layer import Convert, Layer, Masks, Multiply, Unroll
from rnncli.model.layers.recurrent import (
    DIRECTIONS,
    MERGES,
    Architecture,
    CellSizes,
    Recurrent,
    merged_size,
    per_cell,
)
from rnncli.model.layers.stateless import (
    Dense,
    Embedding,
    Masking,
    Normalization,
    Pointwise,
    Stateless,
)

__all__ = [
    "DIRECTIONS",
    "LAYERS",
    "MERGES",
    "Architecture",
    "CellSizes",
    "Convert",
    "Dense",
    "Embedding",
    "Layer",
    "Masking",
    "Masks",
    "Multiply",
    "Normalization",
    "Pointwise",
    "Recurrent",
    "Stateless",
    "Unroll",
    "merged_size",
    "name_of",
    "per_cell",
]

# Layers without state by the names that files have for them.
LAYERS: dict[str, type[Stateless]] = {
    "dense": Dense,
    "embedding": Embedding,
    "normalization": Normalization,
    "activation": Pointwise,
    "masking": Masking,
}


def name_of(part: Cell | Layer) -> str:
    """Return the name that files have for a cell or a layer without state; empty without one."""
    named: dict[str, type] = {**CELLS, **LAYERS}
    return next((name for name, kind in named.items() if type(part) is kind), "")
