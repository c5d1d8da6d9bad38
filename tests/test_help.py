"""Every command has help and examples that work; the topics name every option."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from conftest import GUIDE, Rnn

from rnncli import __version__
from rnncli.cli import rnn
from rnncli.cli.command import heading_of
from rnncli.cli.help import TOPICS
from rnncli.model.activations import ACTIVATIONS
from rnncli.model.formats import FORMATS

TOLD = "".join(GUIDE.values())


def commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child, name
            yield from commands(child, *path, name)


def examples_of(command: click.Command) -> tuple[tuple[str, str], ...]:
    return getattr(command, "examples", ())


COMMANDS = list(commands(rnn))
IDS = [" ".join(("rnn", *path)) for path, _ in COMMANDS]


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=IDS)
def test_every_command_has_help_and_examples(
    run_rnn: Rnn, path: tuple[str, ...], command: click.Command
) -> None:
    pages = {run_rnn(*path, flag).stdout for flag in ("-h", "--help")}
    (page,) = pages
    assert command.help
    examples = examples_of(command)
    assert examples
    assert all(line in page and meaning.split()[0] in page for line, meaning in examples)


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=IDS)
def test_every_option_has_help_and_stands_in_the_guide(
    run_rnn: Rnn, path: tuple[str, ...], command: click.Command
) -> None:
    page = run_rnn(*path, "--help").stdout
    context = click.Context(command, info_name="rnn")
    options = [param for param in command.get_params(context) if isinstance(param, click.Option)]
    for option in options:
        assert option.help, option.name
        for name in option.opts:
            assert re.search(rf"(?<!\S){name}\b", page), name
            assert re.search(rf"`{name}\b", TOLD), name


def parts(line: str) -> list[list[str]]:
    """Words of each command that an example pipes together."""
    return [shlex.split(part) for part in line.split(" > ")[0].split(" | ")]


@pytest.mark.parametrize(
    "line", sorted({line for _, command in COMMANDS for line, _ in examples_of(command)})
)
def test_examples_parse(line: str) -> None:
    calls = [part[1:] for part in parts(line) if part[0] == "rnn"]
    assert calls
    for name, *arguments in calls:
        dict(COMMANDS)[(name,)].make_context(name, arguments)


@pytest.mark.parametrize("width", [40, 57, 80, 111])
@pytest.mark.parametrize("path", dict(COMMANDS), ids=IDS)
def test_no_line_ends_within_an_option(
    run_rnn: Rnn,
    monkeypatch: pytest.MonkeyPatch,
    path: tuple[str, ...],
    width: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    page = run_rnn(*path, "--help").stdout
    assert not re.findall(r"\S+-$", page, re.MULTILINE)
    assert "\u2011" not in page
    if path and path[0] not in TOPICS:
        assert run_rnn("help", *path).stdout == page


def test_a_topic_names_all_activations() -> None:
    text = GUIDE["networks"].partition("## Activations")[2].partition("\n## ")[0]
    named = re.findall("`([a-z0-9_]+)(?::(.*?))?`", text)
    parameters = {name: len(found.split(",")) if found else 0 for name, found in reversed(named)}
    assert parameters == {name: len(kind.defaults) for name, kind in ACTIVATIONS.items()}


@pytest.mark.parametrize("path", dict(COMMANDS), ids=IDS)
def test_help_of_an_option_is_short(run_rnn: Rnn, path: tuple[str, ...]) -> None:
    """What is longer stands in a topic."""
    page = run_rnn(*path, "--help").stdout
    for text in re.findall(r"^  -.*\n(?: {12,}.*\n)*", page, re.MULTILINE):
        assert text.count("\n") <= 5, text


def test_version(run_rnn: Rnn) -> None:
    assert run_rnn("--version").stdout == f"rnn {__version__}\n"


def test_no_command_shows_help(run_rnn: Rnn) -> None:
    result = run_rnn()
    assert result.exit_code == 2
    assert "Commands:" in result.stderr


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=IDS)
def test_every_option_stands_under_a_heading(path: tuple[str, ...], command: click.Command) -> None:
    options = [param.name for param in command.params if isinstance(param, click.Option)]
    others = {name for name in options if heading_of(name) == "Other"}
    assert others == (set() if path else {"version"})


def test_inspect_tells_which_files_are_read(run_rnn: Rnn) -> None:
    page = run_rnn("inspect", "--help").stdout
    assert set(FORMATS) <= set(re.findall(r"\.[a-z0-9]+", page))
