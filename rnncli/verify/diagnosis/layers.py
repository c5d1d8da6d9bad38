"""Mistakes in how layers and their directions stand together."""

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, Weights
from rnncli.model.layers import MERGES, Dense, LayerNormalization, Pointwise, Recurrent, Stateless
from rnncli.model.layers.stateless import RowActivation
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.diagnosis.hypothesis import Tried, with_layers

# What heads end in, and what layers of frameworks add to a variance.
OF_HEADS = ("linear", "softmax", "log_softmax", "sigmoid", "tanh", "relu")
EPSILONS = (1e-3, 1e-5, 1e-6, 1e-12)
# So many layers are tried in every order.
MOST_LAYERS = 4


def another_merge(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Merge directions in another way that leaves as many values."""
    for merge in MERGES:

        def merged(layer: Recurrent, merge: str = merge) -> Recurrent | None:
            if len(layer.cells) == 1 or layer.merge in ("concat", merge):
                return None
            return Recurrent(*layer.cells, direction=layer.direction, merge=merge)

        if merge != "concat":
            yield from _in_layers(case, theirs, f"`merge` {merge}", merged)


def directions_exchanged(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Give each direction the weights of the other, in all layers or one."""

    def exchanged(layer: Recurrent) -> Recurrent | None:
        if len(layer.cells) == 1:
            return None
        return Recurrent(*layer.cells[::-1], direction=layer.direction, merge=layer.merge)

    yield from _in_layers(case, theirs, "weights of the two directions exchanged", exchanged)


def not_reversed(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Run the backward cells forward, in all layers or one."""

    def forward(layer: Recurrent) -> Recurrent | None:
        if "backward" not in layer.directions:
            return None
        return Forward(*layer.cells, direction=layer.direction, merge=layer.merge)

    yield from _in_layers(case, theirs, "the backward direction not reversed", forward)


class Forward(Recurrent):
    """A layer whose cells all go forward, whatever its direction says."""

    def __init__(
        self, *cells: Cell | Weights, direction: str = "forward", merge: str = "concat"
    ) -> None:
        super().__init__(*cells, direction=direction, merge=merge)
        self.directions = ("forward",) * len(cells)


def begun_in_the_padding(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Begin the backward cells at T, with the zeros that pad shorter sequences.

    What a result holds of the padding is not compared.
    """
    N, T, _ = case.x.shape
    backward = any("backward" in layer.directions for layer in case.network.layers)
    if not backward or (case.lengths == T).all() or theirs.shape[:2] != (N, T):
        return
    running = case.running()[..., None]
    padded = case._replace(x=np.where(running, case.x, 0), lengths=np.full(N, T))
    ours = padded.outputs()[-1]
    if ours.shape == theirs.shape:
        name = "the backward direction begins in the padding"
        yield name, padded, np.where(running, theirs, ours)


def another_layer(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Give the output of a lower layer, or put the layers in another order."""
    count = len(case.network.layers)
    for top in range(1, count):
        if not case.network.last or any(layer.cells for layer in case.network.layers[:top]):
            yield f"the output of layer {top}", with_layers(case, range(top)), theirs
    if count > MOST_LAYERS:
        return
    for order in permutations(range(count)):
        if order != tuple(range(count)):
            numbers = " ".join(str(number + 1) for number in order)
            try:
                tried = with_layers(case, order)
            except ValueError:  # what one gives does not fit the next
                continue
            if tried.network.input_size == case.network.input_size:
                yield f"layers in the order {numbers}", tried, theirs


def without_state_changed(case: Case, theirs: Floats) -> Iterator[Tried]:
    """Make a mistake in one layer without state, or leave it out."""
    network = case.network
    for number, layer in enumerate(network.layers):
        if not isinstance(layer, Stateless):
            continue
        others = [each for each in range(len(network.layers)) if each != number]
        if layer.input_size == layer.output_size and others and not layer.masks:
            yield f"layer {number + 1} left out", with_layers(case, others), theirs
        for name, *mistaken in _mistaken(layer):
            layers = (*network.layers[:number], *mistaken, *network.layers[number + 1 :])
            tried = case._replace(network=Network(*layers, last=network.last))
            yield f"{name} layer {number + 1}", tried, theirs


def _mistaken(layer: Stateless) -> Iterator[tuple[str, *tuple[Stateless, ...]]]:
    """Yield what stands in place of a layer, each with a name."""
    if isinstance(layer, Dense):
        for name, head in _mistaken_head(layer.W, layer.b, layer.activation):
            yield f"{name} in", head
        yield "relu below", Pointwise("relu", layer.input_size), layer
    if isinstance(layer, LayerNormalization):
        for epsilon in EPSILONS:
            if epsilon != layer.epsilon:
                other = LayerNormalization(layer.factor, layer.shift, epsilon)
                yield f"epsilon {epsilon:g} in", other


def _mistaken_head(W: Floats, b: Floats, f: RowActivation) -> Iterator[tuple[str, Stateless]]:
    if b.any():
        yield "no bias", Dense(W, np.zeros_like(b), f)
    for name in OF_HEADS:
        if name != str(f):
            yield f"activation {name}", Dense(W, b, name)
    if 1 not in W.shape:
        transposed = np.ascontiguousarray(W.reshape(W.shape[::-1]).T)
        yield "W transposed", Dense(transposed, b, f)
        yield "W transposed: (O, I) reshaped to (I, O)", Dense(W.T.reshape(W.shape), b, f)


def _in_layers(
    case: Case, theirs: Floats, name: str, change: Callable[[Recurrent], Recurrent | None]
) -> Iterator[Tried]:
    """Change all layers that can be, then each alone."""
    layers = case.network.layers
    changed = {
        number: new
        for number, layer in enumerate(layers)
        if isinstance(layer, Recurrent) and (new := change(layer)) is not None
    }
    alone = {f" in layer {number + 1}": {number: new} for number, new in changed.items()}
    for where, some in ({"": changed} | (alone if len(changed) > 1 else {})).items():
        if some:
            every = (some.get(number, layer) for number, layer in enumerate(layers))
            network = Network(*every, last=case.network.last)
            yield name + where, case._replace(network=network), theirs
