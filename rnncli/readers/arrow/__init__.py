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
from rnncli.readers.arrow.cells import Typed, is_number, key_cells, numbers, what_to_do
from rnncli.readers.arrow.source import Source, open_source
from rnncli.readers.columns import choose_all, named
from rnncli.readers.foreign import ARROW, PARQUET, STDIN, display_name
from rnncli.readers.input import Input, Layout, check_layout, checked
from rnncli.readers.keyed import Keys
from rnncli.readers.text import standard_input
from rnncli.storage import opened

# Blocks of rows that are read before a thread reads the next ones.
_WITHOUT_A_THREAD = 2


def read_arrow(path: str, layout: Layout, keys: Keys) -> Input:
    """Read a Parquet file, an Arrow file or an Arrow stream: a row is a step.

    Its first bytes tell which it is. Blocks are cut as those of CSV are,
    whatever the batches: the same numbers give the same states, to the bit.
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
        Their names.
    """

    def __init__(self, name: str, source: Source, layout: Layout, keys: Keys) -> None:
        self._name, self._source, self._layout, self._keys = name, source, layout, keys
        names = source.schema.names
        self.grouping, self.chosen, self.kept = choose_all(name, layout, len(names), names)
        read = sorted({*self.grouping, *self.chosen, *self.kept})
        self._place = {column: place for place, column in enumerate(read)}
        self._batches = source.batches(read)
        self.features = [names[column] for column in self.chosen]

    def rows(self, steps: int) -> Iterator[Rows]:
        """Read some rows at a time."""
        for column in self.chosen:
            self._check_type(column)
        done = 0
        for batch in self._batches:
            for start in range(0, batch.num_rows, steps):
                yield self._rows(batch.slice(start, steps))
            done += batch.num_rows
        if self._source.rows not in (None, done):
            what = f"expected {self._source.rows} rows, got {done}"
            raise InputError(self._name, f"not a whole {self._source.kind} file: {what}")

    def _check_type(self, column: int) -> None:
        """Check that a column holds numbers."""
        field = self._source.schema.field(column)
        if not is_number(field.type):
            what = f"column {field.name!r}: expected numbers, got {field.type}"
            chosen = bool(self._layout.columns)
            hint = what_to_do(field.type) if chosen else "`columns` chooses those to read"
            raise InputError(self._name, what, hint)

    def _rows(self, batch: Any) -> Rows:
        x = np.empty((batch.num_rows, len(self.features)))
        for at, column in enumerate(self.chosen):
            x[:, at] = numbers(batch.column(self._place[column]))
        return Rows(x, self._key(batch), None, self._cells(batch))

    def _key(self, batch: Any) -> Integers | None:
        if not self.grouping:
            return None
        columns = ((self._source.schema.names[i], self._place[i]) for i in self.grouping)
        return self._keys.number_cells(
            [
                key_cells(batch.column(place), f"{self._name}: column {name!r}")
                for name, place in columns
            ]
        )

    def _cells(self, batch: Any) -> Typed | None:
        import pyarrow as pa

        if not self.kept:
            return None
        return Typed(pa.Table.from_batches([batch.select([self._place[i] for i in self.kept])]))
