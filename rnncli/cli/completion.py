"""``rnn completion``: the script with which a shell completes commands."""

import click
from click.shell_completion import get_completion_class

from rnncli.cli import rnn
from rnncli.cli.option_table import command
from rnncli.cli.typos import Choice
from rnncli.storage.sink import destination

EXAMPLES = """
rnn completion bash  # ~/.bashrc runs it by eval "$(rnn completion bash)"
rnn completion fish | source  # in config.fish
"""
SHELL = click.Argument(["shell"], type=Choice(["bash", "zsh", "fish"]))


@command("completion", EXAMPLES, "", [SHELL])
def completion(shell: str) -> None:
    """Print the script that lets the Tab key complete rnn.

    It completes commands, options, their choices, topics of rnn help, and the
    columns of a CSV file.
    """
    script = get_completion_class(shell)
    if script is not None:
        with destination(None) as out:
            out.write(f"{script(rnn, {}, 'rnn', '_RNN_COMPLETE').source()}\n")
