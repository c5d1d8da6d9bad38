"""Initializers: a seed becomes the weights that a framework would draw from it."""

from collections.abc import Iterable
from math import inf
from operator import index
from typing import TypedDict, Unpack

from rnncli.model.activations import parse
from rnncli.model.architecture import Architecture
from rnncli.model.choices import choice
from rnncli.model.initializers import keras, tensorflow, torch
from rnncli.model.network import Network

# Every member has one signature: draw(architecture, seed) gives the weights
# of each cell, in the order of Network.cells.
INITIALIZERS = {"tensorflow": tensorflow.draw, "keras": keras.draw, "torch": torch.draw}
SEED_MAX = 2**32 - 1


class LayerOptions(TypedDict, total=False):
    """What `seeded` takes beside sizes and seed, as for `Recurrent` and `RNN`."""

    direction: str
    merge: str
    activation: str
    clip: float


def draw_network(architecture: Architecture, seed: int, init: str) -> Network:
    """Draw the weights of an architecture.

    Parameters
    ----------
    architecture : Architecture
    seed : int
        0 ... 2**32 - 1.
    init : {"tensorflow", "keras", "torch"}
        Whose draws, as for `seeded`.

    Returns
    -------
    Network
        With float32 weights.

    Raises
    ------
    ValueError
        A size is under 1, the seed out of range, a name unknown, or the
        framework has no such network.
    """
    draw = choice("init", init, INITIALIZERS)
    if not 0 <= seed <= SEED_MAX:
        raise ValueError(f"seed: expected 0 to {SEED_MAX}, got {seed}")
    return architecture.build(draw(architecture, seed))


def seeded(
    input_size: int = 1,
    hidden_size: int | Iterable[int] = 4,
    seed: int = 1,
    init: str = "tensorflow",
    **more: Unpack[LayerOptions],
) -> Network:
    """Draw a network from a seed.

    Parameters
    ----------
    input_size : int
        Number of input features, I.
    hidden_size : int or sequence of int
        Number of hidden units, H; of each layer, the bottom one first.
    seed : int
        0 ... 2**32 - 1.
    init : {"tensorflow", "keras", "torch"}
        Whose draws. ``tensorflow``: ``tf.random.normal`` after
        ``tf.random.set_seed(seed)``, for each cell's ``W_xh`` and then
        ``W_hh``, and a bias of zeros. ``keras``: ``SimpleRNN`` layers after
        ``keras.utils.set_random_seed(seed)``. ``torch``: ``torch.nn.RNN``
        after ``torch.manual_seed(seed)``.
    **more
        Of every layer: `direction` and `merge` as for `Recurrent`, `activation`
        as text such as ``leaky_relu:0.1``, `clip` as for `RNN`.

    Returns
    -------
    Network
        With float32 weights.

    Raises
    ------
    ValueError
        A size is under 1, the seed out of range, a name unknown, or the
        framework has no such network.
    TypeError
        A size or the seed is no integer, or there is no such option.
    """
    hidden_sizes = hidden_size if isinstance(hidden_size, Iterable) else (hidden_size,)
    sizes = tuple(map(index, hidden_sizes))
    return draw_network(_architecture(index(input_size), sizes, **more), index(seed), init)


def _architecture(
    input_size: int,
    hidden_sizes: tuple[int, ...],
    direction: str = "forward",
    merge: str = "concat",
    activation: str = "tanh",
    clip: float = inf,
) -> Architecture:
    return Architecture(input_size, hidden_sizes, direction, merge, parse(activation), clip)
