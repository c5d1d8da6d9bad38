"""The classes of Keras layers: what each is here, of its settings and its arrays."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model import layers as ours
from rnncli.model.arrays import Floats
from rnncli.model.cells import Weights
from rnncli.model.cells.gates import summed
from rnncli.model.errors import shown
from rnncli.model.formats.found import CellDraft, Draft, FileLayer, naming
from rnncli.model.formats.keras.settings import POINTWISE, Settings, name_function
from rnncli.model.formats.keras.weights import Group, unpack_cudnn
from rnncli.model.graph import Node

# Cells by the class of their layer.
CELL_OF = {"SimpleRNN": "rnn", "LSTM": "lstm", "GRU": "gru", "CuDNNLSTM": "lstm", "CuDNNGRU": "gru"}
_CUDNN = "CuDNN"
# Before this version gates were hard sigmoids where nothing else was said.
SIGMOID_SINCE = (2, 3)
# Keras takes no scale for smaller (``keras.config.epsilon()``).
_LEAST_SCALE = 1e-7
_NOTHING = (
    "Dropout",
    "SpatialDropout1D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
    "ActivityRegularization",
)


class Waiting(NamedTuple):
    """Operators over steps that are not a layer yet, and how many features they take."""

    nodes: Sequence[Node]
    constants: Mapping[str, Floats]
    size: int


class Flow(NamedTuple):
    """The rows between a layer and the next one."""

    axes: int = 3  # (N, T, I), or 2 where a layer has given one row a sequence
    masked: str = ""  # the layer that masks rows
    reversed: bool = False  # whether rows stand from the last step to the first
    features: int = 0  # in a row; 0 where that is not known
    recurrent: str = ""  # the highest recurrent layer below
    last: str = ""  # which row of a sequence it is, as in `Found`, where it is one
    number: int = 0  # the layer of the network that gives it, from 1; 0 for its input
    waiting: Waiting | None = None  # what makes other steps of what that layer gives


# What a layer is here, and what goes on to the next one.
Made: TypeAlias = tuple[Sequence[FileLayer], Flow]


class Layer(NamedTuple):
    """A layer of a model, as its config has it; `used` lists the arrays that it has read."""

    name: str
    kind: str
    settings: Settings
    group: Group
    flow: Flow
    used: list[str]

    def read(self, number: int) -> dict[str, Floats]:
        """Read its arrays, so many, by their paths."""
        arrays = self.group.read(number)
        self.used.extend(arrays)
        return arrays

    def within(self, name: str, part: str) -> "Layer":
        """Return the layer that this one has as a setting, and its arrays in such a part."""
        ((kind, settings),) = self.settings.layers(name)
        return self._replace(kind=kind, settings=settings, group=self.group.part(part))

    def take_sequence(self) -> None:
        """Check that there is a row for each step."""
        if self.flow.axes != 3:
            raise ValueError(
                "takes a row for each step, and the layers below give one row a sequence"
            )

    def keep_mask(self) -> None:
        """Check that no mask gets lost, as Keras 2 has it at some layers."""
        if self.flow.masked and self.settings.version < (3,):
            what = f"the mask of {shown(self.flow.masked)} ends here in Keras 2"
            raise ValueError(f"{what}, which is not run here")

    def stateless(self, kind: str, arrays: Mapping[str, Floats], *roles: str, **more: Any) -> Made:
        """Make a layer without state of arrays of the file in such roles, and of other values."""
        with naming("", dict(zip(roles, arrays, strict=True))):
            made = ours.LAYERS[kind](**dict(zip(roles, arrays.values(), strict=True)), **more)
        return [made], self.flow._replace(features=made.output_size)


def make(layer: Layer, makers: Mapping[str, Callable[["Layer"], Made]]) -> Made:
    """Convert a layer; raise ValueError, which says why, where it cannot be run."""
    if layer.kind not in makers:
        raise ValueError(f"{shown(layer.kind)} is not run here")
    made = makers[layer.kind](layer)
    layer.settings.check_rest()
    return made


# Recurrent layers.


def _time_distributed(layer: Layer) -> Made:
    inner = layer.within("layer", "layer")
    if inner.kind not in _ROWWISE:
        raise ValueError(f"TimeDistributed of {shown(inner.kind)} is not run here")
    made, above = make(inner._replace(flow=layer.flow._replace(axes=2)), MAKERS)
    return made, above._replace(axes=3)


def _recurrent(layer: Layer) -> Made:
    """Return a layer of one cell, or of several, each of which takes what the one below gives."""
    settings, flow = layer.settings, layer.flow
    inner = layer.within("cell", "cell") if layer.kind == "RNN" else layer
    cells = _stacked(inner) if inner.kind == "StackedRNNCells" else [_cell(inner)]
    if settings.truth("zero_output_for_mask") and flow.masked:
        raise ValueError(f"zero_output_for_mask, with {shown(flow.masked)} below, is not run here")
    backward = settings.truth("go_backwards") != flow.reversed
    direction = {"direction": "backward" if backward else "forward"}
    above = _above(layer, settings, len(cells[-1].weights.W_hh), reversed_=backward)
    return [Draft((cell,), direction) for cell in cells], above


def _stacked(layer: Layer) -> list[CellDraft]:
    found, cells = layer.settings.layers("cells"), []
    known = [
        (kind, 2 + settings.truth("use_bias", True), settings.truth("trainable", True))
        for kind, settings in found
    ]
    for (kind, settings), group in zip(found, layer.group.cells(known), strict=True):
        cells.append(_cell(layer._replace(kind=kind, settings=settings, group=group)))
    layer.settings.check_rest()
    return cells


def _bidirectional(layer: Layer) -> Made:
    """Return a layer of two cells, one of which goes backward."""
    forward = layer.within("layer", "forward_layer")
    other = "backward_layer" if layer.settings.get("backward_layer") is not None else "layer"
    backward = layer.within(other, "backward_layer")
    cells = [_wrapped(forward, backward=False), _wrapped(backward, backward=other != "layer")]
    masked, sequences = layer.flow.masked, backward.settings.truth("return_sequences")
    if masked and sequences and backward.settings.truth("unroll"):
        what = f"unroll of the backward layer over the mask of {shown(masked)} is not run here"
        raise ValueError(f"{what}: Keras takes that mask in the wrong direction")
    merge = layer.settings.get("merge_mode", "concat")
    if merge not in list(ours.MERGES):
        raise ValueError(f"merge_mode {str(merge).lower():.40} is not run here")
    if layer.flow.reversed:
        if merge == "concat":
            raise ValueError(
                "two directions over reversed rows (go_backwards below) are not run here"
            )
        cells.reverse()
    features = ours.merged_size(len(cells[0].weights.W_hh), "bidirectional", merge)
    above = _above(layer, forward.settings, features, reversed_=layer.flow.reversed)
    return [Draft(tuple(cells), {"direction": "bidirectional", "merge": merge})], above


def _wrapped(layer: Layer, *, backward: bool) -> CellDraft:
    """Return the cell of one of two directions."""
    settings = layer.settings
    if settings.truth("go_backwards") != backward:
        raise ValueError(f"go_backwards {str(not backward).lower()} in it is not run here")
    # Of any, Bidirectional takes the output for zeros where it gives a sequence, and else not.
    settings.truth("zero_output_for_mask")
    settings.truth("return_sequences")
    cell = _cell(layer.within("cell", "cell") if layer.kind == "RNN" else layer)
    settings.off("time_major")
    settings.check_rest()
    return cell


def _above(layer: Layer, settings: Settings, features: int, *, reversed_: bool) -> Flow:
    """Check what a recurrent layer takes; return what goes on from it."""
    flow = layer.flow
    layer.take_sequence()
    settings.off("time_major")
    if flow.masked and flow.reversed:
        what = f"reversed rows (go_backwards below) with the mask of {shown(flow.masked)}, which is"
        raise ValueError(f"{what} not reversed, are not run here")
    if flow.masked and layer.kind.startswith(_CUDNN):
        raise ValueError(f"{layer.kind} takes no mask, {shown(flow.masked)} gives one")
    flow = flow._replace(features=features, recurrent=layer.name)
    if settings.truth("return_sequences"):
        return flow._replace(reversed=reversed_)
    return flow._replace(axes=2, masked="", reversed=False, last="state")


def _cell(layer: Layer) -> CellDraft:
    """Return the cell of a layer, or of one that is a cell itself."""
    kind, settings = layer.kind.removesuffix("Cell"), layer.settings
    if kind not in CELL_OF:
        raise ValueError(f"{shown(layer.kind)} is not run here")
    cell, packed = CELL_OF[kind], kind.startswith(_CUDNN)
    known: dict[str, Any] = {"clip": inf, "activation": settings.activation("activation", "tanh")}
    if cell != "rnn":
        hard = not packed and settings.version < SIGMOID_SINCE
        default = "hard_sigmoid" if hard else "sigmoid"
        known["recurrent_activation"] = settings.activation("recurrent_activation", default)
    if cell == "gru":
        after = packed or settings.truth("reset_after", settings.version >= (3,))
        known["reset"] = "after" if after else "before"
    if layer.kind == kind and not packed:
        layer = layer._replace(group=layer.group.part("cell"))
    arrays = layer.read(2 + (packed or settings.truth("use_bias", True)))
    if packed:
        arrays = unpack_cudnn(cell, arrays)
    found = make_cell(cell, arrays, known)
    settings.equal("units", len(found.weights.W_hh), found.names["W_hh"])
    if kind != layer.kind:
        settings.check_rest()
    return found


def make_cell(cell: str, arrays: Mapping[str, Floats], settings: Mapping[str, Any]) -> CellDraft:
    """Return a cell of its kernel, its recurrent kernel and its bias, if it has one.

    The bias of a GRU that resets after the product is two, (2, 3 H).
    """
    W_xh, W_hh, *bias = arrays.values()
    names = dict(zip(("W_xh", "W_hh", "b_h"), arrays, strict=False))
    if W_hh.ndim != 2:
        raise ValueError(f"{shown(names['W_hh'])}: expected two axes, got shape {W_hh.shape}")
    if not bias or settings.get("reset") != "after":
        b_h = bias[0] if bias else np.zeros(W_hh.shape[1], W_hh.dtype)
        return CellDraft(cell, Weights(W_xh, W_hh, b_h), settings, names=names)
    if bias[0].shape != (2, W_hh.shape[1]):
        what = f"expected shape {(2, W_hh.shape[1])}, got {bias[0].shape}"
        raise ValueError(f"{shown(names['b_h'])}: {what}")
    b_x, b_r = bias[0]
    weights = Weights(W_xh, W_hh, **summed(b_x, b_r, len(W_hh)))
    return CellDraft(cell, weights, settings, biases=(b_x, b_r), names=names)


# Layers without state.


def _nothing(layer: Layer) -> Made:
    return [], layer.flow


def _input(layer: Layer) -> Made:
    (dtype,) = layer.settings.dtypes
    if layer.flow.axes == 3 and "float" not in dtype:
        raise ValueError(
            f"dtype {shown(dtype)} cuts what it takes to whole numbers, which is not run here"
        )
    return _nothing(layer)


def _identity(layer: Layer) -> Made:
    layer.keep_mask()
    return _nothing(layer)


def _dense(layer: Layer) -> Made:
    arrays = layer.read(1 + layer.settings.truth("use_bias", True))
    roles = ("W", "b")[: len(arrays)]
    activation = layer.settings.row_activation()
    made, above = layer.stateless("dense", arrays, *roles, activation=activation)
    layer.settings.equal("units", above.features, next(iter(arrays)))
    return made, above


def _embedding(layer: Layer) -> Made:
    flow, masks = layer.flow, layer.settings.truth("mask_zero")
    if flow.axes == 3 and flow.features:
        raise ValueError(f"takes one number a step, and not {flow.features}")
    arrays = layer.read(1)
    made, above = layer.stateless("embedding", arrays, "W", mask_zero=masks)
    layer.settings.equal("output_dim", above.features, *arrays)
    return made, above._replace(axes=3, masked=layer.name if masks else "")


def _masking(layer: Layer) -> Made:
    flow, settings = layer.flow, layer.settings
    layer.take_sequence()
    if below := flow.masked or flow.recurrent:
        raise ValueError(f"masks rows above {shown(below)}, which is not run here")
    value, dtype = settings.number("mask_value", 0), settings.dtypes[0].removeprefix("mixed_")
    if settings.version >= (3,) and _cut(value, dtype) != value:
        raise ValueError(f"mask_value {value} is no number of {dtype}, so that Keras masks nothing")
    return [partial(ours.Masking, value)], flow._replace(masked=layer.name)


def _cut(value: float, dtype: str) -> float:
    """Round a number to a type of few digits."""
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return float(np.float16(value))
    if dtype == "bfloat16":
        return float((np.float32(value).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32))
    return value


def _activation(layer: Layer) -> Made:
    return [partial(ours.Pointwise, layer.settings.row_activation())], layer.flow


def _pointwise(layer: Layer) -> Made:
    if layer.kind == "Softmax" and layer.flow.masked:
        raise ValueError(f"Softmax of rows that {shown(layer.flow.masked)} masks is not run here")
    text = name_function(layer.kind, layer.settings, layer.flow.axes)
    return [partial(ours.Pointwise, ours.row_activation(text))], layer.flow


def _batch_normalization(layer: Layer) -> Made:
    settings = layer.settings
    settings.last_axis(layer.flow.axes)
    settings.off("renorm", "mode")
    roles = [*_learned_roles(settings), "center", "scale"]
    arrays = layer.read(len(roles))
    name = list(arrays)[-1]
    arrays[name] = _deviation(arrays[name], settings.number("epsilon", 1e-3))
    return layer.stateless("normalization", arrays, *roles)


def _layer_normalization(layer: Layer) -> Made:
    settings = layer.settings
    settings.last_axis(layer.flow.axes)
    settings.off("rms_scaling")
    roles, epsilon = _learned_roles(settings), settings.number("epsilon", 1e-3)
    arrays, more = layer.read(len(roles)), {}
    if "factor" not in roles:
        like = [array.shape for array in arrays.values()]
        more["factor"] = np.ones(like[0] if like else _features(layer), np.float32)
    return layer.stateless("layer_normalization", arrays, *roles, epsilon=epsilon, **more)


def _learned_roles(settings: Settings) -> list[str]:
    """Return the roles of gamma and beta, as far as the layer has them."""
    roles = {"scale": "factor", "center": "shift"}
    return [role for name, role in roles.items() if settings.truth(name, True)]


def _normalization(layer: Layer) -> Made:
    settings = layer.settings
    layer.keep_mask()
    if settings.get("axis", -1) not in (None, []):
        settings.last_axis(layer.flow.axes)
    settings.off("invert")
    if settings.get("mean") is None:
        arrays = layer.read(2)
    else:
        arrays = {name: settings.numbers(name) for name in ("mean", "variance")}
    mean, variance = (
        np.broadcast_to(array, _features(layer)) if array.shape in ((), (1,)) else array
        for array in arrays.values()
    )
    scale = np.maximum(_deviation(variance, 0), _LEAST_SCALE)
    arrays = dict(zip(arrays, (mean, scale), strict=True))
    return layer.stateless("normalization", arrays, "center", "scale")


def _deviation(variance: NDArray[Any], epsilon: float) -> NDArray[np.float64]:
    """Return ``sqrt(variance + epsilon)``."""
    with np.errstate(invalid="ignore"):  # of a negative variance, which is not finite then
        return np.sqrt(variance.astype(np.float64) + epsilon)


def _rescaling(layer: Layer) -> Made:
    layer.keep_mask()
    scale, offset = layer.settings.numbers("scale"), layer.settings.numbers("offset", 0.0)
    if scale.size == offset.size == 1:
        text = f"affine:{scale.item()!r},{offset.item()!r}"
        return [partial(ours.Pointwise, ours.row_activation(text))], layer.flow
    size = max(scale.size, offset.size)
    if not {scale.size, offset.size} <= {1, size}:
        raise ValueError(f"has {scale.size} scales and {offset.size} offsets")
    zeros, ones = np.zeros(size, np.float32), np.ones(size, np.float32)
    more = {"factor": np.broadcast_to(scale, size), "shift": np.broadcast_to(offset, size)}
    return layer.stateless("normalization", {}, center=zeros, scale=ones, **more)


def _features(layer: Layer) -> int:
    if not layer.flow.features:
        raise ValueError("the file does not say how many features it takes")
    return layer.flow.features


MAKERS: dict[str, Callable[[Layer], Made]] = {
    **dict.fromkeys((*CELL_OF, "RNN"), _recurrent),
    "Bidirectional": _bidirectional,
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
# Layers that take each row by itself.
_ROWWISE = MAKERS.keys() - {*CELL_OF, "RNN", "Bidirectional", "Embedding", "Masking"}
MAKERS["TimeDistributed"] = _time_distributed
