"""Files are read by their content; of others one line says what they are, and what to do."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import rnncli
from rnncli.model.formats import FORMATS, load_network

MODELS = ROOT / "tests" / "data" / "models"
TENSORFLOW = "load it with TensorFlow, and save it with model.save('model.keras')"
CONVERTED = "give the model that it was converted from"
ARRAYS = "load it where it was made, and write its arrays with numpy.savez"


def zipped(path: Path, *names: str) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return path.read_bytes()


def refusal(path: Path) -> str:
    """Give the message, one line that begins with the path, without that."""
    with pytest.raises(ValueError, match=r"\A.+\Z") as caught:
        load_network(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ").replace(f"{path.parent}/", "")


# A model, and another name for it.
RENAMED = (
    ("keras_lstm.keras", "w.pt"),
    ("keras_lstm.keras", "w.zip"),
    ("keras_rnn.h5", "w.npz"),
    ("keras_rnn.h5", "w"),
    ("torch_lstm.pth", "w.pkl"),
    ("torch_lstm.pth", "w.keras"),
    ("torch_script.pt", "w.jit"),
    ("torch_legacy.pt", "w.state_dict"),
    ("onnx_lstm.onnx", "w.bin"),
    ("onnx_lstm.onnx", "w.pb"),
    ("names_torch_lstm.safetensors", "w.bin"),
    ("w.npz", "w.safetensors"),
)


@pytest.mark.parametrize(("model", "name"), RENAMED)
def test_a_model_under_another_name(tmp_path: Path, model: str, name: str) -> None:
    sound = MODELS / model
    if model == "w.npz":
        rnncli.save(rnncli.seeded(), sound := tmp_path / model)
    (tmp_path / name).write_bytes(sound.read_bytes())
    got, expected = (load_network(path).network for path in (tmp_path / name, sound))
    x = np.ones((2, got.input_size))
    np.testing.assert_array_equal(rnncli.run(got, x).h, rnncli.run(expected, x).h)


# A file's name, its first bytes, and the message.
OTHERS = {
    "a pickle as .npz": (
        "w.npz",
        b"\x80\x04}.",
        f"expected an .npz file, got a Python pickle; {ARRAYS}",
    ),
    "a pickle of joblib, packed": ("w.joblib", b"x\x9c\x00\x01", f"is a Python pickle; {ARRAYS}"),
    "one array": (
        "w.npz",
        b"\x93NUMPY\x01\x00",
        "expected an .npz file, got a single .npy array; numpy.savez",
    ),
    "TensorFlow Lite": (
        "w.tflite",
        b"\x1c\x00\x00\x00TFL3",
        f"is a TensorFlow Lite model; {CONVERTED}",
    ),
    "Core ML": ("w.mlmodel", b"\x08\x04\x12\x10", f"is a Core ML model; {CONVERTED}"),
    "a graph": ("saved_model.pb", b"\x08\x01\x12", f"is a graph of TensorFlow; {TENSORFLOW}"),
    "a checkpoint's list": (
        "w.ckpt.index",
        b"\x00\x00\x01",
        f"is a checkpoint of TensorFlow, which has no model; {TENSORFLOW}",
    ),
    "a configuration": (
        "w.json",
        b'{"class_name": "Sequential"}',
        "is JSON text, of which no weights are read; save the model as",
    ),
    "a list of files": (
        "model.safetensors.index.json",
        b'{"weight_map": {}}',
        "is a list of files with weights; give the one that holds the recurrent layers",
    ),
    "gzip data": (
        "w.keras",
        b"\x1f\x8b\x08",
        "expected a .keras file, got gzip data; decompress it (gunzip)",
    ),
    "a tar archive": (
        "w.tar",
        bytes(257) + b"ustar",
        "is a tar archive; unpack it, and give the model in it",
    ),
    "a pointer of Git LFS": (
        "w.onnx",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
        "expected an .onnx file, got a pointer of Git LFS; git lfs pull fetches the file",
    ),
    "a web page": (
        "w.pt",
        b"<!DOCTYPE html>\n",
        "expected a .pt file, got a web page (HTML); download the file itself",
    ),
    "text": ("w.npz", b"t,h_0\n", "expected an .npz file, got text"),
    "nothing": ("w.npz", b"", "expected an .npz file, got an empty file"),
    "another extension": (
        "w.toml",
        b"[a]\n",
        f"extension: expected one of {', '.join(FORMATS)}, got '.toml'",
    ),
}


@pytest.mark.parametrize(("name", "content", "message"), OTHERS.values(), ids=OTHERS)
def test_files_of_other_kinds(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert refusal(path).startswith(message)


def test_archives_of_other_kinds(tmp_path: Path) -> None:
    for name, message in (
        (
            "w.npz",
            "expected an .npz file, as numpy.savez writes it, got a zip archive of notes.txt",
        ),
        ("w.zip", "is a zip archive; unpack it, and give the model in it"),
    ):
        zipped(tmp_path / name, "notes.txt")
        assert refusal(tmp_path / name) == message


def test_folders(tmp_path: Path) -> None:
    for name, message in (
        ("saved", f"is a folder of TensorFlow (SavedModel); {TENSORFLOW}"),
        ("w.mlpackage", f"is a Core ML model; {CONVERTED}"),
        ("other", "is a folder; give the file in it"),
    ):
        (tmp_path / name).mkdir()
        if name == "saved":
            (tmp_path / name / "saved_model.pb").touch()
        assert refusal(tmp_path / name) == message
