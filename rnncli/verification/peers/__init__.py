"""Peers: the same network, or its own file, in another library, to check against and to race.

A peer is a module here, which imports its library only when it is called, and an entry in `PEERS`.
``make(layer)`` returns ``forward(x, states)`` of a cell, ``forward(x)`` of a layer without state:
rows (N, T, O). ``open_file(path)`` of a file in FILES returns ``forward(x, N, T)``, which gives all
outputs of its model. SETTINGS has the cells and layers that are built in it, with the values that
each setting may have; None where it refuses what it lacks itself.
"""

import warnings
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import choice
from rnncli.model.layers import Recurrent
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


def version(name: str) -> str | None:
    """Return the installed version of a peer, without loading it; None if there is none."""
    for distribution in choice("peer", name, PEERS):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def build(
    name: str, network: Network, precision: str = "float32"
) -> Callable[..., Sequence[Floats]]:
    """Build a network in a peer: a function of x, h0 and lengths, which returns all layers."""
    peer: Any = import_module(f"{__name__}.{name}")
    if precision not in peer.PRECISIONS:
        raise Unsupported(f"{peer.TITLE} has no precision {precision}")
    if network.masking:
        raise Unsupported(f"{peer.TITLE} masks no rows between others here")
    layers = network.converted(PRECISIONS[precision].convert).layers
    passes = [[_make(peer, each) for each in layer.cells or [layer]] for layer in layers]

    def run(x: Floats, h0: Floats, lengths: Integers | None = None) -> Sequence[Floats]:
        N, T, _ = x.shape
        ends = np.full(N, T) if lengths is None else lengths
        if not T or (ends < 1).any():
            raise Unsupported(f"{peer.TITLE} runs no sequence without steps")
        if (ends == T).all():
            return _run_layers(network, passes, np.asarray(x, precision), h0.astype(precision))
        outputs = [np.zeros((N, T, layer.output_size), precision) for layer in layers]
        for end in np.unique(ends):
            alike = ends == end
            for output, rows in zip(outputs, run(x[alike, :end], h0[alike]), strict=True):
                output[alike, :end] = rows
        return outputs

    return run


def _run_layers(
    network: Network, passes: Sequence[Sequence[Callable[..., Floats]]], x: Floats, h0: Floats
) -> list[Floats]:
    outputs = [x]
    for number, (layer, forwards) in enumerate(zip(network.layers, passes, strict=True), start=1):
        x, halves = network.select_inputs(number, outputs), []
        slices = network.state_slices[number - 1]
        for forward, direction, columns in zip(forwards, layer.directions, slices, strict=False):
            start, back = [h0[:, each] for each in columns], direction == "backward"
            h = forward(x[:, ::-1].copy() if back else x, start)
            halves.append(h[:, ::-1].copy() if back else h)
        outputs.append(layer.merged(halves) if isinstance(layer, Recurrent) else forwards[0](x))
    return outputs[1:]


def _make(peer: Any, layer: Any) -> Callable[..., Floats]:
    """Make a cell or a layer, unless it or a setting is none of those that the peer has."""
    kind, arrays = type(layer).__name__, getattr(layer, "weights", layer).arrays
    known = (peer.SETTINGS or {kind: {}}).get(kind)
    if known is None or (peer.SETTINGS and ("w_ch" in arrays or "W_hr" in arrays)):
        kind = layer.settings.get("operators", kind)
        raise Unsupported(f"{kind} is not built in {peer.TITLE} here")
    for name, value in layer.settings.items():
        if str(value) not in known.get(name, (str(value),)):
            raise Unsupported(f"{peer.TITLE}'s {kind} has no {name} {value}")
    forward: Callable[..., Floats] = peer.make(layer)
    return forward


def run_file(
    name: str, path: str, x: NDArray[Any], lengths: Integers, ours: Floats
) -> Floats | None:
    """Run the model in a file, unless it is one of another library, over x (N, T, I), or (N, T)."""
    peer: Any = import_module(f"{__name__}.{name}")
    if not path.lower().endswith(peer.FILES):
        return None
    theirs: Floats = np.zeros(ours.shape, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forward = peer.open_file(path)
        for length in np.unique(lengths[lengths > 0]):
            alike = np.flatnonzero(lengths == length)
            steps = slice(length if ours.shape[1] > 1 else 1)
            theirs[alike, steps] = _nearest(forward, x[alike, :length], ours[alike, steps])
    return theirs


def _nearest(forward: Callable[..., Sequence[Any]], x: NDArray[Any], ours: Floats) -> Floats:
    """Run a batch in both layouts; return the output nearest to `ours`: a file tells neither."""
    matches, errors = list[Floats](), list[Exception]()
    N, T = x.shape[:2]
    for steps_first, batch in enumerate((x, x.swapaxes(0, 1))):
        try:
            outputs = forward(np.ascontiguousarray(batch), N, T)
        except Exception as error:  # whatever a library raises, of another layout, say
            errors.append(error)
            continue
        for y in map(np.asarray, outputs):
            if y.size == ours.size and y.dtype == np.float32:
                y = y.reshape(-1, N, ours.shape[2]).swapaxes(0, 1) if steps_first else y
                matches.append(y.reshape(ours.shape))
    if not matches:
        raise [*errors, ValueError("no output of float32 has the shape of ours")][0]
    return min(matches, key=lambda y: float(np.abs(y - ours).max()))
