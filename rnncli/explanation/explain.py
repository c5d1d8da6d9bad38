"""Explained steps as JSON has them: the records of `rnncli.explanation.steps` and `.quantities`.

A field that is None is left out, and so is a matrix of weights.
"""

import json
import os
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, TextIO

import numpy as np
from numpy.typing import ArrayLike

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.rows import Rows
from rnncli.engine.stream import Carried
from rnncli.explanation.steps import Step, Wanted, explain_steps
from rnncli.explanation.units import find_unit
from rnncli.model.arrays import in_dtype
from rnncli.model.errors import choice
from rnncli.model.formats import load
from rnncli.model.network import Network
from rnncli.writers.digits import texts


def explain(
    network: Network | str | os.PathLike[str],
    x: ArrayLike,
    *,
    steps: int | tuple[int, int | None] | None = None,
    unit: int | str | None = None,
    h0: ArrayLike | None = None,
    precision: str = "float32",
) -> list[dict[str, Any]]:
    """Explain how steps of a sequence came about: their products, sums and activations.

    The numbers are those of `run` with ``unroll="stepwise"``, to the bit. Of a vanilla cell they
    are the terms and the sum of ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``.

    Parameters
    ----------
    network : Network, str or path
        A path is read by `load`.
    x : array, shape (T, I)
        Input at every step.
    steps : int, or a tuple of the first and the last, optional
        Counted from 1; None in place of the last is the end. The last step by default, which of a
        model that gives one row a sequence explains that row.
    unit : int or str, optional
        Give every term of one unit: its number in the top recurrent layer, or a name such as
        ``c_2``, ``y_0`` or ``layer_1_h_2``.
    h0 : array, shape (S,), optional
        State of all cells before the first step; zeros by default.
    precision : str
        As for `run`.

    Returns
    -------
    list of dict
        The ``steps`` of ``rnn explain --json``: ``t``, ``x``, ``layers``, ``h``, and ``y`` of a
        head. A layer has ``cells``, and a cell ``inputs`` and ``quantities``: each has a ``name``,
        an ``equation``, ``terms``, the ``sum`` and the ``values`` that it makes.

    Raises
    ------
    ValueError
        A shape does not fit, there is no such step or unit, or a name is unknown.
    NotFiniteError
        A state overflowed.

    Examples
    --------
    >>> network = rnncli.seeded(input_size=1, hidden_size=1)
    >>> (step,) = rnncli.explain(network, [[1], [2]])
    >>> step["layers"][0]["cells"][0]["quantities"][0]["equation"]
    'tanh(x_t @ W_xh + h_{t-1} @ W_hh + b_h)'
    """
    model = network if isinstance(network, Network) else load(network)
    dtype, given = choice("precision", precision, PRECISIONS).dtype, np.asarray(x)
    start = np.zeros(model.state_size, dtype) if h0 is None else np.asarray(h0)
    for name, array, shape in (
        ("x", given, (len(given), model.input_size)),
        ("h0", start, (model.state_size,)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    wanted = Wanted(*(steps if isinstance(steps, tuple) else (steps, steps)))
    rows, carried = Rows(model.checked_input(given, dtype)), Carried(in_dtype("h0", start, dtype))
    found: Iterable[Step] = explain_steps(model, [rows], wanted, carried, precision=precision)
    if unit is not None:
        found = map(find_unit(model, str(unit)).of_step, found)
    return [as_json(step) for step in found]


def as_json(record: Any, digits: int | None = None) -> Any:
    """Convert a record to what JSON has, its numbers with so many digits after the point."""
    if isinstance(record, np.ndarray):
        (row,) = texts(record[None], digits)
        return [n if isfinite(n) else None for n in map(float, row)]
    if isinstance(record, list):
        return [as_json(each, digits) for each in record]
    fields = record._asdict() if hasattr(record, "_asdict") else record
    if not isinstance(fields, Mapping):
        return fields
    return {
        name: as_json(value, digits)
        for name, value in fields.items()
        if value is not None and getattr(value, "ndim", 1) == 1
    }


def write_document(
    out: TextIO, model: Mapping[str, Any], steps: Iterable[Mapping[str, Any]]
) -> None:
    """Write one document; if the run fails, the steps before it and ``error``."""
    out.write(f'{{"model": {json.dumps(model)},\n"steps": [')
    begin = ""
    try:
        for step in steps:
            out.write(f"{begin}{json.dumps(step, allow_nan=False)}")
            begin = ",\n"
    except ValueError as error:
        out.write(f'],\n"error": {json.dumps(str(error))}}}\n')
        raise
    out.write("]}\n")
