"""The options of all commands: one table a heading, in which each option stands once.

The Click option, its line in the help and its row in a topic are made from its `Opt`. What is not
given has the value of the field of that name in the section's record.
"""

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import click

from rnncli.cli import values
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.unroll import UNROLLS
from rnncli.model.activations import Activation
from rnncli.model.cells import CELLS
from rnncli.model.cells.gru import RESETS
from rnncli.model.layers import DIRECTIONS, MERGES
from rnncli.model.seeds import INITIALIZERS, SEED_MAX
from rnncli.options import READ, Options, whole
from rnncli.readers import FIRST_ROW, MISSING
from rnncli.writers import WRITERS

Values = TypeVar("Values", bound=tuple[Any, ...])


class Opt(NamedTuple):
    """An option.

    Parameters
    ----------
    help : str
        One sentence or two; the default at the end.
    kind : type, optional
        What reads its value; none for a flag.
    metavar, short : str, optional
        How its value is called, and its short form.
    many : {"", "values", "lists"}
        Whether it may be given several times, and whether each value is a list.
    common : bool
        Whether it stands in the short help.
    name : str
        The option, where it is not that of the field.
    """

    help: str
    kind: Any = None
    metavar: str | None = None
    short: str = ""
    many: str = ""
    common: bool = False
    name: str = ""


class Section(NamedTuple):
    """Options under one heading, by the fields of the record that has their values."""

    heading: str
    topic: str
    record: Any
    options: Mapping[str, Opt]


class NetworkOptions(NamedTuple):
    """The network; None where an option is not given.

    `sha256` is what the bytes of the weight file have to be.
    """

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


class BatchOptions(NamedTuple):
    """How a batch is run."""

    files: tuple[str, ...] = ()
    output: str = ""
    jobs: int | None = None
    scheduler: str | None = None
    force: bool = False
    dry_run: bool = False


class QuietOption(NamedTuple):
    """Whether notes are written."""

    quiet: bool = False


class Option(click.Option):
    """An option of a section.

    To Click each may be given several times; `Command` refuses a second value where only one is
    meant, of which Click would take the last.
    """

    section: Section
    common = once = False
    absent: Any = None  # its value where it is not given

    @property
    def topic(self) -> str:
        """The topic that says more."""
        return self.section.topic


def picked(kind: Callable[..., Values], given: Mapping[str, Any]) -> Values:
    """Select the values of one record from the arguments of a command."""
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    return kind(**{field: given[field] for field in fields if field in given})


def options(
    *sections: Section | str, without: str = "", only: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of sections to a command: all of them, all but some, or only some.

    A name is that of a section in `SECTIONS`.
    """

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        made = [
            _make(section, field, about)
            for section in (SECTIONS[each] if isinstance(each, str) else each for each in sections)
            for field, about in section.options.items()
            if (field in only.split() if only else field not in without.split())
        ]
        params: list[click.Parameter] = command.__dict__.setdefault("__click_params__", [])
        params.extend(reversed(made))
        return command

    return add


def _make(section: Section, field: str, about: Opt) -> Option:
    """Make the option of a field."""
    names = [field, *filter(None, [about.short]), about.name or f"--{field.replace('_', '-')}"]
    attrs: dict[str, Any] = {"help": about.help}
    absent = section.record._field_defaults[field]
    if about.kind is None:
        attrs |= {"is_flag": True, "flag_value": not absent, "default": absent}
    else:
        is_type = isinstance(about.kind, click.ParamType) or about.kind is str
        kind = about.kind if is_type else values.Value(about.kind)
        attrs |= {"type": kind, "metavar": about.metavar, "multiple": True}
    if about.many == "lists":
        attrs["callback"] = lambda _ctx, _param, found: tuple(chain.from_iterable(found))
    option = Option(names, **attrs)
    option.section, option.common, option.absent = section, about.common, absent
    option.once = about.kind is not None and not about.many
    return option


INPUT = Section(
    "Input (rnn help inputs)",
    "inputs",
    Options,
    {
        "seq": Opt(
            "Read these steps: 1,2,3 or, with two features a step, '1 0.5, 2 0.1', or a JSON "
            "array.",
            str,
            "STEPS",
            common=True,
        ),
        "columns": Opt(
            "Read these columns, in this order: header names or numbers from 1, separated by "
            "commas. 2-4 and 3- are ranges, '!time' is all but that one. Default: all.",
            values.columns,
            "LIST",
            short="-c",
            many="lists",
            common=True,
        ),
        "group_by": Opt(
            "Make a sequence of each value of this column. Repeat it for several columns: a "
            "sequence of each combination.",
            values.name,
            "COLUMN",
            short="-g",
            many="values",
            common=True,
        ),
        "delimiter": Opt(
            "Separate cells by this character, or by comma, tab, semicolon, space or pipe. "
            "Default: comma, tab or semicolon, whichever the first line has.",
            READ["delimiter"],
            "CHAR",
        ),
        "decimal": Opt("Decimal separator. Default: the point.", READ["decimal"], "CHAR"),
        "encoding": Opt(
            "Encoding of text: cp1252, latin-1, utf-16 or another that Python knows. "
            "Default: utf-8.",
            READ["encoding"],
            "NAME",
        ),
        "first_row": Opt(
            "Read the first row as a header or as data. auto: a header if --columns names a "
            "column, or if a cell to be read is a word. Default: auto.",
            values.Choice(FIRST_ROW),
        ),
        "null_values": Opt(
            "Read these cells too as missing: NA,-,-999. Empty cells and nan always are.",
            values.null_values,
            "LIST",
            many="lists",
            name="--null-value",
        ),
        "missing": Opt(
            "At a missing cell, end with an error, hold the state at that row, or read zero. "
            "Default: error.",
            values.Choice(MISSING),
        ),
        "center": Opt(
            "Subtract these numbers from the columns, one per column, separated by commas. auto: "
            "the mean of each.",
            READ["center"],
            "LIST",
        ),
        "scale": Opt(
            "Divide the columns by these numbers, after --center. auto: the standard deviation of "
            "each.",
            READ["scale"],
            "LIST",
        ),
        "follow": Opt("Write a line for each line that arrives, at once; append to -o FILE."),
    },
)

NETWORK = Section(
    "Network (rnn help networks)",
    "networks",
    NetworkOptions,
    {
        "hidden": Opt(
            "Number of hidden units. 32,16 makes two layers, the bottom one first.",
            values.sizes,
            "H[,H]...",
            common=True,
        ),
        "cell": Opt("Cell of the layers. Default: rnn.", values.Choice(CELLS), common=True),
        "seed": Opt(
            f"Seed of the weights, 0 to {SEED_MAX}. Default: 1.",
            whole(0, SEED_MAX),
            "N",
            common=True,
        ),
        "init": Opt(
            "Framework whose initialisation the seed reproduces. Default: tensorflow, the "
            "notebook's tf.random.normal.",
            values.Choice(INITIALIZERS),
        ),
        "weights": Opt(
            "Read the network from a file or a URL: .keras, .h5, .pt, .onnx, .safetensors or "
            ".npz. rnn inspect shows what it holds.",
            values.FileName(),
            "FILE",
            short="-w",
            common=True,
        ),
        "layer": Opt(
            "Run this layer or module of the file alone. rnn inspect lists them.",
            values.name,
            "NAME",
        ),
        "direction": Opt(
            "Direction of the layers; backward starts at the last step. Default: forward.",
            values.Choice(DIRECTIONS),
        ),
        "merge": Opt(
            "How a bidirectional layer joins its two states. Default: concat.",
            values.Choice(MERGES),
        ),
        "activation": Opt(
            "Activation, such as relu or leaky_relu:0.1. Repeat it to give one per layer, the "
            "bottom one first, or one per cell. Default: tanh.",
            values.activation,
            "NAME[:A[,B]]",
            many="values",
        ),
        "recurrent_activation": Opt(
            "Activation of the gates of an LSTM or a GRU. Default: sigmoid.",
            values.activation,
            "NAME[:A[,B]]",
            many="values",
        ),
        "reset": Opt(
            "Apply the reset gate of a GRU after the product of h and its weights, as PyTorch and "
            "Keras do, or before it, as ONNX does. Default: after.",
            values.Choice(RESETS),
        ),
    },
)

START = Section(
    "State (rnn help state)",
    "state",
    Options,
    {
        "h0": Opt(
            "Hidden state before the first step: a number for each unit, separated by commas, the "
            "bottom layer first, forward before backward. Default: zeros.",
            values.state,
            "STATE",
        ),
        "c0": Opt(
            "Cell state of an LSTM before the first step. Default: zeros.", values.state, "STATE"
        ),
    },
)

STATE = Section(
    "State (rnn help state)",
    "state",
    Options,
    {
        "state": Opt(
            "Start from the states in this file, where it exists, and save the final states to it.",
            values.FileName(),
            "FILE",
            common=True,
        ),
        "state_in": Opt("Start from the states in this file.", values.FileName(), "FILE"),
        "state_out": Opt("Save the final states to this file.", values.FileName(), "FILE"),
    },
)

COMPUTATION = Section(
    "Computation (rnn help speed)",
    "speed",
    Options,
    {
        "precision": Opt(
            "Type to compute in. tf32 and bfloat16 round the operands of each product and add in "
            "float32, as GPUs and TPUs do. Default: float32.",
            values.Choice(PRECISIONS),
        ),
        "unroll": Opt(
            "Way to compute the steps. auto takes the fastest, stepwise is the reference, compiled "
            "needs the extra fast. Default: auto.",
            values.Choice(("auto", *UNROLLS)),
        ),
    },
)

OUTPUT = Section(
    "Output (rnn help output)",
    "output",
    Options,
    {
        "output": Opt(
            "Write to this file or URL, which is replaced once all is written. Its extension "
            "chooses the format.",
            values.FileName(),
            "FILE",
            short="-o",
            common=True,
        ),
        "format": Opt(
            "Output format. Default: that of the extension of -o, else table.",
            values.Choice(WRITERS),
            short="-f",
            common=True,
        ),
        "json": Opt("Write one JSON document."),
        "passthrough": Opt(
            "Write the input's columns in front of the results, in place of the keys and t. "
            "Without a format: as CSV.",
            common=True,
        ),
        "last": Opt("Write the final state only, or the output of the head for it."),
        "no_last": Opt("Write a row per step of a model that gives one row per sequence."),
        "head": Opt("Write only the first N steps of each sequence.", whole(1), "N"),
        "tail": Opt("Write only the last N steps of each sequence.", whole(1), "N"),
        "all_layers": Opt("Write the states of every layer."),
        "states": Opt("Write h, and c of an LSTM, also where the model has a head."),
        "digits": Opt(
            "Round to N digits after the point, 0 to 20. Default: the fewest that read back to "
            "the same float.",
            READ["digits"],
            "N",
        ),
        "header": Opt("Write CSV without a header.", name="--no-header"),
    },
)

BATCH = Section(
    "Batch (rnn help clusters)",
    "clusters",
    BatchOptions,
    {
        "output": Opt(
            "Where each result goes. {stem} is the input's name without its extension, {name} the "
            "name, {dir} the folder. The extension chooses the format; a folder takes CSV.",
            values.FileName(),
            "TEMPLATE",
            short="-o",
            common=True,
        ),
        "jobs": Opt(
            "Number of processes. Default: one per processor.",
            whole(1),
            "N",
            short="-j",
            common=True,
        ),
        "scheduler": Opt(
            "Run on a Dask cluster: tcp://HOST:PORT, or the .json file of its scheduler.",
            values.name,
            "ADDRESS",
            common=True,
        ),
        "force": Opt("Run again what is done.", common=True),
        "dry_run": Opt("Show what would be run, and run nothing.", short="-n", common=True),
    },
)

QUIET = Section(
    "Output (rnn help output)",
    "output",
    QuietOption,
    {
        "quiet": Opt("Write no notes.", short="-q"),
    },
)

SECTIONS = {
    "input": INPUT,
    "network": NETWORK,
    "start": START,
    "state": STATE,
    "computation": COMPUTATION,
    "output": OUTPUT,
    "batch": BATCH,
    "quiet": QUIET,
}
