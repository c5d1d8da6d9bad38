"""Which columns of an input are its features."""

from collections import Counter
from collections.abc import Sequence


def choose(
    name: str,
    wanted: Sequence[str],
    width: int,
    header: Sequence[str] | None,
    option: str = "--columns",
) -> list[int]:
    """Positions, from 0, of the wanted columns.

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
    option : str
        Where the columns are wanted, for messages.

    Raises
    ------
    ValueError
        A column is not there, stands twice in the header, or is wanted twice.
    """
    if not wanted:
        return []
    places: dict[str, list[int]] = {}
    for i, column in enumerate(header or ()):
        places.setdefault(column, []).append(i)
    chosen: dict[int, None] = {}
    for column in wanted:
        if is_number(column, width):
            position = int(column) - 1
        elif len(there := places.get(column, [])) == 1:
            position = there[0]
        else:
            raise ValueError(f"{name}: {_not_one(column, len(there), width, header, option)}")
        if position in chosen:
            raise ValueError(f"{name}: column {column!r} is chosen twice in {option}")
        chosen[position] = None
    return list(chosen)


def named(chosen: Sequence[int], header: Sequence[str] | None) -> list[str | int]:
    """Name columns, given by their positions: a number from 1 where no name is theirs alone."""
    times = Counter(header)
    return [header[i] if header and header[i] and times[header[i]] == 1 else i + 1 for i in chosen]


def check_distinct(name: str, header: Sequence[str]) -> None:
    """Refuse to pass cells through under one name: what reads them by name gets one of them.

    Raises
    ------
    ValueError
        A name stands twice in the header.
    """
    for column, times in Counter(header).items():
        if times > 1:
            raise ValueError(
                f"{name}: column {column!r} stands twice in the header; "
                "--passthrough needs a name of its own for each"
            )


def is_number(column: str, width: int) -> bool:
    """Tell whether a wanted column is given by its number, not by its name."""
    return column.isdecimal() and column.isascii() and 1 <= int(column) <= width


def _not_one(column: str, count: int, width: int, header: Sequence[str] | None, option: str) -> str:
    """Say why a name stands for no column: it has none, or two."""
    if header is None:
        return (
            f"no column {column!r}: it has no header; "
            f"expected a number from 1 to {width} in {option}"
        )
    if count:
        return (
            f"column {column!r} stands twice in the header; choose it by its number, 1 to {width}"
        )
    return f"no column {column!r}; there are {listed(header)} (or 1 to {width})"


def listed(names: Sequence[str | int], limit: int = 8) -> str:
    """Write names in a message, the first of many."""
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
