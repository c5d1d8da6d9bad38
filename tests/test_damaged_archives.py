"""Archives of arrays that lie, and those that unpack to far more than there is."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import outcome, refused
from safetensors.numpy import save
from test_damaged_weights import SMALL, by_hand

from rnncli.model.formats import load_network
from rnncli.model.formats.containers import MOST_BYTES


def test_a_name_twice_in_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    path.write_bytes(by_hand(**SMALL))
    member = io.BytesIO()
    np.save(member, np.zeros((3, 3), "f"))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("W_hh.npy", member.getvalue())
    assert outcome(path) == "W_hh: is in the archive twice"


def test_an_archive_that_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    path.write_bytes(by_hand(**SMALL)[:-30])
    assert (
        outcome(path)
        == "damaged: its end, a list of its members, is missing: was all of it copied?"
    )


def npy(text: str, values: bytes = b"") -> bytes:
    """A version 1 .npy file of that header."""
    header = text.encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values


def described(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"


HEADERS = [
    ("W_xh: expected shape (I, 100000), as W_hh is", npy(described("(100000, 100000)"), bytes(36))),
    ("W_hh: expected 36 bytes, as its shape (3, 3) of", npy(described("(3, 3)"), bytes(32))),
    ("W_hh: expected shape (H, H), got (-3, -3)", npy(described("(-3, -3)"), bytes(36))),
    ("W_hh: expected floats", npy(described("(3, 3)", "'|O'"), bytes(72))),
    ("W_hh: damaged: ", npy(described("(3, 3)", "'<q9'"), bytes(36))),
    ("W_hh: damaged: ", npy(described(f"({'-' * 9000}3, 3)"))),
    ("W_hh: damaged: ", npy(described(f"(3{'+1' * 4000}, 3)"))),
    ("W_hh: damaged: ", npy("'\\d'")),
    ("W_hh: damaged: EOF", b"\x93NUMPY\x01\x00\xff\xff"),
    ("W_hh: damaged: ", b""),
]


def archive_of(path: Path, member: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive whose W_hh is such a member."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in SMALL.items():
            file = io.BytesIO()
            np.save(file, array)
            archive.writestr(f"{name}.npy", member if name == "W_hh" else file.getvalue())
    return path.read_bytes()


@pytest.mark.parametrize(("message", "member"), HEADERS)
def test_members_that_lie(tmp_path: Path, message: str, member: bytes) -> None:
    path = tmp_path / "w.npz"
    assert message in refused(path, archive_of(path, member))


def test_a_header_of_python_2(tmp_path: Path) -> None:
    """NumPy reads it, and would warn."""
    path = tmp_path / "w.npz"
    path.write_bytes(archive_of(path, npy(described("(3L, 3L)"), np.eye(3, dtype="f").tobytes())))
    assert not outcome(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_numpy_does_not_use(tmp_path: Path, compression: int) -> None:
    """Their decompressors give all at once, however much it is."""
    content = archive_of(tmp_path / "w.npz", bytes(100), compression)
    assert "compressed in a way" in refused(tmp_path / "w.npz", content)


def test_an_encrypted_member(tmp_path: Path) -> None:
    content = bytearray(archive_of(tmp_path / "w.npz", b""))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    content[6] |= 1
    assert "is encrypted" in refused(tmp_path / "w.npz", bytes(content))


def zeros(path: Path, members: int, size: int) -> None:
    """Write arrays of zeros, compressed, without ever holding one of them."""
    H = int((size / 4) ** 0.5)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(1, members + 1):
            for name, shape in (("W_xh", (H, H)), ("W_hh", (H, H))):
                with archive.open(f"layer_{n}.forward.{name}.npy", "w") as member:
                    member.write(npy(described(str(shape))))
                    for _ in range(H):
                        member.write(bytes(4 * H))


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 8])
def test_a_zip_bomb(tmp_path: Path, members: int) -> None:
    """An archive that unpacks to a thousand times its size, at once or in many parts."""
    path = tmp_path / "w.npz"
    zeros(path, members, MOST_BYTES * 5 // 4 // members)
    assert path.stat().st_size < MOST_BYTES / 100
    message = outcome(path)
    assert "over 2 times its own" in message
    assert message.endswith("write it anew with numpy.savez, which does not compress")


@pytest.mark.slow
def test_a_zip_bomb_beside_what_is_picked(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    zeros(path, 1, 2 * MOST_BYTES)
    with zipfile.ZipFile(path, "a") as archive:
        for name, array in SMALL.items():
            file = io.BytesIO()
            np.save(file, array)
            archive.writestr(f"small.{name}.npy", file.getvalue())
    assert load_network(path, "small").network.input_size == 2


def test_a_text_of_many_brackets(tmp_path: Path) -> None:
    text = "[" * 100_000
    arrays: dict[str, Any] = SMALL | {"about": np.array(text)}
    assert "about: not JSON text" in refused(tmp_path / "w.npz", by_hand(**arrays))
    arrays["about"] = np.array(11 * text)
    message = refused(tmp_path / "w.npz", by_hand(**arrays))
    assert message == "about: expected at most 4,194,304 bytes, got 4,400,128"
    tensors = {"weight_ih": np.ones((3, 2), "f"), "weight_hh": np.ones((3, 3), "f")}
    content = save(tensors, {"rnncli": text})
    assert "not JSON text" in refused(tmp_path / "w.safetensors", content)


@pytest.mark.parametrize("number", [0x110000, 0xFFFF73, 0xFFFFFFFF])
def test_text_of_numbers_that_are_no_characters(tmp_path: Path, number: int) -> None:
    """NumPy makes a string of some, at which Python then fails."""
    about: Any = np.array([ord("{"), number], "<u4").view("<U2")[0]
    assert "about: damaged: " in refused(tmp_path / "w.npz", by_hand(**SMALL, about=about))
