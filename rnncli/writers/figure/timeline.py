"""The time axis of a figure: steps, or the values of a column."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np

from rnncli.engine.stream import Block
from rnncli.model.arrays import Floats, Integers, parse_numbers
from rnncli.model.errors import InputError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
# In UTC matplotlib has no time before or after them.
FIRST_DAY, LAST_DAY = (
    (time.replace(tzinfo=UTC) - _EPOCH) / _DAY
    for time in (datetime.min, datetime.max.replace(microsecond=0))
)
# Larger numbers stand as text.
_LARGEST = 1e100


class Timeline:
    """Where steps stand on a time axis.

    The first cells of a column tell what it holds: numbers, times as ISO 8601
    writes them, or text, which stands at its step.

    Parameters
    ----------
    column : str, optional
        Name of the first of the cells that are kept; by default it is `t`.

    Attributes
    ----------
    name : str
    kind : {"steps", "numbers", "times", "times in UTC", "text"}
    """

    def __init__(self, column: str | None = None) -> None:
        self.name = "t" if column is None else column
        self.kind = "steps" if column is None else ""

    def places(self, block: Block) -> Floats:
        """Return the place of each row, shape (n,): a number, times as days since 1970.

        Raises
        ------
        InputError
            A cell is not of the kind of those before it.
        """
        if self.kind in ("steps", "text"):
            return block.t.astype(np.float64)
        cells = [row[0] for row in block.cells or ()]
        for kind in [self.kind] if self.kind else _READ:
            places = _READ[kind](cells)
            if places is not None:
                self.kind = kind
                return places
        if self.kind:
            read = _READ[self.kind]
            row = next(i for i, cell in enumerate(cells) if read([cell]) is None)
            what = f"{cells[row].strip()!r} is not one of the {self.kind}, as those before it"
            raise InputError(self._at(block, row), what)
        self.kind = "text"
        return self.places(block)

    def labels(self, block: Block) -> Sequence[str]:
        """Return the text that stands at each row, if any does."""
        return [row[0].strip() for row in block.cells or ()] if self.kind == "text" else ()

    def check_forward(
        self, name: str, block: Block, rows: Integers, places: Floats, before: float
    ) -> None:
        """Check that a sequence does not go back in time.

        Parameters
        ----------
        name : str
            Of the sequence, empty where there is one.
        block : Block
        rows : array of int
            Which rows of it are of the sequence.
        places : array, shape (n,)
            Of all its rows.
        before : float
            The place of the row before those.

        Raises
        ------
        InputError
            They do.
        """
        back = rows[np.diff(places[rows], prepend=before) < 0]
        if len(back) and block.cells:
            row = int(back[0])
            what = f"{block.cells[row][0].strip()!r} is before that of the step before"
            place = ": ".join(filter(None, [name, self._at(block, row)]))
            raise InputError(place, what, "a figure's `x` must not go back")

    def _at(self, block: Block, row: int) -> str:
        return f"column {self.name!r}: t = {block.t[row]}"


def numbers(cells: Sequence[str]) -> Floats | None:
    """Read finite numbers, or None if one is none."""
    found = parse_numbers(cells)
    return found if found is not None and np.isfinite(found).all() else None


def _times(cells: Sequence[str], *, aware: bool) -> Floats | None:
    """Read times as days since 1970, or None; `aware` ones tell how far they are from UTC."""
    try:
        found = [datetime.fromisoformat(cell.strip()) for cell in cells]
    except ValueError:
        return None
    if any((time.tzinfo is not None) != aware for time in found):
        return None
    utc = found if aware else [time.replace(tzinfo=UTC) for time in found]
    days = np.array([(time - _EPOCH) / _DAY for time in utc], np.float64)
    return days if ((days >= FIRST_DAY) & (days <= LAST_DAY)).all() else None


def _ordinary(cells: Sequence[str]) -> Floats | None:
    """Read finite numbers whose distances are finite too, or None if one is none."""
    found = numbers(cells)
    return None if found is None or abs(found).max(initial=0) > _LARGEST else found


_READ: Mapping[str, Callable[[Sequence[str]], Floats | None]] = {
    "numbers": _ordinary,
    "times": partial(_times, aware=False),
    "times in UTC": partial(_times, aware=True),
}
