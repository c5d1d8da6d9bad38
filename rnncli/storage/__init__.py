"""Files of this machine or, by functions of the same names in `remote`, those at a URL."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from glob import iglob
from typing import Any, TypeVar, cast

from rnncli.storage import replacement
from rnncli.storage.url import is_url, named

__all__ = ["is_url", "named"]

F = TypeVar("F", bound=Callable[..., Any])


def _or_remote(name: str, function: F) -> F:
    def call(path: str, *args: Any, **options: Any) -> Any:
        if not is_url(path):
            return function(path, *args, **options)
        from rnncli.storage import remote  # needs fsspec

        return getattr(remote, name)(named(path), *args, **options)

    return cast(F, call)


def _version(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def _match(pattern: str) -> dict[str, str]:
    paths = iglob(pattern, recursive=True)
    return {path: _version(path) for path in paths if not os.path.isdir(path)}


# A text that changes with the content of a file; empty where there is none.
version = _or_remote("version", _version)
# The files that match a pattern, and their versions.
matching = _or_remote("matching", _match)
# A path of this machine that has the content of a file, for a block whose errors name the file.
local_copy: Callable[[str], AbstractContextManager[str]] = _or_remote("local_copy", nullcontext)
check_writable = _or_remote("check_writable", replacement.check_writable)
writing = _or_remote("writing", replacement.writing)
replacing = _or_remote("replacing", replacement.Replacement)


def exists(path: str) -> bool:
    """Return whether there is a file."""
    return bool(version(path))
