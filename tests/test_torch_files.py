"""PyTorch's own files: what is found in them, and what is refused."""

import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
from torch_bytes import (
    START,
    STOP,
    archive,
    called,
    mapping,
    name,
    number,
    row,
    tensor,
    text,
)

from rnncli.model.errors import InputError
from rnncli.model.formats import Loaded, load_network
from rnncli.model.formats.names import find_model
from rnncli.model.formats.tensors import Entry, Tensors
from rnncli.model.layers import name_of

VALUES = np.random.RandomState(0).normal(scale=0.5, size=100).astype("<f4")
STORED = {"0": VALUES.tobytes()}


def lstm(H: int = 3, I: int = 2, *, end: str = "_l0", gates: int = 4) -> dict[str, bytes]:
    """The tensors of a layer."""
    shapes = {"weight_ih": (gates * H, I), "weight_hh": (gates * H, H)}
    return {f"{role}{end}": matrix(*shape) for role, shape in shapes.items()}


def matrix(rows: int, width: int, **more: Any) -> bytes:
    return tensor("0", (rows, width), (width, 1), **more)


def vector(size: int) -> bytes:
    return tensor("0", (size,), (1,))


def under(prefix: str, tensors: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{prefix}{key}": value for key, value in tensors.items()}


def load(path: Path, pickled: bytes, layer: str | None = None, **members: bytes) -> Loaded:
    path.write_bytes(archive(pickled, STORED, **members))
    return load_network(path, layer)


def kinds(loaded: Loaded) -> list[str]:
    return [name_of(layer.cells[0] if layer.cells else layer) for layer in loaded.network.layers]


def refusal(path: Path, content: bytes, layer: str | None = None) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_network(path, layer)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


LINEAR = {"fc.weight": matrix(4, 3), "fc.bias": vector(4)}
EMBEDDING = {"emb.weight": matrix(7, 2)}
RNN = under("rnn.", lstm())
OPTIMIZER = mapping({"state": mapping({"x": vector(3)}), "param_groups": b"]"})
TAKEN = "fc is taken as a linear layer above rnn, as shapes fit: `layer` rnn takes that alone"
BELOW = "emb is taken as an embedding below rnn, as shapes fit: `layer` rnn takes that alone"
BOTH = (
    "emb is taken as an embedding below, fc as a linear layer above rnn, as shapes fit: `layer` "
    "rnn takes that alone"
)

# A state dict, `layer`, the layers, and notes.
DICTS: dict[str, tuple[dict[str, bytes], str | None, list[str], list[str]]] = {
    "bare": (lstm(), None, ["lstm"], []),
    "of a module": (RNN, None, ["lstm"], []),
    "with a head": (RNN | LINEAR, None, ["lstm", "dense"], [TAKEN]),
    "a head without bias": (RNN | {"fc.weight": matrix(2, 3)}, None, ["lstm", "dense"], [TAKEN]),
    "no head": (RNN | LINEAR, "rnn", ["lstm"], []),
    "embedding": (EMBEDDING | RNN, None, ["embedding", "lstm"], [BELOW]),
    "both": (EMBEDDING | RNN | LINEAR, None, ["embedding", "lstm", "dense"], [BOTH]),
    "a table or a head without bias, defined last": (
        under("rnn.", lstm(3, 3)) | {"fc.weight": matrix(7, 3)},
        None,
        ["lstm", "dense"],
        [TAKEN],
    ),
    "below or above, defined last": (
        under("rnn.", lstm(3, 3, gates=3)) | {"fc.weight": matrix(3, 3), "fc.bias": vector(3)},
        None,
        ["gru", "dense"],
        [TAKEN],
    ),
}


@pytest.mark.parametrize(("tensors", "layer", "found", "notes"), DICTS.values(), ids=DICTS)
def test_state_dicts(
    tmp_path: Path,
    tensors: dict[str, bytes],
    layer: str | None,
    found: list[str],
    notes: list[str],
) -> None:
    loaded = load(tmp_path / "w.pt", mapping(tensors), layer)
    assert kinds(loaded) == found
    assert loaded.assumptions == notes


# A state dict of a larger model, and what of it is not run.
LARGER: dict[str, tuple[dict[str, bytes], str]] = {
    "a convolution": (RNN | {"conv.weight": tensor("0", (2, 2, 3), (6, 3, 1))}, "conv"),
    "a square matrix, defined first": ({"a.weight": matrix(2, 2)} | RNN, "a"),
    "two linear layers": (RNN | LINEAR | under("g.", {"weight": matrix(2, 3)}), "fc, g"),
    "a head of another width": (RNN | {"fc.weight": matrix(2, 4)}, "fc"),
    "a head of whole numbers": (RNN | {"fc.weight": matrix(2, 3, kind="Long", values=10)}, "fc"),
    "below or above, defined first": (
        {"fc.weight": matrix(3, 3), "fc.bias": vector(3)} | under("rnn.", lstm(3, 3, gates=3)),
        "fc",
    ),
}


@pytest.mark.parametrize(("tensors", "beside"), LARGER.values(), ids=LARGER)
def test_larger_models(tmp_path: Path, tensors: dict[str, bytes], beside: str) -> None:
    path = tmp_path / "w.pt"
    message = refusal(path, archive(mapping(tensors), STORED))
    assert message.startswith(f"{beside}: names and shapes do not tell how rnn is joined")
    assert len(load_network(path, "rnn").network.layers) == 1


def test_what_is_of_the_training_alone(tmp_path: Path) -> None:
    count = tensor("0", (), (), kind="Long", values=10)
    tensors = RNN | LINEAR | {"criterion.weight": vector(4), "steps": count}
    loaded = load(tmp_path / "w.pt", mapping(tensors))
    assert kinds(loaded) == ["lstm", "dense"]
    assert loaded.assumptions == [TAKEN]


# Shapes of modules beside an LSTM of 3 units that takes so many values, in a file whose names are
# sorted, and which of them are taken.
SORTED: dict[str, tuple[int, dict[str, tuple[int, ...]], list[str]]] = {
    "a head": (2, {"a.weight": (1, 3), "a.bias": (1,)}, ["rnn", "a"]),
    "a head without bias": (2, {"a.weight": (1, 3)}, ["rnn", "a"]),
    "an embedding by its name": (2, {"embed.weight": (7, 2)}, ["embed", "rnn"]),
    "a table of no name": (2, {"a.weight": (7, 2)}, ["rnn"]),
    "a table or a head": (3, {"a.weight": (7, 3)}, ["rnn"]),
    "a head by its bias": (3, {"a.weight": (7, 3), "a.bias": (7,)}, ["rnn", "a"]),
    "below or above": (3, {"a.weight": (3, 3), "a.bias": (3,)}, ["rnn"]),
    "a bias of another length": (2, {"a.weight": (1, 3), "a.bias": (2,)}, ["rnn"]),
    "a parameter": (2, {"h0": (3,)}, ["rnn"]),
}


@pytest.mark.parametrize(("takes", "shapes", "taken"), SORTED.values(), ids=SORTED)
def test_names_in_no_order(
    takes: int, shapes: dict[str, tuple[int, ...]], taken: list[str]
) -> None:
    shapes = shapes | {"rnn.weight_ih_l0": (12, takes), "rnn.weight_hh_l0": (12, 3)}
    entries = {key: Entry(shapes[key], "float32") for key in sorted(shapes)}
    model = find_model(Tensors("w.safetensors", entries, lambda _: []))
    assert [part.name for part in model.parts if part.layers] == taken
    assert any(part.needed for part in model.parts) == (not model.notes)


WHOLE = RNN | LINEAR
NESTED = TAKEN.replace("fc ", "{0}fc ").replace("rnn", "{0}rnn")
# What is saved, `layer`, the layers, and what stands before names in the note.
CHECKPOINTS = {
    "under a key": ({"model": mapping(WHOLE), "epoch": number(3)}, None, "model."),
    "with an optimizer": ({"net": mapping(WHOLE), "opt": OPTIMIZER}, None, "net."),
    "parallel": (under("module.", WHOLE), None, "module."),
    "Lightning": ({"state_dict": mapping(under("model.", WHOLE))}, None, "state_dict.model."),
    "one of two": ({"net": mapping(WHOLE), "ema": mapping(WHOLE)}, "ema", "ema."),
    "in a list": ({"nets": b"](" + mapping(WHOLE) + b"e"}, None, "nets.0."),
}


@pytest.mark.parametrize(("saved", "layer", "stem"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_checkpoints(tmp_path: Path, saved: Any, layer: str | None, stem: str) -> None:
    loaded = load(tmp_path / "w.ckpt", mapping(saved), layer)
    assert kinds(loaded) == ["lstm", "dense"]
    assert loaded.assumptions == [NESTED.format(stem)]


def test_an_object_in_itself(tmp_path: Path) -> None:
    saved = b"}q\x00(" + text("net") + mapping(RNN) + text("me") + b"h\x00u"
    assert kinds(load(tmp_path / "w.pt", saved)) == ["lstm"]


def test_what_may_be_weights_too_is_said(tmp_path: Path) -> None:
    count = tensor("0", (), ())
    saved = {"epoch": count, "mean": vector(3), "net": mapping(lstm())}
    loaded = load(tmp_path / "w.pt", mapping(saved | {"opt": OPTIMIZER}))
    assert kinds(loaded) == ["lstm"]
    assert loaded.assumptions == ["passes over mean, which the file has beside the model"]
    message = refusal(tmp_path / "w.pt", archive(mapping(saved | {"fc": mapping(LINEAR)}), STORED))
    assert message.startswith("fc: stands beside the model; `layer` net runs that alone, torch.")
    assert not load_network(tmp_path / "w.pt", "net").assumptions


def test_other_dictionaries_and_attributes_of_tensors(tmp_path: Path) -> None:
    held = {key: called("torch._utils._rebuild_parameter", value) for key, value in lstm().items()}
    items = b"".join(text(key) + value for key, value in held.items())
    assert kinds(load(tmp_path / "w.pt", called("my.Dict") + b"(" + items + b"u")) == ["lstm"]
    made = "torch._utils._rebuild_tensor_v2"
    _, _, whole = tensor("0", (12, 2), (2, 1)).partition(name(made))
    typed = called("torch._tensor._rebuild_from_type_v2", name(made), b"N", whole[:-1], b"}")
    assert kinds(load(tmp_path / "w.pt", mapping(lstm() | {"weight_ih_l0": typed}))) == ["lstm"]


@pytest.mark.parametrize("protocol", ["", "legacy"])
def test_values(tmp_path: Path, protocol: str) -> None:
    """Offsets and strides choose values of a storage, in both formats."""
    held = {
        "weight_ih_l0": tensor("0", (3, 2), (1, 5), offset=7),
        "weight_hh_l0": tensor("0", (3, 3), (10, 3), offset=1),
    }
    path = tmp_path / "w.pt"
    path.write_bytes(legacy(mapping(held)) if protocol else archive(mapping(held), STORED))
    (cell,) = load_network(path).network.layers[0].cells
    for array, offset, strides in ((cell.weights.W_xh, 7, (1, 5)), (cell.weights.W_hh, 1, (10, 3))):
        place = np.add.outer(strides[1] * np.arange(len(array)), strides[0] * np.arange(3))
        assert (array == VALUES[offset + place]).all()


def legacy(pickled: bytes, *, keys: bytes = b"](" + text("0") + b"e", version: int = 1001) -> bytes:
    """What ``torch.save`` wrote before 1.6."""
    little = mapping({"little_endian": b"\x88"})
    parts = [number(0x1950A86A20F9469CFC6C), number(version), little, pickled, keys]
    pickles = b"".join(START + part + STOP for part in parts)
    return pickles + pack("<q", len(VALUES)) + VALUES.tobytes()


def test_classes_with_their_source(tmp_path: Path) -> None:
    """As the format of before 1.6 has them, for whole modules."""
    kind = row(text("module"), name("torch.nn.modules.rnn.LSTM"), text("rnn.py"), text("")) + b"Q"
    held = {"_parameters": mapping(lstm()), "_buffers": b"}", "_modules": b"}"}
    path = tmp_path / "w.pt"
    path.write_bytes(legacy(kind + b")\x81" + mapping(held) + b"b"))
    assert kinds(load_network(path)) == ["lstm"]


REFUSED: list[tuple[str, bytes]] = [
    ("holds no recurrent layer: expected names as", archive(mapping(LINEAR))),
    (
        "holds several recurrent modules: net.rnn, ema.rnn; pick",
        archive(mapping({"net": mapping(RNN), "ema": mapping(RNN)})),
    ),
    (
        "rnn: computes its weights from others (rnn.weight_hh_l0_g)",
        archive(
            mapping(under("rnn.", {"weight_ih_l0": matrix(12, 2), "weight_hh_l0_g": vector(12)}))
        ),
    ),
    (
        "rnn: computes its weights from others (rnn.param",
        archive(mapping({"rnn.parametrizations.weight_hh_l0.original0": vector(12)})),
    ),
    (
        "rnn.param: is quantized, which is not read",
        archive(
            mapping(
                {
                    "rnn.param": called("torch.ScriptObject")
                    + row(number(1), text("__torch__.torch.classes.rnn.CellParamsBase"))
                    + b"b"
                }
            )
        ),
    ),
    (
        "got float32, negated",
        archive(
            mapping(lstm() | {"weight_hh_l0": matrix(12, 3, more=(mapping({"neg": b"\x88"}),))})
        ),
    ),
    (
        "a.b: is in the file twice",
        archive(mapping({"a": mapping({"b": vector(3)}), "a.b": vector(3)})),
    ),
    (
        "is not of little-endian values; write it anew on a",
        legacy(b"}").replace(b"\x88", b"\x89", 1),
    ),
    ("has no net/data/0", archive(mapping(lstm()), {"1": b""})),
    ("storage 0: expected 400 bytes, got 399", archive(mapping(lstm()), {"0": bytes(399)})),
    ("got another pickle", legacy(b"}", version=1000)),
    ("damaged: storage 0 is none, or cut off", legacy(mapping(lstm()))[:-1]),
    (
        "damaged pickle, at byte 279: two storages 0",
        legacy(mapping({"a": vector(3), "b": tensor("0", (3,), (1,), values=50)})),
    ),
    (
        "holds tensors of 100,000,000 bytes, over 2 times",
        archive(mapping({"a": tensor("0", (5000, 5000), (0, 0))})),
    ),
    ("holds objects in each other, 64 deep", archive(b"]" * 70 + b"a" * 69)),
    (
        "holds too many objects, or one in too many places",
        archive(
            b"}q\x00"
            + b"".join(
                b"](" + b"h" + bytes([k]) + b"h" + bytes([k]) + b"eq" + bytes([k + 1])
                for k in range(40)
            )
        ),
    ),
]


@pytest.mark.parametrize(("message", "content"), REFUSED)
def test_refused(tmp_path: Path, message: str, content: bytes) -> None:
    assert message in refusal(tmp_path / "w.pt", content)


TENSORS = {
    "negative offset": {"offset": -1},
    "offset": {"offset": 95},
    "negative size": {"shape": (-1, 3)},
    "negative stride": {"strides": (-3, 1)},
    "stride": {"strides": (98, 1)},
    "huge": {"shape": (2**62, 2**62)},
    "huge, and nothing": {"shape": (2**62, 0)},
    "axes": {"shape": (1,) * 33, "strides": (1,) * 33},
    "fewer strides": {"strides": (1,)},
    "no values": {"values": 0},
    "negative values": {"values": -1},
}


@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
def test_tensors_that_lie(tmp_path: Path, change: dict[str, Any]) -> None:
    made = {"shape": (2, 3), "strides": (3, 1)} | change
    message = refusal(tmp_path / "w.pt", archive(mapping({"a": tensor("0", **made)})))
    assert re.match(r"net/data.pkl: damaged pickle, at byte \d+: a? ?(tensor|storage)", message)


def zipped(*members: tuple[str, bytes], packed: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packed) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return file.getvalue()


WEIGHTS = START + mapping(lstm()) + STOP


def tar() -> bytes:
    """How PyTorch's files of 2016 begin."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"))
    return file.getvalue()


ARCHIVES: list[tuple[str, bytes]] = [
    (
        "is compressed, which torch never does",
        zipped(("net/data.pkl", WEIGHTS), ("net/data/0", bytes(400)), packed=zipfile.ZIP_DEFLATED),
    ),
    (
        "net/data.pkl: expected at most 16,777,216 bytes",
        archive(b"B" + pack("<I", 2**24) + bytes(2**24)),
    ),
    ("is frozen TorchScript", archive(b"N", {"x": b""}, **{"constants/0": bytes(4)})),
    (
        "got a zip archive of a/data.pkl, b/data.pkl",
        zipped(("a/data.pkl", WEIGHTS), ("b/data.pkl", WEIGHTS)),
    ),
    (
        "damaged: members of ",
        archive(mapping(lstm())).replace(pack("<II", 400, 400), pack("<II", 4000, 4000)),
    ),
    (
        "Bad CRC-32 for file",
        archive(mapping(lstm()), {"0": bytes(399) + b"\x01"}).replace(
            bytes(399) + b"\x01", bytes(400)
        ),
    ),
    ("a tar archive", tar()),
]


@pytest.mark.parametrize(("message", "content"), ARCHIVES)
def test_archives(tmp_path: Path, message: str, content: bytes) -> None:
    assert message in refusal(tmp_path / "w.pt", content)


def test_a_name_twice(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zipped(("net/data.pkl", WEIGHTS), ("net/data.pkl", WEIGHTS))
    assert refusal(tmp_path / "w.pt", content) == "net/data.pkl: is in the archive twice"


def test_sums_that_were_left_out(tmp_path: Path) -> None:
    """torch.serialization.set_crc32_options(False) leaves zeros."""
    content = archive(mapping(lstm()), STORED)
    for member in (WEIGHTS, STORED["0"]):
        content = content.replace(pack("<I", zlib.crc32(member)), bytes(4))
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    assert kinds(load_network(path)) == ["lstm"]
