"""Zip archives, opened and read in no more memory than their own size calls for."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from rnncli.model.errors import InputError, one_line, shown

# Python keeps about 700 bytes of each member.
MOST_MEMBERS = 20_000
PIECE = 2**20

# What begins the entry of each member in an archive's list of them.
_LISTED = b"PK\x01\x02"
_ENCRYPTED = 1


def open_zip(path: str, file: BinaryIO) -> zipfile.ZipFile:
    """Open an archive.

    Raises
    ------
    InputError
        It is damaged, or holds too many members.
    """
    file.seek(0)
    members, before = 0, b""
    while piece := file.read(PIECE):
        members += (before + piece).count(_LISTED)
        before = piece[1 - len(_LISTED) :]
    if members > MOST_MEMBERS:
        raise InputError(path, f"expected at most {MOST_MEMBERS:,} members, got {members:,}")
    with damage(path):
        return zipfile.ZipFile(file)


def read_member(path: str, archive: zipfile.ZipFile, name: str, most: int, hint: str = "") -> bytes:
    """Read a member of at most so many bytes; the hint is for a larger one.

    Raises
    ------
    InputError
        It is larger, encrypted, compressed in another way than by deflate, or damaged.
    """
    place, info = f"{path}: {shown(name)}", archive.getinfo(name)
    if info.file_size > most:
        raise InputError(place, f"expected at most {most:,} bytes, got {info.file_size:,}", hint)
    if info.flag_bits & _ENCRYPTED:
        hint = "unpack the archive, and pack it anew without a password"
        raise InputError(place, "is encrypted", hint)
    with damage(place):
        check_compression(info)
        with archive.open(info) as file:
            # All at once, it would unpack whatever there is, and cut that to the size told of.
            return b"".join(iter(lambda: file.read(PIECE), b""))


def check_compression(info: zipfile.ZipInfo) -> None:
    """Refuse a member that would be unpacked all at once: raise ValueError."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"compressed in a way (number {info.compress_type}) other than deflate")


@contextmanager
def damage(place: str) -> Iterator[None]:
    """Add the place to whatever a damaged archive raises."""
    try:
        yield
    # zipfile, zlib, struct, ast and NumPy have errors of their own, ast even MemoryError for
    # a header of many signs; what takes much memory is allocated outside.
    except Exception as error:
        raise InputError(place, f"damaged: {one_line(error)}") from error
