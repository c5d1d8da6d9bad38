"""NumPy's ``.npz``: an archive of arrays, under our own names.

Read without pickles, and without trust in the sizes that the archive
declares: a member is read only if its size is what its array's header says,
and only while the whole does not outgrow the file.
"""

import io
import os
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.formats.about import about_text, with_about
from rnncli.formats.naming import own
from rnncli.formats.said import Said, read_said
from rnncli.formats.signatures import kind_of
from rnncli.formats.tensors import Entry, Tensors, listed, one_line, shown
from rnncli.network import Network

# How much an archive may unpack to: so many times its own size, or so many
# bytes if that is more. Weights of which 99.5% are zeros pack 20 times, an
# identity of 2,048 units 786 times; deflate itself can reach 1,032.
MOST_TIMES = 100
MOST_BYTES = 16 * 2**20

_ENDING = ".npy"
_ABOUT = "about"
# Enough for 9,999 layers; as JSON the characters may take several times as much.
_ABOUT_MOST = 4 * 2**20
# numpy.lib.format reads no longer header than 10,000 characters.
_HEADER_MOST = 12_000
_PIECE = 2**20

# Names of members by which other archives are known.
_OTHERS = {
    "data.pkl": "a PyTorch checkpoint: write its state_dict with safetensors.torch.save_file",
    "model.weights.h5": "a Keras model: write its weights with safetensors.numpy.save_file, "
    "by their paths",
}


# numpy.lib.format's own reader of headers, by version; version 3 is for structured arrays.
_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class _Member(NamedTuple):
    """A member of an archive, what its header says, and where its values start."""

    info: zipfile.ZipInfo
    entry: Entry
    dtype: np.dtype[Any] = np.dtype(np.void)
    fortran_order: bool = False
    start: int = 0


def load_npz(path: str, layer: str | None) -> Said:
    """Read a network from an ``.npz`` file.

    The arrays are ``W_xh``, ``W_hh`` and ``b_h``, or several under
    ``layer_1.forward.W_xh`` and so on; ``b_h`` may be left out. ``about``
    says what `save_npz` wrote beside them.

    Parameters
    ----------
    path : str
    layer : str or None
        Only names that begin ``layer.`` or ``layer/`` count, without that.

    Raises
    ------
    ValueError
        It is no such file, it is damaged, or its arrays make no network.
    OSError
        It cannot be opened.
    """
    with _opened(path) as archive:
        members = _members(path, archive)
        tensors = Tensors(
            path,
            {name: member.entry for name, member in members.items()},
            lambda name: _values(path, archive, members[name]),
        ).under(layer)
        if _ABOUT in members and tensors.prefix:
            raise ValueError(f"{path}: {_ABOUT} speaks of the whole file: leave --layer out")
        _check_sizes(tensors, {name: members[tensors.prefix + name] for name in tensors.entries})
        return _said(tensors)


def save_npz(file: BinaryIO, network: Network, naming: str) -> None:  # noqa: ARG001
    """Write a network as an uncompressed ``.npz`` file, under our own names."""
    arrays: dict[str, Any] = {_ABOUT: np.array(about_text(network))}
    arrays |= own.name_tensors(network)
    np.savez(file, **arrays)


@contextmanager
def _opened(path: str) -> Iterator[zipfile.ZipFile]:
    kind = kind_of(path)
    if not kind.startswith("a zip archive ("):
        raise ValueError(f"{path}: expected an .npz file, as numpy.savez writes it, got {kind}")
    with open(path, "rb") as file:
        with _damage(path):
            archive = zipfile.ZipFile(file)
        with archive:
            yield archive


@contextmanager
def _damage(place: str) -> Iterator[None]:
    """Say of whatever a damaged archive raises where it is."""
    try:
        yield
    # zipfile, zlib, struct, ast and NumPy have errors of their own, ast even MemoryError for
    # a header of many signs; what takes much memory is allocated outside.
    except Exception as error:
        raise ValueError(f"{place}: damaged: {one_line(error)}") from error


def _members(path: str, archive: zipfile.ZipFile) -> dict[str, _Member]:
    """Read the headers of all arrays, by their names."""
    infos = archive.infolist()
    if not any(info.filename.endswith(_ENDING) for info in infos):
        names = [info.filename for info in infos]
        other = next((what for end, what in _OTHERS.items() for n in names if n.endswith(end)), "")
        got = other or f"a zip archive of {listed(names)}"
        raise ValueError(f"{path}: expected an .npz file, as numpy.savez writes it, got {got}")
    members: dict[str, _Member] = {}
    for info in infos:
        name = info.filename.removesuffix(_ENDING)
        if name in members:
            raise ValueError(f"{path}: {shown(name)}: is in the archive twice")
        with _damage(f"{path}: {shown(name)}"):
            members[name] = _member(archive, info)
    return members


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    if not info.filename.endswith(_ENDING):
        return _Member(info, Entry((), "no array"))
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"compressed in a way (number {info.compress_type}) that NumPy does not")
    with archive.open(info) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged text warns of what it would be as Python
        head = io.BytesIO(file.read(_HEADER_MOST))
        version = np.lib.format.read_magic(head)
        if version not in _READ_HEADER:
            raise ValueError(f"an array of .npy version {version}")
        shape, fortran_order, dtype = _READ_HEADER[version](head)
    entry = Entry(tuple(map(int, shape)), dtype.name)
    return _Member(info, entry, dtype, fortran_order, head.tell())


def _check_sizes(tensors: Tensors, members: dict[str, _Member]) -> None:
    """Refuse what unpacks to far more than there is."""
    path = tensors.path
    total, size = sum(m.info.file_size for m in members.values()), os.path.getsize(path)
    if total > max(MOST_BYTES, MOST_TIMES * size):
        raise ValueError(
            f"{path}: unpacks to {total:,} bytes, over {MOST_TIMES} times its own {size:,}; "
            "if it is sound, write it anew with numpy.savez, which does not compress"
        )
    if _ABOUT in members and members[_ABOUT].info.file_size > _ABOUT_MOST:
        got = members[_ABOUT].info.file_size
        raise ValueError(
            f"{tensors.place(_ABOUT)}: expected at most {_ABOUT_MOST:,} bytes, got {got:,}"
        )


def _values(path: str, archive: zipfile.ZipFile, member: _Member) -> NDArray[Any]:
    """Read an array, if its header tells of as many bytes as the archive."""
    shape, dtype, size = member.entry.shape, member.dtype, member.info.file_size - member.start
    place = f"{path}: {shown(member.info.filename.removesuffix(_ENDING))}"
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != size:
        raise ValueError(
            f"{place}: expected {prod(shape) * dtype.itemsize} bytes, as its shape {shape} of "
            f"{dtype} takes, got {size}"
        )
    array = np.empty(prod(shape), dtype)
    content = array.view(np.uint8)
    with _damage(place), archive.open(member.info) as file:
        file.read(member.start)
        for start in range(0, size, _PIECE):
            stop = min(start + _PIECE, size)
            content[start:stop] = np.frombuffer(file.read(stop - start), np.uint8)
    return array.reshape(shape, order="F" if member.fortran_order else "C")


def _said(tensors: Tensors) -> Said:
    entries = {name: entry for name, entry in tensors.entries.items() if name != _ABOUT}
    try:
        named = own.find_network(entries)
    except ValueError as error:
        raise ValueError(f"{tensors.path}: {error}") from error
    said = read_said(tensors, named)
    if _ABOUT not in tensors.entries:
        return said
    return with_about(tensors.place(_ABOUT), said, _text(tensors))


def _text(tensors: Tensors) -> str:
    shape, dtype = tensors.entries[_ABOUT]
    place = tensors.place(_ABOUT)
    if shape or not dtype.startswith("str"):
        raise ValueError(f"{place}: expected text, as rnn writes it, got {dtype} of shape {shape}")
    text = tensors.read(_ABOUT)
    with _damage(place):  # not every number is a character
        return str(text[()])
