"""Parts of a work in two threads: all are done, in order, and a failure is told."""

import os
import signal
import subprocess
import sys
import threading
import warnings
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from conftest import RUNNABLE
from hypothesis import given
from hypothesis import strategies as st
from whole_runs import difference

import rnncli
from rnncli.__main__ import BLAS_THREADS
from rnncli.engine import threads
from rnncli.engine.threads import (
    THREADS,
    VALUES,
    ahead,
    blas_on_one_thread,
    in_threads,
    leaves_processors,
    parts_for,
    rows_for_threads,
    shares,
)
from rnncli.model.arrays import Floats


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
from rnncli.__main__ import BLAS_THREADS, main
sys.argv[1:] = ["run", "--seq", "1,2", "--hidden", "2"]
try:
    main()
finally:
    from rnncli.engine.threads import _blas
    print(*(os.environ[name] for name in BLAS_THREADS), _blas.alone)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, "1 1 1 True"),
        ({"OPENBLAS_NUM_THREADS": "1"}, "1 1 1 True"),
        ({"OPENBLAS_NUM_THREADS": "3"}, "3 1 1 False"),
        ({"MKL_NUM_THREADS": "3"}, "1 3 1 True"),
    ],
)
def test_the_command_has_one_blas_thread_unless_told_otherwise(
    settings: dict[str, str], found: str
) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in BLAS_THREADS}
    command = [sys.executable, "-c", COMMAND]
    done = subprocess.run(
        command, env=inherited | settings, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == found


def test_threads_in_a_thread_are_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.engine.threads.THREADS", 2)

    def inner(_: int) -> int:
        return threading.get_ident()

    found = in_threads(lambda _: (threading.get_ident(), in_threads(inner, range(3))), range(4))
    assert all(set(inside) == {outside} for outside, inside in found)
    assert threading.get_ident() not in {outside for outside, _ in found}


def test_ctrl_c_is_raised_and_no_other_part_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.engine.threads.THREADS", 2)
    main, before, done = threading.main_thread().ident, threading.active_count(), list[int]()
    assert main
    ended = threading.Event()

    def work(part: int) -> None:
        if part == 0:
            signal.pthread_kill(main, signal.SIGINT)
        ended.wait(0.5)
        done.append(part)

    with pytest.raises(KeyboardInterrupt):
        in_threads(work, range(100))
    assert len(done) <= 2
    assert threading.active_count() == before


def test_one_thread_is_none_beside_the_main_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.engine.threads.THREADS", 1)
    found = in_threads(lambda _: threading.get_ident(), range(3))
    assert found == [threading.get_ident()] * 3


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.engine.threads.THREADS", 2)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("threads", [1, 2])
def test_items_come_in_their_order(
    monkeypatch: pytest.MonkeyPatch, count: int, threads: int
) -> None:
    monkeypatch.setattr("rnncli.engine.threads.THREADS", threads)
    assert list(ahead(iter(range(count)))) == list(range(count))


@pytest.mark.usefixtures("two_threads")
def test_one_item_is_made_while_the_last_is_made_use_of() -> None:
    begun = [threading.Event() for _ in range(4)]
    items = ahead(map(threading.Event.set, begun))
    next(items)
    assert begun[1].wait(60)  # as long as nobody asks for it
    assert not begun[2].is_set()  # it may lie where the last one does
    assert len(list(items)) == 3


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("place", [0, 1, 4])
def test_a_failure_is_raised_where_its_item_is_awaited(place: int) -> None:
    divisors = [1] * place + [0, 5]
    before, items = threading.active_count(), ahead(1 // divisor for divisor in divisors)
    assert [next(items) for _ in range(place)] == [1] * place
    with pytest.raises(ZeroDivisionError):
        next(items)
    assert threading.active_count() == before


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("taken", [1, 4])
def test_nothing_is_made_for_who_has_left(taken: int) -> None:
    before, items = threading.active_count(), ahead(iter(range(9)))
    for _ in range(taken):
        next(items)
    assert threading.active_count() == before + 1
    items.close()
    assert threading.active_count() == before


@pytest.mark.usefixtures("two_threads")
def test_no_thread_is_left_if_ctrl_c_comes_as_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def interrupted(thread: threading.Thread) -> bool:
        thread.start()
        begun.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threads, "_started", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(ahead(iter(range(3))))
    assert len(begun) == 1
    assert not begun[0].is_alive()


@pytest.mark.usefixtures("two_threads")
def test_the_end_of_python_waits_for_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    items = ahead(n for n in range(3) if n < 2 or held.wait(60))
    assert [next(items), next(items)] == [0, 1]
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    monkeypatch.setattr(threads, "SECONDS_TO_LEAVE", "asked for")
    items.close()
    held.set()


def who_makes(count: int) -> set[int]:
    return set(ahead(threading.get_ident() for _ in range(count)))


@pytest.mark.usefixtures("two_threads")
def test_items_are_made_when_asked_for_where_no_thread_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len(who_makes(3)) == 2
    monkeypatch.setattr(threads, "_started", lambda _: False)
    assert who_makes(3) == {threading.get_ident()}


@pytest.mark.usefixtures("two_threads")
def test_nothing_is_made_ahead_within_a_thread() -> None:
    assert all(len(idents) == 1 for idents in in_threads(who_makes, [3, 3]))


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("lengths", [[2_100], [700, 900, 1_100]])
@pytest.mark.parametrize(
    ("unroll", "name"),
    [
        ("projected", "rnncli.engine.unroll.projected"),
        pytest.param(
            "compiled",
            "rnncli.engine.compiled.compiling",
            marks=pytest.mark.skipif("compiled" not in RUNNABLE, reason="needs the extra `fast`"),
        ),
    ],
)
def test_products_of_blocks_ahead_give_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, unroll: str, name: str, lengths: list[int], cell: str
) -> None:
    network = rnncli.seeded(700, 30, 1, cell=cell)
    x = np.random.RandomState(0).normal(size=(len(lengths), max(lengths), 700)).astype("f")
    monkeypatch.setattr("rnncli.engine.threads._blas.alone", True)
    monkeypatch.setattr("rnncli.engine.passes.parts_for", lambda *_: 1)
    used: list[Any] = []

    def counted(items: Any) -> Any:
        for item in ahead(items):
            used.append(item)
            yield item

    monkeypatch.setattr(import_module(name), "ahead", counted)

    def states(count: int) -> Floats:
        monkeypatch.setattr("rnncli.engine.threads.THREADS", count)
        return rnncli.run(network, x, lengths=lengths, unroll=unroll).h

    hidden = states(2)
    assert len(used) > 1
    assert hidden.tobytes() == states(1).tobytes()


def cell_of(H: int) -> rnncli.RNN:
    return rnncli.RNN(rnncli.Weights(np.ones((1, H)), np.ones((H, H)), np.ones(H)))


def test_a_matrix_that_takes_all_threads_leaves_no_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.engine.threads._blas.alone", False)
    assert parts_for(10**6, [cell_of(90), cell_of(91)]) == 1
    monkeypatch.setattr("rnncli.engine.threads._blas.alone", True)
    assert parts_for(10**6, [cell_of(90), cell_of(91)]) > 1


@given(N=st.integers(1, 10**6), H=st.integers(1, 90))
def test_parts_are_no_larger_than_a_thread_takes(N: int, H: int) -> None:
    parts = parts_for(N, [cell_of(1), cell_of(H)])
    if rows_for_threads(cell_of(H)) > N:
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
    assert parts_for(N, network.layers[0].cells) > 1
    lengths = np.random.RandomState(1).randint(0, T + 1, N) if ragged else np.full(N, T)
    states = rnncli.run(network, batch, lengths=lengths)
    for few in np.array_split(np.arange(N), 100)[::9]:
        alone = rnncli.run(
            network, batch[few], lengths=lengths[few], precision="float64", unroll="stepwise"
        )
        # Seven steps of float32 beside float64.
        assert difference(states.h[few], alone.h) < 1e-6
        assert difference(states.h_n[few], alone.h_n) < 1e-6


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(
    ("I", "H", "small"),
    [
        (1, 4, True),
        (90, 90, True),
        (91, 91, False),
        (1, 91, False),
        (127, 64, True),
        (128, 64, False),
    ],
)
def test_a_large_matrix_is_left_to_all_threads(
    monkeypatch: pytest.MonkeyPatch, I: int, H: int, *, small: bool, single: bool
) -> None:
    monkeypatch.setattr("rnncli.engine.threads._blas.alone", single)
    cell = rnncli.RNN(
        rnncli.Weights(*(np.zeros(shape, np.float32) for shape in ((I, H), (H, H), H)))
    )
    assert leaves_processors(cell) is (small or single)


USABLE = """
import os, sys
usable, sys.argv[1:] = int(sys.argv[1]), []
os.sched_getaffinity = lambda _: set(range(usable))
from rnncli.engine.threads import _blas
print(_blas.alone)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("openblas", "openmp", "usable", "one"),
    [
        ("", "", 2, False),
        ("1", "", 2, True),
        ("2", "1", 2, False),
        ("", "1", 2, True),
        ("1", "2", 2, True),
        ("", "2", 2, False),
        ("", "", 1, True),
        ("2", "", 1, True),
    ],
)
def test_products_take_what_openblas_finds(
    *, openblas: str, openmp: str, usable: int, one: bool
) -> None:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": openblas, "OMP_NUM_THREADS": openmp}
    command = [sys.executable, "-c", USABLE, str(usable)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout == f"{one}\n"


LIMITED = """
import threading
import numpy as np, rnncli
from threadpoolctl import threadpool_info
import sys, rnncli.engine.run
from rnncli.engine import threads
projected = sys.modules['rnncli.engine.unroll.projected']
before = [each["num_threads"] for each in threadpool_info()]
seen = []
right = projected.projecting
def watched(*arguments):
    seen.append([each["num_threads"] for each in threadpool_info()] + [threads._blas.alone])
    return right(*arguments)
projected.projecting = watched
network = rnncli.seeded(64, 128, init="torch")
x = np.random.RandomState(0).normal(size=(64, 20, 64)).astype("f")
runs = [threading.Thread(target=rnncli.run, args=(network, x)) for _ in range(3)]
for each in runs: each.start()
for each in runs: each.join()
assert seen and all(each == [1] * len(before) + [True] for each in seen), seen
after = [each["num_threads"] for each in threadpool_info()]
assert (after, threads._blas.alone) == (before, False), (before, after)
"""


@pytest.mark.slow
def test_blas_has_one_thread_during_a_run_and_its_own_afterwards() -> None:
    """In a program that has loaded NumPy with two, and runs networks in threads of its own."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", LIMITED], env=environment, check=True)


class Openblas:
    """Functions of an OpenBLAS, none of whose threads may be set unless it is asked to be alone."""

    def __init__(self, kind: int) -> None:
        self.kind, self.threads, self.set = kind, 4, list[int]()

    def __call__(self, function: str) -> Any:
        return {
            "get_parallel": lambda: self.kind,
            "get_num_threads": lambda: self.threads,
            "set_num_threads": self.set.append,
        }[function]


@pytest.mark.parametrize(
    ("library", "found"), [(Openblas(1), [1, 4]), (Openblas(0), []), (Openblas(2), [])]
)
def test_threads_of_openblas_alone_are_set(
    monkeypatch: pytest.MonkeyPatch, library: Openblas, found: list[int]
) -> None:
    """Those of OpenMP are counted for each thread that calls it."""
    blas = threads._Blas()
    monkeypatch.setattr(blas, "_always", False)
    monkeypatch.setattr(blas, "alone", False)
    monkeypatch.setattr(threads, "openblas", library)
    with blas.on_one_thread(), blas.on_one_thread():
        assert (library.set, blas.alone) == (found[:1], bool(found))
    assert (library.set, blas.alone) == (found, False)


def test_without_openblas_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads._blas, "alone", False)
    monkeypatch.setattr(threads._blas, "_always", False)
    monkeypatch.setattr(threads, "openblas", lambda _: None)
    with blas_on_one_thread():
        assert not leaves_processors(cell_of(200))


def test_where_there_is_no_way_to_openblas_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "numpy._core._multiarray_umath")
    assert threads.openblas.__wrapped__("get_num_threads") is None
