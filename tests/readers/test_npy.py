"""Arrays in ``.npy`` files: any that NumPy writes are read, others are refused in one line."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import NIGHTLY, Rnn
from hypothesis import given
from hypothesis import strategies as st
from model.test_damaged_files import struck

from readers.test_csv import piped
from rnncli.engine.rows import BLOCK_STEPS
from rnncli.model.errors import InputError
from rnncli.readers import read_file
from rnncli.readers.expected import read_expected
from rnncli.readers.input import Keys, Layout

CASES = 5000 if NIGHTLY else 150
DOUBLE = np.dtype(np.float64)
TYPES = ("f2", "f4", ">f4", "f8", ">f8", "i1", "i2", ">i4", "u4", "?")


def read(path: Path, **layout: Any) -> tuple[np.ndarray, list[int], list[int]]:
    """The rows, the lengths of the blocks, and the sequence of each row from 1."""
    keys = Keys()
    blocks = list(read_file(str(path), Layout(DOUBLE, **layout), keys).blocks)
    numbers = [number for block in blocks if block.key is not None for number in block.key.tolist()]
    rows = np.concatenate([np.empty((0, blocks[0].x.shape[1])), *(block.x for block in blocks)])
    return rows, [len(block.x) for block in blocks], [int(keys.names[n][0]) for n in numbers]


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    dtype=st.sampled_from(TYPES),
    fortran=st.booleans(),
    data=st.data(),
)
def test_rows_equal_the_array(
    tmp_path_factory: pytest.TempPathFactory,
    shape: list[int],
    dtype: str,
    fortran: bool,
    data: st.DataObject,
) -> None:
    """Arrays have any type, order and name; `verify` reads them as states too."""
    values = np.random.RandomState(0).randint(0, 100, shape).astype(dtype)
    path = tmp_path_factory.getbasetemp() / data.draw(st.sampled_from(["x.npy", "x.txt"]))
    with open(path, "wb") as file:
        np.save(file, np.asfortranarray(values) if fortran else values)
    table = values.reshape(-1, 1) if len(shape) == 1 else values.reshape(-1, shape[-1])
    columns = data.draw(st.permutations(range(table.shape[1])))
    columns = columns[: data.draw(st.integers(1, len(columns)))]
    block = data.draw(st.sampled_from([1, 4, 1000]))
    rows, _, keys = read(path, columns=[str(i + 1) for i in columns], block_steps=block)
    np.testing.assert_array_equal(rows, table[:, columns].astype(float))
    several = len(shape) == 3 and shape[0] > 1
    assert keys == ([n + 1 for n in range(shape[0]) for _ in range(shape[1])] if several else [])
    if dtype != "?":
        found = read_expected(str(path), "h", print)
        np.testing.assert_array_equal(found.ravel(), values.astype(float).ravel())


@pytest.mark.parametrize(
    ("shape", "lengths", "order"),
    [
        ((3 * BLOCK_STEPS, 2), 3 * [BLOCK_STEPS], "F"),
        ((BLOCK_STEPS + 5, 2), [BLOCK_STEPS // 2 + 3, BLOCK_STEPS // 2 + 2], "C"),
        ((3, BLOCK_STEPS // 2, 1), [BLOCK_STEPS // 4 * 3, BLOCK_STEPS // 4 * 3], "F"),
    ],
)
def test_an_array_is_cut_into_equal_blocks(
    tmp_path: Path, shape: tuple[int, ...], lengths: list[int], order: Any
) -> None:
    array = np.random.RandomState(0).rand(*shape)
    np.save(tmp_path / "x.npy", np.array(array, order=order))
    rows, found, keys = read(tmp_path / "x.npy")
    assert found == lengths
    assert keys == (np.repeat([1, 2, 3], shape[1]).tolist() if len(shape) == 3 else [])
    np.testing.assert_array_equal(rows, array.reshape(-1, shape[-1]))


def saved(array: np.ndarray, **options: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


BAD = {
    "text": (b"1,2\n3,4\n", "not a whole .npy file"),
    "objects": (saved(np.array([{}, 1], object), allow_pickle=True), "array of object"),
    "complex": (saved(np.array([1j])), "array of complex128"),
    "rank 0": (saved(np.array(1.0)), "shape (T,), (T, I) or (N, T, I), got ()"),
    "no columns": (saved(np.ones((3, 0))), "got (3, 0)"),
    "nan": (saved(np.array([[1.0, 2], [3, np.nan]])), "row 2, column 2: not a finite number: nan"),
    "large": (saved(np.array([1, 1e39])), "row 2, column 1: "),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_a_bad_array_is_an_error(
    run_rnn: Rnn, tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    result = run_rnn("run", str(path), "--hidden", "2", "--last")
    (line,) = result.stderr.splitlines()
    assert (result.exit_code, line.startswith(f"Error: {path}: ")) == (2, True)
    assert message in line


def test_an_array_is_read_from_a_pipe() -> None:
    with piped(saved(np.arange(6.0).reshape(3, 2)), 9):
        rows, _, _ = read(Path("-"))
    np.testing.assert_array_equal(rows, np.arange(6.0).reshape(3, 2))


def test_a_damaged_array_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    whole = saved(np.arange(12.0).reshape(6, 2))
    messages = list[str]()
    for seed in range(CASES):
        path.write_bytes(struck(seed, whole))
        try:
            blocks = read_file(str(path), Layout(DOUBLE), Keys()).blocks
            rows = sum(len(block.x) for block in blocks)
        except InputError as error:
            messages.append(str(error))
        else:
            assert rows <= len(whole)
    assert messages
    assert all(message.startswith(f"{path}: ") and "\n" not in message for message in messages)


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((600_000, 1), np.float32))
    # Without a buffer, in which rows behind the header would be lost.
    with subprocess.Popen(
        [sys.executable, "-m", "rnncli", "run", str(path), "--hidden", "2", "--format", "csv"],
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
