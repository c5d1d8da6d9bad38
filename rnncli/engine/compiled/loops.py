"""What loops over time are compiled for, and how their arrays lie.

The units of a layer lie in panels, of as many as a vector has lanes; a few
neighbouring panels are a group. Weights lie in the order in which they are
read: for each group, for each row of the matrix, for each panel, for each
block, a vector.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from rnncli.engine.compiled.activations import FUNCTIONS
from rnncli.engine.compiled.code import Lanes
from rnncli.engine.compiled.machine import Machine, this_machine
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, Weights


class Panels(NamedTuple):
    """Neighbouring panels that are computed at once.

    Parameters
    ----------
    first : int
    number : int
        How many.
    units : int
        In the last of them; the others have one in every lane.
    """

    first: int
    number: int
    units: int


@dataclass(frozen=True)
class Loop:
    """A loop over time: what it is compiled for.

    Parameters
    ----------
    kind : type of Cell
    settings : str
        Of the cell, as text: that of a number reads back to the same one.
    cell : Cell
        Of this kind, without weights.
    inputs : int
        Features of the input that the loop multiplies, I; 0 where it takes
        projected inputs.
    hidden_size, blocks, with_state : int
        H, and how many blocks of sums there are: all, and the last ones, to
        which the product of the state is added.
    inner : bool
        Whether the cell has a product within a step (`Cell.inner`).
    dtype : numpy.dtype
    rows : int
        Sequences that go side by side.
    machine : Machine
    """

    kind: type[Cell]
    settings: str
    cell: Cell = field(compare=False)
    inputs: int
    hidden_size: int
    blocks: int
    with_state: int
    inner: bool
    dtype: np.dtype[np.floating]
    rows: int
    machine: Machine

    @property
    def lanes(self) -> Lanes:
        """As many as a vector has, or as there are units."""
        most = self.machine.bytes // self.dtype.itemsize
        units = 1 << (self.hidden_size - 1).bit_length()
        return Lanes(min(most, max(4, units)), self.dtype.itemsize * 8)

    @property
    def panels(self) -> int:
        """How many panels the units fill."""
        return -(-self.hidden_size // self.lanes.width)

    @property
    def at_once(self) -> int:
        """How many panels are in a group: as registers allow for their sums."""
        return max(1, min(self.panels, self.machine.rows_at_once // self.blocks))

    @property
    def groups(self) -> tuple[int, list[Panels]]:
        """How many groups of full panels there are, and those behind them."""
        full, rest = divmod(self.hidden_size, self.lanes.width)
        whole = full // self.at_once
        first = whole * self.at_once
        left = [Panels(first, full - first, self.lanes.width)] if full > first else []
        return whole, left + ([Panels(full, 1, rest)] if rest else [])

    def packed(self, W: Floats) -> Floats:
        """Put weights (K, blocks * H) in the order in which they are read."""
        return np.concatenate([group.ravel() for group in self._grouped(W)])

    def columns(self, W: Floats) -> Floats:
        """Put the columns of weights in the order of the sums of a step, (K, sums)."""
        return np.concatenate([group.reshape(len(W), -1) for group in self._grouped(W)], axis=1)

    def padded(self, array: Floats) -> Floats:
        """Copy values of units, (N, H): zeros fill the last panel, the last row those beside it."""
        N, H = array.shape
        rows, units = -(-N // self.rows) * self.rows, self.panels * self.lanes.width
        filled = np.zeros((rows, units), array.dtype)
        filled[:N, :H], filled[N:, :H] = array, array[-1]
        return filled

    def _filled(self, array: Floats) -> Floats:
        return np.pad(array, ((0, 0), (0, self.panels * self.lanes.width - self.hidden_size)))

    def _grouped(self, W: Floats) -> list[Floats]:
        """Cut weights into groups, (K, panels, blocks, lanes), with zeros behind H."""
        lanes = self.lanes.width
        padded = self._filled(W.reshape(-1, self.hidden_size))
        vectors = padded.reshape(len(W), -1, self.panels, lanes).swapaxes(1, 2)
        whole, left = self.groups
        firsts = [group * self.at_once for group in range(whole)] + [each.first for each in left]
        return np.split(vectors, firsts[1:], axis=1)


def can_compile(cell: Cell) -> bool:
    """Whether there is code for all activations of a cell."""
    named = [each for each in cell.settings.values() if isinstance(each, Activation)]
    return cell.compilable and all(each.name in FUNCTIONS for each in named)


def loop_of(cell: Cell, *, projects: bool) -> Loop:
    """Return the loop of a cell for several rows on this machine."""
    W_xh, W_hh, b_h = cell.operands
    H, machine = cell.hidden_size, this_machine()
    return Loop(
        kind=type(cell),
        settings=str(dict(cell.settings)),
        cell=cell,
        inputs=len(W_xh) if projects else 0,
        hidden_size=H,
        blocks=len(b_h) // H,
        with_state=W_hh.shape[1] // H,
        inner=cell.inner is not None,
        dtype=b_h.dtype,
        rows=machine.rows_at_once,
        machine=machine,
    )
