"""``--center auto`` and ``--scale auto``: mean and standard deviation, found and told."""

import csv
import gzip
import json
import math
import os
import re
import shlex
import statistics
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLES, Rnn
from hypothesis import given
from hypothesis import strategies as st

import rnncli
from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError
from rnncli.model.layers import Dense, Embedding
from rnncli.model.network import Network
from rnncli.readers.moments import Moments, center_and_scale, moments_of

SENSORS = str(SAMPLES / "sensors.csv")
BOTH = ("--center", "auto", "--scale", "auto")
OPTIONS = ("--hidden", "2", "--format", "csv")


def exact(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation, of sums that are rounded once."""
    mean = math.fsum(values) / len(values)
    rest = math.fsum(value - mean for value in values) / len(values)  # its rounding
    squares = math.fsum((value - mean - rest) ** 2 for value in values)
    return mean + rest, math.sqrt(squares / len(values))


def in_blocks(x: Floats, cuts: list[int]) -> Iterator[Rows]:
    for part in np.split(x, sorted(cuts)):
        yield Rows(part)


def found_in(note: str) -> tuple[str, ...]:
    """The options that a note tells."""
    (told,) = re.findall("^Note: found (.*)$", note, re.MULTILINE)
    return tuple(shlex.split(told))


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e6])
@pytest.mark.parametrize("middle", [0.0, 1e9, -1e9, 1e12])
@pytest.mark.parametrize("first", [None, 0.0, 1e15])
def test_values_far_from_zero(middle: float, spread: float, first: float | None) -> None:
    """Also where the first one lies far from all others: no distance is taken from it."""
    random = np.random.RandomState(0)
    x = middle + spread * random.normal(size=(5000, 2))
    if first is not None:
        x[0] = first
    moments = moments_of(in_blocks(x, [1, 7, 1000, 1000, 4999]), 2)
    for i in range(2):
        mean, deviation = exact(x[:, i].tolist())
        # A mean is known to a rounding of the largest value; the deviation as closely as that.
        rounding = 4 * np.spacing(np.abs(x[:, i]).max())
        assert abs(moments.mean[i] - mean) <= rounding
        found = math.sqrt(moments.squares[i] / moments.count[i])
        assert found == pytest.approx(deviation, rel=1e-12, abs=0)


@pytest.mark.slow
@given(data=st.data())
def test_moments_of_any_blocks(data: st.DataObject) -> None:
    """Rows that are masked, and cells that are missing, are left out."""
    number = st.floats(-1e6, 1e6) | st.just(math.nan)
    rows = data.draw(st.lists(st.tuples(number, number), min_size=1, max_size=30))
    x = np.array(rows)
    cuts = data.draw(st.lists(st.integers(0, len(x)), max_size=4))
    masked = np.array(data.draw(st.lists(st.booleans(), min_size=len(x), max_size=len(x))))
    parts = zip(np.split(x, sorted(cuts)), np.split(masked, sorted(cuts)), strict=True)
    moments = moments_of((Rows(part, masked=held) for part, held in parts), 2)
    for i in range(2):
        values = [value for value in x[~masked, i].tolist() if not math.isnan(value)]
        assert moments.count[i] == len(values)
        if values:
            mean, deviation = exact(values)
            assert moments.mean[i] == pytest.approx(mean, rel=1e-12, abs=1e-9)
            found = math.sqrt(moments.squares[i] / len(values))
            assert found == pytest.approx(deviation, rel=1e-12, abs=1e-9)
            assert (moments.lowest[i], moments.highest[i]) == (min(values), max(values))


def numbers_of(values: list[float]) -> tuple[float, float]:
    """Center and scale of one column."""
    moments = Moments(1)
    moments.add(np.array(values)[:, None])
    (center,), (scale,) = center_and_scale(moments, ["v"])
    return center, scale


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([1.0, 2, 3, 4, 5, 6], 5),
        ([1e9 + 1, 1e9 + 2, 1e9 + 3, 1e9 + 4.25], 5),
        ([0.001, 0.0025, 0.0072], 8),
        ([123456.0, 654321.0, 111111.0], 0),
        ([1e20, 3e20, 4e20], -15),
        ([-1e-9, 1e-9, 3e-9], 14),
        ([-1.0, 1.0, -1e-30], 6),
    ],
)
def test_six_digits_of_the_deviation(values: list[float], places: int) -> None:
    """Of the mean as many places, so that large values with a small spread are centered too."""
    center, scale = numbers_of(values)
    fractions = [Fraction(value) for value in values]
    assert center == float(round(statistics.mean(fractions), places))
    assert scale == round(math.sqrt(statistics.pvariance(fractions)), places)
    assert 1e5 <= round(scale * 10.0**places) < 1e6
    assert math.copysign(1, center) == (
        -1 if center < 0 else 1
    )  # what is rounded to nothing is 0, not -0


@pytest.mark.parametrize("value", [7.123456789, 0.1, -5.0, 1e9 + 1 / 3])
def test_the_center_of_a_constant_is_its_value(value: float) -> None:
    assert numbers_of([value] * 70_000) == (value, 1)
    assert numbers_of([value]) == (value, 1)


@pytest.mark.parametrize("values", [[1e300, -1e300], [1e-300, 2e-300], []])
def test_values_without_a_deviation(values: list[float]) -> None:
    with np.errstate(all="ignore"), pytest.raises(InputError, match="column 'v'"):
        numbers_of(values)


@pytest.mark.parametrize(
    "options",
    [
        BOTH,
        ("--center", "auto"),
        ("--scale", "auto"),
        ("--center", "auto", "--scale", "5,10"),
        (*BOTH, "--group-by", "sensor"),
        (*BOTH, "--group-by", "sensor", "--passthrough"),
    ],
)
def test_the_note_repeats_the_run(run_rnn: Rnn, options: tuple[str, ...]) -> None:
    command = ("run", SENSORS, "--columns", "3-4", *OPTIONS)
    first = run_rnn(*command, *options)
    found = found_in(first.stderr)
    assert len(found) == 2 * options.count("auto")
    rest = [
        word
        for name, value in zip(options, (*options[1:], ""), strict=True)
        for word in (name,)
        if word != "auto" and value != "auto"
    ]
    second = run_rnn(*command, *rest, *found)
    assert (first.exit_code, second.exit_code, second.stderr) == (0, 0, "")
    assert second.stdout == first.stdout


def test_what_is_found_is_what_python_computes(run_rnn: Rnn) -> None:
    with open(SENSORS, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    result = run_rnn("run", SENSORS, "--columns", "3-4", *BOTH, "--hidden", "2", "--json")
    model = json.loads(result.stdout)["model"]
    for i, column in enumerate(("temperature", "humidity")):
        mean, deviation = exact([float(row[column]) for row in rows])
        assert model["center"][i] == pytest.approx(mean, abs=1e-4)
        assert model["scale"][i] == pytest.approx(deviation, rel=1e-5)
    numbers = ["--center", *model["center"], "--scale", *model["scale"]]
    assert [float(cell) for text in found_in(result.stderr)[1::2] for cell in text.split(",")] == [
        number for number in numbers if not isinstance(number, str)
    ]


def test_all_files_however_they_are_written(run_rnn: Rnn, tmp_path: Path) -> None:
    x = np.arange(40.0).reshape(2, 10, 2) ** 2
    text = "".join(f"{a},{b}\n" for a, b in x.reshape(-1, 2))
    (tmp_path / "a.csv").write_text(text[: text.index("100.0")])
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text[text.index("100.0") :].encode()))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "f.npy", np.asfortranarray(x))
    files = {name: str(tmp_path / name) for name in ("a.csv", "b.csv.gz", "x.npy", "f.npy")}
    expected = run_rnn("run", files["x.npy"], *BOTH, *OPTIONS)
    (a, c), (b, d) = (exact(column) for column in x.reshape(-1, 2).T.tolist())
    assert found_in(expected.stderr) == (
        "--center",
        f"{a:.0f},{b:.0f}",
        "--scale",
        f"{c:.3f},{d:.3f}",
    )
    for given_files in ([files["f.npy"]], [files["a.csv"], files["b.csv.gz"]]):
        result = run_rnn("run", *given_files, *BOTH, *OPTIONS)
        assert found_in(result.stderr) == found_in(expected.stderr)
    steps = ",".join(f"{a} {b}" for a, b in x.reshape(-1, 2))
    inline = run_rnn("run", "--seq", steps, *BOTH, *OPTIONS)
    assert found_in(inline.stderr) == found_in(expected.stderr)


def test_what_is_missing_is_left_out(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("v,w\n1,2\n-9,100\n3,6\n")
    command = ("run", str(path), "--columns", "1-2", *OPTIONS, "--null-value", "-9", *BOTH)
    held = run_rnn(*command, "--missing", "hold")  # the row is no step
    assert found_in(held.stderr) == ("--center", "2,4", "--scale", "1,2")
    zero = run_rnn(*command, "--missing", "zero")  # the row is one, with 100 in it
    assert found_in(zero.stderr) == ("--center", "2,36", "--scale", "1,45.2843")
    strict = run_rnn(*command)
    assert (strict.exit_code, strict.stdout) == (2, "")
    assert strict.stderr.startswith(f"Error: {path}:3: column 'v': missing: '-9'")


def test_a_column_that_is_constant(run_rnn: Rnn) -> None:
    result = run_rnn("run", "--seq", "5 1, 5 3", *BOTH, *OPTIONS)
    assert result.stderr == (
        "Note: found --center 5,2 --scale 1,1\nNote: column 'x_0' is 5 throughout: its scale is 1\n"
    )
    assert run_rnn("run", "--seq", "5", "--center", "auto", *OPTIONS).stderr == (
        "Note: found --center 5\n"
    )


def test_negative_numbers_can_be_typed(run_rnn: Rnn) -> None:
    first = run_rnn("run", "--seq", "-3,-4", *BOTH, *OPTIONS)
    assert found_in(first.stderr) == ("--center", "-3.5", "--scale", "0.5")
    again = run_rnn("run", "--seq", "-3,-4", *found_in(first.stderr), *OPTIONS)
    assert again.stdout == first.stdout


def test_other_commands_have_it(run_rnn: Rnn, tmp_path: Path) -> None:
    command = ("--columns", "3-4", *BOTH, "--hidden", "2")
    path = str(tmp_path / "states.csv")
    found = found_in(run_rnn("run", SENSORS, *command, "-o", path).stderr)
    result = run_rnn("verify", SENSORS, *command, "--expected", path)
    assert (result.exit_code, found_in(result.stderr)) == (0, found)
    explained = run_rnn("explain", SENSORS, *command)
    assert (explained.exit_code, found_in(explained.stderr)) == (0, found)


def test_a_state_keeps_the_numbers_that_were_found(run_rnn: Rnn, tmp_path: Path) -> None:
    state, command = str(tmp_path / "s.npz"), ("run", *OPTIONS)
    first = run_rnn(*command, "--seq", "1,2,4", "--state", state, *BOTH)
    found = found_in(first.stderr)
    whole = run_rnn(*command, "--seq", "1,2,4,8", *found).stdout.splitlines()
    before = ("--state-in", state)
    for scaling in (BOTH, found):
        again = run_rnn(*command, "--seq", "8", *before, *scaling)
        assert (again.stdout.splitlines()[1], again.stderr) == (whole[4], "")
    piped = run_rnn(*command, *before, *BOTH, stdin="8\n")
    assert piped.stdout.splitlines()[1] == whole[4]
    for others in (("--center", "3"), ("--center", "3", "--scale", "auto")):
        refused = run_rnn(*command, "--seq", "8", *before, *others)
        assert refused.exit_code == 2
        assert "the state of another network" in refused.stderr
    assert run_rnn(*command, "--seq", "8", "--state", state, *BOTH).exit_code == 0
    third = run_rnn(*command, "--seq", "9", "--state", state, *BOTH)
    assert third.stdout.splitlines()[1].startswith("5,")
    shown = run_rnn("explain", "--seq", "8", *before, *OPTIONS[:2], *BOTH)
    assert (shown.exit_code, shown.stderr) == (0, "")


def test_a_pipe_with_a_name_is_left_as_it_is(run_rnn: Rnn, tmp_path: Path) -> None:
    """It is not opened, which would wait for a writer."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    result = run_rnn("run", str(path), *BOTH, *OPTIONS)
    assert f"auto reads the input twice, {path} can be read but once: give numbers" in result.stderr


@pytest.mark.parametrize(("precision", "told"), [("float32", True), ("float64", False)])
def test_values_that_a_float_type_does_not_tell_apart(
    run_rnn: Rnn, tmp_path: Path, precision: str, told: bool
) -> None:
    (tmp_path / "x.csv").write_text("v\n123456789\n123456790\n")
    result = run_rnn("run", str(tmp_path / "x.csv"), *BOTH, *OPTIONS, "--precision", precision)
    notes = ["Note: found --center 123456789.5 --scale 0.5"]
    what = "float32 tells values 8 apart, their deviation is 0.5 (--precision float64 tells more)"
    notes += [f"Note: column 'v': {what}"] * told
    assert (result.exit_code, result.stderr.splitlines()) == (0, notes)


def test_a_header_alone_has_no_mean(run_rnn: Rnn, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("v\n")
    result = run_rnn("run", str(tmp_path / "x.csv"), *BOTH, *OPTIONS)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: column 'v' has no values to take a mean of\n"


def test_indices_are_not_measured(run_rnn: Rnn, tmp_path: Path) -> None:
    path = str(tmp_path / "net.npz")
    layers = Embedding(np.ones((4, 2))), *rnncli.seeded(2, 3).layers, Dense(np.ones((3, 1)))
    rnncli.save(Network(*layers), path)
    result = run_rnn("run", "--weights", path, "--seq", "1,2", *BOTH)
    assert result.exit_code == 2
    assert "are for measured values, the network takes whole numbers" in result.stderr


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows() -> None:
    def peak(blocks: int) -> int:
        block = Rows(np.ones((65_536, 2)))
        tracemalloc.start()
        moments_of((block for _ in range(blocks)), 2)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(40) < 1.1 * peak(2)
