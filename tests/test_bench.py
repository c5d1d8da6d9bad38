"""``rnn bench``: who is timed, on what, and what is shown; never how fast anything is."""

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RUNNABLE, Rnn

import rnncli
from rnncli.bench.candidates import Candidate
from rnncli.bench.cases import Size, save_case
from rnncli.bench.process import answer
from rnncli.bench.race import Timing, fastest_peer
from rnncli.bench.report import write_table
from rnncli.cli import bench

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
    monkeypatch.setattr(bench, "find_candidates", lambda *_: (two, {}))


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


# Who cannot be timed.


@pytest.mark.slow
def test_a_failure_is_said_and_is_the_exit_code(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Candidate("strategy", "sideways")
    monkeypatch.setattr(bench, "find_candidates", lambda *_: ([AUTO, broken], {}))
    result = run_rnn("bench", *SEQ, "--repeats", "1")
    assert result.exit_code == 1
    assert "\n--unroll sideways: ValueError: unroll: expected one of" in result.stdout
    assert "\n--unroll auto " in result.stdout


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


# The order of questions.


A, B = Candidate("strategy", "a"), Candidate("peer", "b")
