"""What every reader takes and returns."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.rows import BLOCK_STEPS, Rows
from rnncli.model.arrays import Floats, Truths, no_index, not_indices, parse_numbers
from rnncli.model.errors import InputError
from rnncli.readers.foreign import UTF_8

Doubles = NDArray[np.float64]

MISSING = ("error", "hold", "zero")
_THOUSANDS = " (a mark of thousands? leave it out)"
# What two numbers with such a mark between them most often mean.
_HINTS = {
    ",": " (a decimal comma? `decimal` , reads it)",
    ";": " (is it `delimiter` ';'?)",
    "\t": " (is it `delimiter` tab?)",
    "|": " (is it `delimiter` pipe?)",
    " ": " (is it `delimiter` space?)",
    **dict.fromkeys(
        "'\N{RIGHT SINGLE QUOTATION MARK}\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}", _THOUSANDS
    ),
}
# What only text has, and what a file of another kind lacks.
_OF_TEXT = {
    ("delimiter", "first_row"): "has no lines of cells",
    ("encoding",): "is no text",
    ("null_values", "decimal"): "has no cells of text",
}
# What an array lacks that tables and text have.
_OF_COLUMNS = {
    ("passthrough",): "has no cells of text",
    ("group_by",): "has no column of keys",
}
# What programs write where they have no number.
_NULLS = frozenset(("na", "n/a", "#n/a", "#na", "<na>", "null", "none", "nil", "-", "--", "?", "."))


class Notation(NamedTuple):
    """How numbers are written that Python would not read, or would read as what they are not.

    Parameters
    ----------
    null_values : frozenset of str
        Cells that are missing, as they stand.
    decimal : str
        What stands before the decimals: one character.
    """

    null_values: frozenset[str] = frozenset()
    decimal: str = "."

    def usual(self, cell: str) -> str:
        """Return a cell as Python writes it, ``nan`` where it is missing."""
        return "nan" if cell.strip() in self.null_values else self.with_point(cell)

    def with_point(self, cell: str) -> str:
        """Return a cell with a point before the decimals; a point in it makes it no number."""
        if self.decimal == ".":
            return cell
        return cell.translate({ord(self.decimal): ".", ord("."): self.decimal})


USUAL = Notation()


class Layout(NamedTuple):
    """How an input is laid out.

    Parameters
    ----------
    dtype : numpy.dtype
        Float type the numbers become.
    columns : sequence of str
        Header names or numbers from 1, in the order wanted, ranges and
        exclusions as for `rnncli.readers.columns.choose`; all by default.
    delimiter : str, optional
        One character; told from the first line by default.
    first_row : {"auto", "header", "data"}
        What the first row is.
    group_by : sequence of str
        Columns, given as in `columns`, whose values tell sequences apart; a
        text may be several, separated by commas.
    missing : {"error", "hold", "zero"}
        What a missing cell is: an error, a mask for its row, or 0.
    passthrough : bool
        Whether the cells of each row are kept.
    block_steps : int
        Rows in a block.
    indices : int, optional
        If the numbers are indices into an embedding: how many rows that has.
    encoding : str
        Of text, as Python names it.
    null_values : sequence of str
        Cells that are missing, beside an empty one and ``nan``.
    decimal : str
        What stands before the decimals of a number: one character.
    """

    dtype: np.dtype[np.floating]
    columns: Sequence[str] = ()
    delimiter: str | None = None
    first_row: str = "auto"
    group_by: Sequence[str] = ()
    missing: str = "error"
    passthrough: bool = False
    block_steps: int = BLOCK_STEPS
    indices: int | None = None
    encoding: str = UTF_8
    null_values: Sequence[str] = ()
    decimal: str = "."

    @property
    def notation(self) -> Notation:
        """How numbers are written."""
        return Notation(frozenset(self.null_values), self.decimal)


class Input(NamedTuple):
    """One sequence, or several that are told apart by a key.

    Parameters
    ----------
    columns : sequence of str
        A name for each of the I features.
    blocks : iterator of Rows
        The rows in order, each block at most `BLOCK_STEPS` of them. The rows
        before an error come first, then the InputError.
    key_columns : sequence of str
        Names of what tells the sequences apart; none for one sequence.
    keys : sequence of tuples of str
        The key of each sequence, one value a key column; it grows as they come.
    header : sequence of str
        Names of the columns of the cells that are kept.
    share : callable
        Returns how much of the input has been read after so many rows of
        output, 0 to 1; None where that is not known.
    shape : tuple of int
        (T,) or (N, T), where it is known before the rows are read.
    chosen : sequence of str or int
        Which columns of a file the features are: names that stand once in
        its header, or numbers from 1.
    hint : str
        What to do where the features are not as many as a network takes.
    note : str
        What the user may not have meant.
    types : pyarrow.Schema, optional
        Types of the columns of the cells that are kept, where they have any.
    """

    columns: Sequence[str]
    blocks: Iterator[Rows]
    key_columns: Sequence[str] = ()
    keys: Sequence[tuple[str, ...]] = ()
    header: Sequence[str] = ()
    share: Callable[[int], float | None] = lambda _: None
    shape: tuple[int, ...] = ()
    chosen: Sequence[str | int] = ()
    hint: str = "`columns` chooses those to read"
    note: str = ""
    types: Any = None


def check_layout(path: str, layout: Layout, kind: str, *, columns: bool = False) -> None:
    """Check that nothing is asked of a file that only text has."""
    usual = Layout(layout.dtype)
    for names, lacks in (_OF_TEXT if columns else _OF_TEXT | _OF_COLUMNS).items():
        if any(getattr(layout, name) != getattr(usual, name) for name in names):
            listed = " and ".join(f"`{name}`" for name in names)
            hint = f"{listed} {'are' if names[1:] else 'is'} for CSV text"
            raise InputError(path, f"{kind} {lacks}", hint)


def checked(
    name: str, parts: Iterable[Rows], labels: Sequence[object], layout: Layout
) -> Iterator[Rows]:
    """Pass rows on as the float type that they become, up to an error."""
    start = 0
    for part in parts:
        values, masked = filled(part.x, layout.missing)
        wrong = first_unfit(values, layout.dtype, layout.indices)
        rows = part._replace(x=values if masked is None else part.x, masked=masked)
        whole = rows.cut(0, wrong[0] if wrong else None)
        yield whole._replace(x=whole.x.astype(layout.dtype, copy=False))
        if wrong:
            place = f"{name}: row {start + wrong[0] + 1}, column {labels[wrong[1]]}"
            value = values[wrong].item()
            what, hint = unfit(value, layout.dtype, value, layout.indices)
            hint = "`missing` hold or zero passes it" if np.isnan(value) else hint
            raise InputError(place, what, hint)
        start += len(values)


def unnamed(count: int) -> tuple[str, ...]:
    """Return names for features that have none: ``x``, or ``x_0``, ``x_1``, ..."""
    return ("x",) if count == 1 else tuple(f"x_{i}" for i in range(count))


def parse_number(cell: str) -> float | None:
    """Read a number, or None; unlike Python's own, ``1_000`` is none."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def is_missing(cell: str) -> bool:
    """Return whether a cell is empty or ``nan``, without a sign."""
    return cell.strip().lower() in ("", "nan")


def parse_cells(cells: Sequence[str], *, gaps: bool, notation: Notation = USUAL) -> Doubles | None:
    """Read cells as numbers; None if any is none, or is a NaN that does not count as missing.

    With `gaps`, an empty cell is a NaN.
    """
    if notation != USUAL:
        cells = [notation.usual(cell) for cell in cells]
    if gaps:
        cells = [cell or "nan" for cell in cells]
    values = parse_numbers(cells)
    if values is None:
        return None
    absent = {cells[i] for i in np.flatnonzero(np.isnan(values)).tolist()}
    return values if all(map(is_missing, absent)) else None


def filled(values: Floats, missing: str) -> tuple[Floats, Truths | None]:
    """Put 0 in place of NaN, unless that is an error; return which rows are masked, too."""
    absent = np.isnan(values)
    if missing == "error" or not absent.any():
        return values, None
    masked = np.asarray(absent.any(axis=1))
    return np.where(absent, 0, values), masked if missing == "hold" else None


def first_unfit(
    values: Floats, dtype: np.dtype[np.floating], indices: int | None = None
) -> tuple[int, int] | None:
    """Return row and column of the first value in (n, I) that is not finite in a float type.

    With `indices`, of the first that is no whole number under it.
    """
    with np.errstate(over="ignore"):
        wrong = ~np.isfinite(values.astype(dtype, copy=False))
    if indices is not None:
        wrong |= not_indices(values, indices)
    if not wrong.any():
        return None
    row, column = np.argwhere(wrong)[0].tolist()
    return row, column


def unfit(
    value: float, dtype: np.dtype[np.floating], written: object, indices: int | None = None
) -> tuple[str, str]:
    """Return what is wrong with the value that `first_unfit` finds, and a hint."""
    if not np.isfinite(value):
        return f"not a finite number: {written}", ""
    if indices is not None:
        return no_index(written, indices), ""
    return f"too large for {dtype}: {written}", " (`precision` float64 holds more)"


def error_in(
    cell: str,
    dtype: np.dtype[np.floating],
    indices: int | None = None,
    notation: Notation = USUAL,
) -> tuple[str, str] | None:
    """Return why a cell is no number as `first_unfit` wants it, and a hint; None if it is one."""
    if not cell.strip():
        return "empty; expected a number", ""
    if cell.strip() in notation.null_values:
        return f"missing: {shortened(cell.strip())}", ""
    value = parse_number(notation.usual(cell))
    if value is None:
        return f"not a number: {shortened(cell)}", ""
    if first_unfit(np.array([[value]]), dtype, indices) is None:
        return None
    return unfit(value, dtype, cell.strip(), indices)


def looks_missing(cell: str) -> bool:
    """Return whether a cell is what programs write where they have no number."""
    return cell.strip().lower() in _NULLS


def shortened(text: str, limit: int = 40) -> str:
    """Quote a piece of input for a message, cut to a readable length."""
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")


def mark_between_numbers(cell: str) -> str:
    """Return a hint at the usual cause of a cell that holds several numbers, if it does."""
    for mark, hint in _HINTS.items():
        parts = cell.split(mark)
        if len(parts) > 1 and all(parse_number(part) is not None for part in parts):
            return _THOUSANDS if mark == "," and "." in cell else hint
    return ""
