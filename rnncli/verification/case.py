"""A case: a network and the whole of its input."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rnncli.engine.rows import Groups, Rows, group, join
from rnncli.engine.run import check_batch
from rnncli.engine.runner import LayerRows, Runner
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.errors import InputError
from rnncli.model.network import Network
from rnncli.opening import Opened


class Between(NamedTuple):
    """A change of the rows between two layers, as a port makes it."""

    number: int  # of the layer whose output it changes, from 1; 0 for the input
    change: Callable[[LayerRows, Groups], Floats]
    # Of a model that gives one row: it takes all rows of a sequence, not the final states.
    whole: bool = False


class Case(NamedTuple):
    """A network and the whole of an input: the rows of each sequence together, in their order.

    A result has a row for each row of the input, (n, O), or one for each sequence, (P, O), if the
    model gives one.
    """

    network: Network
    x: Floats  # (n, I)
    groups: Groups  # of P sequences
    h0: Floats  # (K, S) by key, as `Network.state_slices` places it
    precision: str = "float32"
    keys: Sequence[str] = ()  # of the sequences, where there are several
    original: "Case | None" = None  # the case before `above_front`, if the network has a front
    between: Between | None = None
    ids: Integers | None = None  # of the rows, where they are some of a case; None for all
    columns: Sequence[Any] = ()  # names of the features
    extension: str = ""  # of that file

    def above_front(self) -> "Case":
        """Run the layers in front; return the case of those above."""
        network = self.network
        if not network.front:
            return self
        x, chosen = Runner(network, self.precision, "stepwise").run_front(self.x, self.groups)
        above = self._replace(network=Network(*network.layers, last=network.last), original=self)
        return above.choose(chosen)._replace(x=x, ids=None)

    def choose(self, chosen: Truths) -> "Case":
        """Return the case of some of its rows."""
        groups = group(self.groups.keys[chosen], int(chosen.sum()))
        ids = np.arange(len(self.x)) if self.ids is None else self.ids
        return self._replace(x=self.x[chosen], groups=groups, ids=ids[chosen])

    @property
    def steps(self) -> Integers:
        """The number of each row's step, (n,), counted from 1."""
        return self.groups.number(np.zeros(len(self.h0), np.intp))

    @property
    def result_groups(self) -> Groups:
        """The rows of a result, by sequence."""
        if not self.network.last:
            return self.groups
        rows = np.arange(len(self.groups.present))
        return Groups(rows, self.groups.present, rows, np.ones_like(rows))

    @property
    def result_steps(self) -> Integers:
        """The number of the step at each row of a result, counted from 1."""
        return self.groups.lengths if self.network.last else self.steps

    def outputs(self, unroll: str = "auto") -> list[Floats]:
        """Compute the outputs (n, O) of all layers; only the rows of a model that gives one."""
        layers, final = self.run(unroll)
        return layers if final is None else [final]

    def run(self, unroll: str = "auto") -> tuple[list[Floats], Floats | None]:
        """Run the network: the outputs of all layers, and the rows of a model that gives one."""
        if self.between:
            return self._run_changed(*self.between, unroll)
        network, groups, states = self.network, self.groups, self.h0.copy()
        runner = Runner(network, self.precision, unroll)
        layers = [rows.output for rows in runner.run_rows(self.x, groups, states)]
        if not network.last:
            return layers, None
        one = layers[-1][groups.last] if network.by_row else None
        return layers, runner.run_head(states[groups.present]) if one is None else one

    def _run_changed(
        self,
        number: int,
        change: Callable[[LayerRows, Groups], Floats],
        whole: bool,
        unroll: str,
    ) -> tuple[list[Floats], Floats | None]:
        """Run the layers below a change, change their rows, and run the layers above."""
        network, rows = self.network, LayerRows(self.x)
        one_row = network.last is not None and number >= len(network.layers) - network.head
        if number:
            below = self.of_layers(0, number)
            if one_row and not whole:
                below = below._replace(network=Network(*below.network.layers, last=network.last))
                rows = LayerRows(below.outputs(unroll)[-1])
            else:
                runner = Runner(below.network, self.precision, unroll, all_states=True)
                rows = runner.run_rows(self.x, self.groups, below.h0)[-1]
        output = change(rows, self.groups)
        above = network.layers[number:]
        if any(layer.cells for layer in above):
            case = self.of_layers(number, len(network.layers))
            network = Network(*case.network.layers, last=network.last)
            return case._replace(network=network, x=output).run(unroll)
        if above:
            runner = Runner(Network(*above), self.precision, unroll)
            for layer in runner.network.layers:
                output = runner.get_output(layer, output)
        return ([], output) if one_row else ([output], None)

    def name_layer(self, n: int) -> str:
        """Return the name of a layer, counted from 0, as its file has it."""
        return self.network.name_layer(n + 1)

    def of_layers(self, start: int, stop: int) -> "Case":
        """Return the case of some neighbouring layers, with their initial states."""
        network = Network(*self.network.layers[start:stop])
        h0 = np.zeros((len(self.h0), network.state_size), self.h0.dtype)
        pairs = zip(network.state_slices, self.network.state_slices[start:stop], strict=True)
        for ours, whole in pairs:
            for columns, source in zip(chain(*ours), chain(*whole), strict=True):
                h0[:, columns] = self.h0[:, source]
        return self._replace(network=network, h0=h0, between=None)

    def final_states(self) -> Floats:
        """Run the network; return the states in which the sequences end, (K, S)."""
        states = self.h0.copy()
        Runner(self.network, self.precision).run_rows(self.x, self.groups, states)
        return states


def case_of_batch(
    network: Network,
    x: Floats,
    h0: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    precision: str = "float32",
) -> Case:
    """Make a case of arrays as `rnncli.run` takes them."""
    from rnncli.engine.precision import PRECISIONS

    dtype = PRECISIONS[precision].dtype
    batch, ends = check_batch(network, x, lengths, dtype)
    steps = np.arange(batch.shape[1]) < ends[:, None]
    groups = group(np.nonzero(steps)[0], int(ends.sum()))
    start = network.initial_state(h0, len(batch), dtype)
    return Case(network, batch[steps], groups, start, precision)


class ReadCase(NamedTuple):
    """A case, and which rows of the input it has."""

    case: Case  # with every step, even if the model gives one row per sequence
    last: str | None  # that row, as for `Network`
    model: dict[str, Any]  # the description of the network in a JSON document
    size: int  # rows of the input
    rows: Integers  # of the input, those that are not masked, in the order of the case


def read_case(opened: Opened, precision: str) -> ReadCase:
    """Read the whole of an input."""
    source, network = opened.source, opened.network
    blocks = list(source.blocks)
    rows = join(blocks) if blocks else Rows(np.empty((0, network.input_size)))
    groups = group(rows.key, len(rows.x))
    if rows.masked is not None:
        groups = groups.only(~rows.masked)
    N = len(groups.present)
    if not N:
        raise InputError("", "the input has no steps that are not masked")
    names = [" ".join(source.keys[key]) for key in groups.present] if source.key_columns else []
    case = Case(
        Network(*network.layers, front=network.front),
        rows.x[groups.order],
        groups._replace(order=np.arange(len(groups.order)), present=np.arange(N)),
        np.tile(opened.start, (N, 1)),
        precision,
        names,
    )
    return ReadCase(case.above_front(), network.last, opened.model, len(rows.x), groups.order)
