"""States as one JSON document, or as a line of JSON for every step."""

import json
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TextIO

from rnncli.arrays import Floats
from rnncli.stream import Block
from rnncli.writers.digits import joined
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
        out.write(f'"initial": [{items.initial()}],\n')
    try:
        if not style.last:
            _write_steps(out, trajectory, items)
    except ValueError as error:
        out.write(f'"error": {json.dumps(str(error))}}}\n')
        raise
    if not one:
        out.write(f'"initial": [{items.initial()}],\n')
    final = ",\n".join(items.final(trajectory.final()))
    out.write(f'"final": [{final}]}}\n')


def write_jsonl(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write the items of ``steps``, or with ``style.last`` of ``final``, one a line."""
    items = _Items(trajectory, style)
    for block in trajectory.blocks:
        lines = items.final(block) if style.last else items.steps(block)
        out.writelines(f"{line}\n" for line in lines)
        if style.follow:
            out.flush()


def _write_steps(out: TextIO, trajectory: Trajectory, items: "_Items") -> None:
    out.write('"steps": [')
    separator = "\n"
    try:
        for block in trajectory.blocks:
            for item in items.steps(block):
                out.write(f"{separator}{item}")
                separator = ",\n"
    finally:
        out.write("],\n")


class _Items:
    """JSON objects, one for each row."""

    def __init__(self, trajectory: Trajectory, style: Style) -> None:
        self._trajectory, self._style = trajectory, style
        self._labels = Labels(trajectory.keys, self._label)

    def initial(self) -> str:
        """Where each sequence started."""
        states = self._states(self._trajectory.starts(), self._trajectory.widths.states)
        keys = self._labels.of(self._trajectory.final().key)
        return ", ".join(f"{{{key}{h}}}" for key, h in zip(keys, states, strict=False))

    def steps(self, block: Block) -> Iterator[str]:
        """Every step, with its input or, where they are kept, the input's cells."""
        states = self._states(block.h, self._trajectory.widths.outputs)
        rows = zip(
            self._labels.of(block.key), block.t.tolist(), self._inputs(block), states, strict=False
        )
        return (f'{{{key}"t": {t}, {x}, {h}}}' for key, t, x, h in rows)

    def final(self, block: Block) -> Iterator[str]:
        """Where each sequence ended."""
        states = self._states(block.h, self._trajectory.widths.states)
        rows = zip(self._labels.of(block.key), block.t.tolist(), states, strict=False)
        return (f'{{{key}"t": {t}, {h}}}' for key, t, h in rows)

    def _inputs(self, block: Block) -> Iterator[str]:
        if block.cells is None:
            return (f'"x": [{x}]' for x in joined(block.x, ", ", self._style.digits))
        header = self._trajectory.header
        return (
            f'"row": {json.dumps(dict(zip(header, cells, strict=True)))}' for cells in block.cells
        )

    def _states(self, h: Floats, widths: Sequence[int]) -> Iterator[str]:
        """Text of each row's states: ``"h": [...]``, and ``"layers"`` where all are written."""
        layers = [
            joined(h[:, start:stop], ", ", self._style.digits)
            for start, stop in pairwise(accumulate(widths, initial=0))
        ]
        if not self._trajectory.widths.all_layers:
            return (f'"h": [{top}]' for top in layers[-1])
        rows = zip(*layers, strict=True)
        return (f'"h": [{row[-1]}], "layers": [[{"], [".join(row)}]]' for row in rows)

    def _label(self, key: Key) -> str:
        """Text of a row's key: ``"key": {"column": "value"}, ``."""
        names = self._trajectory.key_columns
        return f'"key": {json.dumps(dict(zip(names, key, strict=True)))}, '
