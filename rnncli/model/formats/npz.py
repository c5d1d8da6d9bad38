"""NumPy's ``.npz``: an archive of arrays, under our own names."""

from typing import Any, BinaryIO

import numpy as np

from rnncli.model.formats.about import about_text, with_about
from rnncli.model.formats.archive import MOST_MEMBERS, opened
from rnncli.model.formats.naming import own
from rnncli.model.formats.said import Said, read_said
from rnncli.model.formats.tensors import Tensors
from rnncli.model.network import Network

_ABOUT = "about"
# Enough for 9,999 layers; as JSON the characters may take several times as much.
_ABOUT_MOST = 4 * 2**20


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
    with opened(path) as archive:
        members = archive.members
        entries = {name: member.entry for name, member in members.items()}
        tensors = Tensors(path, entries, archive.values).under(layer)
        if _ABOUT in members and tensors.prefix:
            raise ValueError(f"{path}: {_ABOUT} speaks of the whole file: leave --layer out")
        archive.check_sizes(tensors.prefix + name for name in tensors.entries)
        said = _said(tensors)
        if _ABOUT not in tensors.entries:
            return said
        size = members[_ABOUT].info.file_size
        if size > _ABOUT_MOST:
            place = archive.place(_ABOUT)
            raise ValueError(f"{place}: expected at most {_ABOUT_MOST:,} bytes, got {size:,}")
        return with_about(archive.place(_ABOUT), said, archive.text(_ABOUT))


def save_npz(file: BinaryIO, network: Network, naming: str) -> None:  # noqa: ARG001
    """Write a network as an uncompressed ``.npz`` file, under our own names.

    Raises
    ------
    ValueError
        It has more arrays than `load_npz` reads.
    """
    arrays: dict[str, Any] = {_ABOUT: np.array(about_text(network))}
    arrays |= own.name_tensors(network)
    if len(arrays) > MOST_MEMBERS:
        raise ValueError(
            f"expected at most {MOST_MEMBERS:,} arrays in an .npz file, got {len(arrays):,}; "
            "write .safetensors"
        )
    np.savez(file, **arrays)


def _said(tensors: Tensors) -> Said:
    entries = {name: entry for name, entry in tensors.entries.items() if name != _ABOUT}
    try:
        named = own.find_network(entries)
    except ValueError as error:
        raise ValueError(f"{tensors.path}: {error}") from error
    return read_said(tensors, named)
