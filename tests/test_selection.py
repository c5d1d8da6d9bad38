"""Which rows are shown: the first and the last steps of each sequence."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from conftest import SAMPLES, Rnn
from hypothesis import given
from hypothesis import strategies as st

from rnncli.engine.stream import Block
from rnncli.writers.selection import Selection
from rnncli.writers.trajectory import SequenceStates, Trajectory

SENSORS = ("run", str(SAMPLES / "sensors.csv"), "--columns", "temperature", "--hidden", "2")
GROUPED = (*SENSORS, "--group-by", "sensor")
LIMITS = [
    ("--head", "3"),
    ("--tail", "4"),
    ("--head", "2", "--tail", "3"),
    ("--head", "400", "--tail", f"{10**30}"),
]


def chosen(t: list[int], limits: tuple[str, ...]) -> list[int]:
    """Choose among the steps of a sequence, written out."""
    n = {name: int(value) for name, value in zip(limits[::2], limits[1::2], strict=True)}
    if not n:
        return t
    first = t[: n.get("--head", 0)]
    rest = t[len(first) :]
    return first + rest[len(rest) - min(len(rest), n.get("--tail", 0)) :]


def trajectory(blocks: list[Block], **more: Any) -> Trajectory:
    none = SequenceStates(np.empty(0, int), [])
    return Trajectory({}, [], [], blocks, lambda: none, lambda: none, **more)


limit = st.none() | st.integers(1, 5)


@pytest.mark.slow
@given(
    keys=st.lists(st.integers(0, 3), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    resumed=st.lists(st.integers(0, 6), max_size=4),
    limits=st.tuples(limit, limit),
    page=st.integers(1, 20),
)
def test_the_rows_are_those_of_the_whole(
    keys: list[int],
    cuts: list[int],
    resumed: list[int],
    limits: tuple[int | None, ...],
    page: int,
) -> None:
    start = np.r_[resumed, np.zeros(4 - len(resumed), int)].astype(int)
    key = np.array(keys, int)
    t = np.array([start[k] + keys[: i + 1].count(k) for i, k in enumerate(keys)], int)
    whole = Block(t, t[:, None] * 0.5, t[:, None] + 0.25, key, [[str(i)] for i in range(len(t))])
    edges = [0, *sorted(min(cut, len(t)) for cut in cuts), len(t)]
    blocks = [whole.cut(a, b) for a, b in pairwise(edges)]
    selection = Selection(*limits)
    with patch("rnncli.writers.selection.BLOCK_STEPS", page):
        some = selection.of(trajectory(blocks), np.array(resumed, int))
        shown = list(some.blocks)
    names = ("--head", "--tail")
    given = [(name, str(n)) for name, n in zip(names, limits, strict=True) if n]
    options = tuple(part for pair in given for part in pair)
    rows = [cell for block in shown for (cell,) in block.cells or ()]
    assert len(set(rows)) == len(rows)
    for k in range(4):
        expected = chosen(t[key == k].tolist(), options)
        mine = [(block, i) for block in shown for i in np.flatnonzero(block.key == k)]
        assert [int(block.t[i]) for block, i in mine] == expected
    for block in shown:
        assert block.cells is not None
        for i, (cell,) in enumerate(block.cells):
            assert (block.t[i], block.key[i]) == (t[int(cell)], key[int(cell)])  # type: ignore[index]
            assert (block.x[i, 0], block.h[i, 0]) == (t[int(cell)] * 0.5, t[int(cell)] + 0.25)


@pytest.mark.parametrize("limits", LIMITS, ids=" ".join)
@pytest.mark.parametrize("source", [SENSORS, GROUPED], ids=["one", "grouped"])
def test_csv_lines_are_those_of_the_whole(
    run_rnn: Rnn, source: tuple[str, ...], limits: tuple[str, ...]
) -> None:
    header, *whole = run_rnn(*source, "--format", "csv").stdout.splitlines()
    by_key: dict[str, list[str]] = {}
    for line in whole:
        by_key.setdefault(line.split(",")[0] if source is GROUPED else "", []).append(line)
    expected = {
        line
        for lines in by_key.values()
        for t in chosen(list(range(1, len(lines) + 1)), limits)
        for line in [lines[t - 1]]
    }
    shown = run_rnn(*source, "--format", "csv", *limits)
    assert shown.stderr == ""
    first, *lines = shown.stdout.splitlines()
    assert first == header
    assert sorted(lines) == sorted(expected)
    if "--tail" not in limits:
        assert lines == [line for line in whole if line in expected]


@pytest.mark.parametrize("limits", LIMITS, ids=" ".join)
def test_every_format_shows_the_same(run_rnn: Rnn, tmp_path: Path, limits: tuple[str, ...]) -> None:
    options = ("--hidden", "2", *limits)
    sunspots = ("run", SAMPLES / "sunspots.csv", "--columns", "2")
    lines = run_rnn(*sunspots, *options, "--format", "csv").stdout.splitlines()[1:]
    csv = np.reshape([line.split(",") for line in lines], (-1, 3)).astype(np.float32)
    document = json.loads(run_rnn(*sunspots, *options, "--json").stdout)
    whole = json.loads(run_rnn(*sunspots, "--hidden", "2", "--json").stdout)
    assert {**document, "steps": 0} == {**whole, "steps": 0}
    steps = [
        json.loads(line)
        for line in run_rnn(*sunspots, *options, "--format", "jsonl").stdout.splitlines()
    ]
    assert steps == document["steps"]
    np.testing.assert_array_equal(
        np.reshape([[s["t"], *s["h"]] for s in steps], (-1, 3)).astype(np.float32), csv
    )
    # The length of an array in a file is known beforehand, and written before the values.
    np.save(tmp_path / "x.npy", np.array([s["x"] for s in whole["steps"]]))
    for source in (sunspots, ("run", tmp_path / "x.npy")):
        assert run_rnn(*source, *options, "-o", tmp_path / "h.npy").exit_code == 0
        np.testing.assert_array_equal(np.load(tmp_path / "h.npy"), csv[:, 1:])


@pytest.mark.parametrize("limits", LIMITS[:3], ids=" ".join)
def test_an_array_of_several_sequences(
    run_rnn: Rnn, tmp_path: Path, limits: tuple[str, ...]
) -> None:
    x = np.random.RandomState(1).normal(size=(3, 20, 1))
    np.save(tmp_path / "x.npy", x)
    for name, options in {"all": (), "some": limits}.items():
        command = ("run", tmp_path / "x.npy", "--hidden", "2", *options)
        assert run_rnn(*command, "-o", tmp_path / f"{name}.npy").exit_code == 0
    rows = [t - 1 for t in chosen(list(range(1, 21)), limits)]
    whole, some = (np.load(tmp_path / f"{name}.npy") for name in ("all", "some"))
    np.testing.assert_array_equal(some, whole[:, rows])


def test_they_count_from_where_a_run_goes_on(run_rnn: Rnn, tmp_path: Path) -> None:
    command = ("run", "--hidden", "2", "--state", tmp_path / "s.npz", "--format", "csv")
    run_rnn(*command, "--seq", "1,2,3,4,5")
    for limits, expected in {
        ("--head", "2"): ["6", "7"],
        ("--head", "1", "--tail", "1"): ["11", "15"],
    }.items():
        shown = run_rnn(*command, *limits, "--seq", "1,2,3,4,5").stdout
        assert [line.split(",")[0] for line in shown.splitlines()[1:]] == expected


def test_a_table_has_its_initial_state_only_before_the_first_step(run_rnn: Rnn) -> None:
    def column(*limits: str) -> list[str]:
        shown = run_rnn("run", "--seq", "1,2,3,4,5,6", "--hidden", "1", *limits).stdout
        return [line.split()[0] for line in shown.splitlines()[4:]]

    assert column("--head", "2") == ["0", "1", "2"]
    assert column("--tail", "2") == ["5", "6"]
    assert column("--head", "1", "--tail", "1") == ["0", "1", "6"]


@pytest.mark.parametrize("limits", [("--head", "1"), ("--tail", "1")])
def test_a_run_that_fails_further_down_fails(run_rnn: Rnn, limits: tuple[str, ...]) -> None:
    command = ("run", "--hidden", "2", "--format", "csv", *limits)
    result = run_rnn(*command, stdin="x\n1\n2\nthree\n")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: standard input:4: column 'x'")
    t = "1" if limits[0] == "--head" else "2"
    assert [line.split(",")[0] for line in result.stdout.splitlines()] == ["t", t]
