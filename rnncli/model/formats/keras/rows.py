"""Keras's layers without state."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, shown
from rnncli.model.formats.keras.layers import Layer, Made, Maker
from rnncli.model.formats.keras.settings import POINTWISE, pointwise
from rnncli.model.formats.spec import LayerSpec
from rnncli.model.formats.tensors import Derived, Entry, deviation
from rnncli.model.layers import row_activation

# Keras takes no scale for smaller (``keras.config.epsilon()``).
_LEAST_SCALE = 1e-7


def _nothing(layer: Layer) -> Made:
    """Return no layer: it does nothing at inference."""
    return [], layer.flow


def _input(layer: Layer) -> Made:
    dtype = layer.settings.dtype
    if layer.flow.axes == 3 and "float" not in dtype:
        what = f"dtype {shown(dtype)} cuts what it takes to whole numbers, which is not run here"
        raise InputError("", what)
    return _nothing(layer)


def _identity(layer: Layer) -> Made:
    _keep_mask(layer)
    return _nothing(layer)


def _dense(layer: Layer) -> Made:
    names = layer.place.take(1 + layer.settings.truth("use_bias", True))
    _check_size(layer, "units", names[0])
    return _made(
        layer._replace(flow=layer.flow._replace(features=layer.arrays.size(names[0], -1))),
        "dense",
        dict(zip(("W", "b"), names, strict=False)),
        activation=layer.settings.row_activation(),
    )


def _embedding(layer: Layer) -> Made:
    flow, masks = layer.flow, layer.settings.truth("mask_zero")
    if flow.axes == 3 and flow.features:
        raise InputError("", f"takes one number a step, and not {flow.features}")
    (name,) = layer.place.take(1)
    _check_size(layer, "output_dim", name)
    size = layer.arrays.size(name, -1)
    above = flow._replace(axes=3, features=size, masked=layer.name if masks else "")
    return _made(layer._replace(flow=above), "embedding", {"W": name}, mask_zero=masks)


def _masking(layer: Layer) -> Made:
    flow = layer.flow
    layer.take_sequence()
    if below := flow.masked or flow.recurrent:
        raise InputError("", f"masks rows above {shown(below)}, which is not run here")
    above = flow._replace(masked=layer.name)
    value, dtype = layer.settings.number("mask_value", 0), layer.settings.dtype
    dtype = dtype.removeprefix("mixed_")
    if layer.settings.version >= (3,) and _cut(value, dtype) != value:
        what = f"mask_value {value} is no number of {dtype}, so that Keras masks nothing"
        raise InputError("", what)
    return _made(layer._replace(flow=above), "masking", value=value)


def _activation(layer: Layer) -> Made:
    return _made(layer, "activation", activation=layer.settings.row_activation())


def _pointwise(layer: Layer) -> Made:
    if layer.kind == "Softmax" and layer.flow.masked:
        what = f"Softmax of rows that {shown(layer.flow.masked)} masks is not run here"
        raise InputError("", what)
    text = pointwise(layer.kind, layer.settings, layer.flow.axes)
    return _made(layer, "activation", activation=row_activation(text))


def _batch_normalization(layer: Layer) -> Made:
    settings, arrays = layer.settings, layer.arrays
    settings.last_axis(layer.flow.axes)
    settings.off("renorm", "mode")
    tensors = _learned(layer)
    tensors["center"], variance = layer.place.take(2)
    root = partial(deviation, settings.number("epsilon", 1e-3))
    tensors["scale"] = arrays.derive(Derived([variance], arrays.entry(variance), root))
    return _made(layer, "normalization", tensors)


def _layer_normalization(layer: Layer) -> Made:
    settings, arrays = layer.settings, layer.arrays
    settings.last_axis(layer.flow.axes)
    settings.off("rms_scaling")
    tensors = _learned(layer)
    if "factor" not in tensors:
        like = tensors.get("shift")
        shape = arrays.entry(like).shape if like else (_features(layer),)
        tensors["factor"] = arrays.constant(f"{layer.name} factor", np.ones((), np.float32), shape)
    epsilon = settings.number("epsilon", 1e-3)
    return _made(layer, "layer_normalization", tensors, epsilon=epsilon)


def _learned(layer: Layer) -> dict[str, str]:
    """Take gamma and beta, as far as the layer has them."""
    roles = {"scale": "factor", "center": "shift"}
    there = [role for name, role in roles.items() if layer.settings.truth(name, True)]
    return dict(zip(there, layer.place.take(len(there)), strict=True))


def _normalization(layer: Layer) -> Made:
    settings, arrays = layer.settings, layer.arrays
    _keep_mask(layer)
    if settings.get("axis", -1) not in (None, []):
        settings.last_axis(layer.flow.axes)
    settings.off("invert")
    computes = {"center": _same, "scale": _least_root}
    tensors = {}
    if settings.get("mean") is None:
        for (role, compute), name in zip(computes.items(), layer.place.take(3), strict=False):
            shape, dtype = arrays.entry(name)
            shape = _spread(layer, shape)
            derived = Derived([name], Entry(shape, dtype), partial(compute, shape))
            tensors[role] = arrays.derive(derived)
    else:
        for (role, compute), name in zip(computes.items(), ("mean", "variance"), strict=True):
            values = _values(layer, name)
            shape = _spread(layer, values.shape)
            tensors[role] = arrays.constant(f"{layer.name} {name}", compute(shape, values), shape)
    return _made(layer, "normalization", tensors)


def _spread(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a number for each feature, where there may be one for all."""
    return (_features(layer),) if shape in ((), (1,)) else shape


def _rescaling(layer: Layer) -> Made:
    _keep_mask(layer)
    scale, offset = _values(layer, "scale"), _values(layer, "offset", 0.0)
    if scale.size == offset.size == 1:
        text = f"affine:{scale.item()!r},{offset.item()!r}"
        return _made(layer, "activation", activation=row_activation(text))
    shape = (max(scale.size, offset.size),)
    if not {scale.size, offset.size} <= {1, *shape}:
        raise InputError("", f"has {scale.size} scales and {offset.size} offsets")
    zero, one = np.zeros((), np.float32), np.ones((), np.float32)
    roles = {"center": zero, "scale": one, "factor": scale, "shift": offset}
    return _made(
        layer,
        "normalization",
        {
            role: layer.arrays.constant(f"{layer.name} {role}", values, shape)
            for role, values in roles.items()
        },
    )


def _made(
    layer: Layer, kind: str, tensors: Mapping[str, str] = MappingProxyType({}), **settings: Any
) -> Made:
    return [LayerSpec(settings=settings, kind=kind, tensors=tensors)], layer.flow


def _check_size(layer: Layer, name: str, of: str) -> None:
    """Check that a matrix gives as many values as the config says."""
    size = layer.arrays.size(of, -1)
    if size and layer.settings.get(name, size) != size:
        what = f"{name} {layer.settings.get(name)!s:.40}, {shown(of)} has {size} columns"
        raise InputError("", what)


def _keep_mask(layer: Layer) -> None:
    """Check that no mask gets lost, as Keras 2 has it at some layers."""
    if layer.flow.masked and layer.settings.version < (3,):
        what = f"the mask of {shown(layer.flow.masked)} ends here in Keras 2"
        raise InputError("", f"{what}, which is not run here")


def _features(layer: Layer) -> int:
    if not layer.flow.features:
        raise InputError("", "the file does not say how many features it takes")
    return layer.flow.features


def _values(layer: Layer, name: str, default: float | None = None) -> NDArray[np.float32]:
    """Return a number, or one for each feature."""
    try:
        values = np.asarray(layer.settings.get(name, default), np.float32)
    except (TypeError, ValueError, OverflowError):
        values = np.empty(0, np.float32)
    for_features = values.shape[-1:] in ((), (values.size,))  # and not for each step
    if not values.size or not for_features or not np.isfinite(values).all():
        raise InputError("", f"{name}: expected a number for each feature")
    return values.reshape(-1)


def _cut(value: float, dtype: str) -> float:
    """Return what a type of few digits has of a number."""
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return float(np.float16(value))
    if dtype == "bfloat16":
        return float((np.float32(value).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32))
    return value


def _least_root(shape: tuple[int, ...], variance: NDArray[Any]) -> NDArray[Any]:
    return _same(shape, np.maximum(deviation(0, variance), _LEAST_SCALE))


def _same(shape: tuple[int, ...], values: NDArray[Any]) -> NDArray[Any]:
    return np.broadcast_to(values, shape)


_NOTHING = (
    "Dropout",
    "SpatialDropout1D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
    "ActivityRegularization",
)
MAKERS: dict[str, Maker] = {
    **dict.fromkeys(_NOTHING, _nothing),
    **dict.fromkeys(POINTWISE, _pointwise),
    "InputLayer": _input,
    "Identity": _identity,
    "Dense": _dense,
    "Embedding": _embedding,
    "Masking": _masking,
    "Activation": _activation,
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
}
