"""Cells of Arrow: as numbers, as text, and as they are."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Truths
from rnncli.model.errors import InputError, one_line
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
        names = (f"column {name!r}" for name in self.arrow.column_names)
        columns = map(_column_texts, self.arrow.columns, names)
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
    """Return the type that columns of a type are read as: the values of a dictionary, no views."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}.get(
        kind, kind
    )


def plain(column: Any) -> Any:
    """Return a column as its `plain_type`."""
    import pyarrow as pa

    kind = plain_type(column.type)
    if isinstance(column, pa.DictionaryArray):
        return column.dictionary.cast(kind).take(column.indices)
    return column if column.type == kind else column.cast(kind)


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
    if _is_text(kind):
        return "make numbers of text where the file is written"
    return ""


def numbers(column: Any) -> Doubles:
    """Return the numbers of a column, each rounded once; NaN where there is none."""
    import pyarrow as pa

    if pa.types.is_decimal(column.type):  # Arrow would round twice
        column = column.cast(pa.string())
    return _filled(column.cast(pa.float64(), safe=False), np.nan)


def _filled(column: Any, value: float) -> NDArray[Any]:
    """Return numbers with one for no value; `fill_null` would import pandas: 0.2 s."""
    import pyarrow as pa

    if not column.null_count:
        return np.from_dlpack(column)
    data = [None, column.buffers()[1]]
    stored = pa.Array.from_buffers(column.type, len(column), data, offset=column.offset)
    return np.where(_is_valid(column), np.from_dlpack(stored), value)


def _is_valid(column: Any) -> Truths:
    return np.from_dlpack(column.is_valid().cast("uint8")) > 0


def _taken(table: Any, truths: Truths) -> Any:
    """Return the rows of a table of which it is true."""
    import pyarrow as pa

    # `pyarrow.array` would import pandas, where it is installed: 0.2 s.
    bits = [None, pa.py_buffer(np.packbits(truths, bitorder="little"))]
    try:
        return table.filter(pa.Array.from_buffers(pa.bool_(), len(truths), bits))
    except pa.ArrowNotImplementedError as error:
        raise InputError(
            "", f"rows of such a column cannot be chosen: {one_line(error)}"
        ) from error


def key_cells(column: Any, label: str = "") -> Cells:
    """Return the text of each cell of a column, each different one made once."""
    import pyarrow as pa

    if _is_text(column.type):
        return _text_cells(column)
    try:
        column = column.dictionary_encode()
    except pa.ArrowNotImplementedError:
        return Cells.of(_texts(column, label))
    cells = Cells.of([*_texts(column.dictionary, label), ""])
    return cells.cut(_filled(column.indices, len(column.dictionary)))


def _text_cells(column: Any) -> Cells:
    """Return the cells of text as it lies in memory."""
    from pyarrow import types

    _, edges, content = column.buffers()
    kind = np.int64 if types.is_large_string(column.type) else np.int32
    edges = np.frombuffer(edges, kind)[column.offset :][: len(column) + 1].astype(np.intp)
    text = content[edges[0] : edges[-1]].to_pybytes() if content else b""
    starts, stops = edges[:-1] - edges[0], edges[1:] - edges[0]
    if column.null_count:
        stops = np.where(_is_valid(column), stops, starts)
    return Cells(text, starts, stops)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _column_texts(column: Any, label: str) -> Iterator[str]:
    return chain.from_iterable(_texts(chunk, label) for chunk in column.chunks)


def _texts(column: Any, label: str) -> list[str]:
    """Return the text of each cell, as CSV would have it: empty where there is no value."""
    import pyarrow as pa

    kind = column.type
    if getattr(kind, "extension_name", "") == "arrow.uuid":
        return ["" if each is None else str(each) for each in column.to_pylist()]
    if pa.types.is_floating(kind):
        texts: list[str] = np.where(_is_valid(column), _filled(column, 0).astype(str), "").tolist()
        return texts
    try:
        texts = [text or "" for text in column.cast("string").to_pylist()]
    except pa.ArrowException as error:
        raise InputError(label, f"{kind} has no text: {one_line(error)}") from error
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return [_iso(text, _DIGITS[kind.unit]) for text in texts]
    return texts


def _iso(text: str, digits: int) -> str:
    """Return a time as ISO 8601 has it, without zeros at the end of its second."""
    if text.startswith("<"):  # out of the range that has a date
        return text
    head, _, tail = text.partition(".")
    fraction = tail[:digits].rstrip("0")
    text = head.replace(" ", "T") + (fraction and f".{fraction}") + tail[digits:]
    return f"{text[:-2]}:{text[-2:]}" if text[-5:-4] in ("+", "-") else text
