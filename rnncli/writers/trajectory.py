"""A `Result` with its rows, for writers that iterate over them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from typing import Any, NamedTuple

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats
from rnncli.model.errors import printable
from rnncli.writers.labels import Key, in_words
from rnncli.writers.result import Columns, SequenceStates, Style

__all__ = ["Columns", "SequenceStates", "Style", "Trajectory", "UntilError"]


class Trajectory(NamedTuple):
    """A `Result` with its blocks, which a ValueError ends when the run fails."""

    model: Mapping[str, Any]
    columns: Sequence[str]
    values: Sequence[Columns]
    blocks: Iterable[Rows]
    initial: Callable[[], SequenceStates]
    final: Callable[[], SequenceStates]
    key_columns: Sequence[str] = ()
    keys: Sequence[Key] = ()
    header: Sequence[str] = ()
    types: Any = None
    shape: tuple[int, ...] = ()
    all_layers: bool = False
    forward: bool = True
    last: bool = False
    shown: Sequence[str] = ("h",)

    @property
    def units(self) -> list[str]:
        """Names of the columns: ``h_0``, ``h_1``, ..., of lower layers ``layer_1_h_0``, ..."""
        return [
            f"{part.name}_{j}"
            for part in self.values
            if part.array in self.shown
            for j in range(part.width)
        ]

    @property
    def arrays(self) -> list[str]:
        """Which array each of the columns is of."""
        shown = (part for part in self.values if part.array in self.shown)
        return [part.array for part in shown for _ in range(part.width)]

    def name_of(self, number: int) -> str:
        """Return what a sequence is called in a picture: its key; empty text where there is one."""
        if not self.key_columns:
            return ""
        return printable(in_words(self.key_columns, self.keys[number]))

    def rows(self, block: Rows) -> Floats:
        """Return the columns of a block."""
        arrays = [getattr(block, name) for name in self.shown]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)

    def by_layer(self, block: Rows) -> list[tuple[Columns, Floats]]:
        """Return all that a block holds, each array layer by layer."""
        found: list[tuple[Columns, Floats]] = []
        for name, group in groupby(self.values, lambda part: part.array):
            parts = list(group)
            ends = [*accumulate(part.width for part in parts)][:-1]
            found += zip(parts, np.split(getattr(block, name), ends, axis=1), strict=True)
        return found


class UntilError:
    """Blocks up to the ValueError that ends them, if one does.

    Attributes
    ----------
    error : ValueError or None
        Set once the blocks have been iterated over.
    """

    def __init__(self, blocks: Iterable[Rows]) -> None:
        self._blocks = blocks
        self.error: ValueError | None = None

    def __iter__(self) -> Iterator[Rows]:
        try:
            yield from self._blocks
        except ValueError as error:
            self.error = error

    def after(self, made: Iterable[Rows]) -> Iterator[Rows]:
        """Pass on blocks that are made of these, then raise the error, if there was one."""
        yield from made
        self.check()

    def check(self) -> None:
        """Raise the error, if there was one."""
        if self.error:
            raise self.error
