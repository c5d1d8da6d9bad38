"""The steps of a run that are explained: which they are, and all that they compute."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rnncli.engine.packed import group
from rnncli.engine.rows import Rows, join
from rnncli.engine.run import run
from rnncli.engine.runner import Runner
from rnncli.engine.stream import Carried, stream
from rnncli.explain.quantities import OF_CELLS, CellStep, Quantity
from rnncli.explain.rows import quantities_of
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.cells import Cell, State
from rnncli.model.layers import Layer, Recurrent
from rnncli.model.network import Network
from rnncli.writers.trajectory import UntilError

# Of the other steps of a model that gives one row a sequence.
NO_ANSWER = "The model gives one row a sequence: its answer is the last step, not this one."
# Arrays of layers without state that stand in no sum by themselves.
FACTORS = ("scale", "factor")


class Wanted(NamedTuple):
    """Which steps of each sequence, counted from 1, both ends included.

    Parameters
    ----------
    first, last : int or None
        Without a last one to the end of the sequence; without either its last
        step alone.
    """

    first: int | None = None
    last: int | None = None

    def among(self, t: Integers) -> Truths:
        """Return which of these steps are wanted."""
        found = t >= (self.first or 1)
        return found if self.last is None else found & (t <= self.last)


class ExplainedCell(NamedTuple):
    """A step of a cell, and what it computes.

    Parameters
    ----------
    direction : str
        Empty for a layer without state.
    given : mapping of str to arrays
        What it takes beside its input, by name: the state before the step, or
        what a layer without state multiplies or divides each value by.
    quantities : list of Quantity
        In the order of computation. The last is h_t, or y_t.
    t : int, optional
        The step that the cell computes, where it is not that of the other layers:
        in a final state a backward cell stands at the first step.
    input : array, shape (I,), optional
        Its input at that step.
    """

    direction: str
    given: dict[str, Floats]
    quantities: list[Quantity]
    t: int | None = None
    input: Floats | None = None


class ExplainedLayer(NamedTuple):
    """What a layer computes at a step.

    Parameters
    ----------
    number : int
        From 1.
    layer : Layer
    input, output : arrays, shape (I,) and (O,)
    cells : list of ExplainedCell
        One for a layer without state.
    """

    number: int
    layer: Layer
    input: Floats
    output: Floats
    cells: list[ExplainedCell]


class Step(NamedTuple):
    """A step of a sequence.

    Parameters
    ----------
    key : int or None
        Which sequence; None where there is one.
    t : int
    x : array, shape (I,)
        NaN where a masked row has none.
    layers : list of ExplainedLayer
        The bottom one first; none of a masked row, at which states are kept.
    h : array, shape (H,)
        What the top recurrent layer gives.
    y : array, shape (O,), optional
        What the head gives, if there is one.
    note : str
        What the numbers are not, of a model that gives one row a sequence.
    """

    key: int | None
    t: int
    x: Floats
    layers: list[ExplainedLayer]
    h: Floats
    y: Floats | None
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
    """Run a network step by step, and explain some of the steps.

    Every number is that of `rnncli.stream` with ``unroll="stepwise"``. Of the
    rows before the steps that are wanted only the states are kept; what
    follows them is not run, and where there is one sequence not read. A
    network that needs whole sequences runs over all of the input, and so does
    one that gives one row a sequence: its last step explains that row, and
    the others have a note.
    """
    walk = Walk(Runner(network, precision, "stepwise"), precision, carried, keys)
    carried.convert(network, walk.runner.precision.dtype)
    last = wanted == Wanted()
    if network.needs_whole_sequences or (network.last and not last):
        every = list(blocks)
        if every:
            yield from walk.explain_whole(join(every), wanted)
        return
    parts = _last_rows(blocks) if last else _rows_between(blocks, wanted, carried.t, one=one)
    for before, rows in parts:
        deque(walk.run(before), maxlen=0)
        yield from walk.explain(rows, np.ones(len(rows.x), bool))


class Walk(NamedTuple):
    """A network on its way through sequences.

    Parameters
    ----------
    runner : Runner
        To run stepwise.
    precision : str
    carried : Carried
        Where the sequences stand.
    keys : sequence of tuples of str
        Their names, for messages.
    """

    runner: Runner
    precision: str
    carried: Carried
    keys: Sequence[tuple[str, ...]]

    def run(self, rows: Rows) -> Iterator[Rows]:
        """Run over rows."""
        return stream(
            self.runner.network,
            [rows] if len(rows.x) else [],
            precision=self.precision,
            unroll="stepwise",
            carried=self.carried,
            keys=self.keys,
        )

    def explain_whole(self, rows: Rows, wanted: Wanted) -> Iterator[Step]:
        """Run over whole sequences, and explain the steps that are wanted."""
        network = self.runner.network
        counted = np.ones(len(rows.x), bool)  # rows that may be the answer
        if network.last and rows.masked is not None:
            counted = ~rows.masked
        if network.last == "state":
            counted &= ~self.runner.masked(self._inputs(rows))
        answer = _last_steps(rows, counted)
        t, _ = _counted(rows, self.carried.t)
        chosen = answer if wanted == Wanted() else wanted.among(t)
        yield from self.explain(rows, chosen, answer if network.last else None)

    def _inputs(self, rows: Rows) -> Floats:
        """Return the inputs of the layers, 0 where the input masks a row."""
        masked = False if rows.masked is None else rows.masked[:, None]
        return np.where(masked, 0, rows.x).astype(self.runner.precision.dtype)

    def explain(self, rows: Rows, chosen: Truths, answer: Truths | None = None) -> Iterator[Step]:
        """Run over rows, and explain those that are chosen."""
        groups = group(rows.key, len(rows.x))
        self.carried.grow(int(groups.present.max(initial=-1)) + 1)
        start = self.carried.state.copy()
        given = UntilError(self.run(rows))
        steps, done = {}, 0
        for block in given:
            for n in np.flatnonzero(chosen[done : done + len(block.t)]).tolist():
                steps[done + n] = block.cut(n, n + 1)
            done += len(block.t)
        if self.runner.network.needs_whole_sequences:
            given.check()
        for number, begin, length in zip(
            groups.present, groups.starts, groups.lengths, strict=True
        ):
            places = groups.order[begin : begin + length]
            places = places[places < done]
            asked = [place for place in places.tolist() if place in steps]
            if not asked:
                continue
            walked, active = self._walk(rows, places, start[number])
            first = int(np.argmax(np.isin(places, active))) + 1
            at = {place: n for n, place in enumerate(active.tolist())}
            for place in asked:
                step = self._step(steps[place], walked, at.get(place))
                if answer is not None:
                    step = self._judged(step, walked, first, is_answer=bool(answer[place]))
                yield step
        given.check()

    def _step(self, block: Rows, walked: Sequence["Walked"], row: int | None) -> Step:
        """Explain a row: its place among those that were walked, None where it is masked."""
        layers = []
        if row is not None:
            layers = [each.explained(self.runner, n, row) for n, each in enumerate(walked, 1)]
        return Step(
            None if block.key is None else int(block.key[0]),
            int(block.t[0]),
            block.x[0],
            layers,
            block.h[0],
            None if block.y is None else block.y[0],
        )

    def _walk(self, rows: Rows, places: Integers, state: Floats) -> tuple[list["Walked"], Integers]:
        """Run over the rows of one sequence, layer by layer; return those that are not masked."""
        network, runner = self.runner.network, self.runner
        masked = np.zeros(len(places), bool) if rows.masked is None else rows.masked[places]
        x = self._inputs(rows)[places]
        active = ~(masked | runner.masked(x))
        x = x[active]
        walked = []
        for layer, slices in zip(network.layers, network.state_slices, strict=True):
            before = [tuple(state[place] for place in of_cell) for of_cell in slices]
            walked.append(self._walked(layer, x, before))
            x = walked[-1].output
        return walked, places[active]

    def _judged(
        self, step: Step, walked: Sequence["Walked"], first: int, *, is_answer: bool
    ) -> Step:
        """Explain the row that the model gives, and note at another step that it is not that row.

        If the row is of the final state, a backward cell of the top recurrent
        layer ends at the `first` step.
        """
        network, runner = self.runner.network, self.runner
        if not is_answer:
            return step._replace(note=NO_ANSWER)
        if network.last != "state" or not step.layers:
            return step
        top = len(network.layers) - 1 - network.head
        recurrent = network.layers[top]
        at_first = walked[top].explained(runner, top + 1, 0)
        cells = [
            cell
            if direction == "forward" or first == step.t
            else of_first._replace(t=first, input=at_first.input)
            for direction, cell, of_first in zip(
                recurrent.directions, step.layers[top].cells, at_first.cells, strict=True
            )
        ]
        states = [(cell.quantities[-1].values[None],) for cell in cells]
        x = h = runner.output(recurrent, np.empty((1, 0)), states)
        layers = [*step.layers[:top], step.layers[top]._replace(cells=cells, output=h[0])]
        for number, layer in enumerate(network.layers[top + 1 :], start=top + 2):
            above = Walked(layer, x, runner.output(layer, x), [])
            layers.append(above.explained(runner, number, 0))
            x = above.output
        return step._replace(layers=layers, h=h[0], y=x[0] if network.head else None)

    def _walked(self, layer: Layer, x: Floats, state: Sequence[State]) -> "Walked":
        """Run a layer over rows, each of its cells from its state."""
        if not isinstance(layer, Recurrent):
            return Walked(layer, x, self.runner.output(layer, x), [])
        before, outputs = [], []
        for cell, direction, start in zip(layer.cells, layer.directions, state, strict=True):
            turn = -1 if direction == "backward" else 1
            found = run(
                Network(cell),
                x[::turn],
                np.concatenate(start),
                precision=self.precision,
                unroll="stepwise",
                all_states=True,
            )
            assert found.c is not None
            after = [found.h, *np.split(found.c, np.cumsum(cell.state_sizes[1:-1]), axis=1)]
            outputs.append(found.h[::turn])
            before.append(
                tuple(
                    np.concatenate([first[None], array[:-1]])[::turn]
                    for first, array in zip(start, after, strict=False)
                )
            )
        return Walked(layer, x, layer.merged(outputs), before)


class Walked(NamedTuple):
    """A layer that was run over the rows of a sequence.

    Parameters
    ----------
    layer : Layer
    x, output : arrays, shape (n, I) and (n, O)
    before : list of tuples of arrays, shape (n, size) each
        Of each of its cells, the state before each row.
    """

    layer: Layer
    x: Floats
    output: Floats
    before: list[State]

    def explained(self, runner: Runner, number: int, row: int) -> ExplainedLayer:
        """Explain a row."""
        x = self.x[row : row + 1]
        if isinstance(self.layer, Recurrent):
            cells = [
                _cell(runner, cell, direction, x, tuple(a[row : row + 1] for a in before))
                for cell, direction, before in zip(
                    self.layer.cells, self.layer.directions, self.before, strict=True
                )
            ]
        else:
            given = {name: a for name, a in self.layer.arrays.items() if name in FACTORS}
            cells = [ExplainedCell("", given, quantities_of(self.layer, x, runner))]
        return ExplainedLayer(number, self.layer, x[0], self.output[row], cells)


def _cell(runner: Runner, cell: Cell, direction: str, x: Floats, state: State) -> ExplainedCell:
    named = dict(zip(cell.state_names, (array[0] for array in state), strict=True))
    before = "t+1" if direction == "backward" else "t-1"
    with np.errstate(all="ignore"):
        found = OF_CELLS[type(cell)](CellStep(cell, runner.precision, x, state, before))
    return ExplainedCell(direction, named, found)


def _last_steps(rows: Rows, counted: Truths | None = None) -> Truths:
    """Return which rows are the last of their sequence, (n,), or the last that counts, if any."""
    groups = group(rows.key, len(rows.x))
    last = np.zeros(len(rows.x), bool)
    last[groups.last] = True
    if counted is not None:
        chosen = groups.only(counted)
        last[groups.last[np.isin(groups.present, chosen.present)]] = False
        last[chosen.last] = True
    return last


def _last_rows(blocks: Iterable[Rows]) -> Iterator[tuple[Rows, Rows]]:
    """Return rows to pass by, and rows to explain: the last of each sequence, at the end."""
    held: list[Rows] = []
    for block in blocks:
        rows = join([*held, block])
        last = _last_steps(rows)
        yield rows.take(~last), rows.take(last & False)
        held = [rows.take(last)]
    for rows in held:
        yield rows.take(np.zeros(len(rows.x), bool)), rows


def _rows_between(
    blocks: Iterable[Rows], wanted: Wanted, taken: Integers, *, one: bool
) -> Iterator[tuple[Rows, Rows]]:
    """Return rows to pass by, and rows to explain, until no more are wanted."""
    for rows in blocks:
        t, taken = _counted(rows, taken)
        first = wanted.first or 1
        yield rows.take(t < first), rows.take(wanted.among(t))
        if one and wanted.last is not None and len(t) and t[-1] >= wanted.last:
            return


def _counted(rows: Rows, taken: Integers) -> tuple[Integers, Integers]:
    """Return the number of each row's step after so many, (K,), and how many there are then."""
    groups = group(rows.key, len(rows.x))
    new = max(0, int(groups.present.max(initial=-1)) + 1 - len(taken))
    taken = np.pad(taken, (0, new))
    return groups.number(taken), taken
