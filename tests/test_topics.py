"""``rnn help``: topics, commands and options, in a pipe and on a terminal."""

import re
from pathlib import Path

import pytest
from conftest import GUIDE, Rnn
from test_terminal import on_terminal

from rnncli.cli import COMMANDS
from rnncli.cli.help import TOPICS, topic_text


def test_the_topics_are_the_files(run_rnn: Rnn) -> None:
    assert set(TOPICS) == set(GUIDE) - {"README"}
    listed = run_rnn("help").stdout.splitlines()
    assert [line.split()[0] for line in listed[1 : len(TOPICS) + 1]] == list(TOPICS)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_in_a_pipe_is_markdown(run_rnn: Rnn, topic: str) -> None:
    text = run_rnn("help", topic).stdout
    assert "<!--" not in text
    assert "\x1b" not in text
    lines = [line for line in GUIDE[topic].splitlines() if line and not line.startswith("<!--")]
    assert list(filter(None, text.splitlines())) == lines


@pytest.mark.parametrize("word", ["columns", "--columns"])
def test_help_on_an_option_is_its_row(run_rnn: Rnn, word: str) -> None:
    text = run_rnn("help", word).stdout
    assert re.findall(r"^\| `([^`]*)`", text, re.MULTILINE) == ["--columns LIST"]
    assert text.endswith("`rnn help inputs` says more.\n")


def test_help_on_an_option_of_several_commands(run_rnn: Rnn) -> None:
    text = run_rnn("help", "--last").stdout
    assert re.findall(r"rnn help ([\w-]+)` says", text) == ["output", "verification"]
    assert run_rnn("help", "-o").stdout == run_rnn("help", "--output").stdout


@pytest.mark.parametrize("name", sorted(set(COMMANDS) & set(TOPICS)))
def test_a_topic_named_as_a_command_tells_where_its_options_are(name: str) -> None:
    assert f"`rnn {name} --help`" in topic_text(name)


PAGER = """#!/bin/sh
printf 'paged\\n'
exec head -n 1
"""


@pytest.mark.slow
def test_a_long_topic_goes_through_the_pager(tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text(PAGER)
    pager.chmod(0o755)  # it reads a line and ends, as less does after q
    shown = on_terminal("help", "inputs", PAGER=str(pager), COLUMNS="80")
    assert shown.split()[0] == "paged"
    # A row of a table is there at once.
    assert "paged" not in on_terminal("help", "--seq", PAGER=str(pager))


@pytest.mark.slow
def test_a_topic_without_a_pager(tmp_path: Path) -> None:
    whole = on_terminal("help", "state", PAGER="cat")
    assert "State files" in whole
    assert "|---|" not in whole
    assert on_terminal("help", "state", PAGER=str(tmp_path / "none")).split() == whole.split()


@pytest.mark.slow
def test_a_topic_has_colour_on_a_terminal() -> None:
    assert "\x1b[1" in on_terminal("help", "--seq")
    assert "\x1b" not in on_terminal("help", "--seq", TERM="dumb")
