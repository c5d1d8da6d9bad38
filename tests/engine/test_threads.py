"""Two threads side by side: an exception ends them, and BLAS has none of its own meanwhile."""

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from rnncli.__main__ import BLAS_THREADS
from rnncli.engine import threads
from rnncli.engine.threads import in_threads


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "THREADS", 2)


@pytest.mark.usefixtures("two_threads")
def test_a_thread_starts_no_other() -> None:
    found: list[set[int]] = []

    def inside(_: Any) -> None:
        idents = set[int]()
        in_threads(lambda _: idents.add(threading.get_ident()), range(3))
        found.append(idents)

    in_threads(inside, range(4))
    assert all(len(idents) == 1 for idents in found)


@pytest.mark.usefixtures("two_threads")
def test_a_failure_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda part: 1 // part, [2, 1, 0])


@pytest.mark.posix("a signal to a thread")
@pytest.mark.usefixtures("two_threads")
def test_ctrl_c_is_raised_and_no_other_segment_is_begun() -> None:
    main, done = threading.main_thread().ident, list[int]()
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


def python(script: str, **variables: str) -> str:
    """Run a script with these settings of BLAS alone, and return its output."""
    inherited = {name: value for name, value in os.environ.items() if name not in BLAS_THREADS}
    command, environment = [sys.executable, "-c", script], inherited | variables
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


COMMAND = """
import os, sys
from rnncli.__main__ import BLAS_THREADS, main
sys.argv[1:] = ["run", "--seq", "1,2", "--hidden", "2"]
try:
    main()
finally:
    print(*(os.environ[name] for name in BLAS_THREADS))
"""


def test_the_command_has_one_blas_thread_unless_a_variable_sets_others() -> None:
    assert python(COMMAND).splitlines()[-1] == "1 1 1"
    assert python(COMMAND, OPENBLAS_NUM_THREADS="3").splitlines()[-1] == "3 1 1"


LIMITED = """
import numpy, threadpoolctl
from rnncli.engine import threads
threads.THREADS = 2
def count():
    return [each["num_threads"] for each in threadpoolctl.threadpool_info()]
before, seen = count(), []
threads.in_threads(lambda _: seen.append(count()), range(4))
print(all(set(each) == {1} for each in seen), count() == before, before != seen[0])
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="its BLAS tells no number of threads")
def test_blas_has_one_thread_during_a_run_and_its_own_afterwards() -> None:
    """In a program that has loaded NumPy with two."""
    assert python(LIMITED, OPENBLAS_NUM_THREADS="2") == "True True True\n"


PRODUCTS = """
import hashlib
import numpy as np
from rnncli.engine.unroll.loops import row_products
random, digest = np.random.RandomState(0), hashlib.sha256()
for dtype in (np.float32, np.float64):
    for K, H in ((101, 101), (100, 700), (700, 700), (2, 20000), (20000, 2)):
        rows, W = (random.normal(size=size).astype(dtype) for size in ((3, K), (K, H)))
        digest.update(row_products(rows, W).tobytes())
print(digest.hexdigest())
"""


def test_stepwise_bits_do_not_depend_on_blas_threads() -> None:
    threads = [{"OPENBLAS_NUM_THREADS": n, "OMP_NUM_THREADS": n} for n in ("1", "3")]
    assert len({python(PRODUCTS, **each) for each in threads}) == 1
