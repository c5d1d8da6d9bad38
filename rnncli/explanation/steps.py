"""Steps of a run with all that they compute."""

from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import NamedTuple, cast

import numpy as np

from rnncli.engine.packed import group
from rnncli.engine.rows import Rows, join
from rnncli.engine.runner import Runner
from rnncli.engine.stream import Carried, forward
from rnncli.explanation.quantities import CellTrace, Quantity, explain_row
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.errors import InputError
from rnncli.model.layers import Recurrent, Stateless
from rnncli.model.network import Network
from rnncli.writers.model import describe_layer, layer_line

MASKED = "This row is masked: every state stays as it is."
Keys = Sequence[tuple[str, ...]]
# Rows, which of them are explained, and which are the row that the model gives of a sequence.
Part = tuple[Rows, Truths, Truths | None]
NO_ANSWER = "The model gives one row a sequence: its answer is the last step, not this one."


class Wanted(NamedTuple):
    """Steps of each sequence, from 1, both ends included; by default the last one alone."""

    first: int | None = None
    last: int | None = None  # None for all from the first one on

    def among(self, t: Integers) -> Truths:
        """Find which of these steps are wanted."""
        return (t >= (self.first or 1)) & (t <= (self.last or inf))


class ExplainedCell(NamedTuple):
    """A step of a cell, or a row of a layer without state."""

    direction: str | None  # None for a layer without state
    t: int | None  # of a backward cell that ended at another step
    inputs: dict[str, Floats]  # x_t, then the state before the step, or what x_t is scaled by
    quantities: list[Quantity]  # in the order of computation; the last is h_t, or y_t


class ExplainedLayer(NamedTuple):
    """A step of a layer."""

    layer: int  # from 1
    title: str
    cells: list[ExplainedCell]  # one for a layer without state
    output: Floats
    merge: str | None = None  # of two directions


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
    keys: Keys = (),
    one: bool = True,
    most: float = inf,
) -> Iterator[Step]:
    """Run a network step by step, and explain some of the steps, at most so many.

    Every number is that of ``stepwise``; only blocks before the last one in front of the steps run
    by ``auto``. Where there is `one` sequence, nothing behind the steps is read. The last step of
    a model that gives one row a sequence explains that row, and the others have a note.
    """
    if network.front:
        raise ValueError("the layers that give fewer rows than they take cannot be explained")
    walk = _Walk(Runner(network, precision, "stepwise", all_states=True), carried, keys)
    walk.key_columns, fast = key_columns, Runner(network, precision)
    before, found = None, 0
    for rows, chosen, answer in walk.parts(blocks, wanted, one=one):
        if before:
            walk.run(before, walk.runner if chosen.any() else fast)
        before, found = rows, found + int(chosen.sum())
        if found > most:
            what = f"a page holds about {most} steps of this network, the input has more"
            raise InputError("", what, "choose fewer by `steps`, or write them as JSON")
        if chosen.any():
            yield from walk.explain(rows, chosen, answer)
            before = None
    if before:
        walk.run(before, walk.runner)
    if not found:
        raise InputError("", _no_step(wanted, carried))


class _Walk:
    """A network on its way through the sequences of `carried`, and the rows that it is at."""

    key_columns: Sequence[str] = ()

    def __init__(self, runner: Runner, carried: Carried, keys: Keys) -> None:
        self.runner, self.carried, self.keys = runner, carried, keys
        self.network, self.dtype = runner.network, runner.precision.dtype
        self.traces = [list(map(CellTrace, of_layer)) for of_layer in runner.strategies]
        self.titles = [layer_line(describe_layer(layer)) for layer in self.network.layers]
        carried.convert(self.network, self.dtype)

    def parts(self, blocks: Iterable[Rows], wanted: Wanted, *, one: bool) -> Iterator[Part]:
        """Cut an input into rows to pass by and rows that are explained."""
        last, network = wanted == Wanted(), self.network
        if not network.needs_whole_sequences and not (network.last and not last):
            taken = self.carried.t
            parts = _last_rows(blocks) if last else _rows_between(blocks, wanted, taken, one=one)
            yield from (part for part in parts if len(part[0].x))
        elif every := list(blocks):
            rows = join(every)
            counted = np.ones(len(rows.x), bool)  # the rows that can be the answer
            if network.last and rows.masked is not None:
                counted &= ~rows.masked
            if network.last and not network.by_row:
                counted &= ~self.runner.find_masked(self._inputs_of(rows))
            groups, answer = group(rows.key, len(rows.x)), np.zeros(len(rows.x), bool)
            ends = groups.only(counted)
            answer[groups.last[~np.isin(groups.present, ends.present)]] = True
            answer[ends.last] = True
            chosen = answer if last else wanted.among(_number(rows, self.carried.t)[0])
            yield rows, chosen, answer if network.last else None

    def run(self, rows: Rows, runner: Runner) -> None:
        """Run over rows; only the states are kept."""
        rows = rows._replace(x=np.ascontiguousarray(rows.x, self.dtype))
        if error := forward(runner, rows, self.carried, self.keys)[1]:
            raise error

    def _inputs_of(self, rows: Rows) -> Floats:
        """Return the inputs of the layers, 0 where the input masks a row."""
        masked = False if rows.masked is None else rows.masked[:, None]
        return np.where(masked, 0, rows.x).astype(self.dtype)

    def explain(self, rows: Rows, chosen: Truths, answer: Truths | None) -> Iterator[Step]:
        """Run over rows, and explain those that are chosen, up to a state that is not finite."""
        self.carried.grow(1 if rows.key is None else int(rows.key.max(initial=-1)) + 1)
        self.start, x = self.carried.state.copy(), self._inputs_of(rows)
        results, error = forward(self.runner, rows._replace(x=x), self.carried, self.keys)
        if error and self.network.needs_whole_sequences:
            raise error
        groups, done = group(rows.key, len(x)), len(results.x)
        self.masked = self.runner.find_masked(x) | (np.arange(len(x)) >= done)
        self.masked |= False if rows.masked is None else rows.masked
        self.layers = self.runner.run_rows(x, groups, self.start.copy(), self.masked)
        self.inputs = [x, *(each.output for each in self.layers)]
        self.key = np.zeros(len(x), np.intp) if rows.key is None else rows.key
        # The row before each in either direction; -1 before the first.
        self.before = {way: np.full(len(x), -1) for way in ("forward", "backward")}
        same = groups.keys[1:] == groups.keys[:-1]
        one, other = groups.order[:-1][same], groups.order[1:][same]
        self.before["forward"][other], self.before["backward"][one] = one, other
        for row in groups.order[(chosen & (np.arange(len(x)) < done))[groups.order]].tolist():
            masked, key = self.masked[row], self.keys[self.key[row]] if self.keys else ()
            note = MASKED if masked else NO_ANSWER
            step = Step(
                dict(zip(self.key_columns, key, strict=True)) or None,
                int(results.t[row]),
                rows.x[row],
                note if masked or (answer is not None and not answer[row]) else None,
                [] if masked else [self._layer(n, row) for n in range(len(self.layers))],
                results.h[row],
                None if results.y is None else results.y[row],
            )
            final = answer is not None and not self.network.by_row
            yield self._final(step, groups.order, row) if final and not step.note else step
        if error:
            raise error

    def _layer(self, n: int, row: int) -> ExplainedLayer:
        network, ran = self.network, self.layers[n]
        x = network.select_inputs(n + 1, [each[row : row + 1] for each in self.inputs])
        layer, cells = network.layers[n], []
        if not isinstance(layer, Recurrent):
            return self._stateless(n, x, ran.output[row])
        for direction, slices, trace, states in zip(
            layer.directions, network.state_slices[n], self.traces[n], ran.cells, strict=True
        ):
            at, t = self.before[direction][row], "t+1" if direction == "backward" else "t-1"
            start = [self.start[self.key[row], columns] for columns in slices]
            before = start if at < 0 else [array[at] for array in states]
            names = (f"{name}_{{{t}}}" for name in trace.cell.state_names)
            inputs = {"x_t": x[0], **dict(zip(names, before, strict=True))}
            with np.errstate(all="ignore"):
                cells.append(ExplainedCell(direction, None, inputs, trace.explain(inputs)))
        merge = layer.merge if len(cells) > 1 else None
        return ExplainedLayer(n + 1, self.titles[n], cells, ran.output[row], merge)

    def _stateless(self, n: int, x: Floats, y: Floats) -> ExplainedLayer:
        """Explain how a layer without state makes y (O,) of x (1, I)."""
        layer = cast(Stateless, self.network.layers[n])
        factors = {name: a for name, a in layer.arrays.items() if name in ("scale", "factor")}
        inputs = {"x_t": x[0], **factors}
        with np.errstate(all="ignore"):
            found = explain_row(layer, x, y, self.runner)
        cells = [ExplainedCell(None, None, inputs, found)]
        return ExplainedLayer(n + 1, self.titles[n], cells, y)

    def _final(self, step: Step, order: Integers, row: int) -> Step:
        """Explain the row of the final state, in which a backward cell ends at the first step."""
        layers, top = self.network.layers, len(self.network.layers) - 1 - self.network.head
        rows = order[self.key[order] == self.key[row]]
        first, cells = int(np.argmin(self.masked[rows])), [*step.layers[top].cells]
        for n, direction in enumerate(layers[top].directions):
            if direction == "backward" and first + 1 != step.t:
                cells[n] = self._layer(top, int(rows[first])).cells[n]._replace(t=first + 1)
        states = [(cell.quantities[-1].values[None],) for cell in cells]
        x = h = self.runner.output(layers[top], np.empty((1, 0)), states)
        found = [*step.layers[:top], step.layers[top]._replace(cells=cells, output=h[0])]
        outputs = [x] * (top + 2)
        for n in range(top + 1, len(layers)):
            x = self.network.select_inputs(n + 1, outputs)
            outputs.append(self.runner.output(layers[n], x))
            found.append(self._stateless(n, x, outputs[-1][0]))
        x = outputs[-1]
        return step._replace(layers=found, h=h[0], y=x[0] if self.network.head else None)


def _no_step(wanted: Wanted, carried: Carried) -> str:
    """Describe why none of the wanted steps is there."""
    starts, t = carried.starts()[0], carried.t
    ran, started = t > starts, int(starts.max(initial=0))
    if (wanted.last or inf) <= started:
        return f"step {wanted.last} is before the state: the steps go on at {started + 1}"
    if not ran.any():
        return "the input has no steps"
    steps = f"{starts[ran].min() + 1} to {t[ran].max()}"
    return f"there is no step {wanted.first}: the input has the steps {steps}"


def _last_rows(blocks: Iterable[Rows]) -> Iterator[Part]:
    """Yield rows to pass by, and at the end the last row of each sequence."""
    last: list[Rows] = []
    for block in blocks:
        rows = join([*last, block])
        chosen = np.zeros(len(rows.x), bool)
        chosen[group(rows.key, len(rows.x)).last] = True
        yield rows.take(~chosen), np.zeros(int((~chosen).sum()), bool), None
        last = [rows.take(chosen)]
    yield from ((rows, np.ones(len(rows.x), bool), None) for rows in last)


def _rows_between(
    blocks: Iterable[Rows], wanted: Wanted, taken: Integers, *, one: bool
) -> Iterator[Part]:
    """Yield rows to pass by, and those that are asked for, until no more are wanted."""
    for rows in blocks:
        t, taken = _number(rows, taken)
        for asked in (False, True):
            chosen = wanted.among(t) if asked else t < (wanted.first or 1)
            yield rows.take(chosen), np.full(int(chosen.sum()), asked), None
        if one and wanted.last is not None and len(t) and t[-1] >= wanted.last:
            return


def _number(rows: Rows, taken: Integers) -> tuple[Integers, Integers]:
    """Return the number of each row's step after so many, (K,), and how many there are then."""
    groups = group(rows.key, len(rows.x))
    new = max(0, int(groups.present.max(initial=-1)) + 1 - len(taken))
    taken = np.pad(taken, (0, new))
    return groups.number(taken), taken
