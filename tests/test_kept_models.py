"""Models that frameworks saved, run by the command where none of these can be imported.

Beside each file in ``tests/data/models`` stands an ``.npz`` of its name: rows
of input ``x`` (N, T, I), what the framework gives of them ``y``, and options
of the command, where the model needs some. ``tests/peers/models_*.py`` make
them. What we give is within 1e-6 of that, relative to max(1, abs(y)): both
computed in float32, a few steps of small networks. Weights of bfloat16 have 8
bits: 1e-5.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

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


def kept(model: Path) -> dict[str, np.ndarray]:
    with np.load(model.with_suffix(".npz")) as arrays:
        return dict(arrays)


def command(model: Path, folder: Path) -> list[str]:
    """Write the rows as CSV, and return the line that runs the model over them."""
    arrays = kept(model)
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
def test_a_kept_model_gives_what_its_framework_gives(
    model: Path, ended: dict[str, tuple[int, str, Path]]
) -> None:
    code, stderr, output = ended[model.name]
    assert code == 0, stderr
    y = kept(model)["y"]
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
