"""The results of a run and their style, as writers take them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import InputError
from rnncli.model.network import Network


class Columns(NamedTuple):
    """Values of a row that come from one layer."""

    array: str  # "h", "c" or "y": the array of `Rows` with these columns
    name: str  # "h", or "layer_1_h" below the top; a unit adds its number
    width: int


class SequenceStates(NamedTuple):
    """The state of each of K sequences, before its first step or after its last."""

    t: Integers  # (K,): the number of its steps
    # For each layer that is written, the bottom one first, h (K, H) and c (K, C): both directions
    # side by side, and no column of c where there is none.
    layers: Sequence[tuple[Floats, Floats]]
    y: Floats | None = None  # (K, O): the model's one output for each

    def rows(self) -> Rows:
        """Return the states of all layers side by side, as rows without inputs."""
        h, c = (np.concatenate(arrays, axis=1) for arrays in zip(*self.layers, strict=True))
        return Rows(np.empty((len(self.t), 0)), t=self.t, h=h, c=c, y=self.y)


class Result(NamedTuple):
    """Describes a run to its writer: the network, the names of columns and the keys."""

    model: Mapping[str, Any]  # the network, for the JSON document and titles
    columns: Sequence[str]  # names of the features in a row
    # The columns of a row: all of h, those of c, those of y, each from the bottom layer up.
    values: Sequence[Columns]
    # The states of all sequences that have come so far, at their start and after the latest rows;
    # `final` may raise a NotFiniteError.
    initial: Callable[[], SequenceStates]
    final: Callable[[], SequenceStates]
    key_columns: Sequence[str] = ()  # names of the columns of a key; none for a single sequence
    keys: Sequence[tuple[str, ...]] = ()  # of each sequence so far
    header: Sequence[str] = ()  # names of the input's columns, if its fields are written too
    types: Any = None  # a pyarrow.Schema of these columns, where they have types
    # (T,), (N, T), or (N,) of a row a sequence, if the number of rows is known beforehand.
    shape: tuple[int, ...] = ()
    all_layers: bool = False
    forward: bool = True  # whether the initial state comes right before the first row
    last: bool = False  # whether the rows are the final states and not the steps
    # Arrays in the columns of CSV, tables, arrays and pictures; JSON has them all.
    shown: Sequence[str] = ("h",)

    @property
    def layers(self) -> list[Columns]:
        """The values in the columns of CSV; a vanilla cell and a GRU have no c."""
        return [layer for layer in self.values if layer.array in self.shown and layer.width]

    @property
    def units(self) -> list[str]:
        """Names of the columns: ``h_0``, ``h_1``, ..., of lower layers ``layer_1_h_0``, ..."""
        return [f"{layer.name}_{j}" for layer in self.layers for j in range(layer.width)]

    @property
    def arrays(self) -> list[str]:
        """The array of each of the columns."""
        return [layer.array for layer in self.layers for _ in range(layer.width)]

    @property
    def new_keys(self) -> Sequence[str]:
        """Key columns that do not stand among the input's columns."""
        return () if set(self.key_columns) <= set(self.header) else self.key_columns

    def rows(self, block: Rows) -> Floats:
        """Return the columns of a block."""
        arrays = [getattr(block, name) for name in self.shown]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)

    def by_layer(self, block: Rows) -> list[tuple[Columns, Floats]]:
        """Return all arrays of a block, layer by layer."""
        arrays, ends = [], dict.fromkeys("hcy", 0)
        for layer in self.values:
            start, ends[layer.array] = ends[layer.array], ends[layer.array] + layer.width
            arrays.append((layer, getattr(block, layer.array)[:, start : ends[layer.array]]))
        return arrays


class Style(NamedTuple):
    """How results are written."""

    digits: int | None = None  # after the point; by default the fewest that read back the same
    header: bool = True  # whether CSV starts with the names of its columns
    delimiter: str = ","  # between the fields of CSV


def columns_of(
    network: Network, *, all_layers: bool, all_states: bool, last: bool
) -> list[Columns]:
    """Return the values of a `Result` of a network."""
    count, below = len(network.layers), len(network.layers) - network.head
    h, c, y = [], [], []
    for number, layer in enumerate(network.layers, start=1):
        prefix = "" if number in (below, count) else f"layer_{number}_"
        if prefix and not all_layers:
            continue
        if number > below:
            y.append(Columns("y", f"{prefix}y", layer.output_size))
        elif layer.cells:
            size = sum(cell.state_sizes[0] for cell in layer.cells) if last else layer.output_size
            h.append(Columns("h", f"{prefix}h", size))
            c.append(Columns("c", f"{prefix}c", layer.c_size))
        elif not last:
            h.append(Columns("h", f"{prefix}y", layer.output_size))
            c.append(Columns("c", f"{prefix}c", 0))
    if last:
        y = [Columns("y", "y", network.output_size)] if network.one_output else []
    return [*h, *(c if all_states else []), *y]


def states_by_layer(
    network: Network, state: Floats, *, all_layers: bool
) -> list[tuple[Floats, Floats]]:
    """Return the layers of `SequenceStates`: copies of slices of the state of all cells, (K, S)."""
    layers = []
    for layer, slices in zip(network.layers, network.state_slices, strict=True):
        if layer.cells:
            h = [state[:, first] for first, *_ in slices]
            c = [state[:, :0], *(state[:, each] for _, *rest in slices for each in rest)]
            layers.append((np.concatenate(h, axis=1), np.concatenate(c, axis=1)))
    return layers if all_layers else layers[-1:]


def check_names(form: str, result: Result, *, grouped: bool) -> None:
    """Check that no column of the input has the name of another column of the result."""
    keys, header = list(result.key_columns), result.header
    repeated, hint = [name for name in keys if keys.count(name) > 1], "rename it"
    if not repeated and form in ("csv", "tsv", "table", "parquet", "arrow"):
        new = {*result.units, *(["t"] if not header else [] if grouped else keys)}
        repeated = [name for name in header or keys if name in new]
        hint = "rename it, or take `format` jsonl, where it stands apart"
    if repeated:
        message = f"the input's column {repeated[0]!r} would stand beside another of that name"
        raise InputError("", message, hint)
