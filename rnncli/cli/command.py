"""Commands with two helps, a screen for ``-h`` and everything for ``--help``, and with examples."""

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from shutil import get_terminal_size
from typing import Any, NoReturn

import click

from rnncli.cli.errors import quiet

# Columns for options beside their help; in a terminal too narrow for both it stands below them.
BESIDE, BELOW, NARROW = 30, 4, 60
# Help is never wider nor narrower.
WIDEST, LEAST = 110, 20
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Options that may be given several times; of these, those whose values are lists.
REPEATED = ("columns", "null_values", "group_by", "activation", "recurrent_activation", "peers")
LISTS = ("columns", "group_by", "null_values")

Examples = tuple[tuple[str, str], ...]


class Option(click.Option):
    """An option under a heading, `common` if the short help has it.

    To Click each may be given several times: it would take the last where only one is meant.
    """

    def __init__(self, names: list[str], heading: str, common: bool, **attrs: Any) -> None:
        super().__init__(names, **attrs)
        self.heading, self.topic, self.common = heading, re.split("[ )]", heading)[-2], common
        self.once = self.multiple and self.name not in REPEATED

    def pick(self, values: tuple[Any, ...], ctx: click.Context) -> Any:
        """Return the value of an option that was given, or all its values."""
        if not self.once:
            return tuple(chain.from_iterable(values)) if self.name in LISTS else values
        if len(values) > 1:
            message = f"{self.opts[-1]}: given {len(values)} times, give it once"
            raise click.UsageError(message, ctx)
        return values[0]


class Command(click.Command):
    """A command with worked examples, each a line of shell and what it does.

    Its short help has the options that are `common`, where it has any.
    """

    def __init__(self, *args: Any, examples: Examples = (), **attrs: Any) -> None:
        super().__init__(*args, **attrs | {"add_help_option": False})
        self.examples = examples
        for names, about in (
            (["-h", "short"], "Show the most common options."),
            (["--help"], "Show all options."),
        ):
            flags: dict[str, Any] = {"is_flag": True, "is_eager": True, "expose_value": False}
            self.params.append(click.Option(names, callback=_show_help, help=about, **flags))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with the options that are given; its own defaults hold for others."""
        for param in self.params:
            if isinstance(param, Option) and param.multiple:
                values = ctx.params.pop(param.name)
                if values:
                    ctx.params[param.name] = param.pick(values, ctx)
        quiet.set(ctx.params.pop("quiet", False))
        with signals_raised():
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each under its heading."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.params:
            record = param.get_help_record(ctx)
            if record and isinstance(param, click.Option):
                sections.setdefault(getattr(param, "heading", "Other"), []).append(record)
        for name, records in sections.items():
            _write_options(formatter, name, records)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self.examples)

    def short_help_text(self, ctx: click.Context) -> str:
        """Return the help that fits a screen: of each common option the first sentence."""
        common = [param for param in self.params if getattr(param, "common", False)]
        if not common:
            return self.get_help(ctx)
        formatter = ctx.make_formatter()
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        records = []
        for option in common:
            names, text = option.get_help_record(ctx) or ("", "")
            names = re.sub(r"\[.*\|.*\]", option.opts[-1].lstrip("-").upper(), names)
            records.append((names, f"{text.partition('. ')[0].rstrip('.')}."))
        _write_options(formatter, "Options", records)
        self.format_epilog(ctx, formatter)
        more = sum(hasattr(param, "common") for param in self.params) - len(common)
        formatter.write(f"\n{more} more options: {ctx.command_path} --help\n")
        return formatter.getvalue().rstrip("\n")


def _show_help(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing and isinstance(ctx.command, Command):
        short = param.name == "short"
        show(ctx.command.short_help_text(ctx) if short else ctx.get_help())
        ctx.exit()


def _write_options(
    formatter: click.HelpFormatter, heading: str, records: list[tuple[str, str]]
) -> None:
    with formatter.section(heading):
        formatter.write_dl(records, col_max=BESIDE if formatter.width > NARROW else BELOW)


def show(text: str) -> None:
    """Write a text; on a terminal through a pager, if it is longer than the screen."""
    if sys.stdout.isatty() and text.count("\n") >= get_terminal_size().lines - 1:
        click.echo_via_pager(text)
    else:
        click.echo(text)


def help_width() -> int:
    """Return the columns of a help text: those of the terminal, also where Click takes 50."""
    return max(min(get_terminal_size().columns - 2, WIDEST), LEAST)


def write_examples(formatter: click.HelpFormatter, examples: Examples) -> None:
    """Write each example whole, whatever the width: it is there to be copied."""
    with formatter.section("Examples"):
        for line, meaning in examples:
            formatter.write(f"  {line}\n")
            formatter.write_text(f"    {meaning}")


@contextmanager
def signals_raised() -> Iterator[None]:
    """Turn signals that would end the process at once into exceptions: they allow a clean-up."""
    taken = [each for each in SIGNALS if signal.getsignal(each) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
