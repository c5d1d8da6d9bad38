"""What a figure draws: a limited number of points for each sequence, gathered as rows come."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Integers
from rnncli.writers.bins import Bins, pieces
from rnncli.writers.trajectory import Trajectory

# Sequences that are drawn at most, also for the panels of each, and points of one that is alone
# or of each of several.
_SEQUENCES, _PANELS = 12, 36
_POINTS, _POINTS_EACH = 800, 256
# Values in the bins of a sequence: where a step has many, there are fewer points.
_VALUES = 1 << 20


class Panel(NamedTuple):
    """Values that are drawn together.

    Parameters
    ----------
    array : {"x", "h", "c", "y"}
    label : str
        What they are.
    names : sequence of str
        What each of them is.
    columns, together : slice
        Where they stand in the bins of a `Track`, and those that share their
        scale.
    direction : str
        Which of two; empty where a layer has one, or they are merged.
    """

    array: str
    label: str
    names: Sequence[str]
    columns: slice
    together: slice
    direction: str = ""

    @property
    def first(self) -> int:
        """The number of the first of them: as its name has it, 0 of the input."""
        number = self.names[0].rpartition("_")[2]
        return 0 if self.array == "x" else int(number)

    def apart(self) -> "list[Panel]":
        """Return a panel of each value: of features each with a scale of its own."""
        places = (slice(place, place + 1) for place in range(self.columns.start, self.columns.stop))
        return [
            self._replace(
                label=name,
                names=[name],
                columns=place,
                together=place if self.array == "x" else self.together,
            )
            for name, place in zip(self.names, places, strict=True)
        ]


class Track:
    """One sequence, as a limited number of points.

    Parameters
    ----------
    name : str
        Which sequence it is; empty where there is one.
    width : int
        Number of values a step, W.
    at_most : int
        Most points.

    Attributes
    ----------
    bins : Bins
        t of each step, then its values.
    """

    def __init__(self, name: str, width: int, at_most: int) -> None:
        self.name = name
        self.bins = Bins(1 + width, max(2, min(at_most, _VALUES // width)))


class Series(NamedTuple):
    """What a figure draws.

    Parameters
    ----------
    panels : sequence of Panel
        From the input to what the network gives.
    tracks : sequence of Track
    left_out : int
        How many sequences are not among them.
    panels_left_out : int
        How many panels are not among them.
    """

    panels: Sequence[Panel]
    tracks: Sequence[Track]
    left_out: int
    panels_left_out: int


def gathered(trajectory: Trajectory) -> Series:
    """Run through all steps, and return what a figure draws of them."""
    panels = [*_panels(trajectory)]
    width = panels[-1].columns.stop - 1
    at_most = _POINTS_EACH if trajectory.key_columns else _POINTS
    most = max(1, min(_SEQUENCES, _PANELS // len(panels)))
    tracks: dict[int, Track] = {}
    left_out: set[int] = set()
    for block in chain.from_iterable(map(pieces, trajectory.blocks)):
        arrays = [block.t[:, None], block.x, *(array for _, array in trajectory.by_layer(block))]
        values = np.concatenate(arrays, axis=1, dtype=np.float64)
        for key, rows in _by_sequence(block):
            if key not in tracks and len(tracks) == most:
                left_out.add(key)
                continue
            track = tracks.setdefault(key, Track(trajectory.name_of(key), width, at_most))
            track.bins.add(values[rows])
    shown = [*tracks.values()] or [Track("", width, at_most)]
    top = [panels[0], *panels[1:][-_PANELS:]]
    return Series(top, shown, len(left_out), len(panels) - len(top))


def _panels(trajectory: Trajectory) -> Iterator[Panel]:
    """Return what is drawn together: the input, and each array of each layer and direction."""
    names: list[str] = [*trajectory.columns]
    columns = slice(1, 1 + len(names))  # the first is t
    yield Panel("x", names[0] if len(names) == 1 else "input", names, columns, columns)
    for values in filter(lambda values: values.width, trajectory.values):
        names = [f"{values.name}_{j}" for j in range(values.width)]
        together = slice(columns.stop, columns.stop + len(names))
        width = len(names) // max(1, len(values.directions))
        for n, direction in enumerate(values.directions or [""]):
            columns = slice(columns.stop, columns.stop + width)
            some = names[n * width : (n + 1) * width]
            label = values.name if width > 1 else some[0]
            yield Panel(values.array, label, some, columns, together, direction)


def _by_sequence(block: Rows) -> Iterator[tuple[int, Integers]]:
    """Return the number of each sequence, in the order they come, and its rows."""
    if block.key is None:
        yield 0, np.arange(len(block.t))
        return
    keys, first = np.unique(block.key, return_index=True)
    for key in keys[np.argsort(first)].tolist():
        yield key, np.flatnonzero(block.key == key)
