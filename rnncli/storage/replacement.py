"""Files that are replaced whole: `.NAME.rnn` beside one takes what is written, and is renamed."""

import errno
import fcntl
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from typing import Literal, TextIO

# Bytes of a name that leave room for an ending; a longer name is hashed.
_LONGEST = 220
# Why a file is not replaced.
CHANGED = "changed by another program since this run has read it: the state of this run is not kept"
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL
# Files that this process has made and not yet removed.
_mine: set[str] = set()


class NotOnDiskError(OSError):
    """The written data is lost, or may be."""


@contextmanager
def replace(path: str) -> Iterator[TextIO]:
    """Open a file that takes the place of `path` if the block ends without an error.

    Until then it is private and locked; the next run removes one that a killed run has left. It
    has a unique name where another run is writing to `path`, or where nothing can be locked.
    """
    target = os.path.realpath(path)
    name = _name_beside(target, ".rnn")
    try:
        try:
            number = _create_locked(name, 0o600)
        except OSError:
            name = _name_beside(target, f".{os.urandom(8).hex()}.rnn")
            number = os.open(name, _NEW, 0o600)
        try:
            with open_text(number, "w", closefd=False) as file:
                yield file
                _copy_access(target, number)
                sync(file)
                try:
                    os.replace(name, target)
                except OSError as error:
                    whole = _name_beside(target, ".rnn-whole")
                    os.rename(name, whole)
                    what = f"{error.strerror}; the result is in {whole}"
                    raise OSError(error.errno, what) from error
        finally:
            _remove(name, number)
        sync_folder(os.path.dirname(target))
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


@contextmanager
def replacing(
    path: str, when_waiting: Callable[[], None]
) -> Iterator[Callable[[], AbstractContextManager[TextIO]]]:
    """Lock a file against other runs; the value is `replace` of it while no program changes it.

    An empty `.NAME.rnn-lock` is locked: a lock on the file itself would end when it is replaced.
    """
    name = _name_beside(os.path.realpath(path), ".rnn-lock")
    try:
        number = _create_locked(name, 0o666, when_waiting)
    except OSError as error:
        raise OSError(error.errno, f"cannot be locked there ({error.strerror})", path) from error
    try:
        before = _version(path)

        @contextmanager
        def replace_unchanged() -> Iterator[TextIO]:
            nonlocal before
            if _version(path) != before:
                raise OSError(None, CHANGED, path)
            with replace(path) as file:
                yield file
            before = _version(path)

        yield replace_unchanged
    finally:
        _remove(name, number)


def remove_left(path: str) -> None:
    """Remove what a killed run, or this process at Ctrl-C, has left of a file."""
    name = _name_beside(os.path.realpath(path), ".rnn")
    with suppress(OSError):
        if name in _mine:
            os.unlink(name)
        elif os.path.lexists(name):
            _remove(name, _create_locked(name, 0o600))


def sync(file: TextIO) -> None:
    """Flush a stream and, if it is a file, wait until it is on the disk."""
    file.flush()
    with suppress(io.UnsupportedOperation):  # a stream in memory
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            _fsync(file.fileno())


def sync_folder(folder: str) -> None:
    """Wait until the names in a directory are on the disk."""
    with suppress(PermissionError):  # a directory can allow new files and yet not be read
        number = os.open(folder, os.O_RDONLY)
        try:
            _fsync(number)
        finally:
            os.close(number)


def _fsync(number: int) -> None:
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system can
            raise NotOnDiskError(error.errno, error.strerror) from error


def open_text(path: str | int, mode: Literal["w", "a+"], *, closefd: bool = True) -> TextIO:
    """Open a file for text as all of it is written."""
    return open(
        path, mode, encoding="utf-8", errors="backslashreplace", newline="", closefd=closefd
    )


def _name_beside(target: str, ending: str) -> str:
    folder, name = os.path.split(target)
    if len(os.fsencode(name)) > _LONGEST:
        import hashlib

        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return os.path.join(folder, f".{name}{ending}")


def _create_locked(name: str, mode: int, when_waiting: Callable[[], None] | None = None) -> int:
    """Create a file and lock it, after any that a killed run has left is removed.

    Call `when_waiting` and wait for another run that has it; without it raise a BlockingIOError.
    """
    call_once = when_waiting and cache(when_waiting)
    while True:
        try:
            number, new = os.open(name, _NEW, mode), True
            _mine.add(name)
        except FileExistsError:
            try:
                # To lock the file of another user, reading is enough.
                way = os.O_RDWR if os.access(name, os.W_OK) else os.O_RDONLY
                number, new = os.open(name, way | os.O_NOFOLLOW), False
            except FileNotFoundError:  # removed in this moment
                continue
        try:
            # Shared, as `check_writable` locks a log: a file that was renamed a moment ago is none.
            _lock(number, fcntl.LOCK_SH if new else fcntl.LOCK_EX, call_once)
        except BaseException as error:
            if new and not isinstance(error, BlockingIOError):
                _remove(name, number)
            else:
                os.close(number)
            raise
        # Another run may have taken it for one that was left, before it was locked.
        if new and _version(name) == _version(number):
            return number
        _remove(name, number)


def _lock(number: int, kind: int, when_waiting: Callable[[], None] | None) -> None:
    try:
        fcntl.flock(number, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        if when_waiting is None:
            raise
        when_waiting()
        fcntl.flock(number, kind)


def _remove(name: str, number: int) -> None:
    """Close a locked file; remove it, unless another file or none has its name by now."""
    try:
        if _version(name) == _version(number):
            os.unlink(name)
    finally:
        _mine.discard(name)
        os.close(number)


def _version(path: str | int) -> tuple[int, ...]:
    """Return numbers that differ between files, and between states of one; () without a file."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _copy_access(target: str, number: int) -> None:
    """Set the permissions and owner of an open file to those of the file that it replaces."""
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
    with suppress(OSError):  # not every file system has owners and permissions
        os.fchmod(number, mode)
