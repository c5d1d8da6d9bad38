"""Keras's files: ``.keras``, a zip archive, and HDF5, with the whole model or its weights."""

import io
import json
import re
from typing import Any

from rnncli.model.errors import InputError, one_line
from rnncli.model.formats.containers import hdf5, most_unpacked
from rnncli.model.formats.containers.zips import FIRST, open_zip, read_member
from rnncli.model.formats.contents import Contents
from rnncli.model.formats.keras import model, weights_only
from rnncli.model.formats.keras.weights import KerasFile, read_group

_WEIGHTS = "model.weights.h5"
# Parsed, JSON can take twenty times as much.
_TEXT_MOST = 2 * 2**20


def read(data: bytes, path: str) -> Contents:
    """Find the layers of a Keras file, by the model's config or by the names of arrays alone."""
    if data.startswith(FIRST):
        with open_zip(path, io.BytesIO(data)) as archive:
            config, about = (
                _parse(f"{path}: {name}", read_member(path, archive, name, _TEXT_MOST))
                for name in ("config.json", "metadata.json")
            )
            content = read_member(path, archive, _WEIGHTS, most_unpacked(len(data)))
        arrays, attributes = hdf5.read(content, f"{path}: {_WEIGHTS}")
    else:
        arrays, attributes = hdf5.read(data, path)
        about = attributes[""]
        text = about.get("model_config")
        config = _parse(f"{path}: model_config", text) if isinstance(text, str) else {}
    group, writer = read_group(arrays, attributes), str(about.get("keras_version") or "")
    numbers = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", writer)
    version = (int(numbers[1]), int(numbers[2])) if numbers else (2 if group.listed else 3, 0)
    file = KerasFile(path, arrays, config, group, f"Keras {writer}".rstrip(), version)
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    return model.find(file) if isinstance(layers, list) and layers else weights_only.find(file)


def _parse(where: str, text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object."""
    if len(text) > _TEXT_MOST:
        raise InputError(where, f"expected at most {_TEXT_MOST:,} characters, got {len(text):,}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(where, f"damaged: {one_line(error)}") from error
    if not isinstance(value, dict):
        raise InputError(where, f"expected a JSON object, got {type(value).__name__}")
    return value
