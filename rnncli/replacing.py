"""Files that are replaced whole or not at all."""

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal, TextIO


@contextmanager
def replacing(path: str) -> Iterator[TextIO]:
    """Open a text file that takes the place of `path` when the block ends well.

    It is written beside `path` and renamed once it is on the disk, so that
    neither a failed or killed run nor a power loss leaves half a file. When
    the block has ended, its name is on the disk too. A link is followed; a
    device or a pipe is written to as it is. An old file's permissions are
    kept.

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


def sync(file: TextIO) -> None:
    """Send on what is buffered, and wait until a file is on its disk.

    A pipe, a terminal or another device has none.

    Raises
    ------
    OSError
        It cannot be written there.
    """
    file.flush()
    with suppress(io.UnsupportedOperation):  # a stream in memory
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            os.fsync(file.fileno())


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
            sync(file)
        if os.path.exists(target):
            os.chmod(beside, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(beside, target)
        _sync_folder(os.path.dirname(target))
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def _sync_folder(folder: str) -> None:
    """Wait until the names in a directory are on its disk."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a directory can allow new files and yet not be read
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that knows no such
            raise
    finally:
        os.close(number)


def _open(path: str, mode: Literal["w", "x"]) -> TextIO:
    return open(path, mode, encoding="utf-8", errors="backslashreplace", newline="")
