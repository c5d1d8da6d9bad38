"""Headers of ``.safetensors`` files: we take what the library takes, and refuse what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from conftest import NIGHTLY
from safetensors import safe_open
from safetensors.numpy import save

from rnncli.model.formats.safetensors import read

# Types of values that are compared too, not only where they are.
FLOATS = ("F16", "F32", "F64")

Found = tuple[dict[str, tuple[list[int], bytes]], dict[str, str]]


def theirs(path: Path) -> Found | None:
    try:
        with safe_open(path, framework="numpy") as file:
            found = {}
            for name in file.keys():  # noqa: SIM118 - the file itself is no mapping
                part = file.get_slice(name)
                dtype = part.get_dtype()
                values = file.get_tensor(name).tobytes() if dtype in FLOATS else b""
                found[name] = (part.get_shape(), values)
            return found, file.metadata() or {}
    except Exception:  # the library's error has no public name
        return None


def ours(path: Path) -> Found | None:
    try:
        arrays, texts = read(path.read_bytes(), str(path))
    except ValueError:
        return None
    floats = {name: array.tobytes() * (array.dtype.kind == "f") for name, array in arrays.items()}
    return {name: ([*arrays[name].shape], values) for name, values in floats.items()}, dict(texts)


def damaged(content: bytes, random: np.random.RandomState) -> bytes:
    """Change, drop or repeat some bytes of a file, most of them of its header."""
    for _ in range(random.randint(1, 4)):
        at = random.randint(len(content) if random.uniform() < 0.1 else 250)
        width = random.randint(1, 9)
        part = content[at : at + width]
        other = bytes(random.choice([*b'0123456789,:[]{}"F abds_'], width).astype(np.uint8))
        instead = (other[:1], other, b"", part + part)[random.randint(4)]
        stop = at + (1 if instead == other[:1] else width)
        content = content[:at] + instead + content[stop:]
    return content


def test_damaged_files(tmp_path: Path) -> None:
    tensors = {name: np.ones((2, 3), dtype) for name, dtype in zip("abc", "fed", strict=True)}
    content, path, sound = save(tensors, {"about": "a file"}), tmp_path / "w.safetensors", 0
    for seed in range(20_000 if NIGHTLY else 500):
        path.write_bytes(damaged(content, np.random.RandomState(seed)))
        found = theirs(path)
        assert ours(path) == found, seed
        sound += found is not None
    assert sound > 10


TENSOR = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
SOUND = {
    "one": ({"a": TENSOR}, 16),
    "a single value": ({"a": TENSOR | {"shape": [], "data_offsets": [0, 4]}}, 4),
    "nothing, twice": ({"a": EMPTY, "b": EMPTY, "c": TENSOR}, 16),
    "blanks around": (b' {"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}\n\t ', 1),
}
REFUSED = {
    "a shape of truth values": ({"a": TENSOR | {"shape": [True, 4]}}, 16),
    "a size over 64 bits": ({"a": EMPTY | {"shape": [0, 2**64]}}, 0),
    "the same bytes, twice": ({"a": TENSOR, "b": TENSOR}, 16),
    "bytes before the first": ({"a": TENSOR | {"data_offsets": [4, 20]}}, 20),
    "a field twice": (b'{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
    "not a number": (b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"b":NaN}}', 1),
}


def test_headers_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for what, (header, size) in (SOUND | REFUSED).items():
        content: Any = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(len(content).to_bytes(8, "little") + content + bytes(size))
        found = theirs(path)
        assert (found is not None) is (what in SOUND), what
        assert ours(path) == found, what
