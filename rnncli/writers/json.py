"""States as one JSON document, or as a line of JSON for every step."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TextIO

from rnncli.engine.rows import Literal, Quoted, Rows
from rnncli.model.arrays import Floats, Integers
from rnncli.writers.digits import Words, floats, integers, rows_of_text, words_of
from rnncli.writers.result import Result, Style

# A number in JSON.
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")


class JsonLinesWriter:
    """Writes a line for each item of ``steps`` or, for the last rows alone, of ``final``."""

    def __init__(self, out: TextIO, result: Result, style: Style) -> None:
        self._out, self._result, self._digits = out, result, style.digits
        unicode = (out.encoding or "utf-8").lower().startswith("utf")
        self._encode = json.JSONEncoder(ensure_ascii=not unicode).encode
        self._label = cache(self._write_key)
        types = result.types or [None] * len(result.header)
        self._as_text = ["string" in str(field and field.type) for field in types]

    def rows(self, rows: Rows) -> None:
        """Write a block of results."""
        if self._result.header or not self._result.last:
            self._out.writelines(self._steps(rows, "\n"))

    def end(self, error: ValueError | None) -> None:
        """Write the final states, unless they came as rows with the input's fields."""
        if self._result.last and not self._result.header and not error:
            states = self._states(self._result.final(), final=True)
            self._out.writelines(f"{state}\n" for state in states)

    def _steps(self, rows: Rows, behind: str) -> Iterator[str]:
        """Write each step with its features or, where they are copied, the input's fields."""
        front = None if rows.key is None else [*map(self._label, rows.key.tolist())]
        if rows.cells is None:
            return self._items(front, rows.t, {"x": rows.x, **rows.values}, "hy", behind)
        heads, lines = front or ["{"] * len(rows.t), []
        for head, t, row in zip(heads, rows.t.tolist(), rows.cells, strict=True):
            fields = map(self._write_field, row, self._as_text)
            lines.append(f'{head}"t": {t}, "row": {self._object(self._result.header, fields)}, ')
        return self._items(lines, None, rows.values, "hy", behind)

    def _states(self, states: Rows, *, final: bool) -> list[str]:
        """Write the initial or final state of each sequence, unless the network has none."""
        if not any(array.size for array in states.values.values()):
            return []
        keyed, t = bool(self._result.key_columns), states.t if final else None
        front = [*map(self._label, range(len(states.t)))] if keyed else None
        return "".join(self._items(front, t, states.values, "h", "\n")).splitlines()

    def _items(
        self,
        front: Sequence[str] | None,
        t: Integers | None,
        values: Mapping[str, Floats],
        of_layers: str,
        behind: str,
    ) -> Iterator[str]:
        """Write the arrays of the top layers by name and, if asked for, those of all layers.

        `of_layers` are the arrays of a layer that stand in ``layers``: h, or h and y.
        """
        top = {name: values[name] for name in "xhcy" if name in values}
        arrays = [(f'], "{name}": [', array) for name, array in top.items() if array.shape[1]]
        if self._result.all_layers:
            lists = {'], "layers": [[': of_layers}
            if any(name[-1] == "c" for name in self._result.shown):
                lists[']], "layers_c": [['] = "c"
            for begin, letters in lists.items():
                each = [array for name, array in values.items() if name[-1] in letters]
                arrays += zip([begin, *["], ["] * (len(each) - 1)], each, strict=True)
        close = "]" * (1 + self._result.all_layers) + "}" + behind

        def words(span: slice) -> Iterator[Words]:
            yield words_of(["{" if front is None else ""])
            if t is not None:
                yield from (words_of(['"t": ']), integers(t[span]), words_of([", "]))
            for n, (text, array) in enumerate(arrays):
                yield words_of([text if n else text.removeprefix("], ")])
                yield floats(array[span], "", ", ", self._digits, "null")
            yield words_of([close])

        width = sum(array.shape[1] for _, array in arrays)
        return rows_of_text(len(arrays[0][1]), 3 * width + 16, words, front)

    def _write_key(self, number: int) -> str:
        key = map(self._quote, self._result.keys[number])
        return f'{{"key": {self._object(self._result.key_columns, key)}, '

    def _object(self, names: Sequence[str], values: Iterable[str]) -> str:
        items = dict(zip(map(self._quote, names), values, strict=True)).items()
        return "{" + ", ".join(f"{name}: {value}" for name, value in items) + "}"

    def _write_field(self, field: str, as_text: bool) -> str:
        """Write a field of JSON unchanged; write one of other formats as a number or a string."""
        if isinstance(field, Literal):
            return field or "null"
        as_text = as_text or isinstance(field, Quoted) or not _NUMBER.fullmatch(field)
        return self._quote(field) if as_text else field

    def _quote(self, text: str) -> str:
        """Write text as JSON; escape characters that control a terminal, and surrogates."""
        quoted = self._encode(text)
        if quoted.isprintable():
            return quoted
        return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in quoted)


class JsonWriter(JsonLinesWriter):
    """Writes one document: the model, initial states, steps as they come, and final states.

    The initial states of several sequences follow the steps, as only then all sequences are known.
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
        if not self._result.last:
            for text in self._steps(rows, ",\n"):
                self._out.write(self._between + text.removesuffix(",\n"))
                self._between = ",\n"

    def end(self, error: ValueError | None) -> None:
        """Write the final states, or the error."""
        self._out.write("" if self._result.last else "],\n")
        if self._result.key_columns and not error:
            self._write_initial()
        try:
            if error:
                raise error
            final = ",\n".join(self._states(self._result.final(), final=True))
        except ValueError as failure:
            self._out.write(f'"error": {json.dumps(str(failure))}}}\n')
            if not error:
                raise
        else:
            self._out.write(f'"final": [{final}]}}\n')

    def _write_initial(self) -> None:
        initial = ", ".join(self._states(self._result.initial(), final=False))
        self._out.write(f'"initial": [{initial}],\n')
