"""What a figure draws: a limited number of points for each sequence, gathered as rows come."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from rnncli.engine.stream import Block
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import InputError
from rnncli.writers.bins import Bins, pieces
from rnncli.writers.figure.timeline import Timeline, numbers
from rnncli.writers.trajectory import Style, Trajectory

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
        The place of each step on the time axis, then its values.
    labels : list of str
        The text at the first step of each bin, if any stands on the time axis.
    """

    def __init__(self, name: str, width: int, at_most: int) -> None:
        self.name = name
        self.bins = Bins(1 + width, max(2, min(at_most, _VALUES // width)))
        self.labels: list[str] = []

    @property
    def end(self) -> float:
        """The place of the last step so far, -inf before the first."""
        _, greatest = self.bins.ends()
        return float(greatest[-1, 0]) if len(greatest) else -np.inf

    def add(self, places: Floats, values: Floats, labels: Sequence[str]) -> None:
        """Add steps: their places, shape (n,), values, (n, W), and text."""
        size, total = self.bins.size, self.bins.total
        self.labels += labels[-total % size :: size]
        self.bins.add(np.column_stack([places, values]))
        self.labels = self.labels[:: self.bins.size // size]


class Series(NamedTuple):
    """What a figure draws.

    Parameters
    ----------
    timeline : Timeline
    panels : sequence of Panel
        From the input to what the network gives.
    tracks : sequence of Track
    left_out : int
        How many sequences are not among them.
    against : str
        Name of the column that stands last in the last panel, beside
        predictions; empty if none does.
    panels_left_out : int
        How many panels are not among them.
    """

    timeline: Timeline
    panels: Sequence[Panel]
    tracks: Sequence[Track]
    left_out: int
    against: str
    panels_left_out: int


def gathered(trajectory: Trajectory, style: Style) -> Series:
    """Run through all steps, and return what a figure draws of them.

    Raises
    ------
    InputError
        A cell of the columns `x` and `against` does not go with the others.
    """
    timeline = Timeline(trajectory.header[0] if style.x else None)
    against = trajectory.header[-1] if style.against else ""
    panels = [*_panels(trajectory, against)]
    width = panels[-1].columns.stop - 1
    at_most = _POINTS_EACH if trajectory.key_columns else _POINTS
    most = max(1, min(_SEQUENCES, _PANELS // len(panels)))
    tracks: dict[int, Track] = {}
    left_out: set[int] = set()
    for block in chain.from_iterable(map(pieces, trajectory.blocks)):
        places, labels = timeline.places(block), timeline.labels(block)
        values = _values(trajectory, block, against)
        for key, rows in _by_sequence(block):
            if key not in tracks and len(tracks) == most:
                left_out.add(key)
                continue
            track = tracks.setdefault(key, Track(trajectory.name_of(key), width, at_most))
            timeline.check_forward(track.name, block, rows, places, track.end)
            track.add(places[rows], values[rows], [labels[row] for row in rows] if labels else ())
    shown = [*tracks.values()] or [Track("", width, at_most)]
    top = [panels[0], *panels[1:][-_PANELS:]]
    return Series(timeline, top, shown, len(left_out), against, len(panels) - len(top))


def _panels(trajectory: Trajectory, against: str) -> Iterator[Panel]:
    """Return what is drawn together: the input, and each array of each layer and direction."""
    names: list[str] = [*trajectory.columns]
    columns = slice(1, 1 + len(names))  # the first is the place on the time axis
    yield Panel("x", names[0] if len(names) == 1 else "input", names, columns, columns)
    for values in filter(lambda values: values.width, trajectory.values):
        names = [f"{values.name}_{j}" for j in range(values.width)]
        if against and values is trajectory.values[-1]:
            names.append(against)
        together = slice(columns.stop, columns.stop + len(names))
        width = len(names) // max(1, len(values.directions))
        for n, direction in enumerate(values.directions or [""]):
            columns = slice(columns.stop, columns.stop + width)
            some = names[n * width : (n + 1) * width]
            label = values.name if width > 1 else some[0]
            yield Panel(values.array, label, some, columns, together, direction)


def _by_sequence(block: Block) -> Iterator[tuple[int, Integers]]:
    """Return the number of each sequence, in the order they come, and its rows."""
    if block.key is None:
        yield 0, np.arange(len(block.t))
        return
    keys, first = np.unique(block.key, return_index=True)
    for key in keys[np.argsort(first)].tolist():
        yield key, np.flatnonzero(block.key == key)


def _values(trajectory: Trajectory, block: Block, against: str) -> Floats:
    """Return what is drawn of each row, (n, W), the panels side by side."""
    arrays = [block.x, *(array for _, array in trajectory.by_layer(block))]
    if against:
        arrays.append(_numbers(block, against))
    return np.concatenate(arrays, axis=1, dtype=np.float64)


def _numbers(block: Block, column: str) -> Floats:
    """Return the last of the cells that are kept, (n, 1); NaN where it is empty or ``nan``."""
    cells = [row[-1] for row in block.cells or ()]
    missing = [cell.strip().lower() in ("", "nan") for cell in cells]
    filled = ["0" if absent else cell for cell, absent in zip(cells, missing, strict=True)]
    found = numbers(filled)
    if found is None:
        row = next(i for i, cell in enumerate(filled) if numbers([cell]) is None)
        place = f"column {column!r}: t = {block.t[row]}"
        raise InputError(place, f"not a number: {cells[row]!r}")
    found[missing] = np.nan
    return found[:, None]
