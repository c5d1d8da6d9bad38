"""Files that are no CSV text in their encoding, and the way out."""

import codecs
import os
import re
import shlex
from json import JSONDecodeError, JSONDecoder

from rnncli.model.errors import InputError, verbatim

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
# What to do about a table that is drawn for people.
OF_TABLE = "give `format` csv to the run that wrote it"
# The title of a table or a picture, and what a cell of the line below its names is made of.
_TITLE = re.compile(r"(Network|[A-Z]+(, [A-Z]+)*): I = \d")
RULE = "─"
_MARKUP = ("<!doctype", "<html", "<?xml")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Latin letters in UTF-16, from the first NUL on.
_LATIN_IN_UTF_16 = re.compile(b"(\0[^\0]){3}")
# Bytes that are letters and marks in Windows' own encoding, and no text in Latin-1.
_OF_WINDOWS = re.compile(b"[\x80-\x9f]")


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
        raise InputError(display_name(path), _found("UTF-16 text"), "`encoding` utf-16 reads it")
    if start.startswith(codecs.BOM_UTF8) and encoding != UTF_8:
        found = _found("UTF-8 text", encoding)
        raise InputError(display_name(path), found, "leave `encoding` out")
    for mark, (kind, hint) in _SIGNATURES.items():
        if start.startswith(mark):
            raise InputError(display_name(path), _found(kind), _as_model(path) or hint)


def has_mark(encoding: str) -> bool:
    """Return whether text in an encoding may begin with the byte order mark of UTF-16 or UTF-32."""
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def not_text(path: str, line: int, rest: bytes, encoding: str = UTF_8) -> InputError:
    """Return the error of a file whose rest begins with a byte that is no text, in some line.

    There is no rest where the file ends within a character.
    """
    place = f"{display_name(path)}:{line}"
    if b"\0" in rest and not has_mark(encoding):
        if _LATIN_IN_UTF_16.match(rest):
            hint = "`encoding` utf-16-le or utf-16-be reads it"
            return InputError(place, _found("binary data (UTF-16 without its mark?)"), hint)
        return InputError(place, _found("binary data"), _as_model(path))
    if encoding != UTF_8:
        found = f"the byte {rest[0]:#04x}" if rest else "a character that is cut short"
        hint = f"is it {encoding}-le or {encoding}-be?" if has_mark(encoding) and line == 1 else ""
        return InputError(place, _found(found, encoding), hint)
    guess, name = ("cp1252", "Windows-1252") if _OF_WINDOWS.search(rest) else ("latin-1", "Latin-1")
    return InputError(
        place, _found(f"bytes that are not UTF-8 ({name}?)"), f"`encoding` {guess} reads it"
    )


def check_first_lines(lines: list[str], path: str) -> None:
    """Check that a text is not HTML, XML, a table of rnn, or JSON, also a value a line."""
    line = lines[0].strip()
    if line.lower().startswith(_MARKUP):
        found = _found("HTML or XML (a page that tells of an error?)")
        raise InputError(display_name(path), found)
    if _TITLE.match(line):
        raise InputError(display_name(path), _found("a table of rnn"), OF_TABLE)
    if _is_json(line):
        raise InputError(display_name(path), _found("JSON"), _out_of_json(lines, path))


def _as_model(path: str) -> str:
    """Return what to do with a file that is named as a model is."""
    from rnncli.model.formats import is_model  # 5 ms that reading text does not need

    return f"is it a model? give `weights` {verbatim(path)}" if is_model(path) else ""


def _found(kind: str, encoding: str = "") -> str:
    return f"expected CSV text{encoding and f' in {encoding}'}, found {kind}"


def _is_json(line: str) -> bool:
    if not line.startswith(("[", "{")):
        return False
    try:
        _, end = JSONDecoder().raw_decode(line)
    except RecursionError:
        return True
    except JSONDecodeError as error:
        return error.pos >= len(line)  # it goes on in the next line
    return end == len(line)


def _out_of_json(lines: list[str], path: str) -> str:
    start = "".join("".join(lines).split())
    if start.startswith(("{", "[{")):
        each = ".[] | " if start.startswith("[") else ""
        command = _command(f"jq -r '{each}[.NAME] | @csv'", path)
        return f"{command} makes CSV of a field of each object"
    array, rows = _command("cat", path), _command("jq -r @csv", path)
    return f'`seq` "$({array})" reads one array, {rows} makes CSV of an array a line'


def _command(command: str, path: str) -> str:
    """Return a command of the shell that reads the file."""
    if path == STDIN:
        return command
    quoted = verbatim(shlex.quote(path))
    if not path.lower().endswith(".gz"):
        return f"{command} {quoted}"
    return f"zcat {quoted}" + ("" if command == "cat" else f" | {command}")
