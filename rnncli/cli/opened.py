"""From the values of options to an input and the network that runs on it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncli import __version__
from rnncli.cli.network import build_network, check_input_size, note
from rnncli.cli.options import InputOptions, NetworkOptions
from rnncli.cli.resolve import open_input
from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats
from rnncli.model.network import Network
from rnncli.readers import Input, Keys, read_state
from rnncli.writers.model import describe


class Opened(NamedTuple):
    """An input and a network that fit each other.

    Parameters
    ----------
    source : Input
    network : Network
    start : array, shape (S,)
        Its initial state.
    model : mapping
        What a JSON document says of it.
    biases : sequence of tuples of arrays
        Of each cell in a weight file, as it has them.
    """

    source: Input
    network: Network
    start: Floats
    model: dict[str, Any]
    biases: Sequence[tuple[Floats, ...]]


def open_both(
    reading: InputOptions, options: NetworkOptions, precision: str, h0: str | None, keys: Keys
) -> Opened:
    """Open the input, and draw or read the network.

    Raises
    ------
    ValueError
        Either cannot be read, or they do not fit each other.
    """
    dtype = PRECISIONS[precision].dtype
    source = open_input(reading, dtype, keys)
    network, origin, biases = build_network(options, len(source.columns), dtype.itemsize)
    check_input_size(network, len(source.columns), source.way_out)
    if source.note:
        note(source.note)
    size = network.state_size
    start = np.zeros(size, dtype) if h0 is None else read_state(h0, dtype, size)
    columns = {"columns": list(source.chosen)} if source.chosen else {}
    model = describe(network, origin, __version__) | columns | {"precision": precision}
    return Opened(source, network, start, model, biases)
