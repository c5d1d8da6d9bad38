"""What a shell completes: names, columns of the file, layers of the model; else nothing."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click import Context, Option
from click.shell_completion import CompletionItem, ShellComplete
from conftest import ROOT, SAMPLES

from rnncli.cli import COMMANDS, rnn
from rnncli.cli.completion import Bash
from rnncli.cli.help import TOPICS
from rnncli.engine.precision import PRECISIONS
from rnncli.model.activations import ACTIVATIONS

MODELS = ROOT / "tests" / "data" / "models"
HEADER = 'time,sensor,temperature,relative humidity,"a,b",5,time\n'
NAMED = ["sensor", "temperature", "relative humidity", '"a,b"', "5"]


def items(*words: object) -> list[CompletionItem[str]]:
    """What completes the last of these words behind ``rnn``."""
    *args, incomplete = map(str, words)
    return ShellComplete(rnn, {}, "rnn", "_RNN_COMPLETE").get_completions(args, incomplete)


def completed(*words: object) -> list[str]:
    found = items(*words)
    assert {item.type for item in found} <= {"plain"}
    return [item.value for item in found]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(f"{HEADER}1,a,20,50,1,2,3\n")
    return path


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("he",), ["help"]),
        (("help", ""), [*TOPICS, *COMMANDS]),
        (("help", "inp"), ["inputs"]),
        (("run", "--precision", ""), list(PRECISIONS)),
        (("run", "--activation", ""), list(ACTIVATIONS)),
        (("run", "--activation", "leaky"), ["leaky_relu"]),
        (("run", "--format", "json"), ["json", "jsonl"]),
        (
            (
                "run",
                "--activation=sig",
            ),
            ["sigmoid"],
        ),
        (("verify", "--recurrent-activation", "hard_s"), ["hard_sigmoid", "hard_silu"]),
        (("run", "--activation", "no"), []),
        (("run", "--encoding", "la"), ["latin-1"]),
        (("run", "--center", ""), ["auto"]),
        (("run", "--scale", "1"), []),
        (
            ("explain", "--hidden", "2,1", "--cell", "lstm", "--unit", ""),
            ["h_0", "c_0", "layer_1_h_0", "layer_1_h_1", "layer_1_c_0", "layer_1_c_1"],
        ),
        (("explain", "--weights", SAMPLES / "sunspots.pt", "--unit", "y"), ["y_0"]),
        (("explain", "--weights", "none.pt", "--unit", ""), []),
        (("explain", "--unit", ""), []),
    ],
)
def test_names(words: tuple[object, ...], found: list[str]) -> None:
    assert completed(*words) == found


def test_commands() -> None:
    assert completed("") == list(COMMANDS)


@pytest.mark.parametrize("command", ["run", "explain", "verify", "bench"])
@pytest.mark.parametrize("option", ["--columns", "--group-by"])
def test_columns(log: Path, command: str, option: str) -> None:
    assert completed(command, log, option, "") == NAMED
    assert completed(command, log, "--hidden", "2", option, "te") == ["temperature"]
    assert completed(command, "--hidden", "2", log, option, "te") == ["temperature"]
    assert completed(command, log, option, "te") == ["temperature"]
    assert completed(command, log, f"{option}=te") == ["temperature"]
    assert completed(command, log, option, "x") == []


def test_columns_of_the_files_of_a_pattern(log: Path) -> None:
    words = ("batch", log.parent / "*.csv", "-o", "out", "--columns", "te")
    assert completed(*words) == ["temperature"]
    assert completed("batch", log.parent / "*.no", "--columns", "te") == []


def test_only_names_that_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('a\x1b[31m,"b\nc",d\u202ee,f\n')
    assert completed("run", path, "--columns", "") == ["f"]


def test_other_options_do_not_matter(log: Path) -> None:
    words = ("--x", "no", "--against", "no", "--group-by", "no", "--columns", "no", "--clip", "x")
    assert completed("run", log, *words, "--columns", "te") == ["temperature"]
    assert completed("run", log, "--no-such", "--columns", "te") == ["temperature"]


@pytest.mark.parametrize("option", ["--x", "--against"])
def test_a_column_of_a_figure(log: Path, option: str) -> None:
    names = ["sensor", "temperature", "relative humidity", "a,b", "5"]
    assert completed("run", log, option, "") == names
    assert completed("run", log, option, "a,") == ["a,b"]


def test_every_option_that_takes_a_name_is_completed(log: Path) -> None:
    """Where nothing is completed, nothing can be: a number, or a text of the user's own."""
    model = MODELS / "torch_tagger.pt"
    for name in COMMANDS:
        command = rnn.get_command(Context(rnn), name)
        assert command
        before = [name, *[log for each in command.params if each.name == "files"]]
        for option in filter(lambda each: isinstance(each, Option), command.params):
            if str(option.metavar).partition("[")[0] in ("NAME", "COLUMN", "LIST", "FILE"):
                words = [model] if name == "inspect" else ["--weights", model]
                own = option.name == "null_values"
                assert bool(items(*before, *words, option.opts[-1], "")) != own, option.opts


@pytest.mark.parametrize(
    ("begun", "found"),
    {
        "after a comma": ("sensor,te", ["sensor,temperature"]),
        "after a number": ("2,rel", ["2,relative humidity"]),
        "left out": ("!te", ["!temperature"]),
        "left out after a comma": ("!5,!te", ["!5,!temperature"]),
        "in quotes": ('"rel', ['"relative humidity"']),
        "a comma in quotes": ('"a,', ['"a,b"']),
        "after quotes": ('"a,b",te', ['"a,b",temperature']),
        "all after a comma": ("5,", [f"5,{name}" for name in NAMED]),
        "whole": ("temperature", ["temperature"]),
    }.values(),
)
def test_columns_in_a_list(log: Path, begun: str, found: list[str]) -> None:
    assert completed("run", log, "--columns", begun) == found


def test_columns_of_other_files(tmp_path: Path, log: Path) -> None:
    latin = tmp_path / "latin.csv"
    latin.write_bytes("température\n1\n".encode("latin-1"))
    assert completed("run", latin, "--encoding", "latin-1", "--columns", "t") == ["température"]
    assert completed("run", latin, "--columns", "t") == []
    packed = tmp_path / "log.tsv.gz"
    packed.write_bytes(gzip.compress(HEADER.replace(",", "\t").encode()))
    assert completed("run", packed, "--columns", "te") == ["temperature"]
    piped = tmp_path / "piped.csv"
    piped.write_text("a|b\n1|2\n")
    assert completed("run", piped, "--delimiter", "pipe", "--columns", "") == ["a", "b"]
    assert completed("run", piped, log, "--delimiter", "pipe", "--columns", "") == ["a", "b"]
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("1,2\n3,4\n")
    assert completed("run", numbers, "--columns", "") == []


@pytest.mark.parametrize("option", ["--columns", "--group-by", "--layer", "--weights"])
@pytest.mark.parametrize(
    "content",
    {
        "empty": b"",
        "no text": b"\xff\xfe\0\0",
        "gzip": b"\x1f\x8b",
        "JSON": b'{"a": 1}',
        "a quote that stays open": b'"a,b\n1,2\n',
        "cut off": (MODELS / "torch_gru.pt").read_bytes()[:999],
    }.values(),
)
@pytest.mark.parametrize("extension", ["csv", "csv.gz", "npy", "pt", "h5", "keras", "onnx", "npz"])
def test_a_file_that_cannot_be_read_completes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], option: str, content: bytes, extension: str
) -> None:
    path = tmp_path / f"file.{extension}"
    path.write_bytes(content)
    found = items("run", path, "--weights", path, option, "")
    assert [item.type for item in found] == (["file"] if option == "--weights" else [])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("option", ["--columns", "--layer"])
def test_nothing_waits_for_what_is_no_file(tmp_path: Path, option: str) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, tmp_path / "none.csv", "-"):
        assert completed("run", path, "--weights", path, option, "") == []
    assert completed("run", option, "") == []


def test_of_a_long_file_only_the_beginning_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text(HEADER)
    os.truncate(path, 1 << 40)  # takes no room on the disk, and minutes to read
    assert completed("run", path, "--columns", "te") == ["temperature"]


@pytest.mark.parametrize(
    ("file", "names"),
    {
        "Keras": ("keras_nested.h5", ["sequential_4/gru_2", "simple_rnn_1"]),
        "PyTorch": ("torch_tagger.pt", ["rnn"]),
        "ONNX": ("onnx_head.onnx", ["/rnn/GRU"]),
        "tensors": ("names_torch_gru_head.safetensors", ["rnn"]),
    }.values(),
)
def test_layers(file: str, names: list[str]) -> None:
    path = MODELS / file
    found = completed("run", "--weights", path, "--layer", "")
    assert set(names) <= set(found)
    assert completed("inspect", path, "--layer", "") == found
    assert completed("weights", "--weights", path, "--layer", names[0][:-1]) == names[:1]


@pytest.mark.parametrize("option", ["-o", "--output", "--weights", "--state", "--state-in"])
def test_file_names(option: str) -> None:
    (item,) = items("run", option, "a")
    assert (item.type, item.value) == ("file", "a")
    (item,) = items("run", "a")
    assert (item.type, item.value) == ("file", "a")


@pytest.mark.parametrize(
    ("word", "value", "shown"),
    {
        "plain": ("te", "temperature,!5", r"temperature,\\!5"),
        "a space": ("rel", "relative humidity", r"relative\\ humidity"),
        "quotes": ("", '"a,b"', r'\\"a,b\\"'),
        "in quotes": ("'rel", "relative humidity", "relative humidity"),
        "a backslash in quotes": ('"a', "a\\b", r"a\\b"),
    }.values(),
)
def test_words_for_bash(monkeypatch: pytest.MonkeyPatch, word: str, value: str, shown: str) -> None:
    monkeypatch.setenv("COMP_WORDS", f"rnn\nrun\n{word}")
    monkeypatch.setenv("COMP_CWORD", "2")
    bash = Bash(rnn, {}, "rnn", "_RNN_COMPLETE")
    assert bash.format_completion(CompletionItem(value)) == f"plain,{shown}"


def test_bash_parts_a_word_at_the_sign_of_equality(
    monkeypatch: pytest.MonkeyPatch, log: Path
) -> None:
    for words in (["--columns", "=", "te"], ["--columns", "=", "2", "--group-by", "=", "te"]):
        monkeypatch.setenv("COMP_WORDS", "\n".join(["rnn", "run", str(log), *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words) + 2))
        assert Bash(rnn, {}, "rnn", "_RNN_COMPLETE").complete() == "plain,temperature"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
@pytest.mark.parametrize(
    ("word", "reply"),
    [
        ("rel", r"relative\ humidity"),
        ("'rel", "relative humidity"),
        ("temperature,rel", r"temperature,relative\ humidity"),
        (r"\!rel", r"\!relative\ humidity"),
        (r"\"a", r"\"a,b\""),
        ("no", ""),
    ],
)
def test_in_bash(tmp_path: Path, log: Path, word: str, reply: str) -> None:
    command = tmp_path / "rnn"
    command.write_text(f"#!{sys.executable}\nfrom rnncli.__main__ import main\nmain()\n")
    command.chmod(0o755)
    script = (
        'eval "$(_RNN_COMPLETE=bash_source rnn)"; COMP_WORDS=(rnn run log.csv --columns "$1"); '
        'COMP_CWORD=4; _rnn_completion rnn; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", word],
        capture_output=True,
        text=True,
        check=True,
        cwd=log.parent,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout, done.stderr) == (f"{reply}\n", "")
