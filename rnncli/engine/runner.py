"""A network ready to run: rows of sequences go through its layers, from the bottom up."""

from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from math import ceil
from typing import NamedTuple

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.rows import Groups, pack
from rnncli.engine.threads import THREADS, in_threads, may_share_products
from rnncli.engine.unroll import STRATEGIES, why_unavailable
from rnncli.engine.unroll.loops import largest_weights, row_products, safe_bound
from rnncli.model.arrays import Floats, Integers, Truths, contiguous, largest
from rnncli.model.cells import State
from rnncli.model.errors import InputError, choice
from rnncli.model.layers import Layer, Recurrent, Stateless
from rnncli.model.network import Network

# Values of the states of a thread that stay in the cache.
STATES_IN_CACHE = 81_920
# Multiplications of a step and gate from which two threads pay, as they wait for Python's lock at
# each call; and multiplications that take as long as the functions of a sum.
WORK, FUNCTION = 3_000_000, 32
# Multiplications that take a second or so.
A_SECOND = 1 << 33


class LayerRows(NamedTuple):
    """The results of a layer at some rows; or the input of the network, as `output`."""

    output: Floats  # (R, O); h if the layer has one cell
    states: Sequence[State] = ()  # after every step: h of each cell, or all arrays of its state

    def apply(self, function: Callable[[Floats], Floats]) -> "LayerRows":
        """Apply a function to every array."""
        states = [tuple(map(function, state)) for state in self.states]
        return LayerRows(states[0][0] if len(states) == 1 else function(self.output), states)

    @property
    def c(self) -> Floats:
        """The arrays of the states after h, side by side, (R, C)."""
        arrays = [array for state in self.states for array in state[1:]]
        one = len(arrays) == 1
        return arrays[0] if one else np.concatenate([self.output[..., :0], *arrays], axis=-1)


class Runner:
    """A network in a precision and a strategy; `all_states` adds c of every step to h."""

    def __init__(
        self,
        network: Network,
        precision: str = "float32",
        unroll: str = "auto",
        *,
        all_states: bool = False,
    ) -> None:
        self.precision = PRECISIONS.get(precision) or choice("precision", precision, PRECISIONS)
        strategy = STRATEGIES.get(unroll) or choice("unroll", unroll, STRATEGIES)
        if lacking := why_unavailable(unroll, precision):
            raise InputError(f"unroll {unroll}", lacking)
        most = 2 ** (np.finfo(self.precision.dtype).nmant + 1) + 1  # whole numbers that it holds
        if (network.indices or 0) > most:
            what = f"{network.indices} rows, {self.precision.dtype} numbers {most}"
            raise InputError("W", what, " (`precision` float64 holds more)")
        unchanged = not self.precision.rounds and network.has_dtype(self.precision.dtype)
        self.network = network if unchanged else network.converted(self.precision.convert)
        self.all_states, self.stepwise = all_states, unroll == "stepwise"
        self.strategies = [
            [strategy(cell, self.precision) for cell in layer.cells]
            for layer in self.network.layers
        ]

    @property
    def steps_in_a_second(self) -> int:
        """Steps that take about a second, 4096 or more."""
        cells = chain.from_iterable(layer.cells for layer in self.network.layers)
        weights = sum(cell.weights.W_xh.size + cell.weights.W_hh.size for cell in cells)
        return max(4096, A_SECOND // max(weights, 1))

    def multiply(self, x: Floats, W: Floats) -> Floats:
        """Multiply rows (..., K) by a matrix; NaN for rows whose sums may overflow."""
        rows = contiguous(self.precision.operand(x)).reshape(-1, len(W))
        product = row_products(rows, W) if self.stepwise else np.matmul(rows, W)
        weights = largest_weights(W)
        if not largest(rows) * weights.sum() <= safe_bound(W):
            product[~(np.abs(rows) @ weights <= safe_bound(W))] = np.nan
        return product.reshape(*x.shape[:-1], W.shape[1])

    def get_output(self, layer: Layer, x: Floats, states: Sequence[State] = ()) -> Floats:
        """Compute the output of a layer from the states of its cells, or without cells from x."""
        with np.errstate(all="ignore"):
            if isinstance(layer, Recurrent):
                return layer.merged([state[0] for state in states])
            return layer(np.ascontiguousarray(x), self.multiply)

    def run_front(
        self, x: Floats, groups: Groups, keys: Sequence[tuple[str, ...]] = ()
    ) -> tuple[Floats, Truths]:
        """Run the layers in front; return their rows, and at which rows of `x` they stand."""
        chosen = np.zeros(len(x), bool)
        output = np.zeros((len(x), self.network.layers[0].input_size), x.dtype)
        orders = np.split(groups.order, groups.starts[1:])
        for key, order in zip(groups.present, orders, strict=False):  # none without rows
            rows = x[order]
            try:
                for layer in self.network.front:
                    rows = self.get_output(layer, rows)
            except InputError as error:
                name = " ".join(keys[key]) if key < len(keys) else ""
                where = f"{name}: {error.where}" if name else error.where
                raise InputError(where, error.what) from error
            ends = order[np.arange(1, len(rows) + 1) * len(order) // max(len(rows), 1) - 1]
            output[ends], chosen[ends] = rows, True
        return output[chosen], chosen

    def run_head(self, state: Floats) -> Floats:
        """Compute the head's output for the final states (K, S) of the top recurrent layer."""
        network = self.network
        outputs = [state] * (len(network.layers) + 1)
        for number in network.final:
            layer, slices = network.layers[number - 1], network.state_slices[number - 1]
            states = [tuple(state[:, columns].copy() for columns in cell) for cell in slices]
            x = state if layer.cells else network.select_inputs(number, outputs)
            outputs[number] = self.get_output(layer, x, states)
        none = np.full((len(state), network.output_size), np.nan, state.dtype)
        return outputs[-1] if network.final else none

    def find_masked(self, x: Floats) -> Truths:
        """Find the rows that a layer of the network masks."""
        masked = np.zeros(len(x), bool)
        for layer in self.network.layers[: self.network.masking]:
            if isinstance(layer, Stateless) and layer.masks:
                masked |= layer.masked(x)
            x = self.get_output(layer, x)
        return masked

    def run_batch(self, x: Floats, states: Floats) -> list[LayerRows]:
        """Run (T, N, I) from `states` (N, S), which are overwritten, to results (T, N, O)."""
        arrays = self._allocate(x)
        self._run_shares([arrays] if x.size else [], states)
        return arrays[1:]

    def run_rows(
        self, x: Floats, groups: Groups, states: Floats, masked: Truths | None = None
    ) -> list[LayerRows]:
        """Run rows (n, I) of several sequences, from `states` (K, S), which are overwritten.

        At a masked row a cell repeats the h of the state that it keeps. In a layer of two
        directions the cells give 0 where a layer of the network masks, as Keras has it.
        """
        by_input = np.zeros(len(x), bool) if masked is None else masked
        if masked is not None:
            x = np.where(masked[:, None], 0, x)  # the features of a masked row may be NaN
        by_layer = self.find_masked(x) & ~by_input
        masked = by_input | by_layer
        if masked.any():
            return self._run_unmasked(x, groups, states, masked, by_layer)
        if len(groups.present) == 1:
            key = int(groups.present[0])
            results = self.run_batch(x[:, None], states[key : key + 1])
            return [rows.apply(lambda array: array[:, 0]) for rows in results]
        order, results = self._run_packed(x, groups, states)
        positions = np.empty_like(order)
        positions[order] = np.arange(len(order))
        return [rows.apply(lambda array: array.take(positions, axis=0)) for rows in results]

    def _run_packed(
        self, x: Floats, groups: Groups, states: Floats
    ) -> tuple[Integers, list[LayerRows]]:
        """Run the rows of some groups; return them in the order of the results."""
        keys, order, runs = pack(groups)
        arrays, after = self._allocate(x.take(order, axis=0)), states[keys]
        self._run_shares([[rows.apply(run.view) for rows in arrays] for run in runs], after)
        states[keys] = after
        return order, arrays[1:]

    def _run_unmasked(
        self, x: Floats, groups: Groups, states: Floats, masked: Truths, zero: Truths
    ) -> list[LayerRows]:
        """Run the rows that are not masked; at a masked one states are repeated, or 0 at `zero`.

        All outputs are computed again, as a product of fewer rows may round otherwise.
        """
        network, outputs, filled = self.network, [x], list[LayerRows]()
        if any(layer.takes_sequences for layer in network.layers):
            what = "a row is masked, and a layer of the network needs all rows"
            raise InputError("", what, "" if zero.any() else "`missing` zero reads 0")
        initial = states[groups.present]
        order, results = self._run_packed(x, groups.only(~masked), states)
        positions = np.empty(len(x) + len(initial), np.intp)
        positions[order] = np.arange(len(order))
        positions[len(x) :] = len(order) + np.arange(len(initial))
        ways = ("forward", "backward")
        sources = {way: positions[groups.find_sources(masked, way)] for way in ways}
        for number, (layer, rows) in enumerate(zip(network.layers, results, strict=True)):
            repeated, layer_slices = list[State](), network.state_slices[number]
            for state, way, slices in zip(rows.states, layer.directions, layer_slices, strict=True):
                firsts = (initial[:, columns] for columns in slices)
                arrays = map(np.concatenate, zip(state, firsts, strict=False))  # h, or all arrays
                repeated.append(tuple(array.take(sources[way], axis=0) for array in arrays))
                if len(rows.states) > 1:
                    repeated[-1][0][zero] = 0
            x = network.select_inputs(number + 1, outputs)
            outputs.append(self.get_output(layer, x, repeated))
            filled.append(LayerRows(outputs[-1], repeated))
        return filled

    def _allocate(self, x: Floats) -> list[LayerRows]:
        """Return inputs (..., I), and arrays for the results of all layers at the same rows."""
        shape, count, arrays = x.shape[:-1], None if self.all_states else 1, [LayerRows(x)]
        for layer in self.network.layers:
            sizes = [cell.state_sizes[:count] for cell in layer.cells]
            states = [tuple([np.empty((*shape, n), x.dtype) for n in each]) for each in sizes]
            one = len(states) == 1
            output = states[0][0] if one else np.empty((*shape, layer.output_size), x.dtype)
            arrays.append(LayerRows(output, states))
        return arrays

    def _run_shares(self, runs: Sequence[list[LayerRows]], states: Floats) -> None:
        """Run sequences, the longest first, from `states` (N, S); in threads where that pays.

        A run is T steps of the first N sequences: inputs (T, N, I), then results (T, N, O).
        """
        lengths = np.zeros(len(states), np.intp)
        for x, *_ in runs:
            lengths[: x.output.shape[1]] += len(x.output)
        steps = lengths.cumsum()
        for strategy in chain.from_iterable(self.strategies):
            strategy.rows_run += int(lengths.sum())
        shares = self._count_shares(len(states))
        if shares == 1:
            self._run_layers(runs, states)
            return
        targets = steps[-1] * np.arange(1, shares) / shares
        edges = [0, *np.searchsorted(steps, targets, side="right").tolist(), len(states)]

        def run(share: slice) -> None:
            share_runs = [
                [rows.apply(lambda array: array[:, share]) for rows in arrays]
                for arrays in runs
                if arrays[0].output.shape[1] > share.start
            ]
            self._run_layers(share_runs, states[share])

        in_threads(run, [slice(start, stop) for start, stop in pairwise(edges) if start < stop])

    def _count_shares(self, N: int) -> int:
        """Count the shares that N sequences are cut into: one, or several for each thread."""
        cells = [each.cell for each in chain.from_iterable(self.strategies)]
        if N < 2 or not cells:
            return 1
        weights = max((cell.weights for cell in cells), key=lambda each: len(each.b_h))
        I, H, sums = len(weights.W_xh), len(weights.W_hh), len(weights.b_h)
        if N * H * (H + I + FUNCTION) < WORK or not may_share_products():
            return 1
        return THREADS * ceil(N * sums / (THREADS * STATES_IN_CACHE))

    def _run_layers(self, runs: Sequence[list[LayerRows]], states: Floats) -> None:
        """Run sequences through all layers, from `states` (N, S), which are overwritten."""
        network, outputs = self.network, [[rows.output for rows in run] for run in runs]
        with np.errstate(all="ignore"):
            for number, layer in enumerate(network.layers, start=1):
                inputs = [network.select_inputs(number, each) for each in outputs]
                results = [run[number] for run in runs]
                for n in range(len(layer.cells)):
                    self._run_cell(number - 1, n, inputs, results, states)
                if layer.takes_sequences:
                    self._run_sequences(layer, inputs, results)
                elif len(layer.cells) != 1:
                    for x, rows in zip(inputs, results, strict=True):
                        rows.output[...] = self.get_output(layer, x, rows.states)

    def _run_cell(
        self, number: int, n: int, inputs: list[Floats], results: list[LayerRows], states: Floats
    ) -> None:
        """Run a cell over all runs; a backward cell begins at the last, of the fewest sequences."""
        strategy, operand = self.strategies[number][n], self.precision.operand
        turn = -1 if self.network.layers[number].directions[n] == "backward" else 1
        state = [states[:, columns] for columns in self.network.state_slices[number][n]]
        for x, rows in [*zip(inputs, results, strict=True)][::turn]:
            x, out, N = operand(x[::turn]), tuple(a[::turn] for a in rows.states[n]), x.shape[1]
            h, *rest = (array[:N].copy() for array in state)
            _, *last = strategy(x, (h, *rest), out)
            strategy.mark_overflows(x, h, out, last)
            for array, final in zip(state, [out[0][-1], *last], strict=True):
                array[:N] = final

    def _run_sequences(self, layer: Layer, inputs: list[Floats], results: list[LayerRows]) -> None:
        """Run a layer that takes all rows of a sequence at once."""
        for n in range(inputs[0].shape[1] if inputs else 0):
            pairs = [pair for pair in zip(inputs, results, strict=True) if pair[0].shape[1] > n]
            output = self.get_output(layer, np.concatenate([x[:, n] for x, _ in pairs]))
            for x, rows in pairs:
                rows.output[:, n], output = output[: len(x)], output[len(x) :]
