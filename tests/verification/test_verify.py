"""``rnn verify``: right runs pass, and a wrong value is found in its place."""

import json
import re
from collections.abc import Sequence
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from conftest import NIGHTLY, RUNNABLE
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_networks import gated_cell
from saved_stacks import Saved, invoke, saved

import rnncli
from rnncli import Dense, Network, Weights
from rnncli.engine.unroll import STRATEGIES
from rnncli.model.arrays import Floats
from rnncli.model.cells import LSTM, RNN, Cell
from rnncli.model.layers import Pointwise
from rnncli.verification.case import Case
from rnncli.verification.peers import PEERS
from rnncli.verification.verify import PRINTED

EPS = float(np.finfo(np.float32).eps)


def verified(*arguments: Any, code: int = 0) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(invoke("verify", *arguments, "--json", code=code).stdout)
    assert report["equal"] == (code == 0)
    return report


def first_of(report: dict[str, Any]) -> dict[str, Any]:
    """The result of the file, which stands first."""
    result: dict[str, Any] = report["results"][0]
    return result


# Any network


def of_another_program(case: Saved, random: np.random.RandomState) -> list[Floats]:
    """Run with weights that are a last bit up or down: sums in another order are as far off."""
    if case.precision not in ("float32", "float64"):  # a last bit may turn an operand's rounding
        return case.outputs(unroll="fused")

    def moved(_name: str, array: Floats) -> Floats:
        array = array.astype(case.precision)
        return np.asarray(np.nextafter(array, random.choice([-inf, inf], array.shape)), array.dtype)

    network = Network(*(layer.converted(moved) for layer in case.network.layers))
    return case.outputs(network=network)


@settings(max_examples=400 if NIGHTLY else 10)
@given(st.data(), st.integers(0, 2**32 - 1))
def test_right_runs_are_equal_and_one_moved_value_differs(data: st.DataObject, seed: int) -> None:
    random = np.random.RandomState(seed)
    with TemporaryDirectory() as folder:
        case = data.draw(saved(Path(folder)))
        outputs = of_another_program(case, random)
        assume(all(np.isfinite(rows).all() for rows in outputs))
        path = Path(folder, "e.npy")
        np.save(path, case.in_lines(outputs))
        report = json.loads(
            invoke("verify", *case.options, "--expected", path, "--json", code=None).stdout
        )
        verdicts = {result["name"]: result["verdict"] for result in report["results"]}
        names = [str(path), "float64 loop", *(f"--unroll {name}" for name in RUNNABLE)]
        # Of a stack that drives right runs apart too few values can be judged.
        assert {verdicts[name] for name in names} <= {"equal", "not compared"}
        if first_of(report).get("judged", 0) < 1:
            return

        moved = [rows.astype(np.float64) for rows in outputs]
        size = max(1, *(float(np.abs(rows).max()) for rows in moved))
        share = 0.5 if case.precision in ("tf32", "bfloat16") else 0.05
        n = random.randint(len(moved))
        t, unit = (random.randint(size) for size in moved[n].shape)
        moved[-1][-1, -1] = np.nan  # no cause is looked for, which would take a second
        moved[n][t, unit] = outputs[n][t, unit] + share * size
        np.save(path, case.in_lines(moved))
        first = first_of(verified(*case.options, "--expected", path, code=1))["first"]
        assert first["key"] == case.keys[n]
        # A backward cell takes steps from a wrong state, or from the nan at the end.
        if case.network.needs_whole_sequences:
            assert first["step"] <= t + 1
        else:
            assert (first["step"], first["unit"]) == (t + 1, unit)


# One step from the state before


def step_by_hand(network: Network, x: Floats, h: Floats) -> tuple[Floats, Floats]:
    """Take each step of a vanilla layer from the h before it; return h_t and the bound of it."""
    (layer,) = network.layers
    found = []
    halves = np.split(h.astype(float), len(layer.cells), axis=2)
    for cell, direction, states in zip(layer.cells, layer.directions, halves, strict=True):
        W_xh, W_hh, b_h = (array.astype(float) for array in cell.weights[:3])
        turn = -1 if direction == "backward" else 1
        before = np.zeros_like(states)
        before[:, ::turn][:, 1:] = states[:, ::turn][:, :-1]
        terms = np.abs(x) @ np.abs(W_xh) + np.abs(before) @ np.abs(W_hh) + np.abs(b_h)
        off, a = (len(W_xh) + len(W_hh) + 4) * EPS * terms, x @ W_xh + before @ W_hh + b_h
        moved = np.maximum(np.tanh(a + off) - np.tanh(a), np.tanh(a) - np.tanh(a - off))
        found.append((np.tanh(a), np.where(np.isinf(off), inf, moved + 8 * EPS)))
    right, bounds = (np.concatenate(arrays, axis=2) for arrays in zip(*found, strict=True))
    return right, bounds


def damaged(h: Floats, random: np.random.RandomState) -> Floats:
    """Put faults of any size at some places, one that is NaN and one infinite."""
    h = h.copy()
    places = random.choice(h.size, 9, replace=False)
    h.flat[places] += 10.0 ** random.uniform(-6.5, 1, 9)
    h.flat[places[:2]] = np.nan, -inf
    h[0, 0, -1] += 0.5  # of the second direction, if there are two
    return h


def check_wrong(result: dict[str, Any], times: Floats, theirs: Floats, right: Floats) -> None:
    """Compare a result with how many bounds each value is off, (N, T, H)."""
    places = np.argwhere(times > 1)
    assert (result["verdict"], result["values"]) == ("different", times.size)
    assert result["wrong"] == len(places)
    first, (n, t, unit) = result["first"], places[0]
    assert (first["sequence"], first["step"], first["unit"]) == (n + 1, t + 1, unit)
    expected = float(theirs[n, t, unit])
    assert first["expected"] == pytest.approx(expected, nan_ok=True)
    assert first["actual"] == pytest.approx(right[n, t, unit], rel=1e-6)
    if np.isfinite(expected):
        assert first["times"] == pytest.approx(times[n, t, unit], rel=1e-3)


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_each_step_is_judged_from_the_state_before_it(
    monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    monkeypatch.setattr("rnncli.verification.steps.CHUNK", 2**10)
    T, random = 100, np.random.RandomState(5000)
    H = 8 if direction == "bidirectional" else 16
    network = rnncli.seeded(2, H, 3, "torch", direction=direction)
    x = random.normal(size=(2, T, 2)).astype("f")
    theirs = damaged(rnncli.run(network, x).h, random)
    with np.errstate(invalid="ignore"):
        right, bounds = step_by_hand(network, x.astype(float), theirs)
        times = np.abs(theirs - right) / bounds
    times[~np.isfinite(times)] = inf
    check_wrong(first_of(rnncli.verify(network, x, theirs)), times, theirs, right)


@pytest.mark.parametrize("tolerance", [(0.0, 0.0), (1e-5, 0.1), (0.0, 1e30)])
@pytest.mark.parametrize("last", [None, "step"])
def test_each_value_is_within_a_tolerance(last: str | None, tolerance: tuple[float, float]) -> None:
    random = np.random.RandomState(1)
    head = Dense(random.normal(size=(4, 3)).astype("f"), np.ones(3, "f"))
    network = Network(*rnncli.seeded(2, 4, 3, "torch").layers, head, last=last)
    x = random.normal(size=(4, 1 if last else 11, 2)).astype("f")
    ours = rnncli.run(Network(*network.layers), x).y
    assert ours is not None
    theirs, (atol, rtol) = damaged(ours, random), tolerance
    given = theirs[:, 0] if last else theirs
    report = rnncli.verify(network, x, given, atol=atol, rtol=rtol)
    assert report["rule"] == {"atol": atol, "rtol": rtol}
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.abs(theirs.astype(float) - ours)
        times = np.where(distance > 0, distance / (atol + rtol * np.abs(theirs.astype(float))), 0)
    times[~np.isfinite(theirs)] = inf
    if tolerance != (0, 0):  # else only the other ways to compute it show whether they are equal
        check_wrong(first_of(report), times, theirs, ours)
    assert first_of(report)["wrong"] == (times > 1).sum()


# Whole runs, where the states between layers are not known


def stack(gains: Sequence[float], T: int, seed: int = 1) -> tuple[Network, Floats]:
    """Draw two layers and an input; units of the upper one amplify rounding by their gain."""
    random, H, chaotic = np.random.RandomState(seed), len(gains), np.array(gains) > 1
    below = (random.normal(size=(1, 4)), random.normal(size=(4, 4)) * 0.2, np.zeros(4))
    W_xh = random.normal(size=(4, H)) * 0.3
    W_hh, b_h = random.normal(size=(H, H)) * gains, random.normal(size=H) * 0.1
    W_hh[chaotic[:, None] != chaotic] = 0
    W_xh[:, chaotic] *= 0.2
    layers = (Weights(*(a.astype("f") for a in each)) for each in (below, (W_xh, W_hh, b_h)))
    return Network(*layers), random.normal(size=(T, 1)).astype("f")


def both(network: Network, x: Floats) -> list[Floats]:
    """Run in float32, and in float64, which is off by rounding."""
    return [rnncli.run(network, x, precision=each).h.copy() for each in ("float32", "float64")]


def judged(network: Network, x: Floats, h: Floats) -> dict[str, Any]:
    return first_of(rnncli.verify(network, x, h))


def test_a_stack_that_amplifies_rounding_is_judged_whole() -> None:
    network, x = stack([0.7] * 12, 60)
    ours, other = both(network, x)
    assert np.abs(ours - other).max() > 1e-6
    result = judged(network, x, other)
    assert (result["verdict"], result["step_error"], result["judged"]) == ("equal", None, 1)
    ours[7, 3] += np.float32(3e-5)
    first = judged(network, x, ours)["first"]
    assert (first["step"], first["unit"]) == (8, 3)
    other[7:, 3] = np.nan
    assert judged(network, x, other)["first"]["step"] == 8


def test_values_that_rounding_drives_anywhere_are_wrong_beyond_any_run() -> None:
    network, x = stack([2] * 9 + [0.03] * 91, 200, seed=2)
    ours, other = both(network, x)
    apart = np.abs(ours - other) > 0.1
    assert apart[100:, :9].any()
    result = judged(network, x, other)
    assert result["verdict"] == "equal"
    assert 0.9 < result["judged"] < 0.97
    other[apart] = -20
    result = judged(network, x, other)
    assert (result["verdict"], result["wrong"]) == ("different", apart.sum())


# A wrong run of rnn itself


def turned(cell: Cell) -> Cell:
    W_hh = cell.weights.W_hh.copy()
    W_hh[0, 1] *= -1
    return cell.replaced(cell.weights._replace(W_hh=W_hh))


def test_verify_finds_a_wrong_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    right = STRATEGIES["fused"]
    monkeypatch.setitem(STRATEGIES, "fused", lambda cell, *rest: right(turned(cell), *rest))
    options = ("--seq", "1,2,3", "--hidden", "4,4", "--init", "torch", "--unroll", "stepwise")
    report = verified(*options, code=1)
    (wrong,) = (item for item in report["results"] if item["verdict"] == "different")
    assert wrong["name"] == "--unroll fused"
    assert (wrong["first"]["layer"], wrong["first"]["step"]) == (1, 2)
    text = invoke("verify", *options, code=1).stdout
    assert text.startswith("DIFFERENT: --unroll fused, ")
    assert "\nlayer  step  unit " in text


def test_verify_finds_a_wrong_equation_of_a_cell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its runs and the steps that it is judged by are wrong alike; those of the loop are not."""
    rnncli.save(Network(gated_cell("lstm peepholes", 1, 4)), tmp_path / "w.npz")
    right = LSTM.step

    def wrong(self: LSTM, n: Any, sums: Any, h: Any, c: Any) -> Any:
        i, f, g, o = sums
        return right(self, n, (f, i, g, o), h, c)

    options = ("--seq", "1,2,3", "--weights", tmp_path / "w.npz")
    assert verified(*options)["equal"]
    monkeypatch.setattr(LSTM, "step", wrong)
    (result, *_) = verified(*options, code=1)["results"]
    assert (result["name"], result["verdict"]) == ("float64 loop", "different")


@pytest.mark.parametrize("by", [0.0, 0.5])
@pytest.mark.parametrize("last", ["state", "step"])
def test_the_row_that_a_model_gives_is_compared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, last: str, by: float
) -> None:
    layers = rnncli.seeded(1, 4, 3, "torch", cell="lstm", direction="bidirectional").layers
    head = Dense(np.ones((8, 1), "f"), activation="sigmoid")
    rnncli.save(Network(*layers, head, last=last), tmp_path / "w.npz")

    right = Case.run

    def moved(case: Case, *options: Any) -> tuple[list[Floats], Floats | None]:
        layers, final = right(case, *options)
        return layers, None if final is None else final + np.float32(by)

    monkeypatch.setattr(Case, "run", moved)
    options = ("--seq", "1,2,3", "--weights", tmp_path / "w.npz")
    results = verified(*options, code=int(by > 0))["results"]
    verdict = "different" if by else "equal"
    assert (results[0]["name"], results[0]["verdict"]) == ("float64 loop", verdict)
    own = [item for item in results if item["name"] not in PEERS]  # a peer has a row a step
    assert {item["values"] for item in own if "values" in item} == {1}
    text = invoke("verify", *options, code=int(by > 0)).stdout
    assert by or re.search(r"^EQUAL: \d results( of 1 value each)? are ", text)


@pytest.mark.parametrize("wrong", [0.0, 1e-4])
def test_the_numbers_that_the_notebook_printed_are_checked(
    monkeypatch: pytest.MonkeyPatch, notebook: dict[str, Any], wrong: float
) -> None:
    assert [list(row) for row in PRINTED] == notebook["cell_6"]
    printed = np.array(PRINTED)
    printed[2, 1] += wrong
    monkeypatch.setattr("rnncli.verification.verify.PRINTED", printed)
    result = first_of(verified(code=int(wrong > 0)))
    assert (result["verdict"], result["values"]) == ("different" if wrong else "equal", 24)


# The library


def test_a_long_file_is_judged_whole_and_rnn_on_the_first_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("rnncli.verification.verify.CHECKED", 5)
    path, steps = tmp_path / "port.npy", np.arange(1.0, 8)[:, None]
    states = rnncli.run(rnncli.seeded(1, 3), steps).h.copy()
    command = ("verify", "--seq", "1,2,3,4,5,6,7", "--hidden", "3", "--expected", path)
    np.save(path, states)
    assert "rnn checked itself on the first 5 rows." in invoke(*command).stdout
    states[6, 1] += 0.5
    np.save(path, states)
    report = verified(*command[1:], code=1)
    (of_file, *ours), worst = report["results"], report["results"][0]["worst"]
    assert (worst[0]["step"], of_file["values"], report["checked_rows"]) == (7, 21, 5)
    assert {each.get("values", 15) for each in ours} == {15}
    assert {each["verdict"] for each in ours} <= {"equal", "not compared"}
    network = rnncli.seeded(1, 3)
    assert "checked_rows" not in rnncli.verify(network, steps[:5], states[:5])


@pytest.mark.parametrize("unroll", ["auto", "projected"])
def test_a_long_run_is_judged_whole_and_other_ways_on_the_first_rows(
    monkeypatch: pytest.MonkeyPatch, unroll: str
) -> None:
    monkeypatch.setattr("rnncli.verification.verify.CHECKED", 5)
    network, steps = rnncli.seeded(1, 3), np.arange(1.0, 8)[:, None]
    report, run = rnncli.verify(network, steps, unroll=unroll), Case.run
    values = {each["name"]: each.get("values", 15) for each in report["results"]}
    assert values.pop(f"`unroll` {unroll}") == 21
    assert {*values.values()} == {15}
    assert "The float64 loop and other ways to unroll ran on the first 5 rows." in str(report)

    def run_wrong(case: Case, unroll: str = "auto") -> Any:
        layers, final = run(case, unroll)
        layers[-1][6:] += 0.5  # one row beyond the first ones
        return layers, final

    monkeypatch.setattr(Case, "run", run_wrong)
    report = rnncli.verify(network, steps, unroll=unroll)
    wrong = [each for each in report["results"] if each["verdict"] == "different"]
    assert [(each["name"], each["first"]["step"]) for each in wrong] == [(f"`unroll` {unroll}", 7)]
    assert "checked_rows" not in rnncli.verify(network, steps, atol=1.0)
    monkeypatch.setattr(Case, "run", run)
    last = rnncli.Network(*network.layers, last="state")
    assert "checked_rows" not in rnncli.verify(last, steps)


def test_verify_gives_the_document_of_the_command(tmp_path: Path) -> None:
    network = rnncli.seeded(2, 4, 3, "torch", cell="gru")
    x = np.random.RandomState(0).normal(size=(3, 9, 2)).astype("f")
    theirs = (1.5 * rnncli.run(network, x).h).round(4)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "e.npy", theirs)
    options = ("--hidden", 4, "--seed", 3, "--init", "torch", "--cell", "gru")
    told = verified(tmp_path / "x.npy", *options, "--expected", tmp_path / "e.npy", code=1)
    found = rnncli.verify(network, x, theirs)
    for ours, other in zip(found["results"], told["results"], strict=True):
        for name in ("verdict", "step_error", "difference", "values", "wrong", "judged"):
            assert ours.get(name) == other.get(name)
    assert found["explanations"] == told["explanations"] != []
    assert rnncli.verify(network, x)["equal"]
    assert rnncli.verify(rnncli.seeded(1, 2), [1, 2, 3])["equal"]
    near = rnncli.verify(network, x[0], theirs[0], atol=1e-3)
    assert near["rule"] == {"atol": 1e-3, "rtol": 0}
    assert [each["name"] for each in near["explanations"]] == ["output scaled: expected = 1.5 h"]


def test_verify_takes_the_row_of_a_model_and_refuses_other_shapes() -> None:
    layers = rnncli.seeded(1, 4, 3, "torch", direction="bidirectional").layers
    x = np.ones((3, 5, 1))
    network = Network(*layers, Dense(np.ones((8, 2))), last="state")
    y_n = rnncli.run(network, x, lengths=[5, 2, 1]).y_n
    assert rnncli.verify(network, x, y_n, lengths=[5, 2, 1])["equal"]
    last = rnncli.run(Network(*network.layers, last="step"), x).y_n
    causes = rnncli.verify(network, x, last)["explanations"]
    assert [each["name"][:21] for each in causes] == ["the last row, where t"]
    shapes: list[Any] = [((4, 2), None), ((), None), ((2, 4, 1), np.ones((3, 2)))]
    for shape, expected in shapes:
        with pytest.raises(ValueError, match="expected shape"):
            rnncli.verify(network, np.ones(shape), expected)
    for options, words in (({"atol": -1}, "from 0 on"), ({"h0": [1, 2]}, "h0: expected shape")):
        with pytest.raises(ValueError, match=words):
            rnncli.verify(network, x, **options)
    with pytest.raises(ValueError, match="overflow"):
        rnncli.verify(rnncli.seeded(1, 2, activation="affine:1e30,0"), np.array([[1e30], [1]]))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_inputs_far_from_0_are_normalized_up_to_rounding(precision: str) -> None:
    x = np.random.RandomState(1).normal(1000, 1, (20, 8)).astype(precision)
    recurrent = rnncli.seeded(8, 4, init="torch")
    network = Network(rnncli.LayerNormalization(np.ones(8)), *recurrent.layers)
    for epsilon, verdict in ((x.dtype.type(1e-3), "equal"), (x.dtype.type(0.1), "different")):
        root = np.sqrt(x.var(axis=1, keepdims=True) + epsilon)
        rows = x * (1 / root) - x.mean(axis=1, keepdims=True) * (1 / root)  # as Keras has it
        h = rnncli.run(recurrent, rows, precision=precision).h
        assert rnncli.verify(network, x, h, precision=precision)["verdict"] == verdict


def test_a_softmax_of_large_sums_is_exact_in_float64() -> None:
    sums = [[-221.24975725, 584.9061715, -791.67828897, 594.42381028]]
    head = Network(Dense(np.array(sums), None, "softmax"))
    assert rnncli.verify(head, [[1.0]], precision="float64")["verdict"] == "equal"


def test_a_state_that_overflows_is_carried_into_no_sequence() -> None:
    grows = Weights(np.full((1, 1), 100, "f"), np.ones((1, 1), "f"), np.zeros(1, "f"))
    network = Network(RNN(grows, "exponential"), Pointwise("sigmoid", 1), last="state")
    report = rnncli.verify(network, np.ones((2, 1, 1)), [[0.5], [0.5]])
    assert report["verdict"] == "different"


@pytest.mark.parametrize("last", [None, "state"])
def test_an_input_without_steps_is_not_compared(last: str | None) -> None:
    network = Network(*rnncli.seeded(1, 2, 1, "torch").layers, last=last)
    report = rnncli.verify(network, np.empty((0, 1)))
    assert report["verdict"] == "not compared"


def test_a_sigmoid_near_0_may_be_computed_by_tanh() -> None:
    random, half = np.random.RandomState(0), np.float32(0.5)
    W_xh, W_hh = (random.normal(0, 0.1, shape).astype("f") for shape in ((1, 3), (3, 3)))
    cell = RNN(Weights(W_xh, W_hh, np.full(3, -9.3, "f")), activation="sigmoid")
    network = Network(cell, Dense(np.ones((3, 1), "f"), None), last="state")
    x = random.normal(size=(4, 20, 1)).astype("f")
    h = np.zeros((4, 3), "f")
    for t in range(20):
        h = (1 + np.tanh((x[:, t] @ W_xh + h @ W_hh + cell.weights.b_h) * half)) * half
    report = rnncli.verify(network, x, h.sum(axis=1, keepdims=True))
    assert report["verdict"] == "equal"
