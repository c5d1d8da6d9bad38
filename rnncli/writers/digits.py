"""Arrays of numbers as text, in rows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats
from rnncli.writers import characters

# A part of a row that need not be text already, but for constant text.
_Fixed: TypeAlias = str | NDArray[Any]
# A part of a row, see `rows_of_text`.
Part: TypeAlias = _Fixed | list[str]
# write(parts, count): the text of `count` rows.
_Write: TypeAlias = Callable[[Sequence[_Fixed], int], str]

# Values written at once: their intermediate arrays stay in the cache.
_CACHED = 16_384
# Fewer values are written faster one by one.
_FEW = 200
# Separates rows while they are put together; stands in no text that is written.
_BETWEEN = "\x1f"


def rows_of_text(parts: Sequence[Part], separator: str, digits: int | None = None) -> Iterator[str]:
    """Return the text of n rows, in pieces of whole rows.

    Parameters
    ----------
    parts : sequence
        The parts of a row from left to right: ASCII text, the same in all
        rows; integers of shape (n,), none of them negative; finite floats of
        shape (n, m); a list of n texts.
    separator : str
        ASCII text between the floats of a row.
    digits : int, optional
        Digits after the point. By default the shortest text that reads back
        to the same float of the array's own type.
    """
    count = next(len(part) for part in parts if not isinstance(part, str))
    values = [part for part in parts if isinstance(part, np.ndarray) and part.ndim == 2]
    width = sum(part.shape[1] for part in values) or 1
    single = all(part.dtype == np.float32 for part in values)
    write: _Write = partial(_one_by_one, separator=separator, digits=digits)
    if digits is None and single and count * width >= _FEW:
        write = partial(_all_at_once, separator=separator)
    step = max(1, _CACHED // width)
    for start in range(0, count, step):
        rows = slice(start, min(count, start + step))
        piece = [part if isinstance(part, str) else part[rows] for part in parts]
        yield _with_given_texts(piece, rows.stop - start, write)


def joined(values: Floats, separator: str, digits: int | None = None) -> list[str]:
    """Return the text of each row of an array of shape (n, m); see `rows_of_text`."""
    return "".join(rows_of_text([values, "\n"], separator, digits)).splitlines()


def texts(values: Floats, digits: int | None = None) -> list[list[str]]:
    """Return the text of each value of an array of shape (n, m); see `rows_of_text`."""
    if values.shape[1] == 0:
        return [[] for _ in values]
    return [row.split(",") for row in joined(values, ",", digits)]


def texts_with_gaps(values: Floats, missing: str, digits: int | None = None) -> list[list[str]]:
    """Return the text of each value as `texts` does, with `missing` in place of NaN."""
    absent = np.isnan(values)
    rows = texts(np.where(absent, 0, values), digits)
    for row, column in np.argwhere(absent).tolist():
        rows[row][column] = missing
    return rows


def array_text(values: Floats, digits: int | None = None) -> str:
    """Return an array of shape (m,) as JSON."""
    return f"[{joined(values[None], ', ', digits)[0]}]"


def _with_given_texts(parts: Sequence[Part], count: int, write: _Write) -> str:
    """Write the parts between lists of texts, and put the texts of each row between them."""
    columns: list[list[str]] = []
    neighbours: list[_Fixed] = []
    for part in parts:
        if isinstance(part, list):
            columns += [_separate(neighbours, count, write), part]
            neighbours = []
        else:
            neighbours.append(part)
    if not columns:
        return write(neighbours, count)
    columns.append(_separate(neighbours, count, write))
    return "".join(chain.from_iterable(zip(*columns, strict=True)))


def _separate(parts: Sequence[_Fixed], count: int, write: _Write) -> list[str]:
    return write([*parts, _BETWEEN], count).split(_BETWEEN)[:-1]


def _all_at_once(parts: Sequence[_Fixed], count: int, separator: str) -> str:
    words = []
    for part in parts:
        if isinstance(part, str):
            words.append(characters.constants(part, count))
        elif part.ndim == 2:
            words.append(characters.floats(part, separator))
        else:
            words.append(characters.integers(part))
    return characters.text_of(words)


def _one_by_one(parts: Sequence[_Fixed], count: int, separator: str, digits: int | None) -> str:
    columns: list[Iterable[str]] = []
    for part in parts:
        if isinstance(part, str):
            columns.append(repeat(part, count))
        elif part.ndim == 2:
            columns.append(map(separator.join, _rows(part, digits)))
        else:
            columns.append(map(str, part.tolist()))
    return "".join(chain.from_iterable(zip(*columns, strict=True)))


def _rows(values: Floats, digits: int | None) -> Iterable[Iterable[str]]:
    if digits is not None:
        return ([f"{v:z.{digits}f}" for v in row] for row in values.tolist())
    if values.dtype == np.float64:
        return (map(repr, row) for row in values.tolist())
    rows: list[list[str]] = values.astype("U").tolist()
    return rows
