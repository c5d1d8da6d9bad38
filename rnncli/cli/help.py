"""``rnn help``: the reference, a topic at a time, from the Markdown files in ``topics/``."""

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from rnncli.cli import COMMANDS, rnn
from rnncli.cli.command import Command, Option, show
from rnncli.model.errors import InputError, did_you_mean
from rnncli.writers.grid import console_on
from rnncli.writers.sink import destination, on_screen

# In the order in which a reader needs them.
TOPICS = (
    *("inputs", "networks", "weights", "state", "output", "explain", "verification", "speed"),
    *("python", "clusters", "exit-codes", "notebook"),
)

EXAMPLES = (
    ("rnn help", "The topics."),
    ("rnn help inputs", "What is read as a sequence, and how."),
    ("rnn help run", "A command: the same as rnn run --help."),
    ("rnn help columns", "An option, and the topic that says more."),
    ("rnn help bidirectional", "The sections with that word."),
    ("rnn help output | grep -i jsonl", "A topic as Markdown, for a pipe."),
)


@click.command(
    "help", cls=Command, examples=EXAMPLES, context_settings={"ignore_unknown_options": True}
)
@click.argument("subject", metavar="[TOPIC | COMMAND | OPTION | WORD]", required=False)
@click.pass_context
def help(ctx: click.Context, subject: str | None) -> None:  # noqa: A001  # a module is asked for it
    """Show the reference: a topic, a command, an option or a word.

    A word finds the sections that have it in their headings, or else in their text. Without an
    argument the topics are listed. On a terminal a topic is shown a page at a time; elsewhere it
    is Markdown.
    """
    names = ((name, rnn.get_command(ctx, name)) for name in COMMANDS)
    commands = {name: command for name, command in names if command}
    if subject is None:
        text = list_topics()
    elif subject.lower() in commands and subject.lower() not in TOPICS:
        command = commands[subject.lower()]
        context = click.Context(command, ctx.parent, info_name=command.name)
        text = f"{command.get_help(context)}\n"
    else:
        text = find_text(subject, commands)
        if on_screen(None):
            _show_markdown(text)
            return
    with destination(None) as out:
        out.write(text)


def find_text(subject: str, commands: Mapping[str, click.Command]) -> str:
    """Return a topic, what an option does, or the sections with a word."""
    options = list_options(commands)
    topics = {topic: topic_text(topic, options) for topic in TOPICS}
    if subject.lower() in topics:
        return topics[subject.lower()]
    found = [option for option in options if {subject, f"--{subject}"} & {*option.opts}]
    if found:
        return "\n".join(
            f"{table(o for o in found if o.topic == topic)}\n`rnn help {topic}` says more.\n"
            for topic in dict.fromkeys(option.topic for option in found)
        )
    sections = [each for text in topics.values() for each in re.split("(?m)^(?=## )", text)[1:]]
    word = subject.lower()
    found_in = [each for each in sections if word in each.partition("\n")[0].lower()]
    start = re.compile(rf"(?<!\w){re.escape(word)}", re.IGNORECASE)
    found_in = found_in or [each for each in sections if start.search(each)]
    if not found_in:
        names = [*TOPICS, *commands, *(option.opts[-1] for option in options)]
        what = f"{subject!r} is no topic, command or option, and no section has it"
        raise InputError("", what, f"{did_you_mean(subject, names)} rnn help lists them".lstrip())
    return "".join(found_in)


def list_options(commands: Mapping[str, click.Command]) -> list[Option]:
    """List the options of all commands, each once."""
    options = [p for command in commands.values() for p in command.params if isinstance(p, Option)]
    return list({(option.opts[-1], option.help): option for option in options}.values())


def topic_text(topic: str, options: Iterable[Option]) -> str:
    """Return a topic as Markdown, with a table of its options at the end."""
    text = (Path(__file__).parent / "topics" / f"{topic}.md").read_text(encoding="utf-8")
    own = [option for option in options if option.topic == topic]
    return f"{text}\n## Options\n\n{table(own)}" if own else text


def table(options: Iterable[Option]) -> str:
    """Return a row of Markdown for each option."""
    rows = ["| option | what it does |", "|---|---|"]
    for option in options:
        written = ", ".join(f"`{name}`" for name in option.opts)
        values = option.metavar or ""
        if isinstance(option.type, click.Choice):
            values = "\\|".join(map(str, option.type.choices))
        if values:
            written = f"{written[:-1]} {values}`"
        rows.append(f"| {written} | {option.help} |")
    return "\n".join([*rows, ""])


def list_topics() -> str:
    """List all topics, each with the line that says what a reader finds."""
    lines = (f"  {topic:14}{topic_text(topic, ()).splitlines()[2]}\n" for topic in TOPICS)
    return (
        f"Topics:\n{''.join(lines)}\n"
        "rnn help TOPIC shows one, rnn COMMAND --help the options of a command, rnn help\n"
        "OPTION what an option does, and rnn help WORD the sections with that word.\n"
    )


def _show_markdown(text: str) -> None:
    """Show Markdown on a terminal; in a pager, if it is longer than the screen."""
    from rich.markdown import Markdown

    console = console_on(sys.stdout)
    with console.capture() as drawn:
        console.print(Markdown(text, hyperlinks=False))
    show(drawn.get().removesuffix("\n"))
