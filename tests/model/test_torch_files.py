"""PyTorch's state dicts and checkpoints: what is found in them, and what is refused."""

import io
import os
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
from conftest import NIGHTLY
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import layers, load, refusal
from safetensors.numpy import save_file
from torch_bytes import (
    EMPTY,
    NONE,
    START,
    STOP,
    STORED,
    VALUES,
    archive,
    called,
    mapping,
    matrix,
    module,
    name,
    number,
    real,
    row,
    storage,
    tensor,
    text,
    tricks,
    vector,
)

from rnncli.model.formats.containers.pickled import MOST_WORK, read_pickle

State = dict[str, bytes]


def lstm(H: int = 3, I: int = 2, *, gates: int = 4) -> State:
    shapes = {"weight_ih_l0": (gates * H, I), "weight_hh_l0": (gates * H, H)}
    return {key: matrix(*shape) for key, shape in shapes.items()}


def under(prefix: str, tensors: Mapping[str, bytes]) -> State:
    return {f"{prefix}{key}": value for key, value in tensors.items()}


def write(path: Path, pickled: bytes, **members: bytes) -> Path:
    path.write_bytes(archive(pickled, STORED, **members))
    return path


LSTM = under("rnn.", lstm())
FC = {"fc.weight": matrix(4, 3), "fc.bias": vector(4)}
EMB = {"emb.weight": matrix(7, 2)}
OPTIMIZER = mapping({"state": mapping({"x": vector(3)}), "param_groups": b"]"})
SQUARE = under("rnn.", lstm(3, 3, gates=3))
SAME = {"fc.weight": matrix(3, 3), "fc.bias": vector(3)}
COUNT = tensor("0", (), (), kind="Long", values=10)
TRAINING = {"criterion.weight": vector(4), "steps": COUNT}
HEAD = "LSTM 3, Dense 4"
FITS = "as the shapes fit: `layer` rnn takes that alone"
WITH = "`chain` rnn:tanh,fc:softmax has them, `layer` rnn takes that alone"
TAKEN = f"fc is read as a linear layer above rnn, as the shapes fit, without activations: {WITH}"
BELOW = f"emb is read as an embedding below rnn, {FITS}"
# A state dict, the layers, and the notes.
DICTS: dict[str, tuple[State, str, list[str]]] = {
    "bare": (lstm(), "LSTM 3", []),
    "both": (EMB | LSTM | FC, f"Embedding 2, {HEAD}", [BELOW, TAKEN.replace("rnn:", "emb,rnn:")]),
    "a table or a head, defined last": (
        SQUARE | {"fc.weight": matrix(7, 3)},
        "GRU 3, Dense 7",
        [TAKEN],
    ),
    "below or above, defined last": (SQUARE | SAME, "GRU 3, Dense 3", [TAKEN]),
    "of the training": (LSTM | FC | TRAINING, HEAD, [TAKEN]),
}


@pytest.mark.parametrize(("tensors", "found", "notes"), DICTS.values(), ids=DICTS)
def test_state_dicts(tmp_path: Path, tensors: State, found: str, notes: list[str]) -> None:
    network, given = load(write(tmp_path / "w.pt", mapping(tensors)))
    assert layers(network) == found
    assert given == notes


def unread(rebuild: str, kind: str, *more: bytes) -> bytes:
    """Make a tensor (2, 3) whose type is not read, as PyTorch does."""
    sizes = row(number(2), number(3)), row(number(3), number(1))
    return called(f"torch._utils.{rebuild}", storage("0", 6, kind), number(0), *sizes, *more)


QUANTIZER = row(name("torch.per_tensor_affine"), real(0.5), number(0))
HOOKS = b"\x89", called("collections.OrderedDict")
UNREAD = {
    "complex64": unread("_rebuild_tensor_v2", "ComplexFloat", *HOOKS),
    "qint8": unread("_rebuild_qtensor", "QInt8", QUANTIZER, *HOOKS),
    "qint32": unread("_rebuild_qtensor", "QInt32", QUANTIZER, *HOOKS),
    "float8_e4m3fn": unread("_rebuild_tensor_v3", "Untyped", *HOOKS, name("torch.float8_e4m3fn")),
}


@pytest.mark.parametrize(("kind", "weight"), UNREAD.items(), ids=UNREAD)
def test_layers_of_a_file_with_unread_types(tmp_path: Path, kind: str, weight: bytes) -> None:
    path = write(tmp_path / "w.pt", mapping(LSTM | {"fc.weight": weight, "fc.bias": vector(2)}))
    why = f"fc: has values of type {kind}, which is not read; pick one with `layer` NAME: rnn"
    assert why in refusal(path)
    assert layers(load(path, layer="rnn")[0]) == "LSTM 3"
    within = write(tmp_path / "x.pt", mapping(lstm() | {"weight_hh_l0": weight}))
    assert refusal(within).endswith(f"weight_hh_l0: expected floats, got {kind}")


def test_layers_of_a_file_with_a_quantized_module(tmp_path: Path) -> None:
    packed = called("torch.ScriptObject") + row(number(1), text("CellParamsBase")) + b"b"
    path = write(tmp_path / "w.pt", mapping(LSTM | {"fc._packed_params": packed}))
    assert "fc._packed_params: is quantized" in refusal(path)
    assert "fc._packed_params: is quantized" in refusal(path, layer="fc")
    assert layers(load(path, layer="rnn")[0]) == "LSTM 3"


# A state dict of a larger model, and the part that is not run.
LARGER: dict[str, tuple[State, str]] = {
    "a convolution": (LSTM | {"conv.weight": tensor("0", (2, 2, 3), (6, 3, 1))}, "conv"),
    "a square matrix, defined first": ({"a.weight": matrix(2, 2)} | LSTM, "a"),
    "two linear layers": (LSTM | FC | {"g.weight": matrix(2, 3)}, "fc, g"),
    "a scalar": (LSTM | {"alpha": tensor("0", (), ())}, "alpha"),
}


@pytest.mark.parametrize(("tensors", "beside"), LARGER.values(), ids=LARGER)
def test_larger_models(tmp_path: Path, tensors: State, beside: str) -> None:
    path = write(tmp_path / "w.pt", mapping(tensors))
    assert refusal(path).startswith(f"{beside}: a state dict does not tell")
    assert len(load(path, layer="rnn")[0].layers) == 1


# Shapes of modules beside an LSTM of 3 units that takes so many values, in a file whose names are
# sorted, and the layers.
SORTED: dict[str, tuple[int, dict[str, tuple[int, ...]], str]] = {
    "a head without bias": (2, {"a.weight": (1, 3)}, "LSTM 3, Dense 1"),
    "an embedding by its name": (2, {"embed.weight": (7, 2)}, "Embedding 2, LSTM 3"),
    "a table or a head": (3, {"a.weight": (7, 3)}, ""),
    "a head by its bias": (3, {"a.weight": (7, 3), "a.bias": (7,)}, "LSTM 3, Dense 7"),
    "below or above": (3, {"a.weight": (3, 3), "a.bias": (3,)}, ""),
    "a bias of another length": (2, {"a.weight": (1, 3), "a.bias": (2,)}, ""),
    "a parameter": (2, {"h0": (3,)}, ""),
}


@pytest.mark.parametrize(("takes", "shapes", "found"), SORTED.values(), ids=SORTED)
def test_names_in_no_order(
    tmp_path: Path, takes: int, shapes: dict[str, tuple[int, ...]], found: str
) -> None:
    path = tmp_path / "w.safetensors"
    shapes = shapes | {"rnn.weight_ih_l0": (12, takes), "rnn.weight_hh_l0": (12, 3)}
    save_file({key: np.ones(shapes[key], "f") for key in sorted(shapes)}, str(path))
    if found:
        assert layers(load(path)[0]) == found
    else:
        assert "a state dict does not tell" in refusal(path)


WHOLE = mapping(LSTM | FC)
LIGHTNING = {
    "state_dict": mapping(under("model.", LSTM | FC)),
    "hyper_parameters": mapping({"loss": module("torch.nn.modules.loss.MSELoss")}),
}
# What is saved, `layer`, and what stands before names in the note.
CHECKPOINTS: dict[str, tuple[State, str | None, str]] = {
    "with an optimizer": ({"net": WHOLE, "opt": OPTIMIZER}, None, "net."),
    "Lightning": (LIGHTNING, None, "state_dict.model."),
    "one of two": ({"net": WHOLE, "ema": WHOLE}, "ema", "ema."),
}


@pytest.mark.parametrize(("saved", "layer", "stem"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_checkpoints(tmp_path: Path, saved: State, layer: str | None, stem: str) -> None:
    network, notes = load(write(tmp_path / "w.ckpt", mapping(saved)), layer=layer)
    assert layers(network) == HEAD
    assert notes == [re.sub(r"\b(rnn|fc)\b", rf"{stem}\1", TAKEN)]


def test_tensors_that_no_model_has(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    saved = {"loss": tensor("0", (), ()), "net": mapping(lstm())}
    assert load(write(path, mapping(saved | {"opt": OPTIMIZER})))[1] == []
    write(path, mapping(saved | {"mean": vector(3)}))
    assert "run a part with `layer` net" in refusal(path)
    assert load(path, layer="net")[1] == []


def legacy(pickled: bytes, *, keys: bytes = b"](" + text("0") + b"e") -> bytes:
    """Return a file as ``torch.save`` wrote it before 1.6."""
    little = mapping({"little_endian": b"\x88"})
    parts = [number(0x1950A86A20F9469CFC6C), number(1001), little, pickled, keys]
    pickles = b"".join(START + part + STOP for part in parts)
    return pickles + pack("<q", len(VALUES)) + VALUES.tobytes()


CLASS = row(text("module"), name("torch.nn.modules.rnn.LSTM"), text("rnn.py"), text("")) + b"Q"
HELD = mapping({"_parameters": mapping(lstm()), "_buffers": b"}", "_modules": b"}"})
# Other ways to save an LSTM.
WAYS: dict[str, bytes] = {
    "a dictionary of a class of its own": archive(called("my.Dict") + mapping(lstm())[1:]),
    "a class with its source": legacy(CLASS + b")\x81" + HELD + b"b"),
}


@pytest.mark.parametrize("data", WAYS.values(), ids=WAYS)
def test_other_ways_to_save(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.pt").write_bytes(data)
    assert layers(load(tmp_path / "w.pt")[0]) == "LSTM 3"


@pytest.mark.parametrize("make", [archive, legacy])
def test_values(tmp_path: Path, make: Any) -> None:
    """Offsets and strides choose values of a storage, in both formats; none is negated."""
    held = {
        "weight_ih_l0": tensor("0", (3, 2), (1, 5), offset=7),
        "weight_hh_l0": tensor("0", (3, 3), (10, 3), offset=1),
    }
    (tmp_path / "w.pt").write_bytes(make(mapping(held)))
    weights = load(tmp_path / "w.pt")[0].layers[0].cells[0].weights
    for array, offset, strides in ((weights.W_xh, 7, (1, 5)), (weights.W_hh, 1, (10, 3))):
        place = np.add.outer(strides[1] * np.arange(len(array)), strides[0] * np.arange(3))
        assert (array == VALUES[offset + place]).all()
    negated = tensor("0", (3,), (1,), more=(mapping({"neg": b"\x88"}),))
    (tmp_path / "w.pt").write_bytes(make(mapping(held | {"a": negated})))
    assert "negated" in refusal(tmp_path / "w.pt")


def zipped(*members: tuple[str, bytes], packed: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", packed) as archive:
        warnings.simplefilter("ignore")  # of a name twice
        for member, data in members:
            archive.writestr(member, data)
    return file.getvalue()


SAVED = ("net/data.pkl", START + mapping(lstm()) + STOP)
QUANTIZED = called("torch.ScriptObject") + row(number(1), text("CellParamsBase"))
SHARED = b"".join(
    b"](h" + bytes([k]) + b"h" + bytes([k]) + b"eq" + bytes([k + 1]) for k in range(40)
)
SUM = archive(mapping(lstm()), {"0": bytes(399) + b"\x01"})
# A tensor that repeats one value, and a larger one of it.
REPEATED = tensor("0", (100,), (0,), values=1)
SIZES = row(number(90)), row(number(1))
LYING = called("torch._utils._rebuild_tensor_v2", REPEATED, number(0), *SIZES)
REFUSED: list[tuple[str, bytes]] = [
    ("net.rnn, ema.rnn; pick", archive(mapping({"net": mapping(LSTM), "ema": mapping(LSTM)}))),
    ("rnn.param: is quantized", archive(mapping({"rnn.param": QUANTIZED + b"b"}))),
    ("a.b: is in the file", archive(mapping({"a": mapping({"b": vector(3)}), "a.b": vector(3)}))),
    ("little-endian", legacy(b"}").replace(b"\x88", b"\x89", 1)),
    ("net/data/0: damaged", archive(mapping(lstm()), {"1": b""})),
    ("buffer is smaller", archive(mapping(lstm()), {"0": bytes(399)})),
    ("buffer is smaller", legacy(mapping(lstm()))[:-1]),
    ("two storages 0", legacy(mapping({"a": vector(3), "b": tensor("0", (3,), (1,), values=50)}))),
    ("far more than its size", archive(mapping({"a": tensor("0", (5000, 5000), (0, 0))}))),
    ("a tensor of no storage", archive(mapping({"a": LYING}))),
    ("a tensor of no storage", archive(mapping({"a": tensor("0", (2, 3), (-3, 1))}))),
    ("that takes value 100", archive(mapping({"a": tensor("0", (2, 3), (98, 1))}))),
    ("64 deep", archive(b"}q\x00" + text("me") + b"h\x00s")),
    ("far more than its size", archive(b"}q\x00" + SHARED)),
    ("operations", archive(b"N0" * MOST_WORK + NONE)),
    (
        "unpacks to 33,554,744",
        zipped(SAVED, ("net/data/0", bytes(2**25)), packed=zipfile.ZIP_DEFLATED),
    ),
    ("net/data/0: damaged: ", SUM.replace(bytes(399) + b"\x01", bytes(400))),
]
PICKLES = {
    "opcode 0x69": b"(ios\nsystem\n.",
    "but only 3 remain": b"X\xff\xff\xff\x7fabc",
    "items of int": b"K\x01NNs.",
    "a call of str with tuple": text("a") + b")R.",
    "a persistent id that is no storage": row(*[NONE] * 5) + b"Q.",
    "7": b"h\x07.",
    "invalid literal for int": b"Ix\n.",
}
REFUSED += [(why, zipped(("net/data.pkl", START + each))) for why, each in PICKLES.items()]


@pytest.mark.parametrize(("why", "data"), REFUSED, ids=[why for why, _ in REFUSED])
def test_files_that_are_refused(tmp_path: Path, why: str, data: bytes) -> None:
    (tmp_path / "w.pt").write_bytes(data)
    assert why in refusal(tmp_path / "w.pt")


def test_python_runs_the_tricks(tmp_path: Path) -> None:
    """They are a test of what does not: files with them are loaded under a hook."""
    pickle.loads(tricks(tmp_path / "made")["eval, protocol 2"])
    assert os.path.exists(tmp_path / "made")


def test_keys_that_are_slow_to_hash_name_nothing() -> None:
    """Rows in rows, and numbers that share a hash."""
    deep = EMPTY + b"\x85" * 20_000
    same = [number(k * (2**61 - 1)) + NONE for k in range(1, 2_000)]
    keys = [deep + NONE, b"]N", b"}N", name("a.b") + NONE, *same, text("a") + number(1)]
    assert read_pickle("x", START + b"}(" + b"".join(keys) + b"u.", {})[0] == {"a": 1}


SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text()
KEYS = st.text() | st.integers(-(2**59), 2**59)
PLAIN = st.recursive(
    SCALARS | st.binary(max_size=300),
    lambda inner: st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner).map(OrderedDict),
    max_leaves=20,
)


@settings(max_examples=1000 if NIGHTLY else 25)
@given(value=PLAIN, protocol=st.integers(2, 5))
def test_any_plain_values_in_a_file_of_weights(
    tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int
) -> None:
    """As Python pickles them: they change nothing."""
    pickled = pickle.dumps(value, protocol)
    framed = pickled[2:3] == b"\x95"
    inner = pickled[11 if framed else 2 : -1]
    path = tmp_path_factory.getbasetemp() / "plain.pt"
    write(path, b"}(" + text("beside") + inner + text("net") + mapping(lstm()) + b"u")
    network, notes = load(path)
    assert layers(network) == "LSTM 3"
    assert notes == []
