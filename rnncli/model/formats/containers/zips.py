"""Zip archives, opened and read in no more memory than their own size calls for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from rnncli.model.errors import InputError, one_line, shown

if TYPE_CHECKING:
    from zipfile import ZipFile

# What an archive begins with, unless it holds nothing.
FIRST = b"PK\x03\x04"
_PIECE = 2**20
# Of an archive's list of its members, at 46 bytes or more each, of which Python keeps 700.
_LIST_MOST = 2 * 2**20
_STORED, _DEFLATED = 0, 8


class _Bounded:
    """A file of which no more is read at once than a list of members may take."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size > _LIST_MOST:
            what = f"expected a list of members of at most {_LIST_MOST:,} bytes, got {size:,}"
            raise ValueError(what)
        return self._file.read(size if size >= 0 else _LIST_MOST)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def open_zip(path: str, file: BinaryIO) -> "ZipFile":
    """Open an archive."""
    from zipfile import ZipFile, is_zipfile  # 5 ms that other files do not need

    bounded: Any = _Bounded(file)
    with damage(path):
        if not is_zipfile(bounded):
            raise ValueError("its end, a list of its members, is missing: was all of it copied?")
        return ZipFile(bounded)


def read_member(path: str, archive: "ZipFile", name: str, most: int, hint: str = "") -> bytes:
    """Read a member of at most so many bytes; the hint is for a larger one."""
    place, info = f"{path}: {shown(name)}", archive.getinfo(name)
    if info.file_size > most:
        raise InputError(place, f"expected at most {most:,} bytes, got {info.file_size:,}", hint)
    with damage(place):
        if info.compress_type not in (_STORED, _DEFLATED):  # they are unpacked all at once
            raise ValueError(f"compressed in another way ({info.compress_type}) than deflate")
        with archive.open(info) as file:
            # All at once, it would unpack whatever there is, and cut that to the size told of.
            return b"".join(iter(lambda: file.read(_PIECE), b""))


@contextmanager
def damage(place: str) -> Iterator[None]:
    """Add the place to whatever a damaged archive raises."""
    try:
        yield
    # zipfile, zlib, struct, ast and NumPy have errors of their own, ast even MemoryError for
    # a header of many signs; what takes much memory is allocated outside.
    except Exception as error:
        raise InputError(place, f"damaged: {one_line(error)}") from error
