"""Which columns of an input are its features."""

from collections import Counter
from collections.abc import Sequence

from rnncli.model.errors import InputError


def choose(
    name: str,
    wanted: Sequence[str],
    width: int,
    header: Sequence[str] | None,
    parameter: str = "columns",
) -> list[int]:
    """Return the positions, from 0, of the wanted columns.

    Parameters
    ----------
    name : str
        The input, for messages.
    wanted : sequence of str
        Names from the header, or numbers from 1. A number over `width` is
        looked for among the names.
    width : int
        Number of columns there are.
    header : sequence of str, optional
        Names of the columns, where the input has any.
    parameter : str
        Where the columns are wanted, for messages.

    Raises
    ------
    InputError
        A column is not there, stands twice in the header, or is wanted twice.
    """
    if not wanted:
        return []
    places: dict[str, list[int]] = {}
    for i, column in enumerate(header or ()):
        places.setdefault(column, []).append(i)
    chosen: dict[int, None] = {}
    for column in wanted:
        there = [int(column) - 1] if is_number(column, width) else places.get(column, [])
        if len(there) > 1:
            hint = f"choose it by its number, 1 to {width}"
            raise InputError(name, f"column {column!r} stands twice in the header", hint)
        if not there and header is None:
            hint = f"expected a number from 1 to {width} in `{parameter}`"
            raise InputError(name, f"no column {column!r}: it has no header", hint)
        if not there:
            known = f"there are {listed(header or ())} (or 1 to {width})"
            raise InputError(name, f"no column {column!r}; {known}")
        if there[0] in chosen:
            raise InputError(name, f"column {column!r} is chosen twice", f" in `{parameter}`")
        chosen[there[0]] = None
    return list(chosen)


def named(chosen: Sequence[int], header: Sequence[str] | None) -> list[str | int]:
    """Return columns by name; by number from 1 where no name is theirs alone."""
    times = Counter(header)
    return [header[i] if header and header[i] and times[header[i]] == 1 else i + 1 for i in chosen]


def check_distinct(name: str, header: Sequence[str]) -> None:
    """Check that no two columns that are passed through have one name.

    Who reads them by name would get one of them.

    Raises
    ------
    InputError
        A name stands twice in the header.
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
