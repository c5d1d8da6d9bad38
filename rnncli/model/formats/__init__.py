"""Formats: a weight file becomes a network, and a network a weight file."""

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple
from warnings import warn

from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS
from rnncli.model.errors import InputError, choice
from rnncli.model.formats.found import Draft, FileLayer, Found, assumptions, input_size
from rnncli.model.formats.kinds import FORMATS, find_reader
from rnncli.model.layers import DIRECTIONS, MERGES, Layer, Stateless, name_of, per_cell
from rnncli.model.network import Network

__all__ = ["FORMATS", "WRITTEN", "Loaded", "load", "load_network", "save_network"]

# Those that are written too: ``save_model(file, network)`` in the module writes a file,
# and returns sentences as `save_network` does.
WRITTEN = (".npz", ".safetensors", ".onnx")


class Loaded(NamedTuple):
    """A network from a file, and what is known of it."""

    network: Network
    sha256: str  # of the file's bytes
    # What neither the file nor the caller says; parameters stand between backticks, as in
    # `InputError`.
    assumptions: list[str]
    # Those of each cell as the file has them, layer by layer, with the gates in our order:
    # PyTorch's two, whose sum is `b_h`.
    biases: list[tuple[Floats, ...]]
    beside: Mapping[str, str]  # digests of the files beside it that hold weights, by their names


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
    overrides: dict[str, Any] = {"activation": activation, "direction": direction, "merge": merge}
    overrides |= {"recurrent_activation": recurrent_activation, "reset": reset, "clip": clip}
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
    found, digest = find_parts(path, layer)
    layers = fill_layers(path, found.layers(path), given)
    network = make_network(path, layers, found.last)
    drafts = [each for each in layers if isinstance(each, Draft)]
    biases = [cell.biases or (cell.weights.b_h,) for draft in drafts for cell in draft.cells]
    beside = {os.path.basename(each): digest_of(_read(each)) for each in found.beside}
    return Loaded(network, digest, [*found.notes, *assumptions(layers)], biases, beside)


def find_parts(path: str, layer: str | None = None) -> tuple[Found, str]:
    """Find what is in a model file, or in a part of it; return the digest of its bytes too."""
    try:
        module, data = import_module(f"{__name__}.{find_reader(path)}"), _read(path)
        found: Found = module.read(data, path).pick(path, layer)
    except OSError as error:
        place = error.filename or path  # a file beside it may be the one
        raise InputError(place, f"cannot be read: {error.strerror or error}") from error
    return found, digest_of(data)


def fill_layers(
    path: str, layers: Sequence[FileLayer], overrides: Mapping[str, Any] = MappingProxyType({})
) -> list[FileLayer]:
    """Fill in what the caller says where the file is silent; a value must fit all cells."""
    drafts = [layer for layer in layers if isinstance(layer, Draft)]
    cells = [cell for draft in drafts for cell in draft.cells]
    said = {name: overrides[name] for name in ("direction", "merge") if name in overrides}
    given: list[dict[str, Any]] = [{} for _ in cells]
    for name in overrides.keys() - said.keys():
        having = [kind for kind in CELLS if name in CELLS[kind].setting_names]
        if not any(cell.kind in having for cell in cells):
            kinds = " or ".join(CELLS[kind].__name__ for kind in having)
            raise InputError(path, f"has no {kinds}", f"leave `{name}` out")
        counts = [len(draft.cells) for draft in drafts]
        values = per_cell(f"{path}: {name}", overrides[name], counts)
        for known, cell, value in zip(given, cells, values, strict=True):
            known |= {name: value} if cell.kind in having else {}
    if "merge" in said and all(len(draft.cells) < 2 for draft in drafts):
        raise InputError(path, "has no bidirectional layer", "leave `merge` out")
    filled, settings = list(layers), iter(given)
    for number, layer in enumerate(layers, start=1):
        if isinstance(layer, Draft):
            own = [next(settings) for _ in layer.cells]
            above = input_size(layers[number]) if number < len(layers) else None
            filled[number - 1] = layer.fill(f"{path}: layer {number}", own, said, above)
    return filled


def make_layers(path: str, layers: Sequence[FileLayer]) -> list[Layer]:
    """Make the layers; one that leaves its width open is as wide as the one below."""
    made: list[Layer] = []
    for number, layer in enumerate(layers):
        if isinstance(layer, Draft):
            made.append(layer.layer(path))
        elif isinstance(layer, Stateless):
            made.append(layer)
        else:  # at the bottom as the one above
            above = next(filter(None, map(input_size, layers[number:])), 1)
            made.append(layer(made[-1].output_size if made else above))
    return made


def make_network(path: str, layers: Sequence[FileLayer], last: str | None) -> Network:
    """Make the network."""
    try:
        made = make_layers(path, layers)
        count = next((n for n, layer in enumerate(made, 1) if layer.shortens), 0)
        front = [layer for layer in made[:count] if isinstance(layer, Stateless)]
        return Network(*made[count:], last=last, front=front)
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(path, str(error)) from error


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def is_model(path: str) -> bool:
    """Return whether a file has the extension of a format."""
    return os.path.splitext(path)[1].lower() in FORMATS


def layer_names(path: str) -> list[str]:
    """Return the names of the parts of a model file that can be picked to be run."""
    return find_parts(path)[0].names()


def save_network(file: BinaryIO, network: Network, extension: str) -> list[str]:
    """Write a network as a weight file; the same network gives the same bytes."""
    extension = choice("extension", extension.lower(), {each: each for each in WRITTEN})
    for number, layer in enumerate((*network.front, *network.layers), start=1):
        for part in layer.cells or [layer]:
            if layer.sources or layer.whole or not name_of(part):
                what = f"{layer!r} is not of a chain of layers, which is all that is written"
                raise ValueError(f"layer {number}: {what}: keep the model's own file")
    module: Any = import_module(f"{__name__}.{FORMATS[extension]}")
    sentences: list[str] = module.save_model(file, network)
    return sentences


def digest_of(data: bytes) -> str:
    """Return the SHA-256 digest of the bytes of a file."""
    import hashlib  # 3 ms that most runs do not need

    return hashlib.sha256(data).hexdigest()
