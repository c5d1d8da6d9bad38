"""Files at URLs: on S3, Google Cloud, the web, and all that fsspec knows.

A file is copied here whole before it is read, and written here before it is put in its place.
"""

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, TextIO, cast

from rnncli.model.errors import InputError, one_line, word
from rnncli.storage.replacement import CHANGED, TEXT
from rnncli.storage.url import WEB, Url, named

_S3, _WRITABLE = ("s3", "s3a"), ("s3", "s3a", "gs", "gcs")
# Bytes of a piece, and more than a file has that S3 takes at once.
_PIECE, _AT_ONCE = 1 << 23, 5 << 30
# Seconds until a server has to answer, or to send more.
_WAIT = 60
# The first of these that a store has tells one version of a file from another.
_VERSIONS = ("ETag", "etag", "generation", "Last-Modified", "LastModified", "mtime", "created")
_NO_BUCKET = "bucket does not exist"

# Libraries that log what is an error here too, with tracebacks.
for _name in ("fsspec", "s3fs", "gcsfs", "google", "aiohttp", "asyncio"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


@contextmanager
def local_copy(url: Url) -> Iterator[str]:
    """Copy a file to a temporary folder; errors in the block name the URL."""
    place, name = os.path.split(url)
    with tempfile.TemporaryDirectory(prefix="rnn-") as folder:
        copy = os.path.join(folder, name)
        # A page comes in one answer: not every server knows parts. A size keeps it from asking.
        how = {"block_size": 0, "size": 1} if url.protocol in WEB else {"block_size": _PIECE}
        with _store(url) as (fs, there), fs.open(there, **how) as file, open(copy, "wb") as to:
            shutil.copyfileobj(file, to, _PIECE)
        try:
            yield copy
        except InputError as error:
            parts = (part.replace(folder, place) for part in error.args)
            raise type(error)(*parts) from error


def version(url: Url) -> str:
    """Return a text that differs between versions of a file."""
    return _version(_info(url))


def matching(pattern: Url) -> dict[str, str]:
    """Return the files that match a pattern, and their versions; the web lists none."""
    if pattern.protocol in WEB:
        return {pattern: ""}
    with _store(pattern) as (fs, place):
        found = fs.glob(place, detail=True)
        fs.invalidate_cache()  # what it has listed would later be taken for what is there
    files = (info for info in found.values() if info["type"] == "file")
    return {f"{pattern.protocol}://{info['name']}": _version(info) for info in files}


@contextmanager
def replacing(
    url: Url, _when_waiting: Callable[[], None]
) -> Iterator[Callable[[], AbstractContextManager[TextIO]]]:
    """Replace a file only where it is the version that is there now."""
    if url.protocol not in _S3:
        what = "two runs at once would not be told apart there: give `state_in` and `state_out`"
        raise OSError(None, word(what), url)
    before = _info(url)
    yield lambda: writing(url, before=before)


@contextmanager
def writing(url: Url, *, before: dict[str, Any] | None = None, **_: bool) -> Iterator[TextIO]:
    """Open a text file that replaces the one there, if that is still `before`, after the block."""
    # A file without a name: a run that is killed leaves nothing.
    with tempfile.TemporaryFile("w+", **TEXT) as file:
        yield file
        file.flush()
        try:
            with _store(url) as (fs, place):
                if before is None:
                    fs.put_file(f"/dev/fd/{file.fileno()}", place, chunksize=_PIECE)
                    return
                if version(url) != _version(before):
                    raise FileExistsError  # not every server knows the conditions
                condition = {"IfMatch": before["ETag"]} if before else {"IfNoneMatch": "*"}
                file.seek(0)
                fs.pipe_file(place, file.buffer.read(), chunksize=_AT_ONCE, **condition)
        except InputError as error:
            what = error.what
            with suppress(InputError):  # the store cannot be asked
                if before is not None and version(url) != _version(before):
                    what = CHANGED
            raise OSError(None, what, url) from error


def check_writable(url: Url, *, append: bool = False) -> None:
    """Check that `writing` can write a file, as far as that can be told before."""
    if append or url.protocol not in _WRITABLE:
        what = "rows cannot be added to it" if append else f"{url.protocol}:// is for reading"
        raise InputError(url, what, "write to a file, s3:// or gs://")
    try:
        is_folder = _info(url).get("type") == "directory"
    except InputError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        return  # who may write need not be allowed to look
    if is_folder:
        raise InputError(url, "Is a directory")


@contextmanager
def _store(url: Url) -> Iterator[tuple[Any, str]]:
    """Find the file system of a URL and the file there; make InputErrors of all errors."""
    options: dict[str, Any] = {}
    try:
        import fsspec

        if url.protocol in WEB:
            import aiohttp

            # By default, all of a file has to be read within five minutes, and what is
            # decompressed may end too soon without an error.
            wait = aiohttp.ClientTimeout(total=None, sock_connect=_WAIT, sock_read=_WAIT)
            as_it_is = {"auto_decompress": False, "headers": {"Accept-Encoding": "identity"}}
            options = {"client_kwargs": {"timeout": wait, **as_it_is}}
        full = url.protocol + url.full[len(url.protocol) :]  # fsspec knows small letters alone
        yield fsspec.core.url_to_fs(full, **options)
    except InputError:
        raise
    except ImportError as error:
        name = getattr(error.__cause__ or error, "name", "") or str(error)
        message = f"{url}: {name} is not installed: pip install 'rnncli[remote]'"
        raise ImportError(message) from None
    except Exception as error:
        text = f"{type(error).__name__}: {one_line(error)}"
        if isinstance(error, FileNotFoundError) and _NO_BUCKET not in text:
            text = "cannot be read: no such file"
        # Without the secrets of a URL.
        what = re.sub(r"\w+://\S+", lambda found: named(found[0]), text)
        raise InputError(url, what) from error


def _info(url: Url) -> dict[str, Any]:
    """Return the details of a file in a store; none where there is no file."""
    with _store(url) as (fs, place):
        try:
            return cast(dict[str, Any], fs.info(place))
        except FileNotFoundError as error:
            if _NO_BUCKET in str(error):
                raise
    return {}


def _version(info: dict[str, Any]) -> str:
    found = next((f" {info[name]}" for name in _VERSIONS if info.get(name)), "")
    return f"{info.get('size') or 0}{found}" if info else ""
