"""Peers: the same network, or its own file, in another library, to check against and to race.

A peer is a module here, which imports its library only when it is called, and an entry in `PEERS`:

make(layer)
    Returns ``forward(x, start, lengths, mask)``, which gives the output (N, T, O) of a layer and
    its final states, (D, N, size) for each name of its state, as `start` has them.
open_file(path)
    Returns ``forward(x, lengths)``, which gives all outputs of the model in a file, or None.
TITLE, PRECISIONS, LACKS
    Its name, its precisions, and what it lacks of what `_check` knows.
"""

import os
import warnings
from collections.abc import Callable, Collection, Sequence
from functools import partial
from importlib import import_module
from math import isinf
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.run import States
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import GRU, LSTM, RNN
from rnncli.model.errors import choice
from rnncli.model.layers import (
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Masking,
    Masks,
    Normalization,
    Pointwise,
    Recurrent,
)
from rnncli.model.network import Network

# What each may be installed as.
PEERS = {
    "keras": ("keras",),
    "torch": ("torch",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}
KNOWN = (Recurrent, Dense, Embedding, LayerNormalization, Masking, Normalization, Pointwise)


class Unsupported(ValueError):  # noqa: N818 - no mistake of the caller's: the peer lacks something
    """A network, a precision, an input or a file that a peer cannot run."""


def version(name: str) -> str | None:
    """Return the installed version of a peer, without loading it; None if there is none."""
    from importlib import metadata

    for distribution in choice("peer", name, PEERS):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def requirement(name: str) -> str:
    """Return the command that installs a peer."""
    choice("peer", name, PEERS)
    return "pip install 'rnncli[peers]'"


def build(
    name: str, network: Network, *, precision: str = "float32", all_layers: bool = False
) -> Callable[..., States]:
    """Build a network in a peer, to be run as `rnncli.engine.run.run` runs a batch.

    It takes x, (N, T, I), h0, (N, S), and lengths from 1 to T, or none.
    """
    peer = _module(name)
    if precision not in peer.PRECISIONS:
        raise lacks(peer.TITLE, f"precision {precision}", peer.PRECISIONS)
    spelled = Network(*map(_spell_out, network.layers), last=network.last)
    layers = spelled.converted(PRECISIONS[precision].convert).layers
    for layer in layers:
        _check(peer, layer)
    try:
        made = [peer.make(layer) for layer in layers]
    except ImportError as error:
        raise ValueError(f"peer {name}: {error}: {requirement(name)}") from error

    return partial(_run, peer.TITLE, network, made, precision, all_layers)


def _run(
    title: str,
    network: Network,
    made: Sequence[Callable[..., Any]],
    precision: str,
    all_layers: bool,
    x: Floats,
    h0: Floats,
    lengths: Integers | None = None,
) -> States:
    if x.shape[1] < 1 or (lengths is not None and (lengths < 1).any()):
        raise Unsupported(f"{title} runs no sequence without steps")
    if network.masking and h0.any():
        raise Unsupported(f"{title} has no masked rows after an initial state")
    mask = running = None if lengths is None else np.arange(x.shape[1]) < lengths[:, None]
    h, h_n, outputs = np.asarray(x, precision), np.empty(h0.shape, precision), []
    for layer, forward, slices in zip(network.layers, made, network.state_slices, strict=True):
        if layer.masks:
            kept = ~cast(Masks, layer).masked(h)
            mask = kept if mask is None else mask & kept
        states = list(zip(*slices, strict=True))  # where the cells have them, a name each
        start = [np.stack([h0[:, place] for place in each]) for each in states]
        h, finals = forward(h, [each.astype(precision) for each in start], lengths, mask)
        for each, final in zip(states, finals, strict=True):
            for place, array in zip(each, final, strict=True):
                h_n[:, place] = array
        outputs.append(h if running is None else np.where(running[..., None], h, 0))
    y, top = outputs[-1] if network.head else None, outputs[-1 - network.head]
    return States(top, h_n, tuple(outputs) if all_layers else (), y)


def _module(name: str) -> Any:
    choice("peer", name, PEERS)
    return import_module(f"{__name__}.{name}")


def _check(peer: Any, layer: Layer) -> None:
    """Raise `Unsupported` where a peer lacks what a layer has."""
    if not isinstance(layer, KNOWN):
        raise lacks(peer.TITLE, f"layer {type(layer).__name__}")
    if layer.masks and "masks" in peer.LACKS:
        raise Unsupported(f"{peer.TITLE} masks no rows between others")
    for cell in layer.cells:
        if type(cell) not in (RNN, LSTM, GRU):
            raise lacks(peer.TITLE, f"cell {type(cell).__name__}")
        has = {"peepholes": cell.weights.w_ch is not None, "clip": not isinf(cell.settings["clip"])}
        has["projection"] = cell.weights.W_hr is not None
        for what in peer.LACKS:
            if has.get(what):
                raise lacks(f"{peer.TITLE}'s {type(cell).__name__}", what)


def _spell_out(layer: Layer) -> Layer:
    """Return ``alpha x + beta`` as a layer of arrays, for libraries that have no such function."""
    name, parameters = row_activation(layer) or ("", ())
    if not isinstance(layer, Pointwise) or name != "affine":
        return layer
    none, one, alpha, beta = (np.full(layer.input_size, value) for value in (0.0, 1.0, *parameters))
    return Normalization(none, one, beta, alpha)


def lacks(title: str, what: str, has: Collection[str] = ()) -> Unsupported:
    """Return the error that a library lacks something, with what it has instead."""
    return Unsupported(f"{title} has no {what}" + f"; it has {', '.join(has)}" * bool(has))


def row_activation(layer: Layer) -> Activation | None:
    """Return the function of a layer without state, one of rows by its name; None for none."""
    given = layer.settings.get("activation")
    return Activation(given) if isinstance(given, str) else given


def normalize(x: Any, center: Any, scale: Any, factor: Any = None, shift: Any = None) -> Any:
    """Compute a normalization by the arithmetic of a library."""
    y = (x - center) / scale
    y = y if factor is None else y * factor
    return y if shift is None else y + shift


def run_file(
    name: str, path: str, x: NDArray[Any], lengths: Integers, ours: Floats
) -> Floats | None:
    """Run the model in a file by its own library, over steps x (N, T, I) or whole numbers (N, T).

    None where the library has no such files. A file does not say whether its model takes the batch
    or the steps first, and may give several outputs: the one nearest to `ours` is returned.
    """
    theirs: Floats = np.zeros(ours.shape, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            forward = _module(name).open_file(path)
        except Exception as error:  # whatever a library raises
            raise _not_run(path, error) from error
        if forward is None:
            return None
        for length in np.unique(lengths):
            some = np.flatnonzero(lengths == length)
            steps = slice(length if ours.shape[1] > 1 else 1)
            try:
                theirs[some, steps] = _nearest(forward, path, x[some, :length], ours[some, steps])
            except Unsupported:  # a model of one sequence at a time
                if len(some) == 1:
                    raise
                for n in some:
                    one = slice(n, n + 1)
                    theirs[one, steps] = _nearest(forward, path, x[one, :length], ours[one, steps])
    return theirs


def _nearest(
    forward: Callable[..., Sequence[Any]], path: str, x: NDArray[Any], ours: Floats
) -> Floats:
    found, errors = [], []
    N, rows, _ = ours.shape
    for turned, given in [(0, x), (1, x.swapaxes(0, 1)), *([(0, x[0])] if N == 1 else [])]:
        try:
            outputs = forward(np.ascontiguousarray(given), np.full(N, x.shape[1]))
        except Exception as error:  # whatever a library raises, of another layout, say
            errors.append(error)
            continue
        for y in (np.asarray(each) for each in outputs):
            if y.size == ours.size and y.dtype == np.float32:
                y = y.reshape(rows, N, -1).swapaxes(0, 1) if turned else y
                found.append(y.reshape(ours.shape))
    if not found:
        raise _not_run(path, *errors, ValueError("no output of float32 has the shape of ours"))
    return min(found, key=lambda y: float(np.abs(y - ours).max()))


def _not_run(path: str, error: Exception, *_: Exception) -> Unsupported:
    reason = next(filter(None, str(error).splitlines()), type(error).__name__).strip()
    return Unsupported(f"cannot run {os.path.basename(path)}: {reason[:200]}")
