"""A note on states that are all at the ends of their activation, for who looks on."""

from collections.abc import Iterator

import numpy as np

from rnncli.cli.outputs import note
from rnncli.cli.progress import on_terminal
from rnncli.engine.stream import Block
from rnncli.model.activations import NEAR_END, saturated
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network

# The share of states from which a note is written.
_SHARE = 0.9
# Rows of a block that are looked at, spread over it.
_ROWS = 512
_WAY_OUT = (
    ". Is the input large? --center and --scale bring it near 0: auto, or a number for each column"
)


class Saturation:
    """Which share of the states of the top recurrent layer is at the ends of its range.

    Only where standard error is a terminal; else blocks pass as they are.

    Parameters
    ----------
    network : Network
    quiet : bool
        Whether there is to be no note, as the run may never end.
    """

    def __init__(self, network: Network, *, quiet: bool) -> None:
        layers = [layer for layer in network.layers if isinstance(layer, Recurrent)]
        self._width = layers[-1].output_size
        self._ends = layers[-1].ends if on_terminal() and not quiet else None
        self._of_indices = network.indices is not None
        self._at_ends = self._all = 0

    def watched(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Pass blocks on."""
        return blocks if self._ends is None else self._counted(blocks, self._ends)

    def _counted(self, blocks: Iterator[Block], ends: tuple[float, float]) -> Iterator[Block]:
        for block in blocks:
            h = block.h[:: -(-len(block.h) // _ROWS) or 1, -self._width :]
            self._at_ends += int(np.count_nonzero(saturated(h, ends)))
            self._all += h.size
            yield block

    def write(self, *, scaled: bool) -> None:
        """Write the note, if there is reason to.

        Parameters
        ----------
        scaled : bool
            Whether the user has centered or scaled the input.
        """
        if self._ends is None or self._at_ends < max(1, _SHARE * self._all):
            return
        least, greatest = self._ends
        way_out = "" if scaled or self._of_indices else _WAY_OUT
        note(
            f"{100 * self._at_ends // self._all}% of the states are within {NEAR_END} of {least:g} "
            f"or {greatest:g}, the ends of their range: they say little but on which side a unit "
            f"is{way_out}"
        )
