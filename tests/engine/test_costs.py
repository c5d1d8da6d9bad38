"""The calls and bytes that a run takes grow no faster than what it reads."""

import gzip
import sys
import tracemalloc
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from saved_stacks import invoke

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
    """Measure the most bytes that an action takes at once."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_small_file_of_a_batch_takes_few_calls(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.csv" for n in range(40)]
    for path in files:
        path.write_text("a,b\n" + "0.25,-1.5\n" * 50)
    network, calls = rnncli.seeded(2, 4), list[int]()
    for count in (1, 8, 40):  # the first loads modules
        out = tmp_path / str(count)
        calls.append(calls_in(partial(rnncli.batch, files[:count], network, out, jobs=1)))
    assert calls[2] - calls[1] < 32 * 1_750


WIDE = ",0" * 499 + "\n"
nightly = partial(pytest.param, marks=pytest.mark.nightly)


# A piece of a file, how often the shorter file has it, and options.
@pytest.mark.parametrize(
    ("piece", "count", "options"),
    [
        pytest.param("0.25" + WIDE, 4000, "--columns 1", id="wide"),
        pytest.param("0.25" + WIDE, 4000, "--columns 1 --group-by 2", id="keys"),
        nightly('"0.25"' + WIDE, 4000, "--columns 1 --passthrough", id="passthrough"),
        pytest.param(f'"{"note" * 10_000}",1\n', 200, "--columns 2", id="long cells"),
        nightly("\n" * 70_000 + "1\n", 16, "--missing hold --last", id="blank lines"),
    ],
)
def test_memory_does_not_grow_with_a_file(
    tmp_path: Path, piece: str, count: int, options: str
) -> None:
    command = ("run", tmp_path / "x.csv", *options.split(), *NETWORK, "-o", tmp_path / "o.csv")
    peaks = []
    for times in (1, 4):
        (tmp_path / "x.csv").write_text(piece * count * times)
        peaks.append(peak_of(partial(invoke, *command)))
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize(
    ("shape", "order"), [((1,), "C"), ((4, -1, 1), "C"), ((4, -1, 4), "C"), ((-1, 4), "C")]
)
def test_memory_does_not_grow_with_an_array(
    tmp_path: Path, shape: tuple[int, ...], order: Any
) -> None:
    command = ("run", tmp_path / "x.npy", *NETWORK, "--last", "-o", tmp_path / "o.csv")
    peaks = []
    for values in (1_000_000, 4_000_000):
        array = np.zeros(values, np.float32).reshape(shape if len(shape) > 1 else values)
        np.save(tmp_path / "x.npy", np.array(array, order=order))
        peaks.append(peak_of(partial(invoke, *command)))
    assert peaks[1] < peaks[0] + 4_000_000


@pytest.mark.parametrize("shape", [(3, 70_000, 2), (4_000, 30, 2), (1, 70_000, 2), (70_000, 2)])
@pytest.mark.parametrize("options", ["", "--columns 2", "--missing hold"])
def test_the_order_of_an_array_does_not_show(
    tmp_path: Path, shape: tuple[int, ...], options: str
) -> None:
    array = np.random.RandomState(0).normal(size=shape)
    if options:
        array.reshape(-1, 2)[66_000, 0] = np.nan
    command = ("run", tmp_path / "x.npy", "--hidden", "3", "--init", "torch", *options.split())
    orders: tuple[Any, ...] = ("C", "F")
    for order in orders:
        np.save(tmp_path / "x.npy", np.array(array, order=order))
        invoke(*command, "-o", tmp_path / f"{order}.npy")
    assert (tmp_path / "C.npy").read_bytes() == (tmp_path / "F.npy").read_bytes()


@pytest.mark.parametrize(("name", "end"), [("x.csv", "\r\n"), ("x.csv", "\r"), ("x.csv.gz", "\n")])
def test_a_line_that_is_too_long_is_refused(tmp_path: Path, name: str, end: str) -> None:
    start = f"v{end}1{end}" + f"2{end}" * 300_000
    content = f"{start}{'7' * ((1 << 25) + 1)}{end}3{end}".encode()
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    result = invoke("run", tmp_path / name, *NETWORK, "--last", code=2)
    assert result.stderr.count("\n") == 1
    assert f"{name}:300003: " in result.stderr
    assert "32 MiB; expected a step a line" in result.stderr
    (tmp_path / name).write_bytes(b'{"v": [1' + b", 1" * (1 << 24))
    result = invoke("run", tmp_path / name, *NETWORK, "--last", code=2)
    assert result.stderr.endswith(f"{name}:1: a line of more than 32 MiB; expected a step a line\n")


def test_memory_does_not_grow_with_the_blocks_of_a_network_that_masks_and_has_a_head() -> None:
    layers = rnncli.Masking(9, 4), rnncli.seeded(4, 8).layers[0], rnncli.Dense(np.ones((8, 3)))
    network, x = rnncli.Network(*layers), np.zeros((400, 4), "f")
    x[::3] = 9
    runs = (stream(network, [x] * blocks) for blocks in (2, 8))
    peaks = [peak_of(partial(deque, blocks, 0)) for blocks in runs]
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("new", [False, True])
def test_a_row_does_not_copy_the_states_of_other_sequences(masked: bool, new: bool) -> None:
    sequences, network = 10_000, rnncli.seeded(1, 64)
    carried = Carried(np.zeros(64, np.float32), sequences)
    x, mask = np.ones((1, 1), np.float32), np.array([masked])
    rows = (Rows(x, np.array([sequences + n if new else n]), mask) for n in range(100))
    steps = stream(network, rows, carried=carried)
    next(steps)
    assert peak_of(partial(deque, steps, maxlen=0)) < carried.state.nbytes // 10


def test_keys_of_an_earlier_run_are_not_all_written(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("k,v\n1,1\n")
    command = ("--group-by", "k", *NETWORK, "--format", "csv", "--state", tmp_path / "s")
    calls = []
    for keys in (10, 2_000):
        (tmp_path / "x.csv").write_text("k,v\n" + "".join(f"{key},1\n" for key in range(keys)))
        invoke("run", tmp_path / "x.csv", *command)
        calls.append(calls_in(partial(invoke, "run", tmp_path / "one.csv", *command)))
    assert calls[1] < calls[0] + 8 * 2_000
