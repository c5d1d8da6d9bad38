"""The report of ``rnn verify`` on wrong values: their number, places, and the first."""

import json
import re
from collections.abc import Callable
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SAMPLES, Rnn

import rnncli
from rnncli.engine.passes import Prepared, prepare
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell
from rnncli.model.layers import Dense
from rnncli.model.network import Network
from rnncli.verify import comparison, steps
from rnncli.verify.case import Case
from rnncli.verify.comparison import Comparison, Tolerance, Verdict

STEP = "one step from the h_{t-1} of the same result, not a whole run."
EPS = float(np.finfo(np.float32).eps)
LENGTHS = (11, 0, 4, 7, 10)
Values = dict[tuple[int, int, int], tuple[float, float, float]]


def case_of(network: Network, lengths: tuple[int, ...] = LENGTHS) -> Case:
    random = np.random.RandomState(0)
    x = random.normal(size=(len(lengths), max(lengths), network.input_size)).astype("f")
    h0 = random.normal(size=(len(lengths), network.state_size)).astype("f") / 2
    return Case(network, x, h0, np.array(lengths))


def damaged(h: Floats, case: Case, seed: int, count: int = 9) -> Floats:
    """Put faults of any size at random places, one that is NaN and one infinite."""
    random = np.random.RandomState(seed)
    h = h.copy()
    n, t = np.nonzero(case.rows())
    row = random.choice(len(n), count, replace=False)
    unit = random.randint(0, h.shape[2], count)
    h[n[row], t[row], unit] += 10.0 ** random.uniform(-6, 1, count).astype("f")
    h[n[row[0]], t[row[0]], unit[0]] = np.nan
    h[n[row[1]], t[row[1]], unit[1]] = -np.inf
    return h


def shown(case: Case, n: int, t: int) -> tuple[int, int]:
    """Return a sequence and a step as they are told: a row of a sequence is at its last step."""
    return n + 1, int(case.lengths[n]) if case.network.last else t + 1


def by_hand(case: Case, h: Floats) -> Values:
    """Take every step of one vanilla layer alone: how far it is off, its value, the right one."""
    (layer,) = case.network.layers
    found: Values = {}
    for number, (cell, direction) in enumerate(zip(layer.cells, layer.directions, strict=True)):
        W_xh, W_hh, b_h = (array.astype(float) for array in cell.weights[:3])
        I, H = len(W_xh), len(W_hh)
        for n, length in enumerate(case.lengths):
            order = range(length) if direction == "forward" else range(length)[::-1]
            before = case.h0[n, number * H : (number + 1) * H].astype(float)
            for t in order:
                x, row = case.x[n, t].astype(float), h[n, t, number * H : (number + 1) * H]
                for unit in range(H):
                    terms = [*(x * W_xh[:, unit]), *(before * W_hh[:, unit]), b_h[unit]]
                    right = float(np.tanh(sum(terms)))
                    bound = (I + H + 4) * EPS * sum(map(abs, terms))
                    bound += 4 * EPS * max(1, abs(right))
                    times = abs(float(row[unit]) - right) / bound
                    place = n + 1, t + 1, number * H + unit
                    found[place] = times if isfinite(times) else inf, float(row[unit]), right
                before = row.astype(float)
    return found


def check(case: Case, verdict: Verdict, found: Values) -> None:
    """Compare with values each of which was judged alone."""
    wrong = {place: value for place, value in found.items() if value[0] > 1}
    assert (verdict.values, verdict.wrong) == (len(found), len(wrong))
    (tally,) = verdict.tallies
    assert tally.times == pytest.approx(max(value[0] for value in found.values()), rel=1e-4)
    units = [sum(at[2] == unit for at in wrong) for unit in range(len(tally.units))]
    assert tally.units.tolist() == units
    rows = zip(*np.nonzero(tally.steps), strict=True)
    assert {shown(case, n, t) for n, t in rows} == {at[:2] for at in wrong}
    assert verdict.first
    assert verdict.first.place == min(wrong)
    first = verdict.first
    times, given, right = wrong[first.place]
    assert first.times == pytest.approx(times, rel=1e-4)
    assert np.float32(first.expected) == pytest.approx(given, nan_ok=True)
    assert np.float32(first.actual) == pytest.approx(right, rel=1e-6, nan_ok=True)
    assert first.difference == pytest.approx(abs(first.expected - first.actual), nan_ok=True)


@pytest.mark.parametrize("piece", [1, 30, 2**17])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_every_step_is_judged_alone(
    monkeypatch: pytest.MonkeyPatch, direction: str, seed: int, piece: int
) -> None:
    monkeypatch.setattr(steps, "PIECE", piece)
    case = case_of(rnncli.seeded(2, 4, 3, "torch", direction=direction))
    ours = case.outputs()
    theirs = damaged(ours[-1], case, seed)
    check(case, Comparison(case, ours).judge(theirs), by_hand(case, theirs))


def headed(last: str | None = None) -> Network:
    random = np.random.RandomState(1)
    head = Dense(random.normal(size=(4, 3)).astype("f"), np.ones(3, "f"))
    return Network(*rnncli.seeded(2, 4, 3, "torch").layers, head, last=last)


NETWORKS: dict[str, Callable[[], Network]] = {
    "h": lambda: rnncli.seeded(2, 4, 3, "torch", direction="bidirectional"),
    "y": headed,
    "a row a sequence": lambda: headed("state"),
}


TOLERANCES = [None, (0.0, 0.0), (1e-3, 0.0), (1e-5, 0.1), (0.0, 1e30)]
# The steps of h are judged, where there is no tolerance.
WHOLE = [(name, each) for name in NETWORKS for each in TOLERANCES if each or name != "h"]


@pytest.mark.parametrize("piece", [1, 2**17])
@pytest.mark.parametrize(("name", "tolerance"), WHOLE)
def test_every_value_of_a_whole_run_is_judged_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, tolerance: tuple[float, float] | None, piece: int
) -> None:
    monkeypatch.setattr(comparison, "PIECE", piece)
    network = NETWORKS[name]()
    case = case_of(network, (11, 3, 4, 7, 10) if network.last else LENGTHS)
    compared = Comparison(case, case.outputs(), tolerance and Tolerance(*tolerance))
    theirs = damaged(compared.ours, case, 5, 4 if network.last else 9)
    found: Values = {}
    for n, t, unit in np.ndindex(theirs.shape):
        if case.rows()[n, t]:
            a, b = float(compared.ours[n, t, unit]), float(theirs[n, t, unit])
            bound = float(compared.bounds.distance[n, t, unit])
            if tolerance:
                bound = tolerance[0] + tolerance[1] * abs(b)
            times = abs(a - b) / bound if bound and isfinite(b) else inf
            found[*shown(case, n, t), unit] = 0.0 if a == b else times, b, a
    with np.errstate(all="ignore"):  # as in the command
        check(case, compared.judge(theirs), found)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_each_layer_is_counted_alone(direction: str) -> None:
    """A fault in the lower layer is not one of the upper layer, whose x it is."""
    case = case_of(rnncli.seeded(2, (4, 4), 3, "torch", direction=direction))
    ours = case.outputs()
    below = damaged(ours[0], case, 1)
    below[~np.isfinite(below)] = 0.25
    lower = Network(case.network.layers[0])
    alone = case._replace(network=lower, h0=case.h0[:, : lower.state_size])
    upper = Network(case.network.layers[1])
    above = case._replace(network=upper, x=below, h0=case.h0[:, lower.state_size :])
    theirs = above.outputs()[-1].copy()
    theirs[3, 2, 1] += np.float32(0.01)
    theirs[0, 1] += np.float32(0.01)  # at the same step as the first below
    below[0, 1, 3] += np.float32(0.01)
    verdict = Comparison(case, ours).judge(theirs, [below, theirs])
    parts = {1: by_hand(alone, below), 2: by_hand(above, theirs)}
    wrong = {
        (number, *at): value
        for number, found in parts.items()
        for at, value in found.items()
        if value[0] > 1
    }
    assert [tally.wrong for tally in verdict.tallies] == [
        sum(at[0] == number for at in wrong) for number in parts
    ]
    assert verdict.wrong == len(wrong)
    first = min(wrong, key=lambda at: (at[1], at[2], at[0], at[3]))
    assert verdict.first
    assert (verdict.first.layer, *verdict.first.place) == first


# Faults as they lie in the rows of four sequences, of 12, 9, 12 and 5 steps, and of six units.

LONG = (12, 9, 12, 5)
Place = tuple[Any, Any, Any]
EVERY = slice(None)
WHERE: dict[str, Place] = {
    "in every sequence, from step 4 on, in every unit": (EVERY, slice(3, None), EVERY),
    "in 2 of 4 sequences, from step 2 to 3, in units 1 to 4": ([0, 2], slice(1, 3), slice(1, 5)),
    "in sequence 2 (b) alone, at step 9 alone, in 3 of 6 units": (1, 8, [0, 2, 5]),
    "in every sequence, at 20 of 38 steps, in 4 of 6 units": (
        EVERY,
        slice(0, None, 2),
        [0, 1, 3, 5],
    ),
    "in every sequence, at step 1 alone, in every unit": (EVERY, 0, EVERY),
}


@pytest.mark.parametrize("text", WHERE)
def test_where_a_fault_lies_is_told_in_words(text: str) -> None:
    case = case_of(rnncli.seeded(2, 6, 3, "torch"), LONG)
    compared = Comparison(case, case.outputs(), Tolerance(1e-3))
    theirs, fault = compared.ours.copy(), np.zeros(compared.ours.shape, bool)
    sequences, rows, units = WHERE[text]
    chosen = fault[sequences]
    chosen[(slice(None),) * (chosen.ndim - 2) + (rows,)] = True
    fault[sequences] = chosen
    outside = np.ones(6, bool)
    outside[units] = False
    fault[..., outside] = False
    theirs[fault] += 1
    (tally,) = compared.judge(theirs).tallies
    assert tally.where("abcd") == text
    assert tally.wrong == (fault & case.rows()[..., None]).sum()


# The texts.

NETWORK = ("--hidden", "4", "--init", "torch")
LOG = (str(SAMPLES / "sensors.csv"), "--columns", "temperature", "--group-by", "sensor")
HELD = (*LOG, *NETWORK, "--missing", "hold", "--center", "20", "--scale", "10")


@pytest.fixture
def port(run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the arguments for a file of a port that has a fault."""
    monkeypatch.chdir(tmp_path)
    assert run_rnn("run", *HELD, "-o", "port.csv").exit_code == 0
    header, *lines = Path("port.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines]
    for row in rows:
        if row[0] == "attic" and int(row[1]) > 12:
            row[4] = str(float(row[4]) + 0.125)
    Path("port.csv").write_text("\n".join([header, *map(",".join, rows)]))
    return [*HELD, "--expected", "port.csv"]


def test_json_and_text_agree(run_rnn: Rnn, port: list[str]) -> None:
    result = run_rnn("verify", *port)
    document = json.loads(run_rnn("verify", *port, "--json").stdout)
    assert (result.exit_code, document["equal"], document["verdict"]) == (1, False, "different")
    item = document["results"][0]
    share = f"{100 * item['wrong'] / item['values']:.3g}%"
    headline, sentence, _, first_wrong, *_ = result.stdout.splitlines()
    assert headline == "DIFFERENT: port.csv"
    assert item["where"] == "in sequence 2 (attic) alone, from step 13 on, in every unit"
    amount = f"{item['wrong']:,} of {item['values']:,} values ({share})"
    assert sentence == (
        f"It differs from what rnn computes in {amount}, {item['where']}. "
        "The other ways to compute it are equal."
    )
    first = item["first"]
    assert (first["key"], first["step"]) == ("attic", 13)
    assert first_wrong.startswith(
        f"First wrong value: sequence 2 (attic), step 13, unit {first['unit']}: expected "
        f"{first['expected']!r}, rnn computes {first['actual']!r}; off by "
    )


def drawn(monkeypatch: pytest.MonkeyPatch, run_rnn: Rnn, columns: str, *arguments: str) -> str:
    """Return what a terminal of so many columns shows."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", columns)
    return run_rnn("verify", *arguments).stdout


@pytest.mark.slow
def test_the_verdict_is_coloured_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, run_rnn: Rnn, port: list[str]
) -> None:
    assert "\x1b" not in run_rnn("verify", *port).stdout
    assert drawn(monkeypatch, run_rnn, "80", *port).startswith("\x1b[1;31mDIFFERENT: port.csv")
    assert drawn(monkeypatch, run_rnn, "80", *HELD).startswith("\x1b[1;32mEQUAL: ")
    monkeypatch.setenv("NO_COLOR", "1")
    text = drawn(monkeypatch, run_rnn, "80", *port)
    assert not re.search("\x1b\\[[0-9;]*3[0-7]m", text)
    assert text.splitlines()[0].replace("\x1b[1m", "").startswith("DIFFERENT: port.csv")


def test_what_is_not_compared_is_told_first(
    monkeypatch: pytest.MonkeyPatch, run_rnn: Rnn, tmp_path: Path
) -> None:
    """The last row of a network that drives right runs apart."""
    monkeypatch.chdir(tmp_path)
    x = np.random.RandomState(0).normal(size=(200, 1))
    np.save("x.npy", x)
    np.save("row.npy", rnncli.run(rnncli.seeded(1, 16), x, precision="float64").h_n)
    arguments = ("x.npy", "--hidden", "16", "--last", "--expected", "row.npy")
    headline, sentence, *_ = run_rnn("verify", *arguments).stdout.splitlines()
    assert headline == "NOT COMPARED: row.npy"
    assert sentence.startswith("too little to compare: rounding alone drives right runs apart; ")
    document = json.loads(run_rnn("verify", *arguments, "--json").stdout)
    assert (document["equal"], document["verdict"]) == (False, "not compared")
    assert drawn(monkeypatch, run_rnn, "80", *arguments).startswith("\x1b[1;33mNOT COMPARED: ")


def turned(cell: Cell) -> Cell:
    W_hh = cell.weights.W_hh.copy()
    W_hh[0, 1] *= -1
    return cell.replaced(cell.weights._replace(W_hh=W_hh))


def wrong_where(
    monkeypatch: pytest.MonkeyPatch, is_wrong: Callable[[tuple[Any, ...]], bool]
) -> None:
    """Run with a wrong weight where it is to be wrong."""

    def wrong(network: Network, *names: Any, **options: Any) -> Prepared:
        prepared = prepare(network, *names, **options)
        if not is_wrong((*names, *options.values())):
            return prepared
        return prepared._replace(network=prepared.network.with_cells(turned))

    monkeypatch.setattr("rnncli.engine.run.prepare", wrong)


def test_a_wrong_run_of_our_own_is_told_once(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_where(monkeypatch, lambda _: True)
    arguments = ("verify", "--seq", "1,2,3", "--hidden", "4")
    sentence, *lines = run_rnn(*arguments).stdout.splitlines()[1:]
    assert sentence.startswith("rnn's own run is wrong, in ")
    assert f"Expected: {STEP}" in lines
    assert sum(line.startswith("First wrong value: ") for line in lines) == 1
    item = json.loads(run_rnn(*arguments, "--json").stdout)["results"][0]
    assert (item["name"], item["wrong"] > 0) == ("float64 loop", True)
    # What one step makes is expected, and ours is there.
    case = Case(
        rnncli.seeded(), np.array([[[1], [2], [3]]], "f"), np.zeros((1, 4), "f"), np.array([3])
    )
    found = by_hand(case, case.outputs()[-1])
    first = item["first"]
    times, ours, right = found[first["sequence"], first["step"], first["unit"]]
    assert (np.float32(first["actual"]), first["times"] > 1) == (np.float32(ours), True)
    assert times > 1
    assert first["expected"] == pytest.approx(right, rel=1e-6)


def test_a_wrong_strategy_is_shown_with_the_layer(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong_where(monkeypatch, lambda names: "fused" in names)
    arguments = ("verify", "--seq", "1,2,3", "--hidden", "4,4", "--init", "torch")
    text = run_rnn(*arguments).stdout
    assert text.startswith("DIFFERENT: --unroll fused\n")
    items = json.loads(run_rnn(*arguments, "--json").stdout)["results"]
    (item,) = (each for each in items if each["verdict"] == "different")
    first = item["first"]
    where = f"layer {first['layer']}, step {first['step']}, unit {first['unit']}"
    assert f"\nFirst wrong value: {where}: expected " in text


@pytest.mark.parametrize(
    ("times", "text"), [(1.004, ">1"), (1.2, "1.2"), (99.4, "99"), (99.7, "100"), (1234.4, "1,234")]
)
def test_what_is_wrong_is_not_shown_as_right(
    run_rnn: Rnn, tmp_path: Path, times: float, text: str
) -> None:
    arguments = ("--seq", "1,2", "--hidden", "1", "--precision", "float64")
    run_rnn("run", *arguments, "-o", tmp_path / "h.npy")
    h = np.load(tmp_path / "h.npy")
    h[1] += 1e-6 * times
    np.save(tmp_path / "h.npy", h)
    shown = run_rnn("verify", *arguments, "--expected", tmp_path / "h.npy", "--atol", "1e-6").stdout
    assert f", {text} times the bound.\n" in shown


def test_what_one_step_makes_is_not_taken_for_a_run(run_rnn: Rnn, tmp_path: Path) -> None:
    arguments = ("--seq", "0.5,-0.25,1,0.75", "--hidden", "3", "--init", "torch")
    run_rnn("run", *arguments, "-o", tmp_path / "ours.npy")
    ours = np.load(tmp_path / "ours.npy")
    theirs = ours.copy()
    theirs[1, 0] += 0.125
    np.save(tmp_path / "damaged.npy", theirs)
    verify = ("verify", *arguments, "--expected", tmp_path / "damaged.npy")
    (item, *_) = json.loads(run_rnn(*verify, "--json").stdout)["results"]
    assert item["first"]["step"] == 2
    assert abs(item["first"]["actual"] - ours[1, 0]) < 1e-6
    assert f"\nrnn computes: {STEP}\n" in run_rnn(*verify).stdout
    assert STEP not in run_rnn(*verify, "--atol", "1e-3").stdout
    assert STEP not in run_rnn(*verify[:-2]).stdout
