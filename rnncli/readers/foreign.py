"""Mistakes of beginners, and the way out: files of another kind, and cells that are no number."""

import codecs
import os
import re
import shlex
from json import JSONDecodeError, JSONDecoder

from rnncli.model.errors import InputError, verbatim
from rnncli.readers.input import PASSES, Layout, is_missing, parse_number

STDIN = "-"
UTF_8 = "utf-8"

# The first bytes of Parquet, which no text has, of an Arrow file, of an Arrow stream and of .npy.
PARQUET, ARROW, STREAM, NPY = b"PAR1\x15", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"\x93NUMPY"
_TABLES = (PARQUET, ARROW, STREAM)
_SIGNATURES = {
    b"\x1f\x8b": ("gzip data", "decompress it (zcat), or give a file named .gz"),
    NPY: ("an .npy array", "give a file named .npy"),
    PARQUET: ("a Parquet file", "give a file named .parquet"),
    ARROW: ("an Arrow file", "give a file named .arrow"),
    STREAM: ("an Arrow stream", "give a file named .arrow"),
    b"PK\x03\x04": ("a zip archive (.xlsx, .npz?)", "export it as CSV"),
}
# The title of a table or a picture of rnn, and what a cell of the line below its names is made of.
_TITLE = re.compile(r"(Network|[A-Z]+(, [A-Z]+)*): I = \d")
_RULE = "─"
_OF_TABLE = "give `format` csv to the run that wrote it"
_MARKUP = ("<!doctype", "<html", "<?xml")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Latin letters in UTF-16, from the first NUL on.
_LATIN_IN_UTF_16 = re.compile(b"(\0[^\0]){3}")
# Bytes that are letters and marks in Windows' own encoding, and no text in Latin-1.
_OF_WINDOWS = re.compile(b"[\x80-\x9f]")
# What programs write where they have no number.
_NULLS = ("na", "n/a", "#n/a", "#na", "<na>", "null", "none", "nil", "-", "--", "?", ".")
_THOUSANDS = " (a mark of thousands? leave it out)"
# What two numbers with such a mark between them most often mean.
_BETWEEN_NUMBERS = {
    ",": " (a decimal comma? `decimal` , reads it)",
    ";": " (is it `delimiter` ';'?)",
    "\t": " (is it `delimiter` tab?)",
    "|": " (is it `delimiter` pipe?)",
    " ": " (is it `delimiter` space?)",
    **dict.fromkeys(
        "'\N{RIGHT SINGLE QUOTATION MARK}\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}", _THOUSANDS
    ),
}


def display_name(path: str) -> str:
    """Return the name of an input for messages."""
    return "standard input" if path == STDIN else path


def is_table(start: bytes, *, few: bool = False) -> bool:
    """Recognise Parquet and Arrow by the first bytes of a file, or by `few` bytes of a pipe."""
    few = few and len(start) >= len(STREAM) and any(mark.startswith(start) for mark in _TABLES)
    return few or start.startswith(_TABLES)


def start_of(path: str) -> bytes:
    """Return the first bytes of a local file; none of a pipe or a URL, which would lose them."""
    if not os.path.isfile(path):
        return b""
    with open(path, "rb") as file:
        return file.read(8)


def check_start(start: bytes, path: str, encoding: str = UTF_8) -> None:
    """Check that the first bytes of a file are not those of another kind."""
    if start.startswith(_UTF_16) and not has_mark(encoding):
        raise _error(path, "UTF-16 text", "`encoding` utf-16 reads it")
    if start.startswith(codecs.BOM_UTF8) and encoding != UTF_8:
        raise _error(path, "UTF-8 text", "leave `encoding` out", encoding)
    for mark, (kind, hint) in _SIGNATURES.items():
        if start.startswith(mark):
            raise _error(path, kind, _as_model(path) or hint)


def has_mark(encoding: str) -> bool:
    """Return whether text in an encoding may begin with the byte order mark of UTF-16 or UTF-32."""
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def not_text(path: str, line: int, rest: bytes, encoding: str = UTF_8) -> InputError:
    """Return the error of a file whose rest is no text; empty where it ends within a character."""
    if b"\0" in rest and not has_mark(encoding):
        if _LATIN_IN_UTF_16.match(rest):
            hint = "`encoding` utf-16-le or utf-16-be reads it"
            return _error(path, "binary data (UTF-16 without its mark?)", hint, line=line)
        return _error(path, "binary data", _as_model(path), line=line)
    if encoding != UTF_8:
        found = f"the byte {rest[0]:#04x}" if rest else "a character that is cut short"
        hint = f"is it {encoding}-le or {encoding}-be?" if has_mark(encoding) and line == 1 else ""
        return _error(path, found, hint, encoding, line)
    guess, name = ("cp1252", "Windows-1252") if _OF_WINDOWS.search(rest) else ("latin-1", "Latin-1")
    found = f"bytes that are not UTF-8 ({name}?)"
    return _error(path, found, f"`encoding` {guess} reads it", line=line)


def check_first_lines(lines: list[str], path: str) -> None:
    """Check that a text is not HTML, XML, a table of rnn, or JSON, also a value a line."""
    line = lines[0].strip()
    if line.lower().startswith(_MARKUP):
        raise _error(path, "HTML or XML (a page that tells of an error?)")
    if _TITLE.match(line):
        raise _error(path, "a table of rnn", _OF_TABLE)
    if _is_json(line):
        raise _error(path, "JSON", _out_of_json(lines, path))


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
    return _OF_TABLE if not text.strip(_RULE) else mark_between_numbers(usual)


def mark_between_numbers(cell: str) -> str:
    """Return a hint at the usual cause of a cell that holds several numbers, if it does."""
    for mark, hint in _BETWEEN_NUMBERS.items():
        parts = cell.split(mark)
        if len(parts) > 1 and all(parse_number(part) is not None for part in parts):
            return _THOUSANDS if mark == "," and "." in cell else hint
    return ""


def _as_model(path: str) -> str:
    """Suggest `weights` for a file that is named as a model is."""
    from rnncli.model.formats import is_model  # 5 ms that reading text does not need

    return f"is it a model? give `weights` {verbatim(path)}" if is_model(path) else ""


def _error(path: str, found: str, hint: str = "", encoding: str = "", line: int = 0) -> InputError:
    place = display_name(path) + (f":{line}" if line else "")
    return InputError(
        place, f"expected CSV text{encoding and f' in {encoding}'}, found {found}", hint
    )


def _is_json(line: str) -> bool:
    if not line.startswith(("[", "{")):
        return False
    try:
        return JSONDecoder().raw_decode(line)[1] == len(line)
    except (RecursionError, JSONDecodeError) as error:
        return getattr(error, "pos", len(line)) >= len(line)  # it goes on in the next line


def _out_of_json(lines: list[str], path: str) -> str:
    """Return commands of the shell that make CSV of it."""
    start = "".join("".join(lines).split())
    quoted = "" if path == STDIN else f" {verbatim(shlex.quote(path))}"
    unzip = f"zcat{quoted}" if quoted and path.lower().endswith(".gz") else ""
    before, behind = (f"{unzip} | ", "") if unzip else ("", quoted)
    if start.startswith(("{", "[{")):
        each = ".[] | " if start.startswith("[") else ""
        command = f"{before}jq -r '{each}[.NAME] | @csv'{behind}"
        return f"{command} makes CSV of a field of each object"
    array, rows = unzip or f"cat{quoted}", f"{before}jq -r @csv{behind}"
    return f'`seq` "$({array})" reads one array, {rows} makes CSV of an array a line'
