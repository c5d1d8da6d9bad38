"""Files at URLs: copied here before they are read, and put in place once they are written."""

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from rnncli.model.errors import InputError, one_line, word
from rnncli.storage import CHANGED, TEXT, WEB, Url, wrap_url
from rnncli.storage.system import name_of

# Bytes of a chunk, and of the largest file that S3 takes in one request.
_CHUNK, _AT_ONCE = 1 << 23, 5 << 30
# The first of these that a store has tells one version of a file from another.
_VERSIONS = ("ETag", "etag", "generation", "Last-Modified", "LastModified", "mtime", "created")

# These libraries log errors, with tracebacks, that are reported here.
for _name in ("fsspec", "s3fs", "gcsfs", "google", "aiohttp", "asyncio"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


@contextmanager
def local_copy(url: Url) -> Iterator[str]:
    """Copy a file to a temporary folder; errors in the block name the URL."""
    parent, name = os.path.split(url)
    with tempfile.TemporaryDirectory(prefix="rnn-") as folder:
        copy = os.path.join(folder, name)
        # Ask a web server once and for the whole page: not every one sends ranges or sizes.
        how = {"block_size": 0, "size": 1} if url.protocol in WEB else {"block_size": _CHUNK}
        with _store(url) as (fs, path), fs.open(path, **how) as file, open(copy, "wb") as to:
            shutil.copyfileobj(file, to, _CHUNK)
        try:
            yield copy
        except InputError as error:
            raise type(error)(*(text.replace(folder, parent) for text in error.args)) from error


def version(url: Url) -> str:
    """Return a text that differs between versions of a file; empty where there is none."""
    with _store(url) as (fs, path), suppress(FileNotFoundError):
        return _version(fs.info(path))
    return ""


def matching(pattern: Url) -> dict[str, str]:
    """Return the files that match a pattern, and their versions; the web lists none."""
    if pattern.protocol in WEB:
        return {pattern: ""}
    with _store(pattern) as (fs, path):
        infos = fs.glob(path, detail=True)
        fs.invalidate_cache()  # it would answer later questions from this list
    files = (info for info in infos.values() if info["type"] == "file")
    return {f"{pattern.protocol}://{info['name']}": _version(info) for info in files}


@contextmanager
def replacing(url: Url, _when_waiting: object) -> Iterator[Callable[[], Any]]:
    """Replace a file only where it is the version that is there now."""
    if url.protocol not in ("s3", "s3a"):
        raise OSError(None, word("has no lock: give `state_in` and `state_out`"), url)
    before = version(url)
    yield lambda: writing(url, before=before)


@contextmanager
def writing(url: Url, *, before: str | None = None, **_: bool) -> Iterator[TextIO]:
    """Open a text file that replaces the one there, if that is still `before`, after the block."""
    # It has no name, so that a killed run leaves nothing.
    with tempfile.TemporaryFile("w+", **TEXT) as file:
        yield file
        file.flush()
        how: dict[str, Any] = {"chunksize": _CHUNK}
        if before is not None:
            condition = {"IfMatch": before.split()[1]} if before else {"IfNoneMatch": "*"}
            how = {"chunksize": _AT_ONCE, **condition}
        try:
            # Not every server checks the conditions.
            if before is not None and version(url) != before:
                raise InputError("", CHANGED)
            with _store(url) as (fs, path), name_of(file) as name:
                fs.put_file(name, path, **how)
        except InputError as error:
            what = CHANGED if "condition" in error.what else error.what
            raise OSError(None, what, url) from error


def check_writable(url: Url, *, append: bool = False) -> None:
    """Check, as far as possible, that `writing` can write a file."""
    if append or not re.fullmatch("(s3a?|gs|gcs)://[^/]+/.*[^/]", url):
        raise InputError(url, "cannot be written", "write to a file, s3://BUCKET/ or gs://BUCKET/")
    with _store(url) as (fs, path):
        try:
            fs.info(path)
        except (FileNotFoundError, PermissionError) as error:
            # A user who may write need not be allowed to look.
            if "bucket does not exist" in str(error):
                raise


@contextmanager
def _store(url: Url) -> Iterator[tuple[Any, str]]:
    """Find the file system of a URL and the path there; turn all errors into InputErrors."""
    options: dict[str, Any] = {}
    try:
        import fsspec

        if url.protocol in WEB:
            import aiohttp

            # By default a page has five minutes, and a decompressed one may lack its end.
            wait = aiohttp.ClientTimeout(sock_connect=60, sock_read=60)
            raw = {"auto_decompress": False, "headers": {"Accept-Encoding": "identity"}}
            options = {"client_kwargs": {"timeout": wait, **raw}}
        yield fsspec.core.url_to_fs(url.full, **options)
    except ImportError as error:
        raise ImportError(f"{url}: {one_line(error)}: pip install 'rnncli[remote]'") from None
    except Exception as error:
        # Without the secrets of this URL and of one that it leads to.
        text = re.sub(r"\w+://\S+", lambda match: wrap_url(match[0]), str(error))
        for secret in url.secrets:
            text = text.replace(secret, "...")
        name = type(error).__name__
        raise InputError(url, f"{name}: {one_line(Exception(text or name))}") from error


def _version(info: dict[str, Any]) -> str:
    tag = next((f" {info[name]}" for name in _VERSIONS if info.get(name)), "")
    return f"{info.get('size') or 0}{tag}"
