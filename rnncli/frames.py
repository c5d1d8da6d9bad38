"""Tables in memory, pandas.DataFrame or pyarrow.Table, as input and as result of a run."""

import re
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, TextIO

import numpy as np

from rnncli.engine.rows import Rows, join, steps_in_block
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError, listed
from rnncli.readers.columns import choose_all, make_input
from rnncli.readers.input import OF_TEXT, Input, Keys, Layout, check_layout, check_rows
from rnncli.writers.result import Result, Style

# Types of both libraries.
_NUMBERS = re.compile(r"(?i)bool|u?int\d|half|float|double|decimal")


def is_frame(source: object) -> bool:
    """Return whether an object is a table in memory."""
    return hasattr(source, "columns") and (
        hasattr(source, "iloc") or hasattr(source, "column_names")
    )


class Frame:
    """Reads a table and makes the result; the `cells` of its rows are their numbers."""

    def __init__(self, frame: Any, *, passthrough: bool) -> None:
        self._frame, self._passthrough = frame, passthrough
        self._is_pandas = hasattr(frame, "iloc")
        self._name = type(frame).__name__
        self._labels = [*(frame.columns if self._is_pandas else frame.column_names)]
        self._names = [*map(str, self._labels)]
        self._columns = (
            [column for _, column in frame.items()] if self._is_pandas else frame.columns
        )
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
        if isinstance(column, str) or not any(isinstance(each, Integral) for each in self._labels):
            return column
        if column not in self._labels:
            what = f"no column {column}; there are {listed(map(repr, self._labels))}"
            raise InputError(self._name, what)
        return self._labels.index(column) + 1

    def _rows(self, chosen: Sequence[int], layout: Layout, keys: Keys) -> Iterator[Rows]:
        columns = [self._numbers(i) for i in chosen]
        key = keys.number(*map(self._texts, self._grouping)) if self._grouping else None
        index: Any = np.arange(len(self._frame))
        steps = steps_in_block(len(chosen), layout.block_steps)
        for start in range(0, len(index), steps):
            block = slice(start, start + steps)
            x = np.column_stack([column[block] for column in columns])
            yield Rows(x, None if key is None else key[block], cells=index[block])

    def _numbers(self, i: int) -> Floats:
        """Return a column as float64, with NaN for missing values."""
        column: Any = self._columns[i]
        kind = str(column.dtype if self._is_pandas else column.type)
        if not _NUMBERS.match(kind):
            what = f"column {self._names[i]!r}: expected numbers, got {kind}"
            raise InputError(self._name, what)
        if self._is_pandas:
            return np.asarray(column.to_numpy(np.float64, na_value=np.nan))
        return np.asarray(column.cast("float64").to_numpy())

    def _texts(self, i: int) -> list[str]:
        """Return a column as text, empty for missing values."""
        column: Any = self._columns[i]
        if self._is_pandas:
            values = column.astype(object).where(column.notna(), None).tolist()
        else:
            values = column.to_pylist()
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
            values = np.empty((0, len(described.units)), rows.h.dtype)
        order = np.arange(len(rows.t))
        if described.last and not self._passthrough and rows.key is not None:
            order = np.argsort(rows.key, kind="stable")  # in the order of the sequences
        new = dict(zip(described.units, np.ascontiguousarray(values[order].T), strict=True))
        new = new if self._passthrough else {"t": rows.t[order].astype(np.int64), **new}
        order = np.asarray(rows.cells, np.intp)[order]
        columns = [*range(len(self._names))] if self._passthrough else list(self._grouping)
        names = [*(self._names[i] for i in columns), *new]
        if repeated := [name for name in names if names.count(name) > 1]:
            what = f"column {repeated[0]!r} would stand beside another of that name"
            raise InputError(self._name, what, "rename it")
        if self._is_pandas:
            import pandas as pd

            table = self._frame.iloc[order, columns]
            self.result = pd.concat([table, pd.DataFrame(new, index=table.index)], axis=1)
        else:
            import pyarrow as pa

            table = self._frame.select(columns).take(pa.array(order))
            arrays = [*table.columns, *map(pa.array, new.values())]
            self.result = pa.table(arrays, names=names)
