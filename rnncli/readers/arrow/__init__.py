"""Parquet files, Arrow files and Arrow streams: columns with types, read in batches by PyArrow."""

import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice
from typing import Any

import numpy as np

from rnncli.engine.rows import Rows, in_blocks, steps_in_block
from rnncli.engine.threads import ahead
from rnncli.model.arrays import Integers
from rnncli.model.errors import InputError, check_installed
from rnncli.readers.arrow.cells import (
    Typed,
    is_list,
    is_number,
    key_cells,
    lists,
    numbers,
    plain,
    plain_type,
    what_to_do,
)
from rnncli.readers.arrow.source import Source, open_source, readable
from rnncli.readers.columns import choose_all, named
from rnncli.readers.foreign import ARROW, PARQUET, STDIN, display_name
from rnncli.readers.input import Doubles, Input, Layout, check_layout, checked
from rnncli.readers.keyed import Keys
from rnncli.readers.text import standard_input
from rnncli.storage import opened

# Blocks of rows that are read before a thread reads the next ones.
_WITHOUT_A_THREAD = 2


def read_arrow(path: str, layout: Layout, keys: Keys) -> Input:
    """Read a Parquet file, an Arrow file or an Arrow stream: a row is a step.

    Its first bytes tell which it is. A column of lists is as many features as
    each of them has values. Blocks are cut as those of CSV are, whatever the
    batches: the same numbers give the same states, to the bit.

    Parameters
    ----------
    path : str
        A file, or ``-`` for standard input.
    layout : Layout
    keys : Keys
        Those so far, in files before this one too.

    Raises
    ------
    InputError
        The file is damaged or of another kind, or has no such column. Errors
        in rows, and of columns without numbers, are raised by the blocks.
    ImportError
        PyArrow is not installed.
    OSError
        The file cannot be opened.
    """
    name = display_name(path)
    check_installed("pyarrow", name)
    with ExitStack() as files:
        file = _seekable(path, files)
        source = open_source(name, file)
        check_layout(name, layout, source.kind, columns=True)
        table = _Table(name, source, layout, keys)
        weakref.finalize(table, files.pop_all().close)
    names, features, kept = source.schema.names, table.features, table.kept
    # As many as in CSV, where a cell that is kept takes as much memory as eight values.
    steps = steps_in_block(len(features) + 8 * len(kept), layout.block_steps)
    parts = table.rows(min(steps, layout.block_steps))
    blocks = in_blocks(checked(name, parts, [*map(repr, features)], layout), steps)
    # A short input needs no thread, and none waits for a pipe.
    if file.seekable() and layout.block_steps > 1:
        blocks = chain(islice(blocks, _WITHOUT_A_THREAD), ahead(blocks))
    return Input(
        columns=features,
        blocks=blocks,
        key_columns=[names[i] for i in table.grouping],
        keys=keys.names if table.grouping else (),
        header=[names[i] for i in kept],
        share=source.share,
        shape=() if table.grouping or source.rows is None else (source.rows,),
        chosen=named(table.chosen, names),
        types=source.schema if layout.passthrough else None,
    )


def _seekable(path: str, files: ExitStack) -> Any:
    """Open a file, or a copy of one that is piped in: its list of contents is at the end."""
    if path == STDIN:
        file: Any = standard_input()
    else:
        file = files.enter_context(opened(path, seekable=True))
    if file.seekable() or file.peek(1)[:1] not in (PARQUET[:1], ARROW[:1]):
        return file
    import shutil
    import tempfile

    copy = files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    shutil.copyfileobj(file, copy)
    copy.seek(0)
    return copy


class _Table:
    """Columns of a source that become rows.

    Attributes
    ----------
    grouping, chosen, kept : sequence of int
        Columns of the keys, those that are features, and whose cells are kept.
    features : sequence of str
        Their names: a column of lists is several.
    """

    def __init__(self, name: str, source: Source, layout: Layout, keys: Keys) -> None:
        self._name, self._source, self._layout, self._keys = name, source, layout, keys
        names = source.schema.names
        self.grouping, self.chosen, self.kept = choose_all(name, layout, len(names), names)
        read = sorted({*self.grouping, *self.chosen, *self.kept})
        self._place = {column: place for place, column in enumerate(read)}
        self._batches = source.batches(read)
        # How many features each of the chosen columns is, None where it holds no lists.
        self._widths = [self._width(column) for column in self.chosen]
        self.features: list[str] = []
        for column, width in zip(self.chosen, self._widths, strict=True):
            name = names[column]
            several = [f"{name}_{j}" for j in range(width or 0)]
            self.features += [name] if width is None else several

    def _width(self, column: int) -> int | None:
        """Return how many values the lists of a column have; None where there are no lists."""
        kind = plain_type(self._source.schema.field(column).type)
        if not is_list(kind):
            return None
        lengths = [kind.list_size] if hasattr(kind, "list_size") else self._lengths(column)
        if not len(lengths):
            what = "no row says how long its lists are"
        elif not lengths[0]:
            what = "expected lists of numbers, got an empty one"
        else:
            return int(lengths[0])
        label = repr(self._source.schema.names[column])
        raise InputError(self._name, f"column {label}: {what}")

    def _lengths(self, column: int) -> Doubles:
        """Return how long the lists of a column are in the first batch."""
        first = list(islice(self._batches, 1))
        self._batches = chain(first, self._batches)
        if not first:
            return np.empty(0)
        lengths = numbers(plain(first[0].column(self._place[column])).value_lengths())
        return lengths[~np.isnan(lengths)]

    def rows(self, steps: int) -> Iterator[Rows]:
        """Read some rows at a time, up to a list that is not as long as the first."""
        for column in self.chosen:
            self._check_type(column)
        done = 0
        for batch in self._batches:
            for start in range(0, batch.num_rows, steps):
                some = batch.slice(start, steps)
                row, error = self._unlike(some, done)
                yield self._rows(some.slice(0, row))
                if error:
                    raise error
                done += some.num_rows
        if self._source.rows not in (None, done):
            what = f"expected {self._source.rows} rows, got {done}"
            raise InputError(self._name, f"not a whole {self._source.kind} file: {what}")

    def _check_type(self, column: int) -> None:
        """Check that a column holds numbers, or lists of them.

        Raises
        ------
        InputError
            It does not.
        """
        field = self._source.schema.field(column)
        kind = plain_type(field.type)
        if is_list(kind):
            kind = plain_type(kind.value_type)
        if not is_number(kind):
            what = f"column {field.name!r}: expected numbers, got {field.type}"
            chosen = bool(self._layout.columns)
            hint = what_to_do(kind) if chosen else "`columns` chooses those to read"
            raise InputError(self._name, what, hint)

    def _unlike(self, batch: Any, done: int) -> tuple[int, InputError | None]:
        """Find the first row in which a list is not as long as the first of its column."""
        row, error = batch.num_rows, None
        for column, width in zip(self.chosen, self._widths, strict=True):
            if width is None:
                continue
            lists = plain(batch.column(self._place[column]))
            lengths = numbers(lists.value_lengths())
            wrong = np.flatnonzero((lengths != width) & ~np.isnan(lengths))
            if len(wrong) and wrong[0] < row:
                row = int(wrong[0])
                place = f"row {done + row + 1}, column {self._source.schema.names[column]!r}"
                what = f"expected a list of {width} values, as in the rows before"
                got = f"got one of {int(lengths[row])}"
                error = InputError(f"{self._name}: {place}", f"{what}, {got}")
        return row, error

    def _rows(self, batch: Any) -> Rows:
        x = np.empty((batch.num_rows, len(self.features)))
        at = 0
        with readable(self._name, self._source.kind):
            for column, width in zip(self.chosen, self._widths, strict=True):
                cells = batch.column(self._place[column])
                if width is None:
                    x[:, at] = numbers(cells)
                else:
                    x[:, at : at + width] = lists(cells, width)
                at += 1 if width is None else width
            return Rows(x, self._key(batch), None, self._cells(batch))

    def _key(self, batch: Any) -> Integers | None:
        if not self.grouping:
            return None
        columns = (batch.column(self._place[column]) for column in self.grouping)
        return self._keys.number_cells([*map(key_cells, columns)])

    def _cells(self, batch: Any) -> Typed | None:
        import pyarrow as pa

        if not self.kept:
            return None
        return Typed(pa.Table.from_batches([batch.select([self._place[i] for i in self.kept])]))
