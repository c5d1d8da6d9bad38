"""What is refused of ``.safetensors`` headers; the tests with peers compare with the library."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import refused
from safetensors.numpy import save
from test_damaged_weights import by_hand

from rnncli.model.errors import InputError
from rnncli.model.formats.containers.flat import opened

TENSOR = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
REFUSED: list[tuple[str, Any, int]] = [
    ("damaged, or no .safetensors: 'utf-8' codec can't decode byte", b"\xff", 0),
    ("damaged, or no .safetensors: Expecting property name", b"{,", 0),
    ("damaged, or no .safetensors: NaN is no JSON", b'{"a": NaN}', 0),
    ("damaged, or no .safetensors: maximum recursion depth", b"[" * 5000, 0),
    ("damaged, or no .safetensors: __metadata__: expected an", {"__metadata__": {"a": 1}}, 0),
    ("a: damaged: expected a dtype such as F32, got 'Q4'", {"a": TENSOR | {"dtype": "Q4"}}, 16),
    (
        "a: damaged: no tensor has the shape (1099511627776",
        {"a": TENSOR | {"shape": [2**40, 2**40]}},
        16,
    ),
    (
        "a: damaged: expected 24 bytes, as its shape (2, 3) of F32",
        {"a": TENSOR | {"shape": [2, 3]}},
        16,
    ),
    (
        "a: damaged: expected its values to begin at 0, got 4",
        {"a": TENSOR | {"data_offsets": [4, 20]}},
        20,
    ),
    ("b: damaged: expected its values to begin at 16, got 0", {"a": TENSOR, "b": TENSOR}, 16),
    ("damaged: expected 16 bytes after the header, got 17", {"a": TENSOR}, 17),
]


@pytest.mark.parametrize(("message", "header", "size"), REFUSED)
def test_headers_that_are_refused(tmp_path: Path, message: str, header: Any, size: int) -> None:
    path = tmp_path / "w.safetensors"
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + bytes(size))
    with pytest.raises(InputError) as caught, opened(str(path)):
        pass
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_header_of_many_values(tmp_path: Path) -> None:
    """They would take many times the file."""
    path = tmp_path / "w.safetensors"
    content = b'{"a":[' + b"[]," * 900_000 + b"[]]}"
    path.write_bytes(len(content).to_bytes(8, "little") + content)
    told = r"a header of 1,800,003 values in .* is more than is read"
    with pytest.raises(InputError, match=told):
        opened(str(path)).__enter__()


def test_a_length_beyond_everything(tmp_path: Path) -> None:
    for length in (2**60, 2**64 - 1, 2**63, 10**8 + 1, 3):
        content = length.to_bytes(8, "little") + b"{}"
        assert "damaged" in refused(tmp_path / "w.safetensors", content)


def test_a_name_twice_in_a_header(tmp_path: Path) -> None:
    entry = b'"weight_hh":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}'
    header = b"{" + entry + b"," + entry + b"}"
    content = len(header).to_bytes(8, "little") + header + bytes(16)
    message = refused(tmp_path / "w.safetensors", content)
    assert message == "damaged, or no .safetensors: weight_hh is in the header twice"


def test_hostile_names(tmp_path: Path) -> None:
    """Whatever a name holds, a message is one line and not too long."""
    square = np.ones((3, 4), "f")
    for stem in ("a\nb", "\x1b[31m", "\u202e", "x" * 5000, "\x00", "é"):
        content = save({f"{stem}.weight_hh_l0": square, f"{stem}.weight_ih_l0": square})
        refused(tmp_path / "w.safetensors", content)
        arrays: dict[str, Any] = {f"{stem}.W_hh": square}
        refused(tmp_path / "w.npz", by_hand(**arrays))
    many = {f"layers.{n}.weight_hh_l0": np.ones((3, 3), "f") for n in range(300)}
    assert "and 292 more; pick one" in refused(tmp_path / "w.safetensors", save(many))
