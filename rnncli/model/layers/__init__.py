"""Layers: what stands above each other in a network.

`Recurrent` has cells, which carry a state from step to step. The others are
functions of a row, see `rnncli.model.layers.stateless`.
"""

from typing import TypeAlias

from rnncli.model.cells import CELLS, Cell
from rnncli.model.layers.recurrent import DIRECTIONS as DIRECTIONS
from rnncli.model.layers.recurrent import MERGES as MERGES
from rnncli.model.layers.recurrent import Architecture as Architecture
from rnncli.model.layers.recurrent import CellSizes as CellSizes
from rnncli.model.layers.recurrent import Recurrent as Recurrent
from rnncli.model.layers.recurrent import merged_size as merged_size
from rnncli.model.layers.recurrent import per_cell as per_cell
from rnncli.model.layers.stateless import Convert as Convert
from rnncli.model.layers.stateless import Dense as Dense
from rnncli.model.layers.stateless import Embedding as Embedding
from rnncli.model.layers.stateless import LayerNormalization as LayerNormalization
from rnncli.model.layers.stateless import Masking as Masking
from rnncli.model.layers.stateless import Masks as Masks
from rnncli.model.layers.stateless import Multiply as Multiply
from rnncli.model.layers.stateless import Normalization as Normalization
from rnncli.model.layers.stateless import Pointwise as Pointwise
from rnncli.model.layers.stateless import Stateless as Stateless

Layer: TypeAlias = Recurrent | Stateless
# Layers without state by the names that files have for them.
LAYERS: dict[str, type[Stateless]] = {
    "dense": Dense,
    "embedding": Embedding,
    "normalization": Normalization,
    "layer_normalization": LayerNormalization,
    "activation": Pointwise,
    "masking": Masking,
}


def name_of(part: Cell | Layer) -> str:
    """Return the name that files have for a cell or a layer without state; empty without one."""
    named: dict[str, type] = {**CELLS, **LAYERS}
    return next((name for name, kind in named.items() if type(part) is kind), "")
