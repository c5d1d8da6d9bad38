"""Seeds: weights as a framework draws them, layer by layer from the bottom."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import signature
from operator import index
from typing import Any

from rnncli.model.activations import Activation
from rnncli.model.cells import CELLS, Weights
from rnncli.model.errors import InputError, choice, did_you_mean, sentence
from rnncli.model.layers import DIRECTIONS, Dense, Layer, Recurrent, per_cell
from rnncli.model.network import Network
from rnncli.model.seeds.streams import Keras, TensorFlow, Torch

INITIALIZERS: dict[str, Any] = {"tensorflow": TensorFlow, "keras": Keras, "torch": Torch}
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
    head: int | None = None,
    head_activation: str | Activation = "linear",
    **settings: Any,
) -> Network:
    """Draw the weights of a network that a framework draws from a seed.

    Parameters
    ----------
    input_size : int
        Number of input features, I.
    hidden_size : int or sequence of int
        Number of hidden units, H, or those of each layer, the bottom one first.
    seed : int
        0 ... 2**32 - 1.
    init : {"tensorflow", "keras", "torch"}
        Framework whose initialisation the seed reproduces. ``tensorflow``:
        ``tf.random.normal`` after ``tf.random.set_seed(seed)``, for each
        cell's ``W_xh`` and then ``W_hh``, all gates at once, and biases of
        zeros. ``keras``: ``SimpleRNN``, ``LSTM`` or ``GRU`` layers after
        ``keras.utils.set_random_seed(seed)``. ``torch``: ``torch.nn.RNN``,
        ``LSTM`` or ``GRU`` after ``torch.manual_seed(seed)``.
    direction, merge : str
        As for `Recurrent`, in every layer.
    cell : {"rnn", "lstm", "gru"}
    bias : bool
        Whether the framework's layers have biases (``use_bias`` in Keras).
        Where they have none, the arrays are zeros.
    head : int, optional
        Number of outputs, O, of a `Dense` layer with a bias above them, drawn
        after them (PyTorch: ``Linear``).
    head_activation : str or Activation
        Its activation, as for `Dense`.
    **settings
        Settings of `RNN`, `LSTM` or `GRU`, such as ``activation="relu"`` or
        ``reset="before"``: one value for all cells, or a sequence of one a
        layer or one a cell, the bottom layer first and forward before
        backward.

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
    hidden, width, top = [index(size) for size in sizes], index(input_size), head and index(head)
    kind, ways = choice("cell", cell, CELLS), choice("direction", direction, DIRECTIONS)
    initializer = choice("init", init, INITIALIZERS)
    if not hidden or min(*hidden, width, 1 if top is None else top) < 1:
        got = f"input_size {width}, hidden_size {hidden}, head {top}"
        raise ValueError(f"expected at least one layer and sizes from 1, got {got}")
    if not 0 <= index(seed) <= SEED_MAX:
        raise ValueError(f"seed: expected 0 to {SEED_MAX}, got {seed}")
    has_merge = len(hidden) > 1 and len(ways) > 1
    if init == "torch" and (len(set(hidden)) > 1 or (has_merge and merge != "concat")):
        named = ",".join(map(str, hidden))
        what = f"PyTorch's {cell.upper()} has layers of one size ({named} is given)"
        if len(set(hidden)) == 1:
            what = f"PyTorch's {cell.upper()} concatenates directions between layers"
        raise InputError("init torch", what, "use `init` keras or tensorflow")
    if unknown := settings.keys() - {*kind.setting_names}:
        name = min(unknown)
        hint = did_you_mean(name, [*kind.setting_names, *signature(seeded).parameters])
        have = [each.__name__ for each in CELLS.values() if name in each.setting_names]
        what = f"{kind.__name__} has none" + f" ({' and '.join(have)} only)" * bool(have)
        raise ValueError(sentence(name, what, hint))
    counts = [len(ways)] * len(hidden)
    values = {name: iter(per_cell(name, value, counts)) for name, value in settings.items()}
    draws, layers = initializer(index(seed)), list[Layer]()
    for H in hidden:
        cells = []
        for W_xh, W_hh, b_x, b_r in draws.draw_cells(cell, width, H, bias, len(ways)):
            cell_settings = {name: next(each) for name, each in values.items()}
            after = cell == "gru" and cell_settings.get("reset", "after") == "after"
            b_n = b_r[-H:].copy() if after else None
            b_r[len(b_r) - H * after :] = -0.0  # which changes no bit of a sum
            cells.append(kind(Weights(W_xh, W_hh, b_x + b_r, b_n), **cell_settings))
        layers.append(Recurrent(*cells, direction=direction, merge=merge))
        width = layers[-1].output_size
    if top:
        W, b = draws.draw_dense(width, top)
        layers.append(Dense(W, b, head_activation))
    return Network(*layers)
