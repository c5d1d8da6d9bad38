"""Initializers: a seed becomes the weights that a framework would draw from it."""

from collections.abc import Callable, Iterable
from operator import index
from typing import Any, TypeAlias

from rnncli.model.activations import Activation
from rnncli.model.cells import CELLS
from rnncli.model.errors import choice
from rnncli.model.initializers import keras, tensorflow, torch
from rnncli.model.layers import Architecture, Layer, Recurrent, per_cell
from rnncli.model.network import Network

# What draws for one part of a network after the other, from the bottom: embedding(V, E),
# layer(architecture, sizes), which returns the weights of a layer's cells, and
# dense(I, O, activation).
Draws: TypeAlias = tensorflow.Draws | keras.Draws | torch.Draws
INITIALIZERS: dict[str, Callable[[int], Draws]] = {
    "tensorflow": tensorflow.Draws,
    "keras": keras.Draws,
    "torch": torch.Draws,
}
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
    projected_size: int | None = None,
    embedding: tuple[int, int] | None = None,
    head: int | None = None,
    head_activation: str | Activation = "linear",
    **settings: Any,
) -> Network:
    """Draw a network from a seed.

    Parameters
    ----------
    input_size : int
        Number of input features, I; 1 with an embedding.
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
    projected_size : int, optional
        Size of the projection of an LSTM, P (``proj_size`` in PyTorch).
    embedding : tuple of two ints, optional
        Sizes V and E of an `Embedding` below the recurrent layers, drawn
        before them.
    head : int, optional
        Number of outputs, O, of a `Dense` layer with a bias above them, drawn
        after them (``torch.nn.Linear``).
    head_activation : str or Activation
        Its activation, as for `Dense`.
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
    table = () if embedding is None else tuple(map(index, embedding))
    for name, size in (*(("embedding", each) for each in table), ("head", head)):
        if size is not None and index(size) < 1:
            raise ValueError(f"{name}: expected at least 1, got {size}")
    if table and index(input_size) != 1:
        raise ValueError(f"input_size: expected 1, as an embedding takes, got {input_size}")
    architecture = Architecture(
        table[1] if table else index(input_size),
        tuple(map(index, sizes)),
        direction,
        merge,
        cell,
        bias,
        settings.get("reset", "after"),
        None if projected_size is None else index(projected_size),
    )
    number = index(seed)
    initializer = choice("init", init, INITIALIZERS)
    if not 0 <= number <= SEED_MAX:
        raise ValueError(f"seed: expected 0 to {SEED_MAX}, got {number}")
    draws = initializer(number)
    layers: list[Layer] = [draws.embedding(*table)] if table else []
    layers += _recurrent(architecture, draws, settings)
    if head is not None:
        layers.append(draws.dense(layers[-1].output_size, index(head), head_activation))
    return Network(*layers)


def _recurrent(
    architecture: Architecture, draws: Draws, settings: dict[str, Any]
) -> list[Recurrent]:
    """Draw the recurrent layers."""
    sizes_of_all, counts = architecture.sizes(), architecture.cell_counts
    kind = CELLS[architecture.cell]
    for name in settings:
        if name not in kind.setting_names:
            raise ValueError(f"{name}: {kind.__name__} has none")
    each = {name: per_cell(name, given, counts) for name, given in settings.items()}
    layers = []
    for layer, sizes in enumerate(sizes_of_all):
        cells = (
            kind(weights, **{name: each[name][layer][way] for name in each})
            for way, weights in enumerate(draws.layer(architecture, sizes))
        )
        layers.append(Recurrent(*cells, direction=architecture.direction, merge=architecture.merge))
    return layers
