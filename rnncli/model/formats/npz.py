"""NumPy's ``.npz``: an archive of arrays."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError
from rnncli.model.formats.archive import MOST_MEMBERS, opened
from rnncli.model.formats.metadata import metadata_text
from rnncli.model.formats.naming import own
from rnncli.model.formats.tensors import Tensors
from rnncli.model.layers import Recurrent

# The array of text that holds our metadata.
_METADATA = "about"
# Enough for 9,999 layers; as JSON the characters may take several times as much.
_METADATA_MOST = 4 * 2**20


@contextmanager
def open_npz(path: str) -> Iterator[Tensors]:
    """Open an ``.npz`` file; see `Format`."""
    with opened(path) as archive:
        entries = {name: member.entry for name, member in archive.members.items()}
        metadata = None
        if entries.pop(_METADATA, None):
            metadata = archive.place(_METADATA), archive.text(_METADATA, _METADATA_MOST)

        def read(names: Sequence[str]) -> list[NDArray[Any]]:
            archive.check_sizes(names)
            return [archive.array(name) for name in names]

        yield Tensors(path, entries, read, metadata)


def save_npz(file: BinaryIO, layers: Sequence[Recurrent], _naming: str) -> None:
    """Write layers as an uncompressed ``.npz`` file, under our own names.

    Raises
    ------
    InputError
        They have more arrays than are read.
    """
    arrays: dict[str, Any] = {_METADATA: np.array(metadata_text(layers))}
    arrays |= own.name_tensors(layers)
    if len(arrays) > MOST_MEMBERS:
        what = f"expected at most {MOST_MEMBERS:,} arrays in an .npz file, got {len(arrays):,}"
        raise InputError("", what, "write .safetensors")
    np.savez(file, **arrays)
