"""Keys of sequences, numbered as they come."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Integers

Key = tuple[str, ...]

Words = NDArray[np.uint64]

# Bytes of the longest cells that are compared by their words.
_LONGEST = 64
# Spreads the bits of a word: 2**64 over the golden ratio.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Cells(NamedTuple):
    """The text of n cells, in UTF-8 without NUL: where each begins and ends, (n,)."""

    text: bytes
    starts: Integers
    stops: Integers

    def texts(self, rows: Any = slice(None)) -> list[str]:
        """Return the text of each, or of some."""
        edges = zip(self.starts[rows].tolist(), self.stops[rows].tolist(), strict=True)
        return [self.text[start:stop].decode() for start, stop in edges]


class Keys:
    """The keys so far; at first those of an earlier run."""

    def __init__(self, known: Sequence[Key] = ()) -> None:
        self.names = list(known)  # by their numbers
        # Text is looked up in a third of the time that a tuple of it takes.
        self._numbers: dict[str | Key, int] = {
            key[0] if len(key) == 1 else key: number for number, key in enumerate(known)
        }

    def number(self, *columns: Sequence[str]) -> Integers:
        """Return the number of each row's key, a column for each of its parts."""
        numbers = self._numbers
        keys: Iterable[str | Key] = columns[0] if len(columns) == 1 else zip(*columns, strict=True)
        found = [numbers.setdefault(key, len(numbers)) for key in keys]
        new = [*islice(reversed(numbers), len(numbers) - len(self.names))]
        self.names += [(key,) if isinstance(key, str) else key for key in reversed(new)]
        return np.array(found, np.intp)

    def number_cells(self, columns: Sequence[Cells]) -> Integers:
        """Return the number of each row's key, whose parts are cells."""
        words, mixed = _words(columns), np.zeros(len(columns[0].starts), np.uint64)
        for word in words:
            mixed = (mixed ^ word) * _GOLDEN
            mixed ^= mixed >> np.uint64(32)
        rows, which = first_rows(mixed)
        # Two keys may be mixed alike; a long one has no words.
        if not words or any((word[rows][which] != word).any() for word in words):
            return self.number(*(cells.texts() for cells in columns))
        return self.number(*(cells.texts(rows) for cells in columns))[which]


def first_rows(values: NDArray[Any]) -> tuple[Integers, Integers]:
    """Return where each different value comes first, as they come, and which of them each is."""
    _, first, which = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[which]


def _words(columns: Sequence[Cells]) -> list[Words]:
    """Return the bytes of each row's cells, eight a word, the last ones first; none if too long."""
    words = []
    for cells in columns:
        sizes, text = cells.stops - cells.starts, bytes(_LONGEST) + cells.text
        longest = int(sizes.max(initial=1))
        if longest > _LONGEST:
            return []
        every = np.ndarray(len(text) - 7, "<u8", text, strides=1)
        for behind in range(0, longest, 8):
            # A word that begins before a cell has other text in its low bits.
            other = (np.maximum(8 + behind - sizes, 0) * 8).astype(np.uint64)
            words.append(every[cells.stops + (_LONGEST - 8 - behind)] >> other)
    return words
