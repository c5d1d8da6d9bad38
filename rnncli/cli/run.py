"""``rnn run``: the forward pass over a sequence."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import click
import numpy as np

from rnncli import __version__
from rnncli.cli.help import Command
from rnncli.cli.options import (
    InputOptions,
    NetworkOptions,
    OutputOptions,
    computation_options,
    h0_option,
    input_options,
    network_options,
    picked,
    result_options,
)
from rnncli.cli.resolve import build_network, choose_format, destination, open_input, style_of
from rnncli.forward import Block, stream
from rnncli.network import Floats
from rnncli.precision import PRECISIONS
from rnncli.readers import read_state
from rnncli.writers import WRITERS, Trajectory
from rnncli.writers.model import describe

EXAMPLES = (
    ("rnn run --seq 1,2,3,4,5,6 --hidden 4", "The notebook: every hidden state, as a table."),
    (
        "rnn run --seq 1,2,3,4,5,6 --hidden 4 --precision tf32",
        "The same with the rounding of the GPU it ran on: its very numbers.",
    ),
    (
        "rnn run sunspots.csv --columns SUNACTIVITY --hidden 8 -o states.csv",
        "One column of a file in, CSV out.",
    ),
    (
        "cat log.csv | rnn run --columns 3,4 --hidden 16 --format jsonl | head -3",
        "Columns 3 and 4 of a stream, a line of JSON for each step.",
    ),
    (
        "rnn run series.npy --hidden 4 --seed 7 --last --json",
        "The final state of another network.",
    ),
)


@click.command("run", cls=Command, examples=EXAMPLES)
@input_options
@network_options
@h0_option
@computation_options
@result_options
def run(precision: str, unroll: str, h0: str | None, **given: Any) -> None:
    """Run a network over a sequence and write its hidden states.

    The sequence is a FILE (.csv, .tsv, .npy; the text also .gz; - for
    standard input), what is piped in, or --seq. A row is a step, a column a
    feature.
    """
    output = picked(OutputOptions, given)
    write = WRITERS[choose_format(output)]
    dtype = PRECISIONS[precision].dtype
    source = open_input(picked(InputOptions, given), dtype)
    options = picked(NetworkOptions, given)
    network = build_network(options, len(source.columns), dtype.itemsize)
    state = np.zeros(options.hidden, dtype) if h0 is None else read_state(h0, dtype, options.hidden)
    steps = stream(network, source.blocks, state, precision=precision, unroll=unroll)
    blocks = iter([_final(steps, state)]) if output.last else _begun(steps)
    model = describe(network, {"init": options.init, "seed": options.seed}, __version__)
    model |= {"precision": precision, "unroll": unroll}
    with destination(output.output) as out:
        write(out, Trajectory(model, source.columns, state, blocks), style_of(output))


def _begun(blocks: Iterator[Block]) -> Iterator[Block]:
    """Compute the first block now: a failure before it leaves nothing to write."""
    first = next(blocks, None)
    return chain([] if first is None else [first], blocks)


def _final(steps: Iterable[Block], h0: Floats) -> Block:
    """Take the last step alone, or the initial state, as t = 0, where there is none."""
    final = Block(0, np.empty((1, 0), h0.dtype), h0[None])
    for block in steps:
        final = Block(block.first + len(block.h) - 1, block.x[-1:], block.h[-1:])
    return final
