"""A JSON array of rows as JSON lines."""

import json
import re

from rnncli.model.errors import InputError

# Bytes of an array, which is read as a whole.
MOST = 1 << 28
_BLANKS = re.compile(r"[ \t\r\n]*")


def split_array(text: str, name: str) -> str:
    """Return the items of an array as lines, each at the line where it begins if that is free."""
    decoder, lines = json.JSONDecoder(), list[str]()
    at = _skip_blanks(text, text.index("[") + 1)
    line, counted = 1, 0
    while not text.startswith("]", at):
        try:
            value, end = decoder.raw_decode(text, at)
            after = _skip_blanks(text, end)
            if not text.startswith((",", "]"), after):
                raise json.JSONDecodeError("expected a comma or ]", text, after)
        except (ValueError, RecursionError) as error:
            where = f"{name}:{getattr(error, 'lineno', line)}"
            raise InputError(where, f"not a JSON array of rows: {error}") from error
        line, counted = line + text.count("\n", counted, at), at
        lines += [""] * (line - 1 - len(lines))
        item = text[at:end].replace("\n", " ")
        lines.append(item if isinstance(value, dict | list) else f"[{item}]")
        at = _skip_blanks(text, after + 1) if text[after] == "," else after
    if text[at + 1 :].strip():
        raise InputError(name, "text after a JSON array", "expected one array, or JSON lines")
    return "".join(f"{each}\n" for each in lines)


def _skip_blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match else at
