"""Mistakes of random ports are named, or two of them that give the same numbers; no other is."""

from typing import Any

import numpy as np
import pytest
from conftest import NIGHTLY
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_networks import Choices, network_cases

import rnncli
from rnncli import Network
from rnncli.model.activations import activation
from rnncli.model.arrays import Floats
from rnncli.verification.case import case_of_batch
from rnncli.verification.digits import find_digits, find_half
from rnncli.verification.mistakes import make_mistakes

USUAL = [activation(name) for name in ("tanh", "sigmoid", "softsign")]
CASES = network_cases(
    Choices(
        functions=USUAL,
        row_functions=[*USUAL, "softmax"],
        clips=(np.inf,),
        bottoms=("",),
        lasts=(None,),
    )
)
CURVE = np.random.RandomState(0).normal(size=(60, 2)).astype("f")


def rows_of(network: Network, x: Floats) -> Floats:
    ran = rnncli.run(network, x)
    return ran.h if ran.y is None else ran.y


@settings(max_examples=200 if NIGHTLY else 12)
@given(case=CASES, number=st.integers(0, 2**16), digits=st.sampled_from([None, 6, 4]))
def test_a_mistake_of_a_random_network_is_named(case: Any, number: int, digits: int | None) -> None:
    network, N = case.network, len(case.x)
    x = np.random.RandomState(number).normal(size=(N, 24, network.input_size)).astype("f")
    whole = case_of_batch(network, x)
    ours = whole.outputs()[-1]
    mistakes = [*make_mistakes(whole, ours, ours + np.float32(0.5))]
    mistake = mistakes[number % len(mistakes)]
    theirs = mistake.make(whole).outputs()[-1]
    assume(np.isfinite(theirs).all() and theirs.shape == ours.shape)
    theirs = theirs if digits is None else theirs.round(digits)
    assume(np.abs(theirs - ours).max() > 100 * (10.0**-digits if digits else 1e-6))
    report = rnncli.verify(network, x, theirs)
    causes = [each["name"] for each in report["explanations"]]
    # The line of `theirs` that makes up mistakes is 0.5, and not what the port has.
    assert causes or digits or mistake.name.startswith("output")
    # A cause that is named gives the numbers of the port: it is the mistake, or one like it.
    for name in causes:
        alike = [each.make(whole).outputs()[-1] for each in mistakes if each.name == name]
        left = min((np.abs(rows - theirs).max() for rows in alike), default=0)
        assert left < 1e-3 * max(1, np.abs(theirs).max()), name
    assert report["verdict"] == "different"


def test_digits_are_counted() -> None:
    values = np.random.RandomState(0).normal(size=(40, 3)).astype("f")
    assert find_digits(values) is None
    for n, scale in ((4, 1), (2, 1), (6, 1), (1, 100)):
        digits = find_digits((scale * values.astype("d")).round(n).astype("f"))
        assert digits is not None
        assert digits.name == f"{n} digit{'s' * (n > 1)} after the point"
        assert digits.half_units.max() < 0.51 * 10.0**-n + 1e-4
    few = np.array([[float(f"{v:.2e}") for v in row] for row in 1e-4 * values], "f")
    digits = find_digits(few)
    assert digits is not None
    assert digits.name == "3 significant digits"
    assert find_digits(np.round(values)) is None  # whole numbers say nothing


@pytest.mark.parametrize("digits", [8, 7, 6])
def test_halves_are_known_by_their_digits(digits: int) -> None:
    h = rnncli.run(rnncli.seeded(2, 8, 1, "torch"), CURVE).h
    halves = h.astype(np.float16).astype("d").round(digits).astype("f")
    assert find_half(halves, find_digits(halves)) == "float16"
    assert find_half(h.astype("d").round(digits).astype("f"), None) is None


def test_advice_on_small_differences_and_on_a_search_that_was_stopped(monkeypatch: Any) -> None:
    network = rnncli.seeded(2, 8, 1, "torch")
    h = rnncli.run(network, CURVE).h
    monkeypatch.setattr("rnncli.verification.diagnosis.BUDGET", 0.0)
    advice = rnncli.verify(network, CURVE, h * np.linspace(0.99, 1.01, 8, dtype="f"))["advice"]
    assert advice[1].startswith("All differences are small, at most 0.00")
    assert advice[-1].startswith("Not all causes were tried: ")


def test_verify_takes_tables_and_names_of_files(tmp_path: Any) -> None:
    network = rnncli.seeded(1, 1, 3, "torch")
    x = np.arange(1.0, 9) / 8
    h = rnncli.run(network, x).h
    np.savetxt(tmp_path / "x.csv", x)
    np.savetxt(tmp_path / "h.txt", h)
    for given_x in (x, x.tolist(), tmp_path / "x.csv", str(tmp_path / "x.csv")):
        for expected in (h, h[:, 0], h[:, 0].tolist(), tmp_path / "h.txt"):
            report = rnncli.verify(network, given_x, expected)
            assert report["results"][0]["verdict"] == "equal"
    assert str(report).startswith(f"EQUAL: {tmp_path / 'h.txt'}, 8 values, up to rounding.\n")
    wrong = rnncli.verify(network, x, h[:, 0] + np.linspace(0, 1, 8) ** 2)
    assert wrong["advice"][0].startswith("First wrong value: step 2, unit 0: ")
    assert wrong["advice"][1].startswith("Step 1 is right, so the input, W_xh, the biases")
