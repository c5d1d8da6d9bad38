"""The options, in groups that commands share; `rnncli.pipeline.Options` has their values."""

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
from rnncli.readers import FIRST_ROW, MISSING
from rnncli.readers.foreign import UTF_8
from rnncli.writers import WRITERS

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
Values = TypeVar("Values", bound=tuple[Any, ...])


class NetworkOptions(NamedTuple):
    """Which network it is; None is what was not given.

    `sha256` is what the bytes of the weight file have to be.
    """

    hidden: tuple[int, ...] | None
    cell: str | None
    seed: int | None
    init: str | None
    weights: str | None
    layer: str | None
    direction: str | None
    merge: str | None
    activation: tuple[Activation, ...] | None
    recurrent_activation: tuple[Activation, ...] | None
    reset: str | None
    sha256: str | None = None


NOTHING_GIVEN = NetworkOptions(*[None] * len(NetworkOptions._fields))


def picked(kind: Callable[..., Values], given: Mapping[str, Any]) -> Values:
    """Take the values of one group out of all that a command was given."""
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    return kind(**{field: given[field] for field in fields if field in given})


def group(*parameters: Decorator) -> Decorator:
    """Make one decorator of several."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for parameter in reversed(parameters):
            command = parameter(command)
        return command

    return add


def _any_given(_ctx: click.Context, _param: click.Parameter, found: tuple[Any, ...]) -> Any:
    """Return the values of an option that may be repeated, or None."""
    return found or None


def _joined(_ctx: click.Context, _param: click.Parameter, lists: tuple[Any, ...]) -> Any:
    """Return the values of all lists that an option was given."""
    return tuple(chain.from_iterable(lists))


layout_options = group(
    click.option(
        "--columns",
        metavar="LIST",
        type=values.columns,
        multiple=True,
        callback=_joined,
        help="Columns to read, in this order: header names or numbers from 1, separated by "
        "commas, or the option given again; 2-4 and 3- are ranges, '!time' is all but that one. "
        "All by default.",
    ),
    click.option(
        "--group-by",
        multiple=True,
        metavar="LIST",
        type=values.name,
        help="A column, by name or number, each value of which is a sequence of its own, its "
        "rows contiguous or not. Several, as in --columns: each of their combinations.",
    ),
    click.option(
        "--delimiter",
        metavar="CHAR",
        type=values.delimiter,
        help="What separates the cells: one character, or comma, tab, semicolon, space, pipe. "
        "By default comma, tab or semicolon, told from the first line.",
    ),
    click.option(
        "--decimal",
        metavar="CHAR",
        type=values.decimal,
        default=".",
        show_default=True,
        help="What stands before the decimals of a number: , in 1,5. Cells are then separated by a "
        "tab or semicolon, or stand in quotes. A mark of thousands is an error.",
    ),
    click.option(
        "--encoding",
        metavar="NAME",
        type=values.encoding,
        default=UTF_8,
        show_default=True,
        help="The encoding of text: utf-8, latin-1, cp1252 (Windows), utf-16 (with a byte order "
        "mark), or another that Python knows.",
    ),
    click.option(
        "--first-row",
        type=values.Choice(FIRST_ROW),
        default="auto",
        show_default=True,
        help="Whether the first row is a header. auto: it is if --columns names a column, or "
        "if a cell to be read in it is a word.",
    ),
    click.option(
        "--null-value",
        "null_values",
        metavar="LIST",
        type=values.null_values,
        multiple=True,
        callback=_joined,
        help="Cells that are missing beside an empty one and nan, as they stand in the file, "
        "separated by commas: NA,-,-999. --missing says what becomes of them.",
    ),
    click.option(
        "--missing",
        type=values.Choice(MISSING),
        default="error",
        show_default=True,
        help="What a missing cell is: an empty one, nan, or a --null-value. hold: at such a row "
        "the state stays as it is, as where Keras masks. zero: 0 in that cell, which --center and "
        "--scale change.",
    ),
    click.option(
        "--center",
        metavar="LIST",
        type=values.numbers("", lambda _: True),
        help="What is taken from each column before the network, a number for each, separated by "
        "commas. auto: its mean, which is found before the run and told in a note.",
    ),
    click.option(
        "--scale",
        metavar="LIST",
        type=values.numbers("other than 0", lambda scale: scale != 0),
        help="What each column is then divided by, a number for each. auto: its standard "
        "deviation.",
    ),
)

input_options = group(
    click.argument("files", nargs=-1, metavar="[FILE]...", type=values.FileName()),
    click.option(
        "--seq",
        metavar="STEPS",
        help="The sequence itself: 1,2,3 or, with two features a step, '1 0.5, 2 0.1', "
        "or a JSON array. Line ends separate steps as commas do.",
    ),
    layout_options,
)

follow_option = click.option(
    "--follow",
    is_flag=True,
    help="A line out for every line in, at once: of CSV, or of JSON with --format jsonl. -o FILE "
    "is then added to, not replaced.",
)

layer_option = click.option(
    "--layer",
    metavar="NAME",
    type=values.name,
    help="Which part of a larger model in the file, by the name of a layer or a module; rnn "
    "inspect lists them.",
)

network_options = group(
    click.option(
        "--hidden",
        metavar="H[,H]...",
        type=values.sizes,
        help="Number of hidden units; 32,16 for two layers, the bottom one first.",
    ),
    click.option(
        "--cell",
        type=values.Choice(list(CELLS)),
        help="What the layers are made of: vanilla cells, LSTMs or GRUs.  [default: rnn]",
    ),
    click.option(
        "--seed",
        type=values.whole(0, SEED_MAX),
        metavar="N",
        help=f"Seed that the weights are drawn from, 0 to {SEED_MAX}.  [default: 1]",
    ),
    click.option(
        "--init",
        type=values.Choice(list(INITIALIZERS)),
        help="Whose weights the seed gives. tensorflow: tf.random.normal, as in the notebook. "
        "keras: those of its layers. torch: those of nn.RNN, nn.LSTM or nn.GRU.  "
        "[default: tensorflow]",
    ),
    click.option(
        "--weights",
        type=values.FileName(),
        metavar="FILE",
        help="Take the network from a file or a URL instead: .keras, .h5, .pt, .onnx, "
        ".safetensors, or .npz, as rnn weights -o writes it. rnn inspect shows what is in it.",
    ),
    layer_option,
    click.option(
        "--direction",
        type=values.Choice(list(DIRECTIONS)),
        help="backward starts at the last step; states stand in the order of the input all the "
        "same.  [default: forward]",
    ),
    click.option(
        "--merge",
        type=values.Choice(list(MERGES)),
        help="What becomes of the two states of a bidirectional layer.  [default: concat]",
    ),
    click.option(
        "--activation",
        metavar="NAME[:A[,B]]",
        type=values.activation,
        multiple=True,
        callback=_any_given,
        help="relu, gelu or one of many others, with parameters as in leaky_relu:0.1. Give it "
        "again for each layer, the bottom one first, or each cell, forward first.  "
        "[default: tanh]",
    ),
    click.option(
        "--recurrent-activation",
        metavar="NAME[:A[,B]]",
        type=values.activation,
        multiple=True,
        callback=_any_given,
        help="That of the gates of an LSTM or a GRU; as --activation.  [default: sigmoid]",
    ),
    click.option(
        "--reset",
        type=values.Choice(RESETS),
        help="Where a GRU multiplies by its reset gate. after: the product of h and its weights, "
        "as PyTorch and Keras do. before: h itself, as ONNX does by default.  [default: after]",
    ),
)

start_options = group(
    click.option(
        "--h0",
        metavar="STATE",
        type=values.state,
        help="Hidden state before the first step: a number for each unit, separated by commas, "
        "the bottom layer first, forward before backward. Zeros by default.",
    ),
    click.option(
        "--c0",
        metavar="STATE",
        type=values.state,
        help="The same for the cell state c of an LSTM.",
    ),
)

state_in_option = click.option(
    "--state-in",
    type=values.FileName(),
    metavar="FILE",
    help="Start from the states in this file, and leave it as it is.",
)

state_options = group(
    click.option(
        "--state",
        type=values.FileName(),
        metavar="FILE",
        help="Start from the states in this file, where it exists, and leave the final states "
        "there for the next run. Sequences that are not in it start from --h0 and --c0. A second "
        "run waits; one on the same URL is refused as it ends.",
    ),
    state_in_option,
    click.option(
        "--state-out",
        type=values.FileName(),
        metavar="FILE",
        help="Leave the final states in this file, whatever is in it.",
    ),
)

precision_option = click.option(
    "--precision",
    type=values.Choice(list(PRECISIONS)),
    default="float32",
    show_default=True,
    help="tf32 and bfloat16 round the operands of each product, then multiply and add in "
    "float32, as GPUs and TPUs do.",
)

computation_options = group(
    precision_option,
    click.option(
        "--unroll",
        type=values.Choice(["auto", *UNROLLS]),
        default="auto",
        show_default=True,
        help="How the steps are computed. auto: the fastest for the size. stepwise: the reference. "
        "compiled: in machine code, with the extra fast.",
    ),
)

output_option = click.option(
    "-o",
    "--output",
    type=values.FileName(),
    metavar="FILE",
    help="Write to a file, or to s3:// or gs://. It is replaced once all is written. Its "
    "extension decides the format if no option does; text that ends in .gz is compressed.",
)

json_option = click.option("--json", is_flag=True, help="Write one JSON document.")

digits_option = click.option(
    "--digits",
    type=values.whole(0, 20),
    metavar="N",
    help="Round to N digits after the point, 0 to 20. By default numbers have as many "
    "digits as read back to the same float.",
)

shown_options = group(
    click.option(
        "--passthrough",
        is_flag=True,
        help="Write the input's cells before the states, in place of t and x; with --last those of "
        "the last row. As CSV, or with --format jsonl, parquet or arrow; these keep the types of "
        "columns that have any.",
    ),
    click.option(
        "--last",
        is_flag=True,
        help="Write the final state only, or what a head makes of it. A model in a file that gives "
        "one row a sequence does so by itself.",
    ),
    click.option(
        "--no-last",
        is_flag=True,
        help="Write a row a step of a model that gives one row a sequence.",
    ),
    click.option(
        "--head",
        type=values.whole(1),
        metavar="N",
        help="Show the first N steps of each sequence only, with --tail those too. The run goes on "
        "to the end all the same: final states and errors stay what they are.",
    ),
    click.option(
        "--tail",
        type=values.whole(1),
        metavar="N",
        help="Show the last N steps of each sequence only, with --head those too.",
    ),
    click.option(
        "--all-layers",
        is_flag=True,
        help="Write the states of every layer, not those of the top one alone.",
    ),
    click.option(
        "--states",
        is_flag=True,
        help="Write all that the top recurrent layer carries from step to step: h, and c of an "
        "LSTM, also where a layer stands above it.",
    ),
    digits_option,
    click.option(
        "--no-header",
        "header",
        is_flag=True,
        callback=lambda _ctx, _param, left_out: not left_out,
        help="Leave out the first line of CSV.",
    ),
)

result_options = group(
    output_option,
    click.option(
        "--format",
        type=values.Choice(list(WRITERS)),
        help="By default the extension's of -o, else a table.",
    ),
    json_option,
    shown_options,
)
