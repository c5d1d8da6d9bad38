"""Cells: one time step each, written as its equation.

A cell knows its weights and one step. How many steps are taken, in which
order and by which products is the engine's matter, so a new cell is a file
here and an entry in `CELLS`.
"""

from rnncli.model.cells.cell import (
    WEIGHT_NAMES,
    Cell,
    Combine,
    Multiplier,
    Operands,
    Product,
    State,
    Weights,
    checked,
    extra_shapes,
    weight_shapes,
)
from rnncli.model.cells.gru import GRU
from rnncli.model.cells.lstm import LSTM
from rnncli.model.cells.rnn import RNN

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "RNN",
    "WEIGHT_NAMES",
    "Cell",
    "Combine",
    "Multiplier",
    "Operands",
    "Product",
    "State",
    "Weights",
    "checked",
    "extra_shapes",
    "weight_shapes",
]

# Cells by the names that commands and files have for them.
CELLS: dict[str, type[RNN] | type[LSTM] | type[GRU]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
