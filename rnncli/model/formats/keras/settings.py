"""The settings of Keras layers, as the config of a model has them."""

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import numpy as np

from rnncli.model.activations import KERAS, Activation, parse
from rnncli.model.errors import InputError, shown
from rnncli.model.layers import RowActivation, row_activation

# Those that matter in training or in building alone, or say how and not what is computed.
_INERT = re.compile(
    r"name|trainable|seed|.*_(initializer|regularizer|constraint)|unit_forget_bias"
    r"|dropout|recurrent_dropout|momentum|rate|noise_shape|stddev|l1|l2|synchronized|renorm_momentum"
    r"|batch_shape|batch_input_shape|build_input_shape|input_(dim|length|dtype|shape)"
    r"|sparse|ragged|optional|implementation|unroll|stateful|return_state"
    r"|reverse_state_order"
)
# Our functions by Keras's names.
_FUNCTIONS = dict(zip(KERAS, KERAS, strict=True)) | {
    "softmax": "softmax",
    "log_softmax": "log_softmax",
    "swish": "silu",
    "hard_swish": "hard_silu",
    "celu": "elu",
    "leaky_relu": "leaky_relu:0.2",
}
# hard_sigmoid was another function before Keras 3.
HARD_SIGMOID = {True: "hard_sigmoid:0.2,0.5", False: f"hard_sigmoid:{1 / 6!r},0.5"}
# Frameworks whose classes these are: one of another module is the model's own.
_MODULES = ("keras", "tf_keras")


class Settings:
    """Settings of a layer; what is asked for is honoured, and the rest has to do nothing.

    Parameters
    ----------
    values : mapping
    version : tuple of int
        Of Keras.
    """

    def __init__(self, values: Mapping[str, Any], version: tuple[int, ...]) -> None:
        self._values, self.version = values, version
        self._asked = {"dtype"}
        self._inner: list[Settings] = []

    def get(self, name: str, default: Any = None) -> Any:
        """Return a setting as it stands; the default where it is left out."""
        self._asked.add(name)
        return self._values.get(name, default)

    def truth(self, name: str, default: bool = False) -> bool:
        """Return true or false."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise _unexpected(name, "true or false", value)
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Return a finite number, which Keras 2 may have written as text."""
        try:
            value = float(self.get(name, default))
        except (TypeError, ValueError, OverflowError):
            value = float("nan")
        if not isfinite(value):
            raise _unexpected(name, "a number", self.get(name))
        return value

    def off(self, *names: str) -> None:
        """Check that some settings are off."""
        for name in names:
            if value := self.get(name):
                raise InputError("", f"{name} {_told(value)} is not run here")

    def last_axis(self, axes: int = 0) -> None:
        """Check that the only axis, of so many, is the last one, that of the features."""
        value = self.get("axis", -1)
        if (value if isinstance(value, list) else [value]) not in ([-1], [axes - 1]):
            raise InputError("", f"axis {_told(value)} is not that of the features")

    def activation(self, name: str = "activation", default: str | None = "linear") -> Activation:
        """Return a function of single values."""
        text = self._function(name, default)
        try:
            return parse(text)
        except ValueError as error:
            raise InputError("", f"{name} {text} is not run in cells here") from error

    def row_activation(self, name: str = "activation") -> RowActivation:
        """Return a function of a row."""
        return row_activation(self._function(name, "linear"))

    def inner(self, name: str) -> "tuple[str, Settings]":
        """Return the class of a layer that is a setting of this one, and its own settings."""
        return self._described(name, self.get(name))

    def inners(self, name: str) -> "list[tuple[str, Settings]]":
        """Return those of a list of layers."""
        found = self.get(name)
        if not isinstance(found, list) or not found:
            raise _unexpected(name, "layers", found)
        return [self._described(name, each) for each in found]

    def _described(self, name: str, layer: Any) -> "tuple[str, Settings]":
        kind, settings = described(name, layer, self.version)
        self._inner.append(settings)
        return kind, settings

    def check_rest(self) -> None:
        """Check that what has not been asked for does nothing at inference."""
        for name in self._values.keys() - self._asked:
            value = self._values[name]
            if value not in (None, False, [], {}) and not _INERT.fullmatch(name):
                what = f"{shown(name)} {_told(value)} is a setting that is not known here"
                raise InputError("", what)

    @property
    def dtype(self) -> str:
        """The type that the layer computes in, float32 where nothing else is said."""
        policy = self._values.get("dtype") or "float32"
        if isinstance(policy, dict):
            kind, inner = str(policy.get("class_name")), policy.get("config")
            if not isinstance(inner, dict) or "Quantized" in kind or not inner.get("name"):
                raise InputError("", f"dtype {_told(kind)} is not run here")
            policy = inner["name"]
        return str(policy)

    @property
    def dtypes(self) -> list[str]:
        """The type that the layer computes in, and those of the layers that are its settings."""
        return [self.dtype, *(dtype for inner in self._inner for dtype in inner.dtypes)]

    def _function(self, name: str, default: str | None) -> str:
        value = self.get(name, default)
        if value is None:
            return "linear"
        if isinstance(value, dict):
            if value.get("class_name") != "function":
                kind, inner = described(name, value, self.version)
                return pointwise(kind, inner)
            value = value.get("config")
        if value == "hard_sigmoid":
            return HARD_SIGMOID[self.version < (3,)]
        if not isinstance(value, str) or value not in _FUNCTIONS:
            raise InputError("", f"{name} {_told(value)} is not run here")
        return _FUNCTIONS[value]


def described(place: str, layer: Any, version: tuple[int, ...]) -> tuple[str, Settings]:
    """Return the class of a layer and its settings."""
    if not isinstance(layer, dict) or not isinstance(layer.get("class_name"), str):
        raise _unexpected(place, "a layer", layer)
    kind, values = layer["class_name"], layer.get("config")
    own = layer.get("registered_name")
    module = layer.get("module", _MODULES[0])
    if not isinstance(module, str) or module.partition(".")[0] not in _MODULES:
        raise InputError("", f"{shown(str(own or kind))} is a class of the model's own")
    if not isinstance(values, dict):
        raise _unexpected(f"config of {kind}", "an object", values)
    return kind, Settings(values, version)


def pointwise(kind: str, settings: Settings, axes: int = 0) -> str:
    """Return the function of a layer that is one, of rows with so many axes."""
    if kind not in POINTWISE:
        raise InputError("", f"{shown(kind)} is not run here")
    if kind == "Softmax":
        settings.last_axis(axes)
    text = POINTWISE[kind](settings)
    settings.check_rest()
    return text


def _relu(settings: Settings) -> str:
    slope, threshold = settings.number("negative_slope", 0), settings.number("threshold", 0)
    limit = settings.get("max_value") is not None and settings.number("max_value")
    given = (slope != 0, threshold != 0, limit)
    if given == (False, False, 6):
        return "relu6"
    if given[2] is False and not (slope and threshold):
        return _over(threshold) if threshold else f"leaky_relu:{slope!r}" if slope else "relu"
    told = f"max_value {_told(settings.get('max_value'))}, negative_slope {slope}"
    raise InputError("", f"{told}, threshold {threshold}: no such ReLU is run here")


def _over(threshold: float) -> str:
    """Name the function that keeps what is over a threshold; ours keeps the threshold too."""
    with np.errstate(over="ignore"):
        least = float(np.nextafter(np.float32(threshold), np.float32(np.inf)))
    if not isfinite(least):
        raise _unexpected("threshold", "a number of float32", threshold)
    return f"thresholded_relu:{least!r}"


# Layers that are a function of single values or of a row.
POINTWISE: dict[str, Callable[[Settings], str]] = {
    "ReLU": _relu,
    "LeakyReLU": lambda s: f"leaky_relu:{s.number('negative_slope', s.number('alpha', 0.3))!r}",
    "ELU": lambda s: f"elu:{s.number('alpha', 1)!r}",
    "ThresholdedReLU": lambda s: _over(s.number("theta", 1)),
    "Softmax": lambda _: "softmax",
}


def _unexpected(name: str, expected: str, value: Any) -> InputError:
    return InputError("", f"{name}: expected {expected}, got {_told(value)}")


def _told(value: Any) -> str:
    """Return a value of a config as a message can hold it."""
    name = value.get("config", value) if isinstance(value, dict) else value
    return shown(name if isinstance(name, str) else str(value).lower(), 40)
