"""Commands, and one table of all their options.

A row has the names of an option, the name of its value, and its help. `KINDS` has the function that
reads the value. Its default is that of the record or the function that takes it.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import partial
from inspect import cleandoc
from shutil import get_terminal_size
from textwrap import indent
from typing import Any, TypeVar

import click
from click.core import augment_usage_errors

from rnncli.cli.candidates import complete
from rnncli.cli.console import quiet
from rnncli.cli.exits import NAMES, raise_signals
from rnncli.cli.typos import Choice, check_dashes, describe_option
from rnncli.model.activations import parse
from rnncli.model.cells import CELLS
from rnncli.model.cells.gru import RESETS
from rnncli.model.errors import OptionError
from rnncli.model.layers import DIRECTIONS, MERGES
from rnncli.model.seeds import INITIALIZERS, SEED_MAX
from rnncli.readers import expand
from rnncli.readers.columns import split_names
from rnncli.run_options import CHOICES, READ, STATE_FILES, integer
from rnncli.storage import is_url, wrap_url
from rnncli.storage.sink import on_screen

Values = TypeVar("Values", bound=tuple[Any, ...])
_FIELDS = {option: name for name, option in NAMES.items()}
# Options that may be given several times, and options whose values are lists.
REPEATED = ("columns", "null_values", "group_by", "activation", "recurrent_activation", "peers")
LISTS = ("columns", "group_by", "null_values")
# Options of the table that ``-h`` shows.
COMMON = "seq columns group_by hidden cell seed weights state output format json passthrough"


class Option(click.Option):
    """An option under a heading; a ValueError of `read`, which reads its value, is a usage error.

    Click may take each of them several times: by default it ignores all but the last.
    """

    def __init__(
        self, names: list[str], heading: str, read: Callable[[str], Any] = str, **attrs: Any
    ) -> None:
        super().__init__(names, **attrs)
        self.heading, self.topic, self.read = heading, re.split("[ )]", heading)[-2], read
        self._custom_shell_complete = partial(complete, str(self.name))
        self.once = self.multiple and self.name not in REPEATED

    def pick(self, values: tuple[str, ...], ctx: click.Context) -> Any:
        """Return the value, or the values of an option that may be repeated."""
        if self.once and len(values) > 1:
            raise click.UsageError(f"{self.opts[-1]}: given {len(values)} times, give it once", ctx)
        if "" in values:  # a variable of the shell that is not set
            raise click.BadParameter("an empty value", ctx, self)
        try:
            if not isinstance(self.type, click.Path):
                values = tuple(map(_decode_bytes, values))
            results = tuple(map(self.read, values))
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, self) from error
        return results[0] if self.once else sum(results, ()) if self.name in LISTS else results

    def shorten(self, ctx: click.Context) -> "Option":
        """Return this option with the first sentence of its help."""
        short, metavar = copy(self), self.make_metavar(ctx)
        short.heading, short.metavar = "Options", metavar if len(metavar) < 20 else "NAME"
        short.help = f"{re.split('[.:] ', self.help or '')[0].rstrip('.')}."
        return short


def _decode_bytes(text: str) -> str:
    """Decode bytes that Python, in a locale without UTF-8, has read as surrogates."""
    return text.encode(errors="surrogateescape").decode(errors="surrogateescape")


def show(text: str) -> None:
    """Write a text; on a terminal through a pager, if it is longer than the screen."""
    long = on_screen(None) and text.count("\n") >= get_terminal_size().lines - 1
    (click.echo_via_pager if long else click.echo)(text)


class Command(click.Command):
    """A command with two helps: ``-h`` shows a screen, ``--help`` all options under headings."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; its errors name the command."""
        ctx.meta["short"] = "-h" in args
        with augment_usage_errors(ctx):
            if not ctx.ignore_unknown_options:
                check_dashes(args, self.params)
            try:
                return super().parse_args(ctx, args)
            except click.NoSuchOption as error:
                group = ctx.find_root().command
                names = group.list_commands(ctx) if isinstance(group, click.Group) else ()
                commands = [each for name in names if (each := group.get_command(ctx, name))]  # type: ignore[attr-defined]
                text = describe_option(error.option_name, self, commands)
                raise click.UsageError(text, ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with the options that are given; the function has their defaults."""
        for param in self.params:
            if isinstance(param, Option) and param.multiple:
                values = ctx.params.pop(param.name)
                if values:
                    ctx.params[param.name] = param.pick(values, ctx)
        quiet.set(ctx.params.pop("quiet", False))
        try:
            with raise_signals():
                return super().invoke(ctx)
        except OptionError as error:
            raise click.UsageError(str(error), ctx) from error

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Make the option that shows help."""
        option = super().get_help_option(ctx)
        if option:
            option.callback = _show_help
            option.help = "Show the common options, or with --help all of them."
        return option

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help; ``-h`` shows the common options, if there are many commands."""
        rest = [o for o in OPTIONS if o in self.params and o.name not in COMMON.split()]
        if len(rest) < 5 or not ctx.meta.get("short"):
            super().format_help(ctx, formatter)
            return
        about, *_, examples = (self.help or "").split("\n\n")
        shown = [
            o.shorten(ctx) if isinstance(o, Option) else o for o in self.params if o not in rest
        ]
        text = f"{about}\n\n{examples}"
        Command(None, help=text, params=shown, add_help_option=False).format_help(ctx, formatter)
        formatter.write(f"{len(rest)} more options: {ctx.command_path} --help\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record and isinstance(param, click.Option):
                sections.setdefault(getattr(param, "heading", "Other"), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):  # in a narrow terminal the help is below its option
                formatter.write_dl(records, col_max=30 if formatter.width > 60 else 4)


def _show_help(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        (click.echo if ctx.meta["short"] else show)(ctx.get_help())
        ctx.exit()


def pick(kind: Callable[..., Values], values: Mapping[str, Any]) -> Values:
    """Select the values of one record from the arguments of a command."""
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    return kind(**{field: values[field] for field in fields if field in values})


def hidden_sizes(value: str) -> tuple[int, ...]:
    """Read numbers of units with commas between them."""
    try:
        return tuple(map(integer(1), value.split(",")))
    except ValueError as error:
        what = f"expected whole numbers from 1 up, such as 32,16, got {value!r}"
        raise ValueError(what) from error


# The function that reads a value, names to choose from, or the value that a flag sets. What is not
# here is a text, or a flag that sets True if its row names no value.
KINDS: Mapping[str, Any] = {
    **READ,
    **CHOICES,
    "cell": CELLS,
    "init": INITIALIZERS,
    "direction": DIRECTIONS,
    "merge": MERGES,
    "reset": RESETS,
    "hidden": hidden_sizes,
    "seed": integer(0, SEED_MAX),
    **dict.fromkeys(("columns", "group_by"), split_names),
    "null_values": partial(split_names, kind="cell"),
    "h0": str,
    "header": False,
    **dict.fromkeys(("activation", "recurrent_activation"), lambda value: parse(value.lower())),
    # The name of a file, or a URL that is shown without its secrets.
    **dict.fromkeys(("weights", *STATE_FILES, "output"), wrap_url),
}
TABLE = """
Input (rnn help inputs)
--seq STEPS               Read these steps: 1,2,3, or '1 0.5, 2 0.1' with two features, or JSON.
-c, --columns LIST        Read these columns, in this order: names or numbers from 1, separated by
                          commas. 2-4 and 3- are ranges, '!time' is all but that one. Default: all.
-g, --group-by COLUMN     Make a sequence of each value of this column. Repeat it for more columns.
--delimiter CHAR          The character between cells, or comma, tab, semicolon, space or pipe.
--decimal                 Decimal separator. Default: the point.
--encoding NAME           Encoding of text, such as cp1252 or utf-16. Default: utf-8.
--first-row               Read the first row as a header or as data. Default: auto, rnn decides.
--null-value LIST         Read these texts as missing, like empty cells and nan. Example: NA,-,-999.
--missing                 If a cell is missing: fail, hold the state, or read 0. Default: error.
--center LIST             Subtract these numbers, one per column. auto: the mean of each.
--scale LIST              Divide by these numbers, one per column. auto: standard deviations.
--follow                  Write the result of each line at once; append to -o FILE.

Network (rnn help networks)
--hidden H[,H]...         Number of hidden units. 32,16 makes two layers, the bottom one first.
--cell                    Cell of the layers. Default: rnn.
--seed N                  Seed of the weights, 0 to 4294967295. Default: 1.
--init                    Draw the weights as this framework does. Default: tensorflow.
-w, --weights FILE        Read the network from this file: .keras, .h5, .pt, .onnx, .safetensors
                          or .npz.
--layer NAME              Run this layer or module of the file alone. rnn inspect lists them.
--output-name NAME        Give this output of the file's model. Default: the first.
--chain NAME[:F],...      Run these layers of a file of weights, the bottom one first, each with an
                          activation F or without: embedding,lstm,fc:softmax.
--direction               Direction; backward starts at the last step. Default: forward.
--merge                   How a bidirectional layer joins its two states. Default: concat.
--activation NAME[:A[,B]]  Activation, such as relu or leaky_relu:0.1. Repeat it to give one per
                          layer, the bottom one first. Default: tanh.
--recurrent-activation NAME[:A[,B]]  Activation of the gates of an LSTM or a GRU. Default: sigmoid.
--reset                   Reset the h of a GRU after h @ W_hh, or before it. Default: after.

State (rnn help state)
--h0 STATE                Hidden state before the first step, one number per unit. Default: zeros.
--c0 STATE                Cell state of an LSTM before the first step. Default: zeros.
--state FILE              Continue from this state file, and save to it.
--state-in FILE           Start from the states in this file.
--state-out FILE          Save the final states to this file.

Computation (rnn help speed)
--precision               Float type; tf32 and bfloat16 round products as a GPU does. Default:
                          float32.
--unroll NAME             Algorithm for the steps. Default: auto, which chooses the fastest.

Output (rnn help output)
-o, --output FILE         Write to this file or URL. Its extension chooses the format.
-f, --format              Output format. Default: by the extension of -o, else table.
--json                    Write one JSON document.
--passthrough             Write all columns of the input instead of keys and t.
--last                    Write one row per sequence: its final state or prediction.
--no-last                 Write a row per step, even if the model gives one row per sequence.
--head N                  Write only the first N steps of each sequence.
--tail N                  Write only the last N steps of each sequence.
--ahead N                 Run N more steps after the input, with the predictions y as the next x.
--all-layers              Write the states of every layer.
--states                  Write the states h and c too, if the model has a head.
--digits N                Round to N digits after the point. Default: exact.
--no-header               Write CSV without a header.
-q, --quiet               Write no notes.
"""


def table(text: str, kinds: Mapping[str, Any] = KINDS) -> list[Option]:
    """Make the options of a table."""
    options = []
    for block in text.strip().split("\n\n"):
        heading, *rows = re.split(r"\n(?=-)", block)
        options += [_make(heading, kinds, *row.split("  ", 1)) for row in rows]
    return options


def _make(heading: str, kinds: Mapping[str, Any], names: str, about: str) -> Option:
    words = names.split(" ")
    opts = [word.rstrip(",") for word in words if word.startswith("-")]
    field = _FIELDS.get(opts[-1], opts[-1].lstrip("-").replace("-", "_"))
    metavar = " ".join(words[len(opts) :]) or None
    kind = kinds.get(field, str if metavar else True)
    if isinstance(kind, bool):  # a flag sets this value
        attrs: dict[str, Any] = {"is_flag": True, "default": not kind, "flag_value": kind}
    elif callable(kind):
        of_file = click.Path() if kind is wrap_url else str
        attrs = {"type": of_file, "read": kind, "metavar": metavar, "multiple": True}
    else:
        choices = Choice(kind, case_sensitive=False)
        attrs = {"type": choices, "metavar": metavar, "multiple": True}
    return Option([field, *opts], heading, help=" ".join(about.split()), **attrs)


OPTIONS = table(TABLE)


def files(metavar: str = "[FILE]...") -> click.Argument:
    """Make the argument for the files of a command."""

    def read(_ctx: object, _param: object, paths: Sequence[str]) -> tuple[str, ...]:
        if "" in paths:
            raise click.BadParameter("an empty file name")
        local = [path for path in paths if not is_url(path)]
        if len(local) == len(paths):
            paths = expand(paths)
        return tuple(map(wrap_url, paths))

    return click.Argument(["files"], nargs=-1, metavar=metavar, type=click.Path(), callback=read)


def command(
    name: str, examples: str, options: str, extra: Iterable[click.Parameter] = ()
) -> Callable[..., Command]:
    """Make a command of a function, with the options of some headings and with some names.

    Options whose names begin with ``!`` are left out.
    """
    words = {*options.split()}
    chosen = [o for o in OPTIONS if {o.heading.split()[0], o.name} & words]
    params = [*extra, *(option for option in chosen if f"!{option.name}" not in words)]

    def make(function: Callable[..., None]) -> Command:
        # Lines after \b are not wrapped: examples are to be copied.
        text = f"\n\n\b\nExamples:\n{indent(examples.strip(), '  ')}"
        about = cleandoc(function.__doc__ or "") + text
        return Command(name, callback=function, help=about, params=params)

    return make
