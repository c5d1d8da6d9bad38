"""The keys of plain rows, numbered many at once.

Rows are many, and keys mostly few: a table has the numbers of keys that came
lately, at a place that their characters give. The others are looked up one by
one.
"""

from collections.abc import Mapping, Sequence

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
# Multiples of 2**64 over the golden ratio, and of its powers, are spread evenly.
_GOLDEN = 0x9E3779B97F4A7C15
_FACTORS = np.array([pow(_GOLDEN, power, 2**64) for power in range(1, 64)], np.uint64)


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
        self._clear(_FEWEST)

    def _clear(self, places: int) -> None:
        self._numbers = np.full(places, -1)
        self._words: dict[int, Words] = {}

    def numbers(self, text: bytes, shape: Shape) -> Integers:
        """Return the number of the key of each of some plain rows."""
        starts, stops = (edges[:, self._columns] for edges in bounds(text, shape))
        long = (stops - starts).max() > _WORD * _WORDS
        if long or len(self._columns) * _WORDS > len(_FACTORS):
            return self._looked_up(text, starts, stops)
        rows = (slice(first, first + _ROWS) for first in range(0, len(starts), _ROWS))
        return np.concatenate([self._found(text, starts[some], stops[some]) for some in rows])

    def _looked_up(self, text: bytes, starts: Integers, stops: Integers) -> Integers:
        cells = (texts(text, *edges) for edges in zip(starts.T, stops.T, strict=True))
        return self._keys.number(*cells)

    def _found(self, text: bytes, starts: Integers, stops: Integers) -> Integers:
        words = _words(text, starts, stops)
        places = self._places(words)
        numbers = self._numbers[places]
        known = numbers >= 0
        for name in {*words, *self._words}:
            known &= self._column(name)[places] == words.get(name, 0)
        others = np.flatnonzero(~known)
        if len(others):
            numbers[others] = self._looked_up(text, starts[others], stops[others])
            self._keep(words, numbers, others)
        return numbers

    def _keep(self, words: Mapping[int, Words], numbers: Integers, rows: Integers) -> None:
        """Put the keys of some rows into the table, over others at their places."""
        wanted = min(_FOR_EACH * len(self._keys.names), _MOST)
        if wanted > len(self._numbers):
            self._clear(1 << (wanted - 1).bit_length())
            rows = np.arange(len(numbers))
        places = self._places(words)[rows]
        self._numbers[places] = numbers[rows]
        for name in {*words, *self._words}:
            self._column(name)[places] = words[name][rows] if name in words else 0

    def _column(self, name: int) -> Words:
        """Return one word of each key in the table."""
        if name not in self._words:
            self._words[name] = np.zeros(len(self._numbers), np.uint64)
        return self._words[name]

    def _places(self, words: Mapping[int, Words]) -> Words:
        """Return where in the table the keys of some rows have their place."""
        mixed: Words = np.zeros(1, np.uint64)
        for name, word in words.items():
            mixed = mixed ^ word * _FACTORS[name]
        unused = np.uint64(65 - len(self._numbers).bit_length())
        places: Words = (mixed ^ mixed >> np.uint64(32)) * np.uint64(_GOLDEN) >> unused
        return places


def _words(text: bytes, starts: Integers, stops: Integers) -> dict[int, Words]:
    """Return the words of cells, (n, columns), by their number; the last of a cell is the first.

    Those that are empty in all rows are left out, but for the first.
    """
    padded = bytes(_WORD * _WORDS) + text
    every = np.ndarray(len(padded) - _WORD + 1, "<u8", padded, strides=1)
    words = {}
    for column, (start, stop) in enumerate(zip(starts.T, stops.T, strict=True)):
        count = stop - start
        for number in range(max(1, -(-int(count.max()) // _WORD))):
            size = _WORD * (number + 1)
            foreign = (np.maximum(size - count, 0) * 8).astype(np.uint64)
            word = every[stop + (_WORD * _WORDS - size)]
            words[column * _WORDS + number] = word >> foreign << foreign
    return words
