"""A log of Parquet or Arrow: a row keeps the types of its columns."""

import os
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from rnncli.batches.log import pieces
from rnncli.batches.log.pieces import ROW, Log, Piece
from rnncli.model.arrays import Integers
from rnncli.model.errors import InputError
from rnncli.readers import Layout
from rnncli.readers.arrow.source import Source, open_source
from rnncli.readers.columns import choose_all, choose_one
from rnncli.storage import opened

# Rows that are written at once.
_ROWS = 1 << 16


def open_table(path: str, layout: Layout, order_by: str | None) -> Log:
    """Look at the first file of a log, which is Parquet or Arrow.

    Raises
    ------
    InputError
        It cannot be read, or has no such column.
    """
    with opened(path, seekable=True) as file:
        schema = open_source(path, file).schema
    names = schema.names
    grouping, chosen, kept = choose_all(path, layout, len(names), names)
    order = choose_one(path, order_by, len(names), names, "order_by")
    alone = {
        name: choose_one(path, getattr(layout, name), len(names), names, name)
        for name in ("x", "against")
    }
    read = sorted({*grouping, *chosen, *kept, *([] if order is None else [order])})
    for column in read:
        _check_type(path, schema.field(column), ordered=column == order)
    place: dict[int | None, int] = {column: number for number, column in enumerate(read)}
    options = {
        "columns": tuple(str(place[i] + 1) for i in chosen),
        "group_by": tuple(str(place[i] + 1) for i in grouping),
        **{name: str(place[i] + 1) for name, i in alone.items() if i is not None},
    }
    columns = [names[i] for i in read]
    for name in columns:
        if names.count(name) > 1:
            raise InputError(path, f"column {name!r} stands twice")
    common = path, layout, columns, [place[i] for i in grouping], place.get(order)
    return _TableLog(*common, types=[schema.types[i] for i in read], options=options)


class _TableLog(Log):
    """A log of tables.

    Parameters
    ----------
    path, layout, columns, grouping, order
        As of a `Log`.
    types : list of pyarrow.DataType
        Of the columns, as they are read and written.
    options : mapping
        What `write` returns.
    """

    is_table, extension, mark = True, ".arrow", ": row "

    def __init__(self, *common: Any, types: list[Any], options: Mapping[str, Any]) -> None:
        import pyarrow as pa

        super().__init__(*common)
        self._options, self.ordering = options, self.columns[self.order or 0]
        self._types = pa.schema(zip(self.columns, types, strict=True))
        moved = [(name, _moved_type(kind)) for name, kind in zip(self.columns, types, strict=True)]
        self.schema = pa.schema([*moved, (ROW, pa.int64())])

    def cut(self, path: str) -> tuple[list[Piece], int]:
        with opened(path, seekable=True) as file:
            source = open_source(path, file)
            there = [i for i, name in enumerate(source.schema.names) if name in self.columns]
            sizes = source.sizes(there)
            total = sum(sizes) or file.seek(0, os.SEEK_END)  # a stream
        found, start, size = list[Piece](), 0, 0
        for stop, more in enumerate(sizes, 1):
            size += more
            if size >= pieces.PIECE_BYTES or stop == len(sizes):
                found.append(Piece(path, start, stop))
                start, size = stop, 0
        return found or [Piece(path)], total

    def read(self, piece: Piece) -> tuple[Any, list[Any]]:
        import pyarrow as pa

        with opened(piece.path, seekable=True) as file:
            source = open_source(piece.path, file)
            places = self._places(source)
            batches = source.batches(places, slice(piece.start, piece.stop or None))
            schema = pa.schema([source.schema.field(i) for i in places])
            table = pa.Table.from_batches(batches, schema)
        rows = table.append_column(ROW, pa.array(np.arange(len(table)))).cast(self.schema)
        return rows, [rows.column(i) for i in self.grouping]

    def _places(self, source: Source) -> list[int]:
        """Return where the columns of the log stand in another of its files."""
        schema = source.schema
        places = [schema.get_field_index(name) for name in self.columns]
        for place, field in zip(places, self._types, strict=True):
            if place < 0:
                raise InputError(source.name, f"no column {field.name!r}, as {self.path} has")
            if _moved_type(schema.types[place]) != _moved_type(field.type):
                what = f"column {field.name!r} is {schema.types[place]}"
                raise InputError(source.name, f"{what}, that of {self.path} {field.type}")
        return places

    def write(self, rows: Any, file: IO[bytes]) -> tuple[Mapping[str, Any], Integers]:
        import pyarrow as pa

        columns = rows.drop_columns([ROW]).combine_chunks().columns
        # In files of Parquet the same dictionary may have numbers of more or fewer bits.
        stored = [
            column.dictionary_encode() if pa.types.is_dictionary(kind) else column.cast(kind)
            for column, kind in zip(columns, self._types.types, strict=True)
        ]
        table = pa.table(stored, self.columns)
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=_ROWS)
        return self._options, np.arange(1, len(rows) + 1)

    def rows_before(self, piece: Piece) -> int:
        with opened(piece.path, seekable=True) as file:
            return open_source(piece.path, file).rows_before(piece.start)


def _check_type(path: str, field: Any, *, ordered: bool) -> None:
    """Check that rows with such a column can be divided, and be ordered by it.

    Raises
    ------
    InputError
        They cannot.
    """
    import pyarrow as pa
    from pyarrow import compute

    cells, what = pa.nulls(0, _moved_type(field.type)), "such rows cannot be divided"
    try:
        cells.take(pa.nulls(0, pa.int64()))
        if ordered:
            what = "rows cannot be ordered by it"
            compute.sort_indices(cells)
    except pa.ArrowException as error:
        raise InputError(path, f"column {field.name!r} is {field.type}: {what}") from error


def _moved_type(kind: Any) -> Any:
    """Return the type that values have while they are moved: that of a dictionary or of views."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    in_one_piece = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return in_one_piece.get(kind, kind)
