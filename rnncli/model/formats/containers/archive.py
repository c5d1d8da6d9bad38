"""Archives of arrays, as ``numpy.savez`` writes them, read without pickles.

No size that an archive declares is trusted: a member is unpacked only while the
whole does not outgrow the file, and its array's header must tell of as many
bytes as there are.
"""

import io
import warnings
from collections import Counter
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import READ_NPY_HEADER
from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.containers import MOST_TIMES, most_unpacked
from rnncli.model.formats.containers.zips import damage, open_zip, read_member

# Each has a header, which is Python text: a thousand are read in three seconds at worst.
MOST_MEMBERS = 1_000

_ENDING = ".npy"
_EXPECTED = "expected an .npz file, as numpy.savez writes it"
# A header of a matrix takes 128 bytes, and text of 10,000 can take 50 ms.
_HEADER_MOST = 1_000


def read_archive(data: bytes, path: str, times: int = MOST_TIMES) -> dict[str, NDArray[Any]]:
    """Read all arrays by their names; the whole may unpack to so many times its size."""
    with open_zip(path, io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if not any(info.filename.endswith(_ENDING) for info in infos):
            members = listed(info.filename for info in infos)
            raise InputError(path, f"{_EXPECTED}, got a zip archive of {members}")
        if len(infos) > MOST_MEMBERS:
            what = f"expected at most {MOST_MEMBERS:,} arrays, got {len(infos):,}"
            hint = "write those of the recurrent layers alone, or all as .safetensors"
            raise InputError(path, what, hint)
        total, most = sum(info.file_size for info in infos), most_unpacked(len(data), times)
        if total > most:
            many = f"{times} times " if times > 1 else ""
            what = f"unpacks to {total:,} bytes, over {many}its own {len(data):,}"
            hint = "if it is sound, write it anew with numpy.savez, which does not compress"
            raise InputError(path, what, hint)
        arrays: dict[str, NDArray[Any]] = {}
        names = Counter(info.filename.removesuffix(_ENDING) for info in infos)
        for info in infos:
            name = info.filename.removesuffix(_ENDING)
            place = f"{path}: {shown(name)}"
            if names[name] > 1:
                raise InputError(place, "is in the archive twice")
            if not info.filename.endswith(_ENDING):
                raise InputError(place, "is no array")
            content = read_member(path, archive, info.filename, most)
            with damage(place):
                arrays[name] = _array(content)
    return arrays


def _array(content: bytes) -> NDArray[Any]:
    """View the content of an ``.npy`` file as its array; raise ValueError where it is none."""
    head = io.BytesIO(content[:_HEADER_MOST])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged text warns of what it would be as Python
        version = np.lib.format.read_magic(head)
        if version not in READ_NPY_HEADER:
            raise ValueError(f"an array of .npy version {version}")
        shape, fortran_order, dtype = READ_NPY_HEADER[version](head)
    size, needed = len(content) - head.tell(), prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise ValueError("unexpected type object")
    if min(shape, default=0) < 0 or needed != size:
        what = f"expected {needed} bytes, as its shape {shape} of {dtype} takes, got {size}"
        raise ValueError(what)
    if dtype.kind == "U":
        if shape:
            raise ValueError(f"texts of shape {shape}")
        # Not every number is a character, as NumPy takes some for.
        order = "be" if dtype.byteorder == ">" else "le"
        text = content[head.tell() :].decode(f"utf-32-{order}", "surrogatepass")
        return np.array(text.rstrip("\0"))
    if not dtype.itemsize:
        return np.empty(shape, dtype)
    array = np.frombuffer(content, dtype, offset=head.tell())
    return array.reshape(shape, order="F" if fortran_order else "C")
