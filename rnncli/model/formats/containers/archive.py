"""Archives of arrays, as ``numpy.savez`` writes them, read without pickles.

No size that an archive declares is trusted: a member is unpacked only while the
whole does not outgrow the file, and its array's header must tell of as many
bytes as there are.
"""

import io
import warnings
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
# A header of a matrix takes 128 bytes, and text of 10,000 can take 50 ms.
_HEADER_MOST = 1_000


def read_archive(data: bytes, path: str) -> dict[str, NDArray[Any]]:
    """Read all arrays by their names."""
    with open_zip(path, io.BytesIO(data)) as archive:
        infos = archive.infolist()
        names = [info.filename.removesuffix(_ENDING) for info in infos]
        if not any(info.filename.endswith(_ENDING) for info in infos):
            what = "expected an .npz file, as numpy.savez writes it, got a zip archive of"
            raise InputError(path, f"{what} {listed(names)}")
        if len(infos) > MOST_MEMBERS:
            what = f"expected at most {MOST_MEMBERS:,} arrays, got {len(infos):,}"
            hint = "write those of the recurrent layers alone, or all as .safetensors"
            raise InputError(path, what, hint)
        total, most = sum(info.file_size for info in infos), most_unpacked(len(data))
        if total > most:
            what = f"unpacks to {total:,} bytes, over {MOST_TIMES} times its own {len(data):,}"
            hint = "if it is sound, write it anew with numpy.savez, which does not compress"
            raise InputError(path, what, hint)
        arrays: dict[str, NDArray[Any]] = {}
        for info, name in zip(infos, names, strict=True):
            place = f"{path}: {shown(name)}"
            if name in arrays:
                raise InputError(place, "is in the archive twice")
            content = read_member(path, archive, info.filename, most)
            with damage(place):
                arrays[name] = _view_array(content)
    return arrays


def _view_array(content: bytes) -> NDArray[Any]:
    """View the content of an ``.npy`` file as its array; raise ValueError where it is none."""
    head = io.BytesIO(content[:_HEADER_MOST])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged text warns of what it would be as Python
        version = np.lib.format.read_magic(head)
        if version not in READ_NPY_HEADER:
            raise ValueError(f"an array of .npy version {version}")
        shape, fortran_order, dtype = READ_NPY_HEADER[version](head)
    start, needed = head.tell(), prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise ValueError("unexpected type object")
    if min(shape, default=0) < 0 or needed != len(content) - start:
        what = f"as its shape {shape} of {dtype} takes, got {len(content) - start}"
        raise ValueError(f"expected {needed} bytes, {what}")
    if dtype.kind == "U" and not shape:
        # Not every number is a character, as NumPy takes some for.
        order = "be" if dtype.byteorder == ">" else "le"
        return np.array(content[start:].decode(f"utf-32-{order}", "surrogatepass").rstrip("\0"))
    if not dtype.itemsize or dtype.kind == "U":
        return np.empty(shape, "V0")
    array = np.frombuffer(content, dtype, offset=start)
    return array.reshape(shape, order="F" if fortran_order else "C")
