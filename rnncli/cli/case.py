"""From the values of options to a case: a network, and the whole of an input."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncli.cli.opened import open_both
from rnncli.cli.options import InputOptions, NetworkOptions
from rnncli.engine.rows import Rows, joined
from rnncli.model.arrays import Floats, Integers
from rnncli.readers import Keys
from rnncli.verify.case import Case


class ReadCase(NamedTuple):
    """A case, and where its steps stand in the input.

    Parameters
    ----------
    case : Case
    model : mapping
        What a JSON document holds of the network.
    rows : Rows
        The whole input.
    keys : sequence of tuples of str
        As the rows number them.
    active : array of int
        The rows that are steps: those that are not masked.
    sequence : array of int
        The sequence of each of them in the case.
    names : sequence of str
        Of the sequences, where there are several.
    """

    case: Case
    model: dict[str, Any]
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
    source, network, start, model, biases = open_both(reading, options, precision, h0, Keys())
    rows = next(joined(source.blocks), None)
    if rows is None:
        raise ValueError("the input has no steps")
    active = np.arange(len(rows.x)) if rows.masked is None else np.flatnonzero(~rows.masked)
    if not len(active):
        raise ValueError("the input has no steps: every row is held")
    keys = np.zeros(len(active), np.intp) if rows.key is None else rows.key[active]
    present, sequence, lengths = np.unique(keys, return_inverse=True, return_counts=True)
    x = in_sequences(rows.x[active], sequence, lengths)
    case = Case(network, x, np.tile(start, (len(lengths), 1)), lengths, precision, biases)
    names = [" ".join(source.keys[number]) for number in present] if source.key_columns else []
    return ReadCase(case, model, rows, source.keys, active, sequence, names)


def in_sequences(rows: Floats, sequence: Integers, lengths: Integers) -> Floats:
    """Gather rows of several sequences as (N, T, K), zeros beyond the end of each."""
    order = np.argsort(sequence, kind="stable")
    t = np.arange(len(sequence)) - np.repeat(lengths.cumsum() - lengths, lengths)
    gathered = np.zeros((len(lengths), lengths.max(initial=0), rows.shape[1]), rows.dtype)
    gathered[sequence[order], t] = rows[order]
    return gathered
