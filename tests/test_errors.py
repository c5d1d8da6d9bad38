"""Errors: parameters are shown as options, and what a user wrote is shown as it is."""

import ast
import re
from pathlib import Path

import pytest
from conftest import ROOT, Rnn

# Packages that know no option of the command line.
WITHOUT_OPTIONS = ("readers", "engine")


# A file's name, a cell and a column that look like parameters.
NAMED_LIKE_A_PARAMETER = {
    "`columns`.csv": (
        b"`group_by`\n1\n`missing`\n",
        "{path}:3: column '`group_by`': not a number: '`missing`'",
    ),
    "`seq`": (
        b"a,b\n1,2\n3\n",
        "{path}:3: expected as many cells as in the first row, 2, got 1",
    ),
    "a`seq`.csv": (
        b"\xff\xfe1\0",
        "{path}: expected CSV text, found UTF-16 text; --encoding utf-16 reads it",
    ),
    "`last`.json": (
        b"[[1]]\n",
        "{path}: expected CSV text, found JSON; --seq \"$(cat '{path}')\" reads one array, "
        "jq -r @csv '{path}' makes CSV of an array a line",
    ),
}


@pytest.mark.parametrize("name", NAMED_LIKE_A_PARAMETER)
def test_what_a_user_wrote_is_shown_as_it_is(run_rnn: Rnn, tmp_path: Path, name: str) -> None:
    content, message = NAMED_LIKE_A_PARAMETER[name]
    path = tmp_path / name
    path.write_bytes(content)
    shown = run_rnn("run", str(path), "--hidden", "2").stderr
    assert shown == f"Error: {message.format(path=path)}\n"


@pytest.mark.parametrize("form", ["json", "jsonl", "table"])
def test_a_result_that_shows_its_error_names_options_too(run_rnn: Rnn, form: str) -> None:
    result = run_rnn("run", "--hidden", "2", "--format", form, stdin="a,b\n1,2\n3,\n")
    hint = "expected a number; --missing hold or zero passes it"
    assert hint in result.stderr
    assert "`" not in result.output
    assert (hint in result.stdout) is (form == "json")


@pytest.mark.parametrize(
    "path",
    [path for name in WITHOUT_OPTIONS for path in sorted((ROOT / "rnncli" / name).rglob("*.py"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_only_the_command_line_knows_its_options(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.search(r"(?<!\S)--[a-z]", node.value), f"{path}:{node.lineno}"
