"""Our parser of HDF5 beside h5py: every attribute and every dataset, to the bit."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from peers.models_keras import write_hdf5
from rnncli.model.errors import InputError
from rnncli.model.formats.containers import hdf5

TYPES = ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "i1", "u1", "<i2", ">i4", "<u8", "S5")

Fill = Callable[[h5py.File], None]


def written(fill: Fill, libver: str | None = None) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w", libver=libver) as h5:
        fill(h5)
    return file.getvalue()


def as_ours(value: Any) -> Any:
    """Return texts of h5py as ours: str, or lists of them; None for other values."""
    if isinstance(value, str | bytes):
        return value.decode() if isinstance(value, bytes) else value
    if isinstance(value, np.ndarray) and value.dtype.kind in "SO":
        return [as_ours(each) for each in value.ravel()]
    return None


def check_same(content: bytes, fewest: int = 0) -> None:
    """Check that we read what h5py reads: floats and texts, and so many datasets at least."""
    arrays, found = hdf5.read(content, "f.h5")
    checked: dict[str, Any] = {}

    def check(name: str, each: Any) -> None:
        texts = {key: as_ours(value) for key, value in each.attrs.items()}
        assert found[name] == {key: text for key, text in texts.items() if text is not None}, name
        checked[name] = isinstance(each, h5py.Dataset)
        if checked[name]:
            value = np.zeros(0, each.dtype) if each.shape is None else np.asarray(each[()])
            assert arrays[name].shape == value.shape
            assert arrays[name].dtype == (value.dtype if value.dtype.kind == "f" else "V1"), name
            assert value.dtype.kind != "f" or arrays[name].tobytes() == value.tobytes(), name

    with h5py.File(io.BytesIO(content)) as file:
        check("", file)
        file.visititems(check)
    assert list(found) == list(checked)
    assert sum(checked.values()) == len(arrays) >= fewest


def values(dtype: str) -> Any:
    return np.arange(6).reshape(2, 3).astype(dtype)


def of_type(dtype: str) -> Fill:
    def fill(file: h5py.File) -> None:
        table = values(dtype)
        for name, value in {"table": table, "one": table[0, 1], "none": table[:0]}.items():
            file[name] = value
            file["table"].attrs[name] = value

    return fill


def of_texts(file: h5py.File) -> None:
    file["fixed"] = np.array([[b"a", b"bcd"], [b"", b"e"]])
    file["any"] = ["", "é", "three", "x" * 70_000]
    file["one"] = "text"
    file.attrs["any"] = ["ü", "b"]
    file.attrs["table"] = np.array([["a", "b"], ["c", "d"]], object)
    file.attrs["one"] = "x" * 100_000
    file.attrs["fixed"] = np.bytes_(b"abc")


def of_records(file: h5py.File) -> None:
    file["records"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
    file["complex"] = file.attrs["complex"] = np.zeros(3, "c8")
    file["truths"], file["opaque"] = np.zeros(3, "?"), np.zeros(3, "V7")
    file.create_dataset("sequences", (2,), dtype=h5py.vlen_dtype("i4"))


def write_links_and_times(file: h5py.File) -> None:
    """A link, which h5py's visit passes over too, times."""
    file.create_group("group")
    file["a/b"] = 1.0
    file["soft"] = h5py.SoftLink("/a/b")
    file.create_dataset("timed", data=np.ones(3), track_times=True)


def of_many(file: h5py.File) -> None:
    for count in (9, 30, 100):
        group = file.create_group(f"group_{count}")
        for number in range(count):
            group.attrs[f"n{number}"] = "x" * number
            group[f"d{number}"] = np.float32(number)


def test_kinds(tmp_path: Path) -> None:
    for fill in (*map(of_type, TYPES), of_texts, of_records, write_links_and_times):
        check_same(written(fill))
    check_same(written(of_many), 139)
    write_hdf5(tmp_path / "f.h5")
    check_same((tmp_path / "f.h5").read_bytes(), 17)


@pytest.mark.parametrize("libver", ["v108", "latest"])
def test_newer_versions_are_refused(libver: str) -> None:
    with pytest.raises(InputError, match="a superblock of version"):
        hdf5.read(written(of_texts, libver), "f.h5")


def test_an_order_and_links_of_newer_versions_are_refused() -> None:
    def ordered(file: h5py.File) -> None:
        file.create_group("ordered", track_order=True)["a"] = 1.0

    def external(file: h5py.File) -> None:
        file["a/external"] = h5py.ExternalLink("other.h5", "/a")

    for fill in (ordered, external):
        with pytest.raises(InputError, match="not as h5py writes it by default"):
            hdf5.read(written(fill), "f.h5")
