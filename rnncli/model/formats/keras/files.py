"""Keras's files: ``.keras``, a zip archive, and HDF5, with the whole model or its weights."""

import io
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, BinaryIO

from rnncli.model.errors import InputError, listed, one_line
from rnncli.model.formats.containers import hdf5
from rnncli.model.formats.containers.archive import MOST_BYTES, MOST_TIMES
from rnncli.model.formats.keras.stored import Stored
from rnncli.model.formats.kinds import HDF5, KERAS, ZIP, kind_of
from rnncli.model.formats.parts import Find, Model
from rnncli.model.formats.tensors import Tensors

_CONFIG, _VERSION, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
# Groups at the root that only training needs.
_TRAINING = ("optimizer", "optimizer_weights")
# JSON takes up to twenty times as much when it is parsed.
_TEXT_MOST = 2 * 2**20


@contextmanager
def open_model(path: str) -> Iterator[Find]:
    """Open a Keras file, whatever its extension says; see `FORMATS`."""
    kind = kind_of(path)
    with open(path, "rb") as file:
        if kind in (ZIP, KERAS):
            stored = _open_archive(path, file)
        elif kind == HDF5:
            stored = _open_hdf5(path, file)
        else:
            what = f"expected a Keras file (.keras or HDF5), got {kind.name}"
            raise InputError(path, what, kind.hint)
        yield lambda layer: _find(stored, layer)


def _find(stored: Stored, layer: str | None) -> Model:
    """Find layers by the model's config, or by names alone where it lists none."""
    inner = (stored.config or {}).get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    name = "config" if isinstance(layers, list) and layers else "bare"
    model: Model = import_module(f"rnncli.model.formats.keras.{name}").find(stored, layer)
    return model


def _open_hdf5(path: str, file: BinaryIO) -> Stored:
    """Read what stands beside the weights as attributes of the root."""
    contents = hdf5.read_file(path, file, _TRAINING)
    root = contents.attributes[""]
    text = root.get("model_config")
    config = _parse(f"{path}: model_config", text) if isinstance(text, str) else None
    return _stored(path, contents, config, root.get("keras_version"))


def _open_archive(path: str, file: BinaryIO) -> Stored:
    """Read the members of an archive."""
    try:
        archive = zipfile.ZipFile(file)
    # What zipfile raises for a damaged archive is its own, ValueError and others.
    except Exception as error:
        raise InputError(path, f"damaged: {one_line(error)}") from error
    names = archive.namelist()
    if _WEIGHTS not in names or _CONFIG not in names:
        shards = [name for name in names if name.endswith(".weights.json")]
        if shards:
            what = f"its weights are split over several files ({listed(shards)})"
            hint = "save the model anew without max_shard_size"
            raise InputError(path, what, hint)
        what = f"expected a Keras model, with {_CONFIG} and {_WEIGHTS}"
        raise InputError(path, f"{what}, got a zip archive of {listed(names)}")
    config = _parse(f"{path}: {_CONFIG}", _member(path, archive, _CONFIG, _TEXT_MOST))
    version = None
    if _VERSION in names:
        metadata = _parse(f"{path}: {_VERSION}", _member(path, archive, _VERSION, _TEXT_MOST))
        version = metadata.get("keras_version")
    most = max(MOST_BYTES, MOST_TIMES * os.path.getsize(path))
    weights = io.BytesIO(_member(path, archive, _WEIGHTS, most))
    place = f"{path}: {_WEIGHTS}"
    return _stored(path, hdf5.read_file(place, weights, _TRAINING), config, version)


def _stored(path: str, contents: hdf5.Contents, config: Any, version: object) -> Stored:
    tensors = Tensors(path, contents.entries, contents.read)
    return Stored(tensors, config, version if isinstance(version, str) else "", contents.attributes)


def _member(path: str, archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Read a member of at most so many bytes."""
    place = f"{path}: {name}"
    info = archive.getinfo(name)
    if info.file_size > most:
        what = f"expected at most {most:,} bytes, got {info.file_size:,}"
        raise InputError(place, what)
    if info.flag_bits & 1:
        raise InputError(place, "is encrypted", "unpack the archive, and pack it anew without")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        what = f"compressed in a way (number {info.compress_type}) that Keras does not"
        raise InputError(place, what, "unpack the archive, and pack it anew with deflate or none")
    try:
        return archive.read(info)
    # zipfile, zlib and struct have errors of their own.
    except Exception as error:
        raise InputError(place, f"damaged: {one_line(error)}") from error


def _parse(place: str, text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object."""
    if len(text) > _TEXT_MOST:
        raise InputError(place, f"expected at most {_TEXT_MOST:,} characters, got {len(text):,}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(place, f"damaged: {one_line(error)}") from error
    if not isinstance(value, dict):
        raise InputError(place, f"expected a JSON object, got {type(value).__name__}")
    return value
