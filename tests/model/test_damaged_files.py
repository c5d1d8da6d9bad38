"""Model files that are damaged, lie or attack: a network, or one line, in bounded time and memory.

What HDF5, pickles and messages of ONNX can hold is tested with each.
"""

import base64
import io
import json
import marshal
import os
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import NIGHTLY, ROOT, SAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import content
from safetensors.numpy import save as flat_file
from torch_bytes import tricks

import rnncli
from model.test_load import GIVEN, save
from model.test_saved_models import FOLDER, MODELS
from rnncli.cli import rnn
from rnncli.model.formats.load import FORMATS

# What opening a file may take beside four times its size.
MEMORY = 64 * 2**20
# How many functions it may call beside one for each byte: a model of a few layers takes 20,000.
CALLS = 500_000
CASES = 1000 if NIGHTLY else 40
NUMBERS = (0, 1, 2, 0x7F, 0x80, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
VALUES: list[Any] = [0, -1, 2**31, 2**64, 10**9, 1e300, None, True, "LSTM", "tanh", "\x1b", [], {}]
KERAS, TORCH, ONNX = (
    (SAMPLES / f"sunspots.{each}").read_bytes() for each in ("keras", "pt", "onnx")
)


def struck(seed: int, whole: bytes) -> bytes:
    """Flip a bit, cut, repeat or overwrite a range, or put another number, a few times."""
    random = np.random.RandomState(seed)
    data = bytearray(whole)
    for _ in range(random.randint(1, 4)):
        first, second, size = random.randint(0, len(data) + 1, 3)
        range_ = slice(first, first + size % 64 + 1)
        other = data[second : second + size % 64 + 1]
        way = random.randint(6)
        if way == 0 and data:
            data[random.randint(len(data))] ^= 1 << random.randint(8)
        elif way == 1:
            del data[first:]
        elif way == 2:
            del data[range_]
        elif way == 3:
            data[first:first] = other
        elif way == 4:
            data[range_] = other
        else:  # a length, an offset, a kind
            width = 1 << random.randint(4)
            number = (*NUMBERS, len(data), second)[random.randint(len(NUMBERS) + 2)]
            field = (int(number) % 256**width).to_bytes(width, "little")
            data[first : first + width] = field[:: 1 - 2 * random.randint(2)]
    return bytes(data)


def struck_within(seed: int, whole: bytes) -> bytes:
    """Damage a part that a checksum or a length guards, and put these right again."""
    size = int.from_bytes(whole[:8], "little")
    if whole[8:9] == b"{" and size < len(whole):  # .safetensors
        header = struck_text(seed, whole[8 : 8 + size])
        return len(header).to_bytes(8, "little") + header + whole[8 + size :]
    if not whole.startswith(b"PK"):
        return struck(seed, whole)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        names = archive.namelist()
        name = names[np.random.RandomState(seed).randint(len(names))]
        member = archive.read(name)
    if name == "about.npy":  # text of our own, as numbers
        text = struck_text(seed, str(np.load(io.BytesIO(member))).encode())
        file = io.BytesIO()
        np.save(file, np.array(text.decode("utf-8", "replace")))
        return rezipped(whole, {name: file.getvalue()})
    change = struck_text if member.startswith(b'{"') else struck
    return rezipped(whole, {name: change(seed, member)})


def struck_text(seed: int, text: bytes) -> bytes:
    """Put something else for a value of a JSON object, or damage the text."""
    random = np.random.RandomState(seed)
    if random.randint(2):
        return struck(seed, text)
    whole = json.loads(text)
    inner: list[Any] = [whole]
    while inner:  # any object or list in it
        place = inner[random.randint(len(inner))]
        parts = place.values() if isinstance(place, dict) else place
        inner = [each for each in parts if isinstance(each, dict | list) and each]
        inner = inner if random.rand() < 0.8 else []
    keys = list(place) if isinstance(place, dict) else range(len(place))
    place[keys[random.randint(len(keys))]] = VALUES[random.randint(len(VALUES))]
    return json.dumps(whole).encode()


def rezipped(whole: bytes, changes: dict[str, bytes], compression: int | None = None) -> bytes:
    """Put other members for those whose names end so."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as sound, zipfile.ZipFile(file, "w") as archive:
        for info in sound.infolist():
            way = info.compress_type if compression is None else compression
            new = next((c for end, c in changes.items() if info.filename.endswith(end)), None)
            archive.writestr(info.filename, sound.read(info) if new is None else new, way)
    return file.getvalue()


def outcome(path: Path, **options: Any) -> str:
    """Return the message, or nothing for a network; check how either comes about."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    message = ""
    tracemalloc.start()
    sys.setprofile(count)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            rnncli.load(path, **options)
    except ValueError as error:
        message = str(error)
    finally:
        sys.setprofile(None)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    size = path.stat().st_size if path.is_file() else 0
    assert peak < MEMORY + 4 * size
    assert calls < CALLS + size
    result = CliRunner().invoke(rnn, ["inspect", str(path), "--json"])
    if result.exit_code != 2:
        assert result.exit_code == (not json.loads(result.stdout)["runs"]), result.exception
    assert len(result.stderr.splitlines()) == (result.exit_code == 2)
    for each in filter(None, (message, result.stderr.removeprefix("Error: ").rstrip())):
        assert each.startswith(str(path)[: -len(path.suffix)])
        assert each.isprintable()  # so it is one line
        assert len(each) < 1500
    return message.removeprefix(f"{path}: ")


def refused(path: Path, data: bytes) -> str:
    """Return the message of a file with such a content."""
    path.write_bytes(data)
    message = outcome(path)
    assert message
    return message


# Sound files by the module that reads them, and by name.
SOUND: dict[str, dict[str, bytes]] = {module: {} for module in FORMATS.values()}
for _model in [*MODELS, *(each for each in SAMPLES.glob("sunspots.*") if each.suffix in FORMATS)]:
    SOUND[FORMATS[_model.suffix]][_model.name] = _model.read_bytes()


@pytest.fixture(scope="session", autouse=True)
def own_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Add files of our own: an ``.npz`` of each network, and a ``.safetensors``."""
    folder = tmp_path_factory.mktemp("own")
    for name in (*(f"{each}.npz" for each in GIVEN), "both.safetensors"):
        save(folder / name, GIVEN[name.partition(".")[0]])
        SOUND[FORMATS[Path(name).suffix]][name] = (folder / name).read_bytes()


def damage(module: str, seed: int) -> tuple[str, bytes]:
    """Return the name of a sound file and its content, damaged."""
    name = sorted(SOUND[module])[seed // 2 % len(SOUND[module])]
    return name, (struck, struck_within)[seed % 2](seed, SOUND[module][name])


@pytest.mark.parametrize("module", SOUND)
@settings(max_examples=CASES)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_damage(tmp_path_factory: pytest.TempPathFactory, module: str, seed: int) -> None:
    name, data = damage(module, seed)
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    for beside in FOLDER.glob(f"{name}.*"):  # where ONNX keeps its values
        path.with_name(beside.name).write_bytes(beside.read_bytes())
    outcome(path)


@pytest.mark.parametrize("name", ["both.npz", "both.safetensors"])
def test_every_cut_is_noticed(tmp_path: Path, name: str) -> None:
    whole = SOUND[FORMATS[Path(name).suffix]][name]
    for end in range(0, len(whole), 31 if NIGHTLY else 307):
        refused(tmp_path / name, whole[:end])


def test_a_flipped_bit_in_an_archive_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Weights stand under a checksum: none is ever read as another."""
    path, whole = tmp_path / "w.npz", SOUND["npz"]["both.npz"]
    path.write_bytes(whole)
    sound = content(rnncli.load(path))
    for place in range(0, len(whole), 13 if NIGHTLY else 151):
        data = bytearray(whole)
        data[place] ^= 0x10
        path.write_bytes(data)
        if not outcome(path):
            assert content(rnncli.load(path)) == sound


# Archives of arrays.

SMALL: dict[str, Any] = {
    "W_xh": np.ones((2, 3), "f"),
    "W_hh": np.ones((3, 3), "f"),
    "b_h": np.ones(3, "f"),
}


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **SMALL | arrays)
    return file.getvalue()


def npy(text: str, values: bytes = b"") -> bytes:
    """Return a version 1 ``.npy`` file of that header."""
    header = text.encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values


def described(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"


def member(data: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive whose W_hh is such a member."""
    return rezipped(npz(), {"W_hh.npy": data}, compression)


def twice() -> bytes:
    file = io.BytesIO(npz())
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("W_hh.npy", npy(described("(3, 3)"), bytes(36)))
    return file.getvalue()


def encrypted() -> bytes:
    data = bytearray(member(b""))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    data[6] |= 1
    return bytes(data)


def many_members() -> bytes:
    """Return an archive with a list of more members than memory holds objects for."""
    entry = b"PK\x01\x02" + bytes(42)
    end = b"PK\x05\x06" + bytes(8) + (len(entry) * 100_000).to_bytes(4, "little")
    start = b"PK\x03\x04" + bytes(26)
    return start + entry * 100_000 + end + (30).to_bytes(4, "little") + bytes(2)


def text_of(number: int) -> Any:
    """Return text of numbers that are no characters, of which NumPy makes a string."""
    return np.array([ord("{"), number], "<u4").view("<U2")[0]


NPZ: list[tuple[str, bytes]] = [
    ("W_hh: damaged: is in the archive twice", twice()),
    ("W_hh: damaged: expected 40000000000 bytes", member(npy(described("(100000, 100000)")))),
    ("W_hh: damaged: expected 36 bytes", member(npy(described("(-3, -3)"), bytes(36)))),
    ("of object, got", member(npy(described("(3, 3)", "'|O'"), bytes(72)))),
    ("W_hh: damaged: ", member(npy(described(f"({'-' * 9000}3, 3)")))),
    ("W_hh: damaged: ", member(npy("'\\d'"))),
    ("compressed in another way", member(bytes(100), zipfile.ZIP_BZIP2)),
    ("is encrypted", encrypted()),
    ("a list of at most 40,000 members", many_members()),
    ("about: damaged", npz(about=np.array("[" * 100_000))),
    ("about: expected the text of a network", npz(about=np.array("[" * 1_100_000))),
    *(("about: damaged: ", npz(about=text_of(n))) for n in (0x110000, 0xFFFF73, 0xFFFFFFFF)),
]
TENSOR = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
ENTRY = b'"weight_hh":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}'


def flat(header: Any, size: int = 0) -> bytes:
    """Return a ``.safetensors`` file of such a header."""
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(data).to_bytes(8, "little") + data + bytes(size)


RNN = {name: np.ones((3, 3), "f") for name in ("weight_ih", "weight_hh")}
MANY = {f"layers.{n}.weight_hh_l0": np.ones((3, 3), "f") for n in range(300)}
FLAT: list[tuple[str, bytes]] = [
    ("damaged", flat(b"{\xff")),
    ("damaged", flat(b'{"a":' + b"[" * 100_000)),
    ("damaged", flat({"__metadata__": {"a": 1}})),
    *(("damaged", flat_file(RNN, {"rnncli": text})) for text in ("[]", "[" * 100_000)),
    ("damaged", flat({"a": TENSOR | {"dtype": ["F32"]}}, 16)),
    ("damaged", flat({"a": TENSOR | {"dtype": "Q4", "shape": [2, -2]}}, 16)),
    ("16 bytes are not of", flat({"a": TENSOR | {"shape": [2, 3]}}, 16)),
    ("a begins at byte 4, expected 0", flat({"a": TENSOR | {"data_offsets": [4, 20]}}, 20)),
    ("b begins at byte 0", flat({"a": TENSOR, "b": TENSOR}, 16)),
    ("17 bytes follow the header", flat({"a": TENSOR}, 17)),
    ("a name is there twice", flat(b"{" + ENTRY + b"," + ENTRY + b"}", 16)),
    ("a header of 2,700,", flat(b'{"a":[' + b"[]," * 900_000 + b"[]]}")),
    ("in layers from 0, got layers.0.weight_hh_l0", flat_file(MANY)),
    *(("damaged", n.to_bytes(8, "little") + b"{}") for n in (2**60, 2**64 - 1, 2**63, 3)),
]


@pytest.mark.parametrize(
    ("extension", "why", "data"),
    [(".npz", *each) for each in NPZ] + [(".safetensors", *each) for each in FLAT],
)
def test_arrays_that_lie(tmp_path: Path, extension: str, why: str, data: bytes) -> None:
    assert why in refused(tmp_path / f"w{extension}", data)


@pytest.mark.parametrize("stem", ["a\nb", "\x1b[31m", "\u202e", "x" * 5000, "\x00", "é"])
def test_hostile_names(tmp_path: Path, stem: str) -> None:
    """Whatever a name holds, a message is one line and not too long."""
    square = np.ones((3, 4), "f")
    names = (f"{stem}.weight_hh_l0", f"{stem}.weight_ih_l0")
    refused(tmp_path / "w.safetensors", flat_file(dict.fromkeys(names, square)))
    refused(tmp_path / "w.npz", npz(**{f"{stem}.W_hh": square}))


# Archives that unpack to far more than there is.

UNPACKED = 2**27 + 0x10305  # no other number of an archive has these bytes
BOMBS = [(".keras", "model.weights.h5"), (".npz", "about.npy"), (".pt", "data.pkl")]
BOMBS += [(".keras", "config.json"), (".pt", "data/0")]


@pytest.mark.parametrize("told", [None, 1000])
@pytest.mark.parametrize(
    ("extension", "end"),
    [*BOMBS[:2], *(pytest.param(*each, marks=pytest.mark.nightly) for each in BOMBS[2:])],
)
def test_members_that_unpack_to_far_more(
    tmp_path: Path, extension: str, end: str, told: int | None
) -> None:
    """Whatever size is told of them."""
    whole = {".keras": KERAS, ".pt": TORCH, ".npz": SOUND["npz"]["both.npz"]}[extension]
    data = rezipped(whole, {end: bytes(UNPACKED)}, zipfile.ZIP_DEFLATED)
    if told is not None:
        size = UNPACKED.to_bytes(4, "little")
        assert data.count(size) == 2  # before the member, and in the list of all
        data = data.replace(size, told.to_bytes(4, "little"))
    assert len(data) < 2**20
    refused(tmp_path / f"w{extension}", data)


# Files that are none, or change.


@pytest.mark.posix("a pipe with a name")
@pytest.mark.parametrize("extension", [".npz", ".pt"])
def test_paths_that_lead_to_no_file(tmp_path: Path, extension: str) -> None:
    """A pipe would wait, a device never end."""
    os.mkfifo(tmp_path / f"pipe{extension}")
    (tmp_path / f"device{extension}").symlink_to("/dev/zero")
    (tmp_path / f"folder{extension}").mkdir()
    (tmp_path / f"nothing{extension}").touch()
    (tmp_path / f"lost{extension}").symlink_to(tmp_path / "nowhere")
    for name, why in (
        ("pipe", "not a plain file"),
        ("device", "not a plain file"),
        ("folder", "is a folder"),
        ("nothing", "got an empty file"),
        ("lost", "No such file"),
    ):
        assert why in outcome(tmp_path / f"{name}{extension}")


# Files that want to run code.


def keras_with(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return the sample model with something changed in the config of its second layer."""
    with zipfile.ZipFile(io.BytesIO(KERAS)) as archive:
        config = json.loads(archive.read("config.json"))
    change(config["config"]["layers"][1])
    return rezipped(KERAS, {"config.json": json.dumps(config).encode()})


# Loads sound files, and then hostile ones under a hook, which cannot be taken away again.
WATCHED = """
import json, sys
import rnncli, rnncli.model.formats.chain

sound, hostile = json.load(sys.stdin)
for path in sound:
    rnncli.load(path)
seen, messages = [], []
EVENTS = "import", "exec", "open", "os.", "subprocess.", "socket.", "ctypes.", "pickle."

def watch(event, arguments):
    if event.startswith(EVENTS):
        seen.append([event, str(arguments[0])])

sys.addaudithook(watch)
for path in hostile:
    try:
        rnncli.load(path)
        messages.append("")
    except ValueError as error:
        messages.append(str(error))
done = list(seen)
print(json.dumps([messages, done]))
"""


def hostile_files(made: Path) -> dict[str, bytes]:
    """Return files, by name, that make a file where anything in them is run."""
    evil = tricks(made)
    touch = f"__import__('pathlib').Path({str(made)!r}).touch()"
    lambda_ = base64.b64encode(marshal.dumps(compile(touch, "x", "eval"))).decode()
    own = {"class_name": "Lambda", "config": {"name": "l", "function": [lambda_, None, None]}}
    system = {"module": "os", "class_name": "function", "config": "system"}
    objects = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        objects, {"descr": "|O", "fortran_order": False, "shape": (1, 1)}
    )
    return {
        **{f"{n}.pt": rezipped(TORCH, {"data.pkl": each}) for n, each in enumerate(evil.values())},
        "bare.bin": evil["os.system, protocol 2"],
        "pickle.safetensors": evil["os.system, protocol 2"],
        "objects.npz": member(objects.getvalue() + evil["eval, protocol 2"]),
        "lambda.keras": keras_with(lambda layer: layer.update(own)),
        "module.keras": keras_with(lambda layer: layer.update(module="os", class_name="system")),
        "function.keras": keras_with(lambda layer: layer["config"].update(activation=system)),
        "lambda.h5": b"\x89HDF\r\n\x1a\n" + lambda_.encode(),
        "code.onnx": ONNX.replace(b"\x22\x03GRU", b"\x22\x03sys"),
    }


def test_nothing_is_run_imported_or_opened(tmp_path: Path) -> None:
    made = tmp_path / "made"
    files = hostile_files(made)
    hostile = [str(tmp_path / name) for name in files]
    for path, data in zip(hostile, files.values(), strict=True):
        Path(path).write_bytes(data)
    sound = [str(SAMPLES / f"sunspots.{each}") for each in ("keras", "pt", "onnx")]
    for name in ("both.npz", "both.safetensors"):
        (tmp_path / name).write_bytes(SOUND[FORMATS[Path(name).suffix]][name])
        sound.append(str(tmp_path / name))
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WATCHED],
        input=json.dumps([sound, hostile]),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert process.returncode == 0, process.stderr
    messages, events = json.loads(process.stdout)
    for path, message in zip(hostile, messages, strict=True):
        assert message.startswith(f"{path}: "), path
        assert message.isprintable()
    assert not made.exists()
    assert [event for event in events if event[0] != "open" or event[1] not in hostile] == []
