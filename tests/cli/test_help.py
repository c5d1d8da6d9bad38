"""Every option of every command: it has help, a place in the guide, and one value."""

import re
import shlex

import click
import pytest
from conftest import GUIDE, Rnn
from processes import Commands, commands

from rnncli.cli import COMMANDS as NAMES
from rnncli.cli import rnn
from rnncli.cli.help import TOPICS
from rnncli.cli.option_table import Option
from rnncli.model.activations import ACTIVATIONS
from rnncli.model.formats.load import FORMATS

__all__ = ["commands"]
CONTEXT = click.Context(rnn, info_name="rnn", help_option_names=["-h", "--help"])
COMMANDS: dict[str, click.Command] = {
    name: command for name in NAMES if (command := rnn.get_command(CONTEXT, name))
}
OPTIONS = [
    (name, option)
    for name, command in COMMANDS.items()
    for option in command.params
    if isinstance(option, Option)
]
# A value that each kind of option takes; any other takes the number 1.
VALUES = {
    "--delimiter": "comma",
    "--encoding": "latin-1",
    "--activation": "relu",
    "--recurrent-activation": "relu",
}


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_command_has_help_and_examples(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    page = run_rnn(*name.split(), "--help").stdout
    assert run_rnn(*name.split(), "-h").stdout.count("\n") <= min(28, page.count("\n"))
    lines = re.findall(r"^    rnn (.*?)(?:  # .*)?$", page, re.MULTILINE)
    assert lines
    for called, *words in map(shlex.split, lines):
        COMMANDS[called].make_context(called, words, parent=CONTEXT)
    for _, option in (each for each in OPTIONS if each[0] == name):
        assert option.help
        assert all(re.search(rf"(?<!\S){opt}\b", page) for opt in option.opts)
    for columns in (80, 40):
        monkeypatch.setenv("COLUMNS", str(columns))
        for asked in ("-h", "--help"):
            lines = run_rnn(*name.split(), asked).stdout.splitlines()
            lines = [line for line in lines if not re.match(r"    (rnn|#) |.*\|", line)]
            assert max(map(len, lines)) <= columns


def test_every_choice_takes_any_case() -> None:
    choices = [option.type for _, option in OPTIONS if isinstance(option.type, click.Choice)]
    assert len(choices) > 10
    for each in choices:
        for name in each.choices:
            assert each.convert(str(name).upper(), None, None) == name


@pytest.mark.parametrize("name", COMMANDS)
def test_a_repeated_option_or_an_empty_value_is_refused(run_rnn: Rnn, name: str) -> None:
    """Empty is a shell variable that is not set."""
    arguments = (each for each in COMMANDS[name].params if isinstance(each, click.Argument))
    files = ["FILE" for each in arguments if each.required]
    for option in (each for command, each in OPTIONS if command == name and not each.is_flag):
        value = VALUES.get(option.opts[-1], "1")
        if isinstance(option.type, click.Choice):
            value = str(option.type.choices[0])
        for second in option.opts if option.once else ():
            result = run_rnn(name, option.opts[-1], value, second, value, *files)
            assert (result.exit_code, result.stdout) == (2, "")
            assert result.stderr.startswith(f"Error: {option.opts[-1]}: given 2 times")
        result = run_rnn(name, *files, option.opts[-1], "", stdin=",v\n1,2\n")
        assert (result.exit_code, result.stdout) == (2, "")
        assert re.match(rf"Error: .*{option.opts[-1]}", result.stderr)


def test_an_option_means_the_same_in_every_command() -> None:
    """But for the names of outputs, which a batch makes from those of inputs."""
    by_name: dict[str, set[tuple[str, object]]] = {}
    for name, option in OPTIONS:
        if not (name == "batch" and option.name == "output"):
            kind = repr(option.type.to_info_dict())
            by_name.setdefault(option.opts[-1], set()).add((kind, option.multiple))
    assert [name for name, kinds in by_name.items() if len(kinds) > 1] == []


def test_every_option_stands_in_the_topic_of_its_heading(run_rnn: Rnn) -> None:
    """A topic has a row for each of its options, made of its help."""
    for topic in TOPICS:
        text = run_rnn("help", topic).stdout
        own = {option.help for _, option in OPTIONS if option.topic == topic}
        rows = [line for line in text.splitlines() if line[:4] in ("| `-", "| `--")]
        assert own <= {row.split(" | ")[-1].removesuffix(" |") for row in rows}
    for _, option in OPTIONS:
        assert f"`rnn help {option.topic}`" in run_rnn("help", option.opts[-1]).stdout


def test_lists_of_the_guide_are_whole(run_rnn: Rnn) -> None:
    assert set(TOPICS) == set(GUIDE) - {"README"}
    listed = run_rnn("help").stdout.splitlines()
    assert [line.split()[0] for line in listed[1 : len(TOPICS) + 1]] == list(TOPICS)
    text = GUIDE["networks"].partition("## Activations")[2].partition("\n## ")[0]
    named = re.findall("`([a-z0-9_]+)(?::(.*?))?`", text)
    parameters = {name: len(found.split(",")) if found else 0 for name, found in reversed(named)}
    assert parameters == {name: len(kind.defaults) for name, kind in ACTIVATIONS.items()}
    page = run_rnn("inspect", "--help").stdout
    assert set(FORMATS) <= set(re.findall(r"\.[a-z0-9]+", page))
    for name in {*NAMES, *TOPICS}:
        shown = run_rnn("help", name).stdout
        if name in TOPICS:
            assert shown.startswith(GUIDE[name])
            assert name not in NAMES or f"`rnn {name} --help`" in shown
        else:
            assert shown == run_rnn(name, "--help").stdout


def test_a_long_topic_goes_through_a_pager(commands: Commands) -> None:
    """A row of a table is there at once, in colour where the terminal has any."""
    pager = commands.scripts / "pager"
    pager.write_text("#!/bin/sh\nprintf 'paged\\n'\nexec head -n 3\n")  # ends as less does after q
    pager.chmod(0o755)
    for name, shown in ((pager, True), ("cat", False), (commands.scripts / "none", False)):
        text = commands.on_terminal("help", "state", PAGER=str(name), COLUMNS="80")
        assert ("paged" in text) == shown
        assert "State files" in text
        assert "|---|" not in text
    for words, shown in (("run --help", True), ("help run", True), ("run -h", False)):
        text = commands.on_terminal(*words.split(), PAGER=str(pager))
        assert ("paged" in text) == shown
    row = commands.on_terminal("help", "--seq", PAGER=str(pager), TERM="xterm-256color")
    assert "\x1b[1" in row
    assert "paged" not in row
    assert "\x1b" not in commands.on_terminal("help", "--seq")
