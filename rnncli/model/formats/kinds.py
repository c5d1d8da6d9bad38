"""Kinds of files, by their content: what a misnamed file is, and what to do about it."""

import os
import re
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

from rnncli.model.errors import InputError, choice, verbatim
from rnncli.model.formats.containers.zips import FIRST, open_zip


class Kind(NamedTuple):
    """A kind of file.

    Parameters
    ----------
    name : str
        For messages, with its article.
    extension : str
        What such a file is to be named; empty where it is not read.
    hint : str
        What to do about it, as in `InputError`.
    """

    name: str
    extension: str = ""
    hint: str = ""


_CONVERTED = "give the model that it was converted from"
_TENSORFLOW = "load it with TensorFlow, and save it with model.save('model.keras')"
_UNPACK = "unpack it, and give the model in it"

UNKNOWN = Kind("an unknown kind of file")
ZIP = Kind("a zip archive", hint=_UNPACK)
PICKLE = Kind(
    "a Python pickle", hint="load it where it was made, and write its arrays with numpy.savez"
)
KERAS = Kind("a Keras file", ".keras")
HDF5 = Kind("an HDF5 file", ".h5")
SAFETENSORS = Kind("a .safetensors file", ".safetensors")
_TEXT = Kind("text")
ONNX = Kind("an ONNX model", ".onnx")
_TORCH = Kind("a PyTorch file", ".pt")
_TAR = Kind("a tar archive", hint=_UNPACK)
_LITE = Kind("a TensorFlow Lite model", hint=_CONVERTED)
_CORE = Kind("a Core ML model", hint=_CONVERTED)
_PAGE = Kind("a web page (HTML)", hint="download the file itself")
_SAVED = Kind("a folder of TensorFlow (SavedModel)", hint=_TENSORFLOW)
_CHECKPOINT = Kind("a checkpoint of TensorFlow, which has no model", hint=_TENSORFLOW)

# By the first bytes: letters in lower case.
_SIGNATURES = {
    b"pk\x05\x06": Kind("a zip archive that holds nothing"),
    b"\x93numpy": Kind("a single .npy array", hint="numpy.savez writes several, by name, as .npz"),
    b"\x89hdf\r\n": HDF5,
    b"\x80\x02\x8a\nl\xfc\x9cf\xf9 j\xa8p\x19.": _TORCH,  # as PyTorch wrote it before 1.6
    b"\x80\x02": PICKLE,
    b"\x80\x03": PICKLE,
    b"\x80\x04": PICKLE,
    b"\x80\x05": PICKLE,
    b"\x1f\x8b": Kind("gzip data", hint="decompress it (gunzip)"),
    b"version https://git-lfs": Kind("a pointer of Git LFS", hint="git lfs pull fetches the file"),
    b"<!doctype": _PAGE,
    b"<html": _PAGE,
}
# By bytes that stand further on.
_LATER = {4: (b"tfl3", _LITE), 257: (b"ustar", _TAR)}
# A version, and then the beginning of a text or a message.
_PROTOBUF = re.compile(rb"\x08[\x03-\x14][\x12\x1a\x22\x32\x3a\x42]")
# Archives, by how a member's name ends.
_ARCHIVES = {
    ".npy": Kind("an .npz file", ".npz"),
    "data.pkl": _TORCH,
    "model.weights.h5": KERAS,
}
# By the name, where the bytes tell nothing for sure.
_NAMES = {
    r"\.(pkl|pickle|joblib)": PICKLE,
    r"\.tflite": _LITE,
    r"\.(mlmodel|mlpackage)": _CORE,
    r"\.pb": Kind("a graph of TensorFlow", hint=_TENSORFLOW),
    r"\.(index|meta|data-\d+-of-\d+)": _CHECKPOINT,
    r"\.index\.json": Kind(
        "a list of files with weights", hint="give the one that holds the recurrent layers"
    ),
    r"\.json": Kind(
        "JSON text, of which no weights are read",
        hint="save the model as .keras, or the network as .npz",
    ),
    r"\.tar": _TAR,
}
_START = 512
_CHARACTERS = set(range(0x20, 0x7F)) | set(b"\t\r\n")


def check_kind(path: str, formats: Mapping[str, str]) -> None:
    """Check that a file is of a kind that is read, and of the one that its name says.

    Parameters
    ----------
    path : str
    formats : mapping
        What reads each kind, by extension.

    Raises
    ------
    InputError
        Its content, or an extension that is none of these, tells that it is of another.
    OSError
        It cannot be read.
    """
    extension = os.path.splitext(path)[1].lower()
    reader = formats.get(extension)
    found = _found(path)
    hint = found.hint
    if found.extension and formats[found.extension] != reader:
        hint = f"rename it to {verbatim(os.path.splitext(path)[0] + found.extension)}"
    # What its reader knows more of.
    known = (found == ZIP and reader) or (found == PICKLE and reader == formats[_TORCH.extension])
    if hint and not known:
        article = "an" if extension[1:2] in ("n", "h", "o") else "a"
        expected = f"expected {article} {extension} file, got " if reader else "is "
        raise InputError(path, f"{expected}{found.name}", hint)
    if extension not in formats:
        os.stat(path)  # that it is not there comes first
    choice(f"{path}: extension", extension, formats)


def _found(path: str) -> Kind:
    """Tell what a path leads to."""
    if os.path.isdir(path):
        saved = os.path.exists(os.path.join(path, "saved_model.pb"))
        return _SAVED if saved else _named(path, Kind("a folder", hint="give the file in it"))
    if os.path.isfile(path):
        kind = kind_of(path)
        return _named(path, kind) if kind in (_TEXT, ONNX, UNKNOWN) else kind
    return _CHECKPOINT if os.path.exists(f"{path}.index") else UNKNOWN


def _named(path: str, otherwise: Kind) -> Kind:
    """Tell what a file's name says that it is."""
    kinds = (kind for end, kind in _NAMES.items() if re.search(rf"{end}\Z", path.lower()))
    return next(kinds, otherwise)


def kind_of(path: str) -> Kind:
    """Tell what a file looks like by its content.

    Raises
    ------
    OSError
        It cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(_START)
        if start.startswith(FIRST):
            return _archive(path, file)
    if start[8:9] == b"{" and start[5:8] == bytes(3):  # after a length of under a TiB
        return SAFETENSORS
    lower = start.lower()
    kinds = [kind for signature, kind in _SIGNATURES.items() if lower.startswith(signature)]
    kinds += [kind for place, (text, kind) in _LATER.items() if lower.startswith(text, place)]
    if kinds:
        return kinds[0]
    if not start:
        return Kind("an empty file")
    if set(start) <= _CHARACTERS:
        return _TEXT
    return ONNX if _PROTOBUF.match(start) else UNKNOWN


def _archive(path: str, file: BinaryIO) -> Kind:
    """Tell what a zip archive is by the names in it; a damaged one is but an archive."""
    try:
        names = open_zip(path, file).namelist()
    except InputError:
        return ZIP
    kinds = (kind for end, kind in _ARCHIVES.items() for name in names if name.endswith(end))
    return next(kinds, ZIP)
