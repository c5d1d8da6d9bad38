"""Open a model file and make a network of it; write a network as a model file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple
from warnings import warn

from rnncli.model.activations import Activation
from rnncli.model.contents import Contents, assumptions, fill_settings, make_network
from rnncli.model.errors import (
    InputError,
    OptionError,
    choice,
    did_you_mean,
    listed,
    near_file,
    shown,
    verbatim,
)
from rnncli.model.formats.containers.zips import FIRST, open_zip
from rnncli.model.graph.inputs import describe_inputs
from rnncli.model.layers import Recurrent, name_of
from rnncli.model.network import Network

# The module that reads each kind of file, by extension: its ``read(data, path, layer, output)``
# returns the contents, or those of one component, up to the first output for ""; of another name,
# if the file has one.
FORMATS = {
    ".npz": "npz",
    ".safetensors": "safetensors",
    **dict.fromkeys((".keras", ".h5", ".hdf5"), "keras.files"),
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt"), "torch.files"),
    ".pt2": "torch.exported",
    ".onnx": "onnx.files",
}
# By the first bytes, whatever a file is called.
_CONTENTS = {
    rb".{5}\x00{3}\{": "safetensors",  # a length of under a TiB
    rb"\x89HDF\r\n": "keras.files",
    rb"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.": "torch.files",  # as before PyTorch 1.6
    rb"\s*\{": "npz",  # arrays by name, as JSON
    # A version; then a text, which Core ML does not have there, or the start of another field.
    rb"\x08[\x03-\x14](\x12(\x00|.[ -~])|[\x1a\x22\x32\x3a\x42])": "onnx.files",
}
# Archives, by how a member's name ends.
_MEMBERS = {
    "serialized_exported_program.json": "torch.exported",
    "/archive_format": "torch.exported",
}
_MEMBERS |= {".npy": "npz", "data.pkl": "torch.files", "model.weights.h5": "keras.files"}
# Contents of files that are often mistaken for models.
_MISTAKEN = {
    rb"\x93NUMPY": "a single .npy array",
    rb".{257}ustar": "a tar archive",
    rb"version https://git-lfs": "a Git LFS pointer (git lfs pull downloads the file)",
    rb"(?i:<!doctype|<html)": "a web page (HTML)",
    rb"\x08\x01\x12": "TensorFlow's SavedModel; model.save('model.keras') writes one to read",
    rb".{4}TFL3": "TensorFlow Lite; give the Keras model that it was made of",
    rb"\Z": "an empty file",
    rb"(?!\s*\{)[\t\r\n -~]+\Z": "text; is it an input? rnn run FILE reads it",
}
# The module that writes each kind of file: its ``save_model(file, network)`` returns sentences as
# `save_network` does.
WRITTEN = {".npz": "npz", ".safetensors": "safetensors", ".onnx": "onnx.writing"}


class Loaded(NamedTuple):
    """A network from a file, with its digest and notes."""

    network: Network
    sha256: str  # of the file's bytes, or empty
    assumptions: list[str]  # parameters stand between backticks, as in `InputError`
    external_digests: Mapping[str, str]  # of other files that hold its weights, by their names
    inputs: Mapping[str, int]  # as in `Contents`


def load(
    path: str | os.PathLike[str],
    *,
    layer: str | None = None,
    output_name: str | None = None,
    chain: str | None = None,
    input_size: int | None = None,
    activation: str | Activation | Sequence[str | Activation] | None = None,
    recurrent_activation: str | Activation | Sequence[str | Activation] | None = None,
    reset: str | Sequence[str] | None = None,
    direction: str | None = None,
    merge: str | None = None,
    clip: float | Sequence[float] | None = None,
) -> Network:
    """Read a network from a model file.

    The parameters after `layer` fill in what the file leaves open, and must
    otherwise agree with it. A setting that is then still open has a default,
    with a `UserWarning` for each: the activation is tanh, that of gates
    sigmoid, a GRU resets after the product, and two directions are
    concatenated. One direction is forward, and there is no clip, without a
    warning.

    Parameters
    ----------
    path : str or path
        ``.keras``, ``.h5``, ``.hdf5``: a model that Keras saved, or its
        weights. ``.pt``, ``.pth``, ``.bin``, ``.ckpt``: what `torch.save`
        wrote, or TorchScript. ``.pt2``: what `torch.export.save` wrote.
        ``.onnx``: a model of any framework. ``.npz``, ``.safetensors``: what
        `save` wrote, or arrays named as in `Weights` or as PyTorch names them.
        Most are also known by their content.
    layer : str, optional
        One component of the file: a layer, a module or a node, as ``rnn inspect``
        names it, or all whose names begin ``layer.`` or ``layer/``.
    output_name : str, optional
        One of several outputs of the model. Default: the first.
    chain : str, optional
        The layers of a file of weights alone from the bottom to the top, by
        their names, each with an activation or without:
        ``embedding,lstm,fc:softmax``.
    input_size : int, optional
        Number of features, where the file leaves it open, as ONNX graphs may.
    activation, recurrent_activation : str or Activation, optional
        As text such as ``relu`` or ``leaky_relu:0.1``. One value is that of
        every cell that has such a setting; a sequence has one value a layer,
        or one a cell, the bottom layer first and forward before backward.
    reset : {"after", "before"}, optional
        As for `GRU`; one value or a sequence.
    direction, merge : str, optional
        Of every layer, as for `Recurrent`.
    clip : float, optional
        As for `RNN`; one value or a sequence.

    Returns
    -------
    Network
        In the file's own float types; halves become float32, and a sum of two
        biases may be float64.

    Raises
    ------
    InputError
        A ValueError: the file cannot be read, holds no network that can be
        run here, or says otherwise than the caller.
    ValueError
        A name is unknown, or a value is not finite.

    Examples
    --------
    >>> network = rnncli.load("model.pt", layer="encoder.rnn", activation="relu")
    >>> states = rnncli.run(network, x)
    """
    overrides: dict[str, Any] = {"activation": activation, "direction": direction, "merge": merge}
    overrides |= {"recurrent_activation": recurrent_activation, "reset": reset, "clip": clip}
    names = {"output_name": output_name, "chain": chain}
    loaded = load_network(path, layer, overrides, input_size or 0, **names, digest=False)
    for sentence in loaded.assumptions:
        warn(f"{path}: {sentence}", stacklevel=2)
    return loaded.network


def load_network(
    path: str | os.PathLike[str],
    layer: str | None = None,
    overrides: Mapping[str, Any] = MappingProxyType({}),
    input_size: int = 0,
    *,
    output_name: str | None = None,
    chain: str | None = None,
    digest: bool = True,
) -> Loaded:
    """Read a network with its notes, and the digest of its file if it is wanted."""
    try:
        path = os.fspath(path)
    except TypeError:
        what = f"expected a Network or the name of a model file, got {type(path).__name__}"
        raise TypeError(f"network: {what}") from None
    settings = {name: value for name, value in overrides.items() if value is not None}
    picks = {"output_name": output_name, "chain": chain}
    contents, sha256 = read_contents(path, layer, input_size, **picks, digest=digest)
    layers = fill_settings(path, contents.layers(path), settings)
    network = make_network(path, layers, contents.last)
    names = [component.name for component in contents.components for _ in component.layers]
    for each, name in zip((*network.front, *network.layers), names, strict=True):
        each.name = name
    digests = {}
    for name in contents.external_files if digest else ():
        with open(name, "rb") as file:
            digests[os.path.basename(name)] = digest_of(file.read())
    sentences = [*contents.notes, *assumptions(layers), *describe_inputs(contents.inputs)]
    return Loaded(network, sha256, sentences, digests, contents.inputs)


def read_contents(
    path: str,
    layer: str | None = None,
    input_size: int = 0,
    *,
    output_name: str | None = None,
    chain: str | None = None,
    digest: bool = True,
) -> tuple[Contents, str]:
    """Read the contents of a model file, or layers of them, and the digest of its bytes."""
    if output_name is not None and (layer or chain):
        raise OptionError("`output_name` is for the whole model, without `layer` and `chain`")
    try:
        data = _read_file(path)
        module: Any = import_module(f"{__package__}.{_find_reader(path, data)}")
        contents: Contents = module.read(data, path, layer, output_name or "")
        if output_name is not None and output_name not in contents.outputs:
            raise _no_output(path, output_name, contents.outputs)
        if contents.resolve and input_size:
            contents = contents.resolve(input_size).pick(path, layer)
        if chain is not None or not contents.ordered:
            from rnncli.model.formats.chain import make_chain, propose_chain

            if chain is not None:
                contents = make_chain(path, contents, chain)
            elif layer is None:
                contents = contents._replace(chain=propose_chain(path, contents))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(path, str(error)) from error
    except OSError as error:
        where = error.filename or path  # an external file may be the one
        what = f"cannot be read: {error.strerror or error}"
        raise InputError(where, what, near_file(where, is_model)) from error
    return contents, digest_of(data) if digest else ""


def _no_output(path: str, name: str, names: Sequence[str]) -> InputError:
    """Return the error for an output that the model does not have."""
    has = f"it has {listed(names)}" if names else "its outputs have no names"
    hint = verbatim(did_you_mean(name, names))
    return InputError(path, f"has no output {shown(name)}; {has}", hint)


def _read_file(path: str) -> bytes:
    """Read a file, unless its first bytes are of another kind."""
    if os.path.isdir(path):
        hint = "give the file in it; save a SavedModel again by model.save('model.keras')"
        raise InputError(path, "is a folder", hint)
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(path, "cannot be read: not a plain file")
    with open(path, "rb") as file:
        start = file.read(512)
        for text, kind in _MISTAKEN.items():
            if re.match(text, start, re.DOTALL):
                kind, _, hint = kind.partition("; ")
                raise InputError(path, f"expected a model file, got {kind}", hint)
        file.seek(0)
        return file.read()


def _find_reader(path: str, data: bytes) -> str:
    """Find the module that reads a file, by its content or else by its extension."""
    if data.startswith(FIRST):
        with open_zip(path, data) as archive:
            names = archive.namelist()
        readers = [r for end, r in _MEMBERS.items() if any(name.endswith(end) for name in names)]
    else:
        readers = [r for text, r in _CONTENTS.items() if re.match(text, data, re.DOTALL)]
    extension = os.path.splitext(path)[1].lower()
    return readers[0] if readers else choice("extension", extension, FORMATS)


def digest_of(data: bytes) -> str:
    """Return the SHA-256 digest of the bytes of a file."""
    import hashlib  # 3 ms that most runs do not need

    return hashlib.sha256(data).hexdigest()


def is_model(path: str) -> bool:
    """Return whether a file has the extension of a format."""
    return os.path.splitext(path)[1].lower() in FORMATS


def save_network(file: BinaryIO, network: Network, extension: str) -> list[str]:
    """Write a network as a weight file; the same network gives the same bytes."""
    writer = choice("extension", extension.lower(), WRITTEN)
    for number, layer in enumerate((*network.front, *network.layers), start=1):
        named = map(name_of, layer.cells) if type(layer) is Recurrent else [name_of(layer)]
        wired = number <= len(network.front) or layer.sources or layer.takes_sequences
        if getattr(layer, "starts", ()):
            what = f"layer {number} cannot be saved: it starts from states that are not zeros"
            raise InputError("", f"{what}: keep the model's own file")
        if wired or not all(named):
            what = f"layer {number} cannot be saved: {layer!r}; a plain chain of layers can"
            raise InputError("", f"{what}: keep the model's own file")
    module: Any = import_module(f"{__package__}.{writer}")
    sentences: list[str] = module.save_model(file, network)
    return sentences
