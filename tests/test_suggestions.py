"""A mistyped name is asked about where one name is near, and nowhere else."""

import re

import pytest
from conftest import ROOT, Rnn

from rnncli.engine.precision import PRECISIONS
from rnncli.model.activations import ACTIVATIONS
from rnncli.model.errors import did_you_mean

# Functions of Keras and PyTorch that are not those of a near name.
OTHER_FUNCTIONS = (
    *("celu", "CELU", "GLU", "hard_shrink", "Hardtanh", "hard_tanh", "log_sigmoid", "PReLU"),
    *("log_softmax", "softmax", "Softmin", "soft_shrink", "sparse_sigmoid", "tanh_shrink"),
)


def asked(text: str) -> str | None:
    """The name that a message asks about; None if it asks nothing."""
    found = re.search(r"did you mean (['\"])(.+)\1\?", text)
    return found and found[2]


@pytest.mark.parametrize(
    ("wrong", "names", "meant"),
    [
        *(("double", PRECISIONS, "float64"), ("fp32", PRECISIONS, "float32")),
        *(("fp16", PRECISIONS, None), ("float16", PRECISIONS, None)),
        *((name, ACTIVATIONS, None) for name in OTHER_FUNCTIONS),
        *(("tf", ["tensorflow", "torch"], "tensorflow"), ("glorot", ["tensorflow"], None)),
        ("sensor_4", ["sensor_1", "sensor_2"], None),  # two as near
        ("rel", ["relu", "relu6"], None),
        ("T", ["t", "b"], "t"),
        ("Time", ["time", "timer"], "time"),
        *(("a", [], None), ("", ["a", ""], None)),
        ("ab\x1bc", ["ab\x1bd"], "ab\\x1bd"),
        ("a" * 10**6, ["a" * 80], None),
        ("a" * 80, ["a" * 81, "b"], None),
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
