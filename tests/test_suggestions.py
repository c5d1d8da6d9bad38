"""A mistyped name is asked about where one name is near, and nowhere else."""

import re

import pytest
from conftest import ROOT, Rnn

from rnncli.model.activations import ACTIVATIONS
from rnncli.model.errors import did_you_mean


def asked(text: str) -> str | None:
    """The name that a message asks about; None if it asks nothing."""
    found = re.search(r"did you mean (['\"])(.+)\1\?", text)
    return found and found[2]


@pytest.mark.parametrize(
    ("wrong", "names", "meant"),
    [
        ("tahn", ACTIVATIONS, "tanh"),
        ("glorot", ["tensorflow"], None),
        ("sensor_4", ["sensor_1", "sensor_2"], "sensor_2' or 'sensor_1"),
        ("T", ["t", "b"], "t"),
        ("Time", ["time", "timer"], "time' or 'timer"),
        *(("a", [], None), ("", ["a", ""], None)),
        ("ab\x1bc", ["ab\x1bd"], "ab\\x1bd"),
        ("ab" * 10**6, ["a" * 80], None),
        ("name", [*map(str, range(1000)), "names"], None),
    ],
)
def test_a_near_name_is_asked_about(wrong: str, names: list[str], meant: str | None) -> None:
    assert asked(did_you_mean(wrong, names)) == meant


@pytest.mark.parametrize(("name", "meant"), [("rnn/GRU", "/rnn/GRU"), ("decoder", None)])
def test_a_layer_of_a_file(run_rnn: Rnn, name: str, meant: str | None) -> None:
    layer = (str(ROOT / "tests" / "data" / "models" / "onnx_head.onnx"), "--layer", name)
    for words in (("run", "--seq", "1,2,3", "--weights", *layer), ("inspect", *layer)):
        result = run_rnn(*words)
        assert (result.exit_code, result.stdout, asked(result.stderr)) == (2, "", meant)


def test_a_first_line_that_works(run_rnn: Rnn) -> None:
    (line,) = re.findall("as in 'rnn (.+?)'", run_rnn("run").stderr)
    assert run_rnn(*line.split()).exit_code == 0
