"""Help pages: options under their headings, then worked examples."""

from typing import Any

import click

from rnncli.cli.endings import signals_raised

SECTIONS = ("Input", "Network", "Computation", "Comparison", "Output", "Other")


class Option(click.Option):
    """An option that stands under one of the `SECTIONS`."""

    def __init__(self, *args: Any, section: str = "Other", **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.section = section


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
