"""``rnn verify`` with the states of a model that has a head: it names what compares them."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SAMPLES, Rnn

import rnncli
from rnncli.model.formats import FORMATS, below_head

MODELS = ROOT / "tests" / "data" / "models"
LOG = (str(SAMPLES / "sunspots.csv"), "--columns", "SUNACTIVITY", "--weights")
NAMES = {"sunspots.keras": "gru", "sunspots.pt": "gru", "sunspots.onnx": "/gru/GRU"}


def states(run_rnn: Rnn, folder: Path, model: str, layer: str, *options: str) -> str:
    path = folder / "states.csv"
    assert run_rnn("run", *LOG, model, "--layer", layer, *options, "-o", str(path)).exit_code == 0
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), NAMES.items(), ids=NAMES)
@pytest.mark.parametrize("last", [(), ("--last",)], ids=["steps", "last"])
def test_the_layer_that_compares_states_is_named(
    run_rnn: Rnn, tmp_path: Path, name: str, layer: str, last: tuple[str, ...]
) -> None:
    model = str(SAMPLES / name)
    path = states(run_rnn, tmp_path, model, layer, *last)
    result = run_rnn("verify", *LOG, model, "--expected", path, *last)
    assert result.exit_code == 2
    *_, message = result.stderr.splitlines()
    assert message.startswith(f"Error: {path}: expected shape ({1 if last else 309}, 1), ")
    hint = f"--layer {layer} compares the states below the head"
    assert message.endswith(f", 8); {hint}")
    assert (
        run_rnn("verify", *LOG, model, "--layer", layer, "--expected", path, *last).exit_code == 0
    )


def test_layers_that_no_name_picks_together(run_rnn: Rnn, tmp_path: Path) -> None:
    """An embedding stands below the recurrent layer."""
    path = tmp_path / "e.npy"
    network = rnncli.load(MODELS / "keras_tagger.keras")
    np.save(path, np.zeros((3, network.layers[-2].output_size)))
    words = ("--seq", "1,2,3", "--weights", str(MODELS / "keras_tagger.keras"))
    result = run_rnn("verify", *words, "--expected", str(path))
    assert result.exit_code == 2
    assert result.stderr.endswith("; --layer NAME picks a part of the model alone\n")


@pytest.mark.slow
def test_predictions_that_nothing_explains(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "e.npy"
    np.save(path, np.random.RandomState(0).normal(size=(309, 1)))
    text = run_rnn("verify", *LOG, str(SAMPLES / "sunspots.keras"), "--expected", str(path)).stdout
    hint = "Save the states too: --layer gru compares the states below the head."
    assert f"\n\nNo convention that rnn knows reproduces it.\n{hint}\n\n" in text


@pytest.mark.parametrize(
    "path", [path for path in sorted(MODELS.iterdir()) if path.suffix in {*FORMATS} - {".npz"}]
)
def test_the_name_picks_all_below_the_head(path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        name = below_head(str(path))
        whole = rnncli.load(path)
        if name:
            below = rnncli.load(path, layer=name)
            kept = whole.layers[: len(whole.layers) - whole.head]
            assert [type(layer) for layer in below.layers] == [type(layer) for layer in kept]
            assert below.state_size == whole.state_size
        else:
            others = len(whole.layers) - whole.head > 1
            assert others or path.stem == "torch_rnn"  # a module without a name
