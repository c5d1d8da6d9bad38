"""Cells of Arrow: as numbers, as text, and as they are."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Truths, parse_numbers
from rnncli.readers.input import Doubles
from rnncli.readers.keyed import Cells

# Digits of a second that a unit of time has.
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


class Typed(Sequence[Sequence[str]]):
    """Rows of cells with their types; as a sequence, rows of text.

    Parameters
    ----------
    arrow : pyarrow.Table
    """

    def __init__(self, arrow: Any) -> None:
        self.arrow = arrow

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __iter__(self) -> Iterator[list[str]]:
        columns = (chain.from_iterable(map(_texts, each.chunks)) for each in self.arrow.columns)
        return map(list, zip(*columns, strict=True))

    def __getitem__(self, rows: Any) -> Any:
        """Return the text of a row, or some rows with their types."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return Typed(self.arrow.slice(start, stop - start))
        if isinstance(rows, np.ndarray):
            return Typed(_taken(self.arrow, rows))
        return next(iter(self[rows : rows + 1]))

    @staticmethod
    def of(parts: "Sequence[Typed]") -> "Typed":
        """Join rows of the same columns."""
        import pyarrow as pa

        return Typed(pa.concat_tables([part.arrow for part in parts]))


def plain_type(kind: Any) -> Any:
    """Return the type of values that are stored as a dictionary, runs, or under another name."""
    from pyarrow import BaseExtensionType, types

    while True:
        if isinstance(kind, BaseExtensionType):
            kind = kind.storage_type
        elif types.is_dictionary(kind) or types.is_run_end_encoded(kind):
            kind = kind.value_type
        else:
            return kind


def plain(column: Any) -> Any:
    """Return a column that is stored so as one of its values."""
    import pyarrow as pa

    while True:
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        elif isinstance(column, pa.DictionaryArray):
            column = column.dictionary_decode()
        elif isinstance(column, pa.RunEndEncodedArray):
            from pyarrow import compute

            column = compute.run_end_decode(column)
        else:
            return column


def without_views(batch: Any) -> Any:
    """Give dictionaries of views, with which PyArrow can do nothing, values of the plain type."""
    import pyarrow as pa

    kinds = schema_without_views(batch.schema).types
    for place, (column, kind) in enumerate(zip(batch.columns, kinds, strict=True)):
        if column.type != kind:
            values = column.dictionary.cast(kind.value_type)
            column = pa.DictionaryArray.from_arrays(column.indices, values, ordered=kind.ordered)
            batch = batch.set_column(place, batch.schema.field(place).with_type(kind), column)
    return batch


def schema_without_views(schema: Any) -> Any:
    """Return the schema of batches that `without_views` gives."""
    import pyarrow as pa

    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    for place, field in enumerate(schema):
        kind = field.type
        if pa.types.is_dictionary(kind) and kind.value_type in plain:
            kind = pa.dictionary(kind.index_type, plain[kind.value_type], kind.ordered)
            schema = schema.set(place, field.with_type(kind))
    return schema


def is_list(kind: Any) -> bool:
    """Return whether a type is of lists, of one length or not."""
    from pyarrow import types

    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(each(kind) for each in (*lists, types.is_list_view, types.is_large_list_view))


def is_number(kind: Any) -> bool:
    """Return whether values of a type are numbers, or none is there."""
    from pyarrow import types

    numbers = (types.is_integer, types.is_floating, types.is_decimal)
    return any(each(kind) for each in (*numbers, types.is_boolean, types.is_null))


def what_to_do(kind: Any) -> str:
    """Return what to do with a column that holds no numbers."""
    from pyarrow import types

    if types.is_temporal(kind):
        return "make a number of it, such as seconds, where the file is written"
    text = (types.is_string, types.is_large_string, types.is_string_view)
    if any(each(kind) for each in text):
        return "make numbers of text where the file is written"
    return ""


def numbers(column: Any) -> Doubles:
    """Return the numbers of a column, each rounded once; NaN where there is none."""
    from pyarrow import types

    column = plain(column)
    kind = column.type
    if types.is_decimal(kind):
        texts = column.cast("string").to_pylist()
        read = parse_numbers([text or "nan" for text in texts])
        assert read is not None
        return read
    values = np.full(len(column), np.nan)
    if not types.is_null(kind):
        present = _present(column)
        values[present] = _stored(column)[present]
    return values


def lists(column: Any, width: int) -> Doubles:
    """Return the numbers in lists of so many, (n, width); NaN where there is no list."""
    column = plain(column)
    values = np.full((len(column), width), np.nan)
    values[_present(column)] = numbers(column.flatten()).reshape(-1, width)
    return values


def _present(column: Any) -> slice | Truths:
    """Return the rows of a column in which there is a value."""
    if not column.null_count:
        return slice(None)
    return np.from_dlpack(column.is_valid().cast("uint8")) > 0


def _stored(column: Any) -> NDArray[Any]:
    """Return what a column of numbers holds, anything where there is no value."""
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        column = column.cast("uint8")
    if column.null_count:
        data = [None, column.buffers()[1]]
        column = pa.Array.from_buffers(column.type, len(column), data, offset=column.offset)
    return np.from_dlpack(column)


def _taken(table: Any, truths: Truths) -> Any:
    """Return the rows of a table of which it is true."""
    import pyarrow as pa

    # `pyarrow.array` would import pandas, where it is installed: 0.2 s.
    bits = [None, pa.py_buffer(np.packbits(truths, bitorder="little"))]
    try:
        return table.filter(pa.Array.from_buffers(pa.bool_(), len(truths), bits))
    except pa.ArrowNotImplementedError:  # of a type that is new
        edges = np.flatnonzero(np.diff(truths, prepend=False, append=False)).reshape(-1, 2)
        parts = [table.slice(start, stop - start) for start, stop in edges.tolist()]
        return pa.concat_tables([table.slice(0, 0), *parts]).combine_chunks()


def key_cells(column: Any) -> Cells:
    """Return the text of each cell of a column, each text of a dictionary made once."""
    import pyarrow as pa

    if not (_is_text(column.type) or isinstance(column, pa.DictionaryArray)):
        try:
            column = (column if _is_uuid(column) else plain(column)).dictionary_encode()
        except pa.ArrowNotImplementedError:
            return Cells.of(_texts(column))
    if not isinstance(column, pa.DictionaryArray):
        return _text_cells(column)
    texts = _text_cells(column.dictionary)
    codes = np.full(len(column), len(texts.starts))
    present = _present(column.indices)
    codes[present] = _stored(column.indices)[present]
    return Cells(texts.text, *(np.append(edges, 0)[codes] for edges in texts[1:]))


def _text_cells(column: Any) -> Cells:
    """Return the text of each cell of a column; of text as it lies in memory."""
    from pyarrow import types

    if not _is_text(column.type):
        return Cells.of(_texts(column))
    _, edges, content = column.buffers()
    kind = np.int64 if types.is_large_string(column.type) else np.int32
    edges = np.frombuffer(edges, kind)[column.offset :][: len(column) + 1].astype(np.intp)
    text = content[edges[0] : edges[-1]].to_pybytes() if content else b""
    starts, stops = edges[:-1] - edges[0], edges[1:] - edges[0]
    present = np.zeros(len(column), bool)
    present[_present(column)] = True
    return Cells(text, starts, np.where(present, stops, starts))


def _is_text(kind: Any) -> bool:
    """Return whether text of a type lies in memory in one piece."""
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _texts(column: Any) -> list[str]:
    """Return the text of each cell, as CSV would have it: empty where there is no value."""
    from pyarrow import types

    if _is_uuid(column):
        return ["" if each is None else str(each) for each in column.to_pylist()]
    column = plain(column)
    kind = column.type
    if types.is_floating(kind):
        texts = np.full(len(column), "", object)
        present = _present(column)
        texts[present] = _stored(column)[present].astype(str)
        return texts.tolist()
    if types.is_timestamp(kind) or types.is_time(kind):
        return [_iso(text, _DIGITS[kind.unit]) for text in _cast(column)]
    if types.is_nested(kind) or types.is_interval(kind):
        values = column.to_pylist()
        return ["" if each is None else json.dumps(each, default=str) for each in values]
    if "binary" in str(kind):
        return [str(each or b"", "utf-8", "backslashreplace") for each in column.to_pylist()]
    return _cast(column)


def _is_uuid(column: Any) -> bool:
    return getattr(column.type, "extension_name", "") == "arrow.uuid"


def _cast(column: Any) -> list[str]:
    return [text or "" for text in column.cast("string").to_pylist()]


def _iso(text: str, digits: int) -> str:
    """Return a time as ISO 8601 has it, without zeros at the end of its second."""
    if text.startswith("<"):  # out of the range that has a date
        return text
    head, _, tail = text.partition(".")
    fraction = tail[:digits].rstrip("0")
    text = head.replace(" ", "T") + (fraction and f".{fraction}") + tail[digits:]
    return f"{text[:-2]}:{text[-2:]}" if text[-5:-4] in ("+", "-") else text
