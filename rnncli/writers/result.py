"""The results of a run and their style, as writers take them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import InputError


class Result(NamedTuple):
    """Describes a run to its writer: the network, the names of columns and the keys."""

    model: Mapping[str, Any]  # the network, for the JSON document and titles
    columns: Sequence[str]  # names of the features in a row
    # The names in `Rows.values` that are columns of CSV, tables, arrays and pictures, and how many
    # columns each has; JSON has all values.
    shown: Mapping[str, int]
    # The states of all sequences that have come so far, at their start and after the latest rows,
    # as rows without inputs; `final` may raise a NotFiniteError.
    initial: Callable[[], Rows]
    final: Callable[[], Rows]
    key_columns: Sequence[str] = ()  # names of the columns of a key; none for a single sequence
    keys: Sequence[tuple[str, ...]] = ()  # of each sequence so far
    header: Sequence[str] = ()  # names of the input's columns, if its fields are written too
    types: Any = None  # a pyarrow.Schema of these columns, where they have types
    # (T,), (N, T), or (N,) of a row a sequence, if the number of rows is known beforehand.
    shape: tuple[int, ...] = ()
    all_layers: bool = False
    forward: bool = True  # whether the initial state comes right before the first row
    last: bool = False  # whether the rows are the final states and not the steps
    # The number of steps of each sequence in the input, where other rows come after them.
    ends: Callable[[], Integers] | None = None

    @property
    def units(self) -> list[str]:
        """Names of the columns: ``h_0``, ``h_1``, ..., of lower layers ``layer_1_h_0``, ..."""
        return [f"{name}_{j}" for name, size in self.shown.items() for j in range(size)]

    @property
    def arrays(self) -> list[str]:
        """The array of each of the columns: h, c or y."""
        return [name[-1] for name, size in self.shown.items() for _ in range(size)]

    @property
    def new_keys(self) -> Sequence[str]:
        """Key columns that do not stand among the input's columns."""
        return () if set(self.key_columns) <= set(self.header) else self.key_columns

    def rows(self, block: Rows) -> Floats:
        """Return the columns of a block."""
        arrays = [block.values[name] for name in self.shown]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)


class Style(NamedTuple):
    """How results are written."""

    digits: int | None = None  # after the point; by default the fewest that read back the same
    header: bool = True  # whether CSV starts with the names of its columns
    delimiter: str = ","  # between the fields of a line; none in JSON lines


def check_names(result: Result, *, is_table: bool, grouped: bool) -> None:
    """Check that no column of the input has the name of another column of the result."""
    keys, header = list(result.key_columns), result.header
    repeated, hint = [name for name in keys if keys.count(name) > 1], "rename it"
    if not repeated and is_table:
        new = {*result.units, *(["t"] if not header else [] if grouped else keys)}
        repeated = [name for name in header or keys if name in new]
        hint = "rename it, or take `format` jsonl, where it stands apart"
    if repeated:
        message = f"the input's column {repeated[0]!r} would stand beside another of that name"
        raise InputError("", message, hint)
