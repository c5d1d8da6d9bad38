"""States as one JSON document, or as a line of JSON for every step."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TextIO

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import NotFiniteError
from rnncli.writers.digits import Part, rows_of_text, texts_with_gaps
from rnncli.writers.labels import Key, Labelled, Labels
from rnncli.writers.trajectory import SequenceStates, Style, Trajectory, UntilError


def write_json(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write one document: the model, initial states, steps and final states.

    The steps are written as the blocks come; with ``trajectory.last`` there
    are none. If the run fails, the document has the steps before the failure,
    and ``error`` in place of ``final``. The initial states of several
    sequences follow the steps, as only then all sequences are known.
    """
    one = not trajectory.key_columns
    items = _Items(trajectory, style)
    out.write(f'{{"model": {json.dumps(trajectory.model)},\n')
    if one:
        out.write(f'"initial": [{items.listed(", ", items.initial())}],\n')
    blocks = UntilError(trajectory.blocks)
    if not trajectory.last:
        _write_steps(out, blocks, items)
    if blocks.error:
        _write_error(out, blocks.error)
    blocks.check()
    if not one:
        out.write(f'"initial": [{items.listed(", ", items.initial())}],\n')
    try:
        final = items.listed(",\n", items.final())
    except NotFiniteError as error:
        _write_error(out, error)
        raise
    out.write(f'"final": [{final}]}}\n')


def _write_error(out: TextIO, error: Exception) -> None:
    out.write(f'"error": {json.dumps(str(error))}}}\n')


def write_jsonl(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write the items of ``steps``, or with ``trajectory.last`` of ``final``, one a line.

    With the input's cells it is always ``steps``: each item has a row of them.
    """
    items = _Items(trajectory, style)
    if trajectory.last and not trajectory.header:
        out.writelines(items.text([*items.final(), "\n"]))
        return
    for block in trajectory.blocks:
        out.writelines(items.text([*items.step(block), "\n"]))
        if style.follow:
            out.flush()


def _write_steps(out: TextIO, blocks: Iterable[Rows], items: "_Items") -> None:
    out.write('"steps": [')
    try:
        pieces = chain.from_iterable(items.text([",\n", *items.step(each)]) for each in blocks)
        out.write(next(pieces, "").removeprefix(","))
        out.writelines(pieces)
    finally:
        out.write("],\n")


class _Items:
    """JSON objects, one a row, as the parts of `rows_of_text`."""

    def __init__(self, trajectory: Trajectory, style: Style) -> None:
        self._trajectory, self._digits = trajectory, style.digits
        self._labels = Labels(trajectory.keys, self._texts_of)

    def text(self, parts: Sequence[Part]) -> Iterator[str]:
        """Return the text of rows, in pieces."""
        return rows_of_text(parts, ", ", self._digits)

    def listed(self, separator: str, parts: Sequence[Part]) -> str:
        """Return the text of all rows, with a separator between them."""
        return "".join(self.text([separator, *parts])).removeprefix(separator)

    def initial(self) -> list[Part]:
        """Where each sequence started."""
        states = self._trajectory.initial()
        return ["{", *self._key_of_each(states), *self._state(states), "}"]

    def final(self) -> list[Part]:
        """Where each sequence ended."""
        states = self._trajectory.final()
        key = self._key_of_each(states)
        return ["{", *key, '"t": ', states.t, ", ", *self._state(states), "}"]

    def step(self, block: Rows) -> list[Part]:
        """Every step, with its input or, if they are written, the input's cells."""
        parts = self._trajectory.by_layer(block)
        top = {columns.name: array for columns, array in parts if columns.name == columns.array}
        if "c" in top and not top["c"].shape[1]:
            del top["c"]
        c = [array for columns, array in parts if columns.array == "c"]
        h = self._arrays(top, [array for columns, array in parts if columns.array != "c"], c)
        key = self._key(block.key)
        return ["{", *key, '"t": ', block.t, ", ", *self._input(block), *h, "}"]

    def _key_of_each(self, states: SequenceStates) -> list[Part]:
        return self._key(np.arange(len(states.t)) if self._trajectory.key_columns else None)

    def _key(self, numbers: Integers | None) -> list[Part]:
        return [] if numbers is None else [Labelled(self._labels, numbers)]

    def _texts_of(self, keys: Sequence[Key]) -> list[str]:
        """Text of each key: ``"key": {"column": "value"}, ``."""
        names = self._trajectory.key_columns
        named = (dict(zip(names, key, strict=True)) for key in keys)
        return [f'"key": {json.dumps(key)}, ' for key in named]

    def _input(self, block: Rows) -> list[Part]:
        if block.cells is not None:
            header = self._trajectory.header
            rows = (dict(zip(header, cells, strict=True)) for cells in block.cells)
            return [[f'"row": {json.dumps(row)}, ' for row in rows]]
        if np.isnan(block.x).any():
            x = texts_with_gaps(block.x, "null", self._digits)
            return [[f'"x": [{", ".join(row)}], ' for row in x]]
        return ['"x": [', block.x, "], "]

    def _state(self, states: SequenceStates) -> list[Part]:
        top = {**states.layers[-1], **({} if states.y is None else {"y": states.y})}
        return self._arrays(top, [layer["h"] for layer in states.layers], states.c)

    def _arrays(
        self, top: Mapping[str, Floats], layers: Sequence[Floats], c: Sequence[Floats]
    ) -> list[Part]:
        """Arrays of the top layer by name, and lists of those of all layers if they are written."""
        parts: list[Part] = []
        for name, array in top.items():
            parts += [f', "{name}": [' if parts else f'"{name}": [', array, "]"]
        if self._trajectory.all_layers:
            parts += [', "layers": [', *_nested(layers), "]"]
            if "c" in self._trajectory.shown and any(array.size for array in c):
                parts += [', "layers_c": [', *_nested(c), "]"]
        return parts


def _nested(arrays: Sequence[Floats]) -> Iterator[Part]:
    """Rows of several arrays, each a list."""
    for number, array in enumerate(arrays):
        yield ", [" if number else "["
        yield array if array.size else ""
        yield "]"
