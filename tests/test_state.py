"""A run cut in two, with a state file between, is one run."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn

NETWORK = ("--hidden", "3", "--unroll", "stepwise", "--format")
VALUES = [f"{value:.3f}" for value in np.random.RandomState(2).normal(size=40)]
KEYS = [f"k{number}" for number in np.random.RandomState(3).randint(0, 5, 40)]
GROUPED = [f"{key},{value}" for key, value in zip(KEYS, VALUES, strict=True)]


@pytest.mark.parametrize("cut", [0, 1, 17, 39, 40])
@pytest.mark.parametrize(
    ("lines", "header", "group"),
    [(VALUES, "v", ()), (GROUPED, "k,v", ("--group-by", "k"))],
    ids=["one sequence", "groups"],
)
def test_two_runs_are_one(
    run_rnn: Rnn, tmp_path: Path, cut: int, lines: list[str], header: str, group: tuple[str, ...]
) -> None:
    options = ("run", *NETWORK, "csv", *group)
    state = ("--state", str(tmp_path / "s"))
    text = [
        header + "\n" + "".join(f"{line}\n" for line in part)
        for part in (lines, lines[:cut], lines[cut:])
    ]
    whole, first, second = (
        run_rnn(*options, *more, stdin=part)
        for more, part in zip(((), state, state), text, strict=True)
    )
    assert whole.exit_code == first.exit_code == second.exit_code == 0
    assert first.stdout + "".join(second.stdout.splitlines(keepends=True)[1:]) == whole.stdout


def test_files_go_on_by_name(run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = (*NETWORK, "jsonl", "--state", "s", "--last")
    for name in ("a.csv", "b.csv", "c.csv"):
        Path(name).write_text("v\n1\n2\n")
    run_rnn("run", "a.csv", "b.csv", *options)
    result = run_rnn("run", "c.csv", "b.csv", *options)
    final = {item["key"]["file"]: item["t"] for item in map(json.loads, result.stdout.splitlines())}
    assert final == {"a.csv": 2, "b.csv": 4, "c.csv": 2}


def test_h0_is_for_sequences_that_the_state_does_not_know(run_rnn: Rnn, tmp_path: Path) -> None:
    options = ("run", *NETWORK, "json", "--group-by", "k", "--state", str(tmp_path / "s"))
    run_rnn(*options, stdin="k,v\na,1\n")
    result = run_rnn(*options, "--h0", "0.5,0.5,0.5", stdin="k,v\nb,1\na,1\n")
    document = json.loads(result.stdout)
    initial = {item["key"]["k"]: item["h"] for item in document["initial"]}
    assert initial["b"] == [0.5, 0.5, 0.5]
    assert initial["a"] != [0.5, 0.5, 0.5]
    assert {item["key"]["k"]: item["t"] for item in document["final"]} == {"a": 2, "b": 1}


def test_a_table_goes_on_counting(run_rnn: Rnn, tmp_path: Path) -> None:
    options = ("run", "--hidden", "2", "--state", str(tmp_path / "s"))
    run_rnn(*options, "--seq", "1,2")
    rows = [line.split() for line in run_rnn(*options, "--seq", "3").stdout.splitlines()]
    assert [row[0] for row in rows if row and row[0].isdigit()] == ["2", "3"]


REFUSED = {
    "another seed": (("--seed", "2"), "the state of another network or precision"),
    "another size": (("--hidden", "4"), "the state of another network or precision"),
    "another precision": (("--precision", "tf32"), "the state of another network or precision"),
    "a key": (("--group-by", "k"), "the state of sequences by no key, this run has k"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_the_state_of_another_run(
    run_rnn: Rnn, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    state = tmp_path / "s"
    run_rnn("run", *NETWORK, "csv", "--state", str(state), stdin="v\n1\n")
    content = state.read_bytes()
    text = "k,v\na,1\n" if "--group-by" in options else "v\n1\n"
    result = run_rnn("run", *NETWORK, "csv", *options, "--state", str(state), stdin=text)
    assert (result.exit_code, result.stderr) == (2, f"Error: {state}: {message}\n")
    assert state.read_bytes() == content


@pytest.mark.parametrize("fault", ["k,v\na,1\nb,x\n", "k,v\nx\n"])
def test_a_failed_run_leaves_the_state(run_rnn: Rnn, tmp_path: Path, fault: str) -> None:
    state = tmp_path / "s"
    options = ("run", *NETWORK, "csv", "--group-by", "k", "--state", str(state))
    run_rnn(*options, stdin="k,v\na,1\n")
    content = state.read_bytes()
    assert run_rnn(*options, stdin=fault).exit_code == 2
    assert state.read_bytes() == content
    assert os.listdir(tmp_path) == ["s"]


def test_a_state_that_cannot_be_left_is_told_at_once(run_rnn: Rnn, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    state = tmp_path / "file" / "s"
    result = run_rnn("run", *NETWORK, "csv", "--state", str(state), stdin="v\n1\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {state}: Not a directory\n"


def test_another_file_is_no_state(run_rnn: Rnn, tmp_path: Path) -> None:
    state = tmp_path / "s"
    state.write_text("v\n1\n")
    result = run_rnn("run", *NETWORK, "csv", "--state", str(state), stdin="v\n1\n")
    assert result.exit_code == 2
    assert result.stderr == f"Error: {state}: not a state file, or a damaged one\n"


def test_damaged_state_files(run_rnn: Rnn, tmp_path: Path) -> None:
    state = tmp_path / "s"
    options = ("run", *NETWORK, "csv", "--state", str(state))
    run_rnn(*options, stdin="1\n")
    content = state.read_bytes()
    random = np.random.RandomState(0)
    for _ in range(100):
        damaged = bytearray(content)
        if random.rand() < 0.5:
            damaged = damaged[: random.randint(len(damaged))]
        else:
            damaged[random.randint(len(damaged))] ^= 1 << random.randint(8)
        state.write_bytes(damaged)
        result = run_rnn(*options, stdin="1\n")
        assert result.exit_code in (0, 2), result.exception
        assert len(result.stderr.splitlines()) == (result.exit_code == 2)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("/dev/null", "/dev/null: not a state file; a state is read from a file and replaces it"),
        (".", ".: not a state file; a state is read from a file and replaces it"),
    ],
)
def test_what_is_no_file_is_no_state(run_rnn: Rnn, state: str, told: str) -> None:
    result = run_rnn("run", "--seq", "1,2", "--hidden", "2", "--state", state)
    assert (result.exit_code, result.stderr) == (2, f"Error: {told}\n")
