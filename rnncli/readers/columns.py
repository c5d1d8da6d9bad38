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
    chosen = [_position(name, column, width, header, option) for column in wanted]
    for n, position in enumerate(chosen):
        if position in chosen[:n]:
            raise ValueError(f"{name}: column {wanted[n]!r} is chosen twice in {option}")
    return chosen


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


def _position(name: str, column: str, width: int, header: Sequence[str] | None, option: str) -> int:
    if is_number(column, width):
        return int(column) - 1
    if header is None:
        raise ValueError(
            f"{name}: no column {column!r}: it has no header; "
            f"expected a number from 1 to {width} in {option}"
        )
    if header.count(column) > 1:
        raise ValueError(
            f"{name}: column {column!r} stands twice in the header; "
            f"choose it by its number, 1 to {width}"
        )
    if column not in header:
        raise ValueError(
            f"{name}: no column {column!r}; there are {listed(header)} (or 1 to {width})"
        )
    return list(header).index(column)


def listed(names: Sequence[str | int], limit: int = 8) -> str:
    """Write names in a message, the first of many."""
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
