"""``--center`` and ``--scale``: what is done to columns before the network."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Rnn

ROWS = ((3.0, 10.0), (4.5, -2.0), (-1.0, 6.0))
TEXT = "a,b\n" + "".join(f"{a},{b}\n" for a, b in ROWS)
OPTIONS = ("run", "--hidden", "3", "--format", "csv")


@pytest.mark.parametrize(
    ("options", "change"),
    [
        (("--center", "1,-2", "--scale", "2,0.5"), lambda a, b: ((a - 1) / 2, (b + 2) / 0.5)),
        (("--center", "1,-2"), lambda a, b: (a - 1, b + 2)),
        (("--scale", "-4,0.5"), lambda a, b: (a / -4, b / 0.5)),
    ],
)
@pytest.mark.parametrize("columns", ["a,b", "2,1"])
def test_it_is_as_if_the_input_were_so(
    run_rnn: Rnn, options: tuple[str, ...], change: Any, columns: str
) -> None:
    """Of numbers that no rounding touches, to the bit; in the order of the columns."""
    chosen = (*OPTIONS, "--columns", columns)
    scaled = run_rnn(*chosen, *options, stdin=TEXT)
    rows = (change(*row) if columns == "a,b" else change(*row[::-1])[::-1] for row in ROWS)
    before = "a,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in rows)
    assert scaled.stdout == run_rnn(*chosen, stdin=before).stdout
    assert scaled.exit_code == 0


def test_json_has_the_input_as_it_was_read(run_rnn: Rnn) -> None:
    options = ("run", "--hidden", "3", "--json", "--center", "1,2", "--scale", "3,4")
    document = json.loads(run_rnn(*options, stdin=TEXT).stdout)
    assert [tuple(step["x"]) for step in document["steps"]] == list(ROWS)
    assert document["model"]["center"] == [1, 2]
    assert document["model"]["scale"] == [3, 4]
    assert document["model"]["input_size"] == 2


def test_a_masked_row_keeps_the_state(run_rnn: Rnn) -> None:
    options = (*OPTIONS, "--center", "5", "--missing", "hold")
    with_gaps = run_rnn(*options, stdin="1\nnan\n2\n").stdout.splitlines()
    without = run_rnn(*options, stdin="1\n2\n").stdout.splitlines()
    states = [line.partition(",")[2] for line in without]
    assert [line.partition(",")[2] for line in with_gaps] == [
        states[0],
        states[1],
        states[1],
        states[2],
    ]


def test_a_stream_goes_on_with_the_same_numbers_alone(run_rnn: Rnn, tmp_path: Path) -> None:
    options = (*OPTIONS, "--state", str(tmp_path / "state.npz"))
    whole = run_rnn(*OPTIONS, "--center", "2", "--seq", "1,2,3,4").stdout.splitlines()
    parts = [
        run_rnn(*options, "--center", "2", "--seq", half).stdout.splitlines()[1:]
        for half in ("1,2", "3,4")
    ]
    assert [whole[0], *parts[0], *parts[1]] == whole
    other = run_rnn(*options, "--center", "2.5", "--seq", "1")
    assert other.exit_code == 2
    assert "the state of another network" in other.stderr


def test_verify_has_it_too(run_rnn: Rnn, tmp_path: Path) -> None:
    options = ("--center", "2", "--scale", "4", "--hidden", "3", "--seq", "1,2,3")
    path = tmp_path / "states.csv"
    run_rnn("run", *options, "-o", str(path))
    expected = ("--expected", str(path))
    assert run_rnn("verify", *options, *expected).exit_code == 0
    assert run_rnn("verify", "--hidden", "3", "--seq", "1,2,3", *expected).exit_code == 1
