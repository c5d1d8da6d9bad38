"""The command line: the only package that knows Click."""

from importlib import import_module
from shutil import get_terminal_size
from typing import Any

import click

from rnncli import __version__
from rnncli.cli.console import write_utf8
from rnncli.cli.exits import show_errors

# Each has a module, which is loaded when the command is called.
COMMANDS = ("run", "batch", "explain", "weights", "inspect", "verify", "help", "completion")
HELP = """Run the forward pass of recurrent networks in NumPy.

\b
Examples:
  rnn run --seq 1,2,3,4,5,6 --hidden 4  # every hidden state of a sequence
  rnn explain --seq 1,2,3 --hidden 4 --step 2  # how a state was computed
  rnn inspect model.keras  # its layers, and the command that runs it
  rnn help inputs  # the reference, a topic at a time: rnn help has the list
"""


class Rnn(click.Group):
    """The command ``rnn``, which shows the errors of all commands."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Load a command."""
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"rnncli.cli.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands; Click would cut their descriptions in a narrow terminal."""
        commands = [(name, self.get_command(ctx, name)) for name in COMMANDS]
        with formatter.section("Commands"):
            formatter.write_dl([(n, each.get_short_help_str(200)) for n, each in commands if each])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called; the error about another names a near one."""
        if not ctx.resilient_parsing and args[0] not in COMMANDS:
            from rnncli.cli.typos import describe_command

            raise click.UsageError(describe_command(args[0], COMMANDS), ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before a command; its own have to come after it."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            from rnncli.cli.typos import describe_option

            commands = [each for name in COMMANDS if (each := self.get_command(ctx, name))]
            raise click.UsageError(
                describe_option(error.option_name, self, commands), ctx
            ) from error

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the command line."""
        write_utf8()
        width = max(20, min(get_terminal_size().columns - 2, 110))
        with show_errors():
            return super().make_context(*args, terminal_width=width, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with show_errors():
            return super().invoke(ctx)


rnn = Rnn("rnn", help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
click.version_option(__version__, message="rnn %(version)s")(rnn)
