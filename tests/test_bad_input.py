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
    "blank": ("\n \n\n", "standard input: empty; expected rows of numbers"),
    "quoted nothing": (
        '""\n',
        "standard input:1: column 1: empty; expected a number; --missing hold or zero passes it",
    ),
    "nan": (
        "v\n1\nnan\n",
        "standard input:3: column 'v': not a finite number: nan; --missing hold or zero passes it",
    ),
    "underscore": ("1\n1_000\n", "standard input:2: column 1: not a number: '1_000'"),
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


INLINE = {
    "nothing between line ends": ("1\n\n2", "--seq: step 2: empty; expected a number"),
    "rows of CSV": (
        "1,2\n3,4",
        "--seq: commas and line ends: each ends a step; '1 2, 3 4' are two steps of two features, "
        "and rows of CSV are piped in",
    ),
    "empty JSON step": ("[[]]", "--seq: step 1: empty; expected a number"),
    "JSON true": ("[true]", "--seq: step 1: expected a number, got true or false"),
    "JSON NaN": ("[NaN]", "--seq: step 1: not a finite number: NaN"),
    "JSON of three levels": ("[[[1]]]", "--seq: step 1: expected a number, got an array"),
    "JSON nested deep": ("[" * 100_000, "--seq: not a JSON array of numbers: "),
    "huge integer": ("1e400", "--seq: step 1: not a finite number: 1e400"),
}


@pytest.mark.parametrize(("seq", "message"), INLINE.values(), ids=INLINE)
def test_inline(run_rnn: Rnn, seq: str, message: str) -> None:
    assert failure(run_rnn, "--seq", seq).startswith(message)


FILES = {
    "other cells to pass through": (
        ("a.csv", "kv.csv", "--columns", "v", "--passthrough", "--format", "csv"),
        "kv.csv: expected the columns v, as in a.csv, got k, v",
    ),
    "fault in the second": (("a.csv", "x.csv"), "x.csv:2: column 'v': not a number: 'x'"),
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


PASSED, GROUPED = ("--passthrough", "--format", "csv"), ("--group-by", "1")
BESIDE = "the input's column {!r} would stand beside another of that name; rename it"
APART = ", or take --format jsonl, where it stands apart"
TAKEN = {
    "a unit of a layer below": (
        (*PASSED, "--all-layers", "--columns", "v"),
        "v,layer_1_h_1\n1,2\n",
        BESIDE.format("layer_1_h_1") + APART,
    ),
    "a key named t in a table": (GROUPED, "t,v\na,1\n", BESIDE.format("t") + APART),
    "a key named as a unit": (
        (*GROUPED, "--last", "--format", "csv"),
        "h_3,v\na,1\n",
        BESIDE.format("h_3") + APART,
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


def test_a_column_named_t_is_passed_through_in_place_of_t(run_rnn: Rnn) -> None:
    result = run_rnn("run", *PASSED, "--columns", "v", *NETWORK, stdin="t,v\na,1\n")
    assert result.stdout.startswith("t,v,h_0,h_1,h_2,h_3\na,1,")


USAGE = {
    "long delimiter": (
        ("--delimiter", "::"),
        "Invalid value for '--delimiter': '::' is not one character, or one of "
        "comma, tab, \\t, semicolon, space, pipe (see 'rnn run --help')",
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
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE)
def test_usage(run_rnn: Rnn, arguments: tuple[str, ...], message: str) -> None:
    result = run_rnn("run", *arguments)
    assert (result.exit_code, result.stderr) == (2, f"Error: {message}\n")
    assert result.stdout == ""


def test_a_number_of_units_that_no_float_holds(run_rnn: Rnn) -> None:
    result = run_rnn("weights", "--hidden", "9" * 400)
    assert result.exit_code == 2
    assert "the weights would take 1,180,591,620,717,411,303,424.0 GiB" in result.stderr


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
