"""Files are read by their content; of others one line has their kind, and the way out."""

import re
from pathlib import Path

import pytest
from model_files import content as content_of
from model_files import load, refusal
from test_kept_models import FOLDER

import rnncli

# A model, and another name for it.
RENAMED = (
    ("keras_lstm.keras", "w.pt"),
    ("keras_rnn.h5", "w.npz"),
    ("keras_rnn.h5", "w"),
    ("torch_lstm.pth", "w.keras"),
    ("torch_script.pt", "w.jit"),
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
    ("w.json", b'{"class_name": "Sequential"}', "got text"),
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
