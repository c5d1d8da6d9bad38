"""The command line: the only room that knows Click."""

from typing import Any

import click

from rnncli import __version__
from rnncli.cli.endings import endings
from rnncli.cli.help import Group
from rnncli.cli.run import run
from rnncli.cli.weights import weights

EXAMPLES = (
    ("rnn run --seq 1,2,3,4,5,6 --hidden 4", "Every hidden state of a sequence."),
    ("rnn weights --hidden 4", "The weights that it ran with."),
)


class Rnn(Group):
    """The command ``rnn``, with one way to end for all that it holds."""

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


rnn.add_command(run)
rnn.add_command(weights)
