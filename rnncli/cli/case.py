"""From the values of options to a case: a network, and the whole of an input."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncli import __version__
from rnncli.arrays import Floats, Integers
from rnncli.cli.network import build_network, check_input_size
from rnncli.cli.options import InputOptions, NetworkOptions
from rnncli.cli.resolve import open_input
from rnncli.compare.verdict import Case
from rnncli.precision import PRECISIONS
from rnncli.readers import Keys, read_state
from rnncli.stream import Rows, joined
from rnncli.verification import in_sequences
from rnncli.writers.model import describe


class ReadCase(NamedTuple):
    """A case, and where its steps stand in the input.

    Parameters
    ----------
    case : Case
    model : mapping
        What a JSON document says of the network.
    biases : sequence of tuples of arrays
        Of each cell in a weight file, as it has them.
    rows : Rows
        The whole input.
    keys : sequence of tuples of str
        As the rows number them.
    active : array of int
        Rows at which the state is not held: the steps.
    sequence : array of int
        Of the case, for each of those.
    names : sequence of str
        Of the sequences, where there are several.
    """

    case: Case
    model: dict[str, Any]
    biases: Sequence[tuple[Floats, ...]]
    rows: Rows
    keys: Sequence[tuple[str, ...]]
    active: Integers
    sequence: Integers
    names: Sequence[str]


def read_case(
    reading: InputOptions, options: NetworkOptions, precision: str, h0: str | None
) -> ReadCase:
    """Read an input to its end, and the network that runs on it.

    Raises
    ------
    ValueError
        Either cannot be read, they do not fit each other, or there are no
        steps.
    """
    dtype = PRECISIONS[precision].dtype
    source = open_input(reading, dtype, Keys())
    network, origin, biases = build_network(options, len(source.columns), dtype.itemsize)
    check_input_size(network, len(source.columns), "; --columns chooses those to read")
    size = network.state_size
    start = np.zeros(size, dtype) if h0 is None else read_state(h0, dtype, size)
    rows = next(joined(source.blocks), None)
    if rows is None:
        raise ValueError("the input has no steps")
    active = np.arange(len(rows.x)) if rows.held is None else np.flatnonzero(~rows.held)
    if not len(active):
        raise ValueError("the input has no steps: every row is held")
    keys = np.zeros(len(active), np.intp) if rows.key is None else rows.key[active]
    present, sequence, lengths = np.unique(keys, return_inverse=True, return_counts=True)
    x = in_sequences(rows.x[active], sequence, lengths)
    case = Case(network, x, np.tile(start, (len(lengths), 1)), lengths, precision)
    names = [" ".join(source.keys[number]) for number in present] if source.key_columns else []
    model = describe(network, origin, __version__) | {"precision": precision}
    return ReadCase(case, model, biases, rows, source.keys, active, sequence, names)
