"""Formats: a weight file becomes a network, and a network a weight file."""

import os
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from rnncli.model.arrays import Floats
from rnncli.model.choices import choice
from rnncli.model.formats import npz, safetensors
from rnncli.model.formats.naming import NAMINGS as _NAMINGS
from rnncli.model.formats.naming import unsaid
from rnncli.model.formats.said import Given, Said, settle
from rnncli.model.network import Network

__all__ = ["FORMATS", "NAMINGS", "Format", "Given", "Loaded", "load_network", "save_network"]

NAMINGS = tuple(_NAMINGS)


class Format(NamedTuple):
    """A kind of weight file.

    Parameters
    ----------
    load : callable
        ``load(path, layer)`` gives what the file says of the network.
    save : callable or None
        ``save(file, network, naming)`` writes one; None where it cannot be
        written.
    namings : tuple of str
        Of `NAMINGS`, those that it can be written in, the default first;
        none where it has names of its own.
    """

    load: Callable[[str, str | None], Said]
    save: Callable[[BinaryIO, Network, str], None] | None = None
    namings: tuple[str, ...] = ()


FORMATS = {
    ".npz": Format(npz.load_npz, npz.save_npz),
    ".safetensors": Format(safetensors.load_safetensors, safetensors.save_safetensors, NAMINGS),
}


class Loaded(NamedTuple):
    """A network from a file.

    Parameters
    ----------
    network : Network
    sha256 : str
        Of the file's bytes.
    assumed : list of str
        A sentence each for what neither the file nor the command line says
        and was taken for granted.
    biases : list of tuples of arrays
        Of each cell, in the order of ``Network.cells``, those that the file
        has: PyTorch's input bias and recurrent bias, whose sum is `b_h`.
    """

    network: Network
    sha256: str
    assumed: list[str]
    biases: list[tuple[Floats, ...]]


def load_network(path: str, layer: str | None, given: Given) -> Loaded:
    """Read a network from a weight file; its extension decides the format.

    Parameters
    ----------
    path : str
    layer : str or None
        Which part of a file that holds several; None for all of it.
    given : Given
        What the command line says. It fills in where the file is silent.

    Raises
    ------
    ValueError
        The file cannot be read, is damaged or of another kind, does not
        hold one network of simple recurrent layers, or says otherwise than
        what is given.
    """
    load = _format_of(path, os.path.splitext(path)[1]).load
    try:
        digest = _sha256(path)
        said = load(path, layer)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from error
    network, assumed = settle(path, said, given)
    biases = [cell.biases for each in said.layers for cell in each.cells]
    return Loaded(network, digest, assumed, biases)


def save_network(file: BinaryIO, network: Network, extension: str, naming: str) -> list[str]:
    """Write a network as a weight file; the same network gives the same bytes.

    Parameters
    ----------
    file : binary file
    network : Network
    extension : str
        Of `FORMATS`, with its point.
    naming : str
        Of `NAMINGS`, for a format that can be written in several.

    Returns
    -------
    list of str
        A sentence for what other programs that read the file must be told.

    Raises
    ------
    ValueError
        The format is unknown or cannot be written, or the naming cannot
        tell of such a network.
    """
    format_ = _format_of("output", extension)
    if format_.save is None:
        raise ValueError(f"{extension} files are read, not written")
    format_.save(file, network, naming)
    return unsaid(network) if format_.namings else []


# How a network leaves the files of others.
_EXPORTS = {
    extension: export
    for extensions, export in (
        ((".pt", ".pth", ".bin", ".ckpt"), "safetensors.torch.save_file(model.state_dict(), FILE)"),
        (
            (".keras", ".h5", ".hdf5"),
            "safetensors.numpy.save_file({v.path: v.numpy() for v in model.weights}, FILE)",
        ),
    )
    for extension in extensions
}


def _format_of(place: str, extension: str) -> Format:
    if extension.lower() in _EXPORTS:
        raise ValueError(
            f"{place}: {extension} files are not read; save a .safetensors file instead, by "
            f"{_EXPORTS[extension.lower()]}"
        )
    return choice(f"{place}: extension", extension.lower(), FORMATS)


def _sha256(path: str) -> str:
    """Digest a file piece by piece.

    Raises
    ------
    ValueError
        It is a directory, a pipe or a device.
    OSError
        It cannot be read.
    """
    import hashlib  # 3 ms that most runs do not need

    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{path}: cannot be read: not a plain file")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
