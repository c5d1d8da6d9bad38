"""Keys of sequences, numbered as they come."""

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from rnncli.model.arrays import Integers

Key = tuple[str, ...]


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
