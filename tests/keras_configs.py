"""Keras models by configs that are written by hand; their arrays are not looked at."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from rnncli.model.errors import InputError
from rnncli.model.formats.keras.places import Stored
from rnncli.model.formats.parts import Model
from rnncli.model.formats.tensors import Entry, Tensors

Config = dict[str, Any]
WHOLE = {"return_sequences": True}
MASKING = {"class_name": "Masking", "config": {"mask_value": -1.0}}
LSTM = {"class_name": "LSTM", "config": WHOLE}


def layer(kind: str, **settings: Any) -> Config:
    return {"class_name": kind, "config": settings}


def stored(
    model: Config | None,
    version: str = "3.15.1",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
) -> Stored:
    shapes = shapes or {}
    entries = {name: Entry(shape, "float32") for name, shape in shapes.items()}

    def read(names: Sequence[str]) -> list[Any]:
        return [
            np.arange(np.prod(shapes[name]), dtype=np.float32).reshape(shapes[name])
            for name in names
        ]

    return Stored(Tensors("m.keras", entries, read), model, version, attributes or {"": {}})


def sequential(*layers: Config, **about: Any) -> Stored:
    named = [
        {**each, "config": {"name": f"l{number}", **each["config"]}}
        for number, each in enumerate(layers)
    ]
    return stored({"class_name": "Sequential", "config": {"name": "m", "layers": named}}, **about)


def refusal(model: Model) -> str:
    with pytest.raises(InputError) as caught:
        model.layers()
    return str(caught.value)
