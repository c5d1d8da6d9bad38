"""Initializers: a seed becomes the weights that a framework would draw from it."""

from collections.abc import Iterable
from math import inf
from operator import index

from rnncli.model.activations import Activation, parse
from rnncli.model.cells import RNN
from rnncli.model.errors import choice
from rnncli.model.initializers import keras, tensorflow, torch
from rnncli.model.layers import Architecture, Recurrent
from rnncli.model.network import Network

# Every member has one signature: draw(architecture, seed) returns the weights
# of the cells of each layer.
INITIALIZERS = {"tensorflow": tensorflow.draw, "keras": keras.draw, "torch": torch.draw}
SEED_MAX = 2**32 - 1


def seeded(
    input_size: int = 1,
    hidden_size: int | Iterable[int] = 4,
    seed: int = 1,
    init: str = "tensorflow",
    *,
    direction: str = "forward",
    merge: str = "concat",
    activation: str | Activation = "tanh",
    clip: float = inf,
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
    direction, merge : str
        Of every layer, as for `Recurrent`.
    activation : str or Activation
        Of every cell, as text such as ``relu`` or ``leaky_relu:0.1``.
    clip : float
        Of every cell, as for `RNN`.

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
        A size or the seed is no integer.
    """
    sizes = hidden_size if isinstance(hidden_size, Iterable) else (hidden_size,)
    architecture = Architecture(index(input_size), tuple(map(index, sizes)), direction, merge)
    number = index(seed)
    f = parse(activation) if isinstance(activation, str) else activation
    draw = choice("init", init, INITIALIZERS)
    if not 0 <= number <= SEED_MAX:
        raise ValueError(f"seed: expected 0 to {SEED_MAX}, got {number}")
    return Network(
        *(
            Recurrent(*(RNN(each, f, clip) for each in weights), direction=direction, merge=merge)
            for weights in draw(architecture, number)
        )
    )
