"""``rnn help``: the reference, a topic at a time, from the Markdown files in ``topics/``."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from rnncli.cli import COMMANDS, rnn
from rnncli.cli.option_table import Option, command, show
from rnncli.model.errors import InputError, did_you_mean
from rnncli.storage.sink import destination, on_screen
from rnncli.writers.grid import console_on

# In the order in which a new reader needs them.
TOPICS = (
    *("inputs", "networks", "weights", "state", "output", "explain", "verification", "speed"),
    *("python", "clusters", "exit-codes", "notebook"),
)
# Sections about a word that are shown.
_BEST = 3
EXAMPLES = """
rnn help inputs  # what is read as a sequence, and how
rnn help columns  # an option, and the topic that says more
rnn help run  # a command, as rnn run --help
rnn help parquet  # the sections about a word
"""


SUBJECT = click.Argument(
    ["subject"],
    metavar="[TOPIC | COMMAND | OPTION | WORD]",
    default="",
    shell_complete=lambda _ctx, _param, text: [
        name for name in (*TOPICS, *COMMANDS) if name.startswith(text)
    ],
)


@command("help", EXAMPLES, "", [SUBJECT])
@click.pass_context
def help(ctx: click.Context, subject: str) -> None:  # noqa: A001  # a module is asked for it
    """Show a topic, a command, an option, or the sections about a word."""
    commands = {name: each for name in COMMANDS if (each := rnn.get_command(ctx, name))}
    params = [param for command in commands.values() for param in command.params]
    options = [*{(p.opts[-1], p.help): p for p in params if isinstance(p, Option)}.values()]
    named = [option for option in options if {subject, f"--{subject}"} & {*option.opts}]
    sections = [
        (topic, section)
        for topic in TOPICS
        for section in re.split("(?m)^(?=## )", topic_text(topic, ()))
    ]
    word = subject.lower()
    near = [topic for topic in TOPICS if len(word) > 2 and topic.startswith(word)]
    stems = (
        word,
        word[:-2] if len(word) > 5 and word.isalpha() else word,
    )  # normalise is Normalization
    by_stem = ([each for each in sections if stem in each[1].lower()] for stem in stems)
    matches = next(filter(None, by_stem), [])
    matches.sort(key=lambda match: _rank(match[1].lower(), word), reverse=True)
    if not subject:
        lines = (f"  {topic:14}{topic_text(topic, ()).splitlines()[2]}\n" for topic in TOPICS)
        text = f"Topics:\n{''.join(lines)}\nrnn COMMAND --help shows the options of a command.\n"
    elif word in TOPICS:
        text = topic_text(word, options)
    elif subject in commands:
        context = click.Context(commands[subject], ctx.parent, info_name=subject)
        text = f"{commands[subject].get_help(context)}\n"
    elif named:
        topics = dict.fromkeys(f"`rnn help {option.topic}`" for option in named)
        text = f"{table(named)}\nMore: {', '.join(topics)}.\n"
    elif near:
        text = topic_text(near[0], options)
    elif matches:
        text = "".join(section for _, section in matches[:_BEST])
        rest = [
            f"{section.splitlines()[0].lstrip('# ')} ({topic})"
            for topic, section in matches[_BEST:]
        ]
        text += f"\nMore about {subject}: {', '.join(rest)}.\n" if rest else ""
    else:
        hint = did_you_mean(subject, [*TOPICS, *(option.opts[-1] for option in options)])
        what = f"{subject!r} is no topic, command, option or word of the reference"
        raise InputError("", what, f"{hint} rnn help lists the topics".lstrip())
    if on_screen(None):
        show(_drawn(text) if text.startswith(("#", "|")) else text.removesuffix("\n"))
    else:
        with destination(None) as out:
            out.write(text)


help.ignore_unknown_options = True  # an option is a subject


def _rank(section: str, word: str) -> tuple[bool, float]:
    """Rank a section for a word: by its title, then by the share of its lines that have it."""
    title, *lines = section.splitlines()
    return word in title, sum(word in line for line in lines) / (len(lines) + 10)


def topic_text(topic: str, options: Iterable[Option]) -> str:
    """Return a topic as Markdown, with a table of its options at the end."""
    text = (Path(__file__).parent / "topics" / f"{topic}.md").read_text(encoding="utf-8")
    chosen = [option for option in options if option.topic == topic]
    return f"{text}\n## Options\n\n{table(chosen)}" if chosen else text


def table(options: Iterable[Option]) -> str:
    """Return a row of Markdown for each option."""
    rows = "| option | what it does |\n|---|---|\n"
    for option in options:
        choices = getattr(option.type, "choices", ())
        values = "\\|".join(map(str, choices)) or option.metavar or ""
        rows += f"| `{', '.join(option.opts)}{' ' * bool(values)}{values}` | {option.help} |\n"
    return rows


def _drawn(text: str) -> str:
    """Return Markdown as a terminal shows it."""
    from rich.markdown import Markdown

    console = console_on(sys.stdout)
    with console.capture() as drawn:
        console.print(Markdown(text, hyperlinks=False))
    return drawn.get().removesuffix("\n")
