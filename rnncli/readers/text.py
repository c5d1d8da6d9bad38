"""Opening text: a file, compressed or not, or standard input."""

import io
import sys
import zlib
from collections.abc import Iterator

STDIN = "-"

_READ_ERRORS = (OSError, EOFError, zlib.error)
_SIGNATURES = {
    b"\x1f\x8b": "gzip data; name it .gz, or decompress it first",
    b"\x93NUMPY": "an .npy array; give it as a file named .npy",
    b"PK\x03\x04": "a zip archive (.xlsx, .npz?); export it as CSV",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
}


def open_text(path: str) -> tuple[str, Iterator[str]]:
    """Name of an input, for messages, and its lines.

    UTF-8, with or without a byte order mark. Bytes that are not UTF-8 are
    carried along as surrogates, so that a name in another encoding does no
    harm beside the numbers.

    Raises
    ------
    ValueError
        What is there is not text.
    OSError
        The file cannot be opened.
    """
    name = "standard input" if path == STDIN else path
    file = _open(path)
    try:
        start = file.peek(8)
    except _READ_ERRORS as error:
        raise _unreadable(name, error) from error
    for signature, found in _SIGNATURES.items():
        if start.startswith(signature):
            raise ValueError(f"{name}: expected CSV text, found {found}")
    if b"\0" in start:
        raise ValueError(f"{name}: expected CSV text, found binary data")
    lines = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    return name, _until_unreadable(name, lines)


def _open(path: str) -> io.BufferedReader:
    if path == STDIN:
        if sys.stdin is None:
            raise ValueError("standard input: closed; give a FILE or --seq")
        file = sys.stdin.buffer
        # Not wrapped twice: a second buffer would wait until it is full.
        return file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)
    if path.lower().endswith(".gz"):
        import gzip

        return io.BufferedReader(gzip.open(path))
    return open(path, "rb")  # noqa: SIM115 (read to its end, block by block)


def _until_unreadable(name: str, lines: Iterator[str]) -> Iterator[str]:
    try:
        yield from lines
    except _READ_ERRORS as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> ValueError:
    return ValueError(f"{name}: cannot be read to its end: {error}")
