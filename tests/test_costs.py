"""What a run costs, in calls and in bytes held at once, grows no faster than what it reads."""

import gzip
import sys
import tracemalloc
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn

import rnncli
from rnncli.engine.rows import Rows
from rnncli.engine.stream import Carried, stream

NETWORK = ("--hidden", "2", "--seed", "4")


def calls_in(action: Callable[[], object]) -> int:
    """Count the calls of functions that an action makes in this thread."""
    count = 0

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        action()
    finally:
        sys.setprofile(before)
    return count


def peak_of(action: Callable[[], object]) -> int:
    """Give the most bytes that an action holds at once."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("first", ["0.25", '"0.25"'])
def test_a_wide_file_takes_no_more_calls_than_a_narrow_one(
    run_rnn: Rnn, tmp_path: Path, first: str
) -> None:
    for columns in (10, 1_000, 50_000):
        row = first + ",0.25" * (columns - 1) + "\n"
        (tmp_path / "x.csv").write_text(row * (100_000 // columns))
        command = ("run", str(tmp_path / "x.csv"), *NETWORK, "--last", "--format", "csv")
        assert calls_in(partial(run_rnn, *command)) < 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [(), ("--group-by", "2"), ("--delimiter", "space"), ("--passthrough",)]
)
@pytest.mark.parametrize("first", ["0.25", '"0.25"'])
def test_memory_does_not_grow_with_the_rows_of_a_wide_file(
    run_rnn: Rnn, tmp_path: Path, options: tuple[str, ...], first: str
) -> None:
    mark = " " if "space" in options else ","
    peaks = []
    for rows in (4_000, 16_000):
        (tmp_path / "x.csv").write_text((first + f"{mark}0" * 499 + "\n") * rows)
        command = ("run", str(tmp_path / "x.csv"), "--columns", "1", *options, *NETWORK)
        peaks.append(peak_of(partial(run_rnn, *command, "-o", tmp_path / "o.csv")))
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows_of_long_cells(run_rnn: Rnn, tmp_path: Path) -> None:
    peaks = []
    for rows in (200, 800):
        (tmp_path / "x.csv").write_text(f'"{"note" * 10_000}",1\n' * rows)
        command = ("run", str(tmp_path / "x.csv"), "--columns", "2", *NETWORK)
        peaks.append(peak_of(partial(run_rnn, *command, "-o", tmp_path / "o.csv")))
    assert peaks[1] < 1.5 * peaks[0]


def test_memory_does_not_grow_with_the_blocks_of_a_network_that_masks_and_has_a_head() -> None:
    layers = rnncli.Masking(9, 4), rnncli.seeded(4, 8).layers[0], rnncli.Dense(np.ones((8, 3)))
    network, x = rnncli.Network(*layers), np.zeros((400, 4), "f")
    x[::3] = 9
    runs = (stream(network, [x] * blocks) for blocks in (2, 8))
    peaks = [peak_of(partial(deque, blocks, 0)) for blocks in runs]
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.slow
def test_cells_that_are_not_read_do_not_show(run_rnn: Rnn) -> None:
    """Neither do those of a text that is read in other pieces for their sake."""
    x = np.random.RandomState(0).normal(size=70_000).tolist()
    command = ("run", "--init", "torch", "--hidden", "4", "--format", "csv")
    alone = run_rnn(*command, stdin="".join(f"{value}\n" for value in x)).stdout
    notes = "".join(f"{value},{'note' * (i % 30)}\n" for i, value in enumerate(x))
    assert run_rnn(*command, "--columns", "1", stdin=notes).stdout == alone


@pytest.mark.slow
def test_memory_does_not_grow_with_blank_lines(run_rnn: Rnn, tmp_path: Path) -> None:
    peaks = []
    for lines in (70_000, 210_000):
        blank = "\n" * lines
        (tmp_path / "x.csv").write_text(f"{blank}1\n{blank}2\n")
        command = ("run", str(tmp_path / "x.csv"), "--missing", "hold", *NETWORK, "--last")
        peaks.append(peak_of(partial(run_rnn, *command, "-o", tmp_path / "o.csv")))
        assert (tmp_path / "o.csv").read_text().splitlines()[1].startswith("2,")
    assert peaks[1] < 2 * peaks[0]


@pytest.mark.slow
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_a_line_that_is_too_long_is_refused(
    run_rnn: Rnn, tmp_path: Path, name: str, end: str
) -> None:
    start = f"v{end}1{end}" + f"2{end}" * 300_000
    for length, fault in ((1 << 25, "field larger than field limit"), ((1 << 25) + 1, "32 MiB")):
        content = f"{start}{'7' * length}{end}3{end}".encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
        result = run_rnn("run", str(path), *NETWORK, "--last")
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
        assert f"{path}:300003: " in result.stderr
        assert fault in result.stderr


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("new", [False, True])
def test_a_row_does_not_copy_the_states_of_other_sequences(held: bool, new: bool) -> None:
    sequences, network = 10_000, rnncli.seeded(1, 64)
    carried = Carried(np.zeros(64, np.float32), sequences)
    rows = (
        Rows(np.ones((1, 1), np.float32), np.array([sequences + n if new else n]), np.array([held]))
        for n in range(100)
    )
    steps = stream(network, rows, carried=carried)
    next(steps)
    assert peak_of(partial(deque, steps, maxlen=0)) < carried.state.nbytes // 10
    assert len(carried.t) == (sequences + 100 if new else sequences)


def test_keys_of_an_earlier_run_are_not_all_written(run_rnn: Rnn, tmp_path: Path) -> None:
    command = ("run", "--group-by", "k", *NETWORK, "--format", "csv", "--state", tmp_path / "s")
    calls = []
    for keys in (10, 2_000):
        run_rnn(*command, stdin="k,v\n" + "".join(f"{key},1\n" for key in range(keys)))
        calls.append(calls_in(partial(run_rnn, *command, stdin="k,v\n1,1\n")))
    assert calls[1] < calls[0] + 8 * 2_000


def order_of(array: np.ndarray, order: str) -> np.ndarray:
    return np.asfortranarray(array) if order == "F" else np.ascontiguousarray(array)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(1,), (4, -1, 1), (4, -1, 4), (-1, 4)])
def test_memory_does_not_grow_with_an_array(
    run_rnn: Rnn, tmp_path: Path, shape: tuple[int, ...], order: str
) -> None:
    peaks = []
    for values in (1_000_000, 4_000_000):
        array = np.zeros(values, np.float32).reshape(shape if len(shape) > 1 else values)
        np.save(tmp_path / "x.npy", order_of(array, order))
        command = ("run", str(tmp_path / "x.npy"), *NETWORK, "--last")
        peaks.append(peak_of(partial(run_rnn, *command, "-o", tmp_path / "o.csv")))
    assert peaks[1] < peaks[0] + 4_000_000


@pytest.mark.parametrize("shape", [(3, 70_000, 2), (4_000, 30, 2), (1, 70_000, 2), (70_000, 2)])
@pytest.mark.parametrize("options", [(), ("--columns", "2"), ("--missing", "hold")])
def test_the_order_of_an_array_does_not_show(
    run_rnn: Rnn, tmp_path: Path, shape: tuple[int, ...], options: tuple[str, ...]
) -> None:
    array = np.random.RandomState(0).normal(size=shape)
    if options:
        array.reshape(-1, 2)[66_000, 0] = np.nan
    path, out = tmp_path / "x.npy", {}
    for order in ("C", "F"):
        np.save(path, order_of(array, order))
        command = ("run", str(path), "--hidden", "3", "--init", "torch", "--format", "npy")
        result = run_rnn(*command, *options)
        assert result.exit_code == 0
        out[order] = result.stdout_bytes
    assert out["F"] == out["C"]


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_row_of_a_fault_is_right_in_either_order(
    run_rnn: Rnn, tmp_path: Path, order: str
) -> None:
    for shape, row in (((3, 70_000, 2), 140_001), ((4_000, 30, 2), 66_000)):
        array = np.zeros(shape)
        array.reshape(-1, 2)[row, 1] = np.inf
        np.save(tmp_path / "x.npy", order_of(array, order))
        result = run_rnn("run", str(tmp_path / "x.npy"), *NETWORK, "--format", "csv")
        assert result.exit_code == 2
        assert f"x.npy: row {row + 1}, column 2: not a finite number" in result.stderr
        assert len(result.stdout.splitlines()) == row + 1
