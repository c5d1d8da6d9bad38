"""HDF5, as far as h5py writes it by default."""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from numpy.typing import NDArray

from rnncli.model.formats.tensors import Entry


class Contents(NamedTuple):
    """What an open file holds; the values of its datasets are read later.

    Parameters
    ----------
    entries : mapping
        What each dataset is, by its path.
    attributes : mapping
        Those of each group and dataset, by its path; the root's is empty.
    read : callable
        ``read(paths)`` returns the values of datasets.
    """

    entries: Mapping[str, Entry]
    attributes: Mapping[str, Mapping[str, Any]]
    read: Callable[[Sequence[str]], list[NDArray[Any]]]


def read_file(place: str, file: BinaryIO, passed: Container[str] = ()) -> Contents:
    """Read groups, attributes, and what datasets are; not groups of the root in `passed`."""
    raise NotImplementedError
