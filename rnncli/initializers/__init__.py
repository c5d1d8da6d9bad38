"""Initializers: a seed becomes the weights that a framework would draw from it."""

from operator import index

from rnncli.initializers import tensorflow
from rnncli.network import Network, choice, weight_shapes

INITIALIZERS = {"tensorflow": tensorflow.draw}
SEED_MAX = 2**32 - 1


def seeded(
    input_size: int = 1, hidden_size: int = 4, seed: int = 1, init: str = "tensorflow"
) -> Network:
    """Draw a network from a seed.

    Parameters
    ----------
    input_size : int
        Number of input features, I.
    hidden_size : int
        Number of hidden units, H.
    seed : int
        0 ... 2**32 - 1.
    init : {"tensorflow"}
        Whose draws: ``tensorflow`` gives ``tf.random.normal`` after
        ``tf.random.set_seed(seed)``, for ``W_xh`` and then ``W_hh``, and a
        bias of zeros.

    Returns
    -------
    Network
        With float32 weights.

    Raises
    ------
    ValueError
        A size is under 1, the seed out of range, or the name unknown.
    TypeError
        A size or the seed is no integer.
    """
    input_size, hidden_size, seed = map(index, (input_size, hidden_size, seed))
    draw = choice("init", init, INITIALIZERS)
    if not 0 <= seed <= SEED_MAX:
        raise ValueError(f"seed: expected 0 to {SEED_MAX}, got {seed}")
    return Network(draw(weight_shapes(input_size, hidden_size), seed))
