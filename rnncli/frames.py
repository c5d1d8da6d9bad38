"""Tables in memory as input and as result of a run: of any library, arrays and lists."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, TextIO

import numpy as np

from rnncli.engine.rows import Rows, join, steps_in_block
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.errors import InputError, check_installed, listed, shown
from rnncli.readers.columns import choose_all, make_input
from rnncli.readers.input import OF_TEXT, Input, Keys, Layout, check_layout, check_rows, unnamed
from rnncli.writers.result import Result, Style

# Names of types, in any library.
_NUMBERS = re.compile(r"(?i)bool|u?int\d|half|float|double|decimal")
_EXPECTED = "source: expected files, a table such as a DataFrame, an array or a list of numbers"


class Pandas:
    """A pandas.DataFrame, or a Series as one; the result has its index."""

    def __init__(self, source: Any) -> None:
        self._frame = source if hasattr(source, "columns") else source.to_frame()
        self.labels = [*self._frame.columns]
        self.levels = [*self._frame.index.names]
        self._columns = [column for _, column in self._frame.items()]

    def __len__(self) -> int:
        return len(self._frame)

    def get_numbers(self, i: int) -> Any:
        """Return a column as float64, with NaN for missing values, or the name of its type."""
        column = self._columns[i]
        if not _NUMBERS.match(str(column.dtype)):
            return str(column.dtype)
        return column.to_numpy(np.float64, na_value=np.nan)

    def get_values(self, i: int) -> list[Any]:
        """Return a column as a list."""
        column = self._columns[i]
        values: list[Any] = column.astype(object).where(column.notna(), None).tolist()
        return values

    def build(
        self, rows: Integers, ahead: Truths, columns: Sequence[int], keys: Sequence[int], new: Any
    ) -> Any:
        """Make a table of some columns and new ones; cells ahead are missing, but for the keys."""
        import pandas as pd

        table = self._frame.iloc[rows, columns]
        if ahead.any() and not {*columns} <= {*keys}:
            table = table.where(~ahead[:, None] | np.isin(columns, keys))
        return pd.concat([table, pd.DataFrame(new, index=table.index)], axis=1)


class Arrow:
    """A table of a library with Arrow's own interface, such as polars, DuckDB and PyArrow."""

    def __init__(self, source: Any) -> None:
        check_installed("pyarrow", type(source).__name__)
        import pyarrow as pa

        self._source = source
        if hasattr(source, "to_frame"):  # a Series of polars
            source = source.to_frame()
        # As polars exports it itself, text is of a type that PyArrow can select.
        self._table = source.to_arrow() if hasattr(source, "to_arrow") else pa.table(source)
        self.labels = self._table.column_names

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def get_numbers(self, i: int) -> Any:
        """Return a column as float64, with NaN for missing values, or the name of its type."""
        column = self._table.columns[i]
        if not _NUMBERS.match(str(column.type)):
            return str(column.type)
        return column.cast("float64").to_numpy()

    def get_values(self, i: int) -> list[Any]:
        """Return a column as a list."""
        values: list[Any] = self._table.columns[i].to_pylist()
        return values

    def build(
        self, rows: Integers, ahead: Truths, columns: Sequence[int], keys: Sequence[int], new: Any
    ) -> Any:
        """Make a table of some columns and new ones; cells ahead are missing, but for the keys."""
        import pyarrow as pa

        chosen = {True: pa.array(rows), False: pa.array(rows, mask=ahead)}
        arrays = [self._table.columns[i].take(chosen[i in keys]) for i in columns]
        arrays += map(pa.array, new.values())
        table = pa.table(arrays, names=[*(self.labels[i] for i in columns), *new])
        if isinstance(self._source, pa.RecordBatch):
            return table.combine_chunks().to_batches()[0]
        if isinstance(self._source, pa.RecordBatchReader):
            return table.to_reader()
        library = sys.modules[type(self._source).__module__.partition(".")[0].lstrip("_")]
        return getattr(library, "from_arrow", lambda table: table)(table)


class Array:
    """An array of shape (T, I) or (T,), or a list of numbers or rows."""

    def __init__(self, source: Any) -> None:
        self._is_list = isinstance(source, list | tuple)
        try:
            self._array = np.asarray(source)
        except ValueError:
            raise ValueError(f"{_EXPECTED}; the rows of this one differ in length") from None
        if self._array.ndim == 1:
            self._array = self._array[:, None]
        if self._array.ndim != 2 or self._array.dtype.kind not in "biuf":
            what = (
                f"an array of shape {self._array.shape}"
                if self._array.ndim > 2
                else f"{self._array.dtype} values"
            )
            raise ValueError(f"{_EXPECTED}, got {what}")
        self.labels = unnamed(self._array.shape[1])

    def __len__(self) -> int:
        return len(self._array)

    def get_numbers(self, i: int) -> Any:
        """Return a column as float64."""
        return self._array[:, i].astype(np.float64)

    def get_values(self, i: int) -> list[Any]:
        """Return a column as a list."""
        values: list[Any] = self._array[:, i].tolist()
        return values

    def build(
        self, rows: Integers, ahead: Truths, columns: Sequence[int], keys: Sequence[int], new: Any
    ) -> Any:
        """Make an array of the new columns, after all of the source if these are copied."""
        new.pop("t", None)
        results = np.stack([*new.values()], axis=1)
        if len(columns) > len(keys):
            copied = np.where(ahead[:, None] & ~np.isin(columns, keys), np.nan, self._array[rows])
            results = np.hstack([copied, results])
        return results.tolist() if self._is_list else results


def open_table(source: Any) -> Pandas | Arrow | Array | None:
    """Return the table, array or list that is in memory; None for files."""
    if isinstance(source, str | os.PathLike):
        return None
    if hasattr(source, "iloc"):
        return Pandas(source)
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "column_names"):
        return Arrow(source)
    if hasattr(source, "collect"):
        raise ValueError(f"{_EXPECTED}; of a {type(source).__name__} give source.collect()")
    if hasattr(source, "__array__"):
        return Array(source)
    if isinstance(source, list | tuple) and source and isinstance(source[0], str | os.PathLike):
        return None
    if isinstance(source, list | tuple) and source:
        return Array(source)
    if hasattr(source, "__iter__") and not isinstance(source, dict):
        return None
    raise ValueError(f"{_EXPECTED}, got {shown(repr(source))}")


class Frame:
    """Reads a table and makes the result; the `cells` of its rows are their numbers."""

    def __init__(self, table: Pandas | Arrow | Array, name: str, *, passthrough: bool) -> None:
        self._table, self._name, self._passthrough = table, name, passthrough
        self._names = [*map(str, table.labels)]
        self._grouping: Sequence[int] = ()
        self._described: Result
        self._blocks: list[Rows] = []
        self.result: Any = None

    def open(self, layout: Layout, keys: Keys) -> Input:
        """Return the table as an input."""
        check_layout(self._name, layout, "a table", *OF_TEXT)
        layout = layout._replace(
            columns=[*map(self._find_label, layout.columns)],
            group_by=[*map(self._find_label, layout.group_by)],
        )
        chosen = choose_all(self._name, layout, len(self._names), self._names)
        self._grouping = chosen.keys
        labels = [repr(self._names[i]) for i in chosen.features]
        rows = check_rows(self._name, self._rows(chosen.features, layout, keys), labels, layout)
        source = make_input(rows, chosen, self._names, keys)
        header = source.header or source.key_columns or ["t"]
        return source._replace(header=header, name=self._name, note="")

    def _find_label(self, column: str | int) -> str | int:
        """Return the number of a column given by its label, where labels are integers."""
        labels, levels = self._table.labels, getattr(self._table, "levels", ())
        if column in levels and column not in labels:
            what = f"{column!r} is a level of the index, not a column"
            raise InputError(self._name, what, "give frame.reset_index()")
        if isinstance(column, str) or not any(isinstance(each, Integral) for each in labels):
            return column
        if column not in labels:
            what = f"no column {column}; there are {listed(map(repr, labels))}"
            raise InputError(self._name, what)
        return labels.index(column) + 1

    def _rows(self, chosen: Sequence[int], layout: Layout, keys: Keys) -> Iterator[Rows]:
        columns = [self._get_numbers(i) for i in chosen]
        key = keys.number(*map(self._get_texts, self._grouping)) if self._grouping else None
        index: Any = np.arange(len(self._table))
        steps = steps_in_block(len(chosen), layout.block_steps)
        for start in range(0, len(index), steps):
            block = slice(start, start + steps)
            x = np.column_stack([column[block] for column in columns])
            yield Rows(x, None if key is None else key[block], cells=index[block])

    def _get_numbers(self, i: int) -> Floats:
        """Return a column as float64, with NaN for missing values."""
        numbers = self._table.get_numbers(i)
        if isinstance(numbers, str):
            what = f"column {self._names[i]!r}: expected numbers, got {numbers}"
            raise InputError(self._name, what)
        return np.asarray(numbers)

    def _get_texts(self, i: int) -> list[str]:
        """Return a column as text, empty for missing values."""
        values = self._table.get_values(i)
        return ["" if value is None or value != value else str(value) for value in values]

    def writer(self, _out: TextIO | None, result: Result, _style: Style) -> "Frame":
        """Return the writer that takes the result."""
        self._described = result
        return self

    def rows(self, rows: Rows) -> None:
        """Collect rows."""
        self._blocks.append(rows)

    def end(self, error: ValueError | None) -> None:
        """Make a table of all rows."""
        if error:
            return
        described = self._described
        if self._blocks:
            rows = join(self._blocks)
            values = described.rows(rows)
        else:
            rows = described.initial().cut(0, 0)._replace(cells=[])
            values = np.empty((0, len(described.units)), rows.x.dtype)
        order = np.arange(len(rows.t))
        if described.last and not self._passthrough and rows.key is not None:
            order = np.argsort(rows.key, kind="stable")  # in the order of the sequences
        new = dict(zip(described.units, np.ascontiguousarray(values[order].T), strict=True))
        new = new if self._passthrough else {"t": rows.t[order].astype(np.int64), **new}
        cells = np.asarray(rows.cells, np.intp)[order]
        ahead = cells < 0  # steps after the table, with the complement of the last row's number
        columns = [*range(len(self._names))] if self._passthrough else list(self._grouping)
        names = [*(self._names[i] for i in columns), *new]
        if repeated := [name for name in names if names.count(name) > 1]:
            what = f"column {repeated[0]!r} would stand beside another of that name"
            raise InputError(self._name, what, "rename it")
        taken = np.where(ahead, ~cells, cells)
        self.result = self._table.build(taken, ahead, columns, self._grouping, new)
