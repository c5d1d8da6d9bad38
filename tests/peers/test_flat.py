"""Headers of ``.safetensors`` files: we take what the library takes, and refuse what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from test_damaged_weights import damage

from rnncli.model.formats.containers.flat import opened

# Types of values that are compared too, not only where they are.
FLOATS = ("F16", "F32", "F64")

Found = tuple[dict[str, tuple[list[int], str, bytes]], dict[str, str]]


def theirs(path: Path) -> Found | None:
    try:
        with safe_open(path, framework="numpy") as file:
            found = {}
            for name in file.keys():  # noqa: SIM118 - the file itself is no mapping
                part = file.get_slice(name)
                dtype = part.get_dtype()
                values = file.get_tensor(name).tobytes() if dtype in FLOATS else b""
                found[name] = (part.get_shape(), dtype, values)
            return found, file.metadata() or {}
    except Exception:  # the library's error has no public name
        return None


def ours(path: Path) -> Found | None:
    try:
        with opened(str(path)) as file:
            found = {
                name: (
                    list(tensor.shape),
                    tensor.dtype,
                    file.array(name).tobytes() if tensor.dtype in FLOATS else b"",
                )
                for name, tensor in file.tensors.items()
            }
            return found, dict(file.texts)
    except ValueError:
        return None


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    sound = 0
    for seed in range(2000):
        _, content = damage("safetensors", seed)
        path.write_bytes(content)
        found = theirs(path)
        assert ours(path) == found, seed
        sound += found is not None
    assert 50 < sound < 1000


TENSOR = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
SOUND = {
    "one": ({"a": TENSOR}, 16),
    "none": ({}, 0),
    "texts alone": ({"__metadata__": {"a": "b"}}, 0),
    "no texts": ({"a": TENSOR, "__metadata__": None}, 16),
    "a member that nobody knows": ({"a": TENSOR | {"more": [1.5]}}, 16),
    "a single value": ({"a": TENSOR | {"shape": [], "data_offsets": [0, 4]}}, 4),
    "nothing, twice": ({"a": EMPTY, "b": EMPTY, "c": TENSOR}, 16),
    "halves of bytes": ({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, 1),
    "blanks around": (b' {"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}\n\t ', 1),
}
REFUSED = {
    "a list as type": ({"a": TENSOR | {"dtype": ["F32"]}}, 16),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 16]}}, 16),
    "a shape of truth values": ({"a": TENSOR | {"shape": [True, 4]}}, 16),
    "a shape of floats": ({"a": TENSOR | {"shape": [2.0, 2]}}, 16),
    "a size over 64 bits": ({"a": EMPTY | {"shape": [0, 2**64]}}, 0),
    "a product over 64 bits": ({"a": EMPTY | {"shape": [2**63, 2**63, 0]}}, 0),
    "bytes too few": ({"a": TENSOR}, 15),
    "an end before its start": ({"a": TENSOR | {"data_offsets": [16, 0]}}, 0),
    "half a byte": ({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, 2),
    "a list of texts": ({"a": TENSOR, "__metadata__": []}, 16),
    "a field twice": (b'{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
    "not a number": (b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"b":NaN}}', 1),
    "a mark of byte order": (
        b'\xef\xbb\xbf{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        1,
    ),
    "no header": (b"", 0),
    "a list": (b"[]", 0),
}


@pytest.mark.parametrize("taken", [True, False])
def test_headers_by_hand(tmp_path: Path, taken: bool) -> None:
    path = tmp_path / "w.safetensors"
    for what, (header, size) in (SOUND if taken else REFUSED).items():
        content: Any = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(len(content).to_bytes(8, "little") + content + bytes(size))
        found = theirs(path)
        assert (found is not None) is taken, what
        assert ours(path) == found, what


def test_where_we_are_stricter(tmp_path: Path) -> None:
    """A name that is there twice, of which the library takes the last."""
    path = tmp_path / "w.safetensors"
    entry = b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    content = b"{" + entry + b"," + entry + b"}"
    path.write_bytes(len(content).to_bytes(8, "little") + content + bytes(1))
    assert theirs(path) == ({"a": ([1], "U8", b"")}, {})
    assert ours(path) is None
