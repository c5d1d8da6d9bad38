"""Writing files without loss: an atomic write, or rows added to a log."""

import errno
import fcntl
import io
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Literal, TextIO

from rnncli.model.errors import InputError, verbatim

# Directories in which the descriptors of this process have names.
_DESCRIPTORS = ("/dev/fd", "/proc/self/fd", "/proc/thread-self/fd")
# What a file is called while it is written.
_TEMPORARY = r"\.rnn-[0-9a-f]{16}\.tmp"
# The system follows no more links than this.
_LINKS = 40


class NotOnDiskError(OSError):
    """What was written is lost, or may be."""


@contextmanager
def writing(path: str, *, append: bool = False) -> Iterator[TextIO]:
    """Open a text file for writing; it is on the disk when the block ends.

    Without `append` the write is atomic. A temporary file in the same
    directory (``.rnn-*.tmp``, private to the user) takes all that is
    written, and is renamed to `path` once it is on the disk. A failed or
    killed run or a power loss leaves the old file as it was; what a killed
    run leaves besides, `remove_left` removes. The new file has the
    permissions of the old one and, where the system allows it, its owner
    and group.

    With `append` the file is created or opened at its end, and can also be
    read. It is locked against other runs. Rows that are written before an
    error stay.

    A link is followed. A device, a pipe or a file that is open already
    (``/dev/stdout``) is written to directly either way.
    """
    open_plain = _append if append else _replace
    try:
        with open_plain(path) if _is_plain(path) else _open_directly(path) as file:
            yield file
    except OSError as error:
        reason = error.strerror
        if error.filename2:  # the rename failed, and the temporary file was kept
            reason = f"{reason}; the result is in {error.filename}"
        kind = type(error) if append else OSError
        raise kind(error.errno, reason, path) from error


def check_writable(path: str, *, append: bool = False) -> None:
    """Check before a long run that `writing` can open a file."""
    folder = ""
    try:
        folder = os.path.dirname(os.path.realpath(path))
        if not _is_plain(path) or (append and os.path.exists(path)):
            return
        with suppress(FileNotFoundError, PermissionError), open(path, "rb") as file:
            _lock(file, path, fcntl.LOCK_SH)  # one that was written a moment ago may have that lock
        if not os.access(folder, os.W_OK | os.X_OK):
            read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
            raise _error(errno.EROFS if read_only else errno.EACCES, f" in {folder}")
    except FileNotFoundError as error:
        hint = f"mkdir -p {verbatim(shlex.quote(folder))}" if folder else ""
        raise InputError(path, str(error.strerror), hint) from error
    except OSError as error:
        hint = "give a file in it" if isinstance(error, IsADirectoryError) else ""
        raise InputError(path, str(error.strerror), hint) from error


def is_temporary(name: str) -> bool:
    """Return whether a file has the name of a temporary file of `writing`."""
    return re.fullmatch(_TEMPORARY, name) is not None


def remove_left(folder: str) -> None:
    """Remove what killed runs have left in a directory: the temporary files of `writing`.

    Those that are being written are locked and stay; so do all of them where
    the file system has no locks, or that are not this user's.
    """
    for name in os.listdir(folder):
        if is_temporary(name):
            with suppress(OSError):
                _remove_unlocked(os.path.join(folder, name))


def descriptor(path: str) -> int | None:
    """Return the descriptor of this process that a path names, as ``/dev/fd/3``.

    Links such as ``/dev/stdout`` are followed. A file that is open already
    must not be opened again by such a name: it would be truncated, or
    written from its start.
    """
    for _ in range(_LINKS):
        folder, name = os.path.split(path)
        if name.isdecimal() and os.path.realpath(folder) in map(os.path.realpath, _DESCRIPTORS):
            return int(name)
        if not os.path.islink(path):
            return None
        path = os.path.join(folder, os.readlink(path))
    return None


def sync(file: TextIO) -> None:
    """Flush a stream and, if it is a file, wait until it is on the disk."""
    file.flush()
    with suppress(io.UnsupportedOperation):  # a stream in memory
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            try:
                os.fsync(file.fileno())
            except OSError as error:
                raise NotOnDiskError(error.errno, error.strerror) from error


def _is_plain(path: str) -> bool:
    """Return whether a path names a plain file or nothing yet."""
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
def _open_directly(path: str) -> Iterator[TextIO]:
    """Open a device, a pipe or a file that is open already."""
    number = descriptor(path)
    with _open(path if number is None else os.dup(number), "w") as file:
        try:
            yield file
        finally:
            sync(file)


@contextmanager
def _append(path: str) -> Iterator[TextIO]:
    """Open a file at its end, locked."""
    with _open(path, "a+") as file:
        _lock(file, path)
        try:
            yield file
        finally:
            sync(file)
            _sync_folder(os.path.dirname(os.path.realpath(path)))
            if not os.fstat(file.fileno()).st_nlink:
                raise NotOnDiskError(None, "was removed or replaced while rows were added to it")


@contextmanager
def _replace(path: str) -> Iterator[TextIO]:
    """Open a temporary file that replaces `path` if the block ends without an error."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".rnn-{os.urandom(8).hex()}.tmp")
    try:
        with _open(temporary, "x", opener=_create_locked) as file:
            yield file
            _copy_access(target, file.fileno())
            sync(file)
            _rename(temporary, target)  # while it is locked
        _sync_folder(folder)
    except BaseException as error:
        # An error with this name: it could not be created, or not be renamed though it is complete.
        if getattr(error, "filename", None) != temporary:
            with suppress(OSError):
                os.unlink(temporary)
        raise


def _rename(temporary: str, target: str) -> None:
    """Rename a complete file; leave one that cannot be under a name that `remove_left` skips."""
    try:
        os.replace(temporary, target)
    except OSError as error:
        kept = f"{temporary.removesuffix('.tmp')}.whole"
        os.rename(temporary, kept)
        raise OSError(error.errno, error.strerror, kept, None, target) from error


def _create_locked(path: str, flags: int) -> int:
    """Create a private file that `remove_left` leaves alone while it is open."""
    # Some network file systems lock for reading only what can be read.
    flags = (flags & ~os.O_WRONLY) | os.O_RDWR
    while True:
        number = os.open(path, flags, 0o600)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(number, fcntl.LOCK_SH)
        if os.path.exists(path):
            return number
        os.close(number)  # it was removed before it was locked


def _remove_unlocked(path: str) -> None:
    """Remove a temporary file whose writer has ended."""
    number = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its writer may have made another one of that name, or renamed it.
        if os.path.samestat(os.fstat(number), os.stat(path)):
            os.unlink(path)
    finally:
        os.close(number)


def _copy_access(target: str, number: int) -> None:
    """Set the permissions and owner of an open file to those of the file that it replaces."""
    # Some file systems have no owners or no permissions, and refuse.
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
        if os.fstat(number).st_gid != old.st_gid:  # another group must not get its rights
            mode &= ~0o070
    with suppress(OSError):
        os.fchmod(number, mode)


def _lock(file: IO[Any], path: str, kind: int = fcntl.LOCK_EX) -> None:
    """Lock an open file against other runs, where the file system has locks."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(path, "another run is adding to it") from error
    except OSError:
        return


def _sync_folder(folder: str) -> None:
    """Wait until the names in a directory are on the disk."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a directory can allow new files and yet not be read
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system can
            raise NotOnDiskError(error.errno, error.strerror) from error
    finally:
        os.close(number)


def _open(
    path: str | int, mode: Literal["w", "x", "a+"], opener: Callable[[str, int], int] | None = None
) -> TextIO:
    """Open a file for text as all of it is written."""
    return open(path, mode, encoding="utf-8", errors="backslashreplace", newline="", opener=opener)


def _error(number: int, place: str = "") -> OSError:
    return OSError(number, f"{os.strerror(number)}{place}")
