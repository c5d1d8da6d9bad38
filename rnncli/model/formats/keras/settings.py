"""The settings of Keras layers, as the config of a model has them."""

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import KERAS, Activation, parse
from rnncli.model.errors import shown
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
    """Settings of a layer; what is asked for is honoured, and the rest has to do nothing."""

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

    def numbers(self, name: str, default: float | None = None) -> NDArray[np.float32]:
        """Return a number, or one for each feature, but not for each step."""
        try:
            values = np.asarray(self.get(name, default), np.float32)
        except (TypeError, ValueError, OverflowError):
            values = np.empty(0, np.float32)
        each = values.shape[-1:] in ((), (values.size,))
        if not values.size or not each or not np.isfinite(values).all():
            raise _unexpected(name, "a number for each feature", self.get(name))
        return values.reshape(-1)

    def off(self, *names: str) -> None:
        """Check that some settings are off."""
        for name in names:
            if value := self.get(name):
                raise ValueError(f"{name} {_quote(value)} is not run here")

    def equal(self, name: str, size: int, of: str) -> None:
        """Check that a setting is the size of an array."""
        if self.get(name, size) != size:
            raise ValueError(f"{name} {_quote(self.get(name))}, {shown(of)} has {size}")

    def last_axis(self, axes: int = 0) -> None:
        """Check that the only axis, of so many, is the last one, that of the features."""
        value = self.get("axis", -1)
        if (value if isinstance(value, list) else [value]) not in ([-1], [axes - 1]):
            raise ValueError(f"axis {_quote(value)} is not that of the features")

    def activation(self, name: str = "activation", default: str | None = "linear") -> Activation:
        """Return a function of single values."""
        text = self._function(name, default)
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{name} {text} is not run in cells here") from error

    def row_activation(self) -> RowActivation:
        """Return a function of a row."""
        return row_activation(self._function("activation", "linear"))

    def layers(self, name: str) -> "list[tuple[str, Settings]]":
        """Return the class and the settings of a layer that is a setting, or of each of a list."""
        value = self.get(name)
        if value == []:
            raise _unexpected(name, "layers", value)
        values = value if isinstance(value, list) else [value]
        found = [read_class(name, each, self.version) for each in values]
        self._inner += [settings for _, settings in found]
        return found

    def check_rest(self) -> None:
        """Check that what has not been asked for does nothing at inference."""
        for name in self._values.keys() - self._asked:
            value = self._values[name]
            if value not in (None, False, [], {}) and not _INERT.fullmatch(name):
                raise ValueError(
                    f"{shown(name)} {_quote(value)} is a setting that is not known here"
                )

    @property
    def dtypes(self) -> list[str]:
        """The types that the layer and those that are its settings compute in."""
        policy = self._values.get("dtype") or "float32"
        if isinstance(policy, dict):
            kind, inner = str(policy.get("class_name")), policy.get("config")
            if not isinstance(inner, dict) or "Quantized" in kind or not inner.get("name"):
                raise ValueError(f"dtype {_quote(kind)} is not run here")
            policy = inner["name"]
        return [str(policy), *(dtype for inner in self._inner for dtype in inner.dtypes)]

    def _function(self, name: str, default: str | None) -> str:
        value = self.get(name, default)
        if isinstance(value, dict):
            if value.get("class_name") != "function":
                return name_function(*read_class(name, value, self.version))
            value = value.get("config")
        if value is None:
            return "linear"
        if value == "hard_sigmoid":
            return HARD_SIGMOID[self.version < (3,)]
        if not isinstance(value, str) or value not in _FUNCTIONS:
            raise ValueError(f"{name} {_quote(value)} is not run here")
        return _FUNCTIONS[value]


def read_class(name: str, layer: Any, version: tuple[int, ...]) -> tuple[str, Settings]:
    """Return the class of a layer and its settings."""
    if not isinstance(layer, dict) or not isinstance(layer.get("class_name"), str):
        raise _unexpected(name, "a layer", layer)
    kind, values = layer["class_name"], layer.get("config")
    module = layer.get("module", _MODULES[0])
    if not isinstance(module, str) or module.partition(".")[0] not in _MODULES:
        own = layer.get("registered_name") or kind
        raise ValueError(f"{shown(str(own))} is a class of the model's own")
    if not isinstance(values, dict):
        raise _unexpected(f"config of {kind}", "an object", values)
    return kind, Settings(values, version)


def name_function(kind: str, settings: Settings, axes: int = 0) -> str:
    """Return the function of a layer that is one, of rows with so many axes."""
    if kind not in POINTWISE:
        raise ValueError(f"{shown(kind)} is not run here")
    if kind == "Softmax":
        settings.last_axis(axes)
    text = POINTWISE[kind](settings)
    settings.check_rest()
    return text


def _relu(settings: Settings) -> str:
    slope, threshold = settings.number("negative_slope", 0), settings.number("threshold", 0)
    limit = None if settings.get("max_value") is None else settings.number("max_value")
    if limit is None and not (slope and threshold):
        return _over(threshold) if threshold else f"leaky_relu:{slope!r}" if slope else "relu"
    if (slope, threshold, limit) == (0, 0, 6):
        return "relu6"
    what = f"max_value {limit}, negative_slope {slope}, threshold {threshold}"
    raise ValueError(f"{what}: no such ReLU is run here")


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


def _unexpected(name: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{name}: expected {expected}, got {_quote(value)}")


def _quote(value: Any) -> str:
    """Return a value of a config as a message can hold it."""
    name = value.get("config", value) if isinstance(value, dict) else value
    return shown(name if isinstance(name, str) else str(value).lower(), 40)
