"""Text in any encoding that Python knows is read as its own codecs decode it."""

import csv
import gzip
import io
import subprocess
import sys
from encodings.aliases import aliases
from pathlib import Path

import click
import numpy as np
import pytest
from conftest import ROOT, SAMPLES, Rnn
from hypothesis import given
from hypothesis import strategies as st

from rnncli.cli.values import encoding as read_name
from rnncli.readers import Keys, Layout, read_file
from rnncli.readers.text import read_lines

SINGLE = ("latin-1", "cp1252", "iso8859-15", "mac-roman", "cp437", "koi8-r", "cp037")
SEVERAL = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030")
EAST_ASIAN = ("shift_jis", "euc_jp", "iso2022_jp", "euc_kr", "big5")
OPTIONS = ("--hidden", "1", "--format", "csv", "--digits", "2")


def encodable(encoding: str) -> str:
    """Characters that an encoding has, letters of several alphabets and marks among them."""
    some = "aZ09 ;,'éßñЖ漢字かな한글😀“€—"
    kept = some.encode(encoding, "ignore").decode(encoding)
    return kept.removeprefix("\ufeff")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", [*SINGLE, *SEVERAL, *EAST_ASIAN])
@given(data=st.data())
def test_cells_are_those_of_python(
    encoding: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Tables that the csv module wrote: names, keys and numbers, quoted where they need it."""
    names = st.text(encodable(encoding), min_size=1).map(str.strip).filter(bool)
    header = data.draw(st.lists(names, min_size=2, max_size=4, unique=True))
    number = st.floats(allow_nan=False, allow_infinity=False).map(repr)
    row = st.tuples(names, *[number] * (len(header) - 1))
    rows = data.draw(st.lists(row, min_size=1, max_size=5))
    text = io.StringIO()
    delimiter = data.draw(st.sampled_from(",;\t"))
    writer = csv.writer(
        text, delimiter=delimiter, lineterminator=data.draw(st.sampled_from(["\n", "\r\n"]))
    )
    writer.writerows([header, *rows])
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    layout = Layout(
        np.dtype(np.float64),
        group_by=("1",),
        delimiter=delimiter,
        first_row="header",
        encoding=read_name(encoding),
    )
    source = read_file(str(path), layout, Keys())
    blocks = list(source.blocks)
    assert list(source.columns) == header[1:]
    assert np.concatenate([block.x for block in blocks]).tolist() == [
        list(map(float, cells)) for _, *cells in rows
    ]
    numbers = [number for block in blocks for number in np.array(block.key).tolist()]
    assert [source.keys[number] for number in numbers] == [(name,) for name, *_ in rows]


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("encoding", [*SEVERAL, *EAST_ASIAN])
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_characters_that_pieces_cut_in_two(
    tmp_path: Path, encoding: str, before: str, name: str
) -> None:
    lines = [before, *[encodable(encoding) * 30] * 20_000]
    path = tmp_path / name
    raw = "\n".join(lines).encode(encoding)
    path.write_bytes(gzip.compress(raw, 1) if name.endswith(".gz") else raw)
    assert [line.removesuffix("\n") for line in read_lines(str(path), read_name(encoding))] == lines


@pytest.mark.slow
def test_an_export_of_excel(run_rnn: Rnn, tmp_path: Path) -> None:
    """Text with tabs in UTF-16, a mark before it, lines that end as Windows ends them."""
    text = (SAMPLES / "sensors.csv").read_text(encoding="utf-8")
    path = tmp_path / "sensors.txt"
    path.write_bytes(text.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"))
    options = ("--group-by", "sensor", "--columns", "3-4", "--passthrough", *OPTIONS)
    expected = run_rnn("run", str(SAMPLES / "sensors.csv"), *options)
    for command in ((str(path),), ("-",), ("-", "--follow")):
        stdin = path.read_bytes() if command[0] == "-" else None
        result = run_rnn("run", *command, *options, "--encoding", "UTF-16", stdin=stdin)
        assert (result.stdout, result.stderr) == (expected.stdout, "")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "cp1252", "shift_jis"])
def test_a_line_comes_out_for_each_that_comes_in(encoding: str) -> None:
    """Also where a byte of a character comes later than the others."""
    options = ["-", "--follow", "--encoding", encoding, *OPTIONS, "--no-header"]
    command = [sys.executable, "-m", "rnncli", "run", *options, "--first-row", "data"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdin
        assert process.stdout
        mark = b"" if encoding != "utf-16" else "".encode(encoding)
        process.stdin.write(mark)
        for t in range(1, 4):
            line = "1\n".encode("utf-16-le" if encoding == "utf-16" else encoding)
            process.stdin.write(line[:1])
            process.stdin.write(line[1:])
            assert process.stdout.readline().startswith(b"%d," % t)


STEP = "v\n1\n".encode("utf-16-le")
BAD = {
    "a byte that cp1252 has not": ("cp1252", b"v\n1\n2\n\x81", ":4", "the byte 0x81"),
    "a byte that begins nothing": ("shift_jis", b"v\n1\n\xff2\n", ":3", "the byte 0xff"),
    "half a pair": ("utf-16-le", STEP + b"\0\xdc\n\0", ":3", "the byte 0x00"),
    "half a character": ("utf-16-le", STEP + b"1", ":3", "a character that is cut short"),
    "not a letter": ("ascii", b"v\r\n1\r\n\xc3\xa9\r\n", ":3", "the byte 0xc3"),
    "NUL": ("utf-16-le", STEP + b"\0\0", ":3", "the byte 0x00"),
    "NUL in another": ("latin-1", b"v\n1\n\0", ":3", "binary data"),
}


@pytest.mark.parametrize(("encoding", "raw", "line", "found"), BAD.values(), ids=BAD)
def test_what_is_no_text(run_rnn: Rnn, encoding: str, raw: bytes, line: str, found: str) -> None:
    result = run_rnn("run", *OPTIONS, "--encoding", encoding, stdin=raw)
    kind = "" if found == "binary data" else f" in {encoding}"
    assert result.exit_code == 2
    assert result.stderr == f"Error: standard input{line}: expected CSV text{kind}, found {found}\n"
    assert len(result.stdout.splitlines()) == int(line[1:]) - 1


def test_the_mark_of_another_encoding(run_rnn: Rnn) -> None:
    for raw, encoding, message in (
        (
            "v\n1\n".encode("utf-16"),
            "latin-1",
            ": expected CSV text, found UTF-16 text; --encoding utf-16 reads it",
        ),
        (
            "v\n1\n".encode("utf-8-sig"),
            "cp1252",
            ": expected CSV text in cp1252, found UTF-8 text; leave --encoding out",
        ),
        (
            "v\n1\n".encode("utf-16-le"),
            "utf-16",
            ":1: expected CSV text in utf-16, found the byte 0x76; is it utf-16-le or utf-16-be?",
        ),
    ):
        result = run_rnn("run", *OPTIONS, "--encoding", encoding, stdin=raw)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == f"Error: standard input{message}\n"


def test_a_mark_is_no_part_of_the_first_name(run_rnn: Rnn) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le"):
        raw = "\ufeffv\n1\n".encode(encoding.removesuffix("-sig"))
        options = ("--columns", "v", "--encoding", encoding)
        assert run_rnn("run", *OPTIONS, *options, stdin=raw).exit_code == 0, encoding


@pytest.mark.slow
def test_every_name_is_an_encoding_of_text_or_refused() -> None:
    """Of all that Python has, those are refused that turn text into text or bytes into bytes."""
    refused = set()
    for name in {*aliases, *aliases.values()}:
        try:
            read_name(name)
        except click.BadParameter:
            refused.add(aliases.get(name, name))
        else:
            assert "a,1".encode(name).decode(name) == "a,1"
    expected = {f"{each}_codec" for each in ("base64", "bz2", "hex", "quopri", "uu", "zlib")}
    # The first is Windows' own. The second has an alias in capitals, by which Python finds none.
    assert refused - {"mbcs", "hp_roman8"} == expected | {"rot_13"}
