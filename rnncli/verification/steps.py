"""The step error: right or wrong, however far whole runs are apart.

Networks that are not contracting amplify rounding, so that two right programs end far apart. Each
step can still be judged: the cell's own `step` is taken from the state that the same output holds
for the step before, by numbers that know how far rounding may have carried them.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from rnncli.engine.bounded import Bounded, BoundedNumbers, compute_sums
from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats, Truths
from rnncli.model.cells import LSTM, Cell
from rnncli.model.layers import Layer, Recurrent, Stateless
from rnncli.model.network import Network
from rnncli.verification.case import Case
from rnncli.verification.reference import ReferenceBounded, exact, inexact, layer_rows

# Values that are judged at once: their arrays in float64 stay in the cache.
CHUNK = 2**17


def case_step_errors(case: Case, layers: Sequence[Floats]) -> Floats | None:
    """Compute step errors, (N, T, O): the largest in any layer; None if a state is not known."""
    if not can_judge_steps(case.network, len(layers)):
        return None
    errors: Floats = np.zeros((*case.running().shape, 1))
    for output, table in zip(layers, right_steps(case, layers), strict=True):
        below = errors.max(axis=2, keepdims=True)
        errors = np.maximum(times_bound(output, *table, case.running()), below)
    return errors


def largest_step_error(case: Case, layers: Sequence[Floats]) -> float | None:
    """Compute the largest of the `case_step_errors`."""
    errors = case_step_errors(case, layers)
    return None if errors is None else float(errors.max(initial=0.0))


def times_bound(values: Floats, right: Floats, bound: Floats, rows: Truths) -> Floats:
    """Compute how many bounds each value is off, (N, T, O): 0 beyond the rows."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        off = np.abs(values.astype(np.float64) - right)
        times = np.where(off > 0, off / bound, off)
    return np.where(rows[..., None], np.where(np.isfinite(times), times, np.inf), 0)


def can_judge_steps(network: Network, layers: int = 1) -> bool:
    """Check whether so many layers, the top one or all, show the states of all cells."""
    return (
        layers == len(network.layers)
        and not network.last
        and not any(layer.takes_sequences for layer in network.layers)
        and all(len(layer.cells) < 2 or concatenates(layer) for layer in network.layers)
    )


def concatenates(layer: Layer) -> bool:
    """Check whether a layer has two directions and both in its output."""
    return isinstance(layer, Recurrent) and len(layer.cells) > 1 and layer.merge == "concat"


def right_steps(
    case: Case, layers: Sequence[Floats], *, guessed: bool = False
) -> Iterator[tuple[Floats, Floats]]:
    """Compute each step of a result in float64: the right values and bounds, (N, T, O) a layer."""
    precision, dtype = case.precision, PRECISIONS[case.precision].dtype
    network = case.network.converted(PRECISIONS[precision].convert)
    running, masked = case.running(), np.zeros(case.running().shape, bool)
    offs = [np.zeros(case.x.shape)]
    for number, (layer, output) in enumerate(zip(network.layers, layers, strict=True), start=1):
        x, off = (network.select_inputs(number, each) for each in ([case.x, *layers], offs))
        right, bound = np.zeros(output.shape), np.zeros(output.shape)
        if isinstance(layer, Stateless) and layer.masks:
            masked |= running & layer.masked(x.astype(dtype, copy=False))
        with np.errstate(invalid="ignore", over="ignore"):
            if not layer.cells:
                n, t = np.nonzero(running)
                for span in _chunks(len(n), output.shape[2]):
                    at = n[span], t[span]
                    rows = layer_rows(
                        layer, ReferenceBounded(x[at].astype(np.float64), off[at], precision)
                    )
                    right[at], bound[at] = rows.value, rows.off
            count = len(layer.cells) or 1
            halves = [np.split(array, count, axis=2) for array in (output, right, bound)]
            for k, cell in enumerate(layer.cells):
                turn = slice(None, None, -1 if layer.directions[k] == "backward" else 1)
                h, *out = (half[k][:, turn] for half in halves)
                start = [case.h0[:, columns] for columns in network.state_slices[number - 1][k]]
                active, passed = (running & ~masked)[:, turn], masked[:, turn]
                # The h from which each row starts: that of the last active row before it, or h0.
                T = active.shape[1]
                last = np.maximum.accumulate(np.where(active, np.arange(T), -1), axis=1)
                last = np.pad(last, ((0, 0), (1, 0)), constant_values=-1)[:, :T, None]
                before = np.where(last < 0, start[0][:, None], np.take_along_axis(h, last, axis=1))
                inputs = x[:, turn], off[:, turn], before
                _take_steps(cell, precision, start[1:], active, inputs, out)
                # With two directions a masked row is 0, as in Keras.
                same = inexact(before[passed] * (count == 1), precision)
                out[0][passed], out[1][passed] = same.value, same.off
        # Guessed layers are ours: those of the result may differ from them by their bounds.
        offs.append(bound if guessed else np.zeros(bound.shape))
        # Nothing is known of a c that grows without end; subnormal numbers may lose all digits.
        yield right, np.where(np.isnan(bound), np.inf, bound) + np.finfo(dtype).tiny


def _chunks(rows: int, size: int) -> Iterator[slice]:
    step = max(1, CHUNK // size)
    return (slice(start, start + step) for start in range(0, rows, step))


def _take_steps(
    cell: Cell,
    precision: str,
    start: Sequence[Floats],
    active: Truths,
    inputs: Sequence[Floats],
    out: Sequence[Floats],
) -> None:
    """Write value and bound of all steps, (N, T), from x, its error and the h before each."""
    N, T = active.shape
    states: list[Bounded] = [inexact(array, precision) for array in start]
    for span in _chunks(T, N * cell.state_sizes[0]):
        steps = active[:, span].T  # the steps of a chunk stand time first, as rows (t, n)
        x, off, before = (array[:, span].swapaxes(0, 1).reshape(steps.size, -1) for array in inputs)
        x_t, h = ReferenceBounded(x.astype(np.float64), off, precision), exact(before, precision)
        sums, results = compute_sums(cell, x_t, h), list[Bounded]()
        # No result shows c of an LSTM: it goes along time in float64, with its own bound.
        if not states or (type(cell) is LSTM and cell.weights.w_ch is None):  # no gate needs c
            results = [cell.step(_AlongTime(h, steps, states), sums, h, *states)[0]]
        else:
            for t, live in enumerate(steps):
                at = slice(t * N, t * N + N)
                numbers, sums_t = BoundedNumbers(h), [each[at] for each in sums]
                new, *after = cell.step(numbers, sums_t, h[at], *states)
                results.append(new)
                states = [_go_on(live, *each) for each in zip(states, after, strict=True)]
        for array, name in zip(out, ("value", "off"), strict=True):
            values = np.concatenate([getattr(each, name) for each in results])
            values = values.reshape(*steps.shape, -1).swapaxes(0, 1)
            array[:, span] = np.where(steps.T[..., None], values, array[:, span])


def _go_on(live: Truths, before: Bounded, after: Bounded) -> Bounded:
    """Take the new values of the sequences that have a step."""
    pairs = ((after.value, before.value), (after.off, before.off))
    return before.of(*(np.where(live[:, None], new, old) for new, old in pairs))


class _AlongTime(BoundedNumbers):
    """`Bounded` numbers at the rows (t, n) of many steps; c goes from step to step."""

    def __init__(self, like: Bounded, steps: Truths, states: list[Bounded]) -> None:
        super().__init__(like)
        self.steps, self.states = steps, states

    def carry(self, c: Bounded, f: Bounded, added: Bounded) -> Bounded:
        """Compute ``c_t = f c_{t-1} + added`` of all steps, and leave the last one in `states`."""
        value, off, N = np.empty_like(f.value), np.empty_like(f.off), self.steps.shape[1]
        for t, live in enumerate(self.steps):
            at = slice(t * N, t * N + N)
            c = _go_on(live, c, f[at] * c + added[at])
            value[at], off[at] = c.value, c.off
        self.states[:] = [c]
        return f.of(value, off)
