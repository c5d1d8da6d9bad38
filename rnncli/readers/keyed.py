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
    """The text of n cells, in UTF-8: the first byte of each, and the byte behind it, (n,)."""

    text: bytes
    starts: Integers
    stops: Integers

    @staticmethod
    def of(texts: Sequence[str]) -> "Cells":
        """Return texts as cells."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        edges = np.cumsum([0, *map(len, encoded)])
        return Cells(b"".join(encoded), edges[:-1], edges[1:])

    def cut(self, rows: Any) -> "Cells":
        """Return some of them."""
        return Cells(self.text, self.starts[rows], self.stops[rows])

    def texts(self) -> list[str]:
        """Return the text of each."""
        edges = zip(self.starts.tolist(), self.stops.tolist(), strict=True)
        if self.text.isascii():
            text = self.text.decode()
            return [text[start:stop] for start, stop in edges]
        return [str(self.text[start:stop], "utf-8", "surrogatepass") for start, stop in edges]


class Keys:
    """The keys so far; at first those of an earlier run."""

    def __init__(self, known: Sequence[Key] = ()) -> None:
        self.names = list(known)  # by their numbers
        # Text is looked up in a third of the time that a tuple of it takes.
        self._numbers: dict[str | Key, int] = {
            key[0] if len(key) == 1 else key: number for number, key in enumerate(known)
        }
        # Keys that have come in cells: their words, those mixed to one, sorted, and numbers.
        self._words, self._mixed = np.zeros((1, 1), np.uint64), np.zeros(1, np.uint64)
        self._found = np.zeros(1, np.intp)

    def number(self, *columns: Sequence[str]) -> Integers:
        """Return the number of each row's key, a column for each of its parts."""
        numbers = self._numbers
        keys: Iterable[str | Key] = columns[0] if len(columns) == 1 else zip(*columns, strict=True)
        found = [numbers.setdefault(key, len(numbers)) for key in keys]
        new = [*islice(reversed(numbers), len(numbers) - len(self.names))]
        self.names += [(key,) if isinstance(key, str) else key for key in reversed(new)]
        return np.array(found, np.intp)

    def number_cells(self, columns: Sequence[Cells]) -> Integers:
        """Return the number of each row's key, whose parts are cells; make text of new ones."""
        words = _words(columns, len(self._words.T))
        if words is None:
            return self.number(*(cells.texts() for cells in columns))
        self._words = np.pad(self._words, ((0, 0), (0, len(words.T) - len(self._words.T))))
        mixed = np.zeros(len(words), np.uint64)
        for word in words.T:
            mixed = (mixed ^ word) * _GOLDEN
            mixed ^= mixed >> np.uint64(32)
        mixed, first, which = np.unique(mixed, return_index=True, return_inverse=True)
        at = np.searchsorted(self._mixed, mixed)
        is_new = self._mixed.take(at, mode="clip") != mixed
        distinct, known = words[first], ~is_new
        # Two keys may be mixed alike.
        alike = np.array_equal(distinct[which], words)
        if not (alike and np.array_equal(self._words[at[known]], distinct[known])):
            return self.number(*(cells.texts() for cells in columns))
        numbers = self._found.take(at, mode="clip")
        new = np.flatnonzero(is_new)
        as_they_come = new[np.argsort(first[new])]
        rows = first[as_they_come]
        numbers[as_they_come] = self.number(*(cells.cut(rows).texts() for cells in columns))
        self._mixed = np.insert(self._mixed, at[new], mixed[new])
        self._words = np.insert(self._words, at[new], distinct[new], axis=0)
        self._found = np.insert(self._found, at[new], numbers[new])
        return np.asarray(numbers[which])


def _words(columns: Sequence[Cells], fewest: int) -> Words | None:
    """Return the cells of each row as words, (n, words): their lengths, then eight bytes each.

    There are `fewest` at least, zeros at last; None where a cell is long.
    """
    sizes = [cells.stops - cells.starts for cells in columns]
    longest = max(int(size.max(initial=0)) for size in sizes)
    if longest > _LONGEST:
        return None
    texts = [bytes(_LONGEST) + cells.text for cells in columns]
    words = [(size + 1).astype("<u8") for size in sizes]  # no key is all zeros
    for behind in range(0, longest, 8):
        for text, size, cells in zip(texts, sizes, columns, strict=True):
            every = np.ndarray(len(text) - 7, "<u8", text, strides=1)
            # A word that begins before a cell has other text in its low bits.
            other = (np.maximum(8 + behind - size, 0) * 8).astype(np.uint64)
            words.append(every[cells.stops + (_LONGEST - 8 - behind)] >> other)
    words += [np.zeros_like(words[0])] * (fewest - len(words))
    return np.stack(words, axis=1)
