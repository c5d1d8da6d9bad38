"""Commands with two helps: a screen for ``-h``, everything for ``--help``."""

import re
import sys
from collections.abc import Iterable
from shutil import get_terminal_size
from typing import Any

import click

from rnncli.cli.outputs import quiet
from rnncli.cli.signals import signals_raised

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
    """A command with worked examples, each a line of shell and what it does.

    Its short help has the options that are `common`, where it has any; with
    `of_run` only those under its first heading, as the others are those of run.
    """

    context_class = Context

    def __init__(
        self, *args: Any, examples: Examples = (), of_run: bool = False, **attrs: Any
    ) -> None:
        super().__init__(*args, **attrs | {"add_help_option": False})
        self.examples, self.of_run = examples, of_run
        for names, show_it, help_ in (
            (["-h", "short"], _show_short, "Show the most common options."),
            (["--help"], _show_all, "Show all options."),
        ):
            flags: dict[str, Any] = {"is_flag": True, "is_eager": True, "expose_value": False}
            self.params.append(click.Option(names, callback=show_it, help=help_, **flags))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options; one that takes a single value may be given once."""
        rest = super().parse_args(ctx, args)
        ours: list[Any] = [param for param in self.params if hasattr(param, "section")]
        for param in ours:
            if param.is_flag:
                continue
            found = ctx.params[param.name]
            if param.once and len(found or ()) > 1 and not ctx.resilient_parsing:
                message = f"{param.opts[-1]}: given {len(found)} times, give it once"
                raise click.UsageError(message, ctx)
            value = (found[0] if param.once else found) if found else param.absent
            ctx.params[param.name] = value
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        quiet.set(ctx.params.pop("quiet", False))
        with signals_raised():
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each under its heading."""
        self._write(formatter, ctx, self.params)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self.examples)

    def short_help_text(self, ctx: click.Context) -> str:
        """Return the help that fits a screen."""
        common: list[Any] = [each for each in self.params if getattr(each, "common", False)]
        if not common:
            return self.get_help(ctx)
        if self.of_run:
            common = [param for param in common if param.section is common[0].section]
        formatter = ctx.make_formatter()
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        with formatter.section("Options"):
            records = [_brief(param, ctx) for param in common]
            formatter.write_dl(records, col_max=_columns(formatter))
        self.format_epilog(ctx, formatter)
        more = sum(hasattr(param, "section") for param in self.params) - len(common)
        whose = "more options, those of rnn run" if self.of_run else "more options"
        formatter.write(f"\n{more} {whose}: {ctx.command_path} --help\n")
        return formatter.getvalue().rstrip("\n")

    def _write(
        self,
        formatter: click.HelpFormatter,
        ctx: click.Context,
        params: Iterable[click.Parameter],
    ) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in params:
            record = param.get_help_record(ctx)
            if record and isinstance(param, click.Option):
                section = getattr(param, "section", None)
                name = section.heading if section else "Other"
                sections.setdefault(name, []).append(record)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records, col_max=_columns(formatter))


def _columns(formatter: click.HelpFormatter) -> int:
    return BESIDE if formatter.width > NARROW else BELOW


def _brief(option: click.Parameter, ctx: click.Context) -> tuple[str, str]:
    """Return an option and the first sentence of its help."""
    names, text = option.get_help_record(ctx) or ("", "")
    values = re.sub(r"\[.*\|.*\]", option.opts[-1].lstrip("-").upper(), names)
    return values, f"{text.partition('. ')[0].rstrip('.')}."


def _show_short(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing and isinstance(ctx.command, Command):
        click.echo(ctx.command.short_help_text(ctx))
        ctx.exit()


def _show_all(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        show(ctx.get_help())
        ctx.exit()


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
