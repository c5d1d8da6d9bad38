"""``rnn verify``: right runs pass, wrong ones are caught, causes are named."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RUNNABLE, SAMPLES, Rnn
from safetensors.numpy import save_file
from test_all_states import growing

import rnncli
from rnncli.engine.passes import Prepared, prepare
from rnncli.engine.precision import round_mantissa
from rnncli.model.cells import Cell
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.comparison import Comparison, Tolerance
from rnncli.verify.notebook import PRINTED

SEQ = ("--seq", "1,2,3,4,5,6", "--hidden", "4")
STRATEGIES = [f"--unroll {name}" for name in RUNNABLE]


def verified(run_rnn: Rnn, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
    result = run_rnn("verify", *arguments, "--json")
    assert result.exit_code == exit_code, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    assert report["equal"] == (exit_code == 0)
    return report


def own(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the results that need no other library, by name."""
    ours = ["float64 loop", *STRATEGIES]
    return {item["name"]: item for item in report["results"] if item["name"] in ours}


@pytest.mark.parametrize("wrong", [0.0, 1e-4])
def test_without_an_input_the_printed_numbers_are_checked(
    run_rnn: Rnn, notebook: dict[str, Any], monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    assert [list(row) for row in PRINTED] == notebook["cell_6"]
    printed = np.array(PRINTED)
    printed[2, 1] += wrong
    monkeypatch.setattr("rnncli.verify.notebook.PRINTED", printed)
    (item,) = verified(run_rnn, exit_code=int(wrong > 0))["results"]
    verdict = "different" if wrong else "equal"
    assert (item["verdict"], item["values"]) == (verdict, 24)
    result = run_rnn("verify")
    assert result.stdout.startswith(f"{verdict.upper()}: ")
    assert result.exit_code == int(wrong > 0)


def test_the_notebook_is_equal(run_rnn: Rnn) -> None:
    results = own(verified(run_rnn, *SEQ))
    assert list(results) == ["float64 loop", *STRATEGIES]
    for item in results.values():
        assert item["verdict"] == "equal"
        # The largest of 24 float32 values is 1; a run of six steps is within 3e-7.
        assert item["difference"] <= 3e-7
        assert item["step_error"] < 0.5


def test_the_printed_states_are_those_of_tf32(
    run_rnn: Rnn, tmp_path: Path, notebook: dict[str, Any]
) -> None:
    path = tmp_path / "printed.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row in notebook["cell_6"]))
    report = verified(run_rnn, *SEQ, "--expected", str(path), exit_code=1)
    (only,) = report["explanations"]
    assert only["name"] == "--precision tf32"
    assert only["difference"] == pytest.approx(1.2e-7, abs=0.05e-7)
    first = next(item for item in report["results"] if item["name"] == str(path))["first"]
    assert (
        first.items()
        >= {
            "sequence": 1,
            "step": 1,
            "unit": 0,
            "expected": -0.80105966,
            "actual": -0.80093694,
        }.items()
    )
    text = run_rnn("verify", *SEQ, "--expected", str(path)).stdout
    pair = "expected -0.80105966, rnn computes -0.80093694"
    assert f"\nFirst wrong value: step 1, unit 0: {pair}; off by 0.00012, 74 times " in text
    assert "\nReproduced within 1.2e-07 with --precision tf32.\n" in text
    tf32 = verified(run_rnn, *SEQ, "--precision", "tf32", "--expected", str(path))
    assert "explanations" not in tf32


@pytest.mark.parametrize("precision", ["float32", "float64", "tf32", "bfloat16"])
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_our_own_output_is_equal(
    run_rnn: Rnn, tmp_path: Path, precision: str, direction: str
) -> None:
    network = ("--hidden", "4,4", "--init", "torch", "--direction", direction)
    options = (str(SAMPLES / "notebook.csv"), *network, "--precision", precision)
    for name in ("e.csv", "e.npy", "e.json", "e.jsonl"):
        path = str(tmp_path / name)
        assert run_rnn("run", *options, "-o", path).exit_code == 0
        report = verified(run_rnn, *options, "--expected", path)
        assert report["results"][0]["name"] == path
        assert report["results"][0]["difference"] == 0


def test_several_sequences_are_compared_row_by_row(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    log = str(SAMPLES / "sensors.csv")
    columns = ("--columns", "temperature", "--group-by", "sensor")
    options = (log, *columns, "--hidden", "3", "--init", "keras", "--missing", "hold")
    assert run_rnn("run", *options, "-o", str(path)).exit_code == 0
    assert verified(run_rnn, *options, "--expected", str(path))["results"][0]["difference"] == 0
    lines = path.read_text().splitlines()
    cells = lines[100].split(",")
    lines[100] = ",".join([*cells[:-1], "0.123"])
    path.write_text("\n".join(lines))
    first = verified(run_rnn, *options, "--expected", str(path), exit_code=1)["results"][0]["first"]
    sensors = list(dict.fromkeys(line.split(",")[0] for line in lines[1:]))
    assert first["sequence"] == sensors.index(cells[0]) + 1
    assert (first["step"], first["unit"]) == (int(cells[1]), 2)
    text = run_rnn("verify", *options, "--expected", str(path)).stdout
    # The next step, which starts from the wrong value, is wrong too.
    steps = f"from step {cells[1]} to {int(cells[1]) + 1}"
    where = f"in sequence {first['sequence']} ({cells[0]}) alone, {steps}, in every unit"
    others = "The other ways to compute it are equal."
    assert f"in 3 of 1,080 values (0.278%), {where}. {others}\n" in text


def test_what_fails_says_so_first(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "e.csv"
    assert run_rnn("run", *SEQ, "-o", str(path)).exit_code == 0
    right = run_rnn("verify", *SEQ, "--expected", str(path))
    assert (right.exit_code, "DIFFERENT" in right.stdout) == (0, False)
    path.write_text(path.read_text().replace("0.91308177", "0.813"))
    for tolerance in ((), ("--atol", "1e-5")):
        wrong = run_rnn("verify", *SEQ, "--expected", str(path), *tolerance)
        first, *others = wrong.stdout.splitlines()
        assert (wrong.exit_code, first) == (1, f"DIFFERENT: {path}")
        # No other line reads as a verdict on the whole.
        assert not [line for line in others if line.lower().startswith("equal")]
    for columns in ("40", "80"):
        monkeypatch.setenv("COLUMNS", columns)
        legend = run_rnn("verify", *SEQ).stdout.partition("Step error:")[2]
        assert max(map(len, legend.splitlines())) <= int(columns)


def test_a_wrong_step_is_shown_beside_what_its_own_states_make(
    run_rnn: Rnn, tmp_path: Path
) -> None:
    """Of a network that drives right runs apart: our own run shows nothing there."""
    x = np.random.RandomState(0).normal(size=(200, 1)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    network = rnncli.seeded(1, 16)
    h = loop(network, x).astype(np.float32)
    assert abs(h[199, 0] - rnncli.run(network, x).h[199, 0]) > 0.005
    right = h[199, 0]
    h[199, 0] += np.float32(0.001)
    np.save(tmp_path / "e.npy", h)
    report = explained(run_rnn, str(tmp_path / "x.npy"), "--hidden", "16", tmp_path=tmp_path)
    first = report["results"][0]["first"]
    assert (first["step"], first["unit"]) == (200, 0)
    assert first["expected"] - first["actual"] == pytest.approx(0.001, abs=1e-5)
    assert first["actual"] == pytest.approx(right, abs=1e-5)


def test_a_wrong_sign_is_caught(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(cell: Cell) -> Cell:
        W_hh = cell.weights.W_hh.copy()
        W_hh[0, 1] *= -1
        return cell.replaced(cell.weights._replace(W_hh=W_hh))

    def wrong(network: rnncli.Network, *names: Any, **options: Any) -> Prepared:
        prepared = prepare(network, *names, **options)
        return prepared._replace(network=prepared.network.with_cells(turned))

    monkeypatch.setattr("rnncli.engine.run.prepare", wrong)
    results = own(verified(run_rnn, *SEQ, exit_code=1))
    assert {item["verdict"] for item in results.values()} == {"different"}


def test_right_runs_that_part_are_equal(run_rnn: Rnn, tmp_path: Path) -> None:
    path = str(tmp_path / "x.npy")
    np.save(path, np.random.RandomState(0).normal(size=(200, 1)))
    results = own(verified(run_rnn, path, "--hidden", "16"))
    assert max(item["difference"] for item in results.values()) > 0.1
    strict = verified(run_rnn, path, "--hidden", "16", "--atol", "1e-3", exit_code=1)
    assert strict["rule"] == {"atol": 1e-3, "rtol": 0}


# Hypotheses, each made by hand: a loop in float64 that nothing of rnncli is in.


def loop(
    network: rnncli.Network,
    x: np.ndarray,
    h: np.ndarray | float = 0.0,
    f: Callable[[np.ndarray], np.ndarray] = np.tanh,
    operand: Callable[[np.ndarray], np.ndarray] = lambda a: a,
) -> np.ndarray:
    W_xh, W_hh, b_h = (array.astype(np.float64) for array in network.layers[0].cells[0].weights[:3])
    state, states = h + np.zeros(len(b_h)), []
    for x_t in x:
        state = f(operand(x_t) @ operand(W_xh) + operand(state) @ operand(W_hh) + b_h)
        states.append(state)
    return np.array(states)


def rounded(bits: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda a: round_mantissa(a.astype(np.float32), bits).astype(np.float64)


def changed(network: rnncli.Network, **arrays: np.ndarray) -> rnncli.Network:
    return rnncli.Network(network.layers[0].cells[0].weights._replace(**arrays))


NETWORK = rnncli.seeded(3, 5, 3, "torch")
SQUARE = rnncli.seeded(5, 5, 3, "torch")
W_XH, W_HH, _ = NETWORK.layers[0].cells[0].weights[:3]
X = np.random.RandomState(1).normal(size=(9, 3)).astype(np.float32)
X_SQUARE = np.random.RandomState(1).normal(size=(9, 5)).astype(np.float32)
BATCH = np.random.RandomState(1).normal(size=(4, 9, 3)).astype(np.float32)


def carried(batch: np.ndarray) -> np.ndarray:
    """Run each sequence from the state that the one before it left."""
    states: list[np.ndarray] = []
    for x in batch:
        states.append(loop(NETWORK, x, h=states[-1][-1] if states else 0.0))
    return np.array(states)


HYPOTHESES = {
    "--precision tf32": (X, loop(NETWORK, X, operand=rounded(10))),
    "--precision bfloat16": (X, loop(NETWORK, X, operand=rounded(7))),
    "W_xh transposed": (X, loop(changed(NETWORK, W_xh=W_XH.reshape(5, 3).T), X)),
    "W_hh transposed": (X, loop(changed(NETWORK, W_hh=W_HH.T), X)),
    "W_xh and W_hh transposed": (
        X_SQUARE,
        loop(
            changed(
                SQUARE,
                W_xh=SQUARE.layers[0].cells[0].weights.W_xh.T,
                W_hh=SQUARE.layers[0].cells[0].weights.W_hh.T,
            ),
            X_SQUARE,
        ),
    ),
    "--activation relu": (X, loop(NETWORK, X, f=lambda a: np.maximum(a, 0))),
    "--activation hard_sigmoid": (X, loop(NETWORK, X, f=lambda a: np.clip(0.2 * a + 0.5, 0, 1))),
    "the input reversed in time": (X, loop(NETWORK, X[::-1])),
    "the rows of the output reversed in time": (X, loop(NETWORK, X)[::-1]),
    "no bias": (X, loop(changed(NETWORK, b_h=np.zeros(5)), X)),
    "rounding to 4 digits after the point": (X, np.round(loop(NETWORK, X), 4)),
    "rounding to float16": (X, loop(NETWORK, X).astype(np.float16)),
    "rows one step late: row t holds h_{t-1}": (
        X,
        np.concatenate([np.zeros((1, 5)), loop(NETWORK, X)[:-1]]),
    ),
    "rows one step early: row t holds h_{t+1}": (
        X,
        np.concatenate([loop(NETWORK, X)[1:], np.zeros((1, 5))]),
    ),
    "state carried from sequence to sequence": (BATCH, carried(BATCH)),
    "rows one step early: row t holds h_{t+1}, the last twice": (
        X,
        np.concatenate([loop(NETWORK, X)[1:], loop(NETWORK, X)[-1:]]),
    ),
    "rows one step late: row t holds h_{t-1}, h_T first": (X, np.roll(loop(NETWORK, X), 1, axis=0)),
}


# Where one is met in several ways.
NAMES = {
    "rows one step early: row t holds h_{t+1}, the last twice": (
        "rows one step early: row t holds h_{t+1}"
    ),
    "rows one step late: row t holds h_{t-1}, h_T first": "rows one step late: row t holds h_{t-1}",
}


@pytest.mark.parametrize(("name", "made"), HYPOTHESES.items(), ids=HYPOTHESES)
def test_a_hypothesis_is_named_and_no_other(
    run_rnn: Rnn, tmp_path: Path, name: str, made: tuple[np.ndarray, np.ndarray]
) -> None:
    x, expected = made
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "e.npy", expected)
    options = ("--hidden", "5", "--init", "torch", "--seed", "3")
    report = explained(run_rnn, str(tmp_path / "x.npy"), *options, tmp_path=tmp_path)
    assert [found["name"] for found in report["explanations"]] == [NAMES.get(name, name)]


UNEXPLAINED = {
    "states from elsewhere, a sequence each": (
        BATCH,
        np.array([loop(NETWORK, x, h=0.2 * n) for n, x in enumerate(BATCH)]),
    ),
    "rows late, and the first one wrong": (
        X,
        np.concatenate([np.full((1, 5), 0.3), loop(NETWORK, X)[:-1]]),
    ),
    "rows early, and the last one wrong": (
        X,
        np.concatenate([loop(NETWORK, X)[1:], np.full((1, 5), 0.3)]),
    ),
}


@pytest.mark.parametrize("made", UNEXPLAINED.values(), ids=UNEXPLAINED)
def test_what_reproduces_a_part_is_no_explanation(
    run_rnn: Rnn, tmp_path: Path, made: tuple[np.ndarray, np.ndarray]
) -> None:
    np.save(tmp_path / "x.npy", made[0])
    np.save(tmp_path / "e.npy", made[1])
    options = ("--hidden", "5", "--init", "torch", "--seed", "3")
    report = explained(run_rnn, str(tmp_path / "x.npy"), *options, tmp_path=tmp_path)
    assert report["explanations"] == []


def explained(run_rnn: Rnn, *arguments: str, tmp_path: Path) -> dict[str, Any]:
    return verified(run_rnn, *arguments, "--expected", str(tmp_path / "e.npy"), exit_code=1)


@pytest.mark.parametrize("direction", ["backward", "bidirectional"])
@pytest.mark.parametrize("hidden", ["5", "5,5", "5,5,5"])
def test_backward_states_in_processing_order(
    run_rnn: Rnn, tmp_path: Path, direction: str, hidden: str
) -> None:
    """As ``go_backwards`` leaves them; of both directions, as two such layers do."""
    np.save(tmp_path / "x.npy", X)
    sizes = tuple(map(int, hidden.split(",")))
    network = rnncli.seeded(3, sizes, 3, "torch", direction=direction)
    if direction == "backward":
        h = X
        for layer in network.layers:
            h = loop(rnncli.Network(rnncli.Recurrent(*layer.cells)), h[::-1])
    else:
        h = rnncli.run(network, X).h
        h = np.concatenate([h[:, :5], h[::-1, 5:]], axis=1)
    np.save(tmp_path / "e.npy", h)
    options = ("--hidden", hidden, "--init", "torch", "--seed", "3", "--direction", direction)
    report = explained(run_rnn, str(tmp_path / "x.npy"), *options, tmp_path=tmp_path)
    names = [found["name"] for found in report["explanations"]]
    assert names == ["backward states in processing order"]


def late(h: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(h[:1]), h[:-1]])


MISPLACED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the rows of the output reversed in time": lambda h: h[::-1],
    "rows one step late: row t holds h_{t-1}": late,
    "rows one step early: row t holds h_{t+1}": lambda h: late(h[::-1])[::-1],
    "forward and backward halves exchanged": lambda h: np.hstack([h[:, 5:], h[:, :5]]),
}


@pytest.mark.parametrize("name", MISPLACED)
def test_misplaced_states_of_both_directions(run_rnn: Rnn, tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "x.npy", X)
    h = rnncli.run(rnncli.seeded(3, 5, 3, "torch", direction="bidirectional"), X).h
    np.save(tmp_path / "e.npy", MISPLACED[name](h))
    options = ("--hidden", "5", "--init", "torch", "--seed", "3", "--direction", "bidirectional")
    report = explained(run_rnn, str(tmp_path / "x.npy"), *options, tmp_path=tmp_path)
    assert [found["name"] for found in report["explanations"]] == [name]


def test_what_nothing_explains_is_said(run_rnn: Rnn, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "e.npy", loop(rnncli.seeded(3, 5, 4, "torch"), X))
    options = (str(tmp_path / "x.npy"), "--hidden", "5", "--init", "torch", "--seed", "3")
    assert explained(run_rnn, *options, tmp_path=tmp_path)["explanations"] == []
    text = run_rnn("verify", *options, "--expected", str(tmp_path / "e.npy")).stdout
    assert "\n\nNo convention that rnn knows reproduces it.\n\n" in text


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_never_passes(run_rnn: Rnn, tmp_path: Path, value: float) -> None:
    np.save(tmp_path / "x.npy", X)
    h = loop(NETWORK, X)
    h[4, 2] = value
    np.save(tmp_path / "e.npy", h)
    options = (str(tmp_path / "x.npy"), "--hidden", "5", "--init", "torch", "--seed", "3")
    for tolerance in ((), ("--atol", "1e9", "--rtol", "1")):
        report = explained(run_rnn, *options, *tolerance, tmp_path=tmp_path)
        first = report["results"][0]["first"]
        assert (first["step"], first["unit"], first["expected"]) == (5, 2, None)
        assert first["actual"] == pytest.approx(loop(NETWORK, X)[4, 2], abs=1e-6)
        assert report["results"][0]["difference"] is None


def test_one_row_is_a_final_state(run_rnn: Rnn, tmp_path: Path) -> None:
    """It is not a result of every step, and says what it is of instead."""
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "e.npy", loop(NETWORK, X)[-1:])
    options = (str(tmp_path / "x.npy"), "--hidden", "5", "--init", "torch", "--seed", "3")
    report = explained(run_rnn, *options, tmp_path=tmp_path)
    assert [found["name"] for found in report["explanations"]] == ["final states alone"]
    np.save(tmp_path / "e.npy", loop(NETWORK, X)[-2:-1])
    result = run_rnn("verify", *options, "--expected", str(tmp_path / "e.npy"))
    assert (result.exit_code, "expected shape (9, 5)" in result.stderr) == (2, True)


BAD = {
    "shape": ((*SEQ, "--expected", "two.csv"), r"two.csv: expected shape \(6, 4\).*\(2, 4\)"),
    "width": ((*SEQ, "--expected", "narrow.csv"), r"narrow.csv: expected shape \(6, 4\).*\(6, 2\)"),
    "no steps": (("v.csv", "--hidden", "2"), "the input has no steps"),
    "final state": ((*SEQ, "--expected", "last.json"), "last.json: .*--last"),
    "missing": ((*SEQ, "--expected", "no.csv"), "no.csv: cannot be read"),
    "no network": (("--seq", "1"), "no network"),
    "expected of nothing": (("--expected", "two.csv"), "--expected: give an input"),
    "h_1 is missing": ((*SEQ, "--expected", "gap.csv"), "gap.csv: .*h_0, h_2"),
    "an index of pandas": ((*SEQ, "--expected", "index.csv"), "index.csv: .*index=False"),
    "nan": ((*SEQ, "--expected", "nan.csv"), "nan.csv:1: column 2: not a finite number"),
    "nothing": ((*SEQ, "--expected", "-"), "standard input: empty"),
    "not JSON": ((*SEQ, "--expected", "bad.jsonl"), "bad.jsonl:2: not JSON"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input(
    run_rnn: Rnn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two.csv").write_text("t,h_0,h_1,h_2,h_3\n1,0,0,0,0\n2,0,0,0,0\n")
    Path("narrow.csv").write_text("0,0\n" * 6)
    Path("nan.csv").write_text("0,nan,0,0\n" * 6)
    Path("v.csv").write_text("v\n")
    Path("last.json").write_text('{"final": [{"t": 6, "h": [0, 0, 0, 0]}]}')
    Path("gap.csv").write_text("h_0,h_2\n0,0\n")
    Path("index.csv").write_text(",0\n0,0.5\n")
    Path("bad.jsonl").write_text('{"h": [1]}\n{"h": [1\n')
    result = run_rnn("verify", *arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert re.match(f"Error: {message}", line)


def test_numbers_in_rows_are_enough(run_rnn: Rnn, tmp_path: Path) -> None:
    h = rnncli.run(rnncli.seeded(), [[t] for t in range(1, 7)]).h
    rows = [list(map(str, row)) for row in h]
    for name, text in {
        "plain.csv": "\n".join(",".join(row) for row in rows),
        "t.csv": "t,a,b,c,d\n" + "\n".join(",".join([str(t), *row]) for t, row in enumerate(rows)),
        "rows.tsv": "\n".join("\t".join(row) for row in rows),
        "savetxt.txt": "\n".join(" ".join(row) for row in rows),
        "rows.json": json.dumps(h.tolist()),
        "rows.jsonl": "\n".join(json.dumps(row) for row in h.tolist()),
    }.items():
        (tmp_path / name).write_text(text)
        report = verified(run_rnn, *SEQ, "--expected", str(tmp_path / name))
        assert report["results"][0]["difference"] == 0


EXPECTED: dict[str, tuple[str, Callable[[int, list[str]], str]]] = {
    "as rnn run writes": ("t,h_0,h_1,h_2,h_3", lambda t, row: ",".join([str(t), *row])),
    "plain": ("", lambda _, row: ",".join(row)),
    "savetxt": ("", lambda _, row: " ".join(row)),
}


@pytest.mark.parametrize("source", ["-", "pipe"])
@pytest.mark.parametrize("kind", EXPECTED)
def test_what_comes_through_a_pipe_is_read_whole(run_rnn: Rnn, source: str, kind: str) -> None:
    header, line = EXPECTED[kind]
    h = rnncli.run(rnncli.seeded(), [[t] for t in range(1, 7)]).h
    rows = [line(t, list(map(str, row))) for t, row in enumerate(h, start=1)]
    text = "\n".join(filter(None, [header, *rows])).encode()
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "wb") as pipe:
        pipe.write(text)
        pipe.close()
        path = "-" if source == "-" else f"/dev/fd/{reading}"
        result = run_rnn("verify", *SEQ, "--expected", path, "--json", stdin=text)
    assert result.exit_code == 0, result.output
    first = json.loads(result.stdout)["results"][0]
    assert (first["name"], first["difference"]) == (
        "standard input" if source == "-" else path,
        0,
    )


@pytest.mark.parametrize("files", [(), ("-",)])
def test_standard_input_is_not_both(run_rnn: Rnn, files: tuple[str, ...]) -> None:
    result = run_rnn("verify", *files, "--hidden", "1", "--expected", "-", stdin="1\n2\n")
    assert result.exit_code == 2
    assert "--expected -: standard input is the input; name a FILE for one" in result.stderr


def test_an_overflow_of_our_own_is_no_verdict(run_rnn: Rnn) -> None:
    options = ("--hidden", "2", "--activation", "affine:1e30,0", "--seq", "1e30,1,1")
    result = run_rnn("verify", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: step 1, unit 0: overflow (")


def test_nor_is_one_of_c_alone(run_rnn: Rnn, tmp_path: Path) -> None:
    rnncli.save(Network(growing()), tmp_path / "net.npz")
    result = run_rnn("verify", "--weights", str(tmp_path / "net.npz"), "--seq", "1,1,1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: step 3, unit 1 of c: overflow (inf)\n"


CASE = Case(NETWORK, X[None], np.zeros((1, 5), np.float32), np.array([9]))


def test_the_smallest_tolerances_pass_and_smaller_ones_do_not() -> None:
    layers = CASE.outputs()
    theirs = layers[-1] + np.float32(0.01) * np.arange(9, dtype=np.float32)[:, None]
    verdict = Comparison(CASE, layers).judge(theirs)
    for tolerance in (Tolerance(atol=verdict.difference), Tolerance(rtol=verdict.rtol)):
        assert Comparison(CASE, layers, tolerance).judge(theirs).equal
        smaller = Tolerance(*(0.999 * value for value in tolerance))
        assert not Comparison(CASE, layers, smaller).judge(theirs).equal


@pytest.mark.parametrize("kind", ["input", "recurrent"])
def test_one_of_two_biases_is_left_out(run_rnn: Rnn, tmp_path: Path, kind: str) -> None:
    W_xh, W_hh, _ = NETWORK.layers[0].cells[0].weights[:3]
    biases = np.random.RandomState(2).uniform(-1, 1, (2, 5)).astype(np.float32)
    tensors = {"weight_ih_l0": W_xh.T, "weight_hh_l0": W_hh.T}
    tensors |= {"bias_ih_l0": biases[0], "bias_hh_l0": biases[1]}
    weights = str(tmp_path / "w.safetensors")
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, weights)
    kept = biases[["input", "recurrent"].index(kind)]
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "e.npy", loop(changed(NETWORK, b_h=kept), X))
    report = explained(run_rnn, str(tmp_path / "x.npy"), "--weights", weights, tmp_path=tmp_path)
    assert [found["name"] for found in report["explanations"]] == [f"{kind} bias only"]


def test_numbers_near_the_largest_are_judged(run_rnn: Rnn, tmp_path: Path) -> None:
    options = ("--seq", "1e308,1.7e308,-1.7e308", "--hidden", "3", "--precision", "float64")
    assert run_rnn("verify", *options).exit_code == 0
    path = tmp_path / "e.csv"
    path.write_text("1e308 -1e308 3e38\n1e308 1 1\n1 1 1\n".replace(" ", ","))
    result = run_rnn("verify", *options, "--expected", str(path))
    assert "First wrong value: step 1, unit 0: expected 1e+308, rnn computes " in result.stdout


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_tolerance_that_no_float32_holds(run_rnn: Rnn, precision: str) -> None:
    zeros = ("--seq", "-1,-2", "--hidden", "3", "--activation", "thresholded_relu:9")
    options = (*zeros, "--precision", precision, "--rtol", "1e39")
    assert run_rnn("verify", *options).exit_code == 0


def test_weights_and_a_clip_are_judged_as_a_run_has_them(run_rnn: Rnn, tmp_path: Path) -> None:
    """A float64 weight whose float32 is halfway between two tf32; a clip that is no float32."""

    def cell(weight: float, *settings: Any) -> rnncli.RNN:
        arrays = np.full((1, 1), weight), np.zeros((1, 1)), np.zeros(1)
        return rnncli.RNN(rnncli.Weights(*arrays), *settings)

    cells = {
        "tf32": cell(1 + 2**-11 + 2**-30, "linear"),
        "bfloat16": cell(1 + 2**-8 + 2**-30, "linear"),
        "float32": cell(1, "exponential", 73.1),
    }
    for precision, each in cells.items():
        rnncli.save(Network(each), tmp_path / "w.npz")
        options = ["--weights", str(tmp_path / "w.npz"), "--precision", precision, "--seq", "1,100"]
        result = run_rnn("verify", *options, "--json")
        verdicts = {each["verdict"] for each in json.loads(result.stdout)["results"]}
        assert verdicts - {"not compared"} == {"equal"}, precision
