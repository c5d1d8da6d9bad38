"""Formats: a weight file becomes a network, and a network a weight file."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple
from warnings import warn

from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError, choice
from rnncli.model.formats.build import build
from rnncli.model.formats.kinds import FORMATS, find_reader
from rnncli.model.formats.overrides import assumptions, with_overrides
from rnncli.model.formats.parts import Model
from rnncli.model.formats.shapes import checked_sizes
from rnncli.model.formats.spec import LayerSpec
from rnncli.model.layers import DIRECTIONS, MERGES, name_of
from rnncli.model.network import Network

__all__ = ["FORMATS", "WRITTEN", "Loaded", "load", "load_network", "save_network"]

# Those that are written too: ``save_model(file, network)`` in the module writes a file,
# and returns sentences as `save_network` does.
WRITTEN = (".npz", ".safetensors", ".onnx")


class Loaded(NamedTuple):
    """A network from a file.

    Parameters
    ----------
    network : Network
    sha256 : str
        Of the file's bytes.
    assumptions : list of str
        What the file does or lacks, for each thing that neither it nor the
        caller says. Parameters stand between backticks, as in `InputError`.
    biases : list of tuples of arrays
        The biases of each cell, layer by layer, as the file has them:
        PyTorch's input bias and recurrent bias, whose sum is `b_h`, with the
        gates in our order.
    beside : mapping
        Digests of the files beside it that hold weights, by their names.
    """

    network: Network
    sha256: str
    assumptions: list[str]
    biases: list[tuple[Floats, ...]]
    beside: Mapping[str, str]


def load(
    path: str | os.PathLike[str],
    *,
    layer: str | None = None,
    activation: str | Activation | Sequence[str | Activation] | None = None,
    recurrent_activation: str | Activation | Sequence[str | Activation] | None = None,
    reset: str | Sequence[str] | None = None,
    direction: str | None = None,
    merge: str | None = None,
    clip: float | Sequence[float] | None = None,
) -> Network:
    """Read a network from a model file.

    What the file says decides; the parameters after `layer` fill in what it
    leaves open, and must otherwise agree with it. What then is still open is
    taken for granted, with a `UserWarning` for each: the activation is tanh,
    that of gates sigmoid, a GRU resets after the product, and two directions
    are concatenated. One direction is forward, and there is no clip, without
    a warning.

    Parameters
    ----------
    path : str or path
        Its content tells what it is; its extension, where that cannot tell.
        ``.keras``, ``.h5``, ``.hdf5``: a model that Keras saved, or its
        weights. ``.pt``, ``.pth``, ``.bin``, ``.ckpt``: what `torch.save`
        wrote, or TorchScript. ``.onnx``: a model of any framework.
        ``.npz``: arrays named ``W_xh``, ``W_hh`` and, where there are such,
        ``b_h``, ``b_n``, ``w_ch`` and ``W_hr``, as in `Weights`; those of
        several layers or directions ``layer_1.forward.W_xh``,
        ``layer_1.backward.W_xh``, and so on. ``.safetensors``: tensors named
        as PyTorch's ``nn.RNN``, ``nn.LSTM``, ``nn.GRU`` and their cells name
        them, among any others. The shapes tell an LSTM or a GRU from a vanilla cell.
        A file that `save` wrote says all there is to say.
    layer : str, optional
        One part of the file: a layer, a module or a node, as ``rnn inspect``
        names it, or all whose names begin ``layer.`` or ``layer/``.
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
        In the file's own float types; halves become float32, and what is
        computed of a file's arrays, such as the sum of two biases, may be
        float64.

    Raises
    ------
    InputError
        A ValueError: the file cannot be read, is damaged or of another kind,
        holds no network that can be run here, or says otherwise than the
        caller.
    ValueError
        A name is unknown, or a value is not finite.

    Examples
    --------
    >>> network = rnncli.load("model.pt", layer="encoder.rnn", activation="relu")
    >>> states = rnncli.run(network, x)
    """
    overrides = {
        "activation": activation,
        "recurrent_activation": recurrent_activation,
        "reset": reset,
        "direction": direction,
        "merge": merge,
        "clip": clip,
    }
    loaded = load_network(path, layer, overrides)
    for sentence in loaded.assumptions:
        warn(f"{path}: {sentence}", stacklevel=2)
    return loaded.network


def load_network(
    path: str | os.PathLike[str],
    layer: str | None = None,
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> Loaded:
    """Read a network and all that is known of it."""
    path = os.fspath(path)
    given = {name: value for name, value in overrides.items() if value is not None}
    for name, choices in (("direction", DIRECTIONS), ("merge", MERGES)):
        if name in given:
            choice(name, given[name], choices)
    with opened(path, layer) as (model, digest):
        layers = completed(model, given)
        network, biases = build(model.tensors, layers, model.last)
        beside = {os.path.basename(each): _sha256(each) for each in model.beside}
    return Loaded(network, digest, [*model.notes, *assumptions(layers)], biases, beside)


def completed(model: Model, overrides: Mapping[str, Any] = MappingProxyType({})) -> list[LayerSpec]:
    """Return all that is known of the layers of a network whose weights are yet to be read."""
    layers = model.layers()
    sizes = [checked_sizes(model.tensors, each) for each in layers]
    return with_overrides(model.tensors, layers, sizes, overrides)


def is_model(path: str) -> bool:
    """Return whether a file has the extension of a format."""
    return os.path.splitext(path)[1].lower() in FORMATS


def layer_names(path: str) -> list[str]:
    """Return the names of the parts of a model file that can be picked to be run."""
    with _module(find_reader(path)).open_model(path) as find:
        model: Model = find(None)
        return [] if model.tensors.metadata else model.names()


def below_head(path: str) -> str:
    """Return the name that picks all that is below the head of a model, if one part is."""
    with opened(path) as (model, _):
        bottom, *above = (part for part in model.parts if part.layers)
        alone = bottom.layers[-1].cells and not any(part.recurrent for part in above)
        return bottom.name if alone else ""


@contextmanager
def opened(path: str, layer: str | None = None) -> Iterator[tuple[Model, str]]:
    """Open a model file; return what is in it, or in a part of it, and the digest of its bytes."""
    try:
        module = _module(find_reader(path))
        before, digest = {path: _state(path)}, _sha256(path)
        with module.open_model(path) as find:
            model = find(layer)
            before |= {each: _state(each) for each in model.beside}
            yield model, digest
        for each, state in before.items():
            if _state(each) != state:
                raise InputError(each, "was changed while it was read", "try again")
    except OSError as error:
        place = error.filename or path  # a file beside it may be the one
        raise InputError(place, f"cannot be read: {error.strerror or error}") from error


def save_network(file: BinaryIO, network: Network, extension: str) -> list[str]:
    """Write a network as a weight file; the same network gives the same bytes."""
    extension = choice("extension", extension.lower(), {each: each for each in WRITTEN})
    for number, layer in enumerate(network.layers, start=1):
        for part in layer.cells or [layer]:
            if not name_of(part):
                what = f"files have no name for {type(part).__name__}"
                raise ValueError(f"layer {number}: {what}")
    sentences: list[str] = _module(FORMATS[extension]).save_model(file, network)
    return sentences


def _module(name: str) -> Any:
    """Import a module that reads files.

    ``open_model(path)`` opens one, none of whose tensors it reads yet, and returns a function that
    finds what is in it. It raises InputError where the file is damaged.
    """
    return import_module(f"{__name__}.{name}")


def _state(path: str) -> tuple[int, ...]:
    """Return what changes where a file is written, or another is put in its place."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _sha256(path: str) -> str:
    """Return the digest of a file."""
    import hashlib  # 3 ms that most runs do not need

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
