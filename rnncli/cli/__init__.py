"""The command line: the only room that knows Click."""

from importlib import import_module
from typing import Any

import click

from rnncli import __version__
from rnncli.cli.errors import endings
from rnncli.cli.help import Group

# A file each, loaded when its command is called: one does not wait for the others.
COMMANDS = ("run", "weights", "verify", "bench")

EXAMPLES = (
    ("rnn run --seq 1,2,3,4,5,6 --hidden 4", "Every hidden state of a sequence."),
    ("rnn weights --hidden 4", "The weights that it ran with."),
    ("rnn verify --seq 1,2,3,4,5,6 --hidden 4", "Whether Keras, PyTorch and others agree."),
)


class Rnn(Group):
    """The command ``rnn``, with one way to end for all that it holds."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Name the commands."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Load a command."""
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"rnncli.cli.{name}"), name)
        return command

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the command line."""
        with endings():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with endings(ctx):
            return super().invoke(ctx)


@click.group(cls=Rnn, examples=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="rnn %(version)s")
def rnn() -> None:
    """Run the forward pass of recurrent networks, exactly, in NumPy."""
