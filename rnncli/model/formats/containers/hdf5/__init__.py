"""HDF5 files, as far as h5py writes them unless it is told otherwise.

Numbers of versions, messages and classes are those of the HDF5 file format
specification. A file is not trusted: each address and size in it has to lie
within the file, nothing is reached twice, and how much is read of what stands
around the values is bounded.
"""

import struct
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

from numpy.typing import NDArray

from rnncli.model.errors import InputError, one_line, shown
from rnncli.model.formats.containers.hdf5.structure import LAYOUT, Source, UnknownError
from rnncli.model.formats.containers.hdf5.values import (
    Dataset,
    find_attributes,
    find_dataset,
    read_values,
)
from rnncli.model.formats.tensors import Entry

_WAY_OUT = "copy what is needed to a new file with h5py, as it writes by default"


class Contents(NamedTuple):
    """What an open file holds; the values of its datasets are read later.

    Parameters
    ----------
    entries : mapping
        What each dataset is, by its path.
    attributes : mapping
        Those of each group and dataset, by its path; the root's is empty. A
        text is a str, several are a list of them; numbers are NumPy's. Empty
        ones, and those of other types, are left out.
    read : callable
        ``read(paths)`` returns the values of datasets.
    """

    entries: Mapping[str, Entry]
    attributes: Mapping[str, Mapping[str, Any]]
    read: Callable[[Sequence[str]], list[NDArray[Any]]]


def read_file(place: str, file: BinaryIO, passed: Container[str] = ()) -> Contents:
    """Read what a file holds, but for the values of its datasets.

    Soft links and links to other files are passed over.
    """
    source = Source(file)
    datasets: dict[str, Dataset] = {}
    attributes: dict[str, Mapping[str, Any]] = {}
    with _damage(place):
        waiting = [("", source.root())]
    while waiting:
        path, address = waiting.pop()
        with _damage(f"{place}: {shown(path)}" if path else place):
            if path in attributes:
                raise ValueError("is in the file twice")
            messages = source.messages(address)
            attributes[path] = dict(find_attributes(source, messages))
            if LAYOUT in messages:
                datasets[path] = find_dataset(source, messages)
                continue
            for name, child in sorted(source.links(messages), reverse=True):
                if path or name not in passed:
                    inner = f"{path}/{name}" if path else name
                    source.spend(len(inner))
                    waiting.append((inner, child))

    def read(paths: Sequence[str]) -> list[NDArray[Any]]:
        arrays = []
        for path in paths:
            with _damage(f"{place}: {shown(path)}"):
                arrays.append(read_values(source, datasets[path]))
        return arrays

    entries = {path: Entry(each.shape, each.type.name) for path, each in datasets.items()}
    return Contents(entries, attributes, read)


@contextmanager
def _damage(place: str) -> Iterator[None]:
    """Add the place to what a damaged or an unknown part raises."""
    try:
        yield
    except UnknownError as error:
        raise InputError(place, f"has {error}, not read here", _WAY_OUT) from error
    except (ValueError, IndexError, OverflowError, struct.error) as error:
        raise InputError(place, f"damaged: {one_line(error)}") from error
