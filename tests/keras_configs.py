"""Keras models by configs that are written by hand; all their widths are 2."""

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hdf5_cases import Arrays, Texts, file_of

Config = dict[str, Any]
WHOLE = {"return_sequences": True}
MASKING = {"class_name": "Masking", "config": {"mask_value": -1.0}}
LSTM = {"class_name": "LSTM", "config": WHOLE}
# The arrays of layers. A bias of a GRU may have two rows.
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "LSTM": [(2, 8), (2, 8), (8,)],
    "GRU": [(2, 6), (2, 6), (2, 6)],
    "GRUCell": [(2, 6), (2, 6), (2, 6)],
    "CuDNNGRU": [(2, 6), (2, 6), (12,)],
    "Dense": [(2, 2), (2,)],
    "Embedding": [(3, 2)],
    "Conv1D": [(3, 2, 2), (2,)],
    "Conv2D": [(3, 1, 1, 2), (2,)],
    "AdditiveAttention": [(2,)],
    "MultiHeadAttention": [(2, 1, 2), (1, 2)] * 3 + [(1, 2, 2), (2,)],
    "BatchNormalization": [(2,)] * 4,
    "LayerNormalization": [(2,)] * 2,
    "Normalization": [(2,)] * 2,
}


def layer(kind: str, **settings: Any) -> Config:
    return {"class_name": kind, "config": settings}


def numbers(*shape: int) -> np.ndarray[Any, np.dtype[Any]]:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 100


def archive(
    config: Config | None, version: str, arrays: Arrays, attributes: dict[str, dict[str, Texts]]
) -> bytes:
    """Return a ``.keras`` file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("config.json", json.dumps(config or {}))
        zipped.writestr("metadata.json", json.dumps({"keras_version": version}))
        zipped.writestr("model.weights.h5", file_of(arrays, attributes))
    return file.getvalue()


def model(path: Path, config: Config | None, version: str = "3.15.1") -> Path:
    """Write a model whose layers list the arrays that they should have."""
    named = {each["config"]["name"]: each for each in layers_of(config or {})}
    listed = {name: [*named_arrays(each, version)] for name, each in named.items()}
    shapes = {f"{name}/{each}": shape for name in listed for each, shape in listed[name]}
    arrays = {name: numbers(*shape) + k for k, (name, shape) in enumerate(shapes.items())}
    attributes: dict[str, dict[str, Texts]] = {"": {"layer_names": [*named, "none"]}}
    attributes |= {
        name: {"weight_names": [each for each, _ in found]}
        for name, found in listed.items()
        if found
    }
    path.write_bytes(archive(config, version, arrays, attributes))
    return path


def layers_of(config: Config) -> list[Config]:
    """Return the layers that have names, with these among their settings."""
    found = config["config"]["layers"] if config else []
    named = [
        {**each, "config": {"name": each.get("name"), **each["config"]}}
        for each in found
        if isinstance(each, dict)
    ]
    return [each for each in named if each["config"]["name"]]


def named_arrays(config: Config, version: str, stem: str = "") -> Iterator[tuple[str, Any]]:
    """Give names and shapes of the arrays of a layer, and of the layers in it."""
    kind, settings = config["class_name"], config.get("config") or {}
    shapes = [] if "mean" in settings else SHAPES.get(kind, [])
    if kind == "GRU" and not settings.get("reset_after", version >= "3"):
        shapes = [*shapes[:2], (6,)]
    yield from ((f"{stem}{number}", shape) for number, shape in enumerate(shapes))
    inner = [settings[key] for key in ("layer", "cell") if key in settings]
    inner += settings.get("cells", []) + settings.get("layers", [])
    if kind == "Bidirectional":
        inner *= 2
    for number, each in enumerate(inner):
        name = each["config"].get("name", f"in{number}")
        yield from named_arrays(each, version, f"{stem}{name}/")


def chain(layers: Iterable[Config]) -> Config:
    """Return the config of a model of layers l0, l1, ..., or of their own names."""
    named = [
        {**each, "config": {"name": f"l{number}", **each["config"]}}
        for number, each in enumerate(layers)
    ]
    if named:
        named[0]["config"] = {"batch_input_shape": [None, None, 2], **named[0]["config"]}
    return {"class_name": "Sequential", "config": {"name": "m", "layers": named}}


def sequential(path: Path, *layers: Config, version: str = "3.15.1") -> Path:
    return model(path, chain(layers), version)


def tensor(name: str, number: int = 0) -> Config:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, number]}}


def node(name: str, kind: str, *sources: Any, settings: Config = {}, **given: Any) -> Config:  # noqa: B006
    """A layer of a functional model of Keras 3, called with others' outputs or with values."""
    args = [tensor(each) if isinstance(each, str) else each for each in sources]
    inbound = [{"args": args, "kwargs": given}] if sources else []
    return {"class_name": kind, "name": name, "config": settings, "inbound_nodes": inbound}


def functional(
    path: Path, *layers: Config, shape: Sequence[int | None] = (None, 2), **settings: Any
) -> Path:
    """Write a functional model that takes x and gives what the last layer does."""
    ends = {"input_layers": ["x", 0, 0], "output_layers": [layers[-1]["name"], 0, 0]}
    first = input_layer("x", *shape)
    inner = {"name": "m", "layers": [first, *layers], **ends, **settings}
    return model(path, {"class_name": "Functional", "config": inner})


def input_layer(name: str, *shape: int | None) -> Config:
    """Return an input of sequences of this shape."""
    return node(name, "InputLayer", settings={"batch_shape": [None, *shape]})
