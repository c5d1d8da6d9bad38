"""Arrays of numbers as text, in rows."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats
from rnncli.writers import characters
from rnncli.writers.labels import Labelled

# A part of a row, see `rows_of_text`.
Part: TypeAlias = str | list[str] | Labelled | NDArray[Any]

# Values and other parts of rows written at once: more, and their arrays leave the cache.
_CACHED = 65_536
# Fewer values are written faster one by one.
_FEW = 300
# Stands for a text that is put in afterwards, and in no part of a row.
_BETWEEN = "\x1f"


def rows_of_text(parts: Sequence[Part], separator: str, digits: int | None = None) -> Iterator[str]:
    """Return the text of n rows, in pieces of whole rows."""
    count = next(len(part) for part in parts if not isinstance(part, str))
    values = sum(part.shape[1] for part in _floats(parts)) or 1
    many = digits is None and count * values >= _FEW
    step = max(1, _CACHED // (values + len(parts)))
    for start in range(0, count, step):
        rows = slice(start, min(count, start + step))
        piece = [part if isinstance(part, str) else part[rows] for part in parts]
        if many and all(map(characters.fits, _floats(piece))):
            yield _all_at_once(piece, rows.stop - start, separator)
        else:
            yield _one_by_one(piece, rows.stop - start, separator, digits)


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


def _floats(parts: Sequence[Part]) -> list[Floats]:
    return [part for part in parts if isinstance(part, np.ndarray) and part.ndim == 2]


def _all_at_once(parts: Sequence[Part], count: int, separator: str) -> str:
    cells: list[characters.Cells] = []
    # What is put in afterwards may be a label, and a label may hold what it is put in for.
    lists = any(isinstance(part, list) for part in parts)
    made = [
        (None if lists else part.cells()) or part.texts() if isinstance(part, Labelled) else part
        for part in parts
    ]
    for part, before in zip(made, ["", *made], strict=False):
        if isinstance(part, list):
            cells.append(characters.texts([_BETWEEN]))
        elif isinstance(part, str):
            cells.append(characters.texts([part]))
        elif isinstance(part, characters.Cells):
            cells.append(part)
        elif part.ndim == 2:
            separated = isinstance(before, str) and before == separator
            if separated:
                cells.pop()
            cells.append(characters.floats(part, separator, first=separated))
        else:
            cells.append(characters.integers(part))
    text = characters.text_of(cells, count)
    given = [part for part in made if isinstance(part, list)]
    if not given:
        return text
    first, *others = text.split(_BETWEEN)
    in_order = chain.from_iterable(zip(*given, strict=True))
    return first + "".join(chain.from_iterable(zip(in_order, others, strict=True)))


def _one_by_one(parts: Sequence[Part], count: int, separator: str, digits: int | None) -> str:
    columns: list[Iterable[str]] = []
    for part in parts:
        if isinstance(part, list):
            columns.append(part)
        elif isinstance(part, Labelled):
            columns.append(part.texts())
        elif isinstance(part, str):
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
