"""Files of this machine."""

import errno
import io
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TextIO

from rnncli.model.errors import InputError, verbatim
from rnncli.storage.replacement import NotOnDiskError, Replacement, open_text, sync, sync_folder

# Folders in which the descriptors of this process are files, and links that are followed to one.
_DESCRIPTORS = ("/dev/fd", "/proc/self/fd", "/proc/thread-self/fd")
_MOST_LINKS = 40


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

    Without `append` it is replaced whole, or not at all. With it the file is opened at its end and
    can be read; rows before an error stay. A link is followed. A device, a pipe or an open file
    (``/dev/stdout``) is written to directly. Any other file is locked against other runs.
    """
    try:
        if not _is_plain(path):
            number = descriptor(path)
            with open_text(path if number is None else os.dup(number), "w") as file:
                try:
                    yield file
                finally:
                    sync(file)
            return
        if not append:
            with Replacement(path) as new, new.open() as file:
                yield file
            return
        with ExitStack() as lock, open_text(path, "a+") as file:
            with suppress(OSError):  # a log may be where new files are not allowed
                lock.enter_context(Replacement(path))
            try:
                yield file
            finally:
                sync(file)
                sync_folder(os.path.dirname(os.path.realpath(path)))
                if not os.fstat(file.fileno()).st_nlink:
                    what = "was removed or replaced while rows were added to it"
                    raise NotOnDiskError(None, what)
    except OSError as error:
        kind = NotOnDiskError if append and isinstance(error, NotOnDiskError) else OSError
        raise kind(error.errno, error.strerror, path) from error


def check_writable(path: str, *, append: bool = False) -> None:
    """Check before a long run that `writing` can open a file."""
    folder = hint = ""
    try:
        folder = os.path.dirname(os.path.realpath(path))
        if _is_plain(path) and not (append and os.path.exists(path)):
            os.stat(folder)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise OSError(None, f"{os.strerror(errno.EACCES)} in {folder}")
    except OSError as error:
        if folder and isinstance(error, FileNotFoundError):
            hint = f"mkdir -p {verbatim(shlex.quote(folder))}"
        elif isinstance(error, IsADirectoryError):
            hint = "give a file in it"
        raise InputError(path, str(error.strerror), hint) from error


def descriptor(path: str) -> int | None:
    """Return the descriptor of this process that a path names, as ``/dev/fd/3`` or a link to it.

    It must not be opened by its name: a file would be truncated, or written from its start.
    """
    for _ in range(_MOST_LINKS):
        folder, name = os.path.split(path)
        if name.isdigit() and os.path.realpath(folder) in map(os.path.realpath, _DESCRIPTORS):
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
        mode = 0
    if stat.S_ISDIR(mode) or (not mode and path.endswith(os.sep)):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if mode and not os.access(path, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    return not mode or stat.S_ISREG(mode)
