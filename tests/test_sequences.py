"""Several sequences at once: groups, files, arrays."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import SAMPLES, Rnn
from hypothesis import given
from hypothesis import strategies as st

from rnncli.cli import rnn

NETWORK = ("--hidden", "3", "--seed", "4", "--unroll", "stepwise")
LOG = (str(SAMPLES / "sensors.csv"), "--columns", "temperature")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_groups_are_as_if_each_ran_alone(run_rnn: Rnn) -> None:
    together = rows(
        run_rnn("run", *LOG, "--group-by", "sensor", *NETWORK, "--format", "csv").stdout
    )
    log = rows((SAMPLES / "sensors.csv").read_text())
    assert [row["sensor"] for row in together] == [row["sensor"] for row in log]
    for sensor in ("attic", "cellar", "greenhouse"):
        lines = [row["temperature"] for row in log if row["sensor"] == sensor]
        alone = rows(
            run_rnn("run", *NETWORK, "--format", "csv", stdin="\n".join(lines) + "\n").stdout
        )
        assert [{"sensor": sensor, **row} for row in alone] == [
            row for row in together if row["sensor"] == sensor
        ]


def test_group_by_number_and_by_several_columns(run_rnn: Rnn) -> None:
    text = 'a,1,0.5\nb,1,0.1\na,1,0.2\n"a,",2,0.3\n'
    result = run_rnn(
        "run", "--group-by", "1", "--group-by", "2", *NETWORK, "--format", "csv", stdin=text
    )
    lines = result.stdout.splitlines()
    assert lines[0] == "column_1,column_2,t,h_0,h_1,h_2"
    starts = ["a,1,1,", "b,1,1,", "a,1,2,", '"a,",2,1,']
    assert all(line.startswith(start) for line, start in zip(lines[1:], starts, strict=True))


def test_keys_in_json(run_rnn: Rnn) -> None:
    options = ("--group-by", "k", *NETWORK, "--h0", "0.5,0,0")
    text = "k,v\na,1\nb,2\na,3\n"
    document = json.loads(run_rnn("run", *options, "--json", stdin=text).stdout)
    assert [item["key"] for item in document["initial"]] == [{"k": "a"}, {"k": "b"}]
    assert all(item["h"] == [0.5, 0, 0] for item in document["initial"])
    steps = document["steps"]
    assert [(item["key"]["k"], item["t"]) for item in steps] == [("a", 1), ("b", 1), ("a", 2)]
    assert document["final"] == [
        {name: item[name] for name in ("key", "t", "h")} for item in (steps[2], steps[1])
    ]
    lines = run_rnn("run", *options, "--format", "jsonl", stdin=text).stdout.splitlines()
    assert [json.loads(line) for line in lines] == steps
    last = run_rnn("run", *options, "--last", "--format", "jsonl", stdin=text).stdout.splitlines()
    assert [json.loads(line) for line in last] == document["final"]


def test_a_table_of_several_sequences(run_rnn: Rnn) -> None:
    result = run_rnn("run", "--group-by", "k", *NETWORK, stdin="k,v\na,1\nb,2\na,3\n")
    drawn = [line.split()[:3] for line in result.stdout.splitlines() if line[:1] in ("a", "b")]
    assert drawn == [["a", "1", "1.0"], ["b", "1", "2.0"], ["a", "2", "3.0"]]


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "npy"])
def test_no_rows_are_no_sequences(run_rnn: Rnn, form: str) -> None:
    options = ("--group-by", "k", *NETWORK, "--format", form)
    for extra in ((), ("--last",)):
        assert run_rnn("run", *options, *extra, stdin="k,v\n").exit_code == 0


def test_files_are_a_sequence_each(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("v\n1\n2\n")
    Path("b.csv").write_text("v\n3\n")
    result = run_rnn("run", "a.csv", "b.csv", *NETWORK, "--format", "csv")
    together = rows(result.stdout)
    assert [(row["file"], row["t"]) for row in together] == [
        ("a.csv", "1"),
        ("a.csv", "2"),
        ("b.csv", "1"),
    ]
    for name in ("a.csv", "b.csv"):
        alone = rows(run_rnn("run", name, *NETWORK, "--format", "csv").stdout)
        assert [{"file": name, **row} for row in alone] == [
            row for row in together if row["file"] == name
        ]


def test_grouped_files_are_one_stream(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    header, first, second = "k,v\n", "a,1\nb,2\n", "b,3\nc,4\na,5\n"
    Path("1.csv").write_text(header + first)
    Path("2.csv").write_text(header + second)
    options = ("--group-by", "k", *NETWORK, "--format", "csv")
    split = run_rnn("run", "1.csv", "2.csv", *options)
    assert split.exit_code == 0
    assert split.stdout == run_rnn("run", *options, stdin=header + first + second).stdout


def test_an_array_of_several_sequences(run_rnn: Rnn, tmp_path: Path) -> None:
    x = np.random.RandomState(0).normal(size=(4, 6, 2))
    np.save(tmp_path / "x.npy", x)
    options = (*NETWORK, "--precision", "float64")
    result = run_rnn("run", str(tmp_path / "x.npy"), *options, "--format", "npy")
    states = np.load(io.BytesIO(result.stdout_bytes))
    assert states.shape == (4, 6, 3)
    for n in range(4):
        np.save(tmp_path / "one.npy", x[n])
        alone = run_rnn("run", str(tmp_path / "one.npy"), *options, "--format", "npy")
        np.testing.assert_array_equal(np.load(io.BytesIO(alone.stdout_bytes)), states[n])
    keyed = rows(run_rnn("run", str(tmp_path / "x.npy"), *options, "--format", "csv").stdout)
    assert [(row["sequence"], row["t"]) for row in keyed[5:8]] == [
        ("1", "6"),
        ("2", "1"),
        ("2", "2"),
    ]


def test_a_file_without_rows_ends_where_it_started(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("v\n1\n")
    Path("b.csv").write_text("v\n")
    result = run_rnn("run", "a.csv", "b.csv", *NETWORK, "--last", "--format", "jsonl")
    final = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(item["key"]["file"], item["t"]) for item in final] == [("a.csv", 1), ("b.csv", 0)]
    assert final[1]["h"] == [0, 0, 0]


def test_passthrough_puts_the_cells_before_the_states(run_rnn: Rnn) -> None:
    text = 'when,k,v\n"1, 2",a,1\nx,b,2.50\n'
    options = ("run", "--columns", "v", *NETWORK, "--format")
    plain = rows(run_rnn(*options, "csv", "--group-by", "k", stdin=text).stdout)
    for group in ((), ("--group-by", "k")):
        passed = run_rnn(*options, "csv", "--passthrough", *group, stdin=text)
        lines = passed.stdout.splitlines()
        assert lines[0] == "when,k,v,h_0,h_1,h_2"
        assert [line.rsplit(",", 3)[0] for line in lines[1:]] == ['"1, 2",a,1', "x,b,2.50"]
    assert [row["h_0"] for row in rows(passed.stdout)] == [row["h_0"] for row in plain]
    result = run_rnn(*options, "jsonl", "--passthrough", "--group-by", "k", stdin=text)
    first = json.loads(result.stdout.splitlines()[0])
    assert list(first) == ["key", "t", "row", "h"]
    assert first["row"] == {"when": "1, 2", "k": "a", "v": "1"}


def test_passthrough_without_a_header(run_rnn: Rnn) -> None:
    result = run_rnn("run", "--passthrough", *NETWORK, "--format", "csv", stdin="1,2\n")
    assert result.stdout.splitlines()[0] == "column_1,column_2,h_0,h_1,h_2"


@pytest.mark.parametrize("shape", [(7,), (7, 2), (3, 7, 2), (0, 2)])
def test_an_array_is_written_as_it_comes(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    monkeypatch.setattr("rnncli.readers.npy.BLOCK_STEPS", 4)
    np.save(tmp_path / "x.npy", np.random.RandomState(1).normal(size=shape))
    command = ("run", str(tmp_path / "x.npy"), *NETWORK)
    array = np.load(io.BytesIO(run_rnn(*command, "--format", "npy").stdout_bytes))
    assert array.shape == (*(shape[:1] if len(shape) < 3 else shape[:2]), 3)
    lines = rows(run_rnn(*command, "--format", "csv").stdout)
    listed = [[row["h_0"], row["h_1"], row["h_2"]] for row in lines]
    np.testing.assert_array_equal(array.reshape(-1, 3), np.array(listed, np.float32).reshape(-1, 3))


@pytest.mark.slow
@given(
    ends=st.lists(st.sampled_from(["\n", "\r\n"]), min_size=1, max_size=60),
    last=st.booleans(),
    block=st.integers(1, 70),
)
def test_blocks_and_line_ends_never_show(ends: list[str], last: bool, block: int) -> None:
    values = [f"{key},{value / 7:.3f}" for value, key in enumerate("abca" * 15, start=-20)]
    lines = [line + end for line, end in zip(values, ends, strict=False)]
    text = "k,v\n" + "".join(lines)
    command = ["run", "--group-by", "k", *NETWORK, "--format", "csv"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnncli.cli.inputs.BLOCK_STEPS", block)
        cut = CliRunner().invoke(rnn, command, input=text if last else text.rstrip("\r\n"))
    plain = "k,v\n" + "".join(f"{line}\n" for line in values[: len(lines)])
    assert cut.exit_code == 0
    assert cut.stdout == CliRunner().invoke(rnn, command, input=plain).stdout
