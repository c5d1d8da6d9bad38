"""Files of this machine or, by functions of the same names in `remote`, those at a URL."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from rnncli.storage import local, replacement
from rnncli.storage.url import Url, is_url, named

__all__ = ["is_url", "named"]

F = TypeVar("F", bound=Callable[..., Any])


def _or_remote(function: F) -> F:
    @wraps(function)
    def call(path: str, *args: Any, **options: Any) -> Any:
        if not is_url(path):
            return function(path, *args, **options)
        from rnncli.storage import remote  # needs fsspec

        return getattr(remote, function.__name__)(named(path), *args, **options)

    return cast(F, call)


exists = _or_remote(os.path.exists)
version = _or_remote(local.version)
matching = _or_remote(local.matching)
opened = _or_remote(local.opened)
local_copy = _or_remote(local.local_copy)
check_writable = _or_remote(local.check_writable)
writing = _or_remote(local.writing)
replacing = _or_remote(replacement.replacing)


def versions(folder: str) -> dict[str, str] | None:
    """Return the `version` of each file in a folder elsewhere; None on the web."""
    from rnncli.storage import remote

    return remote.versions(Url(folder))
