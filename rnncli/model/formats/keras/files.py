"""Keras's files: ``.keras``, a zip archive, and HDF5, with the whole model or its weights."""

import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, BinaryIO

from rnncli.model.errors import InputError, listed, one_line
from rnncli.model.formats.containers import hdf5, most_unpacked
from rnncli.model.formats.containers.zips import FIRST, open_zip, read_member
from rnncli.model.formats.keras.places import Stored, version_of
from rnncli.model.formats.parts import Find, Model
from rnncli.model.formats.tensors import Derived, Entry, Tensors, widened

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
# Groups at the root that only training needs.
_TRAINING = ("optimizer", "optimizer_weights")
# Parsed, JSON can take twenty times as much.
_TEXT_MOST = 2 * 2**20
_STORE = "if it is sound, pack the archive anew without compression, as Keras does"
_SAVE = "load the model with Keras, and save it with model.save('model.keras')"
_SAVE_IN_2 = "load the model with Keras 2 (tf_keras), and save it with model.save('model.keras')"


@contextmanager
def open_model(path: str) -> Iterator[Find]:
    """Open a Keras file, an archive or HDF5; see `FORMATS`."""
    with open(path, "rb") as file:
        is_archive = file.read(len(FIRST)) == FIRST
        stored = (_open_archive if is_archive else _open_hdf5)(path, file)
        yield lambda layer: _find(stored, layer)


def _find(stored: Stored, layer: str | None) -> Model:
    """Find layers by the model's config, or by names alone where it lists none."""
    inner = (stored.config or {}).get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    name = "config" if isinstance(layers, list) and layers else "bare"
    model: Model = import_module(f"rnncli.model.formats.keras.{name}").find(stored, layer)
    return model


def _open_hdf5(path: str, file: BinaryIO) -> Stored:
    """Read what is beside the weights: attributes of the root."""
    index = re.sub(r"_\d{5}\.weights\.h5\Z", ".weights.json", path)
    if index != path and os.path.exists(index):
        what = f"is one of several files with the weights that {index} lists"
        raise InputError(path, what, _SAVE)
    contents = hdf5.read_file(path, file, _TRAINING)
    root = contents.attributes[""]
    text = root.get("model_config")
    config = _parsed(f"{path}: model_config", text) if isinstance(text, str) else None
    return _stored(path, contents, config, root)


def _open_archive(path: str, file: BinaryIO) -> Stored:
    """Read what is beside the weights: other members of the archive."""
    with open_zip(path, file) as archive:
        expected, names = (_CONFIG, _METADATA, _WEIGHTS), archive.namelist()
        if not set(expected) <= set(names):
            what = f"expected a Keras model, an archive with {listed(expected)}"
            raise InputError(path, f"{what}, got {listed(names)}", _SAVE)
        config, metadata = (
            _parsed(f"{path}: {name}", read_member(path, archive, name, _TEXT_MOST))
            for name in (_CONFIG, _METADATA)
        )
        most = most_unpacked(os.path.getsize(path))
        weights = io.BytesIO(read_member(path, archive, _WEIGHTS, most, _STORE))
    contents = hdf5.read_file(f"{path}: {_WEIGHTS}", weights, _TRAINING)
    return _stored(path, contents, config, metadata)


def _stored(
    path: str, contents: hdf5.Contents, config: Mapping[str, Any] | None, beside: Mapping[str, Any]
) -> Stored:
    entries, attributes = contents.entries, contents.attributes
    version = beside.get("keras_version")
    # Keras 3 writes bfloat16 as bytes without a meaning, and beside them what they are.
    halves = {
        name: Derived(
            [name], Entry(entry.shape, "bfloat16"), lambda halves: widened(halves.view("<u2"))
        )
        for name, entry in entries.items()
        if entry.dtype == "void16" and attributes[name].get("dtype") == "bfloat16"
    }
    tensors = Tensors(path, entries, contents.read).with_derived(halves)
    stored = Stored(tensors, config, version if isinstance(version, str) else "", attributes)
    if version_of(stored) < (2,):
        raise InputError(path, "is a file of Keras 1, which is not read", _SAVE_IN_2)
    return stored


def _parsed(place: str, text: str | bytes) -> dict[str, Any]:
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
