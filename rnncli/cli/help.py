"""``rnn help``: the reference, a topic at a time, from the Markdown files in ``topics/``."""

import re
from pathlib import Path

import click

from rnncli.cli.command import Command
from rnncli.cli.outputs import destination, on_screen

# In the order in which a reader needs them.
TOPICS = (
    "inputs",
    "networks",
    "weights",
    "state",
    "output",
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
    ("rnn help output | grep -i jsonl", "A topic as Markdown, for a pipe."),
)


@click.command("help", cls=Command, examples=EXAMPLES)
@click.argument("topic", type=click.Choice(TOPICS), required=False)
def help(topic: str | None) -> None:  # noqa: A001  # a module is asked for its command
    """Show the reference: a TOPIC, or which topics there are.

    On a terminal it is shown a page at a time; elsewhere it is Markdown.
    """
    text = topics() if topic is None else topic_text(topic)
    if on_screen(None) and topic is not None:
        click.echo_via_pager(_drawn(text))
        return
    with destination(None) as out:
        out.write(text)


def topic_text(topic: str) -> str:
    """Return a topic as Markdown, without the comments about its tables."""
    text = (Path(__file__).parent / "topics" / f"{topic}.md").read_text(encoding="utf-8")
    return re.sub(r"^<!-- .* -->\n\n?", "", text, flags=re.MULTILINE)


def topics() -> str:
    """Return the names of all topics, each with its title."""
    titles = (re.sub("^# ", "", topic_text(topic).partition("\n")[0]) for topic in TOPICS)
    lines = (f"  {topic:14}{title}\n" for topic, title in zip(TOPICS, titles, strict=True))
    return f"Topics:\n{''.join(lines)}\nrnn help TOPIC shows one.\n"


def _drawn(text: str) -> str:
    """Return Markdown as a terminal shows it."""
    import sys

    from rich.markdown import Markdown

    from rnncli.writers.grid import console_on

    console = console_on(sys.stdout)
    with console.capture() as drawn:
        console.print(Markdown(text))
    return drawn.get()
