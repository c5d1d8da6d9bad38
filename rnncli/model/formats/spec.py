"""What is known of the layers in a file before their weights are read.

A naming finds the layers by the names of their tensors, the file's metadata
completes them, and what the caller says fills in or must agree. The network
is built of what comes out, and only then are its weights read.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, Weights
from rnncli.model.cells.gates import ordered
from rnncli.model.formats.tensors import Tensors

PICK = "pick one with `layer` NAME"


class Layout(NamedTuple):
    """How the arrays of a cell stand in a file.

    Parameters
    ----------
    transposed : bool
        Whether matrices have a row for each unit that they lead to.
    orders : mapping
        By cell, the place that each of our gates has in the file; gates stand
        as ours where it is left out.
    """

    transposed: bool = False
    orders: Mapping[str, Sequence[int]] = {}

    def turned(self, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the shape here of a shape there, and the other way round."""
        return shape[::-1] if self.transposed else shape

    def ours(self, array: Floats, cell: str) -> Floats:
        """Return an array of a file as the cell has it."""
        array = array.T if self.transposed else array
        return ordered(array, self.orders[cell]) if cell in self.orders else array

    def theirs(self, array: Floats, cell: str) -> Floats:
        """Return an array of a cell as the file has it."""
        if cell in self.orders:
            array = ordered(array, np.argsort(self.orders[cell]).tolist())
        return array.T if self.transposed else array


OURS = Layout()

# A bias, or its two parts.
BIASES = ("b_h", "b_x", "b_r")


class CellSpec(NamedTuple):
    """What is known of a cell.

    Parameters
    ----------
    tensors : mapping
        Names of its tensors, by the names that `Weights` has for arrays. A
        bias may also be two: ``b_x`` is added to the input's product and
        ``b_r`` to the state's (PyTorch), ``b_xr`` is both, (2, G H) (Keras).
        Without a bias it is zeros.
    cell : str
        Of `CELLS`; empty where the shapes are of none.
    settings : mapping
        Those of `Cell.settings` that are known.
    layout : Layout
    assumed : mapping
        Settings to take, instead of the defaults of the cell, where nothing
        tells them.
    """

    tensors: Mapping[str, str]
    cell: str
    settings: Mapping[str, Any] = {}
    layout: Layout = OURS
    assumed: Mapping[str, Any] = {}


class LayerSpec(NamedTuple):
    """What is known of a layer.

    Parameters
    ----------
    cells : tuple of CellSpec
        One, or two for both directions, the forward one first; two have
        their direction among the settings. None in a layer without state.
    settings : mapping
        Those of `Layer.settings` that are known. A `size` that is left out is
        that of the layer below, or else above.
    kind : str
        Of `LAYERS`, for a layer without state; empty where nothing tells.
    tensors : mapping
        Names of its tensors, by the names that such a layer has for arrays.
    layout : Layout
        Of these.
    """

    cells: tuple[CellSpec, ...] = ()
    settings: Mapping[str, Any] = {}
    kind: str = ""
    tensors: Mapping[str, str] = {}
    layout: Layout = OURS

    @property
    def names(self) -> list[str]:
        """Names of all tensors, also of those of its cells."""
        specs: list[LayerSpec | CellSpec] = [self, *self.cells]
        return [name for spec in specs for name in spec.tensors.values()]


def cell_of(tensors: Tensors, names: Mapping[str, str], layout: Layout = OURS) -> str:
    """Tell which cell has such arrays: by one that no other has, or by the shape of ``W_hh``.

    It is (H, H) in an RNN, (H, 3 H) in a GRU and (H, 4 H) in an LSTM.
    """
    for kind, cell in CELLS.items():
        if names.keys() & set(cell.extra_names):
            return kind
    entry = tensors.entries.get(names["W_hh"])
    H, *widths = layout.turned(entry.shape) if entry and entry.shape else (0,)
    return next((kind for kind, cell in CELLS.items() if widths == [cell.gates * H]), "")


def cell_setting(cell: str, name: str, value: Any) -> Any:
    """Return a setting as the cell takes it; raise ValueError where it does not."""
    none = np.empty(0)
    return CELLS[cell](Weights(none, none, none), **{name: value}).settings[name]
