"""States as one JSON document, or as a line of JSON for every step."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TextIO

import numpy as np

from rnncli.engine.rows import Literal, Quoted, Rows
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import NotFiniteError
from rnncli.writers.digits import Words, by_key, floats, integers, rows_of_text, words_of
from rnncli.writers.result import Result, SequenceStates, Style

# A cell that is written without quotes.
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")


class _ItemWriter:
    """Writes JSON objects, each of a step or of the state of a sequence."""

    def __init__(self, out: TextIO, result: Result, style: Style) -> None:
        self._out, self._result, self._digits = out, result, style.digits
        unicode = (out.encoding or "utf-8").lower().startswith("utf")
        self._encode = json.JSONEncoder(ensure_ascii=not unicode).encode
        self._label = cache(self._write_key)

    def _steps(self, rows: Rows, behind: str) -> Iterator[str]:
        """Write every step, with its input or, if they are written, the input's cells."""
        arrays = self._result.by_layer(rows)
        top = {columns.name: array for columns, array in arrays if columns.name == columns.array}
        if "c" in top and not top["c"].shape[1]:
            del top["c"]
        h = [array for columns, array in arrays if columns.array != "c"]
        c = [array for columns, array in arrays if columns.array == "c"]
        if rows.cells is None:
            return self._items(rows.key, rows.t, None, {"x": rows.x} | top, h, c, behind)
        cells = self._write_cells(rows.cells)
        return self._items(rows.key, rows.t, cells, top, h, c, behind)

    def _states(self, states: SequenceStates, between: str, *, final: bool) -> str:
        """Write where each sequence started, or ended."""
        key = np.arange(len(states.t)) if self._result.key_columns else None
        top = {**states.layers[-1], **({} if states.y is None else {"y": states.y})}
        h = [layer["h"] for layer in states.layers]
        pieces = self._items(key, states.t if final else None, None, top, h, states.c, between)
        return "".join(pieces).removesuffix(between)

    def _items(
        self,
        key: Integers | None,
        t: Integers | None,
        cells: Sequence[str] | None,
        top: Mapping[str, Floats],
        h: Sequence[Floats],
        c: Sequence[Floats],
        behind: str,
    ) -> Iterator[str]:
        """Write arrays of the top layer by name, and those of all layers if they are written."""
        arrays = [(f'], "{name}": [', array) for name, array in top.items()]
        if self._result.all_layers:
            arrays += [("], [" if n else '], "layers": [[', each) for n, each in enumerate(h)]
            if "c" in self._result.shown and any(array.size for array in c):
                arrays += [
                    ("], [" if n else ']], "layers_c": [[', each) for n, each in enumerate(c)
                ]
        first = arrays[0][0].removeprefix("], ")
        close = "]" * (1 + self._result.all_layers) + "}" + behind

        def parts_of(some: slice) -> Iterator[Words]:
            yield words_of(["{"])
            if key is not None:
                yield by_key(key[some], self._label)
            if t is not None:
                yield from (words_of(['"t": ']), integers(t[some]), words_of([", "]))
            if cells is not None:
                yield words_of(cells[some])
            for n, (text, array) in enumerate(arrays):
                yield words_of([text if n else first])
                yield floats(array[some], "", ", ", self._digits, "null")
            yield words_of([close])

        values = sum(array.shape[1] for _, array in arrays)
        return rows_of_text(len(arrays[0][1]), 3 * values + 16, parts_of)

    def _write_key(self, number: int) -> str:
        names, key = self._result.key_columns, self._result.keys[number]
        return f'"key": {_object([*map(self._quoted, names)], map(self._quoted, key))}, '

    def _write_cells(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """Write the cells of each row as the JSON that they were; of others numbers as they are."""
        types = self._result.types or [None] * len(self._result.header)
        as_text = ["string" in str(field and field.type) for field in types]
        names = [*map(self._quoted, self._result.header)]
        objects = []
        for cells in rows:
            values = map(self._value, cells, as_text)
            objects.append(f'"row": {_object(names, values)}, ')
        return objects

    def _value(self, cell: str, is_text: bool) -> str:
        if isinstance(cell, Literal):
            return cell or "null"
        is_text = is_text or isinstance(cell, Quoted) or not _NUMBER.fullmatch(cell)
        return self._quoted(cell) if is_text else cell

    def _quoted(self, text: str) -> str:
        """Write text as JSON; what controls a terminal, and halves of characters, are escaped."""
        quoted = self._encode(text)
        if quoted.isprintable():
            return quoted
        return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in quoted)


class JsonWriter(_ItemWriter):
    """Writes one document: the model, initial states, steps and final states.

    The steps are written as they come; where the rows are the final states there are none. If
    the run fails, the document has the steps before the failure, and ``error`` in place of
    ``final``. The initial states of several sequences follow the steps, as only then all
    sequences are known.
    """

    def __init__(self, out: TextIO, result: Result, style: Style) -> None:
        super().__init__(out, result, style)
        out.write(f'{{"model": {json.dumps(result.model)},\n')
        if not result.key_columns:
            self._write_initial()
        out.write("" if result.last else '"steps": [')
        self._between = "\n"

    def rows(self, rows: Rows) -> None:
        """Write a block of results."""
        for piece in () if self._result.last else self._steps(rows, ",\n"):
            self._out.write(self._between + piece.removesuffix(",\n"))
            self._between = ",\n"

    def end(self, error: ValueError | None) -> None:
        """Write the final states, or the error."""
        self._out.write("" if self._result.last else "],\n")
        if error:
            self._write_error(error)
            return
        if self._result.key_columns:
            self._write_initial()
        try:
            states = self._result.final()
        except NotFiniteError as failure:
            self._write_error(failure)
            raise
        final = self._states(states, ",\n", final=True)
        self._out.write(f'"final": [{final}]}}\n')

    def _write_initial(self) -> None:
        initial = self._states(self._result.initial(), ", ", final=False)
        self._out.write(f'"initial": [{initial}],\n')

    def _write_error(self, error: Exception) -> None:
        self._out.write(f'"error": {json.dumps(str(error))}}}\n')


class JsonLinesWriter(_ItemWriter):
    """Writes the items of ``steps``, or those of ``final``, one a line.

    With the input's cells it is always ``steps``: each item has a row of them.
    """

    def rows(self, rows: Rows) -> None:
        """Write a block of results."""
        if self._result.header or not self._result.last:
            self._out.writelines(self._steps(rows, "\n"))

    def end(self, error: ValueError | None) -> None:
        """Write the final states, if it is these."""
        if self._result.last and not self._result.header and not error:
            final = self._states(self._result.final(), "\n", final=True)
            self._out.write(final and f"{final}\n")


def _object(names: Sequence[str], values: Iterable[str]) -> str:
    items = dict(zip(names, values, strict=True)).items()
    return "{" + ", ".join(f"{name}: {value}" for name, value in items) + "}"
