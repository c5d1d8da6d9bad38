"""Batches that are killed at random moments and run again: nothing lost, nothing twice."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from test_bench_processes import LINUX, descended

from rnncli.batches.report import DONE, NAME
from rnncli.batches.tasks import names_of
from rnncli.cli import rnn
from rnncli.engine.state import load_state

# .ci/run asks for more.
KILLS = int(os.environ.get("RNN_KILLS", "12"))
INPUTS = 40
NETWORK = ("--columns", "value", "--hidden", "4", "--unroll", "stepwise")

pytestmark = [pytest.mark.slow, LINUX]


class Expected(NamedTuple):
    """Inputs, and what `rnn run` makes of them.

    Parameters
    ----------
    inputs : list of str
    outputs : dict
        Bytes by the name of a file.
    states : dict
        Steps and states of all units by the name of a file.
    """

    inputs: list[str]
    outputs: dict[str, bytes]
    states: dict[str, list[float]]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    folder, rng = tmp_path_factory.mktemp("expected"), np.random.default_rng(0)
    expected = Expected([], {}, {})
    for i in range(INPUTS):
        path, output, state = (folder / f"{i}.{form}" for form in ("in.csv", "csv", "npz"))
        values = rng.normal(size=rng.integers(10, 8000)).round(3)
        path.write_text("\n".join(["value", *map(str, values.tolist())]))
        arguments = ("run", path, "-o", output, "--state-out", state, *NETWORK)
        assert CliRunner().invoke(rnn, list(map(str, arguments))).exit_code == 0
        expected.inputs.append(str(path))
        expected.outputs[f"{i}.in.csv"] = output.read_bytes()
        expected.states[f"{i}.in.npz"] = values_in(state)
    return expected


class Batch:
    """A batch whose results are in a folder of their own."""

    def __init__(self, folder: Path, expected: Expected, *, state: bool = False) -> None:
        self.folder, self.out, self.outputs = folder, folder / "out", expected.outputs
        self.states = expected.states if state else {}
        kept = ("--state", f"{self.out}/{{stem}}.npz") if state else ()
        self.command = (
            *(sys.executable, "-m", "rnncli", "batch", *expected.inputs),
            *("-o", f"{self.out}/{{stem}}.csv", *NETWORK, *kept),
        )

    def start(self, *options: str) -> "subprocess.Popen[str]":
        """Start the command, in a process group of its own."""
        return subprocess.Popen(
            [*self.command, *(options or ("-j", "2"))],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(self.folder)},
            process_group=0,
        )

    def others(self, process: "subprocess.Popen[str]") -> list[int]:
        """The processes that end when a command has ended."""
        return [pid for pid in descended(self.folder) if pid != process.pid]

    def workers(self) -> list[int]:
        """Processes that others have started, and which a batch can lose."""
        return []

    def recorded(self) -> int:
        """Count the lines of the report."""
        report = self.out / NAME
        return report.read_bytes().count(b"\n") if report.exists() else 0

    def check(self) -> int:
        """Whatever is there is whole, and what is recorded is there, once: return how much."""
        recorded = list[str]()
        with suppress(FileNotFoundError), open(self.out / NAME) as file:
            for line in file:
                with suppress(ValueError):  # the kill has cut it
                    item = json.loads(line)
                    assert item["status"] == DONE
                    recorded.append(Path(item["output"]).name)
        assert len(recorded) == len(set(recorded))
        found = {path.name for path in self.out.glob("*.csv")}
        assert found >= set(recorded)
        for name in found:
            assert (self.out / name).read_bytes() == self.outputs[name]
        for name in {path.name for path in self.out.glob("*.npz")}:
            assert values_in(self.out / name) == self.states[name]
        return len(recorded)

    def check_whole(self) -> None:
        """Everything is there, and nothing else."""
        assert self.check() == INPUTS
        assert set(os.listdir(self.out)) == {*self.outputs, *self.states, NAME}

    def clear(self) -> None:
        for path in self.out.iterdir():
            path.unlink()


def values_in(path: Path) -> list[float]:
    state = load_state(str(path))
    assert state
    return [*state.t.tolist(), *state.arrays["h"].ravel().tolist()]


def wait_for(pids: list[int]) -> None:
    """Wait until processes have ended, which are not this one's children."""
    for pid in pids:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            assert waiting.poll(60_000)
            os.close(descriptor)


def opened_by(pid: int) -> Iterator[str]:
    """What a process has open, but for its standard error, which the command reads."""
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            yield os.readlink(f"/proc/{pid}/fd/{number}")


def wait_until(process: "subprocess.Popen[str]", ready: Callable[[], object]) -> None:
    """Wait for a command to be so far, or to have ended."""
    while process.poll() is None and not ready():
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.002)


def still_runs(process: "subprocess.Popen[str]", batch: Batch, random: Random) -> bool:
    """Wait for a random moment: of its start, or when some more results are recorded."""
    count = random.choice([0, *(random.randint(batch.recorded(), INPUTS) for _ in range(3))])
    wait_until(process, lambda: batch.recorded() >= count)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=random.uniform(0.0, 0.02 if count else 0.5))
    return process.poll() is None


def kill_at_random_moments(batch: Batch) -> None:
    """Run a batch as often as it takes to kill it so many times; check all that it leaves."""
    random, killed, whole = Random(len(batch.states)), 0, False
    while killed < KILLS or not whole:
        process = batch.start()
        more = killed < KILLS and batch.recorded() < INPUTS
        if more and still_runs(process, batch, random):
            killed += 1
            others = batch.others(process)
            one = random.choice([*others, *batch.workers()] or [process.pid])
            for pid in random.choice([[process.pid], [one], [process.pid, *others]]):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if random.choice([True, False]):  # otherwise the next batch meets them
                wait_for(others)
        _, message = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), message
        batch.check()
        whole = process.returncode == 0
        if whole:
            wait_for(batch.others(process))
            batch.check_whole()
            batch.clear()
        elif batch.recorded():  # as where the power fails
            report = batch.out / NAME
            os.truncate(report, report.stat().st_size - random.choice([0, 1, 20]))


@pytest.mark.parametrize("state", [False, True], ids=["outputs", "states"])
def test_killed_at_any_moment(tmp_path: Path, expected: Expected, state: bool) -> None:
    kill_at_random_moments(Batch(tmp_path, expected, state=state))


@pytest.mark.parametrize(
    ("jobs", "count", "number", "code"),
    [
        ("1", 5, signal.SIGINT, 130),
        ("2", -1, signal.SIGINT, 130),
        ("2", 5, signal.SIGINT, 130),
        ("2", 5, signal.SIGTERM, 143),
        ("2", 5, signal.SIGHUP, 129),
    ],
)
def test_a_signal_leaves_nothing_and_the_next_batch_goes_on(
    tmp_path: Path, expected: Expected, jobs: str, count: int, number: int, code: int
) -> None:
    """As a terminal sends it, to all of them; also while they start."""
    batch = Batch(tmp_path, expected)
    process = batch.start("-j", jobs)
    report = tmp_path / "out" / NAME
    wait_until(process, lambda: report.exists() and batch.recorded() > count)
    os.killpg(process.pid, number)
    _, message = process.communicate()
    recorded = batch.recorded()
    sentence = f"stopped after {recorded} of {INPUTS}; the same command goes on with the rest"
    assert process.returncode == code
    assert message in (f"Note: {sentence}\n", "" if count < 0 else None)
    assert descended(tmp_path) == []
    assert set(os.listdir(tmp_path / "out")) <= {*batch.outputs, NAME}
    batch.check()
    process = batch.start("-j", jobs)
    _, message = process.communicate()
    assert message.startswith(f"{INPUTS - recorded} done, {recorded} skipped, 0 failed")
    batch.check_whole()


def test_processes_end_after_the_death_of_the_command_and_hold_nothing_open(
    tmp_path: Path, expected: Expected
) -> None:
    """A pipe from the command ends with it, and its report is another batch's to lock."""
    batch = Batch(tmp_path, expected)
    process = batch.start()
    wait_until(process, lambda: batch.recorded() > 0)
    others = batch.others(process)
    assert len(others) == 2
    mine = set(opened_by(process.pid))
    assert str(tmp_path / "out" / NAME) in mine
    shared = [file for pid in others for file in opened_by(pid) if file in mine]
    process.kill()
    wait_for(others)
    process.communicate()
    assert {file for file in shared if not file.endswith(" (deleted)")} == {os.devnull}
    batch.check()
    # Of each process: one that was sent and not read, and one that it was at.
    assert len(list(tmp_path.glob("out/*.csv"))) <= batch.recorded() + 4
    assert not list(tmp_path.glob("out/.*"))


@pytest.mark.parametrize("state", [False, True], ids=["outputs", "states"])
def test_two_batches_at_once(tmp_path: Path, expected: Expected, state: bool) -> None:
    """With a report each, they write the same files and remove nothing of each other's."""
    batch = Batch(tmp_path, expected, state=state)
    link = tmp_path / "other" / names_of(expected.inputs[0])["dir"]
    link.parent.mkdir(parents=True)
    link.symlink_to(batch.out)
    batch.out.mkdir()
    other = Batch(tmp_path, expected, state=state)
    outputs = f"{batch.out}/{{stem}}.csv", f"{tmp_path}/other/{{dir}}/{{stem}}.csv"
    other.command = tuple(word.replace(*outputs) for word in other.command)
    for each in [batch.start(), other.start()]:
        _, message = each.communicate()
        assert each.returncode == 0, message
        assert f"{INPUTS} done, 0 skipped, 0 failed" in message
    batch.check_whole()


def test_a_second_batch_with_the_same_report_is_refused(tmp_path: Path, expected: Expected) -> None:
    batch = Batch(tmp_path, expected)
    with batch.start() as process:
        wait_until(process, lambda: batch.recorded() > 0)
        process.send_signal(signal.SIGSTOP)
        second = batch.start()
        _, message = second.communicate()
        assert second.returncode == 2
        assert message == f"Error: {tmp_path}/out/{NAME}: another batch is adding to it\n"
        process.send_signal(signal.SIGCONT)
        process.communicate()
    batch.check_whole()
