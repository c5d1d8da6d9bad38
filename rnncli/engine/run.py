"""The forward pass of a network over arrays."""

from __future__ import annotations

from os import PathLike
from reprlib import repr as shortened
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rnncli.engine.rows import group
from rnncli.engine.runner import Runner
from rnncli.model.arrays import Floats, Integers
from rnncli.model.network import Network, as_network


class States(NamedTuple):
    """Hidden states of a forward pass.

    Parameters
    ----------
    h : array, shape (T, H) or (N, T, H)
        Hidden state of the top recurrent layer at every step; 2 H values
        where it concatenates two directions. Zeros from the end of a sequence
        on. The h of a batch of equal lengths may be a view of an array
        (T, N, H).
    h_n : array, shape (S,) or (N, S)
        Final state of all cells, the bottom layer first, forward before
        backward: of a forward cell the state after the last step, of a
        backward one that after the first; `h0` where a sequence has no steps.
        One forward layer of a vanilla cell has S = H. Where cells carry more
        than h, h of all cells comes first (`Network.state_slices`).
    layers : tuple of arrays like `h`
        Outputs of all layers, the bottom one first, if asked for.
    y : array, shape (T, O) or (N, T, O), optional
        Output of the network's head at every step; None if it has none.
    y_n : array, shape (O,) or (N, O), optional
        Output of the head for the top layer's final state: the last `y` of a
        forward layer. If the model gives one row (`Network.last`), that row,
        also without a head. For a sequence without steps, the output for `h0`.
    c : array, shape (T, C) or (N, T, C), optional
        State of the top recurrent layer without h at every step, if asked
        for: the H values of c of an LSTM, of both directions side by side,
        whatever the merge. C is 0 if the state is h alone.
    layers_c : tuple of arrays like `c`
        The same of all layers, if asked for.
    """

    h: Floats
    h_n: Floats
    layers: tuple[Floats, ...] = ()
    y: Floats | None = None
    y_n: Floats | None = None
    c: Floats | None = None
    layers_c: tuple[Floats, ...] = ()

    def __str__(self) -> str:
        texts = []
        for name, value in self._asdict().items():
            arrays = {name: value} if isinstance(value, np.ndarray) else {}
            if isinstance(value, tuple):
                arrays = {f"{name}[{n}]": array for n, array in enumerate(value)}
            texts += [f"{key} {array.shape}:\n{array}" for key, array in arrays.items()]
        return "\n".join(texts)


def run(
    network: Network | str | PathLike[str],
    x: ArrayLike | PathLike[str],
    h0: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    precision: str = "float32",
    unroll: str = "auto",
    all_layers: bool = False,
    all_states: bool = False,
) -> States:
    """Run a network over one sequence, or over a batch of them.

    Every cell of every layer takes its steps from t = 1 to T, or backward from
    T to 1, a vanilla one::

        h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)

    where x_t is the input or the output of the layer below at t; for the other
    cells see `LSTM` and `GRU`. A layer of two directions merges their states at
    t, and a layer without state computes a function of x_t. At a row that a
    layer masks, the cells above keep their state and repeat its h, or that of
    `h0` before the first row; in a layer of two directions they give 0.

    Parameters
    ----------
    network : Network, str or path
        A path is read by `load`.
    x : array, shape (T, I) or (N, T, I), or str or path
        Input at every step, converted to the float type of `precision`. A
        network of one feature also takes (T,), such as a pandas Series. A
        file has one sequence, as for `score`.
    h0 : array, shape (S,) or (N, S), optional
        State of all cells before their first step, in the order of `h_n`;
        zeros by default. (S,) with a batch starts every sequence from the
        same state.
    lengths : array of int, shape (N,), optional
        Number of steps of each sequence of a batch; T by default. A backward
        cell starts at the last of them. Values of `x` beyond are ignored.
    precision : {"float32", "float64", "tf32", "bfloat16"}
        Float type and rounding, see `rnncli.engine.precision`.
    unroll : {"auto", "stepwise", "fused", "projected", "parallel", "compiled"}
        How the steps are computed, see `rnncli.engine.unroll`. ``compiled``
        needs the extra ``fast``. ``auto`` takes the one that was fastest for
        such sizes.
    all_layers : bool
        Whether to return the outputs of all layers too.
    all_states : bool
        Whether to return c too, see `States`. ``parallel`` and ``compiled``
        then run as ``projected``.

    Returns
    -------
    States
        In the float type of `precision`. A state that overflows is not an
        error: its values are infinite or NaN.

    Raises
    ------
    ValueError
        A shape does not fit the network, a value of `x` or `h0` is not
        finite in the float type, an embedding has no row for one of `x`, a
        length is not from 0 to T, a name is unknown, or a strategy cannot
        run here.
    """
    network = as_network(network)
    runner = Runner(network, precision, unroll, all_states=all_states)
    inputs = network.checked_shape(x)  # type: ignore[arg-type]  # `rnncli.run` reads a path
    batch, ends = check_batch(network, inputs, lengths, runner.precision.dtype)
    N, T, _ = batch.shape
    h_n = network.initial_state(h0, N, runner.precision.dtype)
    if network.front:
        n, t = np.nonzero(np.arange(T) < ends[:, None])
        rows, chosen = runner.run_front(batch[n, t], group(n, len(n)))
        ends = np.bincount(n[chosen], minlength=N)
        T = int(ends.max(initial=0))
        batch = _pad(rows, ends, T)
    if not network.masking and (ends == T).all():
        # Arrays are (T, N, O) in memory; the results are views (N, T, O) of them.
        results = runner.run_batch(batch.swapaxes(0, 1), h_n)
        results = [each.apply(lambda array: array.swapaxes(0, 1)) for each in results]
    else:
        steps = np.arange(T) < ends[:, None]  # (N, T)
        groups = group(np.nonzero(steps)[0], int(ends.sum()))
        results = runner.run_rows(batch[steps], groups, h_n)
        results = [each.apply(lambda rows: _pad(rows, ends, T)) for each in results]
    y_n = runner.run_head(h_n) if network.one_output else None
    if y_n is not None and network.by_row and T:
        nonempty = np.flatnonzero(ends)
        y_n[nonempty] = results[-1].output[nonempty, ends[nonempty] - 1]
    if inputs.ndim == 2:
        h_n, y_n = h_n[0], None if y_n is None else y_n[0]
        results = [each.apply(lambda array: array[0]) for each in results]
    top = len(results) - 1 - network.head
    with_c = [each.c for each in results] if all_states else []
    return States(
        results[top].output,
        h_n,
        tuple(each.output for each in results) if all_layers else (),
        results[-1].output if network.head else None,
        y_n,
        with_c[top] if all_states else None,
        tuple(with_c) if all_layers else (),
    )


def check_batch(
    network: Network, inputs: Floats, lengths: ArrayLike | None, dtype: np.dtype[np.floating]
) -> tuple[Floats, Integers]:
    """Check (T, I) or (N, T, I); return sequences (N, T, I), 0 beyond their ends, and lengths."""
    batch = inputs if inputs.ndim == 3 else inputs[None]
    N, T, _ = batch.shape
    ends = np.full(N, T)
    if lengths is not None:  # beyond the ends `inputs` may hold anything
        ends = _check_lengths(lengths, N, T)
        steps = np.arange(T) < ends[:, None]
        inputs = np.where(steps[..., None], batch, 0).reshape(inputs.shape)
    return network.checked_input(inputs, dtype).reshape(batch.shape), ends


def _pad(rows: Floats, ends: Integers, T: int) -> Floats:
    """Put the rows of all sequences, one after another, into (N, T, K), and zeros after them."""
    padded = np.zeros((len(ends), T, rows.shape[1]), rows.dtype)
    padded[np.arange(T) < ends[:, None]] = rows
    return padded


def _check_lengths(lengths: ArrayLike, N: int, T: int) -> Integers:
    array = np.asarray(lengths)
    right = array.shape == (N,) and (array.dtype.kind in "iu" or not N)
    if not right or array.min(initial=0) < 0 or array.max(initial=0) > T:
        got = shortened(array.tolist())
        raise ValueError(f"lengths: expected {N} integers from 0 to {T}, got {got}")
    return array.astype(np.intp)
