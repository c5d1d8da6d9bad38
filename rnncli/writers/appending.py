"""Logs: files to which lines are added as they come."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rnncli.writers.files import (
    NotOnDiskError,
    check_replaceable,
    is_plain,
    lock,
    open_text,
    sync,
    sync_folder,
    through,
)

_CHUNK = 1 << 20


@contextmanager
def appending(path: str) -> Iterator[TextIO]:
    """Open a text file to add to its end and to read what it has; a new one if there is none.

    When the block has ended, well or not, it is on its disk. One run at a
    time adds to it. A device, a pipe or what is open already is written to
    as it is, and cannot be read.

    Raises
    ------
    OSError
        It cannot be written there.
    ValueError
        Another run is adding to it.
    """
    try:
        with _at_end(path) if is_plain(path) else through(path) as file:
            yield file
    except OSError as error:
        raise type(error)(error.errno, error.strerror, path) from error


def check_appendable(path: str) -> None:
    """See before a long run whether `appending` could write there.

    Raises
    ------
    ValueError
        It could not, if all stays as it is.
    """
    if not os.path.exists(path):
        check_replaceable(path)
        return
    try:
        is_plain(path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error


def end_of_lines(file: TextIO, *, quoted: bool) -> int:
    """Find where the last whole line of a file ends, in bytes.

    Parameters
    ----------
    file : text stream
    quoted : bool
        Whether a line end between two ``"`` is part of a cell, as in CSV.
    """
    data = file.buffer
    place = end = data.seek(0)
    inside = False
    while piece := data.read(_CHUNK):
        for n, text in enumerate(piece.split(b'"') if quoted else [piece]):
            if n:
                inside, place = not inside, place + 1
            last = -1 if inside else text.rfind(b"\n")
            if last >= 0:
                end = place + last + 1
            place += len(text)
    return end


def cut_unfinished_line(file: TextIO, end: int) -> str:
    """Cut off what stands after the last whole line, and return it.

    A killed run or a power loss can leave the beginning of a line. With the
    next one behind it, it could be read as numbers that never were.
    """
    data = file.buffer
    data.seek(end)
    unfinished = data.read().decode("utf-8", "backslashreplace")
    data.truncate(end)
    return unfinished


@contextmanager
def _at_end(path: str) -> Iterator[TextIO]:
    with open_text(path, "a+") as file:
        lock(file, path)
        try:
            yield file
        finally:
            sync(file)
            sync_folder(os.path.dirname(os.path.realpath(path)))
            if not os.fstat(file.fileno()).st_nlink:
                raise NotOnDiskError(None, "was removed or replaced while rows were added to it")
