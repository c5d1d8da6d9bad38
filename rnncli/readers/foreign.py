"""What is no CSV text in UTF-8, and the command that makes it that."""

import codecs
import shlex
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder

STDIN = "-"

_SIGNATURES = {
    b"\x1f\x8b": "gzip data; decompress it (zcat), or give a file named .gz",
    b"\x93NUMPY": "an .npy array; give a file named .npy",
    b"PK\x03\x04": "a zip archive (.xlsx, .npz?); export it as CSV",
}
_MARKUP = ("<!doctype", "<html", "<?xml")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class NotTextError(ValueError):
    """Bytes that are no text, in a line whose number the reader of the lines knows."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(f"{name}: {_expected(found)}")
        self._name, self._found = name, found

    def at(self, line: int) -> ValueError:
        """Say in which line."""
        return ValueError(f"{self._name}:{line}: {_expected(self._found)}")


def display_name(path: str) -> str:
    """Name an input for messages."""
    return "standard input" if path == STDIN else path


def check_start(start: bytes, path: str) -> None:
    """Refuse what the first bytes of a file tell.

    Raises
    ------
    ValueError
        They are of another kind of file.
    """
    found = next((what for mark, what in _SIGNATURES.items() if start.startswith(mark)), None)
    if start.startswith(_UTF_16):
        found = f"UTF-16 text; {_command('iconv -f utf-16 -t utf-8', path)} makes it UTF-8"
    if found:
        raise ValueError(f"{display_name(path)}: {_expected(found)}")


def texts_of(pieces: Iterator[bytes], path: str) -> Iterator[bytes]:
    """Give pieces of a file as long as they are text.

    Raises
    ------
    NotTextError
        There is a byte that is not UTF-8, or a NUL: after all before it.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    piece = b""
    for piece in pieces:
        end = _end_of_text(decoder, piece)
        if end:
            yield piece[:end]
        if end < len(piece):
            break
    else:
        if not decoder.getstate()[0]:
            return
    iconv = _command("iconv -f latin1 -t utf-8", path)
    bytes_found = f"bytes that are not UTF-8 (Latin-1?); {iconv} makes them UTF-8"
    raise NotTextError(display_name(path), "binary data" if b"\0" in piece else bytes_found)


def check_first_lines(lines: list[str], path: str) -> None:
    """Refuse HTML, XML, and JSON, also a value a line.

    Parameters
    ----------
    lines : list of str
        The first lines with anything in them, one or more.
    path : str

    Raises
    ------
    ValueError
        The first line is of one of these, or begins it.
    """
    line, found = lines[0].strip(), ""
    if line.lower().startswith(_MARKUP):
        found = "HTML or XML (a page that tells of an error?)"
    elif _is_json(line):
        found = f"JSON; {_out_of_json(lines, path)}"
    if found:
        raise ValueError(f"{display_name(path)}: {_expected(found)}")


def _expected(found: str) -> str:
    return f"expected CSV text, found {found}"


def _end_of_text(decoder: codecs.IncrementalDecoder, piece: bytes) -> int:
    """Count the bytes before the first that is no text."""
    begun = len(decoder.getstate()[0])  # of a character that goes on in this piece
    nul = piece.find(b"\0")
    end = len(piece) if nul < 0 else nul
    if begun or not piece.isascii():
        try:
            decoder.decode(piece)
        except UnicodeDecodeError as error:
            return min(end, max(0, error.start - begun))
    return end


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
    return f'--seq "$({array})" reads one array, {rows} makes CSV of an array a line'


def _command(command: str, path: str) -> str:
    """Write a command of the shell that reads the file."""
    if path == STDIN:
        return command
    if not path.lower().endswith(".gz"):
        return f"{command} {shlex.quote(path)}"
    return f"zcat {shlex.quote(path)}" + ("" if command == "cat" else f" | {command}")
