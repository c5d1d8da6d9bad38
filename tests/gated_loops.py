"""LSTM and GRU by the plain loop, for batches; see `loop` and `networks`."""

from typing import Any

import loop
import numpy as np
from loop import exact as exact
from loop import to_bits as to_bits
from networks import VARIANTS as VARIANTS
from networks import drawn_weights as drawn_weights
from networks import gated_cell as gated_cell

from rnncli import Network, Recurrent


def gated_loop(cell: Any, x: Any, state: Any, operand: loop.Function = exact) -> list[Any]:
    """Run sequences (N, T, I); return each array of the state after all steps, (N, T, size)."""
    network, h0 = Network(Recurrent(cell)), np.concatenate(state, axis=1)
    runs = [loop.run(network, *each, operand) for each in zip(x, h0, strict=True)]
    arrays = [[run.outputs[0] for run in runs], [run.c[0] for run in runs]]
    return [np.array(each) for each in arrays[: len(state)]]


lstm_loop = gated_loop
