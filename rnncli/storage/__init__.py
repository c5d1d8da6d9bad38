"""Files of this machine or, by functions of the same names in `remote`, those at a URL."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from rnncli.storage import local, replacement
from rnncli.storage.url import Url, is_url, named

__all__ = ["is_url", "named"]

P = ParamSpec("P")
T = TypeVar("T")


def _or_remote(function: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
    """Call the function of the same name in `remote`, which needs fsspec, for a URL."""

    @wraps(function)
    def call(path: str, /, *args: P.args, **options: P.kwargs) -> T:
        if not is_url(path):
            return function(path, *args, **options)
        from rnncli.storage import remote

        chosen: Callable[Concatenate[str, P], T] = getattr(remote, function.__name__)
        return chosen(named(path), *args, **options)

    return call


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
