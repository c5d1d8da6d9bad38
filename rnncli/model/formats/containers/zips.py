"""Zip archives, and the arrays of ``numpy.savez``, in memory that the size of the file allows."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import READ_NPY_HEADER
from rnncli.model.errors import InputError, one_line, shown

if TYPE_CHECKING:
    from zipfile import ZipFile

# The first bytes of an archive that is not empty.
FIRST = b"PK\x03\x04"
# Python keeps 700 bytes of each member that is listed.
_LISTED_MOST = 40_000
# Arrays of an archive: each has a header, Python text, of which a thousand take three seconds.
MOST_MEMBERS = 1_000
# The header of a matrix takes 128 bytes, and text of 10,000 can take 50 ms.
_HEADER_MOST = 1_000


def most_unpacked(size: int) -> int:
    """Return how many bytes the arrays of a file of this size may take; halves become float32."""
    return max(16 * 2**20, 2 * size)


class _Content(io.BytesIO):
    """The bytes of an archive; a list of too many members is refused before it is parsed."""

    is_list = True  # until the list, which is read whole, has been parsed

    def read(self, size: int | None = -1) -> bytes:
        """Read bytes."""
        content = super().read(size)
        if self.is_list and content.count(b"PK\x01\x02") > _LISTED_MOST:
            raise ValueError(f"expected a list of at most {_LISTED_MOST:,} members")
        return content


def open_zip(path: str, data: bytes) -> "ZipFile":
    """Open an archive, unless its members take far more memory than the file."""
    from zipfile import ZipFile  # 5 ms that other files do not need

    with wrap_damage(path):
        content = _Content(data)
        archive = ZipFile(content)
        content.is_list = False
    total, most = sum(info.file_size for info in archive.infolist()), most_unpacked(len(data))
    if total > most:
        raise InputError(path, f"unpacks to {total:,} bytes, expected at most {most:,}")
    return archive


def read_member(path: str, archive: "ZipFile", name: str) -> bytes:
    """Read a member."""
    with wrap_damage(f"{path}: {shown(name)}"):
        info = archive.getinfo(name)
        if info.compress_type not in (0, 8):  # stored or deflated: others are unpacked at once
            raise ValueError(f"compressed in another way ({info.compress_type}) than deflate")
        with archive.open(info) as file:
            return file.read(info.file_size)  # without a size it unpacks whatever there is


@contextmanager
def wrap_damage(where: str) -> Iterator[None]:
    """Turn any error of a damaged archive into an InputError at `where`."""
    try:
        yield
    except InputError:
        raise
    # zipfile, zlib, struct, ast and NumPy have errors of their own, ast even MemoryError.
    except Exception as error:
        raise InputError(where, f"damaged: {one_line(error)}") from error


def read_archive(data: bytes, path: str) -> dict[str, NDArray[Any]]:
    """Read all arrays of an archive by their names."""
    arrays: dict[str, NDArray[Any]] = {}
    with open_zip(path, data) as archive:
        members = archive.namelist()
        if len(members) > MOST_MEMBERS:
            what = f"expected at most {MOST_MEMBERS:,} arrays, got {len(members):,}"
            raise InputError(path, what)
        for member in members:
            name, content = member.removesuffix(".npy"), read_member(path, archive, member)
            with wrap_damage(f"{path}: {shown(name)}"):
                if name in arrays:
                    raise ValueError("is in the archive twice")
                arrays[name] = _view_array(content)
    return arrays


def _view_array(content: bytes) -> NDArray[Any]:
    """View the content of an ``.npy`` file as its array."""
    head = io.BytesIO(content[:_HEADER_MOST])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged text warns of what it would be as Python
        read_header = READ_NPY_HEADER[np.lib.format.read_magic(head)]
        shape, fortran_order, dtype = read_header(head)
    start, needed = head.tell(), prod(shape) * dtype.itemsize
    if dtype.hasobject or min(shape, default=0) < 0 or needed != len(content) - start:
        what = f"expected {needed} bytes of shape {shape} of {dtype}"
        raise ValueError(f"{what}, got {len(content) - start}")
    if dtype.kind == "U" and not shape:
        # Not every number is a character, as NumPy takes some for.
        order = "be" if dtype.byteorder == ">" else "le"
        return np.array(content[start:].decode(f"utf-32-{order}", "surrogatepass").rstrip("\0"))
    if not dtype.itemsize or dtype.kind == "U":
        return np.empty(shape, "V0")
    array = np.frombuffer(content, dtype, offset=start)
    return array.reshape(shape, order="F" if fortran_order else "C")
