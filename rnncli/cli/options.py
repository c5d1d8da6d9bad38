"""The options, in groups that commands share."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import click

from rnncli.activations import ACTIVATIONS, Activation
from rnncli.cli.help import Option
from rnncli.cli.values import ActivationText, Columns, Delimiter, Positive, Sizes, Whole
from rnncli.initializers import INITIALIZERS, SEED_MAX
from rnncli.merges import MERGES
from rnncli.network import DIRECTIONS
from rnncli.precision import PRECISIONS
from rnncli.readers import FIRST_ROW, MISSING
from rnncli.unroll import UNROLLS
from rnncli.writers import WRITERS

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
Values = TypeVar("Values", bound=tuple[Any, ...])


class InputOptions(NamedTuple):
    """Where the input is, and how it is laid out."""

    files: tuple[str, ...]
    seq: str | None
    columns: tuple[str, ...]
    delimiter: str | None
    first_row: str
    group_by: tuple[str, ...]
    missing: str
    passthrough: bool
    follow: bool


class NetworkOptions(NamedTuple):
    """Which network it is; None is what was not given."""

    hidden: tuple[int, ...] | None
    seed: int | None
    init: str | None
    weights: str | None
    layer: str | None
    direction: str | None
    merge: str | None
    activation: Activation | None
    clip: float | None


class OutputOptions(NamedTuple):
    """Where the result goes, and in which form."""

    output: str | None
    format: str | None
    json: bool
    digits: int | None
    no_header: bool
    last: bool
    all_steps: bool
    all_layers: bool


def picked(kind: Callable[..., Values], given: Mapping[str, Any]) -> Values:
    """Take the values of one group out of all that a command was given."""
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    return kind(**{field: given[field] for field in fields})


def _group(*parameters: Decorator) -> Decorator:
    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for parameter in reversed(parameters):
            command = parameter(command)
        return command

    return add


def _option(section: str, *names: str, **attributes: Any) -> Decorator:
    return click.option(*names, cls=Option, section=section, **attributes)


input_options = _group(
    click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path()),
    _option(
        "Input",
        "--seq",
        metavar="STEPS",
        help="The sequence itself: 1,2,3 or, with two features a step, '1 0.5, 2 0.1', "
        "or a JSON array.",
    ),
    _option(
        "Input",
        "--columns",
        type=Columns(),
        default=(),
        help="Columns to read, in this order: header names or numbers from 1, separated by "
        "commas. All by default.",
    ),
    _option(
        "Input",
        "--group-by",
        multiple=True,
        metavar="COLUMN",
        help="A column, by name or number, each value of which is a sequence of its own, its "
        "rows contiguous or not. Give it again for several columns.",
    ),
    _option(
        "Input",
        "--delimiter",
        type=Delimiter(),
        help="What separates the cells: one character, or comma, tab, semicolon, space, pipe. "
        "By default comma, tab or semicolon, told from the first line.",
    ),
    _option(
        "Input",
        "--first-row",
        type=click.Choice(FIRST_ROW),
        default="auto",
        show_default=True,
        help="Whether the first row is a header. auto: it is if --columns names a column, or "
        "if a cell to be read in it is a word.",
    ),
    _option(
        "Input",
        "--missing",
        type=click.Choice(MISSING),
        default="error",
        show_default=True,
        help="What an empty cell or nan is. hold: at such a row the state stays as it is, as "
        "where Keras masks. zero: 0 in that cell.",
    ),
    _option(
        "Input",
        "--follow",
        is_flag=True,
        help="A line out for every line in, at once. With --format csv or jsonl.",
    ),
)

network_options = _group(
    _option(
        "Network",
        "--hidden",
        type=Sizes(),
        help="Number of hidden units; 32,16 for two layers, the bottom one first.",
    ),
    _option(
        "Network",
        "--seed",
        type=Whole(0, SEED_MAX),
        metavar="N",
        help=f"Seed that the weights are drawn from, 0 to {SEED_MAX}.  [default: 1]",
    ),
    _option(
        "Network",
        "--init",
        type=click.Choice(list(INITIALIZERS)),
        help="Whose weights the seed gives. tensorflow: tf.random.normal after "
        "tf.random.set_seed(N), for W_xh, then W_hh; b_h is zero. keras: layers made after "
        "keras.utils.set_random_seed(N). torch: nn.RNN after torch.manual_seed(N).  "
        "[default: tensorflow]",
    ),
    _option(
        "Network",
        "--weights",
        type=click.Path(),
        metavar="FILE",
        help="Take the network from a file instead: .npz, as rnn weights -o writes it, or "
        ".safetensors with the names of PyTorch or Keras.",
    ),
    _option(
        "Network",
        "--layer",
        metavar="NAME",
        help="Which of several networks in the file: what their tensors' names begin with.",
    ),
    _option(
        "Network",
        "--direction",
        type=click.Choice(list(DIRECTIONS)),
        help="backward starts at the last step; states stand in the order of the input all the "
        "same.  [default: forward]",
    ),
    _option(
        "Network",
        "--merge",
        type=click.Choice(list(MERGES)),
        help="What becomes of the two states of a bidirectional layer.  [default: concat]",
    ),
    _option(
        "Network",
        "--activation",
        type=ActivationText(),
        help=f"One of {', '.join(ACTIVATIONS)}; with parameters as in leaky_relu:0.1 or "
        "hard_sigmoid:0.2,0.5.  [default: tanh]",
    ),
    _option(
        "Network",
        "--clip",
        type=Positive(),
        help="Limit the sum that the activation takes to ±C.",
    ),
)

inputs_option = _option(
    "Input",
    "--inputs",
    type=Whole(1),
    metavar="I",
    help="Number of input features; those of --weights, or else 1, by default.",
)

h0_option = _option(
    "Network",
    "--h0",
    metavar="STATE",
    help="Hidden state before the first step: a number for each unit, separated by commas, the "
    "bottom layer first, forward before backward. Zeros by default.",
)

state_option = _option(
    "Network",
    "--state",
    type=click.Path(),
    metavar="FILE",
    help="Start from the states in this file, where it exists, and leave the final states there. "
    "Sequences that it does not know start from --h0.",
)

computation_options = _group(
    _option(
        "Computation",
        "--precision",
        type=click.Choice(list(PRECISIONS)),
        default="float32",
        show_default=True,
        help="tf32 and bfloat16 round the operands of each product, then multiply and add in "
        "float32, as GPUs and TPUs do.",
    ),
    _option(
        "Computation",
        "--unroll",
        type=click.Choice(["auto", *UNROLLS]),
        default="auto",
        show_default=True,
        help="How the steps are computed. stepwise: two products a step, the reference. fused: "
        "one product a step. projected: all inputs in one product first. auto: the fastest "
        "measured for the size.",
    ),
)

output_option = _option(
    "Output",
    "-o",
    "--output",
    type=click.Path(),
    metavar="FILE",
    help="Write to a file, which is replaced once all is written. Its extension decides "
    "the format if no option does.",
)

json_option = _option("Output", "--json", is_flag=True, help="Write one JSON document.")

naming_option = _option(
    "Output",
    "--naming",
    type=click.Choice(["torch", "keras"]),
    help="Whose names the tensors of a .safetensors file have.  [default: torch]",
)

result_options = _group(
    output_option,
    _option(
        "Output",
        "--format",
        type=click.Choice(list(WRITERS)),
        help="By default the extension's of -o, else a table.",
    ),
    json_option,
    _option(
        "Output",
        "--passthrough",
        is_flag=True,
        help="Write the input's cells before the states, in place of t and x. With --format csv "
        "or jsonl.",
    ),
    _option("Output", "--last", is_flag=True, help="Write the final state only."),
    _option(
        "Output",
        "--all-steps",
        is_flag=True,
        help="Show every step of a long sequence in the table. Other formats always have all.",
    ),
    _option(
        "Output",
        "--all-layers",
        is_flag=True,
        help="Write the states of every layer, not those of the top one alone.",
    ),
    _option(
        "Output",
        "--digits",
        type=Whole(0, 20),
        metavar="N",
        help="Round to N digits after the point, 0 to 20. By default numbers have as many "
        "digits as read back to the same float.",
    ),
    _option("Output", "--no-header", is_flag=True, help="Leave out the first line of CSV."),
)
