"""``rnn help``: the reference, a topic at a time, from the Markdown files in ``topics/``."""

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from rnncli.cli import COMMANDS
from rnncli.cli.command import Command, help_width
from rnncli.cli.values import Choice
from rnncli.model.errors import InputError, did_you_mean
from rnncli.writers.grid import console_on
from rnncli.writers.sink import destination, on_screen

# In the order in which a reader needs them.
TOPICS = (
    "inputs",
    "networks",
    "weights",
    "state",
    "output",
    "explain",
    "verification",
    "speed",
    "python",
    "clusters",
    "exit-codes",
    "notebook",
)

EXAMPLES = (
    ("rnn help", "The topics."),
    ("rnn help inputs", "What is read as a sequence, and how."),
    ("rnn help run", "A command: the same as rnn run --help."),
    ("rnn help --columns", "An option, and the topic that says more."),
    ("rnn help output | grep -i jsonl", "A topic as Markdown, for a pipe."),
)


class Subject(Choice):
    """A topic, a command, or an option that stands in a topic's table."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name of a topic or a command, or an option with its dashes."""
        with suppress(click.BadParameter):
            return super().convert(value, param, ctx)
        for option in (value, f"--{value}"):
            if option_text(option):
                return option
        options = re.findall("`(--[a-z0-9-]+)", "".join(map(topic_text, TOPICS)))
        near = did_you_mean(value, [*self.choices, *options])
        what = f"{value!r} is no topic, command or option"
        raise InputError("", what, f"{near} rnn help lists the topics".lstrip())


@click.command(
    "help", cls=Command, examples=EXAMPLES, context_settings={"ignore_unknown_options": True}
)
@click.argument(
    "subject",
    type=Subject((*TOPICS, *COMMANDS)),
    metavar="[TOPIC | COMMAND | OPTION]",
    required=False,
)
@click.pass_context
def help(ctx: click.Context, subject: str | None) -> None:  # noqa: A001  # a module is asked for it
    """Show the reference: a topic, a command, or an option.

    Without one of them it says which topics there are. On a terminal a topic
    is shown a page at a time; elsewhere it is Markdown.
    """
    if subject is None:
        text = topics()
    elif subject in COMMANDS and subject not in TOPICS:
        text = _command_help(ctx, subject)
    else:
        text = topic_text(subject) if subject in TOPICS else option_text(subject)
        if on_screen(None):
            _show(text)
            return
    with destination(None) as out:
        out.write(text)


def _show(text: str) -> None:
    """Show Markdown on a terminal; in a pager, if it is longer than the screen."""
    from rich.markdown import Markdown

    console = console_on(sys.stdout)
    with console.capture() as drawn:
        console.print(Markdown(text, hyperlinks=False))
    if drawn.get().count("\n") < console.height:
        click.echo(drawn.get(), nl=False)
    else:
        click.echo_via_pager(drawn.get().removesuffix("\n"))


def topic_text(topic: str) -> str:
    """Return a topic as Markdown, without the comments about its tables."""
    text = (Path(__file__).parent / "topics" / f"{topic}.md").read_text(encoding="utf-8")
    return re.sub(r"^<!-- .* -->\n\n?", "", text, flags=re.MULTILINE)


def option_text(option: str) -> str:
    """Return the rows that topics have about an option, as Markdown; none: no text."""
    row = re.compile(rf"^\| (?:`-\w`, )?`{re.escape(option)}[` ].*\n", re.MULTILINE)
    found = {topic: "".join(row.findall(topic_text(topic))) for topic in TOPICS}
    return "\n".join(
        f"| option | what it does |\n|---|---|\n{rows}\n`rnn help {topic}` says more.\n"
        for topic, rows in found.items()
        if rows
    )


def topics() -> str:
    """Return the names of all topics, each with the line that says what a reader finds."""
    formatter = click.HelpFormatter(width=help_width())
    with formatter.section("Topics"):
        formatter.write_dl([(topic, topic_text(topic).splitlines()[2]) for topic in TOPICS])
    formatter.write_paragraph()
    formatter.write_text(
        "rnn help TOPIC shows one, rnn COMMAND --help what a command takes, and rnn help --OPTION "
        "what an option does."
    )
    return formatter.getvalue()


def _command_help(ctx: click.Context, name: str) -> str:
    """Return what ``rnn NAME --help`` shows."""
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    command = group.get_command(ctx, name)
    assert command
    return f"{command.get_help(command.context_class(command, ctx.parent, info_name=name))}\n"
