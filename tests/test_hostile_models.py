"""Model files that want to run code, to reach other files or to take all memory, in every format.

Each must end in one line, with nothing run, imported or opened but the file:
a hook that Python calls for all of these looks on. What pickles, HDF5 and ONNX
can hold beside is tested with each.
"""

import base64
import io
import json
import marshal
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, SAMPLES
from damage import outcome
from test_damaged_weights import SOUND
from test_kept_models import FOLDER
from test_pickled import Command

from rnncli.model.errors import InputError
from rnncli.model.formats import FORMATS, load_network, opened
from rnncli.model.formats.build import build

KERAS, TORCH, ONNX = (
    (SAMPLES / f"sunspots.{each}").read_bytes() for each in ("keras", "pt", "onnx")
)
# More than opening a small file may take; no other number of an archive has these bytes.
UNPACKED = 2**27 + 0x10305
# Loads sound files, and then hostile ones under a hook, which cannot be taken away again.
WATCHED = """
import json, sys
from rnncli.model.formats import load_network

sound, hostile = json.load(sys.stdin)
for path in sound:
    load_network(path)
seen, messages = [], []
EVENTS = "import", "exec", "open", "os.", "subprocess.", "socket.", "ctypes.", "pickle."

def watch(event, arguments):
    if event.startswith(EVENTS):
        seen.append([event, str(arguments[0])])

sys.addaudithook(watch)
for path in hostile:
    try:
        load_network(path)
        messages.append("")
    except ValueError as error:
        messages.append(str(error))
done = list(seen)
print(json.dumps([messages, done]))
"""


def rezipped(whole: bytes, changes: dict[str, bytes], compression: int | None = None) -> bytes:
    """Put other members for those whose names end so, or add them."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as sound, zipfile.ZipFile(file, "w") as archive:
        for info in sound.infolist():
            way = info.compress_type if compression is None else compression
            new = next((c for end, c in changes.items() if info.filename.endswith(end)), None)
            archive.writestr(info.filename, sound.read(info) if new is None else new, way)
    return file.getvalue()


def old_torch(evil: bytes) -> bytes:
    """A file as PyTorch wrote it before 1.6."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True})
    return b"".join(pickle.dumps(each, 2) for each in head) + evil + pickle.dumps([], 2)


def keras_with(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The sample model with something changed in the config of its second layer."""
    with zipfile.ZipFile(io.BytesIO(KERAS)) as archive:
        config = json.loads(archive.read("config.json"))
    change(config["config"]["layers"][1])
    return rezipped(KERAS, {"config.json": json.dumps(config).encode()})


def hostile_files(made: Path) -> dict[str, bytes]:
    """Files, by name, that make a file where anything in them is run."""
    touch = f"__import__('pathlib').Path({str(made)!r}).touch()"
    evil = pickle.dumps(Command(os.system, f"touch {made}"), 2)
    lambda_ = base64.b64encode(marshal.dumps(compile(touch, "x", "eval"))).decode()
    objects = io.BytesIO()
    np.save(objects, np.array([[Command(eval, touch)]], dtype=object), allow_pickle=True)
    with_objects = io.BytesIO()
    with zipfile.ZipFile(with_objects, "w") as archive:
        for name in ("W_xh", "W_hh"):
            archive.writestr(f"{name}.npy", objects.getvalue())
    return {
        "zip.pt": rezipped(TORCH, {"data.pkl": evil}),
        "eval.pt": rezipped(TORCH, {"data.pkl": pickle.dumps(Command(eval, touch), 4)}),
        "old.pth": old_torch(evil),
        "bare.bin": evil,
        "popen.ckpt": rezipped(
            TORCH, {"data.pkl": pickle.dumps(Command(subprocess.Popen, ["touch", str(made)]), 3)}
        ),
        "objects.npz": with_objects.getvalue(),
        "lambda.keras": keras_with(
            lambda layer: layer.update(
                class_name="Lambda", config={"name": "l", "function": [lambda_, None, None]}
            )
        ),
        "module.keras": keras_with(
            lambda layer: layer.update(module="os", class_name="system", registered_name="system")
        ),
        "function.keras": keras_with(
            lambda layer: layer["config"].update(
                activation={"module": "os", "class_name": "function", "config": "system"}
            )
        ),
        "lambda.h5": b"\x89HDF\r\n\x1a\n" + lambda_.encode(),
        "code.onnx": ONNX.replace(b"\x22\x03GRU", b"\x22\x03sys"),
        "pickle.safetensors": evil,
    }


@pytest.mark.slow
def test_nothing_is_run_imported_or_opened(tmp_path: Path) -> None:
    made = tmp_path / "made"
    files = hostile_files(made)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    sound = [str(SAMPLES / f"sunspots.{each}") for each in ("keras", "pt", "onnx")]
    for extension in (".npz", ".safetensors"):
        content = next(iter(SOUND[extension[1:]].values()))
        (tmp_path / f"sound{extension}").write_bytes(content)
        sound.append(str(tmp_path / f"sound{extension}"))
    hostile = [str(tmp_path / name) for name in files]
    process = subprocess.run(
        [sys.executable, "-c", WATCHED],
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


@pytest.mark.parametrize("extension", FORMATS)
def test_what_is_no_file(tmp_path: Path, extension: str) -> None:
    """A pipe would wait, a device never end."""
    os.mkfifo(tmp_path / f"pipe{extension}")
    (tmp_path / f"device{extension}").symlink_to("/dev/zero")
    (tmp_path / f"folder{extension}").mkdir()
    (tmp_path / f"nothing{extension}").touch()
    (tmp_path / f"lost{extension}").symlink_to(tmp_path / "nowhere")
    messages = {
        name: outcome(tmp_path / f"{name}{extension}")
        for name in ("pipe", "device", "folder", "nothing", "lost")
    }
    assert messages["pipe"] == messages["device"] == "cannot be read: not a plain file"
    assert messages["folder"].endswith("got a folder; give the file in it")
    assert messages["nothing"].endswith("got an empty file")
    assert messages["lost"] == "cannot be read: No such file or directory"


def struck_values(extension: str, value: float) -> bytes:
    """Put a value for one of the weights of the sample model's head."""
    path = SAMPLES / f"sunspots{extension}"
    head = load_network(path).network.layers[-1].arrays["W"]
    stored, whole = head.tobytes(), path.read_bytes()
    other = np.full_like(head, value).tobytes()
    if extension == ".onnx":
        return whole.replace(stored, other)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return rezipped(whole, {n: m.replace(stored, other) for n, m in members.items()})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("extension", [".keras", ".pt", ".onnx"])
def test_weights_that_are_not_finite(tmp_path: Path, extension: str, value: float) -> None:
    path = tmp_path / f"w{extension}"
    path.write_bytes(struck_values(extension, value))
    assert f"not finite in float32: {value} at [0, 0]" in outcome(path)


def bomb(whole: bytes, end: str, told: int | None = None) -> bytes:
    """An archive of which a member unpacks to `UNPACKED`, whatever size is told of."""
    content = bytearray(rezipped(whole, {end: bytes(UNPACKED)}, zipfile.ZIP_DEFLATED))
    if told is not None:
        size = (UNPACKED).to_bytes(4, "little")
        assert content.count(size) == 2  # before the member, and in the list of all
        content = content.replace(size, told.to_bytes(4, "little"))
    return bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("told", [None, 1000])
@pytest.mark.parametrize(
    ("extension", "end"),
    [
        (".keras", "model.weights.h5"),
        (".keras", "config.json"),
        (".pt", "data.pkl"),
        (".pt", "data/0"),
        (".npz", "about.npy"),
    ],
)
def test_archives_that_unpack_to_far_more(
    tmp_path: Path, extension: str, end: str, told: int | None
) -> None:
    whole = {".keras": KERAS, ".pt": TORCH, ".npz": SOUND["npz"]["npz.npz"]}[extension]
    path = tmp_path / f"w{extension}"
    path.write_bytes(bomb(whole, end, told))
    assert path.stat().st_size < 2**20
    assert outcome(path)


def test_a_list_of_more_members_than_memory_holds(tmp_path: Path) -> None:
    """Python keeps an object of each."""
    entry = b"PK\x01\x02" + bytes(42)
    content = b"PK\x03\x04" + bytes(26) + entry * 100_000
    end = b"PK\x05\x06" + bytes(8) + (len(entry) * 100_000).to_bytes(4, "little")
    content += end + (30).to_bytes(4, "little") + bytes(2)
    for extension in (".npz", ".keras", ".pt"):
        path = tmp_path / f"w{extension}"
        path.write_bytes(content)
        what = "expected a list of members of at most 2,097,152 bytes, got 4,600,000"
        assert outcome(path) == f"damaged: {what}"


@pytest.mark.slow
@pytest.mark.parametrize("module", SOUND)
def test_files_that_shrink_while_they_are_read(tmp_path: Path, module: str) -> None:
    for name, content in SOUND[module].items():
        path = tmp_path / name
        for stop in (0, len(content) // 2, len(content) - 1):
            path.write_bytes(content)
            with suppress(InputError), opened(str(path)) as (model, _):
                os.truncate(path, stop)
                build(model.tensors, model.layers(), model.last)


@pytest.mark.parametrize("changed", ["onnx_dynamo.onnx", "onnx_dynamo.onnx.data"])
def test_a_file_that_is_changed_while_it_is_read(tmp_path: Path, changed: str) -> None:
    for name in ("onnx_dynamo.onnx", "onnx_dynamo.onnx.data"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    with (
        pytest.raises(InputError, match=rf"/{re.escape(changed)}: was changed while it was read"),
        opened(str(tmp_path / "onnx_dynamo.onnx")),
    ):
        os.utime(tmp_path / changed, ns=(0, 0))


@pytest.mark.parametrize("units", [10**9, -1, 0, 2**63, 1e9, "8", None, True])
def test_units_that_lie(tmp_path: Path, units: Any) -> None:
    path = tmp_path / "w.keras"
    path.write_bytes(keras_with(lambda layer: layer["config"].update(units=units)))
    outcome(path)
