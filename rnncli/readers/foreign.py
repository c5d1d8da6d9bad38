"""Inputs as bytes: what their first bytes tell, and how they are opened."""

import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rnncli.model.errors import InputError
from rnncli.storage import local_copy

STDIN, UTF_8 = "-", "utf-8"
# The first bytes of Parquet, which no text has, of an Arrow file, of an Arrow stream, of .npy, ...
PARQUET, ARROW, STREAM, NPY = b"PAR1\x15", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"\x93NUMPY"
# The first bytes of compressed text, and the modules that read it.
COMPRESSED = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "lzma"}
COMPRESSED |= {b"BZh%d1AY&SY" % level: "bz2" for level in range(1, 10)}


def display_name(path: str) -> str:
    """Return the name of an input for messages."""
    return "standard input" if path == STDIN else path


@contextmanager
def open_input(path: str) -> Iterator[io.BufferedReader]:
    """Open a file, a URL or standard input."""
    if path != STDIN:
        with local_copy(path) as copy, open(copy, "rb") as file:
            yield file
        return
    if sys.stdin is None:
        raise InputError(display_name(STDIN), "closed", "give a FILE or `seq`")
    raw: Any = sys.stdin.buffer
    yield raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)


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
