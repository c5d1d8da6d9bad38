"""Files of this machine."""

import errno
import fcntl
import io
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from rnncli.model.errors import InputError, verbatim
from rnncli.storage.replacement import NotOnDiskError, open_text, replace, sync, sync_folder

# Directories in which the descriptors of this process have names.
_DESCRIPTORS = ("/dev/fd", "/proc/self/fd", "/proc/thread-self/fd")


def opened(path: str) -> io.BufferedReader:
    """Open a file for reading."""
    return open(path, "rb")


@contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Copy a file elsewhere to this machine; errors in the block name the file itself."""
    yield path


def version(path: str) -> str:
    """Return the version of a file, which changes with its content; empty where there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def matching(pattern: str) -> list[str]:
    """Return the files that match a pattern; on the web a name is no pattern."""
    import glob  # for a batch alone

    found = glob.iglob(pattern, recursive=True)
    return [path for path in found if not os.path.isdir(path)]


@contextmanager
def writing(path: str, *, append: bool = False) -> Iterator[TextIO]:
    """Open a text file for writing; it is on the disk when the block ends.

    Without `append` it is replaced whole, or not at all. With it the file is locked, opened at its
    end and can be read; rows before an error stay. A link is followed. A device, a pipe or an open
    file (``/dev/stdout``) is written to directly.
    """
    try:
        if not _is_plain(path):
            number = descriptor(path)
            with open_text(path if number is None else os.dup(number), "w") as file:
                try:
                    yield file
                finally:
                    sync(file)
        elif append:
            with open_text(path, "a+") as file:
                _lock_log(file.fileno(), path, fcntl.LOCK_EX)
                try:
                    yield file
                finally:
                    sync(file)
                    sync_folder(os.path.dirname(os.path.realpath(path)))
                    if not os.fstat(file.fileno()).st_nlink:
                        what = "was removed or replaced while rows were added to it"
                        raise NotOnDiskError(None, what)
        else:
            with replace(path) as file:
                yield file
    except OSError as error:
        kind = NotOnDiskError if append and isinstance(error, NotOnDiskError) else OSError
        raise kind(error.errno, error.strerror, path) from error


def check_writable(path: str, *, append: bool = False) -> None:
    """Check before a long run that `writing` can open a file."""
    folder = ""
    try:
        folder = os.path.dirname(os.path.realpath(path))
        if not _is_plain(path) or (append and os.path.exists(path)):
            return
        with suppress(FileNotFoundError, PermissionError), open(path, "rb") as file:
            _lock_log(file.fileno(), path, fcntl.LOCK_SH)
        if not os.access(folder, os.W_OK | os.X_OK):
            read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
            raise _error(errno.EROFS if read_only else errno.EACCES, f" in {folder}")
    except FileNotFoundError as error:
        hint = f"mkdir -p {verbatim(shlex.quote(folder))}" if folder else ""
        raise InputError(path, str(error.strerror), hint) from error
    except OSError as error:
        hint = "give a file in it" if isinstance(error, IsADirectoryError) else ""
        raise InputError(path, str(error.strerror), hint) from error


def descriptor(path: str) -> int | None:
    """Return the descriptor of this process that a path names, as ``/dev/fd/3`` or a link to it.

    It must not be opened by its name: a file would be truncated, or written from its start.
    """
    for _ in range(40):  # the system follows no more links
        folder, name = os.path.split(path)
        if name.isdecimal() and os.path.realpath(folder) in map(os.path.realpath, _DESCRIPTORS):
            return int(name)
        if not os.path.islink(path):
            return None
        path = os.path.join(folder, os.readlink(path))
    return None


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


def _lock_log(number: int, path: str, kind: int) -> None:
    """Lock a file to which rows are added, where the file system has locks."""
    try:
        fcntl.flock(number, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(path, "another run is adding to it") from error
    except OSError:
        return


def _error(number: int, place: str = "") -> OSError:
    return OSError(number, f"{os.strerror(number)}{place}")
