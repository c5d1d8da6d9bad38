"""Options under their headings, given once each; help pages with worked examples."""

from collections.abc import Mapping
from typing import Any

import click

from rnncli.cli.errors import signals_raised

SECTIONS = ("Input", "Network", "Computation", "Comparison", "Output", "Other")


class Option(click.Option):
    """An option that stands under one of the `SECTIONS`.

    One with a value that is given twice is an error, unless it is made to be
    repeated: Click would take the last.
    """

    def __init__(self, *args: Any, section: str = "Other", **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.section = section

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Have the parser keep every value."""
        if self.is_flag or self.multiple:
            super().add_to_parser(parser, ctx)
        else:
            parser.add_option(self, self.opts, self.name, action="append", nargs=self.nargs)

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, Any]:
        """Take the only value.

        Raises
        ------
        click.UsageError
            There are several.
        """
        given = None if self.multiple else opts.get(self.name or "")
        if isinstance(given, list):
            if len(given) > 1 and not ctx.resilient_parsing:
                raise click.UsageError(f"{self.opts[-1]}: given {len(given)} times, give it once")
            opts = {**opts, str(self.name): given[-1]}
        return super().consume_value(ctx, opts)


class Command(click.Command):
    """A command with worked examples, each a line of shell and what it does."""

    def __init__(self, *args: Any, examples: tuple[tuple[str, str], ...] = (), **attrs: Any):
        super().__init__(*args, **attrs)
        self.examples = examples

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with signals_raised():
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of each section that has any."""
        for section in SECTIONS:
            records = [
                record
                for param in self.get_params(ctx)
                if not isinstance(param, click.Argument)
                and getattr(param, "section", "Other") == section
                and (record := param.get_help_record(ctx))
            ]
            if records:
                with formatter.section(section):
                    formatter.write_dl(records)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self.examples)


class Group(click.Group):
    """A group of commands with worked examples of its own."""

    def __init__(self, *args: Any, examples: tuple[tuple[str, str], ...] = (), **attrs: Any):
        super().__init__(*args, **attrs)
        self.examples = examples

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self.examples)


def write_examples(formatter: click.HelpFormatter, examples: tuple[tuple[str, str], ...]) -> None:
    """Write each example whole, whatever the width: it is there to be copied."""
    with formatter.section("Examples"):
        for line, meaning in examples:
            formatter.write(f"  {line}\n")
            formatter.write_text(f"    {meaning}")
