"""Steps of a run with all that they compute."""

from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import NamedTuple

import numpy as np

from rnncli.engine.packed import group
from rnncli.engine.rows import Rows, join
from rnncli.engine.runner import Runner
from rnncli.engine.stream import Carried, forward
from rnncli.explanation.quantities import CellTrace, Quantity, explain_row
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.errors import InputError
from rnncli.model.layers import Stateless
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

    Where there is `one` sequence, nothing behind the steps is read. The last step of a model that
    gives one row a sequence explains that row, and the others have a note.
    """
    if network.front:
        raise ValueError("the layers that give fewer rows than they take cannot be explained")
    walk, found = _Walk(Runner(network, precision, "stepwise", all_states=True), carried, keys), 0
    for rows, chosen, answer in walk.parts(blocks, wanted, one=one):
        found += int(chosen.sum())
        if found > most:
            what = f"a page holds about {most} steps of this network, the input has more"
            raise InputError("", what, "choose fewer by `steps`, or write them as JSON")
        yield from walk.explain(rows, chosen, answer, key_columns)
    if not found:
        raise InputError("", _no_step(wanted, carried))


class _Walk:
    """A network on its way through the sequences of `carried`, and the rows that it is at."""

    def __init__(self, runner: Runner, carried: Carried, keys: Keys) -> None:
        self.runner, self.carried, self.keys = runner, carried, keys
        self.network = network = runner.network
        self.traces = [list(map(CellTrace, of_layer)) for of_layer in runner.strategies]
        self.titles = [layer_line(describe_layer(layer)) for layer in network.layers]
        self.top = len(network.layers) - 1 - network.head
        carried.convert(network, runner.precision.dtype)

    def parts(self, blocks: Iterable[Rows], wanted: Wanted, *, one: bool) -> Iterator[Part]:
        """Cut an input into rows, those that are explained, and those that are answers."""
        last, network = wanted == Wanted(), self.network
        if network.needs_whole_sequences or (network.last and not last):
            if every := list(blocks):
                rows = join(every)
                answer = self._find_answers(rows)
                chosen = answer if last else wanted.among(_number(rows, self.carried.t)[0])
                yield rows, chosen, answer if network.last else None
        elif last:
            yield from _last_rows(blocks)
        else:
            taken, most = self.carried.t, wanted.last or inf
            for rows in blocks:
                t, taken = _number(rows, taken)
                yield rows.take(t <= most), wanted.among(t[t <= most]), None
                if one and len(t) and t[-1] >= most:
                    return

    def _find_answers(self, rows: Rows) -> Truths:
        """Find the row that the model gives of each sequence: the last that is not masked."""
        groups, counted = group(rows.key, len(rows.x)), np.ones(len(rows.x), bool)
        if self.network.last and rows.masked is not None:
            counted = ~rows.masked
        if self.network.last and not self.network.by_row:
            counted &= ~self.runner.find_masked(self._inputs_of(rows))
        answer, ends = np.zeros(len(rows.x), bool), groups.only(counted)
        answer[groups.last[~np.isin(groups.present, ends.present)]] = True
        answer[ends.last] = True
        return answer

    def _inputs_of(self, rows: Rows) -> Floats:
        """Return the inputs of the layers, 0 where the input masks a row."""
        masked = False if rows.masked is None else rows.masked[:, None]
        return np.where(masked, 0, rows.x).astype(self.runner.precision.dtype)

    def explain(
        self, rows: Rows, chosen: Truths, answer: Truths | None, columns: Sequence[str]
    ) -> Iterator[Step]:
        """Run over rows, and explain those that are chosen, up to a state that is not finite."""
        self.carried.grow(1 if rows.key is None else int(rows.key.max(initial=-1)) + 1)
        self.start, x = self.carried.state.copy(), self._inputs_of(rows)
        results, error = forward(self.runner, rows._replace(x=x), self.carried, self.keys)
        if error and (self.network.needs_whole_sequences or not chosen.any()):
            raise error
        groups, done, self.t = group(rows.key, len(x)), len(results.x), results.t
        masked = self.runner.find_masked(x) | (np.arange(len(x)) >= done)
        masked |= False if rows.masked is None else rows.masked
        if chosen.any():
            self.layers = self.runner.run_rows(x, groups, self.start.copy(), masked)
            self.outputs = [x, *(each.output for each in self.layers)]
        self.key = np.zeros(len(x), np.intp) if rows.key is None else rows.key
        # The row before each in either direction; -1 before the first.
        self.before = {way: np.full(len(x), -1) for way in ("forward", "backward")}
        same = groups.keys[1:] == groups.keys[:-1]
        one, other = groups.order[:-1][same], groups.order[1:][same]
        self.before["forward"][other], self.before["backward"][one] = one, other
        for row in groups.order[(chosen & (np.arange(len(x)) < done))[groups.order]].tolist():
            key = dict(zip(columns, self.keys[self.key[row]] if self.keys else (), strict=True))
            y = None if results.y is None else results.y[row]
            step = Step(key or None, int(results.t[row]), rows.x[row], None, [], results.h[row], y)
            if masked[row]:
                yield step._replace(note=MASKED)
                continue
            outputs, first = [each[row : row + 1] for each in self.outputs], row
            if answer is not None and not answer[row]:
                step = step._replace(note=NO_ANSWER)
            elif answer is not None and not self.network.by_row:
                own = groups.order[self.key[groups.order] == self.key[row]]
                first = int(own[np.argmin(masked[own])])
            step = step._replace(layers=self._explain_layers(row, first, outputs))
            h, y = outputs[self.top + 1][0], outputs[-1][0] if self.network.head else None
            yield step._replace(h=h, y=y)
        if error:
            raise error

    def _explain_layers(self, row: int, first: int, outputs: list[Floats]) -> list[ExplainedLayer]:
        """Explain the layers at a row, whose `outputs` follow its x.

        Those of a final state are computed: a backward cell of the top layer ended at the `first`
        row.
        """
        found = []
        for n, (layer, ran) in enumerate(zip(self.network.layers, self.layers, strict=True)):
            x = self.network.taken(n + 1, outputs)
            ends = [first if n == self.top and w == "backward" else row for w in layer.directions]
            if n >= self.top and first != row:
                states = [(s[0][[at]],) for s, at in zip(ran.cells, ends, strict=True)]
                outputs[n + 1] = self.runner.output(layer, x, states)
            cells = [self._explain_cell(n, k, at, row) for k, at in enumerate(ends)]
            if isinstance(layer, Stateless):
                names = ("center", "scale", "factor")
                inputs = {name: layer.arrays[name] for name in names if name in layer.arrays}
                with np.errstate(all="ignore"):
                    quantity = explain_row(layer, x, outputs[n + 1][0], self.runner)
                cells = [ExplainedCell(None, None, {"x_t": x[0], **inputs}, [quantity])]
            merge = getattr(layer, "merge", None) if len(cells) > 1 else None
            output = outputs[n + 1][0]
            found.append(ExplainedLayer(n + 1, self.titles[n], cells, output, merge))
        return found

    def _explain_cell(self, n: int, k: int, at: int, row: int) -> ExplainedCell:
        """Explain a cell of a layer at a row, which differs from that of the step at its end."""
        trace, states = self.traces[n][k], self.layers[n].cells[k]
        direction = self.network.layers[n].directions[k]
        x = self.network.taken(n + 1, [each[at : at + 1] for each in self.outputs])
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


def _number(rows: Rows, taken: Integers) -> tuple[Integers, Integers]:
    """Return the number of each row's step after so many, (K,), and how many there are then."""
    groups = group(rows.key, len(rows.x))
    new = max(0, int(groups.present.max(initial=-1)) + 1 - len(taken))
    taken = np.pad(taken, (0, new))
    return groups.number(taken), taken
