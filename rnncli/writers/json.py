"""States as one JSON document, or as a line of JSON for every step."""

import json
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import TextIO

import numpy as np

from rnncli.engine.stream import Block
from rnncli.model.arrays import Floats
from rnncli.writers.digits import Part, rows_of_text, texts_with_gaps
from rnncli.writers.trajectory import Key, Labels, Style, Trajectory


def write_json(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write one document: model, initial states, steps, final states.

    The steps are written as the blocks come. With ``style.last`` there are
    none. Where the run fails, the document has the steps before, and
    ``error`` in place of ``final``. The initial states of several sequences
    come after the steps, when it is known which there are.
    """
    one = not trajectory.key_columns
    items = _Items(trajectory, style)
    out.write(f'{{"model": {json.dumps(trajectory.model)},\n')
    if one:
        out.write(f'"initial": [{items.listed(", ", items.initial())}],\n')
    try:
        if not style.last:
            _write_steps(out, trajectory, items)
    except ValueError as error:
        out.write(f'"error": {json.dumps(str(error))}}}\n')
        raise
    if not one:
        out.write(f'"initial": [{items.listed(", ", items.initial())}],\n')
    final = items.listed(",\n", items.final(trajectory.final()))
    out.write(f'"final": [{final}]}}\n')


def write_jsonl(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write the items of ``steps``, or with ``style.last`` of ``final``, one a line."""
    items = _Items(trajectory, style)
    for block in trajectory.blocks:
        item = items.final(block) if style.last else items.step(block)
        out.writelines(items.text([*item, "\n"]))
        if style.follow:
            out.flush()


def _write_steps(out: TextIO, trajectory: Trajectory, items: "_Items") -> None:
    out.write('"steps": [')
    try:
        pieces = chain.from_iterable(
            items.text([",\n", *items.step(block)]) for block in trajectory.blocks
        )
        out.write(next(pieces, "").removeprefix(","))
        out.writelines(pieces)
    finally:
        out.write("],\n")


class _Items:
    """JSON objects, one for each row: the parts that they are made of."""

    def __init__(self, trajectory: Trajectory, style: Style) -> None:
        self._trajectory, self._style = trajectory, style
        self._labels = Labels(trajectory.keys, self._label)

    def text(self, parts: Sequence[Part]) -> Iterator[str]:
        """Text of rows, in pieces."""
        return rows_of_text(parts, ", ", self._style.digits)

    def listed(self, separator: str, parts: Sequence[Part]) -> str:
        """Text of all rows, with a separator between."""
        return "".join(self.text([separator, *parts])).removeprefix(separator)

    def initial(self) -> list[Part]:
        """Where each sequence started."""
        states = self._states(self._trajectory.starts(), self._trajectory.widths.states)
        return ["{", *self._key(self._trajectory.final()), *states, "}"]

    def step(self, block: Block) -> list[Part]:
        """Every step, with its input or, where they are kept, the input's cells."""
        states = self._states(block.h, self._trajectory.widths.outputs)
        return ["{", *self._key(block), '"t": ', block.t, ", ", *self._input(block), *states, "}"]

    def final(self, block: Block) -> list[Part]:
        """Where each sequence ended."""
        states = self._states(block.h, self._trajectory.widths.states)
        return ["{", *self._key(block), '"t": ', block.t, ", ", *states, "}"]

    def _key(self, block: Block) -> list[Part]:
        return [] if block.key is None else [list(self._labels.of(block.key))]

    def _input(self, block: Block) -> list[Part]:
        if block.cells is None:
            if np.isnan(block.x).any():
                cells = texts_with_gaps(block.x, "null", self._style.digits)
                return [[f'"x": [{", ".join(row)}], ' for row in cells]]
            return ['"x": [', block.x, "], "]
        header = self._trajectory.header
        rows = (dict(zip(header, cells, strict=True)) for cells in block.cells)
        return [[f'"row": {json.dumps(row)}, ' for row in rows]]

    def _states(self, h: Floats, widths: Sequence[int]) -> list[Part]:
        """Each row's states: ``"h": [...]``, and ``"layers"`` where all are written."""
        bounds = pairwise(accumulate(widths, initial=0))
        layers = [h[:, start:stop] for start, stop in bounds]
        parts: list[Part] = ['"h": [', layers[-1], "]"]
        if self._trajectory.widths.all_layers:
            parts.append(', "layers": [')
            for number, layer in enumerate(layers):
                parts += [", [" if number else "[", layer, "]"]
            parts.append("]")
        return parts

    def _label(self, key: Key) -> str:
        """Text of a row's key: ``"key": {"column": "value"}, ``."""
        names = self._trajectory.key_columns
        return f'"key": {json.dumps(dict(zip(names, key, strict=True)))}, '
