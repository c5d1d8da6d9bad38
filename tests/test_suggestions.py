"""A mistyped name is asked about where one name is near, and nowhere else."""

import re
from pathlib import Path

import click
import pytest
from conftest import ROOT, Rnn

import rnncli
from rnncli.cli import COMMANDS, rnn
from rnncli.cli.values import Choice
from rnncli.model.errors import did_you_mean

SEQ = ("run", "--seq", "1,2,3")
MODELS = ROOT / "tests" / "data" / "models"

# Types of numbers as other programs call them: a wrong one computes other numbers.
TYPES = {
    "double": "float64",
    "fp64": "float64",
    "float": "float32",
    "single": "float32",
    "fp32": "float32",
    "f32": "float32",
    "tensorfloat32": "tf32",
    "bf16": "bfloat16",
    "fp16": None,
    "float16": None,
}
# Functions of Keras and PyTorch that are not those of a near name.
OTHER_FUNCTIONS = (
    *("celu", "CELU", "GLU", "hard_shrink", "Hardtanh", "hard_tanh", "log_sigmoid", "PReLU"),
    *("log_softmax", "softmax", "Softmin", "soft_shrink", "sparse_sigmoid", "tanh_shrink"),
)


def asked(text: str) -> str | None:
    """The name that a message asks about; None if it asks nothing."""
    found = re.search(r"; did you mean (['\"])(.+)\1\?", text)
    return found and found[2]


def said(run_rnn: Rnn, *arguments: str) -> str:
    result = run_rnn(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch("Error: [^\n]+\n", result.stderr)
    return result.stderr


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("wieghts",), "weights"),
        (("predict",), None),
        (("help", "inpts"), "inputs"),
        (("help", "transformer"), None),
        (("--versoin",), "--version"),
        (("run", "--hiden", "2"), "--hidden"),
        ((*SEQ, "--hidden", "2", "--init", "TF"), "tensorflow"),
        ((*SEQ, "--hidden", "2", "--init", "glorot"), None),
        ((*SEQ, "--hidden", "2", "--cell", "SimpleRNN"), "rnn"),
        ((*SEQ, "--hidden", "2", "--format", "jason"), "json"),
        ((*SEQ, "--hidden", "2", "--format", "xlsx"), None),
        ((*SEQ, "--hidden", "2", "--activation", "leaky:0.1"), "leaky_relu"),
        ((*SEQ, "--hidden", "2", "--activation", "cauchy"), None),
        *(((*SEQ, "--hidden", "2", "--precision", name), meant) for name, meant in TYPES.items()),
        *(((*SEQ, "--hidden", "2", "--activation", name), None) for name in OTHER_FUNCTIONS),
        ((*SEQ, "--hidden", "2", "--delimiter", "semicolen"), "semicolon"),
        ((*SEQ, "--hidden", "2", "-o", "a.xlsx"), None),
        (("weights", "--hidden", "2", "-o", "a.safetensor"), ".safetensors"),
        (("explain", *SEQ[1:], "--hidden", "2", "-o", "a.jsn"), ".json"),
        (("verify", *SEQ[1:], "--hidden", "2", "--peer", "pytorch"), "torch"),
    ],
)
def test_name(run_rnn: Rnn, arguments: tuple[str, ...], meant: str | None) -> None:
    assert asked(said(run_rnn, *arguments)) == meant


@pytest.mark.parametrize(("key", "meant"), [("atic", "attic"), ("garage", None)])
def test_sequence(run_rnn: Rnn, tmp_path: Path, key: str, meant: str | None) -> None:
    path = tmp_path / "log.csv"
    path.write_text("sensor,v\nattic,1\ncellar,2\n")
    words = ("--group-by", "sensor", "--hidden", "2", "--key", key)
    assert asked(said(run_rnn, "explain", str(path), *words)) == meant


def test_every_choice_asks_and_takes_any_case() -> None:
    context = click.Context(rnn)
    commands = (rnn.get_command(context, name) for name in COMMANDS)
    params = [param for command in commands if command for param in command.params]
    choices = [param.type for param in params if isinstance(param.type, click.Choice)]
    assert len(choices) > 10
    for each in choices:
        assert isinstance(each, Choice)
        for name in each.choices:
            assert each.convert(name.upper(), None, None) == name


@pytest.mark.parametrize(
    ("file", "name", "meant"),
    [
        ("keras_nested.h5", "sequental_4/gru_2", "sequential_4/gru_2"),
        ("torch_tagger.pt", "embeding", "embedding"),
        ("onnx_head.onnx", "rnn/GRU", "/rnn/GRU"),
        ("keras_nested.h5", "decoder", None),
        ("torch_tagger.pt", "decoder", None),
        ("onnx_head.onnx", "decoder", None),
    ],
)
def test_layer(run_rnn: Rnn, file: str, name: str, meant: str | None) -> None:
    path = str(MODELS / file)
    assert asked(said(run_rnn, *SEQ, "--weights", path, "--layer", name)) == meant
    assert asked(said(run_rnn, "inspect", path, "--layer", name)) == meant


def test_a_file_is_no_command(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.touch()
    assert asked(said(run_rnn, str(path))) == f"rnn run {path}"


@pytest.mark.parametrize("command", ["run", "verify", "weights"])
def test_a_first_line_that_works(run_rnn: Rnn, command: str) -> None:
    words = () if command == "run" else ("--cell", "rnn")
    (line,) = re.findall("as in '(.+?)'", said(run_rnn, command, *words))
    assert line == f"rnn {command}{' --seq 1,2,3' * (command != 'weights')} --hidden 4"
    assert run_rnn(*line.split()[1:]).exit_code == 0


def test_the_library_asks_too() -> None:
    with pytest.raises(ValueError, match=r"got 'pytorch'; did you mean 'torch'\?$"):
        rnncli.seeded(1, 4, init="pytorch")


@pytest.mark.parametrize(
    ("wrong", "names", "hint"),
    {
        "two as near": ("sensor_4", ["sensor_1", "sensor_2"], ""),
        "two that begin so": ("rel", ["relu", "relu6"], ""),
        "the same but for its case": ("T", ["t", "b"], "did you mean 't'?"),
        "one of two by its case": ("Time", ["time", "timer"], "did you mean 'time'?"),
        "no names": ("a", [], ""),
        "no word": ("", ["a", ""], ""),
        "a control character": ("ab\x1bc", ["ab\x1bd"], "did you mean 'ab\\x1bd'?"),
        "a long word": ("a" * 10**6, ["a" * 80], ""),
        "a long name": ("a" * 80, ["a" * 81, "b"], ""),
        "a name among too many": ("name", [*map(str, range(1000)), "names"], ""),
    }.values(),
)
def test_did_you_mean(wrong: str, names: list[str], hint: str) -> None:
    assert did_you_mean(wrong, names) == hint
