"""``rnn explain``: which steps are explained, where they are written, and bad input."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SAMPLES, Rnn

from rnncli import Dense, Embedding, Masking, Network, run, seeded
from rnncli.engine.rows import Rows
from rnncli.engine.stream import Carried
from rnncli.explain.quantities import OF_CELLS
from rnncli.explain.rows import OF_LAYERS
from rnncli.explain.steps import Wanted, explained
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS
from rnncli.model.layers import LAYERS, Layer

NOTEBOOK = ("explain", "--seq", "1,2,3,4,5,6", "--hidden", "4")
LOG = "who,v\na,1\nb,2\na,3\nb,\nb,5\na,7\nc,8\n"
GROUPED = ("--group-by", "who", "--columns", "v", "--missing", "hold", "--hidden", "2")


def document(run_rnn: Rnn, *arguments: str, stdin: str | None = None) -> Any:
    result = run_rnn("explain", *arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_step_of_the_notebook(run_rnn: Rnn, notebook: dict[str, Any]) -> None:
    """Its sum and state are what the weights and states that it printed make."""
    (step,) = document(run_rnn, *NOTEBOOK[1:], "--step", "2", "--precision", "tf32")["steps"]
    ((cell,),) = (layer["cells"] for layer in step["layers"])
    (h_t,) = cell["quantities"]
    states = np.array(notebook["cell_6"])
    np.testing.assert_allclose(cell["state"]["h"], states[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(h_t["values"], states[1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.tanh(h_t["sum"]), states[1], rtol=0, atol=1e-6)
    assert h_t["equation"] == "tanh(x_t @ W_xh + h_{t-1} @ W_hh + b_h)"
    assert step["h"] == h_t["values"] == step["layers"][0]["output"]
    assert h_t["saturated"] == [j for j in range(4) if abs(states[1][j]) > 0.999]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [("2", [2]), ("1:6", [1, 2, 3, 4, 5, 6]), ("5:", [5, 6]), (":2", [1, 2]), (None, [6])],
)
def test_which_steps(run_rnn: Rnn, steps: str | None, expected: list[int]) -> None:
    for option in ("--step", "--steps"):
        given = () if steps is None else (option, steps)
        found = document(run_rnn, *NOTEBOOK[1:], *given)["steps"]
        assert [step["t"] for step in found] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--step", "9"), "there is no step 9: the input has the steps 1 to 6"),
        (("--step", "0"), "'0': steps are counted from 1"),
        (("--step", "-1"), "'-1': steps are counted from 1"),
        (("--step", "x"), "'x' is not a step, such as 2, or a range of steps, such as 1:6"),
        (("--step", "1:2:3"), "'1:2:3' is not a step"),
        (("--step", ""), "'' is not a step"),
        (("--steps", "3:2"), "'3:2' ends before it begins"),
        (("--unit", "4"), "there is no unit 4; --unit takes h_0 to h_3"),
        (("--unit", "c_0"), "there is no unit c_0; --unit takes h_0 to h_3"),
        (("--unit", "layer_2_h_0"), "there is no unit layer_2_h_0; --unit takes"),
        (("--unit", "-1"), "there is no unit -1; --unit takes"),
        (("--key", "a"), "--key a: the input has one sequence"),
        (("-o", "step.csv"), "-o step.csv: no format has the extension '.csv' (known: .txt, .json"),
        (("--state-in", "none.npz"), "none.npz: cannot be read"),
        (("--state-in", "-"), "--state-in -: a state is in a file"),
    ],
)
def test_bad_usage(run_rnn: Rnn, arguments: tuple[str, ...], message: str) -> None:
    result = run_rnn(*NOTEBOOK, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_end_of_a_range_may_be_beyond_the_last_step(run_rnn: Rnn) -> None:
    result = run_rnn(*NOTEBOOK, "--steps", "5:9", "--json")
    assert [step["t"] for step in json.loads(result.stdout)["steps"]] == [5, 6]
    assert result.stderr == "Note: there is no step 9: the last one is 6\n"


@pytest.mark.parametrize("text", ["v\n", "v\n\n"])
def test_an_input_without_steps(run_rnn: Rnn, text: str) -> None:
    result = run_rnn("explain", "--hidden", "2", "--first-row", "header", stdin=text)
    assert result.stderr == "Error: the input has no steps\n"


@pytest.mark.slow
def test_nothing_is_read_behind_the_step(run_rnn: Rnn, tmp_path: Path) -> None:
    """The first block of rows is read as a whole; an error in the second one is not seen."""
    path = tmp_path / "long.csv"
    path.write_text("v\n" + "0.5\n" * 70_000 + "x\n")
    assert run_rnn("explain", path, "--hidden", "1", "--step", "3").exit_code == 0
    assert "70002: column 'v': not a number" in run_rnn("explain", path, "--hidden", "1").stderr


def states_of(run_rnn: Rnn, *arguments: str, stdin: str | None = None) -> dict[Any, Any]:
    """What ``rnn run`` has at each key and step."""
    result = run_rnn("run", *arguments, "--unroll", "stepwise", "--json", stdin=stdin)
    steps = json.loads(result.stdout)["steps"]
    return {(json.dumps(step.get("key")), step["t"]): step["h"] for step in steps}


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_several_sequences_and_masked_rows(run_rnn: Rnn, direction: str) -> None:
    options = (*GROUPED, "--direction", direction)
    expected = states_of(run_rnn, *options, stdin=LOG)
    for steps, count in (("1:", 7), ("2", 2), ("3:3", 2)):
        found = document(run_rnn, *options, "--steps", steps, stdin=LOG)["steps"]
        assert len(found) == count
        for step in found:
            assert step["h"] == expected[json.dumps(step["key"]), step["t"]]
            masked = (step["key"], step["t"]) == ({"who": "b"}, 2)
            assert step.get("masked", False) == masked == (step["layers"] == [])
    last = document(run_rnn, *options, stdin=LOG)["steps"]
    assert sorted((step["key"]["who"], step["t"]) for step in last) == [
        ("a", 3),
        ("b", 3),
        ("c", 1),
    ]


def test_one_of_several_sequences(run_rnn: Rnn) -> None:
    found = document(run_rnn, *GROUPED, "--steps", "1:", "--key", "b", stdin=LOG)["steps"]
    assert [(step["key"], step["t"], step["x"]) for step in found] == [
        ({"who": "b"}, 1, [2.0]),
        ({"who": "b"}, 2, [None]),
        ({"who": "b"}, 3, [5.0]),
    ]
    for key, message in (
        ("d", "there is no sequence d: there are a, b, c"),
        (
            "a,b",
            "--key a,b: expected a value of who, got 2 (quote a value with a comma) "
            "(see 'rnn explain --help')",
        ),
    ):
        result = run_rnn("explain", *GROUPED, "--key", key, stdin=LOG)
        assert (result.exit_code, result.stderr) == (2, f"Error: {message}\n")
    result = run_rnn("explain", *GROUPED, "--key", "c", "--step", "2", stdin=LOG)
    assert result.stderr == "Error: there is no step 2: the input has the steps 1 to 1\n"


def test_steps_go_on_from_a_state(run_rnn: Rnn, tmp_path: Path) -> None:
    state = str(tmp_path / "s.npz")
    network = ("--hidden", "3", "--cell", "lstm")
    run_rnn("run", "--seq", "1,2", *network, "--unroll", "stepwise", "--state-out", state)
    (step,) = document(run_rnn, "--seq", "1,2,3", *network)["steps"]
    (resumed,) = document(run_rnn, "--seq", "3", *network, "--state-in", state)["steps"]
    assert resumed == step
    before = run_rnn("explain", "--seq", "3", *network, "--state-in", state, "--step", "2")
    assert before.stderr == "Error: step 2 is before the state: the steps go on at 3\n"
    beyond = run_rnn("explain", "--seq", "3", *network, "--state-in", state, "--step", "4")
    assert beyond.stderr == "Error: there is no step 4: the input has the steps 3 to 3\n"


def test_no_sequence_has_the_step(run_rnn: Rnn, tmp_path: Path) -> None:
    state = str(tmp_path / "s.npz")
    network = ("--hidden", "1", "--group-by", "who")
    run_rnn("run", *network, "--state-out", state, stdin="who,x\na,1\na,2\nc,3\n")
    more = ("explain", *network, "--state-in", state)
    for step, text in (("4", "who,x\na,3\nb,1\n"), ("1", "who,x\na,3\n")):
        result = run_rnn(*more, "--step", step, stdin=text)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == f"Error: no sequence has the step {step}\n"


def masking_networks() -> Iterator[tuple[Network, Floats]]:
    random = np.random.RandomState(3)
    for direction in ("forward", "backward", "bidirectional"):
        stack = seeded(2, [3, 2], direction=direction, merge="ave", cell="gru").layers
        head = Dense(random.normal(size=(2, 1)))
        x = random.normal(size=(6, 2))
        x[[0, 3]] = 9
        yield Network(Masking(9, 2), *stack, head), x
        table: Layer = Embedding(random.normal(size=(5, 2)), mask_zero=True)
        yield Network(table, *stack, head), np.array([[1], [0], [3], [4], [0], [0.0]])


@pytest.mark.slow
@pytest.mark.parametrize(("network", "x"), list(masking_networks()))
def test_rows_that_a_layer_masks(network: Network, x: Floats) -> None:
    ran = run(network, x, unroll="stepwise")
    carried = Carried(np.zeros(network.state_size, "f"))
    steps = list(explained(network, [Rows(x[:2]), Rows(x[2:])], Wanted(1), carried))
    assert [step.t for step in steps] == [1, 2, 3, 4, 5, 6]
    assert ran.y is not None
    for step, h, y, row in zip(steps, ran.h, ran.y, x, strict=True):
        np.testing.assert_array_equal(step.h, h)
        np.testing.assert_array_equal(step.y, y)
        assert (step.layers == []) == (row[0] in (0, 9))
        for layer in step.layers[-1:]:
            np.testing.assert_array_equal(layer.output, y)


@pytest.mark.parametrize("hidden", ["2", "2,2"])
def test_an_overflow_ends_the_steps(run_rnn: Rnn, hidden: str) -> None:
    network = ("--hidden", hidden, "--activation", "exponential")
    result = run_rnn("explain", "--seq", "1,2,3,4,5", *network, "--steps", "1:", "--json")
    expected = run_rnn("run", "--seq", "1,2,3,4,5", *network, "--json", "--unroll", "stepwise")
    assert (result.exit_code, result.stderr) == (1, expected.stderr)
    shown, ran = json.loads(result.stdout), json.loads(expected.stdout)
    assert shown["error"] == ran["error"]
    assert [step["h"] for step in shown["steps"]] == [step["h"] for step in ran["steps"]]


def test_digits_and_files(run_rnn: Rnn, tmp_path: Path) -> None:
    (step,) = document(run_rnn, *NOTEBOOK[1:], "--step", "2", "--digits", "3")["steps"]
    assert step["h"] == [-0.97, 1.0, -0.661, -1.0]
    text = run_rnn(*NOTEBOOK, "--step", "2").stdout
    for name, expected in (("s.txt", text), ("s.json", run_rnn(*NOTEBOOK, "--json").stdout)):
        arguments = ("--step", "2") if name == "s.txt" else ()
        assert run_rnn(*NOTEBOOK, *arguments, "-o", str(tmp_path / name)).stdout == ""
        assert (tmp_path / name).read_text() == expected


def test_center_and_scale_are_a_layer(run_rnn: Rnn) -> None:
    given = ("--columns", "temperature", "--center", "15", "--scale", "4", "--hidden", "2")
    found = document(run_rnn, str(SAMPLES / "sensors.csv"), *given, "--step", "1")
    bottom = found["steps"][0]["layers"][0]
    (cell,) = bottom["cells"]
    assert (bottom["kind"], cell["arrays"]) == ("normalization", {"scale": [4.0]})
    apart, y = cell["quantities"]
    assert apart["terms"][1] == {"name": "-center", "values": [-15.0]}
    assert y["values"] == pytest.approx([apart["values"][0] / 4])
    assert found["steps"][0]["layers"][1]["input"] == y["values"]


def test_text_names_no_unit_like_a_time(run_rnn: Rnn) -> None:
    """h_1 would be the unit 1, or the state at t = 1."""
    for cell in ("rnn", "lstm", "gru"):
        text = run_rnn(*NOTEBOOK, "--cell", cell).stdout
        assert not re.search(r"\b[hc]_?\d", text)
        assert "unit 1" in text


def test_every_cell_and_layer_is_explained() -> None:
    assert set(OF_CELLS) == set(CELLS.values())
    assert set(OF_LAYERS) == set(LAYERS.values())
