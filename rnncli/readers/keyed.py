"""The keys of plain rows, numbered many at once.

Rows are many, and keys mostly few: a table has the numbers of keys that came
lately, at a place that their characters give. The others are looked up one by
one.
"""

from collections.abc import Sequence

import numpy as np

from rnncli.model.arrays import Integers
from rnncli.readers.input import Keys
from rnncli.readers.plain import Shape, Words, bounds, texts

# Bytes in a word, and words in the longest cell that is looked for in the table.
_WORD, _WORDS = 8, 6
# Rows at once: the next ones find the keys that these have brought.
_ROWS = 1 << 13
# Places in the table, at first and at most, and for each key: so that few share one.
_FEWEST, _MOST, _FOR_EACH = 1 << 12, 1 << 18, 16
# Multiples of 2**64 over the golden ratio are spread evenly.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class KeyTable:
    """The numbers of keys that came lately.

    Parameters
    ----------
    keys : Keys
        All of them.
    columns : sequence of int
        Which cells of a row are its key.
    """

    def __init__(self, keys: Keys, columns: Sequence[int]) -> None:
        self._keys, self._columns = keys, columns
        self._clear(_FEWEST, 1)

    def _clear(self, places: int, width: int) -> None:
        """Forget all keys, and make room for so many with so many words in a cell."""
        self._width, self._numbers = width, np.full(places, -1)
        self._words = np.zeros((width * len(self._columns), places), np.uint64)

    def numbers(self, text: bytes, shape: Shape) -> Integers:
        """Return the number of the key of each of some plain rows."""
        starts, stops = (edges[:, self._columns] for edges in bounds(text, shape))
        width = -(-int((stops - starts).max()) // _WORD)
        if width > _WORDS:
            return self._looked_up(text, starts, stops)
        if width > self._width:
            self._clear(len(self._numbers), width)
        rows = (slice(first, first + _ROWS) for first in range(0, len(starts), _ROWS))
        return np.concatenate([self._found(text, starts[some], stops[some]) for some in rows])

    def _looked_up(self, text: bytes, starts: Integers, stops: Integers) -> Integers:
        cells = (texts(text, *edges) for edges in zip(starts.T, stops.T, strict=True))
        return self._keys.number(*cells)

    def _found(self, text: bytes, starts: Integers, stops: Integers) -> Integers:
        words = _words(text, starts, stops, self._width)
        places = self._places(words)
        numbers = self._numbers[places]
        known = numbers >= 0
        for kept, word in zip(self._words, words, strict=True):
            known &= kept[places] == word
        others = np.flatnonzero(~known)
        if len(others):
            numbers[others] = self._looked_up(text, starts[others], stops[others])
            self._keep([word[others] for word in words], numbers[others])
        return numbers

    def _keep(self, words: Sequence[Words], numbers: Integers) -> None:
        """Put keys into the table, over others at their places."""
        wanted = min(_FOR_EACH * len(self._keys.names), _MOST)
        if wanted > len(self._numbers):
            self._clear(1 << (wanted - 1).bit_length(), self._width)
        places = self._places(words)
        self._numbers[places] = numbers
        for kept, word in zip(self._words, words, strict=True):
            kept[places] = word

    def _places(self, words: Sequence[Words]) -> Words:
        """Return where in the table the keys of some rows have their place."""
        mixed = np.zeros(len(words[0]), np.uint64)
        for word in words:
            mixed = (mixed ^ word) * _GOLDEN
        unused = np.uint64(65 - len(self._numbers).bit_length())
        return (mixed ^ mixed >> np.uint64(32)) * _GOLDEN >> unused


def _words(text: bytes, starts: Integers, stops: Integers, width: int) -> list[Words]:
    """Return the words of cells, (n, columns), so many for each; its last is the first."""
    padded = bytes(_WORD * width) + text
    every = np.ndarray(len(padded) - _WORD + 1, "<u8", padded, strides=1)
    words = []
    for start, stop in zip(starts.T, stops.T, strict=True):
        for size in range(_WORD, _WORD * width + 1, _WORD):
            foreign = (np.maximum(size - (stop - start), 0) * 8).astype(np.uint64)
            word = every[stop + (_WORD * width - size)]
            words.append(word >> foreign << foreign)
    return words
