"""``rnncli.explain``: steps of a sequence, as the document of ``rnn explain`` has them."""

from __future__ import annotations

from math import inf
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rnncli import __version__
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.rows import Rows
from rnncli.engine.stream import Carried
from rnncli.explanation.report import Report, as_json
from rnncli.explanation.steps import Wanted, explain_steps
from rnncli.explanation.units import find_unit
from rnncli.model.description import describe
from rnncli.model.errors import choice
from rnncli.model.network import Network, as_network
from rnncli.writers.document import Documents


def explain(
    network: Network | str | PathLike[str],
    x: ArrayLike,
    *,
    steps: int | tuple[int, int | None] | None = None,
    unit: int | str | None = None,
    h0: ArrayLike | None = None,
    precision: str = "float32",
) -> list[dict[str, Any]]:
    """Explain how steps of a sequence came about: their products, sums and activations.

    The states are those of `run` with ``unroll="stepwise"``, to the bit, and the terms add up to
    them but for rounding: ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)`` for a vanilla cell.

    Parameters
    ----------
    network : Network, str or path
        A path is read by `load`.
    x : array, shape (T, I)
        Input at every step, as for `run`.
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
        The ``steps`` that ``rnn explain`` writes as JSON: ``t``, ``x``, ``layers``, ``h``, and
        ``y`` of a head. A layer has ``cells``, a cell has ``inputs`` and ``quantities``, each of
        which has a ``name``, an ``equation``, ``terms``, their ``sum`` and ``values``.
        `print` shows them as ``rnn explain`` does.

    Raises
    ------
    ValueError
        A shape does not fit, there is no such step or unit, a name is unknown, or a state
        overflowed.

    Examples
    --------
    >>> network = rnncli.seeded(input_size=1, hidden_size=1)
    >>> (step,) = rnncli.explain(network, [[1], [2]])
    >>> step["layers"][0]["cells"][0]["quantities"][0]["equation"]
    'tanh(x_t @ W_xh + h_{t-1} @ W_hh + b_h)'
    """
    model = as_network(network)
    dtype = choice("precision", precision, PRECISIONS).dtype
    values, start = model.checked_shape(x), model.initial_state(h0, 1, dtype)[0]
    if values.ndim > 2:
        raise ValueError(f"x: expected shape (T, {model.input_size}), got {values.shape}")
    first, last = steps if isinstance(steps, tuple) and len(steps) == 2 else (steps, steps)
    are_whole = all(isinstance(each, int | np.integer | None) for each in (first, last))
    end = inf if last is None else last
    if not are_whole or not 1 <= (1 if first is None else first) <= end:
        raise ValueError(f"steps: expected steps from 1 on, such as 3 or (1, 6), got {steps!r}")
    rows = Rows(model.checked_input(values, dtype))
    results = explain_steps(model, [rows], Wanted(first, end), Carried(start), precision=precision)
    one = None if unit is None else find_unit(model, str(unit))
    explained = [*(results if one is None else map(one.of_step, results))]
    about = describe(model, {}, __version__) | {"precision": precision}
    write = lambda out: Report(out, None, one).write(about, explained)  # noqa: E731
    return Documents([as_json(step) for step in explained], write)
