"""A network ready to run: rows of any sequences go through its layers, bottom to top."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from math import ceil
from typing import NamedTuple, cast

import numpy as np

from rnncli.engine.packed import Groups, Packed, share
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.threads import THREADS, in_threads, leaves_processors, may_start_a_thread
from rnncli.engine.unroll import STRATEGIES, find_lacking
from rnncli.engine.unroll.strategy import SAFE, Strategy, find_overflows, largest_sum, row_products
from rnncli.model.arrays import Floats, Integers, Truths, as_items, contiguous, largest
from rnncli.model.cells import State
from rnncli.model.errors import InputError, choice
from rnncli.model.layers import Layer, Masks, Recurrent
from rnncli.model.network import Network

# Values of the states of a thread that stay in the cache.
STATES_IN_CACHE = 81_920
# Fewest multiplications of a step that are worth two threads, which wait for Python's lock at each
# call. A gated cell makes GATED times as many; functions of a sum take FUNCTION multiplications.
WORK, GATED, FUNCTION = 3_000_000, 4, 32
# Multiplications that take a second or so.
A_SECOND = 1 << 33


class LayerRows(NamedTuple):
    """The results of a layer at some rows."""

    output: Floats  # (R, O); of a layer of one cell its h
    cells: Sequence[State] = ()  # after every step: h of each cell, and the rest if asked for

    def map(self, change: Callable[[Floats], Floats]) -> "LayerRows":
        """Change every array, once."""
        cells = [tuple(map(change, state)) for state in self.cells]
        return LayerRows(cells[0][0] if len(cells) == 1 else change(self.output), cells)

    @property
    def arrays(self) -> list[Floats]:
        """All arrays once."""
        states = [*chain.from_iterable(self.cells)]
        return states if len(self.cells) == 1 else [*states, self.output]

    @property
    def c(self) -> Floats:
        """The arrays of the states beside h, side by side, (R, C)."""
        arrays = [array for state in self.cells for array in state[1:]]
        one = len(arrays) == 1
        return arrays[0] if one else np.concatenate([self.output[..., :0], *arrays], axis=-1)


class Batch:
    """Sequences of equal lengths, (T, N, K)."""

    def cut(self, rows: Floats) -> list[Floats]:
        """Return the only array, if it has steps."""
        return [rows] if len(rows) else []

    def turn(self, rows: Floats) -> Floats:
        """View every sequence turned around."""
        return rows[::-1]

    def apply(self, function: Callable[[Floats], Floats], x: Floats) -> Floats:
        """Apply a function of the rows of a sequence, (T, K), to each."""
        return np.stack([function(each) for each in x.swapaxes(0, 1)], axis=1)


class Runner:
    """A network in a precision, run by a strategy; `all_states` adds c of every step to h."""

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
        if lacking := find_lacking(unroll, precision):
            raise InputError(f"unroll {unroll}", lacking)
        most = 2 ** (np.finfo(self.precision.dtype).nmant + 1) + 1  # its whole numbers from 0
        if (network.indices or 0) > most:
            what = f"{network.indices} rows, {self.precision.dtype} numbers {most}"
            raise InputError("W", what, " (`precision` float64 holds more)")
        self.network = network.converted(self.precision.convert)
        self.all_states, self.row_by_row = all_states, unroll == "stepwise"
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
        """Multiply rows (..., K) by a matrix, as a layer without state does."""
        rows = contiguous(self.precision.operand(x)).reshape(-1, len(W))
        product = row_products(rows, W) if self.row_by_row else np.matmul(rows, W)
        if not largest(rows) * largest_sum(W) <= SAFE / 2 * float(np.finfo(W.dtype).max):
            product[find_overflows(rows, W)] = np.nan
        return product.reshape(*x.shape[:-1], W.shape[1])

    def output(self, layer: Layer, x: Floats, states: Sequence[State] = ()) -> Floats:
        """Compute the output of a layer: of its cells' states, or, if it has none, of rows x."""
        with np.errstate(all="ignore"):
            if isinstance(layer, Recurrent):
                return layer.merged([state[0] for state in states])
            return layer(np.ascontiguousarray(x), self.multiply)

    def run_front(self, x: Floats, groups: Groups) -> tuple[Floats, Truths]:
        """Run the layers in front; a row they give stands at the last row that it is made of."""
        chosen = np.zeros(len(x), bool)
        made = np.zeros((len(x), self.network.layers[0].input_size), x.dtype)
        for order in np.split(groups.order, groups.starts[1:]):
            rows = x[order]
            for layer in self.network.front:
                rows = self.output(layer, rows)
            last = order[np.arange(1, len(rows) + 1) * len(order) // max(len(rows), 1) - 1]
            made[last], chosen[last] = rows, True
        return made, chosen

    def head(self, state: Floats) -> Floats:
        """Compute the head's output for the final states (K, S) of the top recurrent layer."""
        network = self.network
        outputs = [state] * (len(network.layers) + 1)
        for number in network.final:
            layer, slices = network.layers[number - 1], network.state_slices[number - 1]
            states = [tuple(state[:, columns].copy() for columns in cell) for cell in slices]
            x = state if layer.cells else network.select_inputs(number, outputs)
            outputs[number] = self.output(layer, x, states)
        none = np.full((len(state), network.output_size), np.nan, state.dtype)
        return outputs[-1] if network.final else none

    def find_masked(self, x: Floats) -> Truths:
        """Find the rows that layers of the network mask."""
        masked = np.zeros(len(x), bool)
        layers = self.network.layers[: self.network.masking]
        for number, layer in enumerate(layers):
            x = self.output(layers[number - 1], x) if number else x
            if layer.masks:
                masked |= cast(Masks, layer).masked(x)
        return masked

    def run_batch(self, x: Floats, states: Floats) -> list[LayerRows]:
        """Run (T, N, I) from `states` (N, S), which are overwritten, to results (T, N, O)."""
        T, N, _ = x.shape
        results = [self._allocate(layer, (T, N)) for layer in self.network.layers]
        shares = min(N, self._count_shares(N, T * N))

        def run(n: int) -> None:
            some = slice(N * n // shares, N * (n + 1) // shares)
            targets = [rows.map(lambda array: array[:, some]) for rows in results]
            states[some] = self._run_layers(x[:, some], Batch(), states[some], targets)

        if shares == 1:
            states[...] = self._run_layers(x, Batch(), states, results)
        else:
            in_threads(run, range(shares))
        return results

    def run_rows(
        self, x: Floats, groups: Groups, states: Floats, masked: Truths | None = None
    ) -> list[LayerRows]:
        """Run rows (n, I) of several sequences, from `states` (K, S), which are overwritten.

        At a masked row a cell repeats the h of the state that it keeps. In a layer of two
        directions the cells give 0 where a layer of the network masks, as Keras has it.
        """
        by_input = np.zeros(len(x), bool) if masked is None else masked
        if masked is not None:
            x = np.where(masked[:, None], 0, x)  # a masked row may have no features
        by_layer = self.find_masked(x) & ~by_input
        masked = by_input | by_layer
        if masked.any():
            initial = states[groups.present]
            results = self._run_groups(x, groups.only(~masked), states)
            self._fill(x, results, groups, initial, masked, by_layer)
            return results
        if len(groups.present) == 1:
            key = int(groups.present[0])
            results = self.run_batch(x[:, None], states[key : key + 1])
            return [rows.map(lambda array: array[:, 0]) for rows in results]
        return self._run_groups(x, groups, states)

    def _run_groups(self, x: Floats, groups: Groups, states: Floats) -> list[LayerRows]:
        """Run several sequences; the results of rows in no group are left empty."""
        results = [self._allocate(layer, (len(x),)) for layer in self.network.layers]
        shares = self._count_shares(len(groups.present), len(groups.order))

        def run(some: Integers) -> None:
            packed, keys = Packed(groups.lengths[some]), groups.present[some]
            rows = groups.order[groups.starts[some][packed.n] + packed.t]
            targets = [self._allocate(layer, (len(rows),)) for layer in self.network.layers]
            states[keys] = self._run_layers(x.take(rows, axis=0), packed, states[keys], targets)
            for result, target in zip(results, targets, strict=True):
                for array, packed_array in zip(result.arrays, target.arrays, strict=True):
                    as_items(array)[rows] = as_items(packed_array)

        if len(groups.order):
            in_threads(run, share(groups.lengths, shares))
        return results

    def _allocate(self, layer: Layer, rows: tuple[int, ...]) -> LayerRows:
        """Allocate the results of a layer."""
        dtype, every = self.precision.dtype, None if self.all_states else 1
        cells = [
            tuple([np.empty((*rows, size), dtype) for size in cell.state_sizes[:every]])
            for cell in layer.cells
        ]
        one = len(cells) == 1
        return LayerRows(cells[0][0] if one else np.empty((*rows, layer.output_size), dtype), cells)

    def _run_layers(
        self, x: Floats, packed: Packed | Batch, before: Floats, targets: Sequence[LayerRows]
    ) -> Floats:
        """Run rows, packed or (T, N, I), through all layers; return the states after them."""
        after, network, outputs = before.copy(), self.network, [x]
        with np.errstate(all="ignore"):
            for number, (layer, target) in enumerate(zip(network.layers, targets, strict=True)):
                x = network.select_inputs(number + 1, outputs)
                for n, strategy in enumerate(self.strategies[number]):
                    slices, out = network.state_slices[number][n], target.cells[n]
                    state = tuple([before[:, columns].copy() for columns in slices])
                    self._run_cell(strategy, x, packed, state, out, layer.directions[n])
                    for columns, array in zip(slices, state, strict=True):
                        after[:, columns] = array
                if len(layer.cells) != 1:
                    run = partial(self.output, layer, states=target.cells)
                    made = run(x) if not layer.whole else packed.apply(run, x)
                    target.output[...] = made
                outputs.append(target.output)
        return after

    def _run_cell(
        self,
        strategy: Strategy,
        x: Floats,
        packed: Packed | Batch,
        state: State,
        out: State,
        way: str,
    ) -> None:
        """Run a cell over rows into `out`, and leave the final state in `state`."""
        x, turned = self.precision.operand(x), out
        if way == "backward":
            x, turned = packed.turn(x), tuple(map(packed.turn, out))
        for x_run, *out_run in zip(*map(packed.cut, (x, *turned)), strict=True):
            N = x_run.shape[1]
            h, *others = (array[:N].copy() for array in state)
            _, *last = strategy(x_run, (h, *others), tuple(out_run))
            strategy.mark_overflows(x_run, h, tuple(out_run), last)
            for array, final in zip(state, [out_run[0][-1], *last], strict=True):
                array[:N] = final
        if turned is not out and isinstance(packed, Packed):  # of a batch they are views
            for array, of_turned in zip(out, turned, strict=True):
                array[...] = packed.turn(of_turned)

    def _count_shares(self, N: int, rows: int) -> int:
        """Count the shares that N sequences are cut into: one, or some a thread; add their rows."""
        strategies = [*chain.from_iterable(self.strategies)]
        for strategy in strategies:
            strategy.rows_run += rows
        if N < 2 or not strategies or not may_start_a_thread():
            return 1
        cells = sorted((each.cell for each in strategies), key=lambda cell: len(cell.weights.b_h))
        (I, width), H = cells[0].weights.W_xh.shape, len(cells[0].weights.W_hh)
        enough, terms = (WORK, H) if cells[0].gates == 1 else (WORK * GATED, H + I)
        if N * width * (terms + FUNCTION) < enough or not leaves_processors(max(I + 1, H) * width):
            return 1
        return THREADS * ceil(N * len(cells[-1].weights.b_h) / (THREADS * STATES_IN_CACHE))

    def _fill(
        self,
        x: Floats,
        results: Sequence[LayerRows],
        groups: Groups,
        initial: Floats,
        masked: Truths,
        by_layer: Truths,
    ) -> None:
        """Fill in the results at masked rows: of the rows before them, or of `initial`, (P, S)."""
        network, outputs = self.network, [x]
        if any(layer.whole for layer in network.layers):
            raise ValueError("masked rows: a layer of the network takes whole sequences")
        sources = {way: groups.find_sources(masked, way) for way in ("forward", "backward")}
        for number, (layer, each) in enumerate(zip(network.layers, results, strict=True)):
            x, slices = network.select_inputs(number + 1, outputs), network.state_slices[number]
            for state, way, columns in zip(each.cells, layer.directions, slices, strict=True):
                rows, n, source = sources[way]
                for array, of_array in zip(state, columns, strict=False):  # h alone, or all
                    first = source[:, None] < 0
                    array[rows] = np.where(first, initial[n, of_array], array[source])
                if len(each.cells) > 1:
                    state[0][by_layer] = 0
            # All rows at once: a product of one row may round in another way than that of many,
            # and a masked row would not be like the one that it repeats.
            if len(layer.cells) != 1:
                each.output[...] = self.output(layer, x, each.cells)
            outputs.append(each.output)
