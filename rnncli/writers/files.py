"""Files that are replaced whole or not at all."""

import errno
import fcntl
import io
import os
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Literal, TextIO

# Where the descriptors of this process have names.
_DESCRIPTORS = ("/dev/fd", "/proc/self/fd", "/proc/thread-self/fd")
# The system follows no more links than this.
_LINKS = 40


@contextmanager
def replacing(path: str) -> Iterator[TextIO]:
    """Open a text file that takes the place of `path` when the block ends well.

    It is written beside `path`, under a name of its own (``.rnn-*.tmp``) and
    readable by nobody else, and renamed once it is on the disk, so that
    neither a failed or killed run nor a power loss leaves half a file. When
    the block has ended, its name is on the disk too. An old file's
    permissions are kept and, where that is allowed, its owner and group. A
    link is followed; a device, a pipe or what is open already is written to
    as it is.

    Raises
    ------
    OSError
        It cannot be written there.
    """
    try:
        with _whole(os.path.realpath(path)) if is_plain(path) else through(path) as file:
            yield file
    except OSError as error:
        reason = error.strerror
        if error.filename2:  # all is written, but could not be renamed
            reason = f"{reason}; the result is in {error.filename}"
        raise OSError(error.errno, reason, path) from error


def check_replaceable(path: str) -> None:
    """See before a long run whether `replacing` could write there.

    Raises
    ------
    ValueError
        It could not, if all stays as it is.
    """
    folder = os.path.dirname(os.path.realpath(path))
    try:
        if not is_plain(path):
            return
        with suppress(FileNotFoundError, PermissionError), open(path, "rb") as file:
            lock(file, path)
        if not os.access(folder, os.W_OK | os.X_OK):
            read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
            raise _error(errno.EROFS if read_only else errno.EACCES, f" in {folder}")
    except FileNotFoundError as error:
        way_out = f"mkdir -p {shlex.quote(folder)}"
        raise ValueError(f"{path}: {error.strerror}; {way_out}") from error
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error


def descriptor(path: str) -> int | None:
    """Return the number of the descriptor of this process that a path names: ``/dev/fd/3``.

    Links such as ``/dev/stdout`` are followed. What is open already cannot be
    opened again by its name: a file would be cut, or written from its start.
    """
    for _ in range(_LINKS):
        folder, name = os.path.split(path)
        if name.isdecimal() and os.path.realpath(folder) in map(os.path.realpath, _DESCRIPTORS):
            return int(name)
        if not os.path.islink(path):
            return None
        path = os.path.join(folder, os.readlink(path))
    return None


def lock(file: IO[Any], path: str) -> None:
    """Keep other runs from a log while it is open, where the file system knows locks.

    Raises
    ------
    ValueError
        Another run is adding to it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ValueError(f"{path}: another run is adding to it") from error
    except OSError:
        return


class NotOnDiskError(OSError):
    """What was written is lost, or may be."""


def sync(file: TextIO) -> None:
    """Send on what is buffered, and wait until a file is on its disk.

    A pipe, a terminal or another device has none.

    Raises
    ------
    OSError
        It cannot be written there.
    NotOnDiskError
        It may be lost.
    """
    file.flush()
    with suppress(io.UnsupportedOperation):  # a stream in memory
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            try:
                os.fsync(file.fileno())
            except OSError as error:
                raise NotOnDiskError(error.errno, error.strerror) from error


def is_plain(path: str) -> bool:
    """Tell a plain file, or none yet, from what is written to as it is.

    Raises
    ------
    OSError
        It cannot be written to.
    """
    number = descriptor(path)
    if number is not None:
        os.fstat(number)
        return False
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if path.endswith(os.sep):
            raise _error(errno.EISDIR) from None
        return True
    if stat.S_ISDIR(mode):
        raise _error(errno.EISDIR)
    if not os.access(path, os.W_OK):
        raise _error(errno.EACCES)
    return stat.S_ISREG(mode)


@contextmanager
def through(path: str) -> Iterator[TextIO]:
    """Open a device, a pipe or what is open already, to be written to as it is."""
    number = descriptor(path)
    with open_text(path if number is None else os.dup(number), "w") as file:
        try:
            yield file
        finally:
            sync(file)


@contextmanager
def _whole(target: str) -> Iterator[TextIO]:
    folder = os.path.dirname(target)
    beside = os.path.join(folder, f".rnn-{os.urandom(8).hex()}.tmp")
    try:
        with open_text(beside, "x", opener=_private) as file:
            yield file
            _take_access(file.fileno(), target)
            sync(file)
        os.replace(beside, target)
        sync_folder(folder)
    except BaseException as error:
        # An error of this name itself: it could not be made, or all is in it but not renamed.
        if getattr(error, "filename", None) != beside:
            with suppress(OSError):
                os.unlink(beside)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _take_access(number: int, target: str) -> None:
    """Give an open file the access that the one it replaces has; a new one the usual."""
    # Some file systems know no owners or no permissions, and refuse.
    try:
        old = os.stat(target)
    except FileNotFoundError:
        mask = os.umask(0o077)  # it can be read only by setting it
        os.umask(mask)
        mode = 0o666 & ~mask
    else:
        for owner, group in ((old.st_uid, -1), (-1, old.st_gid)):
            with suppress(OSError):
                os.fchown(number, owner, group)
        mode = old.st_mode & 0o777
        if os.fstat(number).st_gid != old.st_gid:  # what one group may do is not another's
            mode &= ~0o070
    with suppress(OSError):
        os.fchmod(number, mode)


def sync_folder(folder: str) -> None:
    """Wait until the names in a directory are on its disk."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a directory can allow new files and yet not be read
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that knows no such
            raise NotOnDiskError(error.errno, error.strerror) from error
    finally:
        os.close(number)


def open_text(
    path: str | int, mode: Literal["w", "x", "a+"], opener: Callable[[str, int], int] | None = None
) -> TextIO:
    """Open a file for text as all of it is written."""
    return open(path, mode, encoding="utf-8", errors="backslashreplace", newline="", opener=opener)


def _error(number: int, place: str = "") -> OSError:
    return OSError(number, f"{os.strerror(number)}{place}")
