"""Files that are not what their names say: one line says what they are, and what to do."""

import zipfile
from pathlib import Path

import pytest

from rnncli.model.formats import FORMATS, load_network

OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
HDF5 = b"\x89HDF\r\n\x1a\n"
ONNX = b"\x08\x08\x12\x07pytorch\x1a\x062.13.0"
HEADER = (2).to_bytes(8, "little") + b"{}"
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


# A file's name, its first bytes, and the message.
OTHERS = {
    "HDF5 as .npz": ("w.npz", HDF5, "expected an .npz file, got an HDF5 file; rename it to w.h5"),
    "HDF5 as .safetensors": (
        "w.safetensors",
        HDF5,
        "expected a .safetensors file, got an HDF5 file; rename it to w.h5",
    ),
    "HDF5 as .pt": ("w.pt", HDF5, "expected a .pt file, got an HDF5 file; rename it to w.h5"),
    "HDF5 without an extension": ("w", HDF5, "is an HDF5 file; rename it to w.h5"),
    "a PyTorch file of old": (
        "w.keras",
        OLD_TORCH,
        "expected a .keras file, got a PyTorch file; rename it to w.pt",
    ),
    "a PyTorch file as .pkl": ("w.pkl", OLD_TORCH, "is a PyTorch file; rename it to w.pt"),
    "safetensors as .bin": (
        "w.bin",
        HEADER,
        "expected a .bin file, got a .safetensors file; rename it to w.safetensors",
    ),
    "ONNX as .pb": ("w.pb", ONNX, f"is a graph of TensorFlow; {TENSORFLOW}"),
    "ONNX as .pt": ("w.pt", ONNX, "expected a .pt file, got an ONNX model; rename it to w.onnx"),
    "a pickle": ("w.pkl", b"\x80\x04}.", f"is a Python pickle; {ARRAYS}"),
    "a pickle as .npz": (
        "w.npz",
        b"\x80\x04}.",
        f"expected an .npz file, got a Python pickle; {ARRAYS}",
    ),
    "a pickle of joblib, packed": (
        "w.joblib",
        b"\x78\x9c\x00\x01",
        f"is a Python pickle; {ARRAYS}",
    ),
    "one array": (
        "w.npz",
        b"\x93NUMPY\x01\x00",
        "expected an .npz file, got a single .npy array; numpy.savez writes several, by name, as "
        ".npz",
    ),
    "TensorFlow Lite": (
        "w.tflite",
        b"\x1c\0\0\0TFL3",
        f"is a TensorFlow Lite model; {CONVERTED}",
    ),
    "TensorFlow Lite as .h5": (
        "w.h5",
        b"\x1c\0\0\0TFL3",
        f"expected an .h5 file, got a TensorFlow Lite model; {CONVERTED}",
    ),
    "Core ML": ("w.mlmodel", b"\x08\x04\x12\x10", f"is a Core ML model; {CONVERTED}"),
    "a graph": ("saved_model.pb", b"\x08\x01\x12", f"is a graph of TensorFlow; {TENSORFLOW}"),
    "a checkpoint's list": (
        "w.ckpt.index",
        b"\0\0\x01",
        f"is a checkpoint of TensorFlow, which has no model; {TENSORFLOW}",
    ),
    "a checkpoint's values": (
        "w.ckpt.data-00000-of-00001",
        b"\0\0\x01",
        f"is a checkpoint of TensorFlow, which has no model; {TENSORFLOW}",
    ),
    "a configuration": (
        "w.json",
        b'{"class_name": "Sequential"}',
        "is JSON text, of which no weights are read; "
        "save the model as .keras, or the network as .npz",
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
    "text": ("w.npz", b"t,h_0\n", "expected an .npz file, as numpy.savez writes it, got text"),
    "text as .safetensors": (
        "w.safetensors",
        b"t,h_0\n1,2\n",
        "expected a .safetensors file, got text",
    ),
    "nothing": (
        "w.npz",
        b"",
        "expected an .npz file, as numpy.savez writes it, got an empty file",
    ),
    "nothing as .safetensors": ("w.safetensors", b"", "expected a .safetensors file, got an empty"),
    "nothing in an archive": (
        "w.npz",
        b"PK\x05\x06" + bytes(18),
        "expected an .npz file, as numpy.savez writes it, got a zip archive that holds nothing",
    ),
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


# A file's name, the members of an archive, and the message.
ARCHIVES = {
    "PyTorch as .npz": (
        "w.npz",
        ["w/data.pkl", "w/data/0"],
        "expected an .npz file, got a PyTorch file; rename it to w.pt",
    ),
    "PyTorch of Rust": ("w.ot", ["w/data.pkl"], "is a PyTorch file; rename it to w.pt"),
    "Keras as .npz": (
        "w.npz",
        ["metadata.json", "config.json", "model.weights.h5"],
        "expected an .npz file, got a Keras file; rename it to w.keras",
    ),
    "Keras as .zip": ("w.zip", ["model.weights.h5"], "is a Keras file; rename it to w.keras"),
    "arrays as .safetensors": (
        "w.safetensors",
        ["W_xh.npy"],
        "expected a .safetensors file, got an .npz file; rename it to w.npz",
    ),
    "others": (
        "w.npz",
        ["notes.txt"],
        "expected an .npz file, as numpy.savez writes it, got a zip archive of notes.txt",
    ),
    "others as .zip": (
        "w.zip",
        ["notes.txt"],
        "is a zip archive; unpack it, and give the model in it",
    ),
}


@pytest.mark.parametrize(("name", "members", "message"), ARCHIVES.values(), ids=ARCHIVES)
def test_archives_of_other_kinds(
    tmp_path: Path, name: str, members: list[str], message: str
) -> None:
    zipped(tmp_path / name, *members)
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


def test_the_name_of_a_checkpoint(tmp_path: Path) -> None:
    """TensorFlow's own functions take it without what its files end in."""
    (tmp_path / "w.ckpt.index").touch()
    what = "a checkpoint of TensorFlow, which has no model"
    assert refusal(tmp_path / "w.ckpt") == f"expected a .ckpt file, got {what}; {TENSORFLOW}"


def test_a_name_with_backticks(tmp_path: Path) -> None:
    """They mean nothing: only parameters of hints are shown as options."""
    (tmp_path / "`layer`").write_bytes(HDF5)
    assert refusal(tmp_path / "`layer`") == "is an HDF5 file; rename it to ``layer``.h5"
