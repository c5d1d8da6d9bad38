"""Forecasts: a network runs on after its input, and reads its own predictions."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rnncli.engine.rows import BLOCK_STEPS, Literal, Rows, group, in_blocks, join
from rnncli.engine.run import run
from rnncli.engine.runner import Runner
from rnncli.engine.stream import Carried, Names, forward
from rnncli.model.arrays import Floats, Truths
from rnncli.model.errors import NotFiniteError
from rnncli.model.network import Network


def find_obstacle(network: Network) -> str:
    """Find why a prediction cannot be the next input; return no text where it can."""
    I, O = network.input_size, network.output_size
    if network.needs_whole_sequences:
        return "the network needs whole sequences"
    if not network.head:
        return "the network has no head, which would predict"
    if network.indices is None:
        return f"the network reads {I} values and predicts {O}" if I != O else ""
    if I == 1 and network.indices == O:
        return ""
    return f"the network reads whole numbers below {network.indices} and predicts {O} values"


def choose_input(network: Network, y: Floats) -> Floats:
    """Return the input that follows predictions (n, O): y, or the index of the largest."""
    return y if network.indices is None else y.argmax(axis=1)[:, None].astype(y.dtype)


def run_on(
    runner: Runner,
    carried: Carried,
    rows: Rows,
    steps: int,
    restore: Callable[[Floats], Floats] = lambda y: y,
    keys: Names = (),
    all_layers: bool = False,
) -> Iterator[Rows]:
    """Run on from the predictions of `rows`, one a sequence; yield the rows of each step.

    `restore` makes inputs of predictions; `carried` has the states. Rows before an overflow come
    first.
    """
    for _ in range(steps):
        x = restore(choose_input(runner.network, rows.values["y"]))
        rows = rows._replace(x=np.ascontiguousarray(x, runner.precision.dtype))
        rows, after, error = forward(runner, rows, carried, keys, all_layers=all_layers)
        yield rows
        if error:
            raise error
        carried.commit(after)


class Ahead:
    """Runs each sequence of a stream some steps ahead, from the prediction at its last row."""

    def __init__(
        self, steps: int, restore: Callable[[Floats], Floats], copied: Sequence[int] = ()
    ) -> None:
        self._steps, self._restore = steps, restore
        self._copied = copied  # the columns of the input's cells that the rows ahead have too
        self._last: list[Rows] = []  # the last row of each sequence that is not masked

    def collect(self, rows: Rows, masked: Truths | None) -> None:
        """Keep the last row of each sequence."""
        if masked is not None:
            rows = rows.take(~masked[: len(rows.t)])
        if len(rows.t):
            self._last = [_take_last(join([*self._last, _take_last(rows)]))]

    def run(
        self, runner: Runner, carried: Carried, keys: Names, *, all_layers: bool
    ) -> Iterator[Rows]:
        """Yield blocks of the rows ahead, those before an overflow first; `carried` stays."""
        for last in self._last:
            rows = last._replace(cells=_clear_cells(last.cells, self._copied))
            states = deepcopy(carried)
            ahead = run_on(runner, states, rows, self._steps, self._restore, keys, all_layers)
            yield from in_blocks(ahead, BLOCK_STEPS)


def _take_last(rows: Rows) -> Rows:
    """Return the last row of each sequence."""
    chosen = np.zeros(len(rows.t), bool)
    chosen[group(rows.key, len(rows.t)).last] = True
    return rows.take(chosen)


def _clear_cells(cells: Any, copied: Sequence[int]) -> Any:
    """Return cells of rows that the input does not have: empty, but for the columns `copied`."""
    if isinstance(cells, np.ndarray):  # numbers of the rows of a table
        return ~cells
    if isinstance(cells, list):
        return [[c if n in copied else Literal() for n, c in enumerate(row)] for row in cells]
    return cells and cells.clear(copied)


def forecast(
    network: Network | str | PathLike[str],
    x: ArrayLike | PathLike[str],
    steps: int,
    h0: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    precision: str = "float32",
    unroll: str = "auto",
) -> Floats:
    """Forecast the inputs that follow a sequence, or each of a batch of them.

    The prediction ``y`` at the last step is the next input; the network reads it, predicts the
    one after it, and so on.

    >>> import rnncli
    >>> rnncli.forecast("sample_data/sunspots.keras", [5, 11, 16, 23], 3).shape
    (3, 1)

    Parameters
    ----------
    network : Network, str or path
        Its head predicts the next input: it has as many outputs as inputs or, above an
        embedding, an output for each index.
    x, h0, lengths, precision, unroll
        As for `run`.
    steps : int
        Number of inputs to forecast.

    Returns
    -------
    array, shape (steps, I) or (N, steps, I)
        The next inputs: the predictions or, for an embedding, the indices of the largest ones.

    Raises
    ------
    NotFiniteError
        A state or a prediction overflowed.
    ValueError
        The predictions cannot be inputs, as in a network that needs whole sequences; or an
        argument is wrong, as for `run`.
    """
    if not isinstance(network, Network):
        from rnncli.model.formats.load import load

        network = load(network)
    if obstacle := find_obstacle(network):
        raise ValueError(f"network: {obstacle}")
    if (count := operator.index(steps)) < 1:
        raise ValueError(f"steps: expected a number from 1 up, got {steps}")
    states = run(network, x, h0, lengths=lengths, precision=precision, unroll=unroll)
    h_n, y = (np.atleast_2d(np.asarray(each)) for each in (states.h_n, states.y_n))
    N, T = len(h_n), states.h.shape[-2]
    carried = Carried(h_n[0])
    carried.resume(np.full(N, T) if lengths is None else np.array(lengths), h_n)
    last = Rows(y, np.arange(N), values={"y": y})
    if not np.isfinite(y).all():
        n, unit = np.argwhere(~np.isfinite(y))[0].tolist()
        raise NotFiniteError(f"sequence {n}: " * (N > 1), int(carried.t[n]), unit, y[n, unit], "y")
    ahead = run_on(Runner(network, precision, unroll), carried, last, count - 1)
    every = [y, *(rows.values["y"] for rows in ahead)]
    result = np.stack([choose_input(network, y) for y in every], axis=1)
    return result if states.h.ndim == 3 else result[0]
