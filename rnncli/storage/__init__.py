"""Storage: files on this machine or elsewhere, written whole or not at all.

A file elsewhere is named by a URL. Other modules open and write files by
these functions, and need not know where they are.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TextIO

from rnncli.storage import local, lock
from rnncli.storage.url import is_url, named

__all__ = [
    "check_writable",
    "exists",
    "is_url",
    "local_copy",
    "matching",
    "named",
    "opened",
    "replacing",
    "version",
    "versions",
    "writing",
]


def opened(path: str, *, seekable: bool = False) -> io.BufferedReader:
    """Open a file for reading; one elsewhere is read as it comes."""
    if is_url(path):
        from rnncli.storage import remote

        return remote.opened(path, seekable=seekable)
    return open(path, "rb")


@contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Have a file on this machine, by its own name or as a copy of that name.

    Errors in the block name the file that was copied.
    """
    if not is_url(path):
        yield path
        return
    from rnncli.storage import remote

    with remote.local_copy(path) as copy:
        yield copy


def exists(path: str) -> bool:
    """Return whether there is a file."""
    return bool(version(path)) if is_url(path) else os.path.exists(path)


def version(path: str) -> str:
    """Return the version of a file, which changes with its content; empty where there is none."""
    if is_url(path):
        from rnncli.storage import remote

        return remote.version(path)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def versions(folder: str) -> dict[str, str] | None:
    """Return the `version` of each file in a folder elsewhere, by their names."""
    from rnncli.storage import remote

    return remote.versions(folder)


def matching(pattern: str) -> list[str]:
    """Return the files that a pattern stands for; on the web a name is no pattern."""
    if is_url(pattern):
        from rnncli.storage import remote

        return remote.matching(pattern)
    import glob  # for a batch alone

    found = glob.iglob(pattern, recursive=True)
    return [path for path in found if not os.path.isdir(path)]


def writing(path: str, *, append: bool = False) -> AbstractContextManager[TextIO]:
    """Open a text file for writing, as `local.writing` does; one elsewhere is put there whole."""
    if is_url(path):
        from rnncli.storage import remote

        return remote.writing(path)
    return local.writing(path, append=append)


def check_writable(path: str, *, append: bool = False) -> None:
    """Check before a long run that `writing` can open a file."""
    if is_url(path):
        from rnncli.storage import remote

        remote.check_writable(path, append=append)
    else:
        local.check_writable(path, append=append)


@contextmanager
def replacing(
    path: str, when_waiting: Callable[[], None]
) -> Iterator[Callable[[], AbstractContextManager[TextIO]]]:
    """Keep other processes from a file that is read and then replaced, as `lock.locked` does.

    There is no lock on one elsewhere: the store refuses the second of two
    runs at once.
    """
    if is_url(path):
        from rnncli.storage import remote

        yield remote.replacing(path)
        return
    with lock.locked(path, when_waiting) as unchanged:

        @contextmanager
        def replace() -> Iterator[TextIO]:
            with unchanged(), local.writing(path) as file:
                yield file

        yield replace
