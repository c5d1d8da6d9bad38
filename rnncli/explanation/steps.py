"""Steps of a run with all that they compute."""

from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import NamedTuple

import numpy as np

from rnncli.engine.rows import Groups, Rows, group, join, join_all
from rnncli.engine.runner import LayerRows, Runner
from rnncli.engine.stream import Carried, Names, run_layers
from rnncli.explanation.quantities import CellTrace, Quantity, explain_row
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.description import describe_layer, layer_line
from rnncli.model.errors import InputError
from rnncli.model.layers import Stateless
from rnncli.model.network import Network

MASKED = "This row is masked: every state stays as it is."
SCALES = ("center", "scale", "factor")  # arrays that a layer without state scales x_t by
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
    traced = _trace(Runner(network, precision, "stepwise", all_states=True))
    carried.convert(traced.runner.network, traced.runner.precision.dtype)
    seen, count = list[int](), 0
    at_once, last, end = network.needs_whole_sequences, wanted == Wanted(), wanted.last
    blocks = join_all(blocks) if at_once else blocks
    for rows, at_end in _hold_ends(blocks, hold=last and not at_once):
        groups, t = _number(rows, carried)
        seen += [int(t.min()), int(t.max())] if len(t) else []
        if not at_once and t.max(initial=0) > end:
            rows = rows.take(t <= end)
            groups, t = _number(rows, carried)
        chosen = (t >= (wanted.first or 1)) & (t <= end)
        if last:
            chosen[:] = False
            chosen[groups.last] = at_once or at_end
        count += int(chosen.sum())
        if count > most:
            what = f"a page holds about {most} steps of this network, the input has more"
            raise InputError("", what, "choose fewer by `steps`, or write them as JSON")
        for row, step in _explain_rows(traced, rows, groups, chosen, carried, keys, final=last):
            names = keys[0 if rows.key is None else rows.key[row]] if keys else ()
            yield step._replace(key=dict(zip(key_columns, names, strict=True)) or None)
        if one and t.max(initial=0) >= end:  # what follows in the input is not read
            break
    if not count:
        known = f"the steps {min(seen)} to {max(seen)}" if seen else "no steps"
        wrong = f"there is no step {wanted.first}: " if seen else ""
        raise InputError("", f"{wrong}the input has {known}")


class _Traced(NamedTuple):
    """A network, and what explains each of its layers."""

    runner: Runner
    titles: list[str]
    cells: list[list[CellTrace]]

    @property
    def top(self) -> int:
        """The index of the top recurrent layer."""
        return len(self.titles) - 1 - self.runner.network.head


class _Block(NamedTuple):
    """Rows that were run, and where each of their steps starts."""

    x: Floats  # (n, I)
    t: Integers  # (n,), or fewer if a state overflows
    masked: Truths  # (n,): by the input or a layer, or since a state overflowed
    layers: list[LayerRows]
    start: Floats  # (P, S): the state of each sequence before its first row
    before: dict[str, Integers]  # (n,) by direction: the row before; n + p stands for `start[p]`
    first: Integers  # (n,): the first row of the sequence that is not masked

    @property
    def outputs(self) -> list[Floats]:
        """The input of the network, and the output of each layer."""
        return [self.x, *(each.output for each in self.layers)]


def _trace(runner: Runner) -> _Traced:
    titles = [layer_line(describe_layer(layer)) for layer in runner.network.layers]
    return _Traced(runner, titles, [list(map(CellTrace, each)) for each in runner.strategies])


def _number(rows: Rows, carried: Carried) -> tuple[Groups, Integers]:
    """Group rows that come next, and number their steps."""
    carried.grow(1 if rows.key is None else int(rows.key.max(initial=-1)) + 1)
    groups = group(rows.key, len(rows.x))
    return groups, groups.number(carried.t.copy())


def _explain_rows(
    traced: _Traced,
    rows: Rows,
    groups: Groups,
    chosen: Truths,
    carried: Carried,
    keys: Names,
    *,
    final: bool,
) -> Iterator[tuple[int, Step]]:
    """Run rows, and explain the chosen ones, or the `final` row of a model that gives one."""
    runner, network, n = traced.runner, traced.runner.network, len(rows.x)
    by_input = np.zeros(n, bool) if rows.masked is None else rows.masked
    x = np.where(by_input[:, None], 0, rows.x).astype(runner.precision.dtype)
    start = carried.state[groups.present]
    layers, results, after, error = run_layers(runner, rows._replace(x=x), carried, keys)
    carried.commit(after)
    if chosen.any() and not (error and network.needs_whole_sequences):
        done = np.arange(n) < len(results.x)
        masked = by_input | ~done | runner.find_masked(x)
        before, first = _find_starts(groups, masked)
        block = _Block(x, results.t, masked, layers, start, before, first)
        final &= bool(network.last)
        if final and network.needs_whole_sequences:  # the last row that counts gives the row
            counts = ~by_input if network.by_row else ~block.masked
            last = groups.find_sources(~counts, "forward")[groups.last]
            chosen = np.zeros(n, bool)
            chosen[np.where(last < n, last, groups.last)] = True
        from_states = final and not network.by_row
        for row in groups.order[(chosen & done)[groups.order]].tolist():
            step = _explain_row(traced, block, row, int(block.first[row]) if from_states else row)
            note = NO_ANSWER if network.last and not final else None
            yield row, step._replace(x=rows.x[row], note=step.note or note)
    if error:
        raise error


def _find_starts(groups: Groups, masked: Truths) -> tuple[dict[str, Integers], Integers]:
    """Find the row before each row, by direction, and the first row of each one's sequence."""
    before, first = dict[str, Integers](), np.empty_like(groups.order)
    for direction in ("forward", "backward"):
        sources = groups.find_sources(masked, direction)
        order = groups.turned(direction).order
        before[direction] = np.empty_like(order)
        before[direction][order[1:]] = sources[order[:-1]]
        before[direction][order[groups.starts]] = len(order) + np.arange(len(groups.starts))
    first[groups.order] = np.repeat(sources[groups.order[groups.starts]], groups.lengths)
    return before, first


def _explain_row(traced: _Traced, block: _Block, row: int, first: int) -> Step:
    """Explain a row, at whose final state the backward cells of the top layer are at `first`."""
    layers, note = list[ExplainedLayer](), MASKED if block.masked[row] else None
    outputs = [each[row : row + 1] for each in block.outputs]
    for n in range(len(block.layers) if note is None else 0):
        # A backward cell of the top layer ended at the first row.
        directions = traced.runner.network.layers[n].directions
        ends = [first if n == traced.top and w == "backward" else row for w in directions]
        if n >= traced.top and first != row:
            outputs[n + 1] = _compute_final(traced, block, n, ends, outputs)
        layers.append(_explain_layer(traced, block, n, ends, row, outputs))
    h, y = outputs[traced.top + 1][0], outputs[-1][0] if traced.runner.network.head else None
    return Step(None, int(block.t[row]), block.x[row], note, layers, h, y)


def _compute_final(
    traced: _Traced, block: _Block, n: int, ends: Sequence[int], outputs: Sequence[Floats]
) -> Floats:
    """Compute the output of a layer from the states in which its cells end."""
    network, ran = traced.runner.network, block.layers[n]
    states = [(state[0][[at]],) for state, at in zip(ran.states, ends, strict=True)]
    x = network.select_inputs(n + 1, outputs)
    return traced.runner.get_output(network.layers[n], x, states)


def _explain_layer(
    traced: _Traced, block: _Block, n: int, ends: Sequence[int], row: int, outputs: Sequence[Floats]
) -> ExplainedLayer:
    """Explain a layer at a row, each of its cells at the row where it ends."""
    network, output = traced.runner.network, outputs[n + 1][0]
    layer = network.layers[n]
    if isinstance(layer, Stateless):
        x = network.select_inputs(n + 1, outputs)
        scales = {name: layer.arrays[name] for name in SCALES if name in layer.arrays}
        with np.errstate(all="ignore"):
            quantity = explain_row(layer, x, output, traced.runner)
        cells = [ExplainedCell(None, None, {"x_t": x[0], **scales}, [quantity])]
    else:
        cells = [_explain_cell(traced, block, n, k, at, row) for k, at in enumerate(ends)]
    merge = getattr(layer, "merge", None) if len(cells) > 1 else None
    sources = [*layer.sources] or None
    return ExplainedLayer(n + 1, traced.titles[n], cells, output, merge, sources)


def _explain_cell(
    traced: _Traced, block: _Block, n: int, k: int, at: int, row: int
) -> ExplainedCell:
    """Explain cell k of a layer at a row, which differs from that of the step at its end."""
    network, trace, states = traced.runner.network, traced.cells[n][k], block.layers[n].states[k]
    direction = network.layers[n].directions[k]
    x = network.select_inputs(n + 1, [each[at : at + 1] for each in block.outputs])
    before, rows = block.before[direction][at], len(block.x)
    state = [
        array[before] if before < rows else block.start[before - rows, columns]
        for columns, array in zip(network.state_slices[n][k], states, strict=True)
    ]
    t = "t+1" if direction == "backward" else "t-1"
    names = (f"{name}_{{{t}}}" for name in trace.cell.state_names)
    inputs = {"x_t": x[0], **dict(zip(names, state, strict=True))}
    with np.errstate(all="ignore"):
        quantities = trace.explain(inputs, [array[at] for array in states])
    return ExplainedCell(direction, None if at == row else int(block.t[at]), inputs, quantities)


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
