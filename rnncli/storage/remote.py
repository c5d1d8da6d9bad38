"""Files elsewhere: on S3, on Google Cloud, on the web, and what else fsspec knows.

One is written to a temporary file first, and put in its place whole. Until
that is done, or where it fails, the store has the old one.
"""

import io
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TextIO, cast
from urllib.parse import quote

from rnncli.model.errors import InputError, did_you_mean, one_line, sentence
from rnncli.storage.lock import CHANGED
from rnncli.storage.url import Url, named

_S3, _GOOGLE, _WEB = ("s3", "s3a"), ("gs", "gcs"), ("http", "https")
# Stores that show a file only when all of it is there.
_WHOLE = (*_S3, *_GOOGLE, "memory")
# Bytes that are asked for, and put, at once.
_PIECE, _PART = 1 << 23, 1 << 23
# Bytes that are kept for the reader.
_BUFFER = 1 << 20
# Seconds until a server has to answer at all, and until it has to send more.
_CONNECT, _SEND = 5, 60
# Of what tells one version of a file from another, the first that a store has.
_VERSIONS = (
    *("ETag", "etag", "generation", "Content-MD5", "Digest", "Last-Modified", "LastModified"),
    *("mtime", "last_modified", "updated", "modified", "created"),
)
_NO_FILE = "cannot be read: no such file"
# What a store answers where a file is another version than it was.
_CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict", "409", "412")
# Bytes that S3 takes in one request.
_AT_ONCE = 5 << 30
# Libraries that log what is an error here too, with tracebacks.
_LOGS = ("fsspec", "s3fs", "gcsfs", "google", "aiohttp", "asyncio")


def opened(path: str, *, seekable: bool = False) -> io.BufferedReader:
    """Open a file for reading, as `rnncli.storage.opened` does."""
    url = cast(Url, named(path))
    with _errors(url):
        fs, place = _found(url)
        # A page comes in one answer: not every server knows parts. A size keeps it from asking.
        how = {"block_size": 0, "size": 1} if url.protocol in _WEB else {"block_size": _PIECE}
        raw = _Raw(url, fs.open(place, "rb", **how))
    stream: io.BufferedReader = io.BufferedReader(raw, _BUFFER)
    if not seekable or stream.seekable():
        return stream
    with stream, ExitStack() as stack:
        copy = stack.enter_context(tempfile.TemporaryFile())
        shutil.copyfileobj(stream, copy, _PIECE)
        copy.seek(0)
        stack.pop_all()
        return cast(io.BufferedReader, copy)


@contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Copy a file, as `rnncli.storage.local_copy` does."""
    url = cast(Url, named(path))
    place, name = os.path.split(url)
    if name in ("", ".", ".."):
        raise InputError(url, "Is a directory", "give a file in it")
    with tempfile.TemporaryDirectory(prefix="rnn-") as folder:
        copy = os.path.join(folder, name)
        with opened(url) as file, open(copy, "wb") as to:
            shutil.copyfileobj(file, to, _PIECE)
        try:
            yield copy
        except InputError as error:
            parts = (part.replace(folder, place) for part in (error.place, error.what, error.hint))
            raise InputError(*parts) from error
        except ValueError as error:
            raise ValueError(str(error).replace(folder, place)) from error


def version(path: str) -> str:
    """Tell one version of a file from another, as `rnncli.storage.version` does."""
    url = cast(Url, named(path))
    with _errors(url):
        fs, place = _found(url)
        return _version(_info(fs, place))


def _version(info: dict[str, Any]) -> str:
    found = next((f" {info[name]}" for name in _VERSIONS if info.get(name)), "")
    return f"{info.get('size') or 0}{found}" if info else ""


def versions(folder: str) -> dict[str, str] | None:
    """Return the version of each file in a folder, as `rnncli.storage.versions` does."""
    url = cast(Url, named(folder))
    if url.protocol in _WEB:
        return None
    with _errors(url):
        fs, place = _found(url)
        try:
            listed = fs.ls(place, detail=True)
        except FileNotFoundError:
            listed = []
        fs.invalidate_cache()  # what it has listed would later be taken for what is there
    return {os.path.basename(info["name"]): _version(info) for info in listed}


def matching(pattern: str) -> list[str]:
    """Return the files that a pattern stands for, as `rnncli.storage.matching` does."""
    url = cast(Url, named(pattern))
    if url.protocol in _WEB:
        return [pattern]
    with _errors(url):
        fs, place = _found(url)
        found = fs.glob(place, detail=True)
        fs.invalidate_cache()
        if place in found or (not found and _info(fs, place).get("type") == "file"):
            return [pattern]  # the name of a file, as of one on this machine
    names = [name for name, info in found.items() if info["type"] == "file"]
    return [f"{url.protocol}://{name}" for name in names]


def replacing(path: str) -> Callable[[], AbstractContextManager[TextIO]]:
    """Return a function that opens a file for writing and replaces this version alone.

    It raises an OSError where the store has another version by then.
    """
    url = cast(Url, named(path))
    with _errors(url):
        before = _info(*_found(url))
    return lambda: writing(path, before)


@contextmanager
def writing(path: str, before: dict[str, Any] | None = None) -> Iterator[TextIO]:
    """Open a text file that is put in its place, whole, when the block ends without an error.

    With `before`, what was known of a file, only where it still is that version.
    """
    url = cast(Url, named(path))
    text = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    try:
        with tempfile.TemporaryFile("w+", **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            try:
                with _errors(url):
                    _put(url, file, before)
            except InputError as error:
                cause = error.__cause__
                conflict = isinstance(cause, FileExistsError) or _code(cause) in _CONFLICTS
                what = (
                    CHANGED
                    if before is not None and conflict
                    else sentence("", error.what, error.hint)
                )
                raise OSError(None, what, url) from error
    except OSError as error:
        place = "" if error.errno is None else f" in {tempfile.gettempdir()}"
        raise OSError(error.errno, f"{error.strerror}{place}", url) from error


def _put(url: Url, file: TextIO, before: dict[str, Any] | None) -> None:
    fs, place = _found(url)
    if before is not None and _version(_info(fs, place)) != _version(before):
        raise OSError(None, CHANGED, url)
    if before is None or url.protocol not in (*_S3, *_GOOGLE):
        # A file without a name: a run that is killed leaves nothing.
        fs.put_file(f"/dev/fd/{file.fileno()}", place, chunksize=_PART)
        return
    # Another run may have put one since: only the store can tell, as it puts this one.
    file.seek(0)
    content = file.buffer.read()
    if url.protocol in _S3:
        condition = {"IfMatch": before["ETag"]} if before else {"IfNoneMatch": "*"}
        fs.pipe_file(place, content, chunksize=_AT_ONCE, **condition)
        return
    bucket, name, _ = fs.split_path(place)  # gcsfs itself has no such condition
    to = f"{fs._location}/upload/storage/v1/b/{quote(bucket)}/o"
    condition = {"ifGenerationMatch": before.get("generation", 0)}
    fs.call("POST", to, data=content, uploadType="media", name=name, **condition)
    fs.invalidate_cache(place)


def check_writable(path: str, *, append: bool = False) -> None:
    """Check that `writing` can write a file, as far as that can be told before."""
    url = cast(Url, named(path))
    if url.protocol not in (*_WHOLE, *_WEB):
        _found(url)  # the error of one that nothing is known of comes first
    if url.protocol not in _WHOLE:
        what = f"{url.protocol}:// is for reading"
        raise InputError(url, what, "give a file to write to, or s3:// or gs://")
    if append:
        raise InputError(url, "rows cannot be added to it", "`follow` writes to a file or a pipe")
    try:
        with _errors(url):
            kind = _info(*_found(url)).get("type")
    except InputError as error:
        if not _is_denied(error.__cause__):
            raise
        return  # who may write need not be allowed to look
    if kind == "directory":
        raise InputError(url, "Is a directory", "give a file in it")


class _Raw(io.RawIOBase):
    """A file of fsspec whose errors are those of an input."""

    def __init__(self, url: Url, file: Any) -> None:
        self._url, self._file = url, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._url.protocol not in _WEB

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(place, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with _errors(self._url):
            return int(self._file.readinto(buffer))

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _found(url: Url) -> tuple[Any, str]:
    """Return the file system of a URL, and where the file is there."""
    try:
        import fsspec

        if url.protocol not in fsspec.available_protocols():
            hint = did_you_mean(url.protocol, (*_WHOLE, *_WEB))
            hint = hint or "known are s3://, gs:// and https://"
            raise InputError(url, f"nothing is known of {url.protocol}://", hint)
        for name in _LOGS:
            if not (log := logging.getLogger(name)).hasHandlers():
                log.addHandler(logging.NullHandler())
        # Without credentials, finding out what kind of bucket it is takes many seconds.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        full = url.protocol + url.full[len(url.protocol) :]  # fsspec knows small letters alone
        return cast(tuple[Any, str], fsspec.core.url_to_fs(full, **_options(url)))
    except ImportError as error:
        name = getattr(error.__cause__ or error, "name", "") or str(error)
        message = f"{url}: {name} is not installed: pip install 'rnncli[remote]'"
        raise ImportError(message) from None


def _options(url: Url) -> dict[str, Any]:
    """Return how long and how often a server is asked, in the words of each library."""
    if url.protocol in _S3:
        # By default, botocore waits a minute for a server that is not there, and some times more.
        config: dict[str, Any] = {"connect_timeout": _CONNECT, "read_timeout": _SEND}
        if not {"AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"} & os.environ.keys():
            config["retries"] = {"mode": "standard", "total_max_attempts": 3}
        return {"config_kwargs": config, "max_concurrency": 2}
    if url.protocol in _WEB:
        import aiohttp

        # By default, all of a file has to be read within five minutes.
        wait = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SEND)
        # What aiohttp decompresses may end too soon without an error.
        as_it_is = {"auto_decompress": False, "headers": {"Accept-Encoding": "identity"}}
        return {"client_kwargs": {"timeout": wait, **as_it_is}}
    return {}


def _info(fs: Any, place: str) -> dict[str, Any]:
    """Return what a store knows of a file; nothing where there is none."""
    try:
        return cast(dict[str, Any], fs.info(place))
    except FileNotFoundError as error:
        if _code(error) == "NoSuchBucket":
            raise
        return {}


@contextmanager
def _errors(url: Url) -> Iterator[None]:
    """Make one error of those of fsspec and of all the libraries below it."""
    try:
        yield
    except (InputError, ImportError):
        raise
    except Exception as error:
        raise InputError(url, _reason(error)) from error


def _reason(error: Exception) -> str:
    """Return the message of a library, without the secrets of a URL."""
    code = _code(error)
    if isinstance(error, FileNotFoundError) and code != "NoSuchBucket":
        return _NO_FILE
    text = getattr(error, "strerror", None) or one_line(error)
    if not isinstance(error, OSError):
        text = f"{type(error).__name__}: {text}"
    shown = re.sub(r"\w+://\S+", lambda found: named(found[0]), text)
    return f"access denied: {shown}" if _is_denied(error) else shown


def _is_denied(error: BaseException | None) -> bool:
    forbidden = str(error).startswith("Forbidden")  # all that gcsfs has for a code
    return forbidden or isinstance(error, PermissionError) or _code(error) in ("401", "403")


def _code(error: BaseException | None) -> str:
    """Return the code that a server answered with, where an error has one."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code"))
        name = "status" if hasattr(error, "status") else "code"
        if code := getattr(error, name, None):
            return str(code)
        error = error.__cause__ or error.__context__
    return ""
