"""Damaged and hostile weight files: a network or one line that says why not, in little memory."""

import io
import json
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from test_fuzz import damaged

from rnncli.model.activations import activation
from rnncli.model.cells import CELLS, LSTM, RNN, Cell, Weights, weight_shapes
from rnncli.model.formats import load_network, save_network
from rnncli.model.formats.containers.archive import MOST_BYTES, MOST_TIMES
from rnncli.model.layers import Dense, Embedding, Masking, Normalization, Pointwise, Recurrent
from rnncli.model.network import Network

# Of each format; .ci/run asks for more.
CASES = int(os.environ.get("RNN_WEIGHT_FUZZ_CASES", "100"))
# Beside a multiple of the file: the digest reads by 256 KiB; a header of 10,000 brackets takes
# Python's parser 2.5 MB.
MEMORY = 64 * 2**20


def made() -> Network:
    random = np.random.RandomState(0)

    def cell(I: int, name: str, clip: float) -> RNN:
        arrays = (random.normal(size=shape).astype("f") for shape in ((I, 3), (3, 3), 3))
        return RNN(Weights(*arrays), activation(name), clip)

    bottom = Recurrent(cell(2, "elu", 2.5), cell(2, "relu", 1.0), direction="bidirectional")
    return Network(
        bottom, Recurrent(cell(6, "tanh", 3.0), cell(6, "tanh", 4.0), direction="bidirectional")
    )


def gated(kind: str) -> Network:
    """Layers of an LSTM or a GRU with the arrays that files have names for."""
    random = np.random.RandomState(1)

    def cell(I: int) -> Cell:
        P = 2 if kind == "lstm" else 3
        extra: dict[str, Any] = {"W_hr": (3, 2)} if kind == "lstm" else {"b_n": (3,)}
        shapes = weight_shapes(I, 3, CELLS[kind].gates, P) | extra
        weights = {name: np.array(random.normal(size=shape), "f") for name, shape in shapes.items()}
        return CELLS[kind](Weights(**weights))

    bottom = Recurrent(cell(2), cell(2), direction="bidirectional")
    I = bottom.output_size
    return Network(bottom, Recurrent(cell(I), cell(I), direction="bidirectional"))


def of_all_kinds() -> Network:
    """Layers without state below and above an LSTM with peepholes."""
    random = np.random.RandomState(2)
    shapes = weight_shapes(2, 3, 4) | {"w_ch": (9,)}
    weights = {name: random.normal(size=shape).astype("f") for name, shape in shapes.items()}
    table, W = random.normal(size=(5, 2)), random.normal(size=(3, 2))
    ones = np.ones(2)
    return Network(
        Embedding(table, mask_zero=True),
        Normalization(ones, ones, ones, ones),
        Masking(0.5, 2),
        LSTM(Weights(**weights)),
        Dense(W, activation="softmax"),
        Pointwise("relu", 2),
    )


def bits(network: Network) -> list[bytes]:
    return [
        a.tobytes()
        for layer in network.layers
        for cell in layer.cells
        for a in cell.weights.arrays.values()
    ]


def content(extension: str, naming: str = "torch", network: Network | None = None) -> bytes:
    file = io.BytesIO()
    save_network(file, network or made(), extension, naming)
    return file.getvalue()


def by_hand(**arrays: Any) -> bytes:
    """An archive as numpy.savez_compressed makes it."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


SMALL = {"W_xh": np.ones((2, 3), "f"), "W_hh": np.ones((3, 3), "f"), "b_h": np.ones(3, "f")}
WHOLE = {
    "npz": content(".npz"),
    "npz, compressed": by_hand(**SMALL),
    "torch": content(".safetensors", "torch"),
    "keras": content(".safetensors", "keras"),
    "npz, all kinds": content(".npz", network=of_all_kinds()),
    "torch, LSTM": content(".safetensors", "torch", gated("lstm")),
    "keras, GRU": content(".safetensors", "keras", gated("gru")),
}


def outcome(path: Path) -> str:
    """Give the message, or nothing for a network; check how either comes about."""
    tracemalloc.start()
    try:
        load_network(path)
        message = ""
    except ValueError as error:
        message = str(error)
        assert message.startswith(f"{path}: ")
        assert message.isprintable()  # so it is one line
        assert len(message) < 1500
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < MEMORY + 4 * path.stat().st_size
    return message.removeprefix(f"{path}: ")


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    message = outcome(path)
    assert message
    return message


def struck_member(kind: str, seed: int) -> bytes:
    """Damage a member of a sound archive, to get further than to its checksums."""
    random, file = np.random.RandomState(seed), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(WHOLE[kind])) as whole, zipfile.ZipFile(file, "w") as archive:
        struck = random.choice(whole.namelist())
        for name in whole.namelist():
            member = whole.read(name)
            archive.writestr(name, damaged(seed, member) if name == struck else member)
    return file.getvalue()


def parts(kind: str) -> tuple[bytes, bytes]:
    """Header and values of a .safetensors file."""
    size = int.from_bytes(WHOLE[kind][:8], "little")
    return WHOLE[kind][8 : 8 + size], WHOLE[kind][8 + size :]


def struck_header(kind: str, seed: int) -> bytes:
    """Damage a header and give its length right, to get as far as to its JSON."""
    header, values = parts(kind)
    header = damaged(seed, header)
    return len(header).to_bytes(8, "little") + header + values


def other_text(seed: int) -> bytes:
    """Put something else for one value of sound metadata."""
    random, file = np.random.RandomState(seed), io.BytesIO()
    with np.load(io.BytesIO(WHOLE["npz, all kinds"])) as arrays:
        kept: dict[str, Any] = dict(arrays)
    about = json.loads(str(kept["about"]))
    place: Any = about
    parts: list[Any] = [about]
    while parts:  # any object or list in it
        place = parts[random.randint(len(parts))]
        inner = place.values() if isinstance(place, dict) else place
        parts = [each for each in inner if isinstance(each, dict | list) and random.rand() < 0.8]
    key = random.choice(list(place)) if isinstance(place, dict) else random.randint(len(place))
    others: list[Any] = [0, -1, 2**64, 1e300, None, True, "gru", "dense", "tanh", [], {}, "\x1b"]
    place[key] = others[random.randint(len(others))]
    np.savez(file, **kept | {"about": np.array(json.dumps(about))})
    return file.getvalue()


def other_value(seed: int) -> bytes:
    """Put something else for one value of a sound header."""
    text, values = parts("torch")
    header = json.loads(text)
    random = np.random.RandomState(seed)
    entry = header[random.choice([name for name in header if name != "__metadata__"])]
    field = random.choice(list(entry))
    others: list[Any] = [
        0,
        -1,
        2**31,
        2**63,
        2**64,
        1e300,
        None,
        True,
        "F64",
        "BF16",
        [],
        {},
        "\x1b",
    ]
    other = others[random.randint(len(others))]
    if isinstance(entry[field], list) and random.rand() < 0.8:
        entry[field][random.randint(len(entry[field]))] = other
    else:
        entry[field] = other
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


# What a seed makes of each format, one way after the other.
DAMAGE: dict[str, list[Callable[[int], bytes]]] = {
    ".npz": [
        lambda seed: damaged(seed, WHOLE["npz"]),
        lambda seed: damaged(seed, WHOLE["npz, compressed"]),
        lambda seed: struck_member("npz", seed),
        lambda seed: struck_member("npz, all kinds", seed),
        other_text,
    ],
    ".safetensors": [
        lambda seed: damaged(seed, WHOLE["torch"]),
        lambda seed: damaged(seed, WHOLE["keras"]),
        lambda seed: struck_header("torch", seed),
        lambda seed: struck_header("keras", seed),
        lambda seed: struck_header("torch, LSTM", seed),
        lambda seed: struck_header("keras, GRU", seed),
        other_value,
    ],
}


@pytest.mark.parametrize("extension", DAMAGE)
@pytest.mark.parametrize("seed", range(CASES))
def test_damaged_files(tmp_path: Path, extension: str, seed: int) -> None:
    damage = DAMAGE[extension][seed % len(DAMAGE[extension])]
    (tmp_path / f"w{extension}").write_bytes(damage(seed))
    outcome(tmp_path / f"w{extension}")


@pytest.mark.parametrize("kind", WHOLE)
def test_every_cut_is_noticed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("w.npz" if "npz" in kind else "w.safetensors")
    for end in range(0, len(WHOLE[kind]), 31):
        refused(path, WHOLE[kind][:end])


@pytest.mark.slow
def test_a_flipped_bit_in_an_archive_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Weights stand under a checksum: none is ever read as another."""
    path = tmp_path / "w.npz"
    for place in range(0, len(WHOLE["npz"]), 13):
        struck = bytearray(WHOLE["npz"])
        struck[place] ^= 0x10
        path.write_bytes(struck)
        if not outcome(path):
            assert bits(load_network(path).network) == bits(made())


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


def test_a_name_twice_in_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    path.write_bytes(by_hand(**SMALL))
    member = io.BytesIO()
    np.save(member, np.zeros((3, 3), "f"))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("W_hh.npy", member.getvalue())
    assert outcome(path) == "W_hh: is in the archive twice"


def npy(text: str, values: bytes = b"") -> bytes:
    """A version 1 .npy file of that header."""
    header = text.encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values


def described(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"


HEADERS = {
    # A member's content, and the message.
    "more than there is": (
        npy(described("(100000, 100000)"), bytes(36)),
        "W_xh: expected shape (I, 100000), as W_hh is (100000, 100000), got (2, 3)",
    ),
    "a few more": (
        npy(described("(3, 3)"), bytes(32)),
        "W_hh: expected 36 bytes, as its shape (3, 3) of float32 takes, got 32",
    ),
    "a few less": (
        npy(described("(3, 3)"), bytes(40)),
        "W_hh: expected 36 bytes, as its shape (3, 3) of float32 takes, got 40",
    ),
    "negative sizes": (
        npy(described("(-3, -3)"), bytes(36)),
        "W_hh: expected shape (H, H), got (-3, -3)",
    ),
    "huge sizes": (npy(described(f"({10**30}, {10**30})"), bytes(36)), "W_xh: expected shape"),
    "objects": (npy(described("(3, 3)", "'|O'"), bytes(72)), "W_hh: expected floats"),
    "wide words": (npy(described("(3, 3)", "'<U99999999'"), bytes(36)), "W_hh: expected floats"),
    "fields": (npy(described("(3, 3)", "[('a', '<f4')]"), bytes(36)), "W_hh: expected floats"),
    "a type that is none": (npy(described("(3, 3)", "'<q9'"), bytes(36)), "W_hh: damaged: "),
    # For these two ast raises MemoryError and RecursionError.
    "signs": (npy(described(f"({'-' * 9000}3, 3)")), "W_hh: damaged: "),
    "a long sum": (npy(described(f"(3{'+1' * 4000}, 3)")), "W_hh: damaged: "),
    "brackets": (npy("(" * 9000), "W_hh: damaged: "),
    "a bad escape": (npy("'\\d'"), "W_hh: damaged: "),
    "no header": (b"\x93NUMPY\x01\x00\xff\xff", "W_hh: damaged: EOF"),
    "another version": (b"\x93NUMPY\x07\x00" + bytes(90), "an array of .npy version (7, 0)"),
    "no array": (b"hello", "W_hh: damaged: "),
    "nothing": (b"", "W_hh: damaged: "),
}


def archive_of(path: Path, member: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive whose W_hh is such a member."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in SMALL.items():
            file = io.BytesIO()
            np.save(file, array)
            archive.writestr(f"{name}.npy", member if name == "W_hh" else file.getvalue())
    return path.read_bytes()


@pytest.mark.parametrize(("member", "message"), HEADERS.values(), ids=HEADERS)
def test_members_that_lie(tmp_path: Path, member: bytes, message: str) -> None:
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
    assert path.stat().st_size * MOST_TIMES < 2 * MOST_BYTES
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
