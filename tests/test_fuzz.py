"""Damaged input ends well: done or refused, never a traceback or a wrong number of rows."""

import csv
import io
import os

import numpy as np
import pytest
from conftest import SAMPLES, Rnn

# .ci/run asks for more.
CASES = int(os.environ.get("RNN_FUZZ_CASES", "300"))
WHOLE = b"".join((SAMPLES / "sensors.csv").read_bytes().splitlines(keepends=True)[:60])
OPTIONS = ("--columns", "3,4", "--first-row", "header", "--hidden", "2", "--format", "csv")


def damaged(seed: int, whole: bytes) -> bytes:
    """Flip, cut or double a piece, once or a few times."""
    random = np.random.RandomState(seed)
    content = bytearray(whole)
    for _ in range(random.randint(1, 4)):
        start, stop = sorted(random.randint(0, len(content) + 1, 2))
        way = random.randint(4)
        if way == 0 and len(content):
            content[random.randint(len(content))] ^= 1 << random.randint(8)
        elif way == 1:
            content = content[:stop]
        elif way == 2:
            content[stop:stop] = content[start : min(stop, start + 50)]
        else:
            content[start : min(stop, start + 20)] = b""
    return bytes(content)


def rows_of(content: bytes) -> int:
    """Rows that are not blank, by Python's own reader."""
    text = content.decode("utf-8-sig", "surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=",", skipinitialspace=True)
    return sum(len(row) > 1 or bool("".join(row).strip()) for row in reader)


@pytest.mark.parametrize("seed", range(CASES))
def test_damaged_csv(run_rnn: Rnn, seed: int) -> None:
    content = damaged(seed, WHOLE)
    options = (*OPTIONS, "--delimiter", ",", "--missing", ("error", "hold", "zero")[seed % 3])
    result = run_rnn("run", *options, stdin=content)
    assert result.exit_code in (0, 2), result.exception
    assert len(result.stderr.splitlines()) == (result.exit_code == 2)
    if result.exit_code == 0:
        assert len(result.stdout.splitlines()) == rows_of(content)


@pytest.mark.parametrize("seed", range(CASES // 3))
def test_damaged_npy(run_rnn: Rnn, tmp_path: object, seed: int) -> None:
    whole = io.BytesIO()
    np.save(whole, np.arange(12.0).reshape(6, 2))
    path = f"{tmp_path}/x.npy"
    with open(path, "wb") as file:
        file.write(damaged(seed, whole.getvalue()))
    result = run_rnn("run", path, "--hidden", "2", "--format", "csv")
    assert result.exit_code in (0, 2), result.exception
    assert len(result.stderr.splitlines()) == (result.exit_code == 2)
