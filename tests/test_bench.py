"""``rnn bench``: who is timed, on what, in which processes; never how fast anything is."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SAMPLES, Rnn
from test_terminal import everything

import rnncli
from rnncli.bench import Contender, Size, Timing, child, judging, pace, race, times_faster
from rnncli.bench.files import load_case, save_case
from rnncli.bench.process import Process, processors
from rnncli.bench.report import Outcome, write_benchmark_json, write_outcome_table
from rnncli.cli import bench
from rnncli.engine.unroll import UNROLLS
from rnncli.verify.case import Case
from rnncli.verify.peers import Unsupported
from rnncli.verify.shares import step_shares

SEQ = ("--seq", "1,2,3,4,5,6", "--hidden", "4")
STRATEGIES = ["auto", *UNROLLS]
LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="no /proc")
AUTO = Contender("strategy", "auto")


@pytest.fixture
def no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.bench.contender.version", lambda _: None)


@pytest.fixture
def two_contenders(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as it takes to be in turn: a process each costs a tenth of a second."""
    two = [AUTO, Contender("strategy", "stepwise")]
    monkeypatch.setattr(bench, "contenders", lambda _: (two, {}))


def benched(run_rnn: Rnn, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
    result = run_rnn("bench", *arguments, "--json")
    assert result.exit_code == exit_code, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.mark.usefixtures("no_peers")
def test_every_strategy_is_timed_and_judged(run_rnn: Rnn) -> None:
    document = benched(run_rnn, *SEQ, "--repeats", "2")
    assert set(document) == {"machine", "repeats", "cases"}
    assert document["repeats"] == 2
    assert document["machine"]["numpy"] == np.__version__
    assert document["machine"]["cpus"] == len(processors()[-1])
    (case,) = document["cases"]
    assert (case["T"], case["I"], case["H"], case["N"], case["shortest"]) == (6, 1, [4], 1, 6)
    assert (case["precision"], case["fastest_peer"]) == ("float32", None)
    assert case["model"]["source"] == {"init": "tensorflow", "seed": 1}
    assert [item["name"] for item in case["results"]] == STRATEGIES
    for item in case["results"]:
        rounds = item["rounds"]
        assert {int(threads) for threads in rounds} == {len(cpus) for cpus in processors()}
        assert all(len(times) == 2 and min(times) > 0 for times in rounds.values())
        best = rounds[str(item["threads"])]
        assert item["median"] == min(map(np.median, rounds.values())) == np.median(best)
        assert (item["min"], item["max"]) == (min(best), max(best))
        assert (item["kind"], item["steps"], item["times_faster"]) == ("strategy", 6, None)
        assert 0 < item["step_error"] < 1


@pytest.mark.usefixtures("no_peers")
def test_the_table_names_each_and_fits(run_rnn: Rnn) -> None:
    result = run_rnn("bench", *SEQ, "--repeats", "1")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for name in (*(f"--unroll {name}" for name in STRATEGIES), "torch: not installed: pip install"):
        assert sum(line.startswith(name) for line in lines) == 1, name
    assert f"NumPy {np.__version__}" in result.stdout
    assert "Ratio" not in result.stdout
    assert result.stderr == ""


@pytest.mark.usefixtures("no_peers")
def test_the_default_cases_take_a_seed_a_round(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [Size(7, 2, 3, init="keras"), Size(9, 1, 4, 5, shortest=2)]
    monkeypatch.setattr(bench, "SIZES", sizes)
    drawn: list[Case] = []

    def fake(case_of: Any, racing: Any, rounds: int, _saying: Any) -> list[Timing]:
        drawn.extend(map(case_of, range(1, rounds + 1)))
        return [Timing(each, {1: [1.0]}, {1: 7}) for each in racing]

    monkeypatch.setattr(bench, "race", fake)
    document = benched(run_rnn, "--repeats", "3", "--precision", "float64")
    assert [(case["T"], case["shortest"]) for case in document["cases"]] == [(7, 7), (9, 2)]
    assert document["cases"][0]["model"]["source"] == {"init": "keras", "seed": None}
    for case, size, seed in zip(drawn, [sizes[0]] * 3 + [sizes[1]] * 3, [1, 2, 3] * 2, strict=True):
        own = rnncli.seeded(size.I, size.H, seed, size.init).cells[0].weights
        for ours, theirs in zip(case.network.cells[0].weights, own, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        shape = (size.N, size.T, size.I)
        x = np.random.RandomState(seed).standard_normal(shape)
        np.testing.assert_array_equal(case.x, x)
        assert case.x.dtype == np.float64
    assert (drawn[0].lengths == 7).all()
    assert {2 <= length <= 9 for length in drawn[3].lengths} == {True}
    assert len(set(drawn[3].lengths)) > 1


@pytest.mark.usefixtures("two_contenders")
def test_sequences_of_a_file(run_rnn: Rnn) -> None:
    log = str(SAMPLES / "sensors.csv")
    columns = ("--columns", "temperature", "--group-by", "sensor", "--missing", "hold")
    network = ("--hidden", "3,2", "--init", "keras", "--direction", "bidirectional")
    (case,) = benched(run_rnn, log, *columns, *network, "--repeats", "1")["cases"]
    rows = json.loads(run_rnn("run", log, *columns, *network, "--last", "--json").stdout)["final"]
    counted = [item["t"] for item in rows]
    assert (case["N"], case["H"]) == (len(counted), [3, 2])
    assert (case["T"], case["shortest"]) == (max(counted), min(counted))
    assert all(0 < item["step_error"] < 1 for item in case["results"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--h0", "1"), "--h0: give an input and a network to time"),
        (("--repeats", "0", *SEQ), "'0' is not a whole number from 1 up"),
        (("--peer", "torch", *SEQ), "peer torch is not installed: pip install 'rnncli[peers]'"),
        (("--peer", "jax", *SEQ), "'jax' is not one of 'keras', 'torch', 'onnxruntime'"),
        (("--seq", "1,2"), "no network: give --hidden H or --weights FILE"),
        (("--seq", "1,2", "--weights", "none.npz"), "none.npz: cannot be read"),
        (("-", "--hidden", "2"), "the input has no steps"),
        (("-", "--hidden", "2", "--missing", "hold"), "the input has no steps"),
        (("--follow", *SEQ), "No such option"),
    ],
)
@pytest.mark.usefixtures("no_peers")
def test_bad_usage(run_rnn: Rnn, arguments: tuple[str, ...], message: str) -> None:
    result = run_rnn("bench", *arguments, stdin="x\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


# Who cannot be timed.


@pytest.mark.usefixtures("two_contenders")
def test_what_cannot_be_expressed_is_said(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(_case_of: Any, racing: Any, *_: Any) -> list[Timing]:
        return [
            Timing(racing[0], {1: [2.0, 1.0, 4.0]}, {1: 6}, 0.5),
            Timing(racing[1], note="it has no clip"),
        ]

    monkeypatch.setattr(bench, "race", fake)
    (case,) = benched(run_rnn, *SEQ)["cases"]
    assert case["results"][1] == {"kind": "strategy", "name": "stepwise", "note": "it has no clip"}
    assert "--unroll stepwise: it has no clip\n" in run_rnn("bench", *SEQ).stdout


def test_a_failure_is_said_and_is_the_exit_code(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Contender("strategy", "sideways")
    monkeypatch.setattr(bench, "contenders", lambda _: ([AUTO, broken], {}))
    document = benched(run_rnn, *SEQ, "--repeats", "1", exit_code=1)
    sound, failed = document["cases"][0]["results"]
    assert sound["median"] > 0
    assert failed["note"].startswith("ValueError: unroll: expected one of")


def test_answers_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = Size(40, 2, 3, 4, shortest=1)
    save_case(str(tmp_path), size.case(1, "float32"))
    folder = str(tmp_path)
    assert child.answer(AUTO, {"do": "warm", "folder": folder}) == {}
    timed = child.answer(AUTO, {"do": "time", "folder": folder, "steps": None})
    assert timed["steps"] == 40
    assert timed["microseconds"] > 0
    assert child.answer(AUTO, {"do": "time", "folder": folder, "steps": 7})["steps"] == 7
    judged = child.answer(AUTO, {"do": "judge", "folder": folder, "steps": 40})
    assert 0 < judged["step_error"] < 1

    def refuse(*_: Any, **__: Any) -> Any:
        raise Unsupported("no such thing")

    monkeypatch.setattr(Contender, "runner", refuse)
    said = {"cannot": "no such thing"}
    assert child.answer(AUTO, {"do": "warm", "folder": folder}) == said


def test_a_wrong_result_has_its_step_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = rnncli.run

    def wrong(*arguments: Any, **options: Any) -> Any:
        states = right(*arguments, **options)
        layer = states.layers[0].copy()
        layer[0, 3, 1] += 0.01
        return states._replace(layers=(layer,))

    monkeypatch.setattr("rnncli.bench.contender.run", wrong)
    save_case(str(tmp_path), Size(9, 1, 4).case(1, "float32"))
    judged = child.answer(AUTO, {"do": "judge", "folder": str(tmp_path), "steps": 9})
    assert judged["step_error"] > 100


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_a_case_goes_through_its_files(tmp_path: Path, precision: str) -> None:
    network = rnncli.seeded(
        2, (3, 2), 1, "keras", direction="bidirectional", activation="leaky_relu:0.2", clip=2.0
    )
    x = np.random.RandomState(0).normal(size=(3, 5, 2))
    case = Case(network, x, np.full((3, 10), 0.1), np.array([5, 1, 3]), precision)
    save_case(str(tmp_path), case)
    loaded = load_case(str(tmp_path))
    assert loaded.precision == precision
    for name in ("x", "h0", "lengths"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(case, name))
    assert [cell[1:] for cell in loaded.network.cells] == [cell[1:] for cell in network.cells]
    np.testing.assert_array_equal(loaded.states()[-1], case.states()[-1])


# How much is run for one timing.


def test_what_is_fast_is_repeated() -> None:
    # 0.1 ms: five hundred are a timing of 50 ms.
    assert pace.warmed(lambda _: 0.00010001, 100) == (100, 500)


def test_what_is_slow_is_timed_over_the_first_steps() -> None:
    took = []

    def seconds(steps: int) -> float:
        took.append(steps * 1.7e-4)
        # The first call compiles, the third is held up by others.
        return took[-1] + {1: 10, 3: 0.1}.get(len(took), 0)

    # Two seconds are 11,764 steps, of which one digit is kept.
    assert pace.warmed(seconds, 1_000_000) == (10_000, 1)
    assert sum(took) < 1


@pytest.mark.parametrize("most", [1, 15, 16, 17, 400_000])
def test_what_takes_under_two_seconds_is_run_whole(most: int) -> None:
    steps, repeats = pace.warmed(lambda steps: steps * 4e-6, most)
    assert steps == most
    # As often as it takes to reach the shortest timing, and a rounding more at most.
    assert (repeats - 2) * most * 4e-6 < 0.05
    assert repeats == 1 or repeats * most * 4e-6 >= 0.05


def test_first_steps() -> None:
    case = Size(9, 2, 3, 4, shortest=1).case(1, "float32")
    cut = pace.first_steps(case, 4)
    np.testing.assert_array_equal(cut.x, case.x[:, :4])
    np.testing.assert_array_equal(cut.lengths, np.minimum(case.lengths, 4))
    assert pace.first_steps(case, 9) is case


# The step error of long results.


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
@pytest.mark.parametrize("values", [1, 12, 40, 10_000])
def test_pieces_are_judged_as_the_whole(
    monkeypatch: pytest.MonkeyPatch, direction: str, values: int
) -> None:
    monkeypatch.setattr(judging, "_VALUES", values)
    network = rnncli.seeded(2, (3, 2), 1, "keras", direction=direction)
    random = np.random.RandomState(0)
    x, h0 = random.normal(size=(5, 11, 2)), random.normal(size=(5, network.state_size))
    x, h0 = x.astype(np.float32), h0.astype(np.float32)
    case = Case(network, x, h0, np.array([11, 0, 4, 7, 10]))
    layers = case.states()
    whole = step_shares(case, layers)
    assert whole is not None
    # The same arithmetic, in sums that BLAS may take in another order.
    assert judging.largest_step_error(case, layers) == pytest.approx(whole.max(), rel=1e-9)
    wrong = [h.copy() for h in layers]
    wrong[0][3, 6, 1] = np.nan
    assert judging.largest_step_error(case, wrong) == np.inf


def test_states_that_are_hidden_have_no_step_error() -> None:
    network = rnncli.seeded(1, 3, 1, "torch", direction="bidirectional", merge="sum")
    case = Case(network, np.ones((1, 4, 1)), np.zeros((1, 6)), np.array([4]))
    assert judging.largest_step_error(case, case.states()) is None


# What comes of it, on made-up timings.


def timing(kind: str, name: str, one: list[float], two: list[float], **more: Any) -> Timing:
    contender = Contender(kind, name)
    return Timing(contender, {1: one, 2: two}, {1: 10**6, 2: 10**6}, 0.125, **more)


TIMINGS = [
    timing("strategy", "parallel", [0.03, 0.02, 0.5], [0.02, 0.021, 0.019]),
    timing("strategy", "stepwise", [3.0, 3.1, 2.0], [9.0, 8.0, 7.0])._replace(
        steps={1: 600_000, 2: 10**6}
    ),
    timing("peer", "torch", [4.0, 2.0, 3.0], [5.0, 5.0, 5.0])._replace(step_error=np.inf),
    timing("peer", "onnxruntime", [0.4, 0.4, 0.4], [0.1, 0.16, 123.0]),
    Timing(Contender("peer", "keras"), note="Keras has no clip"),
]
OUTCOME = Outcome("T = 1,000,000", {"T": 10**6}, 10**6, TIMINGS)


def test_medians_and_ratios() -> None:
    best, stepwise, torch, fastest = TIMINGS[:4]
    assert [each.threads for each in TIMINGS[:4]] == [2, 1, 1, 2]
    assert [each.median for each in TIMINGS[:4]] == [0.02, 3.0, 3.0, 0.16]
    assert times_faster(best, fastest) == 8
    assert times_faster(torch, fastest) == 0.16 / 3
    assert times_faster(fastest, fastest) == 1
    assert times_faster(torch, stepwise) == 1


def test_the_table_of_made_up_timings() -> None:
    out = StringIO()
    write_outcome_table(out, OUTCOME)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    rows = {line.split()[-7]: line.split()[-6:] for line in lines if len(line.split()) >= 7}
    assert rows["parallel"] == ["0.0200", "0.0190", "0.0210", "2", "8.00", "0.12"]
    assert rows["onnxruntime"] == ["0.160", "0.100", "123", "2", "1.00", "0.12"]
    assert rows["torch"][-1] == "inf"
    assert lines[-3:] == [
        "Ratio: how many times faster than onnxruntime.",
        "The first 600,000 steps: --unroll stepwise.",
        "keras: Keras has no clip",
    ]


def test_the_document_of_made_up_timings() -> None:
    out = StringIO()
    write_benchmark_json(out, {}, 3, [OUTCOME])
    (case,) = json.loads(out.getvalue())["cases"]
    assert (case["T"], case["fastest_peer"]) == (10**6, "onnxruntime")
    assert case["results"][0] == {
        "kind": "strategy",
        "name": "parallel",
        "threads": 2,
        "median": 0.02,
        "min": 0.019,
        "max": 0.021,
        "times_faster": 8.0,
        "step_error": 0.125,
        "steps": 10**6,
        "rounds": {"1": [0.03, 0.02, 0.5], "2": [0.02, 0.021, 0.019]},
    }
    assert case["results"][1]["steps"] == 600_000
    assert case["results"][2]["step_error"] is None
    assert case["results"][4] == {"kind": "peer", "name": "keras", "note": "Keras has no clip"}


# Processes.


@contextmanager
def process_of(contender: Contender, cpus: list[int], folder: Path) -> Iterator[Process]:
    process = Process(contender, cpus, str(folder / "said.txt"))
    try:
        yield process
    finally:
        process.end()


@pytest.fixture
def no_longer_than_a_minute() -> Iterator[None]:
    """Turn a wait that never ends into a failure."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it goes on"))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("no_longer_than_a_minute")
@pytest.mark.parametrize("cpus", processors(), ids=len)
def test_a_process_is_stopped_once_it_has_answered(tmp_path: Path, cpus: list[int]) -> None:
    save_case(str(tmp_path), Size(5, 1, 2).case(1, "float32"))
    with process_of(AUTO, cpus, tmp_path) as process:
        pid = process._process.pid
        for _ in range(2):
            process.ask(do="warm", folder=str(tmp_path))
            assert process.answer() == {}
            stopped = os.waitid(os.P_PID, pid, os.WSTOPPED)
            assert stopped
            assert stopped.si_status == signal.SIGSTOP
        if hasattr(os, "sched_getaffinity"):
            assert os.sched_getaffinity(pid) == set(cpus)
            assert process.threads == len(cpus)


@pytest.mark.parametrize("kind", ["strategy", "peer"])
def test_strategies_run_as_rnn_run_does_and_peers_with_all_threads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VECLIB_MAXIMUM_THREADS", "2")
    given: dict[str, str] = {}

    def start(*_: Any, env: dict[str, str], **__: Any) -> None:
        given.update(env)

    monkeypatch.setattr(subprocess, "Popen", start)
    Process(Contender(kind, "auto"), [0, 1, 2], str(tmp_path / "said.txt"))
    threads = {name: count for name, count in given.items() if name.endswith("_THREADS")}
    expected = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "2"}
    if kind == "peer":
        expected = dict.fromkeys(["OMP_NUM_THREADS", *expected], "3")
    assert threads == expected


def test_a_process_that_ends_by_itself(tmp_path: Path) -> None:
    with process_of(AUTO, processors()[0], tmp_path) as process:
        os.kill(process._process.pid, signal.SIGKILL)
        process.ask(do="warm", folder=str(tmp_path))
        assert process.answer() == {"failed": "ended by signal 9"}
        process.ask(do="warm", folder=str(tmp_path))
        assert process.answer() == {"failed": "ended by signal 9"}
    with process_of(AUTO, processors()[0], tmp_path) as process:
        process.ask(folder="no action is asked for")
        assert process.answer() == {"failed": "KeyError: 'do'"}
    assert process._process.returncode == -signal.SIGKILL


def test_a_process_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with process_of(AUTO, processors()[0], tmp_path) as process:
        process.ask(do="warm", folder=str(tmp_path))
        assert process.answer()["failed"].startswith("ModuleNotFoundError: No module named")


def test_what_libraries_print_is_no_answer() -> None:
    program = (
        "from rnncli.bench import Contender, child\n"
        "child.answer = lambda *_: print('noise') or {'n': 1}\n"
        "child.serve(Contender('strategy', 'auto'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input="{}\n{}\n", capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ('{"n": 1}\n{"n": 1}\n', 0)
    assert "noise" in done.stderr


def descended(folder: Path) -> list[int]:
    """Processes whose temporary files go to a folder, but this one."""
    mark = f"TMPDIR={folder}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            try:
                variables = Path("/proc", entry, "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in variables:
                found.append(int(entry))
    return found


@LINUX
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_nothing_is_left_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    running = []

    def interrupt(line: str) -> None:
        if line.startswith("round 2"):
            running.extend(descended(tmp_path))
            raise error

    case = Size(5, 1, 2).case(1, "float32")
    with pytest.raises(error):
        race(lambda _: case, [AUTO], 3, interrupt)
    assert len(running) == len(processors())
    assert descended(tmp_path) == []
    assert os.listdir(tmp_path) == []


# The command, with no peers wherever it runs, and more rounds than anyone waits for.
COMMAND = """
import rnncli.bench.contender as room
room.version = lambda _: None
from rnncli.__main__ import main
main()
"""


@contextmanager
def racing(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the command, and wait until it says on its terminal that it is timing."""
    master, slave = pty.openpty()
    arguments = ("bench", *SEQ, "--repeats", "1000000")
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=slave,
        env=os.environ | {"TMPDIR": str(folder)},
    ) as process:
        os.close(slave)
        try:
            shown = b""
            while b"round 2 of" not in shown:
                shown += os.read(master, 4096)
            assert b"case 1 of 1, round 1 of 1000000: --unroll auto, 1 thread" in shown
            # A terminal that nobody reads fills up, and holds a process up that writes to it.
            reader = threading.Thread(target=everything, args=[master])
            reader.start()
            yield process
        finally:
            process.kill()
        reader.join()


@LINUX
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_nothing_is_left_after_a_signal(tmp_path: Path, number: int, code: int) -> None:
    with racing(tmp_path) as process:
        process.send_signal(number)
        assert process.wait() == code
    assert descended(tmp_path) == []
    assert os.listdir(tmp_path) == []


@LINUX
def test_no_process_is_left_after_a_kill(tmp_path: Path) -> None:
    """Most of them are stopped then, and cannot see that nobody asks any more."""
    with racing(tmp_path) as process:
        children = [os.pidfd_open(pid) for pid in descended(tmp_path) if pid != process.pid]
        assert len(children) == len(STRATEGIES) * len(processors())
        process.kill()
        process.wait()
    waiting = select.poll()
    for descriptor in children:
        waiting.register(descriptor, select.POLLIN)
    running = set(children)
    while running:
        ended = {descriptor for descriptor, _ in waiting.poll(60_000)}
        assert ended
        for descriptor in ended:
            waiting.unregister(descriptor)
            os.close(descriptor)
        running -= ended
