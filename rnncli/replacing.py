"""Files that are replaced whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TextIO


@contextmanager
def replacing(path: str) -> Iterator[TextIO]:
    """Open a text file that takes the place of `path` when the block ends well.

    It is written beside `path` and renamed, so that a failed or killed run
    leaves the old file as it was. A link is followed; a device or a pipe is
    written to as it is. An old file's permissions are kept.

    Raises
    ------
    OSError
        It cannot be written there.
    """
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        with _open(path, "w") as file:
            yield file
        return
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise PermissionError(13, "Permission denied", path)
    beside = f"{path}.{os.getpid()}.tmp"
    try:
        with suppress(FileNotFoundError):  # left by a killed process of the same number
            os.unlink(beside)
        with _open(beside, "x") as file:
            yield file
        if os.path.exists(path):
            os.chmod(beside, os.stat(path).st_mode & 0o7777)
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def _open(path: str, mode: str) -> IO[str]:
    return open(path, mode, encoding="utf-8", errors="backslashreplace", newline="")
