"""A Keras layer: the settings of its config, its arrays, and the rows that it takes and gives."""

import re
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.activations import KERAS, Activation, parse
from rnncli.model.arrays import Floats
from rnncli.model.errors import shown
from rnncli.model.formats.keras.weights import Group, Stored
from rnncli.model.graph.piece import Whole
from rnncli.model.layers import RowActivation, row_activation

# Settings of training and of building alone, and those that say how a result is computed.
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
_COARSE = re.compile(r"(?:mixed_)?b?float(?:16|8\w*)")
# Layers that are a function of single values or of a row.
POINTWISE = ("ReLU", "LeakyReLU", "ELU", "ThresholdedReLU", "Softmax")


class Flow(NamedTuple):
    """The rows between a layer and the next one."""

    axes: int = 3  # (N, T, I), or 2 where a layer has given one row a sequence
    masked: str = ""  # the layer that masks rows
    reversed: bool = False  # whether rows stand from the last step to the first
    features: int = 0  # in a row; 0 where that is not known
    recurrent: str = ""  # the highest recurrent layer below
    last: str = ""  # which row of a sequence it is, as in `Found`, where it is one
    number: int = 0  # the layer of the network that gives it, from 1; 0 for its input
    waiting: Whole | None = None  # makes another number of steps of what that layer gives


class Layer:
    """A layer; a setting that nobody asks for has to do nothing at inference."""

    def __init__(self, name: str, entry: Any, stored: Stored, group: Group, *flows: Flow) -> None:
        if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
            raise _unexpected(name, "a layer", entry)
        self.name, self.kind, self.stored, self.group = name, entry["class_name"], stored, group
        self.flows, self.flow = flows, flows[0]  # of each layer that it takes; what it gives
        module = str(entry.get("module", "keras")).partition(".")[0]
        if module not in ("keras", "tf_keras"):
            own = entry.get("registered_name") or self.kind
            raise ValueError(f"{shown(str(own))} is a class of the model's own")
        self.config: Any = entry.get("config")
        if not isinstance(self.config, dict):
            raise _unexpected(f"config of {self.kind}", "an object", self.config)
        self.used: list[str] = []  # paths of arrays
        self._asked, self._inner = {"dtype"}, list[Layer]()

    @property
    def title(self) -> str:
        """The class, and that of the layer in it: ``Bidirectional(LSTM)``."""
        inner = f"({shown(self._inner[0].kind)})" if self._inner else ""
        return shown(self.kind) + inner

    def get(self, name: str, default: Any = None) -> Any:
        """Return a setting as the config has it."""
        self._asked.add(name)
        return self.config.get(name, default)

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

    def whole(self, name: str, default: int = 1) -> int:
        """Return a size, which may stand in a list."""
        value = self.get(name, default)
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if type(value) is not int or not 0 < value <= 2**16:
            raise _unexpected(name, "a whole number", value)
        return value

    def check_equal(self, name: str, size: int) -> None:
        """Check that a setting is the size that the arrays have."""
        if self.get(name, size) != size:
            raise ValueError(f"{name} {_quote(self.get(name))}, its arrays have {size}")

    def check_last_axis(self) -> None:
        """Check that the axis is the last one, that of the features."""
        value = self.get("axis", -1)
        if (value if isinstance(value, list) else [value]) not in ([-1], [self.flow.axes - 1]):
            raise ValueError(f"axis {_quote(value)} is not that of the features")

    def activation(self, name: str = "activation", default: str = "linear") -> Activation:
        """Return a function of single values."""
        text = self._function(name, default)
        try:
            return parse(text)
        except ValueError as error:
            raise ValueError(f"{name} {text} is not run in cells here") from error

    def row_activation(self) -> RowActivation:
        """Return a function of a row."""
        return row_activation(self._function("activation", "linear"))

    def _function(self, name: str, default: str) -> str:
        value = self.get(name, default)
        if isinstance(value, dict):
            if value.get("class_name") != "function":
                return self.hold(name, value, Group({})).function()
            value = value.get("config")
        if value == "hard_sigmoid":
            return HARD_SIGMOID[self.stored.version < (3,)]
        if value is not None and (not isinstance(value, str) or value not in _FUNCTIONS):
            raise ValueError(f"{name} {_quote(value)} is not run here")
        return "linear" if value is None else _FUNCTIONS[value]

    def function(self) -> str:
        """Return the function that the layer is."""
        match self.kind:
            case "LeakyReLU":
                slope = self.number("negative_slope", self.number("alpha", 0.3))
                return f"leaky_relu:{slope!r}"
            case "ELU":
                return f"elu:{self.number('alpha', 1)!r}"
            case "ThresholdedReLU":  # what is over theta is kept; ours keeps theta too
                theta = np.float32(np.clip(self.number("theta", 1), -3e38, 3e38))
                return f"thresholded_relu:{np.nextafter(theta, np.float32(np.inf)).item()!r}"
            case "Softmax":
                self.check_last_axis()
                return "softmax"
            case "ReLU":
                slope, threshold = self.number("negative_slope", 0), self.number("threshold", 0)
                limit = self.get("max_value") and self.number("max_value")
                if limit == 6 and not slope and not threshold:
                    return "relu6"
                if limit is None and not threshold:
                    return f"leaky_relu:{slope!r}" if slope else "relu"
                raise ValueError("a ReLU of such a max_value or threshold is not run here")
        raise ValueError(f"{shown(self.kind)} is not run here")

    def hold(self, name: str, entry: Any, group: Group) -> "Layer":
        """Return a layer that is a setting of this one, with its arrays."""
        layer = Layer(name, entry, self.stored, group, self.flow)
        layer.name, layer.used = self.name, self.used
        self._inner.append(layer)
        return layer

    def within(self, name: str, attribute: str) -> "Layer":
        """Return the layer that is a setting, with the arrays of an attribute."""
        return self.hold(name, self.get(name), self.group.inner(attribute))

    def check_rest(self) -> None:
        """Check that a setting that has not been asked for does nothing at inference."""
        for name in self.config.keys() - self._asked:
            value = self.config[name]
            if value not in (None, False, [], {}) and not _INERT.fullmatch(name):
                what = f"{shown(name)} {_quote(value)}"
                raise ValueError(f"{what} is a setting that is not known here")
        for inner in self._inner:
            inner.check_rest()

    def coarse(self) -> list[str]:
        """Return the types of few digits that the layer and those among its settings compute in."""
        own = _COARSE.findall(str(self.config.get("dtype")))[:1]
        return [*own, *(each for inner in self._inner for each in inner.coarse())]

    def read(self, count: int, group: Group | None = None) -> dict[str, Floats]:
        """Read so many of its arrays, or of those of an object within, by their paths."""
        arrays = (group or self.group).read(count, self.stored.arrays)
        self.used.extend(arrays)
        return arrays

    def features(self) -> int:
        """Return the number of features that it takes."""
        if self.flow.features < 1:
            raise ValueError("the file does not say how many features it takes")
        return self.flow.features

    def check_sequence(self) -> None:
        """Check that there is a row for each step."""
        if self.flow.axes != 3:
            raise ValueError("takes a row for each step, and gets one row a sequence")

    def give(self, **changes: Any) -> None:
        """Change the rows that go on to the next layer."""
        self.flow = self.flow._replace(**changes)


def _unexpected(name: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{name}: expected {expected}, got {_quote(value)}")


def _quote(value: Any) -> str:
    name = value.get("config", value) if isinstance(value, dict) else value
    return shown(name if isinstance(name, str) else str(value).lower(), 40)
