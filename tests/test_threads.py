"""Parts of a work in two threads: all are done, in order, and a failure is told."""

import os
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rnncli.engine.unroll.blocks import blocks
from rnncli.engine.unroll.parts import VALUES, parts_for, rows_for_threads

import rnncli
from rnncli.engine.threads import THREADS, in_threads, shares
from rnncli.model.arrays import Floats
from rnncli.verify.runs import difference


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_part_is_done_in_order(count: int) -> None:
    assert in_threads(lambda part: part * part, range(count)) == [n * n for n in range(count)]


def test_a_failure_in_a_thread_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda part: 1 // part, [2, 1, 0])


def test_threads_warn_of_no_overflow() -> None:
    large = np.full(3, 3e38, np.float32)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        found = in_threads(lambda part: large * part, [np.float32(2), np.float32(3)])
    assert np.isinf(found).all()


COMMAND = """
import os, sys
from rnncli.__main__ import main
sys.argv[1:] = ["run", "--seq", "1,2", "--hidden", "2"]
try:
    main()
finally:
    from rnncli.engine.threads import _blas
    print(os.environ["OPENBLAS_NUM_THREADS"], _blas.alone)
"""


@pytest.mark.parametrize(("set_to", "found"), [("", "1 True"), ("1", "1 True"), ("3", "3 False")])
def test_the_command_has_one_blas_thread_unless_told_otherwise(set_to: str, found: str) -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": set_to}
    if not set_to:
        del environment["OPENBLAS_NUM_THREADS"]
    command = [sys.executable, "-c", COMMAND]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == found


def test_threads_in_a_thread_are_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.engine.threads.THREADS", 2)

    def inner(_: int) -> int:
        return threading.get_ident()

    found = in_threads(lambda _: (threading.get_ident(), in_threads(inner, range(3))), range(4))
    assert all(set(inside) == {outside} for outside, inside in found)
    assert threading.get_ident() not in {outside for outside, _ in found}


def test_ctrl_c_is_raised_at_once_and_lanes_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.engine.threads.THREADS", 2)
    main, before, done = threading.main_thread().ident, threading.active_count(), []
    assert main

    def long_work(part: int) -> None:
        if part == 0:
            signal.pthread_kill(main, signal.SIGINT)
        done.append(sum(1 for _ in blocks(20_000_000, 1)))

    with pytest.raises(KeyboardInterrupt):
        in_threads(long_work, range(2))
    assert done == []
    assert threading.active_count() == before


def test_one_lane_is_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.engine.threads.THREADS", 1)
    found = in_threads(lambda _: threading.get_ident(), range(3))
    assert found == [threading.get_ident()] * 3


def cell_of(H: int) -> rnncli.RNN:
    return rnncli.RNN(rnncli.Weights(np.ones((1, H)), np.ones((H, H)), np.ones(H)))


def test_a_matrix_that_takes_all_threads_leaves_no_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.engine.unroll.products.ALONE", False)
    assert parts_for(10**6, [cell_of(90), cell_of(91)]) == 1
    monkeypatch.setattr("rnncli.engine.unroll.products.ALONE", True)
    assert parts_for(10**6, [cell_of(90), cell_of(91)]) > 1


@given(N=st.integers(1, 10**6), H=st.integers(1, 90))
def test_parts_are_no_larger_than_a_lane_takes(N: int, H: int) -> None:
    parts = parts_for(N, [cell_of(1), cell_of(H)])
    if rows_for_threads(H) > N:
        assert parts == 1
    else:
        assert parts % THREADS == 0
        assert parts * VALUES >= N * H


@given(count=st.integers(0, 50), parts=st.integers(1, 9))
def test_shares_are_all_and_nearly_equal(count: int, parts: int) -> None:
    found = [list(range(count))[share] for share in shares(count, parts)]
    assert [each for share in found for each in share] == list(range(count))
    assert len(found) == min(count, parts)
    assert {len(share) for share in found} <= {count // parts, -(-count // parts)}


@pytest.fixture(scope="module")
def batch() -> Floats:
    return np.random.RandomState(0).normal(size=(6_000, 7, 2)).astype(np.float32)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("ragged", [False, True])
def test_a_batch_of_several_parts_is_its_sequences(
    batch: Floats, direction: str, ragged: bool
) -> None:
    network = rnncli.seeded(2, 16, 1, "torch", direction=direction)
    N, T, _ = batch.shape
    assert parts_for(N, network.cells) > 1
    lengths = np.random.RandomState(1).randint(0, T + 1, N) if ragged else np.full(N, T)
    states = rnncli.run(network, batch, lengths=lengths)
    for few in np.array_split(np.arange(N), 100)[::9]:
        alone = rnncli.run(
            network, batch[few], lengths=lengths[few], precision="float64", unroll="stepwise"
        )
        # Seven steps of float32 beside float64.
        assert difference(states.h[few], alone.h) < 1e-6
        assert difference(states.h_n[few], alone.h_n) < 1e-6
