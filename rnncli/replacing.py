"""Files that are replaced whole or not at all."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal, TextIO


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
    try:
        with _whole(os.path.realpath(path)) if _is_replaceable(path) else _open(path, "w") as file:
            yield file
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def check_replaceable(path: str) -> None:
    """See before a long run whether `replacing` could write there.

    Raises
    ------
    OSError
        `replacing` could not, if all stays as it is.
    """
    folder = os.path.dirname(os.path.realpath(path))
    try:
        if _is_replaceable(path) and not os.access(folder, os.W_OK | os.X_OK):
            os.scandir(folder).close()  # tells a folder that is not there, or is a file
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _is_replaceable(path: str) -> bool:
    """Tell a plain file, or none yet, from a device, a pipe or a directory.

    ``/dev/stdout`` and its like can lead to a plain file that others write to.
    """
    if path.startswith("/dev/"):
        return False
    if not os.path.exists(path):
        return True
    if os.path.isfile(path) and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return os.path.isfile(path)


@contextmanager
def _whole(target: str) -> Iterator[TextIO]:
    beside = f"{target}.{os.getpid()}.tmp"
    with suppress(FileNotFoundError):  # left by a killed process of the same number
        os.unlink(beside)
    try:
        with _open(beside, "x") as file:
            yield file
        if os.path.exists(target):
            os.chmod(beside, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def _open(path: str, mode: Literal["w", "x"]) -> TextIO:
    return open(path, mode, encoding="utf-8", errors="backslashreplace", newline="")
