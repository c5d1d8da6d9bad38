"""Kinds of files: what reads a file, by its content first, and by its extension otherwise."""

import os
import re
from typing import NamedTuple

from rnncli.model.errors import InputError, choice
from rnncli.model.formats.containers.zips import FIRST, open_zip

# The module that reads each kind of file, by extension.
FORMATS = {
    ".npz": "npz",
    ".safetensors": "safetensors",
    **dict.fromkeys((".keras", ".h5", ".hdf5"), "keras.files"),
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt"), "torch.files"),
    ".onnx": "onnx.files",
}


class Kind(NamedTuple):
    """A kind of file: a name with its article, and what to do where it is not read."""

    name: str
    hint: str = ""
    reader: str = ""  # the module that reads such files, whatever they are called
    perhaps: tuple[str, ...] = ()  # those that do if the extension is theirs


_TENSORFLOW = "load it with TensorFlow, and save it with model.save('model.keras')"
_UNKNOWN = Kind("an unknown kind of file", perhaps=("onnx.files", "safetensors"))
_ZIP = Kind(
    "a zip archive",
    "unpack it, and give the model in it",
    "",
    ("npz", "keras.files", "torch.files"),
)
_PICKLE = Kind("a Python pickle", "write its arrays with numpy.savez", perhaps=("torch.files",))
_TEXT = Kind("text")
_KERAS = Kind("a Keras file", reader="keras.files")
_TORCH = Kind("a PyTorch file", reader="torch.files")
_LONGEST = 512
_ONNX = Kind("an ONNX model", reader="onnx.files")
# By the first bytes.
_CONTENTS = {
    rb".{5}\x00{3}\{": Kind("a .safetensors file", reader="safetensors"),  # a length of under a TiB
    rb"\x93NUMPY": Kind("a single .npy array", "numpy.savez writes several, by name, as .npz"),
    rb"\x89HDF\r\n": _KERAS,
    rb"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.": _TORCH,  # as PyTorch wrote it before 1.6
    rb"\x80[\x02-\x05]": _PICKLE,
    rb"\x1f\x8b": Kind("gzip data", "decompress it (gunzip)"),
    rb"version https://git-lfs": Kind("a pointer of Git LFS", "git lfs pull fetches the file"),
    rb"(?i:<!doctype|<html)": Kind("a web page (HTML)", "download the file itself"),
    rb".{257}ustar": Kind("a tar archive", "unpack it, and give the model in it"),
    rb"\Z": Kind("an empty file"),
    rb"[\t\r\n -~]{1,%d}\Z" % _LONGEST: _TEXT,
    # A version and a text, which Core ML does not have there, or the beginning of another field.
    rb"\x08[\x03-\x14](\x12(\x00|.[ -~])|[\x1a\x22\x32\x3a\x42])": _ONNX,
}
# Archives, by how a member's name ends.
_MEMBERS = {
    ".npy": Kind("an .npz file", reader="npz"),
    "data.pkl": _TORCH,
    "model.weights.h5": _KERAS,
}
# By the name, where the bytes tell nothing for sure.
_NAMES = {
    r"\.(pkl|pickle|joblib)": _PICKLE,
    r"\.(pb|index|meta|data-\d+-of-\d+)": Kind("a file of TensorFlow", _TENSORFLOW),
    r"\.json": Kind("JSON text, of which no weights are read", "save the model as .keras"),
}


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
    if os.path.isdir(path):
        return Kind("a folder", f"give the file in it; a SavedModel: {_TENSORFLOW}")
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(path, "cannot be read: not a plain file")
    with open(path, "rb") as file:
        start = file.read(_LONGEST)
        if start.startswith(FIRST):
            try:
                names = open_zip(path, file).namelist()
            except InputError:  # a damaged one
                return _ZIP
            ends = (end for end in _MEMBERS for name in names if name.endswith(end))
            return _MEMBERS.get(next(ends, ""), _ZIP)
    kinds = (kind for text, kind in _CONTENTS.items() if re.match(text, start, re.DOTALL))
    kind = next(kinds, _UNKNOWN)
    if kind not in (_TEXT, _UNKNOWN):
        return kind
    return next((k for end, k in _NAMES.items() if re.search(rf"{end}\Z", path.lower())), kind)
