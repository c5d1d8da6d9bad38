"""Sweeps: every input with each combination of values."""

from pathlib import Path

import pytest
from batch_runs import Batch, counted, files, in_folder
from conftest import Rnn

import rnncli

__all__ = ["in_folder"]
ONE = ("in/a.csv", "--columns", "value")


@pytest.mark.slow
def test_each_combination_is_a_run(batch: Batch, run_rnn: Rnn) -> None:
    sweeps = ("--sweep", "seed=1 2 3", "--sweep", "hidden=8 16 32,16")
    command = ("in/*.csv", "--columns", "value", "-o", "out/{stem}-{hidden}-{seed}.csv", *sweeps)
    assert counted(batch(*command, "--json")) == (27, 0, 0, 0)
    assert len(files("out")) == 28
    for hidden in ("8", "32,16"):
        options = ("--columns", "value", "--hidden", hidden, "--seed", "3")
        assert run_rnn("run", "in/b.csv", *options, "-o", "b.csv").exit_code == 0
        assert Path(f"out/b-{hidden}-3.csv").read_bytes() == Path("b.csv").read_bytes()
    assert counted(batch(*command, "--json")) == (0, 27, 0, 0)
    # A value more is run for what it adds.
    more = (*command[:-3], "seed=1 2 3 4", *command[-2:])
    assert counted(batch(*more, "--json")) == (9, 27, 0, 0)


@pytest.mark.slow
def test_weights_precision_and_init(batch: Batch, run_rnn: Rnn) -> None:
    for name, size in (("small", 2), ("a large", 5)):
        rnncli.save(rnncli.seeded(1, size), f"{name}.npz")
    command = (*ONE, "-o", "out/{weights}/{precision}.json", "--sweep", "precision=float64 TF32")
    for weights in ("weights=small.npz 'a large.npz'", "weights=*.npz"):
        result = batch(*command, "--sweep", weights, "--force", "--json")
        assert counted(result) == (4, 0, 0, 0)
    for name in ("small", "a large"):
        options = ("--weights", f"{name}.npz", "--precision", "tf32")
        assert run_rnn("run", *ONE, *options, "-o", "one.json").exit_code == 0
        assert Path(f"out/{name}/tf32.json").read_bytes() == Path("one.json").read_bytes()
    result = batch(*ONE, "--hidden", "3", "-o", "{init}.csv", "--sweep", "init=keras torch")
    assert result.exit_code == 0
    assert Path("keras.csv").read_bytes() != Path("torch.csv").read_bytes()


def test_each_has_a_state_of_its_own(batch: Batch) -> None:
    command = (*ONE, "--hidden", "3", "--sweep", "seed=1 2", "-o", "{seed}.csv")
    assert batch(*command, "--state", "s/{seed}.npz").exit_code == 0
    assert sorted(files("s")) == ["1.npz", "2.npz"]
    result = batch(*command, "--state", "s/{stem}.npz")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: --state s/{stem}.npz: one file for every seed; put {seed} into it\n",
    )


def test_a_folder_has_a_name_for_each_value(batch: Batch) -> None:
    sweeps = ("--sweep", "seed=1 2", "--sweep", "hidden=3")
    assert batch(*ONE, *sweeps, "-o", "out").exit_code == 0
    assert sorted(files("out")) == ["a-1-3.csv", "a-2-3.csv", "rnn-batch.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("seed=1 2", "-o", "{stem}.csv"), "-o {stem}.csv: one file for every seed; put {seed} i"),
        (("seed=1 x", "-o", "{seed}"), "Invalid value for '--sweep': seed: 'x' is not a whole nu"),
        (("seed=1 01", "-o", "{seed}"), "Invalid value for '--sweep': seed: 1: two values that a"),
        (("seed=", "-o", "{seed}"), "Invalid value for '--sweep': seed: no value"),
        (("seed='1", "-o", "{seed}"), "Invalid value for '--sweep': seed: No closing quotation"),
        (
            ("seed", "-o", "{seed}"),
            "Invalid value for '--sweep': 'seed' is not NAME='VALUE VALUE ...', NAME one of "
            "seed, init, hidden, weights, precision (see 'rnn batch --help')\n",
        ),
        (
            ("sede=1", "-o", "{seed}"),
            "Invalid value for '--sweep': 'sede=1' is not NAME='VALUE VALUE ...', NAME one of "
            "seed, init, hidden, weights, precision; did you mean 'seed'?",
        ),
        (("clip=1 2", "-o", "{clip}"), "Invalid value for '--sweep': 'clip=1 2' is not NAME='VAL"),
        (
            ("init=keras trch", "-o", "{init}"),
            "Invalid value for '--sweep': init: 'trch' is not one of 'tensorflow', 'keras', "
            "'torch'; did you mean 'torch'? (see 'rnn batch --help')\n",
        ),
        (
            ("seed=1", "--sweep", "seed=2", "-o", "{seed}"),
            "Invalid value for '--sweep': seed is given twice: give all values at once",
        ),
        (
            ("seed=1", "2", "3", "-o", "out"),
            "2: no such file; put the values in quotes: --sweep 'seed=... 2 ...' (see 'rnn batch",
        ),
        (
            ("init=keras", "torch", "-o", "out"),
            "torch: no such file; put the values in quotes: --sweep 'init=... torch ...' (see ",
        ),
        (("seed=1", "--seed", "1", "-o", "{seed}"), "--seed and --sweep seed=...: give one"),
        (
            ("precision=float64", "--precision", "float32", "-o", "{precision}"),
            "--precision and --sweep precision=...: give one",
        ),
        (
            ("weights=x/m.npz y/m.npz", "-o", "{weights}"),
            "Invalid value for '--sweep': weights: x/m.npz and y/m.npz: two values that are both "
            "{weights} = m",
        ),
        (("weights=no.npz", "-o", "{weights}"), "--hidden and --weights no.npz: give one"),
        (("weights=*.no", "-o", "{weights}"), "Invalid value for '--sweep': weights: *.no: match"),
        (
            ("seed=1 11", "--sweep", "precision=float32 tf32", "-o", "{stem}{seed}.csv"),
            "-o {stem}{seed}.csv: one file for every precision; put {precision} into it",
        ),
    ],
)
def test_wrong_sweeps(batch: Batch, arguments: tuple[str, ...], message: str) -> None:
    result = batch(*ONE, "--hidden", "4", "--sweep", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.count("\n") == 1


def test_names_that_run_together(batch: Batch) -> None:
    sweeps = ("--sweep", "seed=1 11", "--sweep", "hidden=1 11")
    result = batch(*ONE, *sweeps, "-o", "{seed}{hidden}.csv")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: two values of the sweep would both write 111.csv; "
        "put something between their names in -o\n",
    )
