"""Keras's files: what is opened, whatever its name, and what is not: one line says why."""

import io
import json
import struct
import zipfile
from pathlib import Path

import pytest
from damage import bits
from hdf5_cases import (
    TEXT,
    attribute,
    contiguous,
    dataset,
    header,
    heap,
    in_heap,
    link,
    made,
    of_class,
    space,
)

from rnncli import load
from rnncli.model.errors import InputError

DATA = Path(__file__).parent / "data"
HDF5, MODELS = DATA / "hdf5" / "earliest.h5", DATA / "models"
MEMBERS = {
    "config.json": b"{}",
    "metadata.json": b'{"keras_version": "3.15.1"}',
    "model.weights.h5": HDF5.read_bytes(),
}
MEMBERS_EXPECTED = (
    "expected a Keras model, an archive with config.json, metadata.json, model.weights.h5, got "
)
SAVE = "; load the model with Keras, and save it with model.save('model.keras')"


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return file.getvalue()


def with_member(name: str, content: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    return archive(MEMBERS | {name: content}, method)


def without(name: str, **others: bytes) -> bytes:
    return archive({key: value for key, value in (MEMBERS | others).items() if key != name})


def text_of(name: bytes, text: bytes) -> bytes:
    """Return an HDF5 file with a text as an attribute."""
    return made(header((12, attribute(of_class(3, len(text))[:8], space(), text, name))))


def long_config() -> bytes:
    """Return an HDF5 file with a config in a heap."""
    size = 2**21 + 1
    text = attribute(TEXT, space(), in_heap((size, 1, 1)), b"model_config")
    return made(header((12, text)), heap(32 + size, b" " * size))


CASES = {
    "no config": (
        without("config.json"),
        f"{MEMBERS_EXPECTED}metadata.json, model.weights.h5{SAVE}",
    ),
    "weights in another way": (
        archive({"config.json": b"{}", "metadata.json": b"{}", "model.weights.npz": b""}),
        f"{MEMBERS_EXPECTED}config.json, metadata.json, model.weights.npz{SAVE}",
    ),
    "no HDF5": (with_member("model.weights.h5", b"1,2,3"), "model.weights.h5: damaged: does not"),
    "no JSON": (
        with_member("config.json", b"{'a': 1}"),
        "config.json: damaged: Expecting property",
    ),
    "brackets": (
        with_member("config.json", b"[" * 100000),
        "config.json: damaged: maximum recursion",
    ),
    "long config in HDF5": (long_config(), "model_config: expected at most 2,097,152"),
    "Keras 1": (text_of(b"keras_version", b"1.2.2"), "is a file of Keras 1, which is not read"),
    "config in HDF5": (text_of(b"model_config", b"[1]"), "model_config: expected a JSON object"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("extension", [".keras", ".h5"])
def test_refused(name: str, extension: str, tmp_path: Path) -> None:
    content, message = CASES[name]
    path = tmp_path / f"model{extension}"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        load(path)
    # Python goes on about some of them, in words of its version.
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_one_of_several_files(tmp_path: Path) -> None:
    path, index = tmp_path / "model_00000.weights.h5", tmp_path / "model.weights.json"
    path.write_bytes(HDF5.read_bytes())
    index.write_text(json.dumps({"weight_map": {}}))
    with pytest.raises(InputError) as error:
        load(path)
    what = f"is one of several files with the weights that {index} lists"
    assert str(error.value) == f"{path}: {what}{SAVE}"


@pytest.mark.parametrize(
    ("name", "other"), [("keras2_gates.h5", "a.keras"), ("keras_lstm.keras", "a.h5")]
)
def test_content_decides_not_the_name(name: str, other: str, tmp_path: Path) -> None:
    (tmp_path / other).write_bytes((MODELS / name).read_bytes())
    assert bits(load(tmp_path / other)) == bits(load(MODELS / name))


def test_an_archive_that_was_packed_anew(tmp_path: Path) -> None:
    with zipfile.ZipFile(MODELS / "keras_lstm.keras") as zipped:
        members = {name: zipped.read(name) for name in zipped.namelist()}
    path = tmp_path / "packed.keras"
    path.write_bytes(archive(members, zipfile.ZIP_DEFLATED))
    assert bits(load(path)) == bits(load(MODELS / "keras_lstm.keras"))


def test_the_optimizer_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    path.write_bytes(made(header(link(b"optimizer", 0), link(b"optimizer_weights", 99))))
    with pytest.raises(InputError, match="no recurrent layer"):
        load(path)


def halves(*said: tuple[int, bytes]) -> bytes:
    """Return weights of two bytes each, and what is said of them."""
    names = enumerate((b"layers", b"rnn", b"cell", b"vars"), start=1)
    groups = [header(link(name, number)) for number, name in names]
    numbers = [
        dataset(contiguous(7 + n, 2), space(1, 1), of_class(5, 2)[:8], *said) for n in range(2)
    ]
    values = [struct.pack("<f", value)[2:] for value in (1.5, -0.25)]
    return made(*groups, header(link(b"0", 5), link(b"1", 6)), *numbers, *values)


def test_bfloat16(tmp_path: Path) -> None:
    """Two bytes of no meaning, which an attribute of Keras gives them."""
    path = tmp_path / "w.weights.h5"
    path.write_bytes(halves((12, attribute(of_class(3, 8)[:8], space(), b"bfloat16", b"dtype"))))
    with pytest.warns(UserWarning, match=r"tanh is taken|holds weights alone"):
        found = load(path)
    weights = found.layers[0].cells[0].weights
    assert (weights.W_xh.tolist(), weights.W_hh.tolist()) == ([[1.5]], [[-0.25]])


def test_bytes_of_no_meaning(tmp_path: Path) -> None:
    path = tmp_path / "w.weights.h5"
    path.write_bytes(halves())
    with pytest.raises(InputError) as error:
        load(path)
    what = "expected floats (float16, bfloat16, float32, float64), got void16"
    assert str(error.value) == f"{path}: layers/rnn/cell/vars/0: {what}"
