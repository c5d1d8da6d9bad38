"""Random stacks of layers with and without state, saved with an input for a command."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from click.testing import CliRunner, Result
from hypothesis import assume
from hypothesis import strategies as st
from random_networks import Choices, network_cases

import rnncli
from rnncli import Network
from rnncli.cli import rnn
from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats, Integers, Truths

# Stacks of layers that mask no rows, and give a row for each.
STACKS = network_cases(Choices(bottoms=("",), lasts=(None,)))


def invoke(*arguments: Any, code: int | None = 0) -> Result:
    """Run a command line in this process, 80 columns wide."""
    result = CliRunner(env={"COLUMNS": "80"}).invoke(rnn, list(map(str, arguments)))
    assert code is None or result.exit_code == code, result.exception or result.output
    return result


class Saved(NamedTuple):
    """A network and rows of several sequences in files."""

    options: list[str]  # arguments of a command
    network: Network
    keys: list[str]
    x: list[Floats]  # of each sequence without its masked rows, (T, I)
    h0: Floats  # (S,)
    rows: list[Integers]  # lines of the input in which each row of x stands
    lines: int  # of the input
    precision: str

    def outputs(self, **options: Any) -> list[Floats]:
        """Run the network over each sequence."""
        options = {"precision": self.precision, **options}
        network = options.pop("network", self.network)
        ran = [rnncli.run(network, x, self.h0, **options) for x in self.x]
        return [each.h if each.y is None else each.y for each in ran]

    def in_lines(self, outputs: Sequence[Floats]) -> Floats:
        """Arrange the rows of each sequence as the input has them."""
        lines = np.full((self.lines, outputs[0].shape[1]), 0.5)
        for rows, output in zip(self.rows, outputs, strict=True):
            lines[rows] = output
        return lines


@st.composite
def saved(draw: st.DrawFn, folder: Path) -> Saved:
    """A stack and its input: sequences of unlike length, rows in any order, some masked."""
    case = draw(STACKS)
    precision = draw(st.sampled_from(list(PRECISIONS)))
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    keys = np.repeat(np.arange(len(case.lengths)), case.lengths)
    assume(len(keys))
    random.shuffle(keys)
    masked: Truths = random.uniform(size=len(keys)) < draw(st.sampled_from([0, 0.2]))
    known = [key for key in dict.fromkeys(keys.tolist()) if key in keys[~masked]]
    assume(known)
    rows = [np.flatnonzero((keys == key) & ~masked) for key in known]
    x = random.normal(size=(len(keys), case.network.input_size)).astype("f")
    cells = np.where(masked[:, None], "", x.astype("d").astype(str))
    names = [f"x_{n}" for n in range(x.shape[1])]
    lines = [",".join([f"k{key}", *row]) for key, row in zip(keys, cells, strict=True)]
    (folder / "x.csv").write_text("\n".join([",".join(["key", *names]), *lines, ""]))
    rnncli.save(case.network, folder / "w.npz")
    options = [str(folder / "x.csv"), "--group-by", "key", "--missing", "hold"]
    options += ["--weights", str(folder / "w.npz"), "--precision", precision]
    for name, place in case.network.state_names.items():
        options += [f"--{name}0", json.dumps(case.h0[0, place].tolist())]
    names, sequences = [f"k{key}" for key in known], [x[each] for each in rows]
    return Saved(options, case.network, names, sequences, case.h0[0], rows, len(keys), precision)
