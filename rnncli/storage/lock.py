"""A lock on a file that is read, and later replaced, by one process at a time."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache

# Why a file is not replaced.
CHANGED = (
    "changed by another program since this run has read it: it is left as that program has left "
    "it, and the state of this run is not kept"
)
# Bytes that the name of a file may have.
_LONGEST = 255


@contextmanager
def locked(
    path: str, when_waiting: Callable[[], None]
) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Keep every other process out of a block of code that is for this file.

    A lock on the file itself would end when the file is replaced. So a file
    ``.NAME.rnn-lock`` beside it, empty, is locked and at the end removed. The
    lock ends with its process, however that ends; the file that a killed
    process leaves holds nothing up, and the next process removes it.
    """
    target = os.path.realpath(path)
    beside = _name_beside(target)
    try:
        number = _acquired(beside, when_waiting)
    except OSError as error:
        reason = f"cannot be locked there ({error.strerror})"
        raise OSError(error.errno, reason, path) from error
    try:
        before = _version(target)

        @contextmanager
        def replacing() -> Iterator[None]:
            nonlocal before
            if _version(target) != before:
                raise OSError(None, CHANGED, path)
            yield
            before = _version(target)

        yield replacing
    finally:
        if _version(beside) == _version(number):  # not one that replaced what a user removed
            with suppress(PermissionError):  # of another user, in a directory such as /tmp
                os.unlink(beside)
        os.close(number)


def _name_beside(target: str) -> str:
    """Name the file to lock. Long names are cut: two that begin alike then wait for each other."""
    folder, name = os.path.split(os.fsencode(target))
    ending = b".rnn-lock"
    return os.fsdecode(os.path.join(folder, b"." + name[: _LONGEST - 1 - len(ending)] + ending))


def _acquired(beside: str, when_waiting: Callable[[], None]) -> int:
    """Open and lock a file; the process that had it before may have removed it meanwhile."""
    made, call_once = not os.path.exists(beside), cache(when_waiting)
    while True:
        try:
            number = os.open(beside, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:  # of another user: to lock it, reading is enough
            number = os.open(beside, os.O_RDONLY)
        try:
            _lock(number, call_once)
            if _version(beside) == _version(number):
                return number
        except BaseException as error:
            os.close(number)
            if made and isinstance(error, OSError):  # no lock, so nobody else's
                os.unlink(beside)
            raise
        os.close(number)


def _lock(number: int, when_waiting: Callable[[], None]) -> None:
    import fcntl  # Windows has none; runs without a state do there

    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        when_waiting()
        fcntl.flock(number, fcntl.LOCK_EX)


def _version(path: str | int) -> tuple[int, ...]:
    """Return what differs between files, and between states of one; () where there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
