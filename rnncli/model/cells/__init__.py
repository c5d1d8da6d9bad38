"""Cells: one time step each, written as its equation; a new cell is a file and an entry here."""

from rnncli.model.cells.cell import WEIGHT_NAMES as WEIGHT_NAMES
from rnncli.model.cells.cell import Cell as Cell
from rnncli.model.cells.cell import Multiply as Multiply
from rnncli.model.cells.cell import Numbers as Numbers
from rnncli.model.cells.cell import State as State
from rnncli.model.cells.cell import StepFunction as StepFunction
from rnncli.model.cells.cell import Weights as Weights
from rnncli.model.cells.cell import checked as checked
from rnncli.model.cells.cell import split_bias as split_bias
from rnncli.model.cells.cell import sum_biases as sum_biases
from rnncli.model.cells.gru import GRU as GRU
from rnncli.model.cells.lstm import LSTM as LSTM
from rnncli.model.cells.rnn import RNN as RNN

# Cells by their names in commands and files.
CELLS: dict[str, type[RNN] | type[LSTM] | type[GRU]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
