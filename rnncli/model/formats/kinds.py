"""Kinds of files: what reads a file, by its content first, and by its extension otherwise."""

import os
import re
from typing import BinaryIO, NamedTuple

from rnncli.model.errors import InputError, choice
from rnncli.model.formats.containers.zips import FIRST, open_zip

# The module that reads each kind of file, by extension.
FORMATS = {
    ".npz": "npz",
    ".safetensors": "safetensors",
    ".keras": "keras.files",
    ".h5": "keras.files",
    ".hdf5": "keras.files",
    ".pt": "torch.files",
    ".pth": "torch.files",
    ".bin": "torch.files",
    ".ckpt": "torch.files",
    ".onnx": "onnx.files",
}


class Kind(NamedTuple):
    """A kind of file.

    Parameters
    ----------
    name : str
        For messages, with its article.
    hint : str
        What to do about a file that is not read, as in `InputError`.
    reader : str
        The module that reads such files, whatever they are called.
    perhaps : tuple of str
        The modules that read such a file if its extension is theirs.
    """

    name: str
    hint: str = ""
    reader: str = ""
    perhaps: tuple[str, ...] = ()


_CONVERTED = "give the model that it was converted from"
_TENSORFLOW = "load it with TensorFlow, and save it with model.save('model.keras')"
_UNPACK = "unpack it, and give the model in it"
_ARRAYS = "load it where it was made, and write its arrays with numpy.savez"

_UNKNOWN = Kind("an unknown kind of file", perhaps=("onnx.files", "safetensors"))
_ZIP = Kind("a zip archive", _UNPACK, perhaps=("npz", "keras.files", "torch.files"))
_PICKLE = Kind("a Python pickle", _ARRAYS, perhaps=("torch.files",))
_TEXT = Kind("text")
_KERAS = Kind("a Keras file", reader="keras.files")
_ONNX = Kind("an ONNX model", reader="onnx.files")
_TORCH = Kind("a PyTorch file", reader="torch.files")
_TAR = Kind("a tar archive", _UNPACK)
_LITE = Kind("a TensorFlow Lite model", _CONVERTED)
_CORE = Kind("a Core ML model", _CONVERTED)
_PAGE = Kind("a web page (HTML)", "download the file itself")
_SAVED = Kind("a folder of TensorFlow (SavedModel)", _TENSORFLOW)
_CHECKPOINT = Kind("a checkpoint of TensorFlow, which has no model", _TENSORFLOW)

# By the first bytes: letters in lower case.
_SIGNATURES = {
    b"pk\x05\x06": Kind("a zip archive that holds nothing"),
    b"\x93numpy": Kind("a single .npy array", "numpy.savez writes several, by name, as .npz"),
    b"\x89hdf\r\n": _KERAS,
    b"\x80\x02\x8a\nl\xfc\x9cf\xf9 j\xa8p\x19.": _TORCH,  # as PyTorch wrote it before 1.6
    b"\x80\x02": _PICKLE,
    b"\x80\x03": _PICKLE,
    b"\x80\x04": _PICKLE,
    b"\x80\x05": _PICKLE,
    b"\x1f\x8b": Kind("gzip data", "decompress it (gunzip)"),
    b"version https://git-lfs": Kind("a pointer of Git LFS", "git lfs pull fetches the file"),
    b"<!doctype": _PAGE,
    b"<html": _PAGE,
}
# By bytes that stand further on.
_LATER = {4: (b"tfl3", _LITE), 257: (b"ustar", _TAR)}
# A version, and then a text, which Core ML does not have there, or the beginning of another field.
_PROTOBUF = re.compile(rb"\x08[\x03-\x14](\x12(\0|.[ -~])|[\x1a\x22\x32\x3a\x42])", re.DOTALL)
# Archives, by how a member's name ends.
_ARCHIVES = {
    ".npy": Kind("an .npz file", reader="npz"),
    "data.pkl": _TORCH,
    "model.weights.h5": _KERAS,
}
# By the name, where the bytes tell nothing for sure.
_NAMES = {
    r"\.(pkl|pickle|joblib)": _PICKLE,
    r"\.tflite": _LITE,
    r"\.(mlmodel|mlpackage)": _CORE,
    r"\.pb": Kind("a graph of TensorFlow", _TENSORFLOW),
    r"\.(index|meta|data-\d+-of-\d+)": _CHECKPOINT,
    r"\.index\.json": Kind(
        "a list of files with weights", "give the one that holds the recurrent layers"
    ),
    r"\.json": Kind(
        "JSON text, of which no weights are read",
        "save the model as .keras, or the network as .npz",
    ),
    r"\.tar": _TAR,
}
_START = 512
_CHARACTERS = set(range(0x20, 0x7F)) | set(b"\t\r\n")


def find_reader(path: str) -> str:
    """Find the module that reads a file."""
    extension = os.path.splitext(path)[1].lower()
    named, kind = FORMATS.get(extension, ""), _find_kind(path)
    if kind.reader or named in kind.perhaps:
        return kind.reader or named
    if named:
        article = "an" if extension[1] in "nho" else "a"
        raise InputError(path, f"expected {article} {extension} file, got {kind.name}", kind.hint)
    if kind.hint:
        raise InputError(path, f"is {kind.name}", kind.hint)
    return choice(f"{path}: extension", extension, FORMATS)


def _find_kind(path: str) -> Kind:
    """Find the kind of a path."""
    if os.path.isdir(path):
        saved = os.path.exists(os.path.join(path, "saved_model.pb"))
        return _SAVED if saved else _named(path, Kind("a folder", "give the file in it"))
    if not os.path.exists(path) and os.path.exists(f"{path}.index"):
        return _CHECKPOINT
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(path, "cannot be read: not a plain file")
    kind = kind_of(path)
    return _named(path, kind) if kind in (_TEXT, _UNKNOWN) else kind


def _named(path: str, otherwise: Kind) -> Kind:
    """Find the kind of a file by its name."""
    kinds = (kind for end, kind in _NAMES.items() if re.search(rf"{end}\Z", path.lower()))
    return next(kinds, otherwise)


def kind_of(path: str) -> Kind:
    """Find the kind of a file by its content."""
    with open(path, "rb") as file:
        start = file.read(_START)
        if start.startswith(FIRST):
            return _archive(path, file)
    if start[8:9] == b"{" and start[5:8] == bytes(3):  # after a length of under a TiB
        return Kind("a .safetensors file", reader="safetensors")
    lower = start.lower()
    kinds = [kind for signature, kind in _SIGNATURES.items() if lower.startswith(signature)]
    kinds += [kind for place, (text, kind) in _LATER.items() if lower.startswith(text, place)]
    if kinds:
        return kinds[0]
    if not start:
        return Kind("an empty file")
    if set(start) <= _CHARACTERS:
        return _TEXT
    return _ONNX if _PROTOBUF.match(start) else _UNKNOWN


def _archive(path: str, file: BinaryIO) -> Kind:
    """Find the kind of a zip archive by the names in it; a damaged one is but an archive."""
    try:
        names = open_zip(path, file).namelist()
    except InputError:
        return _ZIP
    kinds = (kind for end, kind in _ARCHIVES.items() for name in names if name.endswith(end))
    return next(kinds, _ZIP)
