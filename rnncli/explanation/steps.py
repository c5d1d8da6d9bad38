"""Steps of a run with all that they compute."""

from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import NamedTuple

import numpy as np

from rnncli.engine.rows import Groups, Rows, group, join, join_all
from rnncli.engine.runner import Runner
from rnncli.engine.stream import Carried, Names, forward
from rnncli.explanation.quantities import CellTrace, Quantity, explain_row
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.errors import InputError
from rnncli.model.layers import Stateless
from rnncli.model.network import Network
from rnncli.writers.model import describe_layer, layer_line

MASKED = "This row is masked: every state stays as it is."
NO_ANSWER = "The model gives one row a sequence, which is explained by default."


class Wanted(NamedTuple):
    """Steps of each sequence, from 1, both ends included; by default the last one alone."""

    first: int | None = None
    last: float = inf


class ExplainedCell(NamedTuple):
    """A step of a cell, or a row of a layer without state."""

    direction: str | None  # None for a layer without state
    t: int | None  # if a backward cell ended at another step
    inputs: dict[str, Floats]  # x_t, then the state before the step, or what x_t is scaled by
    quantities: list[Quantity]  # in the order of computation; the last is h_t, or y_t


class ExplainedLayer(NamedTuple):
    """A step of a layer."""

    layer: int  # from 1
    title: str
    cells: list[ExplainedCell]  # one for a layer without state
    output: Floats
    merge: str | None = None  # of two directions
    sources: list[int] | None = None  # the layers that x_t is from, if not the one below


class Step(NamedTuple):
    """A step of a sequence; a masked one has no layers."""

    key: dict[str, str] | None  # of the sequence, by column; None where there is one
    t: int
    x: Floats  # NaN where a masked row has none
    note: str | None
    layers: list[ExplainedLayer]
    h: Floats  # of the top recurrent layer
    y: Floats | None  # of the head


def explain_steps(
    network: Network,
    blocks: Iterable[Rows],
    wanted: Wanted,
    carried: Carried,
    *,
    precision: str = "float32",
    key_columns: Sequence[str] = (),
    keys: Names = (),
    one: bool = True,
    most: float = inf,
) -> Iterator[Step]:
    """Run a network step by step, and explain the steps that are wanted, at most `most`."""
    if network.front:
        what = "the network cannot be explained: its lowest layers give fewer rows than they take"
        raise InputError("", what, "`layer` NAME runs a recurrent layer alone")
    walk, seen, count = _Walk(network, precision, carried, key_columns, keys), list[int](), 0
    at_once, last, end = network.needs_whole_sequences, wanted == Wanted(), wanted.last
    blocks = join_all(blocks) if at_once else blocks
    for rows, at_end in _hold_ends(blocks, hold=last and not at_once):
        groups, t = walk.number(rows)
        seen += [int(t.min()), int(t.max())] if len(t) else []
        if not at_once and t.max(initial=0) > end:
            rows = rows.take(t <= end)
            groups, t = walk.number(rows)
        chosen = (t >= (wanted.first or 1)) & (t <= end)
        if last:
            chosen[:] = False
            chosen[groups.last] = at_once or at_end
        count += int(chosen.sum())
        if count > most:
            what = f"a page holds about {most} steps of this network, the input has more"
            raise InputError("", what, "choose fewer by `steps`, or write them as JSON")
        yield from walk.explain(rows, groups, chosen, final=last and bool(network.last))
        if one and t.max(initial=0) >= end:  # what follows in the input is not read
            break
    if not count:
        known = f"the steps {min(seen)} to {max(seen)}" if seen else "no steps"
        wrong = f"there is no step {wanted.first}: " if seen else ""
        raise InputError("", f"{wrong}the input has {known}")


class _Walk:
    """A network on its way through the sequences of `carried`, and the rows that it is at."""

    def __init__(
        self, network: Network, precision: str, carried: Carried, by: Sequence[str], keys: Names
    ) -> None:
        self.runner = Runner(network, precision, "stepwise", all_states=True)
        self.network, self.carried = self.runner.network, carried
        self.by, self.keys = by, keys
        self.traces = [list(map(CellTrace, of_layer)) for of_layer in self.runner.strategies]
        self.titles = [layer_line(describe_layer(layer)) for layer in self.network.layers]
        self.top = len(self.network.layers) - 1 - self.network.head
        carried.convert(self.network, self.runner.precision.dtype)

    def number(self, rows: Rows) -> tuple[Groups, Integers]:
        """Group rows that come next, and number their steps."""
        self.carried.grow(1 if rows.key is None else int(rows.key.max(initial=-1)) + 1)
        groups = group(rows.key, len(rows.x))
        return groups, groups.number(self.carried.t.copy())

    def explain(self, rows: Rows, groups: Groups, chosen: Truths, *, final: bool) -> Iterator[Step]:
        """Run over rows, and explain those that are chosen, or the `final` row of a model."""
        by_input = np.zeros(len(rows.x), bool) if rows.masked is None else rows.masked
        x = np.where(by_input[:, None], 0, rows.x).astype(self.runner.precision.dtype)
        self.start = self.carried.state.copy()
        results, after, error = forward(self.runner, rows._replace(x=x), self.carried, self.keys)
        self.carried.commit(after)
        if error and (self.network.needs_whole_sequences or not chosen.any()):
            raise error
        if not chosen.any():
            return
        done, self.t = np.arange(len(x)) < len(results.x), results.t
        masked = by_input | ~done | self.runner.find_masked(x)
        self.layers = self.runner.run_rows(x, groups, self.start.copy(), by_input | ~done)
        self.outputs = [x, *(each.output for each in self.layers)]
        if final and self.network.needs_whole_sequences:  # the last row that counts gives the row
            ends = groups.only(~(by_input if self.network.by_row else masked))
            chosen[:] = False
            chosen[groups.last[~np.isin(groups.present, ends.present)]] = True
            chosen[ends.last] = True
        self.key = np.zeros(len(x), np.intp) if rows.key is None else rows.key
        # The row whose state each starts from in either direction; -1 at the first.
        self.before = {way: np.full(len(x), -1) for way in ("forward", "backward")}
        run = groups.only(~masked)
        same = run.keys[1:] == run.keys[:-1]
        earlier, later = run.order[:-1][same], run.order[1:][same]
        self.before["forward"][later], self.before["backward"][earlier] = earlier, later
        for row in groups.order[(chosen & done)[groups.order]].tolist():
            first, outputs = row, [each[row : row + 1] for each in self.outputs]
            if final and not self.network.by_row:
                alike = groups.order[self.key[groups.order] == self.key[row]]
                first = int(alike[np.argmin(masked[alike])])
            layers = [] if masked[row] else self._explain_layers(row, first, outputs)
            names = self.keys[self.key[row]] if self.keys else ()
            key = dict(zip(self.by, names, strict=True)) or None
            h, y = outputs[self.top + 1][0], outputs[-1][0] if self.network.head else None
            note = MASKED if masked[row] else NO_ANSWER if self.network.last and not final else None
            yield Step(key, int(results.t[row]), rows.x[row], note, layers, h, y)
        if error:
            raise error

    def _explain_layers(self, row: int, first: int, outputs: list[Floats]) -> list[ExplainedLayer]:
        """Explain the layers at a row; for a final state `outputs` become those of the state."""
        explained = []
        for n, (layer, ran) in enumerate(zip(self.network.layers, self.layers, strict=True)):
            x = self.network.select_inputs(n + 1, outputs)
            # A backward cell of the top layer ended at the first row.
            ends = [first if n == self.top and w == "backward" else row for w in layer.directions]
            if n >= self.top and first != row:
                states = [(s[0][[at]],) for s, at in zip(ran.states, ends, strict=True)]
                outputs[n + 1] = self.runner.get_output(layer, x, states)
            cells = [self._explain_cell(n, k, at, row) for k, at in enumerate(ends)]
            if isinstance(layer, Stateless):
                names = ("center", "scale", "factor")
                inputs = {name: layer.arrays[name] for name in names if name in layer.arrays}
                with np.errstate(all="ignore"):
                    quantity = explain_row(layer, x, outputs[n + 1][0], self.runner)
                cells = [ExplainedCell(None, None, {"x_t": x[0], **inputs}, [quantity])]
            merge = getattr(layer, "merge", None) if len(cells) > 1 else None
            output = outputs[n + 1][0]
            sources = [*layer.sources] or None
            explained.append(ExplainedLayer(n + 1, self.titles[n], cells, output, merge, sources))
        return explained

    def _explain_cell(self, n: int, k: int, at: int, row: int) -> ExplainedCell:
        """Explain a cell of a layer at a row, which differs from that of the step at its end."""
        trace, states = self.traces[n][k], self.layers[n].states[k]
        direction = self.network.layers[n].directions[k]
        x = self.network.select_inputs(n + 1, [each[at : at + 1] for each in self.outputs])
        before = self.before[direction][at]
        state = [
            self.start[self.key[at], columns] if before < 0 else array[before]
            for columns, array in zip(self.network.state_slices[n][k], states, strict=True)
        ]
        t = "t+1" if direction == "backward" else "t-1"
        names = (f"{name}_{{{t}}}" for name in trace.cell.state_names)
        inputs = {"x_t": x[0], **dict(zip(names, state, strict=True))}
        with np.errstate(all="ignore"):
            quantities = trace.explain(inputs, [array[at] for array in states])
        return ExplainedCell(direction, None if at == row else int(self.t[at]), inputs, quantities)


def _hold_ends(blocks: Iterable[Rows], *, hold: bool) -> Iterator[tuple[Rows, bool]]:
    """Yield rows; with `hold` the last row of each sequence comes at the end, by itself."""
    last: list[Rows] = []
    for block in blocks:
        rows = join([*last, block])
        ends = np.zeros(len(rows.x), bool)
        ends[group(rows.key, len(rows.x)).last] = hold
        yield rows.take(~ends), False
        last = [rows.take(ends)] if hold else []
    yield from ((rows, True) for rows in last)
