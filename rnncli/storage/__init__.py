"""Files of this machine, which are replaced whole, and those at a URL, which `remote` handles."""

import errno
import io
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import cache
from glob import iglob
from operator import methodcaller
from typing import Any, TextIO, TypeVar, cast

from rnncli.model.errors import InputError
from rnncli.storage import system

F = TypeVar("F", bound=Callable[..., Any])
WEB = ("http", "https")
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE | re.ASCII)
TEXT: Any = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
# Bytes of a file name to which `.` and `.rnn` are added, and a suffix if there are no locks.
_LONGEST = 200
CHANGED = "changed by another program since this run has read it: the state of this run is not kept"


class Url(str):
    """A URL as messages show it: without a user, a password and a query.

    In a store ``?`` may stand in a name or a pattern; a query begins with ``?NAME=`` there.
    """

    full: str  # with its secrets
    protocol: str
    secrets: Sequence[str]  # the texts that are left out

    def __new__(cls, full: str) -> "Url":
        """Leave out the secrets."""
        protocol, rest = full.split("://", 1)
        protocol = protocol.lower()
        shown = re.split("[?#]" if protocol in WEB else r"\?(?=[\w.-]+=)", rest, maxsplit=1)[0]
        host, slash, path = shown.partition("/")
        user, _, host = host.rpartition("@")
        url = super().__new__(cls, f"{protocol}://{host}{slash}{path}")
        url.full, url.protocol = f"{protocol}://{rest}", protocol
        url.secrets = [text for text in (user, rest[len(shown) :]) if text]
        return url


def is_url(path: str) -> bool:
    """Return whether a path is a URL, such as ``s3://bucket/x.csv``."""
    return "://" in path and _URL.match(path) is not None


def wrap_url(path: str) -> str:
    """Return a URL as a `Url`, and any other path as it is."""
    return Url(path) if is_url(path) and not isinstance(path, Url) else path


def _or_remote(function: F) -> F:
    """Make a function take URLs too, for which `remote` has a function of the same name."""

    def call(path: str, *args: Any, **options: Any) -> Any:
        if not is_url(path):
            return function(path, *args, **options)
        from rnncli.storage import remote  # needs fsspec

        return getattr(remote, function.__name__)(wrap_url(path), *args, **options)

    return cast(F, call)


@_or_remote
def version(path: str) -> str:
    """Return a text that changes with the content of a file; empty where there is none."""
    return " ".join(map(str, _version(path)[2:]))


@_or_remote
def matching(pattern: str) -> dict[str, str]:
    """Return the files that match a pattern, and their versions."""
    paths = iglob(pattern, recursive=True)
    return {path: version(path) for path in paths if not os.path.isdir(path)}


@_or_remote
def local_copy(path: str) -> AbstractContextManager[str]:
    """Copy a file at a URL to this machine; errors in the block name the URL."""
    return nullcontext(path)


# Files that are replaced at the end of `replace_together`.
_delayed: ContextVar["list[Replacement] | None"] = ContextVar("delayed", default=None)


class Replacement:
    """Writes a file through a locked temporary file, `.NAME.rnn`, that is renamed over it.

    Use it as ``with Replacement(path) as open:``; `open` may be called again. A hash stands for a
    long NAME. Other runs are refused or, with `when_waiting`, wait.
    """

    def __init__(self, path: str, when_waiting: Callable[[], None] | None = None) -> None:
        self.path, self._when_waiting = path, when_waiting and cache(when_waiting)
        self._target = follow_link(path)
        folder, name = os.path.split(self._target)
        if len(os.fsencode(name)) > _LONGEST:
            import hashlib  # takes 3 ms

            name = hashlib.sha256(os.fsencode(name)).hexdigest()
        self._name, self._number = os.path.join(folder, f".{name}.rnn"), -1
        self._is_delayed = False

    def __enter__(self) -> Callable[[], AbstractContextManager[TextIO]]:
        try:
            self._number = self._lock(self._when_waiting)
        except BlockingIOError as error:
            raise InputError(self.path, "another run is writing it") from error
        except OSError as error:
            error.filename = self.path
            raise
        self._before = _version(self.path)
        return self.open

    def _lock(self, when_waiting: Callable[[], None] | None = None) -> int:
        """Open and lock `.NAME.rnn`; first remove one that a killed run has left."""
        while True:
            with ExitStack() as opened:
                flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
                number = os.open(self._name, flags, 0o666)
                opened.callback(os.close, number)
                try:
                    _lock_file(number, when_waiting)
                except BlockingIOError:
                    raise
                except OSError:  # the file system has no locks
                    if self._when_waiting:  # a state needs a lock
                        os.unlink(self._name)
                        raise
                    name, self._name = self._name, f"{self._name}.{os.urandom(8).hex()}"
                    os.rename(name, self._name)  # each of several runs has a file of its own
                # Another run may have removed or renamed it before it was locked.
                if _version(self._name) == _version(number):
                    about = os.fstat(number)
                    is_new = not about.st_size and about.st_nlink == 1
                    if is_new and system.is_own(about):
                        system.copy_access(self._target, number)
                        opened.pop_all()
                        return number
                    os.unlink(self._name)

    @contextmanager
    def open(self) -> Iterator[TextIO]:
        """Open a text file that replaces the one there if the block ends without an error."""
        if self._number < 0 or _version(self.path) != self._before:
            raise OSError(None, CHANGED, self.path)
        try:
            with open(self._new, "w", closefd=isinstance(self._new, str), **TEXT) as file:
                yield file
            delayed = _delayed.get()
            if delayed is not None and not self._when_waiting:
                delayed.append(self)
                self._is_delayed = True
                return
            self.sync()
            self.rename()
            system.sync_folder(self.folder)
        except OSError as error:
            error.filename, error.filename2 = self.path, None
            raise

    @property
    def folder(self) -> str:
        """The folder of the file, whose links are followed."""
        return os.path.dirname(self._target)

    @property
    def _new(self) -> str | int:
        """The file that is written, by its name or open."""
        return self._number

    def start_sync(self) -> None:
        """Start to write the new content to the disk."""
        system.start_sync(self._number)

    def sync(self) -> None:
        """Wait until the new content is on the disk."""
        system.sync_file(self._number)

    def rename(self) -> None:
        """Put the new file in the place of the old one."""
        system.replace(self._name, self._target)
        self._before = _version(self.path)
        if self._when_waiting:
            # Runs that wait find the new file before they get the lock on the old one.
            renamed, self._number = self._number, -1
            with suppress(BlockingIOError):
                self._number = self._lock()
            os.close(renamed)

    def __exit__(self, *_: object) -> None:
        if not self._is_delayed:
            self.close()

    def close(self) -> None:
        """Remove a new file that was not renamed, and unlock it."""
        if self._number >= 0:
            if _version(self._name) == _version(self._number):
                os.unlink(self._name)
            os.close(self._number)


def _lock_file(number: int, when_waiting: Callable[[], None] | None) -> None:
    """Lock an open file; where another run has it, wait if there is a call for that."""
    try:
        system.lock(number)
    except BlockingIOError:
        if when_waiting is None:
            raise
        when_waiting()
        system.lock(number, wait=True)


class ReplacementOnWindows(Replacement):
    """Writes `.NAME.rnn.new`, as no open file is renamed there; `.NAME.rnn` is the lock."""

    def _lock(self, when_waiting: Callable[[], None] | None = None) -> int:
        with ExitStack() as opened:
            number = os.open(self._name, os.O_RDWR | os.O_CREAT, 0o666)
            opened.callback(os.close, number)
            _lock_file(number, when_waiting)
            opened.pop_all()
            return number

    @property
    def _new(self) -> str:
        return f"{self._name}.new"

    def sync(self) -> None:
        """Wait until the new content is on the disk."""
        with open(self._new, "r+b") as file:
            system.sync_file(file.fileno())

    def rename(self) -> None:
        """Put the new file in the place of the old one."""
        system.replace(self._new, self._target)
        self._before = _version(self.path)

    def close(self) -> None:
        """Remove a new file that was not renamed, and unlock it."""
        with suppress(OSError):
            os.unlink(self._new)
        os.close(self._number)
        with suppress(OSError):  # another run has it open
            os.unlink(self._name)


replacement = ReplacementOnWindows if system.WINDOWS else Replacement


@contextmanager
def replace_together() -> Iterator[dict[str, OSError]]:
    """Replace the files that a block writes at its end: each folder is synced once.

    Gives the errors by the path of the file; they are there after the block.
    """
    delayed, errors, sync_folder = (
        list[Replacement](),
        dict[str, OSError](),
        cache(system.sync_folder),
    )
    token = _delayed.set(delayed)
    try:
        yield errors
        for finish in (
            methodcaller("start_sync"),
            methodcaller("sync"),
            methodcaller("rename"),
            lambda each: sync_folder(each.folder),
        ):
            for each in delayed:
                try:
                    if each.path not in errors:
                        finish(each)
                except OSError as error:
                    errors[each.path] = OSError(error.errno, error.strerror, each.path)
    finally:
        _delayed.reset(token)
        for each in delayed:
            each.close()


@_or_remote
def replacing(path: str, when_waiting: Callable[[], None]) -> Replacement:
    """Lock a file that a run reads and then replaces."""
    return replacement(path, when_waiting)


@_or_remote
@contextmanager
def writing(path: str, *, append: bool = False) -> Iterator[TextIO]:
    """Open a text file for writing; it is on the disk when the block ends.

    Without `append` it is replaced whole, or not at all. With it the file is opened at its end and
    can be read; rows before an error stay. A link is followed. A device or a pipe is written to
    directly. Any other file is locked against other runs, if its folder allows new files.
    """
    try:
        is_plain = _is_plain(path)
        folder = os.path.dirname(follow_link(path)) if append else ""
        may_lock = is_plain and (not append or os.access(folder, os.W_OK))  # by a new file
        with replacement(path) if may_lock else nullcontext() as replace:
            if replace and not append:
                with replace() as file:
                    yield file
                return
            with open(path, "a+" if is_plain else "a", **TEXT) as file:
                if is_plain:
                    system.sync_folder(folder)  # a state that is saved meanwhile needs the name
                try:
                    yield file
                finally:
                    sync(file)
                    if is_plain and not os.fstat(file.fileno()).st_nlink:
                        raise OSError(None, "was removed or replaced while rows were added")
    except OSError as error:
        error.filename = error.filename or path  # the block may write another file
        raise


@_or_remote
def check_writable(path: str, *, append: bool = False) -> None:
    """Check before a long run that `writing` can open a file."""
    try:
        if _is_plain(path) and not (append and os.path.exists(path)):
            folder = os.path.dirname(follow_link(path))
            if not os.access(folder, os.W_OK | os.X_OK):
                os.stat(folder)
                raise OSError(None, f"{os.strerror(system.why_denied(folder))} in {folder}")
    except OSError as error:
        folder = os.path.dirname(path)
        missing = isinstance(error, FileNotFoundError) and folder and not os.path.lexists(folder)
        what = f"the folder {folder} is missing" if missing else str(error.strerror)
        raise InputError(path, what) from error


def follow_link(path: str) -> str:
    """Return the absolute name of a file, or of the one that it is a link to."""
    return os.path.realpath(path) if os.path.islink(path) else os.path.join(os.getcwd(), path)


def _is_plain(path: str) -> bool:
    """Return whether a path is free, or a regular file that the shell has not opened."""
    mode = 0
    system.check_name(path)
    with suppress(FileNotFoundError):
        mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode) or (not mode and path.endswith((os.sep, os.altsep or os.sep))):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if mode and not os.access(path, os.W_OK):
        number = system.why_denied(path)
        raise OSError(number, os.strerror(number))
    return not mode or (stat.S_ISREG(mode) and not path.startswith(("/dev/fd/", "/dev/stderr")))


def sync(file: TextIO) -> None:
    """Flush a stream and, if it is a file, wait until it is on the disk."""
    file.flush()
    with suppress(io.UnsupportedOperation):  # a stream in memory
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            system.sync_file(file.fileno())


def _version(path: str | int) -> tuple[int, ...]:
    """Return device, inode, size and time of a file; () if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
