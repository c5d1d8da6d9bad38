"""Inputs that are no CSV text in UTF-8, whose messages name a way out."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn

NETWORK = ("--hidden", "2", "--format", "csv")
RNN = (sys.executable, "-m", "rnncli")
STEPS = "t,h_0,h_1\n1,-0.80093694,0.91308177\n2,-0.9886478,0.9999371\n"


def refusal(run_rnn: Rnn, path: Path, *options: str) -> str:
    """Return the one line about a file of which nothing is read, behind its name."""
    result = run_rnn("run", str(path), *NETWORK, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    return result.stderr.removeprefix(f"Error: {path}").rstrip()


WINDOWS = "ort,wert\n“Köln”,1\nBonn,2\n"
BIG = "\ufeff".encode("utf-16-be") + WINDOWS.encode("utf-16-be")
ENCODINGS = {"cp1252": WINDOWS.encode("cp1252"), "utf-16": BIG}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_encoding_that_is_named_reads_the_file(
    run_rnn: Rnn, tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(ENCODINGS[encoding]))
    assert f"; --encoding {encoding} " in refusal(run_rnn, path, "--columns", "wert")
    options = ("--columns", "wert", "--encoding", encoding)
    assert run_rnn("run", str(path), *NETWORK, *options).stdout == STEPS


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


# Arrays in .npy files.


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((600_000, 1), np.float32))
    # Without a buffer, in which rows behind the header would be lost.
    with subprocess.Popen(
        [*RNN, "run", str(path), *NETWORK],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the pipe takes no more than part of the first block
        os.truncate(path, 1_000)
        out, message = process.communicate()
    assert process.returncode == 2
    assert message.decode() == f"Error: {path}: was cut while it was read\n"
    assert out.count(b"\n") % 60_000 == 0  # ten blocks of as many rows
