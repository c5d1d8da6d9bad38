"""A case: a network and the whole of its input."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rnncli.engine.rows import Groups, Rows, group, join
from rnncli.engine.run import check_batch
from rnncli.engine.runner import Runner
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.errors import InputError
from rnncli.model.network import Network
from rnncli.opening import Opened


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
    biases: Sequence[tuple[Floats, ...]] = ()  # by cell: both biases, where a file has two
    keys: Sequence[str] = ()  # of the sequences, where there are several
    original: "Case | None" = None  # the case before `above_front`, if the network has a front

    def above_front(self) -> "Case":
        """Run the layers in front; return the case of those above."""
        network = self.network
        if not network.front:
            return self
        x, chosen = Runner(network, self.precision, "stepwise").run_front(self.x, self.groups)
        above = self._replace(network=Network(*network.layers, last=network.last), original=self)
        return above.choose(chosen)._replace(x=x)

    def choose(self, chosen: Truths) -> "Case":
        """Return the case of some of its rows."""
        groups = group(self.groups.keys[chosen], int(chosen.sum()))
        return self._replace(x=self.x[chosen], groups=groups)

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
        network, groups, states = self.network, self.groups, self.h0.copy()
        runner = Runner(network, self.precision, unroll)
        layers = [rows.output for rows in runner.run_rows(self.x, groups, states)]
        if not network.last:
            return layers, None
        one = layers[-1][groups.last] if network.by_row else None
        return layers, runner.run_head(states[groups.present]) if one is None else one


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
        opened.biases,
        names,
    )
    return ReadCase(case.above_front(), network.last, opened.model, len(rows.x), groups.order)
