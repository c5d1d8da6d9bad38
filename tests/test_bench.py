"""``rnn bench``: who is timed, on what, and what is shown; never how fast anything is."""

import re
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from conftest import RUNNABLE, Rnn
from threadpoolctl import threadpool_info

import rnncli
from rnncli.bench.candidates import Candidate
from rnncli.bench.cases import Size, load_case, save_case
from rnncli.bench.process import answer
from rnncli.bench.race import Timing, fastest_peer, race
from rnncli.bench.report import write_table
from rnncli.cli import bench
from rnncli.verify.case import Case
from rnncli.verify.peers import Unsupported

SEQ = ("--seq", "1,2,3,4,5,6", "--hidden", "4")
STRATEGIES = ["auto", *RUNNABLE]
AUTO = Candidate("strategy", "auto")


@pytest.fixture
def no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.bench.candidates.version", lambda _: None)


@pytest.fixture
def two_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as it takes to be in turn: a process each costs a tenth of a second."""
    two = [AUTO, Candidate("strategy", "stepwise")]
    monkeypatch.setattr(bench, "find_candidates", lambda _: (two, {}))


@pytest.mark.slow
@pytest.mark.usefixtures("no_peers")
def test_the_table_names_each_and_fits(run_rnn: Rnn) -> None:
    result = run_rnn("bench", *SEQ, "--repeats", "1")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith("--unroll")
    for name in (*(f"--unroll {name}" for name in STRATEGIES), "torch: not installed: pip install"):
        assert sum(line.startswith(name) for line in lines) == 1, name
    assert f"NumPy {np.__version__}" in result.stdout
    assert ("llvmlite " in lines[1]) is ("compiled" in RUNNABLE)
    assert "Ratio" not in result.stdout
    assert result.stderr == ""


@pytest.mark.usefixtures("no_peers")
def test_the_default_cases_take_a_seed_a_round(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [Size(7, 2, 3, 5), Size(9, 2, 3, cell="lstm", slow=True)]
    monkeypatch.setattr(bench, "SIZES", sizes)
    drawn: list[Case] = []

    def fake(case_of: Any, racing: Any, rounds: int, _saying: Any) -> list[Timing]:
        drawn.extend(map(case_of, range(1, rounds + 1)))
        return [Timing(each, {1: [1.0]}, {1: 9}) for each in racing]

    monkeypatch.setattr(bench, "race", fake)
    text = run_rnn("bench", "--repeats", "2", "--precision", "float64").stdout
    assert "\nT = 7, N = 5, I = 2, H = 3, float64, init torch\n" in text
    assert "\nLSTM: T = 9, N = 1, I = 2, H = 3, float64, init torch, b_f = 5\n" in text
    for case, seed in zip(drawn[:2], (1, 2), strict=True):
        own = rnncli.seeded(2, 3, seed, "torch").layers[0].cells[0].weights
        for ours, theirs in zip(case.network.layers[0].cells[0].weights, own, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        x = np.random.RandomState(seed).standard_normal((5, 7, 2))
        np.testing.assert_array_equal(case.x, x, strict=True)
    assert (drawn[2].network.layers[0].cells[0].weights.b_h[3:6] == 5).all()


@pytest.mark.slow
@pytest.mark.usefixtures("two_candidates")
def test_sequences_of_a_model_that_gives_one_row(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    layers = rnncli.seeded(1, 3, 1, "torch", cell="lstm").layers
    rnncli.save(rnncli.Network(*layers, rnncli.Dense(np.ones((3, 2))), last="state"), path)
    (tmp_path / "x.csv").write_text("k,v\na,1\na,2\nb,3\nb,4\nb,5\n")
    own = (tmp_path / "x.csv", "--group-by", "k", "--weights", path, "--repeats", "1")
    result = run_rnn("bench", *own)
    assert result.exit_code == 0
    assert ", T = 2 to 3, N = 2 " in " ".join(result.stdout.split())
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("--unroll")]
    assert [row[1] for row in rows] == ["auto", "stepwise"]
    assert all(0 < float(row[-1]) < 1 for row in rows)  # every step is judged


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


def test_the_kernel_of_numpys_products_is_named(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "race", lambda *_: [])
    libraries = [each for each in threadpool_info() if each["user_api"] == "blas"]
    kernels = {each["architecture"] for each in libraries if each["internal_api"] == "openblas"}
    (line,) = re.findall("^BLAS: .*", run_rnn("bench", *SEQ).stdout, re.MULTILINE)
    assert line.partition(", kernel ")[2] in (kernels or {""})


# Who cannot be timed.


@pytest.mark.usefixtures("two_candidates")
def test_what_cannot_be_expressed_is_said(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(_case_of: Any, racing: Any, *_: Any) -> list[Timing]:
        return [
            Timing(racing[0], {1: [2.0, 1.0, 4.0]}, {1: 6}, 0.5),
            Timing(racing[1], note="it has no clip"),
        ]

    monkeypatch.setattr(bench, "race", fake)
    assert "--unroll stepwise: it has no clip\n" in run_rnn("bench", *SEQ).stdout


@pytest.mark.slow
def test_a_failure_is_said_and_is_the_exit_code(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Candidate("strategy", "sideways")
    monkeypatch.setattr(bench, "find_candidates", lambda _: ([AUTO, broken], {}))
    result = run_rnn("bench", *SEQ, "--repeats", "1")
    assert result.exit_code == 1
    assert "\n--unroll sideways: ValueError: unroll: expected one of" in result.stdout
    assert "\n--unroll auto " in result.stdout


def test_answers_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tmp_path)
    save_case(folder, Size(40, 2, 3, 4).case(1, "float32"))
    microseconds, steps = answer(AUTO, folder, "time", None)["result"]
    assert microseconds > 0
    assert steps == 40
    assert answer(AUTO, folder, "time", 7)["result"][1] == 7
    assert 0 < answer(AUTO, folder, "judge", 40)["result"] < 1

    def refuse(*_: Any, **__: Any) -> Any:
        raise Unsupported("no such thing")

    monkeypatch.setattr(Candidate, "runner", refuse)
    unsupported = {"note": "no such thing", "failed": False}
    assert answer(AUTO, folder, "time", None) == unsupported


def test_a_strategy_that_lacks_its_library_is_named(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(unroll: str) -> str:
        return "not installed: pip install it" if unroll == "fused" else ""

    monkeypatch.setattr("rnncli.bench.candidates.missing", missing)
    monkeypatch.setattr("rnncli.cli.bench.race", lambda *_, **__: [])
    result = run_rnn("bench", "--seq", "1,2,3", "--hidden", "2")
    assert "--unroll fused: not installed: pip install it" in result.stdout.splitlines()


def test_a_wrong_result_has_its_step_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = rnncli.run

    def wrong(*arguments: Any, **options: Any) -> Any:
        states = right(*arguments, **options)
        layer = states.layers[0].copy()
        layer[0, 3, 1] += 0.01
        return states._replace(layers=(layer,))

    monkeypatch.setattr("rnncli.bench.candidates.run", wrong)
    save_case(str(tmp_path), Size(9, 1, 4).case(1, "float32"))
    assert answer(AUTO, str(tmp_path), "judge", 9)["result"] > 100


# What comes of it, on made-up timings.


DEFAULTS: dict[str, Any] = {"steps": {1: 10**6, 2: 10**6}, "step_error": 0.125}


def timing(kind: str, name: str, one: list[float], two: list[float], **more: Any) -> Timing:
    candidate = Candidate(kind, name)
    return Timing(candidate, {1: one, 2: two}, **DEFAULTS | more)


TIMINGS = [
    timing("strategy", "parallel", [0.03, 0.02, 0.5], [0.02, 0.021, 0.019]),
    timing("strategy", "stepwise", [3.0, 3.1, 2.0], [9.0, 8.0, 7.0], steps={1: 600_000, 2: 10**6}),
    timing("peer", "torch", [4.0, 2.0, 3.0], [5.0, 5.0, 5.0], step_error=np.inf),
    timing("peer", "onnxruntime", [0.4, 0.4, 0.4], [0.1, 0.16, 123.0]),
    # It was timed at first, then it failed.
    Timing(Candidate("peer", "keras"), {1: [0.01]}, {1: 10**6}, note="Keras has no clip"),
]


def test_medians() -> None:
    assert [each.threads for each in TIMINGS[:4]] == [2, 1, 1, 2]
    assert [each.median for each in TIMINGS[:4]] == [0.02, 3.0, 3.0, 0.16]
    assert fastest_peer(TIMINGS) is TIMINGS[3]
    assert fastest_peer(TIMINGS[:2]) is None


def test_the_table_of_made_up_timings() -> None:
    out = StringIO()
    write_table(out, "a title", 10**6, TIMINGS)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1] == "a title"
    rows = {line.split()[-7]: line.split()[-6:] for line in lines if len(line.split()) >= 7}
    assert rows["parallel"] == ["0.0200", "0.0190", "0.0210", "2", "8.00", "0.12"]
    assert rows["onnxruntime"] == ["0.160", "0.100", "123", "2", "1.00", "0.12"]
    assert rows["torch"][-1] == "inf"
    assert lines[-3:] == [
        "Ratio: how many times faster than onnxruntime.",
        "The first 600,000 steps: `unroll` stepwise.",
        "keras: Keras has no clip",
    ]


def test_the_title_of_ones_own_network(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "race", lambda *_: TIMINGS[:1])
    lines = run_rnn("bench", *SEQ, "--precision", "float64").stdout.splitlines()
    assert "RNN: I = 1, H = 4, tanh, float64, init tensorflow, seed 1, T = 6, N = 1" in lines


# The order of questions.


class FakeProcess:
    """Returns prepared answers, and records every question."""

    events: ClassVar[list[tuple[str, ...]]] = []
    answers: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, candidate: Candidate, folder: str, cpus: list[int]) -> None:
        self.name, self.folder, self.threads = candidate.name, folder, len(cpus)
        self.label = f"{candidate.name} {len(cpus)}"
        self.question: tuple[str, int | None] | None = None

    def ask(self, method: str, steps: int | None) -> None:
        assert self.question is None
        self.question = (method, steps)
        T = load_case(self.folder).x.shape[1]
        self.events.append(("ask", self.label, f"{method} {steps} of {T}"))

    def answer(self) -> dict[str, Any]:
        assert self.question
        (method, steps), self.question = self.question, None
        self.events.append(("answer", self.label))
        if note := self.answers.get(f"{self.label} {method} {steps}"):
            return note
        times = {"1": 2.0, "2": 1.0, "3": 3.0}
        return {"result": 0.25 if method == "judge" else [times[self.label[-1]], steps or 5]}

    def close(self) -> None:
        self.events.append(("close", self.label))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeProcess]:
    monkeypatch.setattr("rnncli.bench.race.Process", FakeProcess)
    monkeypatch.setattr("rnncli.bench.race.processors", lambda _: [[3], [2, 3]])
    monkeypatch.setattr(FakeProcess, "events", [])
    monkeypatch.setattr(FakeProcess, "answers", {})
    return FakeProcess


def of_round(round_: int) -> Case:
    return Size(10 * round_, 1, 2).case(round_, "float32")


A, B = Candidate("strategy", "a"), Candidate("peer", "b")


def test_rounds_are_interleaved_and_one_is_asked_at_a_time(fake: type[FakeProcess]) -> None:
    shown: list[str] = []
    timings = race(of_round, [A, B], 3, shown.append)
    labels = ["a 1", "a 2", "b 1", "b 2"]
    loading, rest = fake.events[:8], fake.events[8:]
    # Loading a library is not timed, and goes on side by side.
    assert loading == [
        *(("ask", label, "time 1 of 10") for label in labels),
        *(("answer", label) for label in labels),
    ]
    # As many steps as the first time, of the case of the round.
    expected: list[tuple[str, ...]] = []
    for question in ("time None of 10", "time 5 of 20", "time 5 of 30"):
        for label in labels:
            expected += [("ask", label, question), ("answer", label)]
    for label in ("a 2", "b 2"):  # on the better number of threads
        expected += [("ask", label, "judge 5 of 30"), ("answer", label)]
    assert rest[: len(expected)] == expected
    assert sorted(rest[len(expected) :]) == [("close", label) for label in labels]
    assert shown[0] == "starting"
    assert shown[1:5] == [f"round 1 of 3: {label}" for label in labels]
    assert shown[-2:] == ["step error: a 2", "step error: b 2"]
    assert [each.candidate for each in timings] == [A, B]
    for each in timings:
        assert each.rounds == {1: [2.0] * 3, 2: [1.0] * 3}
        assert (each.steps, each.step_error, each.note) == ({1: 5, 2: 5}, 0.25, "")


@pytest.mark.parametrize("failed", [True, False])
@pytest.mark.parametrize("question", ["time 1", "time None", "time 5", "judge 5"])
def test_a_candidate_that_cannot_go_on_is_asked_no_more(
    fake: type[FakeProcess], question: str, failed: bool
) -> None:
    fake.answers[f"a 2 {question}"] = {"note": "out of order", "failed": failed}
    broken, sound = race(of_round, [A, B], 3)
    assert (broken.note, broken.failed) == ("out of order", failed)
    assert (sound.note, sound.failed, len(sound.rounds[2])) == ("", False, 3)
    last = fake.events.index(("close", "a 2"))
    later = [event for event in fake.events[last:] if event[0] == "ask"]
    assert later or question == "judge 5"
    assert {label for _, label, _ in later} <= {"b 1", "b 2"}
