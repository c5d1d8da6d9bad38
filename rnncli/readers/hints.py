"""The mistakes that beginners make, and the way out of each."""

import codecs
import re
import shlex

from rnncli.model.arrays import parse_numbers
from rnncli.model.errors import InputError, verbatim
from rnncli.readers.foreign import (
    ARROW,
    COMPRESSED,
    NPY,
    PARQUET,
    STREAM,
    UTF_8,
    UTF_16,
    ZIP,
    ZSTANDARD,
    display_name,
)

PASSES = "`missing` hold or zero passes it"
_WIDE = ("utf-16", "utf-32")
# How data begin, the encodings of text that may begin so, what they are, and the way out.
_STARTS = (
    (UTF_16, _WIDE, "UTF-16 text", "`encoding` utf-16 reads it"),
    (codecs.BOM_UTF8, UTF_8, "UTF-8 text", "leave `encoding` out"),
    ((NPY, PARQUET, ARROW, STREAM, *COMPRESSED), (), "other data, compressed", "unpack it"),
    (ZSTANDARD, (), "data compressed with Zstandard", "zstd -dc unpacks it"),
    (ZIP, (), "a zip archive (.xlsx, .npz?)", "export it as CSV"),
)
# How the first line begins, what it is, and the way out.
_FIRST_LINES = (
    (r"(?i)(<!doctype|<html|<\?xml)", "HTML or XML (a page that tells of an error?)", ""),
    (r"(Network|[A-Z]+(, [A-Z]+)*): I = \d", "a table of rnn", "`format` csv writes CSV"),
)
_THOUSANDS = " (a mark of thousands? leave it out)"
# What a cell that holds several numbers means, by the mark between them.
_MARKS = {
    ",": " (a decimal comma? `decimal` , reads it)",
    ";": " (is it `delimiter` ';'?)",
    "\t": " (is it `delimiter` tab?)",
    "|": " (is it `delimiter` pipe?)",
    " ": " (is it `delimiter` space?)",
    **dict.fromkeys("'\N{RIGHT SINGLE QUOTATION MARK}\N{NO-BREAK SPACE}", _THOUSANDS),
    "\N{NARROW NO-BREAK SPACE}": _THOUSANDS,
}
# What programs write where they have no number.
_NULLS = ("na", "n/a", "#n/a", "#na", "<na>", "null", "none", "nil", "-", "--", "?", ".")


def hint_at_cell(cell: str) -> str:
    """Suggest a way out for a cell that is no number."""
    text = cell.strip()
    if text.lower() in _NULLS:
        return f"`null_values` {verbatim(shlex.quote(text))} with {PASSES}"
    return hint_at_numbers(cell)


def hint_at_numbers(cell: str) -> str:
    """Suggest a way out for a cell that holds several numbers; empty for any other."""
    for mark, hint in _MARKS.items():
        if mark in cell and parse_numbers(cell.split(mark)) is not None:
            return _THOUSANDS if mark == "," and "." in cell else hint
    return ""


def check_start(start: bytes, path: str, encoding: str = UTF_8) -> None:
    """Check that the first bytes of a text are not those of other data."""
    for marks, encodings, kind, hint in _STARTS:
        if start.startswith(marks) and not codecs.lookup(encoding).name.startswith(encodings):
            raise _error(path, kind, _as_model(path) or hint)


def check_first_line(line: str, path: str) -> None:
    """Check that a text is not HTML, XML or a table of rnn."""
    for pattern, kind, hint in _FIRST_LINES:
        if re.match(pattern, line):
            raise _error(path, kind, hint)


def not_text(path: str, line: int, rest: str, encoding: str = UTF_8) -> InputError:
    """Return the error of a file that goes on with a NUL, or with a byte that is no text."""
    place = f"{display_name(path)}:{line}"
    if "\0" in rest and not codecs.lookup(encoding).name.startswith(_WIDE):
        return _error(place, "binary data", _as_model(path))
    if encoding != UTF_8:
        return _error(place, f"the byte {ord(rest[0]) & 255:#04x}, which is not {encoding}")
    # Letters and marks in Windows' own encoding, and no text in Latin-1.
    is_windows = re.search("[\udc80-\udc9f]", rest)
    guess, name = ("cp1252", "Windows-1252") if is_windows else ("latin-1", "Latin-1")
    return _error(place, f"bytes that are not UTF-8 ({name}?)", f"`encoding` {guess} reads it")


def not_json_lines(path: str, text: str, line: int = 1) -> InputError:
    """Return the error of JSON that has not a row a line, of which `text` is the first."""
    start = text.lstrip()
    rows = ".[]" if start.startswith("[") else ".steps[]" if '"model"' in start[:20] else "."
    what = "not JSON lines: expected an object or an array of numbers a line"
    return InputError(f"{display_name(path)}:{line}", what, f"jq -c '{rows}' makes them")


def _as_model(path: str) -> str:
    """Suggest `weights` for a file that is named as a model is."""
    from rnncli.model.formats import is_model  # 5 ms that reading text does not need

    return f"is it a model? give `weights` {verbatim(path)}" if is_model(path) else ""


def _error(place: str, found: str, hint: str = "") -> InputError:
    return InputError(display_name(place), f"expected CSV or JSON lines, found {found}", hint)
