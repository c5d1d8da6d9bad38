"""Models that frameworks saved, run by the command where none of these can be imported.

Files are read by their content; of others one line has their kind, and the way out.

Beside each file in ``tests/data/models`` stands an ``.npz`` of its name: rows
of input ``x`` (N, T, I), what the framework gives of them ``y``, and options
of the command, where the model needs some. ``tests/peers/models_*.py`` make
them. What we give is within 1e-6 of that, relative to max(1, abs(y)): both
computed in float32, a few steps of small networks. Weights of bfloat16 have 8
bits: 1e-5.
"""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from model_files import content as content_of
from model_files import load, refusal

import rnncli
from rnncli.model.formats.load import FORMATS

FOLDER = ROOT / "tests" / "data" / "models"
MODELS = sorted(path for path in FOLDER.glob("*") if path.suffix in FORMATS.keys() - {".npz"})
# Runs each command line of a JSON array, and prints how each ended.
RUN = """
import json, sys

class Blocked:
    names = {"tensorflow", "keras", "tf_keras", "torch", "onnx", "onnxruntime", "h5py"}
    names |= {"safetensors", "ml_dtypes"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
from click.testing import CliRunner
from rnncli.cli import rnn

results = [CliRunner().invoke(rnn, line) for line in json.load(sys.stdin)]
assert not Blocked.names & {name.partition(".")[0] for name in sys.modules}
print(json.dumps([[each.exit_code, each.stderr] for each in results]))
"""


def recorded(model: Path) -> dict[str, np.ndarray]:
    with np.load(model.with_suffix(".npz")) as arrays:
        return dict(arrays)


def command(model: Path, folder: Path) -> list[str]:
    """Write the rows as CSV, and return the line that runs the model over them."""
    arrays = recorded(model)
    x = arrays["x"]
    names = [f"x_{i}" for i in range(x.shape[-1])]
    rows = [
        ",".join([str(n), *map(str, row.tolist())]) for n, steps in enumerate(x) for row in steps
    ]
    data = folder / f"{model.name}.csv"
    data.write_text("\n".join([",".join(["sequence", *names]), *rows, ""]))
    options = arrays["options"].tolist() if "options" in arrays else []
    line = ["run", data, "--group-by", "sequence", "--columns", ",".join(names)]
    return [*map(str, [*line, "--weights", model, "-o", folder / f"{model.name}.npy"]), *options]


@pytest.fixture(scope="session")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, Path]]:
    """Run all models in one process; return how each run ended, and its output."""
    folder = tmp_path_factory.mktemp("kept")
    lines = json.dumps([command(model, folder) for model in MODELS])
    process = subprocess.run(
        [sys.executable, "-c", RUN], input=lines, capture_output=True, text=True, cwd=ROOT
    )
    assert process.returncode == 0, process.stderr
    return {
        model.name: (*each, folder / f"{model.name}.npy")
        for model, each in zip(MODELS, json.loads(process.stdout), strict=True)
    }


@pytest.mark.parametrize("model", MODELS, ids=[model.name for model in MODELS])
def test_a_model_computes_the_recorded_rows_of_its_framework(
    model: Path, ended: dict[str, tuple[int, str, Path]]
) -> None:
    code, stderr, output = ended[model.name]
    assert code == 0, stderr
    y = recorded(model)["y"]
    given = np.load(output)
    if len(y) == 1:  # a single sequence may stand alone
        given = given.reshape(y.shape)
    assert given.shape == y.shape
    furthest = np.max(np.abs(given - y) / np.maximum(1, np.abs(y)))
    assert furthest <= (1e-5 if "bfloat16" in model.name else 1e-6)


def test_no_model_tells_where_it_was_made() -> None:
    for model in MODELS:
        data = [model.read_bytes()]
        if zipfile.is_zipfile(model):
            with zipfile.ZipFile(model) as archive:
                data += map(archive.read, archive.namelist())
        assert not any(b"site-packages" in each or b"/tests/" in each for each in data), model


# A model, and another name for it.
RENAMED = (
    ("keras_lstm.keras", "w.pt"),
    ("keras_rnn.h5", "w.npz"),
    ("keras_rnn.h5", "w"),
    ("torch_lstm.pth", "w.keras"),
    ("torch_script.pt", "w.jit"),
    ("torch_exported.pt2", "w.pt"),
    ("torch_exported_old.pt2", "w.zip"),
    ("torch_legacy.pt", "w.state_dict"),
    ("names_torch_lstm.safetensors", "w.bin"),
    ("w.onnx", "w.pb"),
    ("w.npz", "w.safetensors"),
)


@pytest.mark.parametrize(("model", "name"), RENAMED)
def test_a_model_is_read_under_another_name(tmp_path: Path, model: str, name: str) -> None:
    sound = FOLDER / model
    if model in ("w.npz", "w.onnx"):
        rnncli.save(rnncli.seeded(), sound := tmp_path / model)
    (tmp_path / name).write_bytes(sound.read_bytes())
    got, expected = (load(path)[0] for path in (tmp_path / name, sound))
    assert content_of(got) == content_of(expected)


# A file's name, its first bytes, and words of the message.
OTHERS = (
    ("w.npz", b"\x80\x04}.", "damaged"),
    ("w.joblib", b"x\x9c\x00\x01", "extension: expected one of .npz,"),
    ("w.pt", b"<!DOCTYPE html>\n", "expected a model file, got a web page (HTML)"),
    ("w.npz", b"", "got an empty file"),
    ("w.npz", b"\x93NUMPY\x01\x00", "got a single .npy array"),
    ("w.pth", bytes(257) + b"ustar", "got a tar archive"),
    ("w.pt", b"version https://git-lfs.github.com/spec/v1\n", "got a Git LFS pointer"),
    ("w.zip", b"PK\x05\x06" + bytes(18), "extension: expected one of .npz,"),
    ("w.npz", b"PK\x03\x04" + bytes(18), "damaged: File is not a zip file"),
)


@pytest.mark.parametrize(("name", "content", "why"), OTHERS)
def test_another_kind_is_refused(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert why in refusal(tmp_path / name)


def test_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    assert re.match("is a folder; .*model.save", refusal(tmp_path / "saved"))
