"""What a thread reads ahead is what would be read without one."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rnncli.engine.rows import Rows
from rnncli.model.errors import InputError
from rnncli.readers import Keys, Layout, read_file
from rnncli.readers.ahead import ahead


def blocks(count: int, error: Exception | None = None) -> Iterator[Rows]:
    for number in range(count):
        yield Rows(np.full((1, 1), number))
    if error:
        raise error


def numbers(found: Iterator[Rows]) -> list[int]:
    return [int(rows.x[0, 0]) for rows in found]


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 50])
def test_blocks_come_in_their_order(count: int) -> None:
    assert numbers(ahead(blocks(count))) == list(range(count))


@pytest.mark.parametrize("count", [0, 2, 3, 9])
def test_an_error_comes_after_the_blocks_before_it(count: int) -> None:
    taken = ahead(blocks(count, InputError("a.csv:7", "not a number")))
    assert [int(next(taken).x[0, 0]) for _ in range(count)] == list(range(count))
    with pytest.raises(InputError, match="not a number"):
        next(taken)


def test_without_a_thread_blocks_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fails)
    assert numbers(ahead(blocks(9))) == list(range(9))


@pytest.mark.parametrize("taken", [3, 4, 9])
def test_a_thread_ends_when_no_more_is_taken(taken: int) -> None:
    before, found = threads(), ahead(blocks(10**6))
    for _ in range(taken):
        next(found)
    (thread,) = threads() - before
    assert isinstance(found, Iterator)
    found.close()  # type: ignore[attr-defined]
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize(("steps", "started"), [(1, 0), (100, 1), (700, 0)])
def test_short_inputs_and_those_that_are_followed_start_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, started: int
) -> None:
    made: list[str] = []
    start = threading.Thread.start

    def counts(thread: threading.Thread) -> None:
        made.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", counts)
    path = tmp_path / "rows.csv"
    path.write_text("".join(f"{i}\n" for i in range(1000)))
    layout = Layout(np.dtype(np.float32), block_steps=steps)
    read = np.concatenate([rows.x for rows in read_file(str(path), layout, Keys()).blocks])
    assert read[:, 0].tolist() == list(range(1000))
    assert len(made) == started
