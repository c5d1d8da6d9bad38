"""Text that is not UTF-8: read by the encoding that is named, and refused in one line."""

import gzip
from pathlib import Path

import pytest
from conftest import Rnn

NETWORK = ("--hidden", "2", "--format", "csv")
STEPS = "t,h_0,h_1\n1,-0.80093694,0.91308177\n2,-0.9886478,0.9999371\n"
WINDOWS = "ort,wert\n“Köln”,1\nBonn,2\n"
BIG = "\ufeff".encode("utf-16-be") + WINDOWS.encode("utf-16-be")
ENCODINGS = {"cp1252": WINDOWS.encode("cp1252"), "utf-16": BIG}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_encoding_that_is_named_reads_the_file(
    run_rnn: Rnn, tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(ENCODINGS[encoding]))
    command = ("run", str(path), *NETWORK, "--columns", "wert")
    refused = run_rnn(*command)
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert f"; --encoding {encoding} " in refused.stderr
    assert run_rnn(*command, "--encoding", encoding).stdout == STEPS


BAD = [
    (b"\xf6", "0xf6"),
    (b"\xe2\x82", "0xe2"),
    (b"\0", "binary"),
    (b"\xf6\0", "binary"),
    (b"\0\n\xf6", "binary"),
]


@pytest.mark.parametrize("row", [1, 2, 70_000])
@pytest.mark.parametrize("place", ["a", '"a\nb"'])
def test_bad_bytes_anywhere(run_rnn: Rnn, row: int, place: str) -> None:
    """Also beyond the first block; the rows before are written, and the line is right."""
    rows = [f"{place},{n}".encode() for n in range(row)]
    line = 1 + row * (1 + place.count("\n"))
    for bad, found in BAD if row < 70_000 else BAD[1:2]:
        text = b"\n".join([*rows[:-1], rows[-1].replace(b",", bad + b",")])
        result = run_rnn("run", "--columns", "v", *NETWORK, stdin=b"k,v\n" + text + b"\n")
        assert result.exit_code == 2
        assert result.stderr.startswith(
            f"Error: standard input:{line}: expected CSV or JSON lines, found "
        )
        assert found in result.stderr
        assert len(result.stdout.splitlines()) == (row if row > 1 else 0)


def test_options_are_utf_8_in_any_locale(run_rnn: Rnn) -> None:
    """In a locale of ASCII alone, Python reads the bytes of other letters as surrogates."""
    bytes_of_name = "\u00e9".encode().decode("ascii", "surrogateescape")
    rows = "\u00e9,k\n1,\u00e9\n2,\u00e9\n"
    for options in (("-c", bytes_of_name), ("-g", bytes_of_name, "-c", bytes_of_name)):
        named = [option.replace(bytes_of_name, "\u00e9") for option in options]
        command = ("run", "--hidden", "1", "--format", "csv")
        result = run_rnn(*command, *options, stdin=rows)
        assert (result.exit_code, result.stdout) == (
            0,
            run_rnn(*command, *named, stdin=rows).stdout,
        )
