"""What a writer takes: the results of a run, and how to write them."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, groupby
from typing import Any, NamedTuple

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.engine.run import c_size
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import InputError, printable
from rnncli.model.network import Network
from rnncli.writers.labels import Key, in_words


class Columns(NamedTuple):
    """Values of a row that come from one layer."""

    array: str  # "h", "c" or "y": the array of `Rows` that they are columns of
    name: str  # without the number of each: "h", or "layer_1_h" below the top
    width: int
    directions: Sequence[str] = ()  # whose values stand side by side, where there are two


class SequenceStates(NamedTuple):
    """The state of each of K sequences, before its first step or after its last."""

    t: Integers  # (K,): the steps that each has had
    # For each layer that is written, the bottom one first, its state arrays by name, h first:
    # (K, H), or (K, 2 H) with both directions side by side.
    layers: Sequence[Mapping[str, Floats]]
    y: Floats | None = None  # (K, O): what the model gives of each as a whole

    @property
    def c(self) -> list[Floats]:
        """The state of each layer without h, (K, C)."""
        return [
            np.concatenate([h[:, :0], *others], axis=1)
            for h, *others in (layer.values() for layer in self.layers)
        ]

    def rows(self) -> Rows:
        """Return the states of all layers side by side, as rows without inputs."""
        h = [layer["h"] for layer in self.layers]
        no_input = np.empty((len(self.t), 0))
        c = np.concatenate(self.c, axis=1)
        return Rows(no_input, t=self.t, h=np.concatenate(h, axis=1), c=c, y=self.y)


class Result(NamedTuple):
    """Describes a run to its writer: the network, the names of columns and the keys."""

    model: Mapping[str, Any]  # the network, for the JSON document and titles
    columns: Sequence[str]  # names of the features in a row
    # What a row holds: all columns of h, those of c, those of y, each from the bottom layer up.
    values: Sequence[Columns]
    # The states of all sequences that have come so far, at their start and after the latest rows;
    # `final` may raise a NotFiniteError.
    initial: Callable[[], SequenceStates]
    final: Callable[[], SequenceStates]
    key_columns: Sequence[str] = ()  # names of the columns of a key; none for a single sequence
    keys: Sequence[Key] = ()  # of each sequence; it grows as they come
    header: Sequence[str] = ()  # names of the input's columns, if its cells are written too
    types: Any = None  # a pyarrow.Schema of these columns, where they have types
    # (T,), (N, T), or (N,) of a row a sequence, if the number of rows is known beforehand.
    shape: tuple[int, ...] = ()
    all_layers: bool = False
    forward: bool = True  # whether the initial state comes right before the first row
    last: bool = False  # whether the rows are the final states and not the steps
    # Arrays in the columns of CSV, tables, arrays and pictures; JSON has them all.
    shown: Sequence[str] = ("h",)

    @property
    def units(self) -> list[str]:
        """Names of the columns: ``h_0``, ``h_1``, ..., of lower layers ``layer_1_h_0``, ..."""
        return [
            f"{part.name}_{j}"
            for part in self.values
            if part.array in self.shown
            for j in range(part.width)
        ]

    @property
    def arrays(self) -> list[str]:
        """Which array each of the columns is of."""
        shown = (part for part in self.values if part.array in self.shown)
        return [part.array for part in shown for _ in range(part.width)]

    def name_of(self, number: int) -> str:
        """Name a sequence in a picture by its key; empty text where there is one."""
        if not self.key_columns:
            return ""
        return printable(in_words(self.key_columns, self.keys[number]))

    def rows(self, block: Rows) -> Floats:
        """Return the columns of a block."""
        arrays = [getattr(block, name) for name in self.shown]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)

    def by_layer(self, block: Rows) -> list[tuple[Columns, Floats]]:
        """Return all that a block holds, each array layer by layer."""
        found: list[tuple[Columns, Floats]] = []
        for name, group in groupby(self.values, lambda part: part.array):
            parts = list(group)
            ends = [*accumulate(part.width for part in parts)][:-1]
            found += zip(parts, np.split(getattr(block, name), ends, axis=1), strict=True)
        return found


class Style(NamedTuple):
    """How results are written."""

    digits: int | None = None  # after the point; by default the fewest that read back the same
    header: bool = True  # whether CSV starts with the names of its columns
    delimiter: str = ","  # between the cells of CSV
    follow: bool = False  # whether each row is passed on at once
    worded: Callable[[str], str] = str  # shows a note, in which parameters stand between backticks
    place: str = ""  # where results go, in messages


def columns_of(
    network: Network, *, all_layers: bool, all_states: bool, last: bool
) -> list[Columns]:
    """Return the values of a `Result` of a network."""
    below = len(network.layers) - network.head
    h, c, y = [], [], []
    for number, layer in enumerate(network.layers, start=1):
        at_top = number in (below, len(network.layers))
        prefix = "" if at_top else f"layer_{number}_"
        kind = f"{prefix}{'h' if layer.cells else 'y'}"
        if not (all_layers or at_top) or (last and not (layer.cells or number > below)):
            continue
        if number > below:
            y.append(Columns("y", kind, layer.output_size))
            continue
        size = sum(cell.state_sizes[0] for cell in layer.cells) if last else layer.output_size
        both = layer.directions if len(layer.cells) > 1 else ()
        apart = last or layer.settings.get("merge") == "concat"
        h.append(Columns("h", kind, size, both if apart else ()))
        if all_states:
            c.append(Columns("c", f"{prefix}c", c_size(layer), both))
    if last:
        y = [Columns("y", "y", network.output_size)] if network.one_output else []
    return [*h, *c, *y]


def states_by_layer(
    network: Network, state: Floats, *, all_layers: bool
) -> list[dict[str, Floats]]:
    """Return the layers of `SequenceStates`: copies of parts of the state of all cells, (K, S)."""
    layers = []
    for layer, slices in zip(network.layers, network.state_slices, strict=True):
        arrays: dict[str, list[Floats]] = {}
        for cell, places in zip(layer.cells, slices, strict=True):
            for name, place in zip(cell.state_names, places, strict=True):
                arrays.setdefault(name, []).append(state[:, place])
        if arrays:
            layers.append({name: np.concatenate(h, axis=1) for name, h in arrays.items()})
    return layers if all_layers else layers[-1:]


def check_names(form: str, result: Result, *, grouped: bool) -> None:
    """Check that no column of the input has the name of another column of the result."""
    keys, header = list(result.key_columns), result.header
    repeated = [name for name in keys if keys.count(name) > 1]
    hint = "rename it"
    if not repeated and form in ("csv", "tsv", "table", "parquet", "arrow"):
        own = {*result.units, *([] if header else ["t"])}
        if header and not grouped:
            own.update(keys)
        repeated = [name for name in header or keys if name in own]
        hint = "rename it, or take `format` jsonl, where it stands apart"
    if repeated:
        message = f"the input's column {repeated[0]!r} would stand beside another of that name"
        raise InputError("", message, hint)
