"""Forward passes of recurrent networks, in NumPy: the library beneath the command ``rnn``.

A network comes from a seed or from a file, and runs over arrays:

>>> import rnncli
>>> network = rnncli.seeded(input_size=1, hidden_size=4, seed=1)
>>> rnncli.run(network, [[1], [2], [3]]).h_n.shape
(4,)

`run` takes whole sequences, `stream` takes blocks of rows as they come and
carries the states between them, `score` takes files or a table. `load` and
`save` read and write weight files. `explain` shows how a step came about, `verify`
whether the numbers are right. A `Network` is a stack of layers; a
`Recurrent` layer has one cell, `RNN`, `LSTM` or `GRU`, or one for each
direction. `Dense`, `Embedding`, `LayerNormalization`, `Masking`,
`Normalization` and `Pointwise` are layers without state, below and above it.
"""

# A constant of our own: typing takes milliseconds to load, see __getattr__.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike

    from rnncli.batches.batch import batch as batch
    from rnncli.engine.rows import Rows as Rows
    from rnncli.engine.run import States as States
    from rnncli.engine.stream import Carried as Carried
    from rnncli.engine.stream import stream as stream
    from rnncli.explanation.explain import explain as explain
    from rnncli.inspection import inspect as inspect
    from rnncli.model.activations import activation as activation
    from rnncli.model.cells import GRU as GRU
    from rnncli.model.cells import LSTM as LSTM
    from rnncli.model.cells import RNN as RNN
    from rnncli.model.cells import Weights as Weights
    from rnncli.model.errors import InputError as InputError
    from rnncli.model.errors import NotFiniteError as NotFiniteError
    from rnncli.model.formats.load import load as load
    from rnncli.model.layers import Dense as Dense
    from rnncli.model.layers import Embedding as Embedding
    from rnncli.model.layers import LayerNormalization as LayerNormalization
    from rnncli.model.layers import Masking as Masking
    from rnncli.model.layers import Normalization as Normalization
    from rnncli.model.layers import Pointwise as Pointwise
    from rnncli.model.layers import Recurrent as Recurrent
    from rnncli.model.network import Network as Network
    from rnncli.model.seeds import seeded as seeded
    from rnncli.opening import forecast as forecast
    from rnncli.opening import run as run
    from rnncli.pipeline import score as score
    from rnncli.verification.verify import verify as verify

__version__ = "0.1.0"

_PUBLIC = {
    "batches.batch": "batch",
    "engine.rows": "Rows",
    "engine.run": "States",
    "engine.stream": "Carried stream",
    "explanation.explain": "explain",
    "inspection": "inspect",
    "model.activations": "activation",
    "model.cells": "GRU LSTM RNN Weights",
    "model.errors": "InputError NotFiniteError",
    "model.formats.load": "load",
    "model.layers": "Dense Embedding LayerNormalization Masking Normalization Pointwise Recurrent",
    "model.network": "Network",
    "model.seeds": "seeded",
    "opening": "forecast run",
    "pipeline": "score",
    "verification.verify": "verify",
}
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names.split()}
__all__ = ["__version__", "save", *_MODULES]


def save(network: "Network", path: "str | PathLike[str]") -> None:
    """Write a network as a weight file, which `load` and ``rnn --weights`` read.

    The file is replaced whole or not at all, and the same network gives the
    same bytes.

    Parameters
    ----------
    network : Network
    path : str or path
        ``.npz``, with this library's own names, ``.safetensors``, with
        PyTorch's, or ``.onnx``: a model of float32 that takes ``x``, (N, T, I), and gives
        ``y``, or ``h`` where there is no head.

    Raises
    ------
    ValueError
        No file of this kind can hold the network.
    OSError
        It cannot be written there.

    Warns
    -----
    UserWarning
        The file lacks a setting that other programs have to be given, or
        float64 becomes float32.
    """
    import os
    import warnings

    from rnncli.model.formats.load import save_network
    from rnncli.storage import writing

    target = os.fspath(path)
    with writing(target) as file:
        sentences = save_network(file.buffer, network, os.path.splitext(target)[1])
    for sentence in sentences:
        warnings.warn(f"{target}: {sentence}", stacklevel=2)


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: NumPy takes long to load."""
    if name not in _MODULES:
        raise AttributeError(f"module 'rnncli' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"rnncli.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
