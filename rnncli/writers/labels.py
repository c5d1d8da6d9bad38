"""The text of each row's key, which many rows share."""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Integers
from rnncli.writers.characters import Cells, texts

Key = tuple[str, ...]

# Characters of a label that is written by array operations.
_LONGEST = 128


class Labels:
    """The text of each sequence's key, made when it is first needed.

    Parameters
    ----------
    keys : sequence of tuples of str
        The key of each sequence; may grow.
    write : callable
        Returns the text of a key, which is not empty.
    """

    def __init__(self, keys: Sequence[Key], write: Callable[[Key], str]) -> None:
        self._keys, self._write = keys, write
        self._texts: list[str] = []  # empty text: not made yet
        # Of cells, a row a key.
        self._arrays: list[NDArray[Any]] = [np.empty((0, 1), kind) for kind in ("u8", "u8", "u1")]
        self._made = np.empty((0, 1), bool)  # which have their cells
        self._long = False  # whether one is longer than that

    def of(self, numbers: Integers | None) -> Iterable[str]:
        """Return the text for each row; without keys, endless empty text."""
        if numbers is None:
            return repeat("")
        texts = self._texts
        texts += repeat("", len(self._keys) - len(texts))
        asked = numbers.tolist()
        for number in asked:
            texts[number] = texts[number] or self._write(self._keys[number])
        return [texts[number] for number in asked]

    def have_cells(self, numbers: Integers) -> bool:
        """Make the cells of some; return whether all so far are short enough for that."""
        self._made = _grown(self._made, len(self._keys), 1)
        new = np.unique(numbers[~self._made[numbers, 0]])
        if len(new) and not self._long:
            written = [self._write(self._keys[number]) for number in new.tolist()]
            self._long = max(map(len, written)) > _LONGEST
            if not self._long:
                made: tuple[NDArray[Any], ...] = texts(written)
                width = max(made[0].shape[1], self._arrays[0].shape[1])
                self._arrays = [_grown(each, len(self._made), width) for each in self._arrays]
                for every, each in zip(self._arrays, made, strict=True):
                    every[new, : each.shape[1]] = each
                self._made[new] = True
        return not self._long

    def cells(self, numbers: Integers) -> Cells:
        """Return the cells of the text for each row, which are there."""
        return Cells(*(each.take(numbers, axis=0) for each in self._arrays))


class Labelled:
    """The labels of n rows.

    Parameters
    ----------
    labels : Labels
    numbers : array of int, shape (n,)
        Of their keys.
    """

    def __init__(self, labels: Labels, numbers: Integers) -> None:
        self._labels, self._numbers = labels, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, rows: slice) -> "Labelled":
        return Labelled(self._labels, self._numbers[rows])

    def texts(self) -> list[str]:
        """Return the label of each row."""
        return list(self._labels.of(self._numbers))

    def have_cells(self) -> bool:
        """Return whether `cells` can be asked for."""
        return self._labels.have_cells(self._numbers)

    def cells(self) -> Cells:
        """Return the cells of the label of each row."""
        return self._labels.cells(self._numbers)


def _grown(array: NDArray[Any], rows: int, width: int) -> NDArray[Any]:
    """Return an array with zeros behind it and beside it; twice as many rows if more are needed."""
    if array.shape[0] >= rows and array.shape[1] >= width:
        return array
    more = max(rows, 2 * len(array)) if rows > len(array) else len(array)
    grown = np.zeros((more, width), array.dtype)
    grown[: len(array), : array.shape[1]] = array
    return grown
