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
HELD = [f"{KEYS[n]}," if n % 6 == 5 else line for n, line in enumerate(GROUPED)]
CELLS = {
    "vanilla": (),
    "LSTM": ("--cell", "lstm", "--states", "--c0", "0.1,-0.2,0.3"),
    "GRU": ("--cell", "gru", "--init", "torch", "--h0", "0.1,-0.2,0.3"),
    "stack": ("--cell", "lstm", "--hidden", "3,2", "--all-layers", "--states"),
}


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("cut", [0, 1, 17, 39, 40])
@pytest.mark.parametrize(
    ("lines", "header", "group"),
    [
        (VALUES, "v", ()),
        (GROUPED, "k,v", ("--group-by", "k")),
        (HELD, "k,v", ("--group-by", "k", "--missing", "hold")),
    ],
    ids=["one sequence", "groups", "masked rows"],
)
def test_two_runs_are_one(
    run_rnn: Rnn,
    tmp_path: Path,
    cell: tuple[str, ...],
    cut: int,
    lines: list[str],
    header: str,
    group: tuple[str, ...],
) -> None:
    network = NETWORK[2:] if "--hidden" in cell else NETWORK
    options = ("run", *network, "csv", *cell, *group)
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


TWO = "k,a,b\nx,1,2\n"
WIDE = "k,a,b,c,d,e,f,g,h,"
OTHER_COLUMNS = {
    "another column": (TWO, "a", TWO, "b", "'a', this one reads 'b'"),
    "by number": (TWO, "2", TWO, "3", "'a', this one reads 'b'"),
    "another order": (TWO, "a,b", TWO, "b,a", "'a', 'b', this one reads 'b', 'a'"),
    "a control character": ("k,\x1b[2J\n", "2", TWO, "2", r"'\x1b[2J', this one reads 'a'"),
    "the last of many": (WIDE + "i\n", "2-", WIDE + "j\n", "2-", "'i', this one reads 'j'"),
    "the same": (TWO, "a", TWO, "2", ""),
    "no name before": ("x,1,2\n", "2", TWO, "2", ""),
    "no name now": (TWO, "2", "x,1,2\n", "2", ""),
    "a name twice": ("k,b,b\n", "2,3", TWO, "2,3", ""),
}


@pytest.mark.parametrize("case", OTHER_COLUMNS.values(), ids=OTHER_COLUMNS)
def test_a_state_of_other_columns_is_noted(
    run_rnn: Rnn, tmp_path: Path, case: tuple[str, str, str, str, str]
) -> None:
    before, columns, now, others, named = case
    state = tmp_path / "s"
    options = ("run", *NETWORK, "csv", "--state", str(state), "--columns")
    first = run_rnn(*options, columns, stdin=before)
    second = run_rnn(*options, others, stdin=now)
    assert (first.exit_code, first.stderr, second.exit_code) == (0, "", 0)
    note = f"Note: {state}: left by a run over {named}\n"
    assert second.stderr == (note if named else "")


@pytest.mark.parametrize("fault", ["k,v\na,1\nb,x\n", "k,v\nx\n"])
def test_a_failed_run_leaves_the_state(run_rnn: Rnn, tmp_path: Path, fault: str) -> None:
    state = tmp_path / "s"
    options = ("run", *NETWORK, "csv", "--group-by", "k", "--state", str(state))
    run_rnn(*options, stdin="k,v\na,1\n")
    content = state.read_bytes()
    assert run_rnn(*options, stdin=fault).exit_code == 2
    assert state.read_bytes() == content
    assert os.listdir(tmp_path) == ["s"]


@pytest.fixture
def night(run_rnn: Rnn, tmp_path: Path) -> tuple[Path, bytes]:
    """A state file, and what is in it."""
    run_rnn("run", *NETWORK, "csv", "--state", str(tmp_path / "s"), stdin="v\n1\n")
    return tmp_path / "s", (tmp_path / "s").read_bytes()


def test_a_state_that_is_only_left_starts_anew(run_rnn: Rnn, night: tuple[Path, bytes]) -> None:
    state, content = night
    assert run_rnn("run", *NETWORK, "csv", "--state-out", str(state), stdin="v\n1\n").exit_code == 0
    assert state.read_bytes() == content


def test_both_halves_may_be_one_file(run_rnn: Rnn, night: tuple[Path, bytes]) -> None:
    state, content = night
    halves = ("--state-in", str(state), "--state-out", str(state))
    result = run_rnn("run", *NETWORK, "csv", *halves, stdin="v\n2\n")
    assert [line[:2] for line in result.stdout.splitlines()] == ["t,", "2,"]
    assert state.read_bytes() != content
    assert os.listdir(state.parent) == ["s"]


ONE_FILE = {
    # What else is a name of the file: nothing, if it is not there yet.
    "the same name": "",
    "another path": "",
    "a link to nothing": "symlink",
    "a link": "symlink",
    "a hard link": "link",
}


@pytest.mark.parametrize("option", ["--state", "--state-out"])
@pytest.mark.parametrize("case", ONE_FILE)
def test_an_output_and_a_state_in_one_file(
    run_rnn: Rnn, tmp_path: Path, night: tuple[Path, bytes], option: str, case: str
) -> None:
    state, content = night
    output = {"the same name": state, "another path": tmp_path / ".." / tmp_path.name / "s"}.get(
        case, tmp_path / "other"
    )
    if case in ("the same name", "another path", "a link to nothing"):
        state.unlink()
    if how := ONE_FILE[case]:
        getattr(os, how)(state, output)
    files = ("-o", str(output), option, str(state))
    result = run_rnn("run", *NETWORK, "csv", *files, stdin="v\n1\n")
    assert result.exit_code == 2
    assert f"-o {output} and {option} {state}: one file; give two" in result.stderr
    assert not state.exists() or state.read_bytes() == content


@pytest.mark.parametrize("written", ["-o", "--state", "--state-out"])
def test_nothing_is_written_over_what_is_read(
    run_rnn: Rnn, tmp_path: Path, night: tuple[Path, bytes], written: str
) -> None:
    values, weights, link = (tmp_path / name for name in ("v.csv", "w.npz", "link"))
    values.write_text("1\n")
    run_rnn("weights", "--hidden", "2", "-o", str(weights))
    before = ("--state-in", str(night[0])) if written == "-o" else ()
    run = ("run", str(values), "--weights", str(weights), "--format", "csv", *before)
    for read in (values, weights, *before[1:]):
        content = Path(read).read_bytes()
        os.link(read, link)
        result = run_rnn(*run, written, str(link))
        assert result.exit_code == 2
        assert f"{written} {link}: would write over {read}, which is read" in result.stderr
        assert Path(read).read_bytes() == content
        link.unlink()
