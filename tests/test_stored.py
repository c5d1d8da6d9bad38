"""Arrays in ``.npy`` files: odd headers, both orders, and a file that is cut while it is read."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn

RNN = (sys.executable, "-m", "rnncli")
CSV = ("--hidden", "2", "--format", "csv")


def rnn(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RNN, *arguments], capture_output=True, text=True, check=False)


def stored(path: Path, header: str, values: bytes = bytes(32)) -> str:
    text = header.encode("latin-1").ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + values)
    return str(path)


def shaped(shape: str, kind: str = "<f4") -> str:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"


ODD_HEADERS = {
    "a number that runs into a word": (shaped("(0x4or 8,)"), "its header is damaged"),
    "more values than a number counts": (
        shaped("(99999999999999, 9999999999999)"),
        "expected 3,999,999,999,999,560,000,000,000,004 bytes",
    ),
    "a negative shape": (shaped("(-8,)"), "shape (-8,)"),
    "more features than memory holds": (shaped("(0, 10000000000)"), "shape (0, 10000000000)"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("header", "what"), ODD_HEADERS.values(), ids=ODD_HEADERS)
@pytest.mark.parametrize("command", [("run",), ("verify", "--seq", "1", "--expected")])
def test_an_odd_header_is_one_line(
    tmp_path: Path, command: tuple[str, ...], header: str, what: str
) -> None:
    path = stored(tmp_path / "x.npy", header)
    done = rnn(*command, path, "--hidden", "1")
    message = f"Error: {path}: not a whole .npy file of numbers: {what}"
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(message)


@pytest.mark.slow
def test_a_header_of_python_2_is_read_without_a_word(tmp_path: Path) -> None:
    values = np.arange(8, dtype="<f4")
    np.save(tmp_path / "new.npy", values)
    old = rnn("run", stored(tmp_path / "old.npy", shaped("(8L,)"), values.tobytes()), *CSV)
    assert (old.returncode, old.stderr) == (0, "")
    assert old.stdout == rnn("run", str(tmp_path / "new.npy"), *CSV).stdout


@pytest.mark.slow
def test_a_file_that_is_cut_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((600_000, 1), np.float32))
    command = [*RNN, "run", str(path), *CSV]
    # Without a buffer, in which rows behind the header would be lost.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the pipe takes no more than part of the first block
        os.truncate(path, 1_000)
        out, message = process.communicate()
    assert (process.returncode, message.decode()) == (
        2,
        f"Error: {path}: was cut while it was read\n",
    )
    assert out.count(b"\n") % 60_000 == 0  # ten blocks of as many rows


@pytest.mark.parametrize("shape", [(7,), (70_000, 3), (5, 7, 3)])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "<i2", "<f2", "?"])
def test_both_orders_give_the_same(
    run_rnn: Rnn, tmp_path: Path, shape: tuple[int, ...], kind: str
) -> None:
    values = (np.random.RandomState(0).normal(size=shape) * 3).astype(kind)
    outs = []
    for order in ("C", "F"):
        np.save(tmp_path / "x.npy", np.array(values, order=order))
        columns = ("--columns", "3,1") if len(shape) > 1 else ()
        result = run_rnn("run", str(tmp_path / "x.npy"), *columns, "--last", *CSV)
        assert result.exit_code == 0
        outs.append(result.stdout)
    assert outs[0] == outs[1]


def test_values_that_no_float64_holds_are_an_error(run_rnn: Rnn, tmp_path: Path) -> None:
    largest = np.finfo(np.longdouble).max
    if np.finfo(np.float64).max == largest:
        pytest.skip("a long double is a double on this machine")
    path = str(tmp_path / "x.npy")
    np.save(path, np.array([1, largest]))
    result = run_rnn("run", path, "--precision", "float64", *CSV)
    assert result.stderr == f"Error: {path}: row 2, column 1: not a finite number: inf\n"
    result = run_rnn("verify", "--seq", "1,2", "--hidden", "1", "--expected", path)
    assert result.exit_code == 1
    assert "in 2 of 2 values (100%), at every step." in result.stdout
