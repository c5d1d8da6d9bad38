"""The options of all commands, a table a heading, in which each option stands once.

A line has the names of an option, how its value is called, and ``*`` if the short help has it;
then its help follows. `KINDS` has what reads the value. The default is that of the record or the
function that takes it.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import click

from rnncli.cli.command import Command, Examples, Option
from rnncli.cli.errors import NAMES
from rnncli.model.activations import Activation, parse
from rnncli.model.cells import CELLS
from rnncli.model.cells.gru import RESETS
from rnncli.model.layers import DIRECTIONS, MERGES
from rnncli.model.seeds import INITIALIZERS, SEED_MAX
from rnncli.options import CHOICES, READ, whole
from rnncli.readers.columns import separated
from rnncli.storage import named

Values = TypeVar("Values", bound=tuple[Any, ...])
_FIELDS = {option: name for name, option in NAMES.items()}


class NetworkOptions(NamedTuple):
    """The network; `sha256` is what the bytes of the weight file have to be."""

    hidden: tuple[int, ...] | None = None
    cell: str | None = None
    seed: int | None = None
    init: str | None = None
    weights: str | None = None
    layer: str | None = None
    direction: str | None = None
    merge: str | None = None
    activation: tuple[Activation, ...] | None = None
    recurrent_activation: tuple[Activation, ...] | None = None
    reset: str | None = None
    sha256: str | None = None


class Value(click.ParamType):  # type: ignore[type-arg]  # generic since Click 8.2
    """A value that a function reads; its ValueError is the message of a usage error."""

    name = "text"

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self.read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value."""
        try:
            return self.read(value)
        except ValueError as error:
            return self.fail(str(error), param, ctx)


class FileName(click.Path):
    """The name of a file, ``-`` among them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name, of a URL without what is secret in it."""
        if not value:
            self.fail("an empty file name", param, ctx)
        return named(os.fsdecode(super().convert(value, param, ctx)))


def picked(kind: Callable[..., Values], given: Mapping[str, Any]) -> Values:
    """Select the values of one record from the arguments of a command."""
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    return kind(**{field: given[field] for field in fields if field in given})


def not_empty(value: str) -> str:
    """Check the name of something in a file, or a state."""
    if not value:
        raise ValueError("an empty value")
    return value


# What reads a value: a function, a type of Click, or names to choose from. Any other is a text.
KINDS: Mapping[str, Any] = {
    **READ,
    **CHOICES,
    "cell": CELLS,
    "init": INITIALIZERS,
    "direction": DIRECTIONS,
    "merge": MERGES,
    "reset": RESETS,
    "hidden": lambda value: tuple(map(whole(1), value.split(","))),
    "seed": whole(0, SEED_MAX),
    **dict.fromkeys(("columns", "group_by"), separated),
    "null_values": partial(separated, kind="cell"),
    **dict.fromkeys(("layer", "h0", "c0", "scheduler"), not_empty),
    **dict.fromkeys(("activation", "recurrent_activation"), lambda value: parse(value.lower())),
    **dict.fromkeys(("weights", "state", "state_in", "state_out", "output"), FileName()),
    "jobs": whole(1),
}


def section(text: str, kinds: Mapping[str, Any] = KINDS) -> list[Option]:
    """Make the options of a table, whose first line is the heading."""
    heading, *rows = re.split(r"\n(?=-)", text.strip())
    return [_make(heading, kinds, *row.split("\n")) for row in rows]


def _make(heading: str, kinds: Mapping[str, Any], line: str, *about: str) -> Option:
    words = line.removesuffix(" *").split(" ")
    opts = [word.rstrip(",") for word in words if word.startswith("-")]
    field = _FIELDS.get(opts[-1], opts[-1].lstrip("-").replace("-", "_"))
    metavar, kind = " ".join(words[len(opts) :]) or None, kinds.get(field, str)
    if metavar is None and field not in kinds:
        absent = field == "header"
        attrs: dict[str, Any] = {"is_flag": True, "default": absent, "flag_value": not absent}
    else:
        if not callable(kind):
            kind = click.Choice(kind, case_sensitive=False)
        elif not isinstance(kind, click.ParamType) and kind is not str:
            kind = Value(kind)
        attrs = {"type": kind, "metavar": metavar, "multiple": True}
    common, text = line.endswith(" *"), " ".join(map(str.strip, about))
    return Option([field, *opts], heading, common, help=text, **attrs)


def only(options: list[Option], names: str) -> list[Option]:
    """Select some options of a heading."""
    return [option for option in options if option.name in names.split()]


def without(options: list[Option], names: str) -> list[Option]:
    """Leave some options of a heading out."""
    return [option for option in options if option.name not in names.split()]


FILES = click.Argument(["files"], nargs=-1, metavar="[FILE]...", type=FileName())

INPUT = section("""
Input (rnn help inputs)
--seq STEPS *
    Read these steps: 1,2,3 or, with two features a step, '1 0.5, 2 0.1', or a JSON array.
-c, --columns LIST *
    Read these columns, in this order: header names or numbers from 1, separated by commas. 2-4
    and 3- are ranges, '!time' is all but that one. Default: all.
-g, --group-by COLUMN *
    Make a sequence of each value of this column. Repeat it for several columns: a sequence of
    each combination.
--delimiter CHAR
    Separate cells by this character, or by comma, tab, semicolon, space or pipe. Default:
    comma, tab or semicolon, whichever the first line has.
--decimal CHAR
    Decimal separator. Default: the point.
--encoding NAME
    Encoding of text: cp1252, latin-1, utf-16 or another that Python knows. Default: utf-8.
--first-row
    Read the first row as a header or as data. auto: a header if --columns names a column, or if
    a cell to be read is a word. Default: auto.
--null-value LIST
    Read these cells too as missing: NA,-,-999. Empty cells and nan always are.
--missing
    At a missing cell, end with an error, hold the state at that row, or read zero. Default:
    error.
--center LIST
    Subtract these numbers from the columns, one per column, separated by commas. auto: the mean
    of each.
--scale LIST
    Divide the columns by these numbers, after --center. auto: the standard deviation of each.
--follow
    Write a line for each line that arrives, at once; append to -o FILE.
""")

NETWORK = section("""
Network (rnn help networks)
--hidden H[,H]... *
    Number of hidden units. 32,16 makes two layers, the bottom one first.
--cell *
    Cell of the layers. Default: rnn.
--seed N *
    Seed of the weights, 0 to 4294967295. Default: 1.
--init
    Framework whose initialisation the seed reproduces. Default: tensorflow, the notebook's
    tf.random.normal.
-w, --weights FILE *
    Read the network from a file or a URL: .keras, .h5, .pt, .onnx, .safetensors or .npz. rnn
    inspect shows what it holds.
--layer NAME
    Run this layer or module of the file alone. rnn inspect lists them.
--direction
    Direction of the layers; backward starts at the last step. Default: forward.
--merge
    How a bidirectional layer joins its two states. Default: concat.
--activation NAME[:A[,B]]
    Activation, such as relu or leaky_relu:0.1. Repeat it to give one per layer, the bottom one
    first, or one per cell. Default: tanh.
--recurrent-activation NAME[:A[,B]]
    Activation of the gates of an LSTM or a GRU. Default: sigmoid.
--reset
    Apply the reset gate of a GRU after the product of h and its weights, as PyTorch and Keras
    do, or before it, as ONNX does. Default: after.
""")

STATE = section("""
State (rnn help state)
--h0 STATE
    Hidden state before the first step: a number for each unit, separated by commas, the bottom
    layer first, forward before backward. Default: zeros.
--c0 STATE
    Cell state of an LSTM before the first step. Default: zeros.
--state FILE *
    Start from the states in this file, where it exists, and save the final states to it.
--state-in FILE
    Start from the states in this file.
--state-out FILE
    Save the final states to this file.
""")

COMPUTATION = section("""
Computation (rnn help speed)
--precision
    Type to compute in. tf32 and bfloat16 round the operands of each product and add in float32,
    as GPUs and TPUs do. Default: float32.
--unroll
    Way to compute the steps. auto takes the fastest, stepwise is the reference, compiled needs
    the extra fast. Default: auto.
""")

OUTPUT = section("""
Output (rnn help output)
-o, --output FILE *
    Write to this file or URL, which is replaced once all is written. Its extension chooses the
    format.
-f, --format *
    Output format. Default: that of the extension of -o, else table.
--json
    Write one JSON document.
--passthrough *
    Write the input's columns in front of the results, in place of the keys and t. Without a
    format: as CSV.
--last
    Write the final state only, or the output of the head for it.
--no-last
    Write a row per step of a model that gives one row per sequence.
--head N
    Write only the first N steps of each sequence.
--tail N
    Write only the last N steps of each sequence.
--all-layers
    Write the states of every layer.
--states
    Write h, and c of an LSTM, also where the model has a head.
--digits N
    Round to N digits after the point, 0 to 20. Default: the fewest that read back to the same
    float.
--no-header
    Write CSV without a header.
-q, --quiet
    Write no notes.
""")

BATCH = section("""
Batch (rnn help clusters)
-o, --output TEMPLATE *
    Where each result goes. {stem} is the input's name without its extension, {name} the name,
    {dir} the folder. The extension chooses the format; a folder takes CSV.
-j, --jobs N *
    Number of processes. Default: one per processor.
--scheduler ADDRESS *
    Run on a Dask cluster: tcp://HOST:PORT, or the .json file of its scheduler.
--force *
    Run again what is done.
-n, --dry-run *
    Show what would be run, and run nothing.
""")

_READING = [FILES, *without(INPUT, "follow"), *NETWORK, *only(STATE, "h0 c0")]
# What each command takes beside its own.
PARAMETERS: Mapping[str, list[Any]] = {
    "run": [FILES, *INPUT, *NETWORK, *STATE, *COMPUTATION, *OUTPUT],
    "batch": [
        click.Argument(["files"], nargs=-1, metavar="[IN]...", type=FileName()),
        *(*BATCH, *without(INPUT, "seq follow"), *NETWORK, *STATE, *COMPUTATION),
        *without(OUTPUT, "output format json head tail"),
    ],
    "explain": [
        *(*_READING, *only(STATE, "state_in"), *only(COMPUTATION, "precision")),
        *only(OUTPUT, "output json digits quiet"),
    ],
    "weights": [*NETWORK, *only(OUTPUT, "output json quiet")],
    "inspect": [
        click.Argument(["file"], type=FileName()),
        *(*only(NETWORK, "layer"), *only(OUTPUT, "json")),
    ],
    "verify": [*_READING, *COMPUTATION, *only(OUTPUT, "json quiet")],
    "bench": [*_READING, *only(COMPUTATION, "precision")],
}


def command(name: str, examples: Examples, own: Sequence[Option] = ()) -> Callable[..., Command]:
    """Make a command of a function."""
    return click.command(name, cls=Command, examples=examples, params=[*own, *PARAMETERS[name]])
