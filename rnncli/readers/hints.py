"""Mistakes that beginners make, and the way out of each: tables of tests and sentences."""

import codecs
import re
import shlex

from rnncli.model.errors import InputError, verbatim
from rnncli.readers.foreign import (
    ARROW,
    COMPRESSED,
    NPY,
    PARQUET,
    STDIN,
    STREAM,
    UTF_8,
    UTF_16,
    ZIP,
    display_name,
)
from rnncli.readers.input import PASSES, Layout, is_missing, parse_number

_OF_TABLE = "give `format` csv to the run that wrote it"
_THOUSANDS = " (a mark of thousands? leave it out)"

# How data begin, what they are, and the way out.
_DATA = (
    (UTF_16, "UTF-16 text", "`encoding` utf-16 reads it"),
    ((NPY, PARQUET, ARROW, STREAM, *COMPRESSED), "other data in what is compressed", "unpack it"),
    (ZIP, "a zip archive (.xlsx, .npz?)", "export it as CSV"),
)
# How the first line begins, what it is, and the way out.
_LINES = (
    (r"(?i)\s*(<!doctype|<html|<\?xml)", "HTML or XML (a page that tells of an error?)", ""),
    (r"(Network|[A-Z]+(, [A-Z]+)*): I = \d", "a table of rnn", _OF_TABLE),
)
# What two numbers with such a mark between them most often mean.
_BETWEEN_NUMBERS = {
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


def check_start(start: bytes, path: str, encoding: str = UTF_8) -> None:
    """Check that the first bytes of a text are not those of other data."""
    if start.startswith(codecs.BOM_UTF8) and encoding != UTF_8:
        raise _error(path, "UTF-8 text", "leave `encoding` out", encoding)
    for marks, kind, hint in _DATA[_has_mark(encoding) :]:
        if start.startswith(marks):
            raise _error(path, kind, _as_model(path) or hint)


def check_first_line(line: str, path: str) -> None:
    """Check that a text is not HTML, XML or a table of rnn."""
    for pattern, kind, hint in _LINES:
        if re.match(pattern, line):
            raise _error(path, kind, hint)


def not_text(path: str, line: int, rest: str, encoding: str = UTF_8) -> InputError:
    """Return the error of a file that goes on with a NUL, or with a byte that is no text."""
    if "\0" in rest and not _has_mark(encoding):
        if re.match("(\0[^\0]){3}", rest):  # Latin letters, from the first NUL on
            hint = "`encoding` utf-16-le or utf-16-be reads it"
            return _error(path, "binary data (UTF-16 without its mark?)", hint, line=line)
        return _error(path, "binary data", _as_model(path), line=line)
    if encoding != UTF_8:
        hint = f"is it {encoding}-le or {encoding}-be?" if _has_mark(encoding) and line == 1 else ""
        return _error(path, f"the byte {ord(rest[0]) & 255:#04x}", hint, encoding, line)
    # Letters and marks in Windows' own encoding, and no text in Latin-1.
    is_windows = re.search("[\udc80-\udc9f]", rest)
    guess, name = ("cp1252", "Windows-1252") if is_windows else ("latin-1", "Latin-1")
    found = f"bytes that are not UTF-8 ({name}?)"
    return _error(path, found, f"`encoding` {guess} reads it", line=line)


def not_json_lines(path: str, text: str, line: int = 1) -> InputError:
    """Return the error of JSON that has not a row a line, of which `text` is the first."""
    start, name = text.lstrip(), "" if path == STDIN else f" {verbatim(shlex.quote(path))}"
    rows = ".[]" if start.startswith("[") else ".steps[]" if '"model"' in start[:20] else "."
    unpack = f"zcat{name} | " if name and path.lower().endswith(".gz") else ""
    command = f"{unpack}jq -c '{rows}'{'' if unpack else name} | rnn run -"
    what = "not JSON lines: expected an object or an array of numbers a line"
    return InputError(f"{display_name(path)}:{line}", what, command)


def hint_at_cell(cell: str, layout: Layout) -> str:
    """Suggest a way out for a cell that is no number, where the mistake is a usual one."""
    usual, text = layout.usual(cell), cell.strip()
    if is_missing(usual):
        return PASSES
    if text.lower() in _NULLS:
        null = f"`null_values` {verbatim(shlex.quote(text))}"
        return f"{null} with {PASSES}" if layout.missing == "error" else f"{null} passes it"
    if layout.decimal != "." and not text.strip(f" +-.{layout.decimal}0123456789"):
        return f" (`decimal` is {layout.decimal!r}: a number has one of it at most, and no point)"
    return _OF_TABLE if not text.strip("─") else mark_between_numbers(usual)


def hint_at_width(delimiter: str, width: int, layout: Layout) -> str:
    """Suggest a way out for a row that has another number of cells than the first."""
    if delimiter == "," == layout.decimal:
        return "a number with a decimal comma stands in quotes"
    if delimiter == "," and width == 1:
        return " (a title above the header, or a decimal comma: `decimal` ,?)"
    return ""


def mark_between_numbers(cell: str) -> str:
    """Return a hint at the usual cause of a cell that holds several numbers, if it does."""
    for mark, hint in _BETWEEN_NUMBERS.items():
        numbers = cell.split(mark)
        if len(numbers) > 1 and all(parse_number(number) is not None for number in numbers):
            return _THOUSANDS if mark == "," and "." in cell else hint
    return ""


def _has_mark(encoding: str) -> bool:
    """Return whether text in an encoding may begin with the byte order mark of UTF-16 or UTF-32."""
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def _as_model(path: str) -> str:
    """Suggest `weights` for a file that is named as a model is."""
    from rnncli.model.formats import is_model  # 5 ms that reading text does not need

    return f"is it a model? give `weights` {verbatim(path)}" if is_model(path) else ""


def _error(path: str, found: str, hint: str = "", encoding: str = "", line: int = 0) -> InputError:
    place = display_name(path) + (f":{line}" if line else "")
    return InputError(
        place, f"expected CSV or JSON lines{encoding and f' in {encoding}'}, found {found}", hint
    )
