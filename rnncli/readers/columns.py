"""Which columns a name means, a number, or a range, and which are left out."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

from rnncli.model.errors import InputError, did_you_mean, verbatim
from rnncli.readers.input import Layout


def separated(text: str, kind: str = "column") -> tuple[str, ...]:
    """Split names at the commas between them, but not in quotes, as in CSV."""
    try:
        rows = list(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        what = f"{text!r} is not a list of {kind}s: is a quote left open or out of place?"
        raise ValueError(what) from error
    names = tuple(name.strip() for row in rows for name in row)
    if "" in names or not names:
        raise ValueError(f"{text!r} names an empty {kind}")
    return names


def parted(texts: Iterable[str], cells: Sequence[str]) -> list[str]:
    """Split texts at their commas, but for a text that is a cell of the first row as it stands."""
    names: list[str] = []
    for text in texts:
        try:
            names += [text] if text in cells else separated(text)
        except ValueError:
            names.append(text)
    return names


def choose(
    name: str,
    wanted: Sequence[str],
    width: int,
    header: Sequence[str] | None,
    parameter: str = "columns",
    otherwise: Sequence[int] = (),
) -> list[int]:
    """Return the positions, from 0, of the wanted columns."""
    columns = _Columns(name, width, header, parameter)
    chosen: dict[int, None] = {}
    left_out: set[int] = set()
    for text in wanted:
        if text.startswith("!") and not columns.has(text):
            left_out.update(columns.find(text[1:]))
            continue
        found = columns.find(text)
        for place in found:
            if place in chosen:
                twice = text if len(found) == 1 else str(place + 1)
                raise InputError(name, f"column {twice!r} is chosen twice", f" in `{parameter}`")
            chosen[place] = None
    left = [place for place in chosen or otherwise if place not in left_out]
    if left_out and not left:
        raise InputError(name, "no column is left", f" in `{parameter}`")
    return left


def choose_all(
    name: str, layout: Layout, width: int, header: Sequence[str] | None
) -> tuple[list[int], list[int], list[int]]:
    """Return the columns of the keys, those that are features, and whose cells are kept."""
    grouping = choose(name, parted(layout.group_by, header or ()), width, header, "group_by")
    chosen = choose(name, layout.columns, width, header, otherwise=others(grouping, width))
    if not chosen:
        raise InputError(name, "no column is left to read", " beside those of `group_by`")
    if layout.passthrough:
        check_distinct(name, header or ())
        return grouping, chosen, list(range(width))
    return grouping, chosen, []


class _Columns:
    """The columns that texts mean, in an input with so many of them."""

    def __init__(self, name: str, width: int, header: Sequence[str] | None, parameter: str) -> None:
        self._name, self._width, self._header = name, width, header
        self._parameter = parameter

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        """The positions of each name: made where one is wanted, as there may be a million."""
        places: dict[str, list[int]] = {}
        for i, column in enumerate(self._header or ()):
            places.setdefault(column, []).append(i)
        return places

    def has(self, text: str) -> bool:
        """Return whether a text is the name of a column as it stands."""
        return text in self._places

    def find(self, text: str) -> Sequence[int]:
        """Return the positions of the columns that a text means."""
        there = self._alone(text)
        if len(there) > 1:
            hint = f"choose it by its number, 1 to {self._width}"
            raise InputError(self._name, f"column {text!r} stands twice in the header", hint)
        there = there or self._range(text)
        if there:
            return there
        if self._header is None:
            hint = f"expected a number from 1 to {self._width} in `{self._parameter}`"
            raise InputError(self._name, f"no column {text!r}: it has no header", hint)
        what = f"no column {text!r}; there are {listed(self._header)} (or 1 to {self._width})"
        raise InputError(self._name, what, verbatim(did_you_mean(text, self._header)))

    def _alone(self, text: str) -> Sequence[int]:
        """Return the position of a column, or several where a name stands several times."""
        return [int(text) - 1] if is_number(text, self._width) else self._places.get(text, ())

    def _range(self, text: str) -> Sequence[int]:
        """Return the positions of a range, where one ``-`` in a text stands between two columns.

        There may be others, in names.
        """
        halves = ((text[:i], text[i + 1 :]) for i, mark in enumerate(text) if i and mark == "-")
        ends = (
            (self._alone(first), self._alone(last or str(self._width))) for first, last in halves
        )
        ranges = [
            range(first[0], last[0] + 1) for first, last in ends if len(first) == len(last) == 1
        ]
        if len(ranges) == 1 and not ranges[0]:
            raise InputError(self._name, f"the columns {text!r} run backwards")
        return ranges[0] if len(ranges) == 1 else ()


def named(chosen: Sequence[int], header: Sequence[str] | None) -> list[str | int]:
    """Return columns by name; by number from 1 where no name is theirs alone."""
    times = Counter(header)
    return [header[i] if header and header[i] and times[header[i]] == 1 else i + 1 for i in chosen]


def check_distinct(name: str, header: Sequence[str]) -> None:
    """Check that no two columns that are passed through have one name.

    Who reads them by name would get one of them.
    """
    for column, times in Counter(header).items():
        if times > 1:
            hint = "`passthrough` needs a name of its own for each"
            raise InputError(name, f"column {column!r} stands twice in the header", hint)


def is_number(column: str, width: int) -> bool:
    """Return whether a wanted column is given by its number, not by its name."""
    return column.isdecimal() and column.isascii() and 1 <= int(column) <= width


def listed(names: Sequence[str | int], limit: int = 8) -> str:
    """Return names as a message shows them, the first of many."""
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def others(columns: Sequence[int], width: int) -> list[int]:
    """Return the positions of all columns but these."""
    return [i for i in range(width) if i not in columns]
