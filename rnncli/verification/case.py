"""A case: a network and the whole of its input."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncli.engine.run import States, run, run_batch_front
from rnncli.engine.runner import Runner
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.network import Network


class Case(NamedTuple):
    """A network and the whole of an input."""

    network: Network
    x: Floats  # (N, T, I)
    h0: Floats  # (N, S), as `Network.state_slices` places it
    lengths: Integers  # (N,), 0 to T
    precision: str = "float32"
    biases: Sequence[tuple[Floats, ...]] = ()  # by cell: both biases, where a file has two
    keys: Sequence[str] = ()  # of the sequences, where there are several
    original: "Case | None" = None  # the case before `above_front`, if the network has a front

    def above_front(self) -> "Case":
        """Run the layers in front; return the case of those above."""
        network = self.network
        if not network.front:
            return self
        runner = Runner(network, self.precision, "stepwise")
        x, lengths = run_batch_front(runner, self.x, self.lengths)
        above = Network(*network.layers, last=network.last)
        return self._replace(network=above, x=x, lengths=lengths, original=self)

    def running(self) -> Truths:
        """Find which steps each sequence has, (N, T)."""
        return np.asarray(np.arange(self.x.shape[1]) < self.lengths[:, None])

    def rows(self) -> Truths:
        """Find the rows that a result has, (N, T), or (N, 1) if the model gives one row."""
        running = self.running()
        return np.asarray(running.any(axis=1, keepdims=True)) if self.network.last else running

    def describe_row(self, n: int, t: int) -> dict[str, Any]:
        """Describe a row of a result."""
        step = int(self.lengths[n]) if self.network.last else t + 1
        return {"sequence": n + 1, "step": step} | ({"key": self.keys[n]} if self.keys else {})

    def outputs(self, unroll: str = "auto") -> tuple[Floats, ...]:
        """Compute the outputs (N, T, O) of all layers; only the row of a model that gives one."""
        states = self.run(unroll)
        if self.network.last and states.y_n is not None:
            return (states.y_n[:, None],)
        return states.layers

    def run(self, unroll: str = "auto") -> States:
        """Run the network, with the outputs of all layers."""
        how: dict[str, Any] = {"precision": self.precision, "unroll": unroll, "all_layers": True}
        return run(self.network, self.x, self.h0, lengths=self.lengths, **how)
