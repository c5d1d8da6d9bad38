"""Choose columns by name, number or range, or leave some out."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rnncli.engine.rows import Rows, steps_in_block
from rnncli.model.errors import InputError, did_you_mean, listed, verbatim
from rnncli.readers.input import Input, Keys, Layout, unnamed


class Chosen(NamedTuple):
    """Positions of the columns of a table."""

    keys: list[int]
    features: list[int]
    copied: list[int]  # their cells are written too
    note: str = ""  # a possible mistake of the user

    def count_steps(self, layout: Layout) -> int:
        """Count the steps in a block; a copied cell takes as much memory as eight values."""
        return steps_in_block(len(self.features) + 8 * len(self.copied), layout.block_steps)


def split_names(text: str, kind: str = "column") -> tuple[str, ...]:
    """Split names at the commas between them, but not in quotes, as in CSV."""
    try:
        rows = list(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ValueError(f"{text!r} is not a list of {kind}s: {error}") from error
    names = tuple(name.strip() for row in rows for name in row)
    if "" in names or not names:
        raise ValueError(f"{text!r} names an empty {kind}")
    return names


def choose(
    name: str,
    wanted: Sequence[str | int],
    width: int,
    header: Sequence[str] | None,
    parameter: str = "columns",
    otherwise: Sequence[int] = (),
) -> list[int]:
    """Return the positions, from 0, of the wanted columns: an integer is a number from 1."""
    indices = dict[str, list[int]]()
    for i, column in enumerate(header or ()):
        indices.setdefault(column, []).append(i)
    chosen, left_out = list[int](), list[int]()
    for each in wanted:
        text = str(each)
        leaves_out = text.startswith("!") and text not in indices
        names = indices if isinstance(each, str) else {}
        matches = _find(name, text[leaves_out:], names, width)
        if not matches:
            shown = (
                f"{listed(map(repr, header))} (or 1 to {width})"
                if header
                else f"1 to {width}, unnamed"
            )
            what = f"no column {text[leaves_out:]!r}; there are {shown}"
            hint = verbatim(did_you_mean(text[leaves_out:], header or ()))
            for mark, word in {" ": "space", "|": "pipe", ",": "comma", ";": "semicolon"}.items():
                if header and text in header[0].split(mark) and width == 1:
                    hint = f"`delimiter` {word}"
            if text[:1] in ("^", "~", "-") and text[1:] in indices:
                hint = verbatim(f"did you mean {'!' + text[1:]!r}?")
            split = re.split(r"[;:|]|\.\.", text)
            if len(split) > 1 and all(word in indices or word.isdecimal() for word in split):
                mark = "-" if split[0].isdecimal() else ","
                hint = verbatim(f"did you mean {mark.join(split)!r}?")
            raise InputError(name, what, hint)
        (left_out if leaves_out else chosen).extend(matches)
    rest = [column for column in chosen or otherwise if column not in left_out]
    if wanted and not rest:
        raise InputError(name, "no column is left", f" in `{parameter}`")
    if len({*rest}) < len(rest):
        raise InputError(name, "a column is given twice", f" in `{parameter}`")
    return rest


def _find(name: str, text: str, indices: Mapping[str, list[int]], width: int) -> Sequence[int]:
    """Return the positions of a column, or of a range: one ``-`` stands between two columns."""

    def find(column: str) -> Sequence[int]:
        named = indices.get(column)
        return named or ([int(column) - 1] if is_number(column, width) else ())

    matches = find(text)
    if len(matches) > 1:
        hint = f"choose it by its number, 1 to {width}"
        raise InputError(name, f"column {text!r} stands twice in the header", hint)
    cuts = [i for i, mark in enumerate(text) if i and mark == "-"]
    ends = [(find(text[:i]), find(text[i + 1 :]) if text[i + 1 :] else [width - 1]) for i in cuts]
    ranges = [range(a[0], b[0] + 1) for a, b in ends if len(a) == len(b) == 1]
    return ranges[0] if not matches and len(ranges) == 1 else matches


def note_names(
    name: str, wanted: Sequence[str | int], width: int, header: Sequence[str] | None
) -> str:
    """Describe the wanted columns whose names are also numbers of other columns; empty if none."""
    if not wanted:
        return ""
    indices = {column: [i] for i, column in enumerate(header or ())}
    words = {column: at for column, at in indices.items() if not is_number(column, width)}
    chosen, numbered = list[str](), list[str]()
    for text in (each for each in wanted if isinstance(each, str)):
        text = text if text in indices else text.removeprefix("!")
        numbers = [*_find(name, text, words, width)]
        if header and numbers and numbers != [*_find(name, text, indices, width)]:
            chosen.append(repr(text))
            numbered += [repr(header[i]) for i in numbers]
    if not chosen:
        return ""
    what = f"columns read by name: {verbatim(listed(chosen))}"
    return f"{what}; by number they would be {verbatim(listed(numbered))}"


def choose_all(name: str, layout: Layout, width: int, header: Sequence[str] | None) -> Chosen:
    """Choose the columns of the keys, of the features, and of cells that are copied."""
    grouping = choose(name, layout.group_by, width, header, "group_by")
    otherwise = [i for i in range(width) if i not in grouping]
    columns = layout.choose(header or ()) if layout.choose else layout.columns
    chosen = choose(name, columns, width, header, otherwise=otherwise)
    if not chosen:
        raise InputError(name, "no column is left to read")
    # A program that looks up a repeated name would get one column of several.
    for column, times in Counter(header).items() if layout.passthrough else ():
        if times > 1:
            hint = "`passthrough` needs a name of its own for each"
            raise InputError(name, f"column {column!r} stands twice in the header", hint)
    note = note_names(name, (*layout.group_by, *layout.columns), width, header)
    return Chosen(grouping, chosen, list(range(width)) if layout.passthrough else [], note)


def make_input(
    blocks: Iterator[Rows], chosen: Chosen, header: Sequence[str] | None, keys: Keys
) -> Input:
    """Return the chosen columns of a table as an input."""
    every = (*chosen.keys, *chosen.features, *chosen.copied)
    names = {i: header[i] if header else f"column_{i + 1}" for i in every}
    unique = {name for name, times in Counter(header).items() if name and times == 1}
    return Input(
        columns=[names[i] for i in chosen.features] if header else unnamed(len(chosen.features)),
        blocks=blocks,
        key_columns=[names[i] for i in chosen.keys],
        keys=keys.names if chosen.keys else (),
        header=[names[i] for i in chosen.copied],
        chosen=[names[i] if names[i] in unique else i + 1 for i in chosen.features],
        note=chosen.note,
    )


def is_number(column: str, width: int) -> bool:
    """Return whether a column is given by its number."""
    return column.isdecimal() and column.isascii() and 1 <= int(column) <= width
