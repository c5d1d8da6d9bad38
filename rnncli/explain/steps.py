"""Steps of a run with all that they compute."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np

from rnncli.engine.packed import Groups, group
from rnncli.engine.rows import Rows, join
from rnncli.engine.runner import Runner
from rnncli.engine.stream import Carried, forward
from rnncli.explain.quantities import Quantity, Term, Trace
from rnncli.explain.rows import quantities_of
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.layers import Layer, Stateless
from rnncli.model.network import Network

# Of the other steps of a model that gives one row a sequence.
NO_ANSWER = "The model gives one row a sequence: its answer is the last step, not this one."
# Arrays of layers without state that stand in no sum by themselves.
FACTORS = ("scale", "factor")


class Wanted(NamedTuple):
    """Which steps of each sequence, from 1, both ends included; by default the last one alone."""

    first: int | None = None
    last: int | None = None  # None for all from the first one on

    def among(self, t: Integers) -> Truths:
        """Find which of these steps are wanted."""
        return (t >= (self.first or 1)) & (t <= (self.last or np.inf))


class ExplainedCell(NamedTuple):
    """A step of a cell, or of a layer without state."""

    direction: str  # empty for a layer without state
    # By name: the state before the step, or what a layer without state multiplies or divides by.
    given: dict[str, Floats]
    quantities: list[Quantity]  # in the order of computation; the last is h_t, or y_t
    # The step and its input, where it is not that of the other layers: in a final state a
    # backward cell stands at the first step.
    t: int | None = None
    input: Floats | None = None


class ExplainedLayer(NamedTuple):
    """A step of a layer."""

    number: int  # from 1
    layer: Layer
    input: Floats
    output: Floats
    cells: list[ExplainedCell]  # one for a layer without state


class Step(NamedTuple):
    """A step of a sequence; a masked one has no layers."""

    key: int | None  # which sequence; None where there is one
    t: int
    x: Floats  # NaN where a masked row has none
    layers: list[ExplainedLayer]
    h: Floats  # of the top recurrent layer
    y: Floats | None  # of the head
    note: str = ""


def explained(
    network: Network,
    blocks: Iterable[Rows],
    wanted: Wanted,
    carried: Carried,
    *,
    precision: str = "float32",
    keys: Sequence[tuple[str, ...]] = (),
    one: bool = True,
) -> Iterator[Step]:
    """Run a network as ``stepwise`` does, and explain some of the steps.

    What follows them is not run, and where there is one sequence not read. The last step of a
    model that gives one row a sequence explains that row; the others have a note.
    """
    if network.front:
        raise ValueError("the layers that give fewer rows than they take cannot be explained")
    walk = Walk(network, precision, carried, keys)
    last = wanted == Wanted()
    if network.needs_whole_sequences or (network.last and not last):
        every = list(blocks)
        if every:
            yield from walk.explain_whole(join(every), wanted)
        return
    parts = _last_rows(blocks) if last else _rows_between(blocks, wanted, carried.t, one=one)
    for rows, asked in parts:
        if asked:
            yield from walk.explain(rows, np.ones(len(rows.x), bool))
        else:
            _, error = walk.run(rows)
            if error:
                raise error


class Walk:
    """A network on its way through the sequences of `carried`."""

    def __init__(
        self,
        network: Network,
        precision: str,
        carried: Carried,
        keys: Sequence[tuple[str, ...]],
    ) -> None:
        self.precision, self.carried, self.keys = precision, carried, keys
        self.runner = Runner(network, precision, "stepwise", all_states=True)
        self.network = self.runner.network
        self.traces = [[Trace(each) for each in of_layer] for of_layer in self.runner.strategies]
        carried.convert(network, self.runner.precision.dtype)

    def run(self, rows: Rows) -> tuple[Rows, ValueError | None]:
        """Run over rows, up to a state that is not finite."""
        x = np.ascontiguousarray(rows.x, self.runner.precision.dtype)
        return forward(self.runner, rows._replace(x=x), self.carried, self.keys)

    def explain_whole(self, rows: Rows, wanted: Wanted) -> Iterator[Step]:
        """Run over whole sequences, and explain the steps that are wanted."""
        last = self.network.last
        uncounted = np.zeros(len(rows.x), bool)  # rows that cannot be the answer
        if last and rows.masked is not None:
            uncounted |= rows.masked
        if last == "state":
            uncounted |= self.runner.find_masked(self._inputs(rows))
        answer = _last_steps(rows, ~uncounted)
        t, _ = _counted(rows, self.carried.t)
        chosen = answer if wanted == Wanted() else wanted.among(t)
        yield from self.explain(rows, chosen, answer if last else None)

    def _inputs(self, rows: Rows) -> Floats:
        """Return the inputs of the layers, 0 where the input masks a row."""
        masked = False if rows.masked is None else rows.masked[:, None]
        return np.where(masked, 0, rows.x).astype(self.runner.precision.dtype)

    def explain(self, rows: Rows, chosen: Truths, answer: Truths | None = None) -> Iterator[Step]:
        """Run over rows, and explain those that are chosen."""
        self.carried.grow(1 if rows.key is None else int(rows.key.max(initial=-1)) + 1)
        start = self.carried.state.copy()
        results, error = self.run(rows)
        if error and self.network.needs_whole_sequences:
            raise error
        done = len(results.x)
        steps = {n: results.cut(n, n + 1) for n in np.flatnonzero(chosen[:done]).tolist()}
        x = self._inputs(rows)
        masked = self.runner.find_masked(x) | (np.arange(len(x)) >= done)
        masked |= False if rows.masked is None else rows.masked
        ran = Ran(self, x, group(rows.key, len(x)), start, masked)
        for row in filter(steps.__contains__, ran.groups.order.tolist()):
            step = self._step(steps[row], ran, row)
            if answer is not None and not answer[row]:
                step = step._replace(note=NO_ANSWER)
            elif answer is not None and self.network.last == "state" and step.layers:
                step = self._final(step, ran)
            yield step
        if error:
            raise error

    def _step(self, block: Rows, ran: "Ran", row: int) -> Step:
        """Explain a row; a masked one has no layers."""
        numbers = range(0 if ran.masked[row] else len(self.network.layers))
        return Step(
            None if block.key is None else int(block.key[0]),
            int(block.t[0]),
            block.x[0],
            [ran.explain(n, row) for n in numbers],
            block.h[0],
            None if block.y is None else block.y[0],
        )

    def _final(self, step: Step, ran: "Ran") -> Step:
        """Explain the row that the model gives for the final state.

        A backward cell of the top recurrent layer ends at the first step.
        """
        rows = ran.groups.order[ran.groups.keys == (step.key or 0)]
        t = int(np.argmin(ran.masked[rows])) + 1
        top = len(self.network.layers) - 1 - self.network.head
        recurrent, cells = self.network.layers[top], []
        for n, direction in enumerate(recurrent.directions):
            cell = step.layers[top].cells[n]
            if direction == "backward" and t != step.t:
                first = ran.explain(top, int(rows[t - 1]))
                cell = first.cells[n]._replace(t=t, input=first.input)
            cells.append(cell)
        states = [(cell.quantities[-1].values[None],) for cell in cells]
        x = h = self.runner.output(recurrent, np.empty((1, 0)), states)
        layers = [*step.layers[:top], step.layers[top]._replace(cells=cells, output=h[0])]
        for n in range(top + 1, len(self.network.layers)):
            layers.append(explain_stateless(self.runner, n, x))
            x = layers[-1].output[None]
        return step._replace(layers=layers, h=h[0], y=x[0] if self.network.head else None)


class Ran:
    """Rows (n, I) that were run from `start`, (K, S), with the state of every cell after each."""

    def __init__(
        self, walk: Walk, x: Floats, groups: Groups, start: Floats, masked: Truths
    ) -> None:
        self.walk, self.groups, self.start, self.masked = walk, groups, start, masked
        self.layers = walk.runner.run_rows(x, groups, start.copy(), masked)
        self.inputs = [x, *(each.output for each in self.layers)]
        self.key = np.empty(len(x), np.intp)
        self.key[groups.order] = groups.keys
        # The row before each in either direction; -1 before the first.
        self.before = {way: np.full(len(x), -1) for way in ("forward", "backward")}
        same = groups.keys[1:] == groups.keys[:-1]
        one, other = groups.order[:-1][same], groups.order[1:][same]
        self.before["forward"][other], self.before["backward"][one] = one, other

    def explain(self, n: int, row: int) -> ExplainedLayer:
        """Explain a layer at a row."""
        network = self.walk.network
        x = network.taken(n + 1, [each[row : row + 1] for each in self.inputs])
        if network.layers[n].whole:
            layer, y = network.layers[n], self.layers[n].output[row]
            found = [Quantity("y_t", repr(layer), [Term("x_1 ... x_T", y)], y)]
            return ExplainedLayer(n + 1, layer, x[0], y, [ExplainedCell("", {}, found)])
        if not network.layers[n].cells:
            return explain_stateless(self.walk.runner, n, x)
        cells = []
        for trace, direction, places, states in zip(
            self.walk.traces[n],
            network.layers[n].directions,
            network.state_slices[n],
            self.layers[n].cells,
            strict=True,
        ):
            at, first = self.before[direction][row], self.start[self.key[row]]
            before = [first[p] if at < 0 else a[at] for p, a in zip(places, states, strict=True)]
            t = "t+1" if direction == "backward" else "t-1"
            with np.errstate(all="ignore"):
                found = trace.quantities(x, tuple(array[None] for array in before), t)
            named = dict(zip(trace.cell.state_names, before, strict=True))
            cells.append(ExplainedCell(direction, named, found))
        return ExplainedLayer(n + 1, network.layers[n], x[0], self.layers[n].output[row], cells)


def explain_stateless(runner: Runner, n: int, x: Floats) -> ExplainedLayer:
    """Explain a layer without state at a row (1, I)."""
    layer = cast(Stateless, runner.network.layers[n])
    given = {name: array for name, array in layer.arrays.items() if name in FACTORS}
    cell = ExplainedCell("", given, quantities_of(layer, x, runner))
    return ExplainedLayer(n + 1, layer, x[0], runner.output(layer, x)[0], [cell])


def _last_steps(rows: Rows, counted: Truths | None = None) -> Truths:
    """Find the last row of each sequence, (n,), or the last that counts, if any."""
    groups = group(rows.key, len(rows.x))
    last = np.zeros(len(rows.x), bool)
    last[groups.last] = True
    if counted is not None:
        chosen = groups.only(counted)
        last[groups.last[np.isin(groups.present, chosen.present)]] = False
        last[chosen.last] = True
    return last


def _last_rows(blocks: Iterable[Rows]) -> Iterator[tuple[Rows, bool]]:
    """Yield rows to pass by, at the end the last row of each sequence, which is asked for."""
    last: list[Rows] = []
    for block in blocks:
        rows = join([*last, block])
        chosen = _last_steps(rows)
        yield rows.take(~chosen), False
        last = [rows.take(chosen)]
    yield from ((rows, True) for rows in last)


def _rows_between(
    blocks: Iterable[Rows], wanted: Wanted, taken: Integers, *, one: bool
) -> Iterator[tuple[Rows, bool]]:
    """Yield rows to pass by, and those that are asked for, until no more are wanted."""
    for rows in blocks:
        t, taken = _counted(rows, taken)
        yield rows.take(t < (wanted.first or 1)), False
        yield rows.take(wanted.among(t)), True
        if one and wanted.last is not None and len(t) and t[-1] >= wanted.last:
            return


def _counted(rows: Rows, taken: Integers) -> tuple[Integers, Integers]:
    """Return the number of each row's step after so many, (K,), and how many there are then."""
    groups = group(rows.key, len(rows.x))
    new = max(0, int(groups.present.max(initial=-1)) + 1 - len(taken))
    taken = np.pad(taken, (0, new))
    return groups.number(taken), taken
