"""What --seq reads, and what it says of it."""

import pytest
from conftest import Rnn

from rnncli.cli import run

NETWORK = ("--hidden", "2", "--format", "jsonl")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("rows", [["1", "2", "3"], ["1 0.5", "2 0.1"]])
def test_lines_are_steps_as_where_they_are_piped(run_rnn: Rnn, end: str, rows: list[str]) -> None:
    text = end.join(rows)
    given = run_rnn("run", *NETWORK, "--seq", text)
    piped = run_rnn("run", *NETWORK, "--delimiter", "space", stdin=text)
    assert (given.stdout, given.stderr) == (piped.stdout, "")
    assert run_rnn("run", *NETWORK, "--seq", f"{end}{text}{end}").stdout == given.stdout


@pytest.mark.parametrize(
    ("text", "words", "noted"),
    [
        ("1,2,3\n", (), True),
        ("1\n", (), False),
        ("1,2,3\n4,5,6\n", (), False),
        ("a,b,c\n1,2,3\n", (), False),
        ("1,2,3\n", ("--columns", "1-3"), False),
        ("7,1,2,3\n", ("--group-by", "1"), False),
        ("1,2,3\n", ("--follow",), False),
    ],
)
def test_a_lone_line_is_noted_on_a_terminal(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, text: str, words: tuple[str, ...], noted: bool
) -> None:
    command = ("run", "--hidden", "2", "--format", "csv", *words)
    note = "Note: one row is 1 step of 3 features: "
    assert note not in run_rnn(*command, stdin=text).stderr
    monkeypatch.setattr(run, "on_terminal", lambda: True)
    result = run_rnn(*command, stdin=text)
    assert result.exit_code == 0, result.output
    assert (note in result.stderr) == noted
