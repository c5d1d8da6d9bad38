"""Archives of arrays, as ``numpy.savez`` writes them.

Read without pickles, and without trust in the sizes that an archive
declares: a member is read only if its size is what its array's header says,
and only while the whole does not outgrow the file.
"""

import io
import os
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import READ_NPY_HEADER
from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.containers import MOST_TIMES, most_unpacked
from rnncli.model.formats.containers.zips import FIRST, PIECE, check_compression, damage, open_zip
from rnncli.model.formats.kinds import kind_of
from rnncli.model.formats.tensors import Entry

# Each has a header, which is Python text: a thousand are read in three seconds at worst.
MOST_MEMBERS = 1_000

_ENDING = ".npy"
_EXPECTED = "expected an .npz file, as numpy.savez writes it"
# A header of a matrix takes 128 bytes, and text of 10,000 can take 50 ms.
_HEADER_MOST = 1_000


class Member(NamedTuple):
    """A member of an archive, what its header says, and where its values start."""

    info: zipfile.ZipInfo
    entry: Entry
    dtype: np.dtype[Any] = np.dtype(np.void)
    fortran_order: bool = False
    start: int = 0


class Archive(NamedTuple):
    """An open archive, none of whose arrays has been read yet.

    Parameters
    ----------
    path : str
    file : zipfile.ZipFile
    members : mapping
        By the names of the arrays.
    """

    path: str
    file: zipfile.ZipFile
    members: Mapping[str, Member]

    def check_sizes(self, names: Iterable[str], most_times: int = MOST_TIMES) -> None:
        """Refuse arrays that unpack to far more than there is."""
        members = [self.members[name] for name in names]
        halves = sum(each.info.file_size for each in members if each.dtype == np.float16)
        total = sum(each.info.file_size for each in members) + halves
        size = os.path.getsize(self.path)
        if total > most_unpacked(size, most_times):
            times = f"{most_times} times " if most_times > 1 else ""
            what = f"unpacks to {total:,} bytes, over {times}its own {size:,}"
            hint = "if it is sound, write it anew with numpy.savez, which does not compress"
            raise InputError(self.path, what, hint)

    def array(self, name: str) -> NDArray[Any]:
        """Read an array, if its header tells of as many bytes as the archive."""
        member, place = self.members[name], self.place(name)
        shape, dtype, size = member.entry.shape, member.dtype, member.info.file_size - member.start
        needed = prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or needed != size:
            raise InputError(
                place, f"expected {needed} bytes, as its shape {shape} of {dtype} takes, got {size}"
            )
        array = np.empty(prod(shape), dtype)
        content = array.view(np.uint8)
        with damage(place), self.file.open(member.info) as file:
            file.read(member.start)
            for start in range(0, size, PIECE):
                stop = min(start + PIECE, size)
                content[start:stop] = np.frombuffer(file.read(stop - start), np.uint8)
        return array.reshape(shape, order="F" if member.fortran_order else "C")

    def text(self, name: str, most: float = inf) -> str:
        """Read a single text, of at most so many bytes."""
        member, place = self.members[name], self.place(name)
        shape, dtype = member.entry
        if shape or not dtype.startswith("str"):
            raise InputError(
                place, f"expected text, as rnn writes it, got {dtype} of shape {shape}"
            )
        if member.info.file_size > most:
            raise InputError(
                place, f"expected at most {most:,} bytes, got {member.info.file_size:,}"
            )
        text = self.array(name)
        with damage(place):  # not every number is a character, as NumPy takes some for
            content = text.astype(text.dtype.newbyteorder("<")).tobytes()
            return content.decode("utf-32-le", "surrogatepass").rstrip("\0")

    def place(self, name: str) -> str:
        """Return where an array stands, for messages."""
        return f"{self.path}: {shown(name)}"


@contextmanager
def opened(path: str) -> Iterator[Archive]:
    """Open an archive, and read the headers of its arrays."""
    with open(path, "rb") as file:
        if file.read(len(FIRST)) != FIRST:
            raise InputError(path, f"{_EXPECTED}, got {kind_of(path).name}")
        with open_zip(path, file) as archive:
            yield Archive(path, archive, _members(path, archive))


def _members(path: str, archive: zipfile.ZipFile) -> dict[str, Member]:
    """Read the headers of all arrays, by their names."""
    infos = archive.infolist()
    if not any(info.filename.endswith(_ENDING) for info in infos):
        names = listed(info.filename for info in infos)
        raise InputError(path, f"{_EXPECTED}, got a zip archive of {names}")
    if len(infos) > MOST_MEMBERS:
        what = f"expected at most {MOST_MEMBERS:,} arrays, got {len(infos):,}"
        hint = "write those of the recurrent layers alone, or all as .safetensors"
        raise InputError(path, what, hint)
    members: dict[str, Member] = {}
    for info in infos:
        name = info.filename.removesuffix(_ENDING)
        if name in members:
            raise InputError(f"{path}: {shown(name)}", "is in the archive twice")
        with damage(f"{path}: {shown(name)}"):
            members[name] = _member(archive, info)
    return members


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    if not info.filename.endswith(_ENDING):
        return Member(info, Entry((), "no array"))
    check_compression(info)
    with archive.open(info) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged text warns of what it would be as Python
        head = io.BytesIO(file.read(_HEADER_MOST))
        version = np.lib.format.read_magic(head)
        if version not in READ_NPY_HEADER:
            raise ValueError(f"an array of .npy version {version}")
        shape, fortran_order, dtype = READ_NPY_HEADER[version](head)
    entry = Entry(tuple(map(int, shape)), dtype.name)
    return Member(info, entry, dtype, fortran_order, head.tell())
