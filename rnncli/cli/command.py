"""Commands whose help has headings and worked examples, and whose options are given once."""

from collections.abc import Iterable
from shutil import get_terminal_size
from typing import Any

import click

from rnncli.cli.signals import signals_raised
from rnncli.model.errors import sentence

# The headings, each with the topic that says more, and the parameters under it; any other option
# stands under the last.
SECTIONS = {
    "Batch (rnn help clusters)": "jobs scheduler force dry_run",
    "Input (rnn help inputs)": "seq columns group_by delimiter decimal encoding first_row "
    "null_values missing center scale follow inputs",
    "Network (rnn help networks)": "hidden cell seed init weights layer direction merge "
    "activation recurrent_activation reset",
    "State (rnn help state)": "h0 c0 state state_in state_out",
    "Computation (rnn help speed)": "precision unroll",
    "Comparison (rnn help verification)": "expected peers atol rtol repeats",
    "Explanation (rnn help explain)": "steps unit key",
    "Output (rnn help output)": "output format json passthrough last no_last head tail "
    "all_layers states digits header",
    "Other": "",
}

# Columns for options beside their help; in a terminal too narrow for both it stands below them.
BESIDE, BELOW, NARROW = 30, 4, 60
# Help is never wider nor narrower.
WIDEST, LEAST = 110, 20
# A hyphen at which no line ends.
_UNBROKEN = "\u2011"

Examples = tuple[tuple[str, str], ...]


class Formatter(click.HelpFormatter):
    """Help whose lines do not end within the name of an option, as textwrap ends them."""

    def write_text(self, text: str) -> None:
        """Write a paragraph."""
        super().write_text(text.replace("-", _UNBROKEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], *args: Any, **extra: Any) -> None:
        """Write names, each with its text."""
        unbroken = [(name, text.replace("-", _UNBROKEN)) for name, text in rows]
        super().write_dl(unbroken, *args, **extra)

    def getvalue(self) -> str:
        """Return all that was written."""
        return super().getvalue().replace(_UNBROKEN, "-")


class Context(click.Context):
    """A context whose help is written so."""

    formatter_class = Formatter


class Command(click.Command):
    """A command with worked examples, each a line of shell and what it does."""

    context_class = Context

    def __init__(self, *args: Any, examples: Examples = (), **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse a command line, in which an option with a value stands but once.

        Click would take the last. Flags, and options that are made to be
        repeated, may stand several times.
        """
        _, rest, given = self.make_parser(ctx).parse_args(list(args))
        if rest and not ctx.resilient_parsing:
            raise click.UsageError(self._unexpected(rest[0]), ctx)
        once = [
            each
            for each in given
            if isinstance(each, click.Option) and not (each.is_flag or each.multiple)
        ]
        for option in once:
            times = once.count(option)
            if times > 1 and not ctx.resilient_parsing:
                message = f"{option.opts[-1]}: given {times} times, give it once"
                raise click.UsageError(message, ctx)
        return super().parse_args(ctx, args)

    def _unexpected(self, argument: str) -> str:
        from rnncli.model.formats import is_model

        hint = ""
        if any(param.name == "weights" for param in self.params):
            file = argument if is_model(argument) else "FILE"
            hint = f"a network is given by --weights {file}, and no input is read"
        return sentence("", f"unexpected argument {argument!r}", hint)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with signals_raised():
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of each section that has any."""
        columns = BESIDE if formatter.width > NARROW else BELOW
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in SECTIONS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record and not isinstance(param, click.Argument):
                sections[heading_of(param.name)].append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records, col_max=columns)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self.examples)


def help_width() -> int:
    """Return the columns of a help text: those of the terminal, also where Click takes 50."""
    return max(min(get_terminal_size().columns - 2, WIDEST), LEAST)


def heading_of(parameter: str | None) -> str:
    """Return the heading under which a parameter stands."""
    found = (heading for heading, names in SECTIONS.items() if parameter in names.split())
    return next(found, "Other")


def write_examples(formatter: click.HelpFormatter, examples: Examples) -> None:
    """Write each example whole, whatever the width: it is there to be copied."""
    with formatter.section("Examples"):
        for line, meaning in examples:
            formatter.write(f"  {line}\n")
            formatter.write_text(f"    {meaning}")
