"""Keys, numbered as they come.

Rows are many, and keys mostly few: what a row costs is to find a key that is
known. Many rows at once look theirs up in a table by array operations, a few
in a dictionary.
"""

from collections.abc import Iterable, Sequence
from itertools import islice, zip_longest
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.arrays import Integers, Truths
from rnncli.readers.plain import Words

Key = tuple[str, ...]

# Bytes in a word, and in the longest cell that stands in the table as it is.
_WORD, _MOST = 8, 128
# Longer ones stand there as this many bytes, which are the same for no two known texts.
_DIGEST = 31
# Rows at once, whose arrays stay in the cache.
_ROWS = 1 << 13
# Places in the table, at first and for each key: few keys share one.
_FEWEST, _FOR_EACH = 1 << 15, 4
# Multiples of 2**64 over the golden ratio are spread evenly.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Cells(NamedTuple):
    """The text of n cells.

    Parameters
    ----------
    text : bytes
        In UTF-8.
    starts, stops : arrays of int, shape (n,)
        First byte of each cell, and the byte behind it.
    """

    text: bytes
    starts: Integers
    stops: Integers

    @staticmethod
    def of(texts: Sequence[str]) -> "Cells":
        """Return texts as cells."""
        joined = "".join(texts)
        text, sizes = joined.encode("utf-8", "surrogatepass"), [*map(len, texts)]
        if len(text) > len(joined):  # not all in ASCII
            sizes = [len(each.encode("utf-8", "surrogatepass")) for each in texts]
        edges = np.cumsum([0, *sizes])
        return Cells(text, edges[:-1], edges[1:])

    def cut(self, rows: Any) -> "Cells":
        """Return some of them."""
        return Cells(self.text, self.starts[rows], self.stops[rows])

    def encoded(self) -> list[bytes]:
        """Return the bytes of each."""
        edges = zip(self.starts.tolist(), self.stops.tolist(), strict=True)
        return [self.text[start:stop] for start, stop in edges]

    def texts(self) -> list[str]:
        """Return the text of each."""
        return [str(cell, "utf-8", "surrogatepass") for cell in self.encoded()]


class Keys:
    """The keys so far, numbered as they come.

    Parameters
    ----------
    known : sequence of tuples of str
        Those of an earlier run.

    Attributes
    ----------
    names : list of tuples of str
        All of them, by their numbers.
    """

    def __init__(self, known: Sequence[Key] = ()) -> None:
        self.names = list(known)
        # Each has the keys that had come when it was last used.
        self._numbers: dict[str | Key, int] = {}
        self._table = _Table()

    def number(self, *columns: Sequence[str]) -> Integers:
        """Return the number of each key, of which a column has a part; a new one gets the next."""
        numbers, names = self._numbers, self.names
        # Text is looked up in a third of the time that a tuple of it takes.
        for key in names[len(numbers) :]:
            numbers[key[0] if len(key) == 1 else key] = len(numbers)
        keys: Iterable[str | Key] = columns[0]
        if len(columns) > 1:
            keys = zip(*columns, strict=True)
        found = [numbers.setdefault(key, len(numbers)) for key in keys]
        new = list(islice(reversed(numbers), len(numbers) - len(names)))
        names += [(key,) if isinstance(key, str) else key for key in reversed(new)]
        return np.array(found, np.intp)

    def number_cells(self, columns: Sequence[Cells]) -> Integers:
        """Return the number of each key of n rows, of which a column has the cells of a part."""
        behind = self.names[self._table.count :]
        if behind:
            parts = ([key[i] for key in behind] for i in range(len(columns)))
            self._look_up([*map(Cells.of, parts)])
        numbers, new = self._look_up(columns)
        self.names += zip(*(cells.cut(new).texts() for cells in columns), strict=True)
        return numbers

    def _look_up(self, columns: Sequence[Cells]) -> tuple[Integers, Integers]:
        """Return the numbers that the table has for keys, and the first row of each new one."""
        columns = [_fitting(cells) for cells in columns]
        longest = max(int((cells.stops - cells.starts).max(initial=1)) for cells in columns)
        numbers, new = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
        for first in range(0, len(columns[0].starts), _ROWS):
            some = [cells.cut(slice(first, first + _ROWS)) for cells in columns]
            found, brought = self._table.numbers(_words(some, -(-longest // _WORD)))
            numbers.append(found)
            new.append(first + brought)
        return np.concatenate(numbers), np.concatenate(new)


class _Table:
    """The numbers of keys, each at the first free place from that on which its words give.

    Attributes
    ----------
    count : int
        Keys so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._words: Words = np.empty((0, 0), np.uint64)  # of each key
        self._places = np.full(_FEWEST, -1, np.int32)

    def numbers(self, words: Sequence[Words]) -> tuple[Integers, Integers]:
        """Return the number of each of n keys by its words, and the first row of each new one."""
        self._make_room(keys=len(words[0]), width=len(words))
        at = self._first_places(words)
        numbers = self._places[at].astype(np.intp)
        others = np.flatnonzero(self._is_other(words, numbers))
        while len(others):
            at[others] = (at[others] + 1) % len(self._places)
            numbers[others] = self._places[at[others]]
            some = [word[others] for word in words]
            others = others[self._is_other(some, numbers[others])]
        new = np.flatnonzero(numbers < 0)
        numbers[new], first = self._add([word[new] for word in words], at[new])
        return numbers, new[first]

    def _add(self, words: Sequence[Words], at: Integers) -> tuple[Integers, Integers]:
        """Give numbers to n keys, none of them known, from the free place of each on."""
        before, places, rows = self.count, self._places, np.arange(len(at))
        # While they are compared, each stands in the table by its row.
        room = self._words[before : before + len(at)]
        room[:, : len(words)], room[:, len(words) :] = np.stack(words, axis=1), 0
        numbers, others = before + rows, rows
        while len(others):
            free = others[places[at[others]] < 0][::-1]
            places[at[free]] = before + free  # of several rows at a place the first stays
            numbers[others] = places[at[others]]
            some = [word[others] for word in words]
            others = others[self._is_other(some, numbers[others])]
            at[others] = (at[others] + 1) % len(places)
        first = np.flatnonzero(numbers == before + rows)
        self.count += len(first)
        self._words[before : self.count] = self._words[before + first]
        rank = np.empty(len(rows), np.intp)
        places[at[first]] = rank[first] = np.arange(before, self.count)
        return rank[numbers - before], first

    def _is_other(self, words: Sequence[Words], numbers: Integers) -> Truths:
        """Return which of n keys are not those of the numbers; none is where that is no number."""
        known = self._words.take(numbers, axis=0)
        differs = np.zeros(len(numbers), bool)
        for word, of_known in zip_longest(words, known.T, fillvalue=np.uint64(0)):
            differs |= word != of_known
        return differs & (numbers >= 0)

    def _first_places(self, words: Sequence[Words]) -> Integers:
        """Return a place for each of n keys, that zeros behind its words do not change."""
        mixed = np.zeros(len(words[0]), np.uint64)
        for word in reversed(words):
            mixed = (mixed ^ word) * _GOLDEN
        unused = np.uint64(65 - len(self._places).bit_length())
        return ((mixed ^ mixed >> np.uint64(32)) * _GOLDEN >> unused).astype(np.intp)

    def _make_room(self, keys: int, width: int) -> None:
        """Make room for so many more keys of so many words."""
        room, widest = self._words.shape
        if self.count + keys > room or width > widest:
            kept = self._words[: self.count]
            self._words = np.zeros((max(room, 2 * self.count + keys), max(width, widest)), "u8")
            self._words[: self.count, :widest] = kept
        if _FOR_EACH * self.count > len(self._places):
            kept, self.count = self._words[: self.count], 0
            self._places = np.full(_FOR_EACH * len(self._places), -1, np.int32)
            for first in range(0, len(kept), _ROWS):
                self.numbers(list(kept[first : first + _ROWS].T))


def _fitting(cells: Cells) -> Cells:
    """Put digests in place of cells that are too long, or have a NUL, and bytes before all.

    No text in UTF-8 has the first byte of a digest.
    """
    starts, stops = cells.starts + _MOST, cells.stops + _MOST
    wrong = stops - starts > _MOST
    if b"\0" in cells.text:
        wrong |= np.array([b"\0" in cell for cell in cells.encoded()])
    text = bytes(_MOST) + cells.text
    if wrong.any():
        from hashlib import blake2b  # 3 ms that most runs do not need

        digests = [
            b"\xff" + blake2b(cell, digest_size=_DIGEST).digest()
            for cell in cells.cut(wrong).encoded()
        ]
        starts[wrong] = len(text) + np.arange(len(digests)) * (_DIGEST + 1)
        stops[wrong] = starts[wrong] + _DIGEST + 1
        text += b"".join(digests)
    return Cells(text, starts, stops)


def _words(columns: Sequence[Cells], width: int) -> list[Words]:
    """Return the words of n keys: the last one of each cell, then the ones before, zeros at last.

    The cells are `_fitting`, and none has more than `width` words.
    """
    words = []
    for size in range(_WORD, _WORD * width + 1, _WORD):
        for text, starts, stops in columns:
            every = np.ndarray(len(text) - _WORD + 1, "<u8", text, strides=1)
            foreign = (np.maximum(size - (stops - starts), 0) * 8).astype(np.uint64)
            words.append(every[stops - size] >> foreign)
    return words
