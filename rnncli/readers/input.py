"""The arguments and the result of every reader, and numbers in cells of text."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.rows import BLOCK_STEPS, Rows
from rnncli.model.arrays import (
    Doubles,
    Floats,
    Integers,
    Truths,
    no_index,
    not_indices,
    parse_numbers,
)
from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.readers.fields import Words

Key = tuple[str, ...]

STDIN, UTF_8 = "-", "utf-8"
MISSING = ("error", "hold", "zero")
# Options for text alone.
OF_TEXT = ("delimiter", "first_row", "encoding", "null_values", "decimal")
# Cells that `float` does not read: a missing one, and truths as programs write them.
_USUAL = {
    "": "nan",
    **dict.fromkeys(("true", "True", "TRUE"), "1"),
    **dict.fromkeys(("false", "False", "FALSE"), "0"),
}
# Cells of programs that have no number, and the way out.
_NULLS = ("na", "n/a", "#n/a", "#na", "<na>", "null", "none", "nil", "-", "--", "?", ".")
# Keys that are looked up as words, and an odd factor of 64 bits.
_MOST_WORDS, _ODD = 4096, np.uint64(0x9E3779B97F4A7C15)
_PASSES = "`missing` hold or zero passes it"
# Marks between the numbers of a cell that holds several, and the way out.
_MARKS = {
    ",": " (a decimal comma? `decimal` , reads it)",
    **dict.fromkeys(";\t| ", " (is that another `delimiter`?)"),
    **dict.fromkeys("'\u2019\xa0\u202f", " (a mark of thousands? leave it out)"),
}


class Layout(NamedTuple):
    """How an input is laid out."""

    dtype: np.dtype[np.floating]  # what the numbers become
    columns: Sequence[str | int] = ()  # as for `rnncli.readers.columns.choose`; all by default
    delimiter: str | None = None  # by default the first line tells
    first_row: str = "auto"  # or "header" or "data"
    group_by: Sequence[str | int] = ()  # columns of keys
    missing: str = "error"  # or "hold", a mask for the row, or "zero"
    passthrough: bool = False  # whether the cells of each row are copied
    block_steps: int = BLOCK_STEPS  # rows in a block
    indices: int | None = None  # rows of the embedding that the numbers are indices into
    encoding: str = UTF_8
    null_values: Sequence[str] = ()  # cells that are missing, beside an empty one and nan
    decimal: str = "."  # one character before the decimals
    choose: Callable[[Sequence[str]], Sequence[int]] | None = None  # chooses `columns` by header

    def usual(self, cell: str) -> str:
        """Return a cell as Python writes it; a point beside another decimal makes it no number."""
        text = cell.strip()
        if text in self.null_values:
            return "nan"
        if self.decimal != ".":
            cell = cell.translate({ord(self.decimal): ".", ord("."): self.decimal})
        return _USUAL.get(text, cell)


class Keys:
    """Numbers keys in the order in which they come, after those of an earlier run."""

    def __init__(self, known: Sequence[Key] = ()) -> None:
        self.names = list(known)  # by their numbers
        # For keys as words: codes, which rise, first words, and numbers.
        self._table: Words = np.empty((3, 0), np.uint64)
        # A key of one column is looked up as text, three times as fast as a tuple.
        self._numbers: dict[str | Key, int] = {
            key[0] if len(key) == 1 else key: number for number, key in enumerate(known)
        }

    def number(self, *columns: Sequence[str]) -> Integers:
        """Return the number of each row's key; a key has a value in each column."""
        numbers = self._numbers
        keys: Iterable[str | Key] = columns[0] if len(columns) == 1 else zip(*columns, strict=True)
        rows = [numbers.setdefault(key, len(numbers)) for key in keys]
        new = [*islice(reversed(numbers), len(numbers) - len(self.names))]
        self.names += [(key,) if isinstance(key, str) else key for key in reversed(new)]
        return np.array(rows, np.intp)

    def number_words(self, words: Words) -> Integers | None:
        """Return the number of each row's key, from words (n, 2) of its text; None if it cannot."""
        first, second = words.T
        codes = first + second * _ODD  # keys with the same code differ in their first word
        if self._table.shape[1] > _MOST_WORDS:
            return None
        at = self._find(codes)
        if at is None:
            rows = np.sort(np.unique(codes, return_index=True)[1])
            texts = [words[n].tobytes().rstrip(b"\0").decode().lstrip(" ") for n in rows]
            new = codes[rows], first[rows], self.number(texts).astype(np.uint64)
            table = np.concatenate([self._table, new], axis=1)
            self._table = table[:, np.unique(table[0], return_index=True)[1]]
            at = self._find(codes)
        if at is None or (self._table[1].take(at) != first).any():
            return None
        return np.asarray(self._table[2].take(at), np.intp)

    def _find(self, codes: NDArray[np.uint64]) -> Integers | None:
        """Find the columns of the table that have these codes; None if one is new."""
        known = self._table[0]
        at = np.minimum(np.searchsorted(known, codes), known.size - 1)
        is_known = known.size and np.array_equal(known.take(at), codes)
        return np.asarray(at) if is_known else None


class Input(NamedTuple):
    """One sequence, or several with a key each."""

    columns: Sequence[str]  # a name for each of the I features
    blocks: Iterator[Rows]  # the rows before an error come first, then the InputError
    key_columns: Sequence[str] = ()
    keys: Sequence[Key] = ()  # of each sequence; it grows as they come
    header: Sequence[str] = ()  # names of the columns whose cells are copied
    # The share of the input, 0 to 1, that has been read after so many rows; None if not known.
    share: Callable[[int], float | None] = lambda _: None
    shape: tuple[int, ...] = ()  # (T,) or (N, T), where it is known before the rows are read
    chosen: Sequence[str | int] = ()  # names of the features, or numbers where they are not unique
    hint: str = ""  # where a network takes another number of features
    note: str = ""  # a possible mistake of the user
    types: Any = None  # a pyarrow.Schema of the columns whose cells are copied
    name: str = ""  # for messages


def display_name(path: str) -> str:
    """Return the name of an input for messages."""
    return "standard input" if path == STDIN else path


def check_width(source: Input, takes: int, layer: str = "") -> None:
    """Check that an input has as many features as a network, or one layer of it, takes."""
    got, names = len(source.columns), [name for name in source.chosen if isinstance(name, str)]
    if got != takes:
        columns = "1 column" if takes == 1 else f"{takes} columns"
        what = f"the model takes {columns}, {source.name} gives {got}"
        hint = source.hint
        if layer:
            hint = f"{verbatim(layer)} alone reads what the layers below give: give a file of that"
        elif got > takes:
            hint = source.hint or f"choose {'one' if takes == 1 else takes} with `columns`"
        raise InputError("", f"{what} ({listed(names)})" if names else what, hint)


def check_layout(path: str, layout: Layout, kind: str, *names: str) -> None:
    """Check that no option is given for which a kind of file has no use."""
    for name in names:
        if getattr(layout, name) != getattr(Layout(layout.dtype), name):
            raise InputError(path, f"is {kind}", f"`{name}` is for CSV text")


def check_rows(
    name: str, blocks: Iterable[Rows], labels: Sequence[object], layout: Layout
) -> Iterator[Rows]:
    """Convert rows to their float type, up to the first fault."""
    start = 0
    for rows in blocks:
        x, masked, wrong = fit(rows.x, layout)
        yield rows._replace(x=x, masked=masked).cut(0, wrong[0] if wrong else None)
        if wrong:
            where = f"{name}: row {start + wrong[0] + 1}, column {labels[wrong[1]]}"
            raise InputError(where, *find_fault(repr(rows.x[wrong].item()), layout))
        start += len(x)


def unnamed(count: int) -> tuple[str, ...]:
    """Return names for features that have none: ``x``, or ``x_0``, ``x_1``, ..."""
    return ("x",) if count == 1 else tuple(f"x_{i}" for i in range(count))


def parse_number(cell: str) -> float | None:
    """Read a number, or None; ``1_000`` is none, ``true`` is 1 and an empty cell is NaN."""
    values = parse_numbers([_USUAL.get(cell.strip(), cell)])
    return None if values is None else values.item()


def parse_cells(cells: Sequence[str], layout: Layout) -> Doubles | None:
    """Read cells as numbers, NaN where one is missing; None if any is no number."""
    is_plain = not layout.null_values and layout.decimal == "."
    values = parse_numbers(cells) if is_plain else None
    return parse_numbers([*map(layout.usual, cells)]) if values is None else values


def fit(values: Floats, layout: Layout) -> tuple[Floats, Truths | None, tuple[int, ...] | None]:
    """Convert rows to their float type; return which are masked, and where the first fault is."""
    with np.errstate(over="ignore"):
        x = values.astype(layout.dtype, copy=False)
    wrong, masked = ~np.isfinite(x), None
    if layout.indices is not None:
        wrong |= not_indices(values, layout.indices)
    if layout.missing != "error" and wrong.any() and (absent := np.isnan(values)).any():
        wrong &= ~absent
        if layout.missing == "hold":
            masked = np.asarray(absent.any(axis=1))
        else:
            x = np.where(absent, x.dtype.type(0), x)
    return x, masked, tuple(np.argwhere(wrong)[0].tolist()) if wrong.any() else None


def find_fault(cell: str, layout: Layout) -> tuple[str, str]:
    """Find why the network cannot take a cell, and the way out; empty texts if it can."""
    text = cell.strip()
    values = parse_cells([cell], layout)
    if values is None:
        hint = hint_at_numbers(cell) if layout.decimal == "." else ""
        if layout.decimal == "," and {".", ","} <= {*text}:
            hint = _MARKS["'"]
        if text.lower() in _NULLS:
            hint = f"`null_values` {verbatim(shlex.quote(text))} with {_PASSES}"
        return f"not a number: {shown(repr(cell), 40)}", hint
    if np.isnan(values[0]):
        if layout.missing != "error":
            return "", ""
        is_null = "missing" if text in layout.null_values else "not a finite number"
        return f"{is_null}: {text}" if text else "empty; expected a number", _PASSES
    if fit(values[:, None], layout)[2] is None:
        return "", ""
    if not np.isfinite(values[0]):
        return f"not a finite number: {text}", ""
    if layout.indices is not None:
        return no_index(text, layout.indices), ""
    return f"too large for {layout.dtype}: {text}", " (`precision` float64 holds more)"


def hint_at_numbers(cell: str) -> str:
    """Suggest a way out for a cell that holds several numbers; empty for any other."""
    for mark, hint in _MARKS.items():
        if mark in cell and parse_numbers(cell.split(mark)) is not None:
            return _MARKS["'"] if mark == "," and "." in cell else hint
    return ""
