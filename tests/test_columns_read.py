"""Which columns were read is said: in JSON, in a title, or else in a note."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLES, Rnn

NETWORK = ("--hidden", "2")
SUNSPOTS = str(SAMPLES / "sunspots.csv")
BOTH = "'YEAR', 'SUNACTIVITY'"
NOTE = f"Note: the features are the columns {BOTH}: --columns chooses others\n"

# Input, options, the columns in JSON, those in a title.
READ = {
    "by default": ("a,b\n1,2\n", (), ["a", "b"], "I = 2 (a, b)"),
    "by name": ("a,b\n1,2\n", ("--columns", "b"), ["b"], "I = 1 (b)"),
    "by number": ("a,b\n1,2\n", ("--columns", "2,a"), ["b", "a"], "I = 2 (b, a)"),
    "beside a key": ("k,b\nx,2\n", ("--group-by", "k"), ["b"], "I = 1 (b)"),
    "no header": ("1,2\n", (), [1, 2], "I = 2 (columns 1, 2)"),
    "one of no header": ("1,2\n", ("--columns", "2"), [2], "I = 1 (column 2)"),
    "twice in the header": ("a,b,a\n1,2,3\n", ("--columns", "3,b"), [3, "b"], "I = 2 (3, b)"),
    "no name": ("a,\n1,2\n", (), ["a", 2], "I = 2 (a, 2)"),
    "escapes": ("\x1b[31ma,b\n1,2\n", (), ["\x1b[31ma", "b"], "I = 2 (\\x1b[31ma, b)"),
    "many": (
        f"{','.join(f'c{n}' for n in range(10))}\n{','.join('1' * 10)}\n",
        (),
        [f"c{n}" for n in range(10)],
        "I = 10 (c0, c1, c2, c3, c4, c5, c6, c7 and 2 more)",
    ),
}


@pytest.mark.parametrize(("text", "options", "columns", "title"), READ.values(), ids=READ)
def test_json_and_titles_name_the_columns(
    run_rnn: Rnn, text: str, options: tuple[str, ...], columns: list[str | int], title: str
) -> None:
    document = json.loads(run_rnn("run", *NETWORK, *options, "--json", stdin=text).stdout)
    assert document["model"]["columns"] == columns
    assert document["model"]["input_size"] == len(columns)
    for form in (("--format", "table"), ("--last",), ("--format", "heatmap")):
        if "--group-by" in options and "heatmap" in form:
            continue
        shown = run_rnn("run", *NETWORK, *options, *form, stdin=text)
        assert f"RNN: {title}, H = 2" in " ".join(shown.stdout.split())
        assert shown.stderr == ""


def test_verify_names_them(run_rnn: Rnn) -> None:
    command = ("verify", SUNSPOTS, "--columns", "2", *NETWORK)
    assert json.loads(run_rnn(*command, "--json").stdout)["model"]["columns"] == ["SUNACTIVITY"]
    assert "\nRNN: I = 1 (SUNACTIVITY), H = 2" in run_rnn(*command).stdout


def test_arrays_and_inline_steps(run_rnn: Rnn, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    array = run_rnn("run", str(tmp_path / "x.npy"), "--columns", "3,1", *NETWORK, "--json")
    assert json.loads(array.stdout)["model"]["columns"] == [3, 1]
    inline = run_rnn("run", "--seq", "1,2", *NETWORK, "--json")
    assert "columns" not in json.loads(inline.stdout)["model"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "npy"])
def test_where_the_result_has_no_place_a_note_says_it(
    run_rnn: Rnn, tmp_path: Path, form: str
) -> None:
    options = ("--hidden", "2", "--format", form)
    assert run_rnn("run", SUNSPOTS, *options).stderr == NOTE
    packed = tmp_path / "sunspots.csv.gz"
    packed.write_bytes(gzip.compress(Path(SUNSPOTS).read_bytes()))
    assert run_rnn("run", SUNSPOTS, str(packed), "--last", *options).stderr == NOTE


def test_nothing_is_noted_where_nothing_was_left_open(run_rnn: Rnn, tmp_path: Path) -> None:
    weights = str(tmp_path / "w.npz")
    run_rnn("weights", *NETWORK, "--inputs", "2", "-o", weights)
    for text, options in (
        ("a,b\n1,2\n", ("--columns", "a,b", *NETWORK)),
        ("k,b\nx,2\n", ("--group-by", "k", *NETWORK)),
        ("a\n1\n", NETWORK),
        ("1,2\n", NETWORK),
        ("a,b\n1,2\n", ("--weights", weights)),  # takes two columns and no others
    ):
        result = run_rnn("run", *options, "--format", "csv", stdin=text)
        assert (result.exit_code, result.stderr) == (0, "")
