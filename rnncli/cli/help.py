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
    nargs=-1,
    shell_complete=lambda _ctx, _param, text: [
        name for name in (*TOPICS, *COMMANDS) if name.startswith(text)
    ],
)


@command("help", EXAMPLES, "", [SUBJECT])
@click.pass_context
def help(ctx: click.Context, subject: tuple[str, ...]) -> None:  # noqa: A001  # a module is asked for it
    """Show a topic, a command, an option, or sections about a word."""
    name = " ".join(subject)
    commands = {each: known for each in COMMANDS if (known := rnn.get_command(ctx, each))}
    params = [param for command in commands.values() for param in command.params]
    options = [*{(p.opts[-1], p.help): p for p in params if isinstance(p, Option)}.values()]
    named = [option for option in options if {name, f"--{name}"} & {*option.opts}]
    sections = [
        (topic, section)
        for topic in TOPICS
        for section in re.split("(?m)^(?=## )", topic_text(topic, ()))
    ]
    word = name.lower()
    near = [topic for topic in TOPICS if len(word) > 2 and topic.replace("-", " ").startswith(word)]
    words = [
        each.removesuffix("s") if len(each) > 3 and each.isalpha() else each
        for each in word.split()
    ]
    shorter = [
        each.removesuffix("ing")[: -2 if not each.endswith("ing") else None]
        if len(each) > 5 and each.isalpha()
        else each
        for each in words
        if len(words) == 1 or len(each) > 3
    ]
    hint = did_you_mean(name, [*TOPICS, *(option.opts[-1] for option in options)])
    for stems in (words, *([] if hint else [shorter])):  # normalise is in Normalization
        matches = [each for each in sections if all(stem in each[1].lower() for stem in stems)]
        if matches:
            matches.sort(key=lambda match: [_rank(match[1], each) for each in stems], reverse=True)
            break
    if not name:
        formatter = ctx.make_formatter()
        with formatter.section("Topics"):
            formatter.write_dl([(each, topic_text(each, ()).splitlines()[2]) for each in TOPICS])
        formatter.write_paragraph()
        formatter.write_text("rnn COMMAND --help shows the options of a command.")
        text = formatter.getvalue().lstrip()
    elif word in TOPICS:
        text = topic_text(word, options)
    elif name in commands:
        context = click.Context(commands[name], ctx.parent, info_name=name)
        text = f"{commands[name].get_help(context)}\n"
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
        text += f"\nMore about {name}: {', '.join(rest)}.\n" if rest else ""
    else:
        what = f"{name!r} is no topic, command, option or word of the reference"
        raise InputError("", what, f"{hint} rnn help lists the topics".lstrip())
    if on_screen(None):
        show(_drawn(text) if text.startswith(("#", "|")) else text.removesuffix("\n"))
    else:
        with destination(None) as out:
            out.write(text)


help.ignore_unknown_options = True  # an option is a subject


def _rank(section: str, word: str) -> tuple[bool, bool, float]:
    """Rank a section for a word: by the row that defines it, the title, then its share."""
    prose = re.sub("(?ms)^```.*?^```$", "", section)
    whole = re.compile(rf"(?<![\w./-]){re.escape(word)}\w*(?![/-])", re.IGNORECASE)
    title = " ".join(prose.splitlines()[: 3 if prose.startswith("# ") else 1])
    defines = re.search(rf"(?mi)^\| `{re.escape(word)}s?` \|", prose)
    share = min(len(whole.findall(prose)), 3) / (len(prose) + 200) ** 0.25
    return defines is not None, whole.search(title) is not None, share


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
