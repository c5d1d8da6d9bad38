"""Inputs as bytes: what their first bytes tell, and how they are decompressed."""

import codecs
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any

from rnncli.model.errors import InputError
from rnncli.storage import opened

STDIN, UTF_8 = "-", "utf-8"
# The first bytes of Parquet, which no text has, of an Arrow file, of an Arrow stream and of .npy.
PARQUET, ARROW, STREAM, NPY = b"PAR1\x15", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"\x93NUMPY"
ZIP, ZSTANDARD = b"PK\x03\x04", b"\x28\xb5\x2f\xfd"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# The first bytes of compressed data, and the modules that read them.
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "lzma",
    **{b"BZh%d1AY&SY" % level: "bz2" for level in range(1, 10)},
}
_MARKS = (PARQUET, ARROW, STREAM, NPY, ZIP, ZSTANDARD, *UTF_16, codecs.BOM_UTF8, *COMPRESSED)


def display_name(path: str) -> str:
    """Return the name of an input for messages."""
    return "standard input" if path == STDIN else path


class _Pipe(io.RawIOBase):
    """A file that cannot be rewound: the first bytes that tell its kind are read, no line more."""

    def __init__(self, file: Any) -> None:
        self._file, self._start = file, b""
        while any(mark.startswith(self._start) for mark in _MARKS if mark != self._start):
            if not (byte := file.read(1)):
                break
            self._start += byte

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # `readinto1` would wait for more than what is there already.
        data, self._start = self._start or self._file.read1(len(buffer)), b""
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def open_input(path: str) -> Iterator[io.BufferedReader]:
    """Open a file, a URL or standard input; `peek` has the bytes that tell its kind."""
    if path == STDIN and sys.stdin is None:
        raise InputError(display_name(STDIN), "closed", "give a FILE or `seq`")
    stdin: Any = sys.stdin
    with nullcontext(stdin.buffer) if path == STDIN else opened(path) as raw:
        file = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw, 1 << 20)
        yield file if file.seekable() else io.BufferedReader(_Pipe(file))


def decompress(file: io.BufferedReader) -> Any:
    """Return a file that reads what is compressed; any other as it is."""
    start = file.peek(10)
    module = next((name for mark, name in COMPRESSED.items() if start.startswith(mark)), "")
    return import_module(module).open(file) if module else file


@contextmanager
def seekable(file: Any) -> Iterator[Any]:
    """Copy a file that is piped in: Parquet has its list of contents at the end."""
    if file.seekable():
        yield file
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy, 1 << 20)
        copy.seek(0)
        yield copy
