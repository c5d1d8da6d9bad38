"""Initializers: a seed becomes the weights that a framework would draw from it."""

from collections.abc import Iterable
from operator import index
from typing import Any

from rnncli.model.cells import CELLS
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
    cell: str = "rnn",
    bias: bool = True,
    **settings: Any,
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
        ``W_hh``, all gates at once, and biases of zeros. ``keras``:
        ``SimpleRNN``, ``LSTM`` or ``GRU`` layers after
        ``keras.utils.set_random_seed(seed)``. ``torch``: ``torch.nn.RNN``,
        ``LSTM`` or ``GRU`` after ``torch.manual_seed(seed)``.
    direction, merge : str
        Of every layer, as for `Recurrent`.
    cell : {"rnn", "lstm", "gru"}
    bias : bool
        Whether the framework's layers have biases (``use_bias`` in Keras).
        Where they have none, the arrays are zeros.
    **settings
        Those of `RNN`, `LSTM` or `GRU`, such as ``activation="relu"`` or
        ``reset="before"``: each one value for all cells, or a sequence of
        one a layer, or of one a cell, the bottom layer first and forward
        before backward.

    Returns
    -------
    Network
        With float32 weights.

    Raises
    ------
    ValueError
        A size is under 1, the seed out of range, a name unknown, the
        cell has no such setting, its values are of another number, or the
        framework has no such network.
    TypeError
        A size or the seed is no integer.
    """
    sizes = hidden_size if isinstance(hidden_size, Iterable) else (hidden_size,)
    architecture = Architecture(
        index(input_size),
        tuple(map(index, sizes)),
        direction,
        merge,
        cell,
        bias,
        settings.get("reset", "after"),
    )
    number = index(seed)
    kind, draw = choice("cell", cell, CELLS), choice("init", init, INITIALIZERS)
    if not 0 <= number <= SEED_MAX:
        raise ValueError(f"seed: expected 0 to {SEED_MAX}, got {number}")
    each = {name: architecture.per_cell(name, given) for name, given in settings.items()}
    drawn = draw(architecture, number)
    for name in each:
        if name not in kind(drawn[0][0]).settings:
            raise ValueError(f"{name}: {kind.__name__} has none")
    layers = []
    for layer, weights in enumerate(drawn):
        cells = (
            kind(its, **{name: each[name][layer][way] for name in each})
            for way, its in enumerate(weights)
        )
        layers.append(Recurrent(*cells, direction=direction, merge=merge))
    return Network(*layers)
