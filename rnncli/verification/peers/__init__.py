"""Peers: the same network, or its own file, in another library, to check against and to race.

A peer is a module here, which imports its library only when it is called, and an entry in `PEERS`:

make(layers)
    Returns ``forward(x, states)``, which gives the output (N, T, O) of every layer; the states
    are those of each layer, (D, N, size) for each name.
open_file(path)
    Returns ``forward(x, N)``, which gives all outputs of the model in a file, or None.
TITLE, PRECISIONS, SETTINGS
    Its name, its precisions, and the layers and cells that are built in it, with the values that
    each setting may have; None where it refuses what it lacks itself.
"""

import os
import warnings
from collections.abc import Callable, Collection, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import choice
from rnncli.model.layers import Layer
from rnncli.model.network import Network

# What each may be installed as.
PEERS = {
    "keras": ("keras",),
    "torch": ("torch",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}
REQUIREMENT = "pip install 'rnncli[peers]'"


class Unsupported(ValueError):  # noqa: N818 - no mistake of the caller's: the peer lacks something
    """A network, a precision, an input or a file that a peer cannot run."""


def lacks(title: str, what: str, has: Collection[str] = ()) -> Unsupported:
    """Return the error that a library lacks something, with what it has instead."""
    return Unsupported(f"{title} has no {what}" + f"; it has {', '.join(has)}" * bool(has))


def version(name: str) -> str | None:
    """Return the installed version of a peer, without loading it; None if there is none."""
    from importlib import metadata

    for distribution in choice("peer", name, PEERS):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def build(
    name: str, network: Network, precision: str = "float32"
) -> Callable[..., Sequence[Floats]]:
    """Build a network in a peer: a function of x (N, T, I), h0 (N, S) and lengths from 1 to T.

    It returns the output (N, T, O) of every layer, zeros beyond the end of a sequence.
    """
    choice("peer", name, PEERS)
    peer: Any = import_module(f"{__name__}.{name}")
    if precision not in peer.PRECISIONS:
        raise lacks(peer.TITLE, f"precision {precision}", peer.PRECISIONS)
    if network.masking:
        raise Unsupported(f"{peer.TITLE} masks no rows between others here")
    for layer in network.layers if peer.SETTINGS else ():
        _check(peer, layer)
    try:
        forward = peer.make(network.converted(PRECISIONS[precision].convert).layers)
    except ImportError as error:
        raise ValueError(f"peer {name}: {error}: {REQUIREMENT}") from error
    return partial(_run, peer.TITLE, forward, network, precision)


def _run(
    title: str,
    forward: Callable[..., Sequence[Floats]],
    network: Network,
    precision: str,
    x: Floats,
    h0: Floats,
    lengths: Integers | None = None,
) -> list[Floats]:
    N, T, _ = x.shape
    ends = np.full(N, T) if lengths is None else lengths
    if not T or (ends < 1).any():
        raise Unsupported(f"{title} runs no sequence without steps")
    if (ends == T).all():
        return [*forward(np.asarray(x, precision), _states(network, h0, precision))]
    outputs = [np.zeros((N, T, layer.output_size), precision) for layer in network.layers]
    # What lies beyond an end reaches a backward layer alone.
    groups = ends if network.needs_whole_sequences else np.full(N, T)
    for end in np.unique(groups):
        some = groups == end
        states = _states(network, h0[some], precision)
        given = forward(np.asarray(x[some, :end], precision), states)
        for output, rows in zip(outputs, given, strict=True):
            output[some, :end] = rows
    running = (np.arange(T) < ends[:, None])[..., None]
    return [np.where(running, output, 0) for output in outputs]


def _states(network: Network, h0: Floats, precision: str) -> list[list[Floats]]:
    """Arrange the states of each layer, (D, N, size) for each name."""
    return [
        [np.stack([h0[:, place] for place in each]).astype(precision) for each in names]
        for slices in network.state_slices
        for names in [zip(*slices, strict=True)]
    ]


def _check(peer: Any, layer: Layer) -> None:
    """Raise `Unsupported` where a layer, or a setting, is none of those built in a peer."""
    for part in layer.cells or [layer]:
        kind, arrays = type(part).__name__, getattr(part, "weights", layer).arrays
        if kind not in peer.SETTINGS or "w_ch" in arrays or "W_hr" in arrays:
            raise Unsupported(f"{kind} is not built in {peer.TITLE} here")
        for name, given in {**layer.settings, **part.settings}.items():
            has = peer.SETTINGS[kind].get(name, (str(given),))
            if str(given) not in has:
                raise lacks(f"{peer.TITLE}'s {kind}", f"{name} {given}", has)


def run_file(
    name: str, path: str | None, x: NDArray[Any], lengths: Integers, ours: Floats
) -> Floats | None:
    """Run the model in a file by its own library, over steps x (N, T, I) or whole numbers (N, T).

    None where there is no file, or one of another library. It does not say whether its model takes
    the batch or the steps first, and may give several outputs: the one nearest to `ours` is taken.
    """
    if path is None:
        return None
    theirs: Floats = np.zeros(ours.shape, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            forward = import_module(f"{__name__}.{name}").open_file(path)
        except Exception as error:  # whatever a library raises
            raise _not_run(path, error) from error
        if forward is None:
            return None
        for length in np.unique(lengths):
            alike = np.flatnonzero(lengths == length)
            steps = slice(length if ours.shape[1] > 1 else 1)
            try:
                theirs[alike, steps] = _nearest(
                    forward, path, x[alike, :length], ours[alike, steps]
                )
            except Unsupported:  # a model of one sequence at a time
                if len(alike) == 1:
                    raise
                for n in alike:
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
            outputs = forward(np.ascontiguousarray(given), N)
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
