"""The tables of options in the topics are those of the commands: all of them, each once."""

from collections import Counter

import pytest
from conftest import GUIDE
from option_tables import options, tables, written_anew

HOW = "name the option in a table of rnncli/cli/topics, then run: python tests/option_tables.py"


@pytest.mark.parametrize("topic", sorted(GUIDE))
def test_tables_are_as_the_commands_have_them(topic: str) -> None:
    assert written_anew(GUIDE[topic]) == GUIDE[topic], HOW


def test_every_option_stands_in_one_table() -> None:
    rows = {(command, name): text for command, name, text in options()}
    named = [
        rows[command, name]
        for topic in GUIDE.values()
        for command, names in tables(topic)
        for name in names
    ]
    assert Counter(named) == Counter(set(rows.values())), HOW
