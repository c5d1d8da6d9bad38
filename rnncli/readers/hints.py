"""The mistakes that beginners make, and the way out of each."""

import codecs
import shlex

from rnncli.model.arrays import parse_numbers
from rnncli.model.errors import InputError, verbatim
from rnncli.readers.foreign import UTF_8, display_name

PASSES = "`missing` hold or zero passes it"
_WIDE = ("utf-16", "utf-32")
# How data begin, the encodings of text that may begin so, what they are, and the way out.
STARTS = (
    ((b"\xff\xfe", b"\xfe\xff"), _WIDE, "UTF-16 text", "`encoding` utf-16 reads it"),
    (codecs.BOM_UTF8, UTF_8, "UTF-8 text", "leave `encoding` out"),
    (b"PK\x03\x04", (), "a zip archive (.xlsx, .npz?)", "export it as CSV"),
)
# How the first line begins, what it is, and the way out.
FIRST_LINES = (
    (r"(?i)(<!doctype|<html|<\?xml)", "HTML or XML (a page that tells of an error?)", ""),
    (r"\[\s*([\[{\]]|.*,\s*$|$)", "a JSON array", "jq -c '.[]' makes JSON lines of it"),
)
# What a cell that holds several numbers means, by the mark between them.
_MARKS = {
    ",": " (a decimal comma? `decimal` , reads it)",
    **dict.fromkeys(";\t| ", " (is that another `delimiter`?)"),
    **dict.fromkeys("'\u2019\xa0\u202f", " (a mark of thousands? leave it out)"),
}
# What programs write where they have no number.
_NULLS = ("na", "n/a", "#n/a", "#na", "<na>", "null", "none", "nil", "-", "--", "?", ".")


def hint_at_null(text: str) -> str:
    """Suggest a way out for what programs write where they have no number; empty for any other."""
    is_null = text.lower() in _NULLS
    return f"`null_values` {verbatim(shlex.quote(text))} with {PASSES}" if is_null else ""


def hint_at_numbers(cell: str) -> str:
    """Suggest a way out for a cell that holds several numbers; empty for any other."""
    for mark, hint in _MARKS.items():
        if mark in cell and parse_numbers(cell.split(mark)) is not None:
            return _MARKS["'"] if mark == "," and "." in cell else hint
    return ""


def not_decoded(path: str, line: int, rest: str, encoding: str) -> InputError:
    """Return the error of a file that goes on with a NUL, or with a byte that is no text."""
    where = f"{display_name(path)}:{line}"
    if "\0" in rest and not codecs.lookup(encoding).name.startswith(_WIDE):
        return not_text(path, where, "binary data")
    what = f"the byte {ord(rest[0]) & 255:#04x}, which is not {encoding}"
    is_default = encoding == UTF_8
    return not_text(path, where, what, "`encoding` cp1252 may read it" if is_default else "")


def not_text(path: str, where: str, what: str, hint: str = "") -> InputError:
    """Return the error of data that are no text; a file that is named as a model may be one."""
    from rnncli.model.formats.load import is_model  # 5 ms that reading text does not need

    if is_model(path):
        hint = f"is it a model? give `weights` {verbatim(path)}"
    return InputError(display_name(where), f"expected CSV or JSON lines, found {what}", hint)
