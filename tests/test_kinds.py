"""Files are read by their content; of others one line has their kind, and the way out."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import rnncli
from rnncli.model.formats import load_network

MODELS = ROOT / "tests" / "data" / "models"

# A model, and another name for it.
RENAMED = (
    ("keras_lstm.keras", "w.pt"),
    ("keras_rnn.h5", "w.npz"),
    ("keras_rnn.h5", "w"),
    ("torch_lstm.pth", "w.keras"),
    ("torch_script.pt", "w.jit"),
    ("torch_legacy.pt", "w.state_dict"),
    ("onnx_lstm.onnx", "w.pb"),
    ("names_torch_lstm.safetensors", "w.bin"),
    ("w.npz", "w.safetensors"),
)


@pytest.mark.parametrize(("model", "name"), RENAMED)
def test_a_model_is_read_under_another_name(tmp_path: Path, model: str, name: str) -> None:
    sound = MODELS / model
    if model == "w.npz":
        rnncli.save(rnncli.seeded(), sound := tmp_path / model)
    (tmp_path / name).write_bytes(sound.read_bytes())
    got, expected = (load_network(path).network for path in (tmp_path / name, sound))
    x = np.ones((2, got.input_size))
    np.testing.assert_array_equal(rnncli.run(got, x).h, rnncli.run(expected, x).h)


# A file's name, its first bytes, its kind and a word of the way out.
OTHERS = (
    ("w.npz", b"\x80\x04}.", "got a Python pickle", "numpy.savez"),
    ("w.joblib", b"x\x9c\x00\x01", "is a Python pickle", "numpy.savez"),
    ("w.npz", b"\x93NUMPY\x01\x00", "got a single .npy array", "numpy.savez"),
    ("saved_model.pb", b"\x08\x01\x12", "is a file of TensorFlow", "model.save"),
    ("w.ckpt.index", b"\x00\x00\x01", "is a file of TensorFlow", "model.save"),
    ("w.json", b'{"class_name": "Sequential"}', "is JSON text", "save the model as"),
    ("w.keras", b"\x1f\x8b\x08", "expected a .keras file, got gzip data", "gunzip"),
    ("w.onnx", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git", "git lfs pull"),
    ("w.pt", b"<!DOCTYPE html>\n", "expected a .pt file, got a web page", "download"),
    ("w.npz", b"t,h_0\n", "expected an .npz file, got text", ""),
    ("w.npz", b"", "expected an .npz file, got an empty file", ""),
    ("w.toml", b"[a]\n", "extension: expected one of .npz,", "got '.toml'"),
)


@pytest.mark.parametrize(("name", "content", "kind", "way_out"), OTHERS)
def test_another_kind_is_refused(
    tmp_path: Path, name: str, content: bytes, kind: str, way_out: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    check_refusal(path, kind, way_out)


def check_refusal(path: Path, kind: str, way_out: str) -> None:
    with pytest.raises(ValueError, match=r"\A.+\Z") as caught:
        load_network(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert kind in message
    assert way_out in message


def test_archives_and_folders_of_other_kinds_are_refused(tmp_path: Path) -> None:
    for name, kind, way_out in (
        ("w.npz", "got a zip archive of notes.txt", "numpy.savez"),
        ("w.zip", "is a zip archive", "unpack"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("notes.txt", "x")
        check_refusal(tmp_path / name, kind, way_out)
    (tmp_path / "saved").mkdir()
    check_refusal(tmp_path / "saved", "is a folder", "model.save")
