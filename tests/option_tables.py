"""The tables of options in the topics of ``rnn help``, made from the options' own help.

``python tests/option_tables.py`` writes them anew.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from rnncli.cli import COMMANDS, rnn

TOPICS = Path(__file__).parent.parent / "rnncli" / "cli" / "topics"
# Between these lines a topic has a row for each option that the first one names.
TABLE = re.compile(r"^<!-- options of (\w+): ([\w -]+) -->\n(.*?)^<!-- end -->\n", re.M | re.S)
# What stands between backticks in a row, though not in the help.
CODE = re.compile(
    rf"(?<![\w`-])(?:rnn (?:{'|'.join(COMMANDS)})\b(?: -o\b)?|--?[a-z][\w-]*(?: FILE(?:\.\w+)?)?)"
)


def options() -> Iterator[tuple[str, str, str]]:
    """Return the options of every command: the command's name, the option's, and its row."""
    context = click.Context(rnn, info_name="rnn", help_option_names=["-h", "--help"])
    commands = {name: rnn.get_command(context, name) for name in rnn.list_commands(context)}
    for name, command in {"rnn": rnn, **commands}.items():
        assert command, name
        for param in command.get_params(context):
            if isinstance(param, click.Option):
                yield name, param.opts[-1].removeprefix("--"), row(param, context)


def row(option: click.Option, context: click.Context) -> str:
    """Return an option's row: how it is written, and its help, choices and default."""
    record = option.get_help_record(context)
    assert record, option.opts
    told = re.fullmatch(r"(.*?)(?: \[default: (.*)\])?", " ".join(record[1].split()))
    assert told, record
    text, default = CODE.sub(r"`\g<0>`", told[1]), told[2]
    written = ", ".join(f"`{name}`" for name in option.opts)
    if isinstance(option.type, click.Choice):
        for choice in option.type.choices:
            text = re.sub(rf"(?<![\w`-]){choice}:", f"`{choice}`:", text)
        text += f" One of {', '.join(f'`{choice}`' for choice in option.type.choices)}."
    elif option.metavar:
        written = f"{written[:-1]} {option.metavar}`"
    if default:
        text += f" By default {default if ' ' in default else f'`{default}`'}."
    cells = (cell.replace("|", r"\|") for cell in (written, text))
    return f"| {' | '.join(cells)} |\n"


def tables(topic: str) -> list[tuple[str, list[str]]]:
    """Return the command of each table in a topic, and the options that it names."""
    return [(command, names.split()) for command, names, _ in TABLE.findall(topic)]


def written_anew(topic: str) -> str:
    """Return a topic with the rows that its tables are to have."""
    rows = {(command, name): text for command, name, text in options()}

    def table(found: re.Match[str]) -> str:
        command, names, _ = found.groups()
        lines = "".join(rows[command, name] for name in names.split())
        marker = f"<!-- options of {command}: {names} -->"
        return f"{marker}\n\n| option | what it does |\n|---|---|\n{lines}\n<!-- end -->\n"

    return TABLE.sub(table, topic)


if __name__ == "__main__":
    for path in TOPICS.glob("*.md"):
        path.write_text(written_anew(path.read_text(encoding="utf-8")), encoding="utf-8")
