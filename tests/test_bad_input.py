"""Bad input of every kind: exit code 2, one line that says what, where and the way out."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn

NETWORK = ("--hidden", "4")


def failure(run_rnn: Rnn, *arguments: str, stdin: str | bytes | None = None) -> str:
    result = run_rnn("run", *arguments, *NETWORK, stdin=stdin)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


CSV = {
    "empty": ("", "standard input: empty; expected rows of numbers"),
    "blank": ("\n \n\n", "standard input: empty; expected rows of numbers"),
    "quoted nothing": (
        '""\n',
        "standard input:1: column 1: empty; expected a number; --missing hold or zero passes it",
    ),
    "endless cell": (
        "1\n" + "2" * 200_000 + "\n",
        "standard input:2: not CSV: field larger than field limit (131072)",
    ),
    "ragged": (
        "a,b\n1,2\n3\n",
        "standard input:3: expected as many cells as in the first row, 2, got 1",
    ),
    "wide": (
        "1,2\n3,4,5\n",
        "standard input:2: expected as many cells as in the first row, 2, got 3",
    ),
    "title": (
        "Sensor 3\ntime,value\n1,2\n",
        "standard input:2: expected as many cells as in the first row, 1, got 2 "
        "(a title above the header, or a decimal comma: --decimal ,?)",
    ),
    "word": (
        "value\n1\n2\nN/A\n",
        "standard input:4: column 'value': not a number: 'N/A'; "
        "--null-value N/A with --missing hold or zero passes it",
    ),
    "word in a later column": (
        "t,value\n1,2\n3,x\n",
        "standard input:3: column 'value': not a number: 'x'",
    ),
    "column of words": (
        "t,value\nmon,2\ntue,x\n",
        "standard input:2: column 't': not a number: 'mon'; --columns chooses those to read",
    ),
    "other delimiter": (
        "1 2 3\n",
        "standard input:1: column 1: not a number: '1 2 3' (is it --delimiter space?)",
    ),
    "pipes": (
        "1|2\n3|4\n",
        "standard input:1: column 1: not a number: '1|2' (is it --delimiter pipe?)",
    ),
    "word without a header": ("1\n2\nx\n", "standard input:3: column 1: not a number: 'x'"),
    "nan": (
        "v\n1\nnan\n",
        "standard input:3: column 'v': not a finite number: nan; --missing hold or zero passes it",
    ),
    "inf": ("v\n1\n-inf\n", "standard input:3: column 'v': not a finite number: -inf"),
    "empty cell": (
        "3.5,1\n,3\n",
        "standard input:2: column 1: empty; expected a number; --missing hold or zero passes it",
    ),
    "too large": (
        "1\n1e39\n",
        "standard input:2: column 1: too large for float32: 1e39 (--precision float64 holds more)",
    ),
    "underscore": ("1\n1_000\n", "standard input:2: column 1: not a number: '1_000'"),
    "decimal comma": (
        "1;2\n3;4,5\n",
        "standard input:2: column 2: not a number: '4,5' (a decimal comma? --decimal , reads it)",
    ),
    "spaces": (
        "v\n1 2\n",
        "standard input:2: column 'v': not a number: '1 2' (is it --delimiter space?)",
    ),
    "open quote": (
        '1,2\n"3,4\n5,6\n',
        "standard input:2: not CSV: unexpected end of data; is a quote left open or out of place?",
    ),
    "misplaced quote": (
        '"1"x\n',
        "standard input:1: not CSV: ',' expected after '\"'; is a quote left open or out of place?",
    ),
    "line of a quoted cell": (
        'name,v\n"two\nlines",1\n"and\r\ntwo",x\n',
        "standard input:4: column 'v': not a number: 'x'",
    ),
}


@pytest.mark.parametrize(("text", "message"), CSV.values(), ids=CSV)
def test_csv(run_rnn: Rnn, text: str, message: str) -> None:
    columns = ("--columns", "v") if text.startswith("name,v") else ()
    assert failure(run_rnn, *columns, stdin=text) == message


@pytest.mark.parametrize(
    ("start", "found"),
    [
        (b"\x1f\x8b\x08", "gzip data; decompress it (zcat), or give a file named .gz"),
        (b"\x93NUMPY\x01\x00", "an .npy array; give a file named .npy"),
        (b"PK\x03\x04", "a zip archive (.xlsx, .npz?); export it as CSV"),
        ("1,2\n".encode("utf-16"), "UTF-16 text; --encoding utf-16 reads it"),
    ],
)
def test_not_text(run_rnn: Rnn, start: bytes, found: str) -> None:
    message = failure(run_rnn, stdin=start)
    assert message == f"standard input: expected CSV text, found {found}"


def test_missing_file(run_rnn: Rnn) -> None:
    assert failure(run_rnn, "no.csv") == "no.csv: cannot be read: No such file or directory"


@pytest.mark.parametrize("option", [(), ("--seq", "1", "--weights"), ("log.csv",)])
def test_a_missing_file_beside_a_near_one(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("1\n")
    (tmp_path / "a.csv").touch()
    (tmp_path / "model.pt").mkdir()
    named = ["lgo.csv", "log.csv"] if "--seq" not in option else ["mdoel.pt", "model.pt"]
    for path in (named[0], f"../{tmp_path.name}/{named[0]}"):
        result = run_rnn("run", *option, path, *([] if "--seq" in option else ["--hidden", "2"]))
        what = "cannot be read: No such file or directory"
        assert result.stderr == f"Error: {path}: {what}; did you mean {named[1]!r}?\n"
    assert failure(run_rnn, "b.csv") == "b.csv: cannot be read: No such file or directory"
    Path("2026-01-01.csv").touch()  # the day before is no slip
    assert failure(run_rnn, "2026-01-02.csv").endswith(": No such file or directory")
    assert failure(run_rnn, "2026-01-01.cvs").endswith("; did you mean '2026-01-01.csv'?")


def test_a_file_given_as_a_sequence(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("1\n")
    result = run_rnn("run", "--seq", str(path), "--hidden", "2")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: --seq: '")
    assert result.stderr.endswith(" is a file; give it without --seq\n")


def test_a_model_given_to_weights(run_rnn: Rnn) -> None:
    result = run_rnn("weights", "model.pt")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: unexpected argument 'model.pt'; a network is given by --weights model.pt, "
        "and no input is read (see 'rnn weights --help')\n",
    )
    result = run_rnn("weights", "log.csv")
    assert "'log.csv'; a network is given by --weights FILE, and no" in result.stderr


def test_numbers_given_as_a_file(run_rnn: Rnn) -> None:
    assert failure(run_rnn, "1,2,3").endswith(" (numbers are given by --seq 1,2,3)")


@pytest.mark.parametrize("name", ["data.csv", "data.npy", "data"])
def test_directory(run_rnn: Rnn, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    path = str(tmp_path / name)
    assert (
        failure(run_rnn, path)
        == f"{path}: cannot be read: Is a directory; give the files in it: {path}/*.csv"
    )


@pytest.mark.parametrize("kept", [5, 20, 60])
def test_truncated_gzip(run_rnn: Rnn, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "data.csv.gz"
    random = np.random.RandomState(0)
    path.write_bytes(gzip.compress("\n".join(map(str, random.rand(100))).encode())[:kept])
    assert failure(run_rnn, str(path)).startswith(f"{path}: cannot be read: ")


def test_rows_before_the_end_of_truncated_gzip_are_written(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "data.csv.gz"
    rows = np.random.RandomState(0).rand(5000)
    path.write_bytes(gzip.compress("\n".join(map(str, rows)).encode())[:-2000])
    result = run_rnn("run", str(path), *NETWORK, "--format", "csv")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {path}: cannot be read: ")
    written = result.stdout.splitlines()[1:]
    assert 3000 < len(written) < 5000
    whole = run_rnn("run", *NETWORK, "--format", "csv", stdin="\n".join(map(str, rows)))
    assert written == whole.stdout.splitlines()[1 : 1 + len(written)]


def test_gzip_name_without_gzip_data(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "data.csv.gz"
    path.write_text("1\n2\n")
    assert "Not a gzipped file" in failure(run_rnn, str(path))


COLUMNS = {
    "unknown": ("z", "no column 'z'; there are 'a', 'b', 'a' (or 1 to 3)"),
    "number over the width": ("4", "no column '4'; there are 'a', 'b', 'a' (or 1 to 3)"),
    "number zero": ("0", "no column '0'; there are 'a', 'b', 'a' (or 1 to 3)"),
    "twice": ("b,2", "column '2' is chosen twice in --columns"),
    "ambiguous": ("a", "column 'a' stands twice in the header; choose it by its number, 1 to 3"),
}


@pytest.mark.parametrize(("columns", "message"), COLUMNS.values(), ids=COLUMNS)
def test_columns(run_rnn: Rnn, columns: str, message: str) -> None:
    text = "a,b,a\n1,2,3\n"
    options = ("--columns", columns, "--first-row", "header")
    assert failure(run_rnn, *options, stdin=text) == f"standard input: {message}"


def test_a_name_without_a_header(run_rnn: Rnn) -> None:
    message = failure(run_rnn, "--columns", "a", "--first-row", "data", stdin="1,2\n")
    assert message == (
        "standard input: no column 'a': it has no header; "
        "expected a number from 1 to 2 in --columns"
    )


def saved(array: np.ndarray, **options: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


SHAPES = "expected an array of shape (T,), (T, I) or (N, T, I), got ("
WHOLE = saved(np.arange(20.0))
NPY = {
    "empty": (b"", "not an .npy file; expected one made by numpy.save"),
    "objects": (saved(np.array([{}, 1], object), allow_pickle=True), "expected numbers, got an"),
    "strings": (
        saved(np.array(["a"])),
        "expected numbers, got an array of <U1; array.astype('float32') makes numbers of text",
    ),
    "complex": (saved(np.array([1j])), "expected numbers, got an array of complex128"),
    "rank 0": (
        saved(np.array(1.0)),
        SHAPES,
    ),
    "rank 4": (
        saved(np.ones((1, 1, 1, 1))),
        SHAPES,
    ),
    "no sequences": (saved(np.ones((0, 3, 1))), SHAPES),
    "no columns": (
        saved(np.ones((3, 0))),
        SHAPES,
    ),
    "truncated": (WHOLE[:-8], "not a whole .npy file of numbers: "),
    "truncated header": (WHOLE[:40], "not a whole .npy file of numbers: "),
    "truncated magic": (WHOLE[:5], "not an .npy file; expected one made by numpy.save"),
    "truncated version": (WHOLE[:7], "not a whole .npy file of numbers: "),
    "text": (b"1,2\n3,4\n", "not an .npy file; expected one made by numpy.save"),
    "nan": (saved(np.array([[1.0, 2], [3, np.nan]])), "row 2, column 2: not a finite number: nan"),
}


@pytest.mark.parametrize(("content", "message"), NPY.values(), ids=NPY)
def test_npy(run_rnn: Rnn, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "data.npy"
    path.write_bytes(content)
    assert failure(run_rnn, str(path)).startswith(f"{path}: {message}")


def test_npy_archive(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "data.npy"
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))
    message = failure(run_rnn, str(path))
    assert message == f"{path}: not an .npy file; expected one made by numpy.save"


def test_npy_takes_no_csv_options(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "data.npy"
    np.save(path, np.ones(3))
    message = failure(run_rnn, str(path), "--delimiter", ";")
    hint = "--delimiter and --first-row are for CSV text"
    assert message == f"{path}: an array has no lines of cells; {hint}"


INLINE = {
    "empty": ("", "--seq: empty; expected numbers such as 1,2,3"),
    "word": ("1,x", "--seq: step 2: not a number: 'x'"),
    "nan": ("1,nan", "--seq: step 2: not a finite number: nan"),
    "inf": ("inf", "--seq: step 1: not a finite number: inf"),
    "nothing between commas": ("1,,2", "--seq: step 2: empty; expected a number"),
    "nothing after the last comma": ("1,", "--seq: step 2: empty; expected a number"),
    "nothing between line ends": ("1\n\n2", "--seq: step 2: empty; expected a number"),
    "rows of CSV": (
        "1,2\n3,4",
        "--seq: commas and line ends: each ends a step; '1 2, 3 4' are two steps of two features, "
        "and rows of CSV are piped in",
    ),
    "ragged": (
        "1 2, 3",
        "--seq: step 2: expected as many features as in step 1, 2, got 1; "
        "commas or line ends separate steps, spaces their features",
    ),
    "empty JSON": ("[]", "--seq: empty; expected numbers such as 1,2,3"),
    "empty JSON step": ("[[]]", "--seq: step 1: empty; expected a number"),
    "JSON ragged": ("[[1], [2, 3]]", "--seq: step 2: expected as many features as in step 1, 1"),
    "JSON null": ("[1, null]", "--seq: step 2: expected a number, got null"),
    "JSON true": ("[true]", "--seq: step 1: expected a number, got true or false"),
    "JSON object": ("[{}]", "--seq: step 1: expected a number, got an object"),
    "JSON NaN": ("[NaN]", "--seq: step 1: not a finite number: NaN"),
    "JSON of three levels": ("[[[1]]]", "--seq: step 1: expected a number, got an array"),
    "JSON cut off": ("[1, 2", "--seq: not a JSON array of numbers: Expecting ',' delimiter: "),
    "JSON nested deep": ("[" * 100_000, "--seq: not a JSON array of numbers: "),
    "huge integer": ("1e400", "--seq: step 1: not a finite number: 1e400"),
}


@pytest.mark.parametrize(("seq", "message"), INLINE.values(), ids=INLINE)
def test_inline(run_rnn: Rnn, seq: str, message: str) -> None:
    assert failure(run_rnn, "--seq", seq).startswith(message)


GROUPS = {
    "unknown": (("--group-by", "z"), "no column 'z'; there are 'k', 'v' (or 1 to 2)"),
    "twice": (("--group-by", "k", "--group-by", "1"), "column '1' is chosen twice in --group-by"),
    "no features": (
        ("--group-by", "k", "--group-by", "v"),
        "no column is left to read beside those of --group-by",
    ),
}


@pytest.mark.parametrize(("options", "message"), GROUPS.values(), ids=GROUPS)
def test_groups(run_rnn: Rnn, options: tuple[str, ...], message: str) -> None:
    assert failure(run_rnn, *options, stdin="k,v\na,1\n") == f"standard input: {message}"


FILES = {
    "missing": (("a.csv", "no.csv"), "no.csv: cannot be read: No such file or directory"),
    "the same twice": (("a.csv", "b.csv", "a.csv"), "a.csv: is given twice"),
    "other columns": (
        ("a.csv", "w.csv"),
        "w.csv: expected the columns v, as in a.csv, got w",
    ),
    "other cells to pass through": (
        ("a.csv", "kv.csv", "--columns", "v", "--passthrough", "--format", "csv"),
        "kv.csv: expected the columns v, as in a.csv, got k, v",
    ),
    "fault in the second": (("a.csv", "x.csv"), "x.csv:2: column 'v': not a number: 'x'"),
    "several sequences beside others": (
        ("h.csv", "n.npy"),
        "n.npy: holds several sequences: give it alone",
    ),
    "groups of an array": (
        ("n.npy", "--group-by", "1"),
        "n.npy: an array has no column of keys; --group-by is for CSV text",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), FILES.values(), ids=FILES)
def test_files(
    run_rnn: Rnn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("a", "v\n1\n"), ("b", "v\n2\n"), ("w", "w\n1\n"), ("x", "v\nx\n")):
        Path(f"{name}.csv").write_text(text)
    Path("h.csv").write_text("1\n")
    Path("kv.csv").write_text("k,v\na,1\n")
    np.save("n.npy", np.ones((2, 3, 1)))
    assert failure(run_rnn, *arguments) == message


def test_npy_of_unequal_lengths(run_rnn: Rnn) -> None:
    options = ("--group-by", "1", "--format", "npy")
    assert failure(run_rnn, *options, stdin="a,1\na,2\nb,3\n") == (
        "npy: the sequences have 1 to 2 steps, an array takes equal lengths; write CSV or JSONL"
    )


PASSED, GROUPED = ("--passthrough", "--format", "csv"), ("--group-by", "1")
BESIDE = "the input's column {!r} would stand beside another of that name; rename it"
APART = ", or take --format jsonl, where it stands apart"
TAKEN = {
    "a unit": (PASSED, "v,h_0\n1,2\n", BESIDE.format("h_0") + APART),
    "a unit of a layer below": (
        (*PASSED, "--all-layers", "--columns", "v"),
        "v,layer_1_h_1\n1,2\n",
        BESIDE.format("layer_1_h_1") + APART,
    ),
    "a key named t": ((*GROUPED, "--format", "csv"), "t,v\na,1\n", BESIDE.format("t") + APART),
    "a key named t in a table": (GROUPED, "t,v\na,1\n", BESIDE.format("t") + APART),
    "a key named as a unit": (
        (*GROUPED, "--last", "--format", "csv"),
        "h_3,v\na,1\n",
        BESIDE.format("h_3") + APART,
    ),
    "two keys of one name": (
        (*GROUPED, "--group-by", "2", "--json"),
        "k,k,v\na,b,1\n",
        BESIDE.format("k"),
    ),
}


@pytest.mark.parametrize(("options", "text", "message"), TAKEN.values(), ids=TAKEN)
def test_names_of_columns_that_are_written(
    run_rnn: Rnn, options: tuple[str, ...], text: str, message: str
) -> None:
    hidden = ("--hidden", "2,4") if "--all-layers" in options else NETWORK
    result = run_rnn("run", *options, *hidden, "--first-row", "header", stdin=text)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {message}\n")
    if message.endswith(APART):
        apart = [word for word in options if word not in ("--format", "csv")]
        command = ("run", *apart, *hidden, "--first-row", "header", "--format", "jsonl")
        assert run_rnn(*command, stdin=text).exit_code == 0


def test_passthrough_beside_the_key_of_several_files(run_rnn: Rnn, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("file,v\nx,1\n")
    files = (str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--columns", "v")
    assert failure(run_rnn, *files, *PASSED) == BESIDE.format("file") + APART
    grouped = run_rnn("run", *files, *PASSED, "--group-by", "file", *NETWORK)
    assert grouped.stdout.startswith("file,v,h_0")


def test_a_column_named_t_is_passed_through_in_place_of_t(run_rnn: Rnn) -> None:
    result = run_rnn("run", *PASSED, "--columns", "v", *NETWORK, stdin="t,v\na,1\n")
    assert result.stdout.startswith("t,v,h_0,h_1,h_2,h_3\na,1,")


H0 = {
    "short": ("1,2,3", "--h0: expected 4 numbers, one for each hidden unit, got 3"),
    "empty": (
        "",
        "Invalid value for '--h0': an empty state (a shell variable that is not set?) "
        "(see 'rnn run --help')",
    ),
    "word": ("1,2,3,x", "--h0: not a number: 'x'"),
    "nan": ("1,2,3,nan", "--h0: not a finite number: nan"),
}


@pytest.mark.parametrize(("h0", "message"), H0.values(), ids=H0)
def test_h0(run_rnn: Rnn, h0: str, message: str) -> None:
    assert failure(run_rnn, "--seq", "1", "--h0", h0) == message


SEED = "is not a whole number from 0 to 4294967295 (see 'rnn run --help')"
USAGE = {
    "hidden 0": (
        ("--seq", "1", "--hidden", "0"),
        "Invalid value for '--hidden': '0' is not a whole number from 1 up (see 'rnn run --help')",
    ),
    "negative seed": (("--seed", "-1"), f"Invalid value for '--seed': '-1' {SEED}"),
    "huge seed": (("--seed", "4294967296"), f"Invalid value for '--seed': '4294967296' {SEED}"),
    "fractional seed": (("--seed", "1.5"), f"Invalid value for '--seed': '1.5' {SEED}"),
    "no hidden": (
        ("--seq", "1"),
        "no network: give --hidden H or --weights FILE, as in 'rnn run --seq 1,2,3 --hidden 4' "
        "(see 'rnn run --help')",
    ),
    "seq and file": (
        ("--seq", "1", "a.csv", *NETWORK),
        "two inputs, --seq and a.csv: give one (see 'rnn run --help')",
    ),
    "seq and columns": (
        ("--seq", "1", "--columns", "1", *NETWORK),
        "--columns, --group-by, --delimiter, --decimal, --encoding, --first-row, "
        "--null-value, --missing, --passthrough and --follow are for files, not for --seq "
        "(see 'rnn run --help')",
    ),
    "long delimiter": (
        ("--delimiter", "::"),
        "Invalid value for '--delimiter': '::' is not one character, or one of "
        "comma, tab, \\t, semicolon, space, pipe (see 'rnn run --help')",
    ),
    "empty column": (
        ("--columns", "1,,2"),
        "Invalid value for '--columns': '1,,2' names an empty column (see 'rnn run --help')",
    ),
    "json and csv": (
        ("--seq", "1", "--json", "--format", "csv", *NETWORK),
        "--json and --format csv: give one (see 'rnn run --help')",
    ),
    "header of a table": (
        ("--seq", "1", "--no-header", *NETWORK),
        "--no-header is for CSV, the format is table (see 'rnn run --help')",
    ),
    "digits of npy": (
        ("--seq", "1", "--digits", "3", "-o", "x.npy", *NETWORK),
        "--digits is for text, the format is npy (see 'rnn run --help')",
    ),
    "empty output": (
        ("--seq", "1", "-o", "", *NETWORK),
        "Invalid value for '-o' / '--output': an empty file name (a shell variable "
        "that is not set?) (see 'rnn run --help')",
    ),
    "empty state": (
        ("--seq", "1", "--state", "", *NETWORK),
        "Invalid value for '--state': an empty file name (a shell variable "
        "that is not set?) (see 'rnn run --help')",
    ),
    "empty weights": (
        ("--seq", "1", "--weights", ""),
        "Invalid value for '--weights': an empty file name (a shell variable "
        "that is not set?) (see 'rnn run --help')",
    ),
    "empty file": (
        ("", *NETWORK),
        "Invalid value for '[FILE]...': an empty file name (a shell variable "
        "that is not set?) (see 'rnn run --help')",
    ),
    "option without its value": (
        ("--hidden", "2", "--seq"),
        "Option '--seq' requires an argument (see 'rnn run --help')",
    ),
    "last of a picture": (
        ("--seq", "1", "--last", "--format", "heatmap", *NETWORK),
        "--last is not for pictures, the format is heatmap (see 'rnn run --help')",
    ),
    "follow a table": (
        ("--follow", *NETWORK),
        "--follow is for CSV and JSONL, the format is table: give --format csv "
        "(see 'rnn run --help')",
    ),
    "unknown extension": (
        ("--seq", "1", "-o", "x.xlsx", *NETWORK),
        "-o x.xlsx: no format has the extension '.xlsx' "
        "(known: .txt, .json, .jsonl, .csv, .npy, .parquet, .arrow, .feather, .svg, .png, .pdf): "
        "give --format (see 'rnn run --help')",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE)
def test_usage(run_rnn: Rnn, arguments: tuple[str, ...], message: str) -> None:
    result = run_rnn("run", *arguments)
    assert (result.exit_code, result.stderr) == (2, f"Error: {message}\n")
    assert result.stdout == ""


@pytest.mark.parametrize("command", [("run", "--seq", "1"), ("weights",)])
def test_a_network_too_large_for_memory(run_rnn: Rnn, command: tuple[str, ...]) -> None:
    result = run_rnn(*command, "--hidden", "100000000")
    assert result.exit_code == 2
    assert result.stderr.startswith(
        "Error: --hidden 100000000: the weights would take 37,252,903.7 GiB, over half of this "
        "machine's "
    )


def test_a_number_of_units_that_no_float_holds(run_rnn: Rnn) -> None:
    result = run_rnn("weights", "--hidden", "9" * 400)
    assert result.exit_code == 2
    assert "the weights would take 1,180,591,620,717,411,303,424.0 GiB" in result.stderr


def test_nothing_is_written_when_nothing_could_be_computed(run_rnn: Rnn) -> None:
    assert run_rnn("run", *NETWORK, stdin="a,b\nx,1\n").stdout == ""


def test_json_shows_what_ended_it(run_rnn: Rnn) -> None:
    result = run_rnn("run", *NETWORK, "--json", stdin="1\n2\nx\n3\n")
    document = json.loads(result.stdout)
    assert [step["t"] for step in document["steps"]] == [1, 2]
    assert document["error"] == "standard input:3: column 1: not a number: 'x'"
    assert "final" not in document


def test_npy_and_the_final_state_are_whole_or_not_there(run_rnn: Rnn) -> None:
    for options in (("--format", "npy"), ("--last",), ("--last", "--json")):
        result = run_rnn("run", *NETWORK, *options, stdin="1\n2\nx\n3\n")
        assert (result.exit_code, result.stdout_bytes) == (2, b"")


@pytest.mark.parametrize("form", ["csv", "jsonl", "table"])
def test_what_came_before_is_written(run_rnn: Rnn, form: str) -> None:
    broken = run_rnn("run", *NETWORK, "--format", form, stdin="1\n2\nx\n3\n")
    whole = run_rnn("run", *NETWORK, "--format", form, stdin="1\n2\n")
    assert broken.exit_code == 2
    assert broken.stdout == whole.stdout
