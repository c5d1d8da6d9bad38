"""Damaged weight files of every format: a network, or one line that says why not."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SAMPLES
from damage import bits, other, outcome, refused, struck, struck_within
from gated_loops import gated_cell
from test_fuzz import damaged
from test_kept_models import FOLDER, MODELS

from rnncli.model.activations import activation
from rnncli.model.cells import RNN, Weights
from rnncli.model.formats import FORMATS, load_network, save_network
from rnncli.model.layers import Dense, Embedding, Masking, Normalization, Pointwise, Recurrent
from rnncli.model.network import Network

# Of each format; .ci/run asks for more.
CASES = int(os.environ.get("RNN_WEIGHT_FUZZ_CASES", "200"))


def made() -> Network:
    random = np.random.RandomState(0)

    def cell(I: int, name: str, clip: float) -> RNN:
        arrays = (random.normal(size=shape).astype("f") for shape in ((I, 3), (3, 3), 3))
        return RNN(Weights(*arrays), activation(name), clip)

    bottom = Recurrent(cell(2, "elu", 2.5), cell(2, "relu", 1.0), direction="bidirectional")
    return Network(
        bottom, Recurrent(cell(6, "tanh", 3.0), cell(6, "tanh", 4.0), direction="bidirectional")
    )


def gated(variant: str) -> Network:
    """Layers of an LSTM or a GRU with the arrays that files have names for."""
    cells = [gated_cell(variant, 2, 3, seed) for seed in (1, 2)]
    bottom = Recurrent(*cells, direction="bidirectional")
    cells = [gated_cell(variant, bottom.output_size, 3, seed) for seed in (3, 4)]
    return Network(bottom, Recurrent(*cells, direction="bidirectional"))


def of_all_kinds() -> Network:
    """Layers without state below and above an LSTM with peepholes."""
    random = np.random.RandomState(2)
    ones = np.ones(2)
    return Network(
        Embedding(random.normal(size=(5, 2)), mask_zero=True),
        Normalization(ones, ones, ones, ones),
        Masking(0.5, 2),
        gated_cell("lstm peepholes", 2, 3),
        Dense(random.normal(size=(3, 2)), activation="softmax"),
        Pointwise("relu", 2),
    )


def content(extension: str, network: Network | None = None) -> bytes:
    file = io.BytesIO()
    save_network(file, network or made(), extension)
    return file.getvalue()


def by_hand(**arrays: Any) -> bytes:
    """An archive as numpy.savez_compressed makes it."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


SMALL = {"W_xh": np.ones((2, 3), "f"), "W_hh": np.ones((3, 3), "f"), "b_h": np.ones(3, "f")}
WHOLE = {
    "npz": content(".npz"),
    "npz, compressed": by_hand(**SMALL),
    "torch": content(".safetensors"),
    "npz, all kinds": content(".npz", network=of_all_kinds()),
    "torch, LSTM": content(".safetensors", gated("lstm projection")),
    "torch, GRU": content(".safetensors", gated("gru after")),
}


def metadata_with_another_value(seed: int, _: bytes) -> bytes:
    """Damage our own text in an archive, and pack it anew."""
    file = io.BytesIO()
    with np.load(io.BytesIO(WHOLE["npz, all kinds"])) as arrays:
        kept: dict[str, Any] = dict(arrays)
    about = json.dumps(other(seed, str(kept["about"])))
    np.savez(file, **kept | {"about": np.array(about)})
    return file.getvalue()


# Sound files by what reads them and by name: our own, those that are kept and the samples.
SOUND: dict[str, dict[str, bytes]] = {module: {} for module in FORMATS.values()}
for _kind, _content in WHOLE.items():
    _module = "npz" if "npz" in _kind else "safetensors"
    SOUND[_module][f"{_kind}.{_module}"] = _content
for _model in [*MODELS, *(each for each in SAMPLES.glob("sunspots.*") if each.suffix in FORMATS)]:
    SOUND[FORMATS[_model.suffix]][_model.name] = _model.read_bytes()


def damage(module: str, seed: int) -> tuple[str, bytes]:
    """Return the name of a sound file and its content, damaged."""
    ways: list[Callable[[int, bytes], bytes]] = [damaged, struck, struck_within]
    ways += [metadata_with_another_value] if module == "npz" else []
    sound = SOUND[module]
    name = list(sound)[seed // len(ways) % len(sound)]
    return name, ways[seed % len(ways)](seed, sound[name])


@pytest.mark.parametrize("module", SOUND)
@pytest.mark.parametrize("seed", range(CASES))
def test_damaged_files(tmp_path: Path, module: str, seed: int) -> None:
    name, content = damage(module, seed)
    (tmp_path / name).write_bytes(content)
    for beside in FOLDER.glob(f"{name}.*"):  # where ONNX keeps its values
        (tmp_path / beside.name).write_bytes(beside.read_bytes())
    outcome(tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WHOLE)
def test_every_cut_is_noticed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("w.npz" if "npz" in kind else "w.safetensors")
    for end in range(0, len(WHOLE[kind]), 31):
        refused(path, WHOLE[kind][:end])


@pytest.mark.slow
def test_a_flipped_bit_in_an_archive_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Weights stand under a checksum: none is ever read as another."""
    path = tmp_path / "w.npz"
    for place in range(0, len(WHOLE["npz"]), 13):
        struck = bytearray(WHOLE["npz"])
        struck[place] ^= 0x10
        path.write_bytes(struck)
        if not outcome(path):
            assert bits(load_network(path).network) == bits(made())
