"""Files of this machine or, by functions of the same names in `remote`, those at a URL."""

import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from glob import iglob
from typing import Any, TypeVar, cast

from rnncli.storage import replacement

F = TypeVar("F", bound=Callable[..., Any])
WEB = ("http", "https")


class Url(str):
    """A URL as it is shown: without a password, and on the web without what follows the path."""

    full: str  # with all that is secret
    protocol: str

    def __new__(cls, full: str) -> "Url":
        """Leave out what is secret, or may be."""
        protocol, rest = full.split("://", 1)
        protocol = protocol.lower()
        shown = re.split("[?#]", rest)[0] if protocol in WEB else rest
        host, slash, path = shown.partition("/")
        url = super().__new__(cls, f"{protocol}://{host.rpartition('@')[2]}{slash}{path}")
        url.full, url.protocol = f"{protocol}://{rest}", protocol
        return url


def is_url(path: str) -> bool:
    """Return whether a name is that of a file elsewhere, such as ``s3://bucket/x.csv``."""
    return re.match(r"[a-z][a-z0-9+.-]*://", path, re.IGNORECASE | re.ASCII) is not None


def wrap_url(path: str) -> str:
    """Return a path as it is, and a URL as a `Url`."""
    return Url(path) if is_url(path) and not isinstance(path, Url) else path


def _or_remote(function: F, name: str = "") -> F:
    def call(path: str, *args: Any, **options: Any) -> Any:
        if not is_url(path):
            return function(path, *args, **options)
        from rnncli.storage import remote  # needs fsspec

        return getattr(remote, name or function.__name__)(wrap_url(path), *args, **options)

    return cast(F, call)


check_writable = _or_remote(replacement.check_writable)
writing = _or_remote(replacement.writing)
replacing = _or_remote(replacement.Replacement, "replacing")


@_or_remote
def version(path: str) -> str:
    """Return a text that changes with the content of a file; empty where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


@_or_remote
def matching(pattern: str) -> dict[str, str]:
    """Return the files that match a pattern, and their versions."""
    paths = iglob(pattern, recursive=True)
    return {path: version(path) for path in paths if not os.path.isdir(path)}


@_or_remote
def local_copy(path: str) -> AbstractContextManager[str]:
    """Return a path of this machine that has the content of a file; errors name the file."""
    return nullcontext(path)
