"""Step by step, a row at a time."""

from rnncli.arrays import Floats, contiguous
from rnncli.cells import elman
from rnncli.network import Cell
from rnncli.precision import Precision
from rnncli.steps import Steps
from rnncli.unroll.blocks import blocks

# Steps in a block: after each a lane may be left.
BLOCK = 64


def stepwise(cell: Cell, x: Steps, h0: Floats, precision: Precision, out: Steps) -> None:
    """Two products a step, a row at a time: the reference.

    ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``

    The bits of a sequence depend on its own steps and the weights alone:
    not on the batch, on where the steps are cut into blocks, or on the
    number of BLAS threads (on one processor, with one NumPy).

    Source: cell 6 of the notebook; ``SimpleRNNCell`` in Keras.
    """
    step = elman(cell, precision)
    h_t = h0
    for steps in blocks(len(x), BLOCK):
        for x_t, out_t in zip(x[steps], out[steps], strict=True):
            h_t = out_t[...] = step(contiguous(x_t), h_t[: len(x_t)])
