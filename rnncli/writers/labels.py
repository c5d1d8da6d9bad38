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


def in_words(columns: Sequence[str], key: Key) -> str:
    """Return a key as people read it: each of its columns with its value."""
    return ", ".join(f"{column} {value}" for column, value in zip(columns, key, strict=True))


class Labels:
    """The text of each sequence's key, made when it is first needed.

    Parameters
    ----------
    keys : sequence of tuples of str
        The key of each sequence; may grow.
    write : callable
        Returns the text of each of some keys, none of them empty.
    """

    def __init__(self, keys: Sequence[Key], write: Callable[[Sequence[Key]], list[str]]) -> None:
        self._keys, self._write = keys, write
        self._texts: list[str] = []  # empty text: not made yet
        # Of cells, a row a key; empty: not made yet.
        self._arrays: list[NDArray[Any]] = [np.empty((0, 1), kind) for kind in ("u8", "u8", "u1")]
        self._long = False  # whether one is longer than that

    def of(self, numbers: Integers | None) -> Iterable[str]:
        """Return the text for each row; without keys, endless empty text."""
        if numbers is None:
            return repeat("")
        texts = self._texts
        texts += repeat("", len(self._keys) - len(texts))
        asked = numbers.tolist()
        new = [number for number in dict.fromkeys(asked) if not texts[number]]
        for number, text in zip(new, self._written(new), strict=True):
            texts[number] = text
        return [texts[number] for number in asked]

    def cells(self, numbers: Integers) -> Cells | None:
        """Return the cells of the text for each row; None once one was too long for that."""
        room, width = self._arrays[0].shape
        if room < len(self._keys):
            self._make_room(2 * len(self._keys), width)
        taken = self._taken(numbers)
        new = np.unique(numbers[taken.lengths[:, 0] == 0])
        if len(new) and not self._long:
            self._make(new)
            taken = self._taken(numbers)
        return None if self._long else taken

    def _taken(self, numbers: Integers) -> Cells:
        return Cells(*(each.take(numbers, axis=0) for each in self._arrays))

    def _written(self, numbers: Sequence[int]) -> list[str]:
        return self._write([self._keys[number] for number in numbers])

    def _make(self, numbers: Integers) -> None:
        written = self._written(numbers.tolist())
        self._long = max(map(len, written)) > _LONGEST
        if not self._long:
            made: Sequence[NDArray[Any]] = texts(written)
            (room, before), width = self._arrays[0].shape, made[0].shape[1]
            if width > before:
                self._make_room(room, width)
            for every, each in zip(self._arrays, made, strict=True):
                every[numbers, :width] = each

    def _make_room(self, rows: int, width: int) -> None:
        made, before = self._arrays[0].shape
        room = ((0, rows - made), (0, width - before))
        self._arrays = [np.pad(each, room) for each in self._arrays]


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

    def cells(self) -> Cells | None:
        """Return the cells of the label of each row; None where one of them is too long."""
        return self._labels.cells(self._numbers)
