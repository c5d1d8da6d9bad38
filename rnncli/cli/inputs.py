"""A whole input and the network that runs on it, for commands that compare or time runs."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnncli.cli.networks import build_network
from rnncli.cli.options import NetworkOptions
from rnncli.cli.progress import Terminal
from rnncli.engine.rows import Rows, join
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import InputError
from rnncli.model.network import Network
from rnncli.options import Options
from rnncli.pipeline import open_both
from rnncli.readers import Keys

if TYPE_CHECKING:
    from rnncli.verification.case import Case


class ReadCase(NamedTuple):
    """A case, and where its steps stand in the input."""

    case: "Case"  # of every step, also of a model that gives one row a sequence
    last: str | None  # which row that is, as for `Network`
    model: dict[str, Any]  # what a JSON document says of the network
    size: int  # rows of the input
    numbers: Integers  # (N,): of the sequences, among `keys` those without steps too
    keys: int
    names: Sequence[str]  # of the sequences, where there are several
    # Takes an array of so many rows; returns the steps that are not masked, (N, T, ...), padded.
    arranged: Callable[[Floats], Floats]


def read_case(reading: Options, options: NetworkOptions) -> ReadCase:
    """Read an input to its end, and the network that runs on it."""
    from rnncli.verification.case import Case

    build = partial(build_network, options, precision=reading.precision)
    opened = open_both(reading, build, Terminal(), Keys(), options.weights)
    source, network = opened.source, opened.network
    if network.front:
        what = "its lowest layers give fewer rows than they take"
        raise InputError(str(options.weights), what, "`rnn run` runs it")
    blocks = list(source.blocks)
    rows = join(blocks) if blocks else Rows(np.empty((0, network.input_size)))
    active = np.arange(len(rows.x)) if rows.masked is None else np.flatnonzero(~rows.masked)
    if not len(active):
        raise InputError("", "the input has no steps that are not masked")
    keys = np.zeros(len(active), np.intp) if rows.key is None else rows.key[active]
    present, sequence, lengths = np.unique(keys, return_inverse=True, return_counts=True)
    place = active[np.argsort(sequence, kind="stable")]
    n = np.repeat(np.arange(len(lengths)), lengths)
    t = np.arange(len(active)) - np.repeat(lengths.cumsum() - lengths, lengths)

    def arranged(values: Floats) -> Floats:
        steps = np.zeros((len(lengths), lengths.max(), values.shape[1]), values.dtype)
        steps[n, t] = values[place]
        return steps

    every, start = Network(*network.layers), np.tile(opened.start, (len(lengths), 1))
    case = Case(every, arranged(rows.x), start, lengths, reading.precision, opened.biases)
    names = [" ".join(source.keys[number]) for number in present] if source.key_columns else []
    return ReadCase(
        case, network.last, opened.model, len(rows.x), present, len(source.keys), names, arranged
    )
