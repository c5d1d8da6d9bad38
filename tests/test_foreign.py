"""What is no CSV text in UTF-8 is refused, and the way out that is named works."""

import gzip
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Rnn

NETWORK = ("--hidden", "2", "--format", "csv")
STEPS = "t,h_0,h_1\n1,-0.80093694,0.91308177\n2,-0.9886478,0.9999371\n"


def refusal(run_rnn: Rnn, path: Path, *options: str) -> str:
    """What is said of a file of which nothing is read."""
    result = run_rnn("run", str(path), *NETWORK, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    return result.stderr.removeprefix(f"Error: {path}").rstrip()


def read_by(shell: str) -> str:
    """What rnn makes of the output of a command, or of the value of --seq."""
    rnn = f"{sys.executable} -m rnncli run {' '.join(NETWORK)}"
    command = f"{rnn} {shell}" if shell.startswith("--seq") else f"{shell} | {rnn}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, check=True)
    return done.stdout.decode()


def way_out(message: str, *, names: str = "v", which: int = 0) -> str:
    """The command in a message, with the names of fields filled in."""
    found = re.findall(r"""(--seq "[^"]+"|(?:zcat|jq) .*?)(?= makes| reads|$)""", message)
    return str(found[which]).replace(".NAME", f".{names}")


JSON = {
    "array": ("[1,2]", 0),
    "array on lines": ("[\n  1,\n  2\n]\n", 0),
    "array of arrays": ("\n [[1],\n[2]]", 0),
    "array a line": ("[1]\n[2]\n", 1),
    "object a line": ('{"v": 1, "w": "a, b"}\n{"v": 2}\n', 0),
    "object on lines": ('{\n  "v": 1\n}\n{\n  "v": 2\n}\n', 0),
    "array of objects": ('[{"v":1},{"v":2}]', 0),
    "array of objects on lines": ('[\n  {"v": 1},\n  {"v": 2}\n]\n', 0),
}


@pytest.mark.parametrize("form", ["table", "heatmap", "plot"])
@pytest.mark.parametrize(
    "network", [("--cell", "lstm"), ("--weights", str(ROOT / "sample_data" / "sunspots.keras"))]
)
def test_a_table_of_rnn(run_rnn: Rnn, tmp_path: Path, network: tuple[str, ...], form: str) -> None:
    size = () if network[0] == "--weights" else ("--hidden", "2")
    path = tmp_path / "table.txt"
    path.write_text(run_rnn("run", "--seq", "1,2", *network, *size, "--format", form).stdout)
    assert refusal(run_rnn, path) == (
        ": expected CSV text, found a table of rnn; give --format csv to the run that wrote it"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.json", "x.csv", "the data.json.gz"])
@pytest.mark.parametrize(("text", "which"), JSON.values(), ids=JSON)
def test_json(run_rnn: Rnn, tmp_path: Path, name: str, text: str, which: int) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    message = refusal(run_rnn, path)
    assert message.startswith(": expected CSV text, found JSON; ")
    assert refusal(run_rnn, path, "--delimiter", ";") == message
    command = way_out(message, which=which)
    if "jq" not in command or shutil.which("jq"):
        assert read_by(command) == STEPS


@pytest.mark.parametrize(
    "text", ["[]", "{}", "[", "{", '["a"]', "[" * 9999, "[null,", "[1," * 50000]
)
def test_beginnings_of_json(run_rnn: Rnn, text: str) -> None:
    result = run_rnn("run", *NETWORK, stdin=text)
    assert result.stderr.startswith("Error: standard input: expected CSV text, found JSON; ")


@pytest.mark.parametrize(
    "name", ["[bold]a[/bold]", "[1] x", "{a}", "[m/s]", "<DATE>", "[1 2]", "[1],[2]"]
)
def test_brackets_in_a_header_are_no_json(run_rnn: Rnn, name: str) -> None:
    width = name.count(",") + 1
    text = f"{name}\n{','.join(['1'] * width)}\n"
    assert run_rnn("run", *NETWORK, stdin=text).exit_code == 0


LATIN = "ort,wert\nKöln,1\nBonn,2\n"


@pytest.mark.parametrize(
    ("text", "line", "found", "encoding"),
    [
        (LATIN.encode("latin-1"), ":2", "bytes that are not UTF-8 (Latin-1?)", "latin-1"),
        (
            LATIN.replace("K", "“K”").encode("cp1252"),
            ":2",
            "bytes that are not UTF-8 (Windows-1252?)",
            "cp1252",
        ),
        (LATIN.encode("utf-16"), "", "UTF-16 text", "utf-16"),
        ("\ufeff".encode("utf-16-be") + LATIN.encode("utf-16-be"), "", "UTF-16 text", "utf-16"),
        (
            LATIN.encode("utf-16-le"),
            ":1",
            "binary data (UTF-16 without its mark?)",
            "utf-16-le or utf-16-be",
        ),
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_other_encodings(
    run_rnn: Rnn, tmp_path: Path, name: str, text: bytes, line: str, found: str, encoding: str
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    message = refusal(run_rnn, path, "--columns", "wert")
    assert message == f"{line}: expected CSV text, found {found}; --encoding {encoding} reads it"
    way_out = ("--columns", "wert", "--encoding", encoding.partition(" ")[0])
    assert run_rnn("run", str(path), *NETWORK, *way_out).stdout == STEPS


BAD = {
    "a byte that begins nothing": (b"\xf6", "bytes that are not UTF-8 (Latin-1?); --enc"),
    "a character cut short": (b"\xe2\x82", "bytes that are not UTF-8 (Windows-1252?); --enc"),
    "NUL": (b"\0", "binary data"),
    "NUL behind others": (b"\xf6\0", "binary data"),
}


@pytest.mark.slow
@pytest.mark.parametrize("row", [1, 2, 40_000, 70_000])
@pytest.mark.parametrize("place", ["a", '"a\nb"', "ö"])
@pytest.mark.parametrize(("bad", "found"), BAD.values(), ids=BAD)
def test_bad_bytes_anywhere(run_rnn: Rnn, row: int, place: str, bad: bytes, found: str) -> None:
    """Also beyond the first block; the rows before are written, and the line is right."""
    rows = [f"{place},{n}".encode() for n in range(row)]
    rows[-1] = rows[-1].replace(b",", bad + b",")
    result = run_rnn("run", "--columns", "v", *NETWORK, stdin=b"k,v\n" + b"\n".join(rows) + b"\n")
    line = 1 + row * (1 + place.count("\n"))
    assert result.exit_code == 2
    assert result.stderr.startswith(
        f"Error: standard input:{line}: expected CSV text, found {found}"
    )
    assert len(result.stdout.splitlines()) == (row if row > 1 else 0)


@pytest.mark.parametrize("bad", [b"\xf6", b"\xe2\x82", b"\0"])
@pytest.mark.parametrize("follow", [(), ("--follow",)])
def test_bad_bytes_at_the_end(run_rnn: Rnn, bad: bytes, follow: tuple[str, ...]) -> None:
    result = run_rnn("run", *NETWORK, *follow, stdin=b"v\n1\n2" + bad)
    assert result.stderr.startswith("Error: standard input:3: expected CSV text, found ")
    assert len(result.stdout.splitlines()) == 2


def test_bad_bytes_in_a_header(run_rnn: Rnn) -> None:
    for text, line in (
        (b"\x7fELF\x02\x01\x01\0", 1),
        (b"\xf6,v\n1,2\n", 1),
        (b'\n"a\n\xf6",v\n1,2\n', 3),
    ):
        result = run_rnn("run", *NETWORK, stdin=text)
        assert result.stderr.startswith(f"Error: standard input:{line}: expected CSV text")


@pytest.mark.slow
def test_text_in_utf_8_is_passed_on(run_rnn: Rnn) -> None:
    text = "".join(f"{'öß€😀'[n % 4] * (n % 5)},1\n" for n in range(200_000))
    options = ("--columns", "2", "--first-row", "data", "--passthrough", "--hidden", "1")
    lines = run_rnn("run", *options, "--format", "csv", stdin=text).stdout.splitlines()[1:]
    assert [line.rpartition(",")[0] for line in lines] == text.splitlines()


MODELS = {"m.pt": b"PK\x03\x04", "m.H5": b"\x89HDF\r\n\x1a\n\0", "m.safetensors": b"\x18\0\0\0{}"}


@pytest.mark.parametrize(("name", "start"), MODELS.items(), ids=MODELS)
def test_a_model_that_is_read_as_text(
    run_rnn: Rnn, tmp_path: Path, name: str, start: bytes
) -> None:
    path, other = tmp_path / name, tmp_path / "m.csv"
    path.write_bytes(start)
    other.write_bytes(start)
    assert refusal(run_rnn, path).endswith(f"; is it a model? give --weights {path}")
    assert "--weights" not in refusal(run_rnn, other)
