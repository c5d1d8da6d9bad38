"""Keras's files: ``.keras``, a zip archive, and HDF5, with the whole model or its weights."""

import io
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from rnncli.model.errors import InputError, listed, one_line
from rnncli.model.formats.containers import hdf5, most_unpacked
from rnncli.model.formats.containers.zips import FIRST, open_zip, read_member
from rnncli.model.formats.found import Found, widen_bfloat16
from rnncli.model.formats.keras import bare, model
from rnncli.model.formats.keras.weights import Stored

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
# Groups at the root that only training needs.
_TRAINING = ("optimizer", "optimizer_weights")
# Parsed, JSON can take twenty times as much.
_TEXT_MOST = 2 * 2**20
_STORE = "if it is sound, pack the archive anew without compression, as Keras does"
_SAVE = "load the model with Keras, and save it with model.save('model.keras')"
_SAVE_IN_2 = "load the model with Keras 2 (tf_keras), and save it with model.save('model.keras')"


def read(data: bytes, path: str) -> Found:
    """Find the layers of a Keras file, by the model's config or by the names of arrays alone."""
    stored = (_read_archive if data.startswith(FIRST) else _read_hdf5)(data, path)
    if stored.version < (2,):
        raise InputError(path, "is a file of Keras 1, which is not read", _SAVE_IN_2)
    inner = stored.config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    return model.find(stored) if isinstance(layers, list) and layers else bare.find(stored)


def _read_hdf5(data: bytes, path: str) -> Stored:
    index = re.sub(r"_\d{5}\.weights\.h5\Z", ".weights.json", path)
    if index != path and os.path.exists(index):
        what = f"is one of several files with the weights that {index} lists"
        raise InputError(path, what, _SAVE)
    arrays, attributes = hdf5.read(data, path, _TRAINING)
    text = attributes[""].get("model_config")
    config = _parse(f"{path}: model_config", text) if isinstance(text, str) else {}
    return _stored(path, arrays, attributes, config, attributes[""])


def _read_archive(data: bytes, path: str) -> Stored:
    with open_zip(path, io.BytesIO(data)) as archive:
        expected, names = (_CONFIG, _METADATA, _WEIGHTS), archive.namelist()
        if not set(expected) <= set(names):
            what = f"expected a Keras model, an archive with {listed(expected)}"
            raise InputError(path, f"{what}, got {listed(names)}", _SAVE)
        config, metadata = (
            _parse(f"{path}: {name}", read_member(path, archive, name, _TEXT_MOST))
            for name in (_CONFIG, _METADATA)
        )
        weights = read_member(path, archive, _WEIGHTS, most_unpacked(len(data)), _STORE)
    return _stored(path, *hdf5.read(weights, f"{path}: {_WEIGHTS}", _TRAINING), config, metadata)


def _stored(
    path: str,
    arrays: dict[str, Any],
    attributes: dict[str, dict[str, Any]],
    config: Mapping[str, Any],
    beside: Mapping[str, Any],
) -> Stored:
    for name, array in arrays.items():
        # Keras 3 writes bfloat16 as bytes without a meaning, and beside them what they are.
        if array.dtype == "V2" and attributes[name].get("dtype") == "bfloat16":
            arrays[name] = widen_bfloat16(array.view("<u2"))
    version = beside.get("keras_version")
    return Stored(path, arrays, attributes, config, version if isinstance(version, str) else "")


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
