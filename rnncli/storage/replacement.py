"""Files that are replaced whole: `.NAME.rnn` beside one takes what is written, and is renamed."""

import errno
import fcntl
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from typing import Literal, Self, TextIO

from rnncli.model.errors import InputError

# Bytes of a name that leave room for what is put before and behind it.
_LONGEST = 220
# Why a file is not replaced.
CHANGED = "changed by another program since this run has read it: the state of this run is not kept"


class NotOnDiskError(OSError):
    """The written data is lost, or may be."""


class Replacement:
    """Replaces a file, once or often, while `.NAME.rnn` beside it is locked and private.

    The lock refuses other runs or, with `when_waiting`, lets them wait: then it is as private as
    the file. The next run removes what a killed run has left.
    """

    def __init__(self, path: str, when_waiting: Callable[[], None] | None = None) -> None:
        self._path, self._when_waiting = path, when_waiting and cache(when_waiting)
        self._target = os.path.realpath(path)
        self._name, self._number = _name_beside(self._target, ".rnn"), -1

    def __enter__(self) -> Self:
        try:
            self._number = self._create(self._when_waiting)
        except BlockingIOError as error:
            raise InputError(self._path, "another run is writing it") from error
        except OSError as error:
            if self._when_waiting:
                what = f"cannot be locked there ({error.strerror})"
                raise OSError(error.errno, what, self._path) from error
            # Without locks, each of several runs at once needs a name of its own.
            self._name = _name_beside(self._target, f".{os.urandom(8).hex()}.rnn")
            self._number = os.open(self._name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._before = _version(self._path)
        return self

    def _create(self, when_waiting: Callable[[], None] | None = None) -> int:
        """Create the file beside and lock it, after any that a killed run has left is removed."""
        while True:
            number, is_new = self._open()
            try:
                _lock(number, when_waiting)
                # Another run may have removed or renamed it before it was locked.
                is_there = _version(self._name) == _version(number)
                if is_there and is_new:
                    if self._when_waiting:  # who may write the file may wait for it
                        _copy_access(self._target, number)
                    return number
                if is_there:
                    os.unlink(self._name)
            except BaseException as error:
                if is_new and not isinstance(error, BlockingIOError):
                    os.unlink(self._name)
                os.close(number)
                raise
            os.close(number)

    def _open(self) -> tuple[int, bool]:
        """Open the file beside; return whether it is new."""
        while True:
            with suppress(FileExistsError):
                return os.open(self._name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), True
            with suppress(FileNotFoundError):  # removed in this moment
                return os.open(self._name, os.O_RDONLY | os.O_NOFOLLOW), False

    @contextmanager
    def open(self) -> Iterator[TextIO]:
        """Open a text file that takes the place of the one there if the block ends well."""
        if self._number < 0 or _version(self._path) != self._before:
            raise OSError(None, CHANGED, self._path)
        try:
            with open_text(self._number, "w", closefd=False) as file:
                yield file
                _copy_access(self._target, self._number)
                sync(file)
            self._rename()
            sync_folder(os.path.dirname(self._target))
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from error

    def _rename(self) -> None:
        try:
            os.replace(self._name, self._target)
        except OSError as error:
            whole = _name_beside(self._target, ".rnn-whole")
            os.rename(self._name, whole)
            raise OSError(error.errno, f"{error.strerror}; the result is in {whole}") from error
        self._before = _version(self._path)
        if self._when_waiting:
            # Runs that wait find the new file before they get the lock on the old one.
            renamed, self._number = self._number, -1
            with suppress(BlockingIOError):
                self._number = self._create()
            os.close(renamed)

    def __exit__(self, *_: object) -> None:
        if self._number >= 0:
            if _version(self._name) == _version(self._number):
                os.unlink(self._name)
            os.close(self._number)


@contextmanager
def replacing(
    path: str, when_waiting: Callable[[], None]
) -> Iterator[Callable[[], AbstractContextManager[TextIO]]]:
    """Lock a file against other runs; the value opens what replaces it."""
    with Replacement(path, when_waiting) as new:
        yield new.open


def remove_left(path: str) -> None:
    """Remove what a killed run has left of a file."""
    if os.path.lexists(_name_beside(os.path.realpath(path), ".rnn")):
        with suppress(OSError, InputError), Replacement(path):
            pass


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
        from hashlib import sha256  # 5 ms

        digest = sha256(os.fsencode(name)).hexdigest()[:16]
        name = os.fsdecode(os.fsencode(name)[: _LONGEST - 16]) + digest
    return os.path.join(folder, f".{name}{ending}")


def _lock(number: int, when_waiting: Callable[[], None] | None) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if when_waiting is None:
            raise
        when_waiting()
        fcntl.flock(number, fcntl.LOCK_EX)


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
        os.fchmod(number, 0o666 & ~mask)
        return
    for owner, group in ((old.st_uid, -1), (-1, old.st_gid)):
        with suppress(OSError):
            os.fchown(number, owner, group)
    # Another group must not get the rights of the old one.
    same_group = os.fstat(number).st_gid == old.st_gid
    with suppress(OSError):  # not every file system has permissions
        os.fchmod(number, old.st_mode & (0o777 if same_group else 0o707))
