"""What --seq reads, and what it says of it."""

import pytest
from conftest import Rnn

from rnncli.cli import run

NETWORK = ("--hidden", "2", "--format", "jsonl")
NOTE = "Note: --seq: read as one step of 3 features; commas or line ends separate steps: 1,2,3\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("rows", [["1", "2", "3"], ["1 0.5", "2 0.1"]])
def test_lines_are_steps_as_where_they_are_piped(run_rnn: Rnn, end: str, rows: list[str]) -> None:
    text = end.join(rows)
    given = run_rnn("run", *NETWORK, "--seq", text)
    piped = run_rnn("run", *NETWORK, "--delimiter", "space", stdin=text)
    assert (given.stdout, given.stderr) == (piped.stdout, "")
    assert run_rnn("run", *NETWORK, "--seq", f"{end}{text}{end}").stdout == given.stdout


@pytest.mark.parametrize("text", ["1 2 3", " 1  2\t3\n"])
@pytest.mark.parametrize("command", ["run", "verify"])
def test_a_lone_step_of_several_numbers_is_noted(run_rnn: Rnn, command: str, text: str) -> None:
    result = run_rnn(command, "--hidden", "2", "--seq", text)
    assert (result.exit_code, result.stderr) == (0, NOTE)


@pytest.mark.parametrize("text", ["1", "1,2", "1 2, 3 4", "[[1, 2, 3]]"])
def test_any_other_is_not(run_rnn: Rnn, text: str) -> None:
    assert run_rnn("run", *NETWORK, "--seq", text).stderr == ""


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


def test_a_network_of_one_feature_says_how_to_write_steps(run_rnn: Rnn, tmp_path: object) -> None:
    weights = f"{tmp_path}/w.npz"
    run_rnn("weights", "--hidden", "2", "-o", weights)
    result = run_rnn("run", "--weights", weights, "--seq", "1 2 3")
    assert result.stderr == (
        "Error: expected I = 1, as W_xh has shape (1, 2), got I = 3; "
        "commas or line ends separate steps, spaces their features\n"
    )
