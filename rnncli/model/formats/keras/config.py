"""A Keras model by its config: its layers, in their order."""

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.model.formats.keras import recurrent, rows
from rnncli.model.formats.keras.chain import MODELS, Node, chain_of, name_of
from rnncli.model.formats.keras.layers import Flow, Layer, Made, Maker
from rnncli.model.formats.keras.places import Arrays, Place, Stored, root_of, version_of
from rnncli.model.formats.keras.settings import described
from rnncli.model.formats.parts import NOTHING, Model, Part

# Types in which a model computes numbers that differ by more than float32 rounds.
_COARSE = re.compile(r".*float(16|8.*)")
# Since this version masked rows are given as they are here.
_MASKED_SINCE = (2, 4)
# Models within models, and layers in all of them.
_DEEPEST = 8
_MOST = 2000


def find(stored: Stored, layer: str | None) -> Model:
    """Find the layers of a model that the file describes, or one of them."""
    model = _model(stored, None)
    if layer is None:
        return model
    picked = model.picked(layer)
    return _model(stored, {part.name for part in picked.parts})._replace(last=picked.last)


class _Walk(NamedTuple):
    """What is found on the way along the layers; `names` are those that count, None for all."""

    arrays: Arrays
    version: tuple[int, ...]
    names: Collection[str] | None
    parts: list[Part]
    coarse: dict[str, list[str]]

    def counts(self, name: str) -> bool:
        return self.names is None or name in self.names

    def refuse(self, part: Part) -> None:
        if self.counts(part.name):
            self.parts.append(part)


def _model(stored: Stored, names: Collection[str] | None) -> Model:
    walk = _Walk(Arrays(stored.tensors), version_of(stored), names, [], {})
    config = stored.config or {}
    place = root_of(stored)
    try:
        flow = _along(walk, str(config.get("class_name")), config.get("config"), "", place, Flow())
    except InputError as error:
        raise InputError(stored.tensors.path, error.what, error.hint) from error
    notes = [
        f"{verbatim(listed(layers))}: computed in float32, Keras does in {shown(dtype)}"
        for dtype, layers in walk.coarse.items()
    ]
    if flow.reversed:
        order = "from the last step to the first, here they stand as the input does"
        notes.append(f"Keras gives the rows {order}")
    if flow.masked and walk.version < _MASKED_SINCE:
        since = ".".join(map(str, _MASKED_SINCE))
        masking = verbatim(shown(flow.masked))
        notes.append(f"gives at rows that {masking} masks what Keras does since {since}")
    return Model(
        walk.arrays.tensors(),
        walk.parts,
        f"Keras {stored.version}".rstrip(),
        last="state" if flow.recurrent and flow.axes == 2 else None,
        notes=notes,
    )


def _along(walk: _Walk, kind: str, config: Any, prefix: str, place: Place, flow: Flow) -> Flow:
    """Walk along the layers of a model; return what the last one gives."""
    if prefix.count("/") > _DEEPEST:
        raise InputError("", f"has models within models, over {_DEEPEST} deep")
    chain = chain_of(kind, config)
    if len(walk.parts) + len(chain.layers) > _MOST:
        raise InputError("", f"has over {_MOST:,} layers")
    if chain.problem:
        name = prefix.rstrip("/") or name_of({"config": config}, "model")
        walk.refuse(Part(name, kind, why=chain.problem, needed=True))
    places = {
        name: each
        for (name, _), each in zip(chain.layers, place.children(chain.layers), strict=True)
    }
    for node in chain.nodes:
        if chain.problem:
            flow = Flow()
        name = prefix + node.name
        try:
            flow = _through(walk, node, prefix, places[node.name], flow)
        except InputError as error:
            held, kind = places[node.name].held(), _kind(node.found)
            walk.refuse(Part(name, kind, held, why=error.what, hint=error.hint, needed=True))
    return flow


def _through(walk: _Walk, node: Node, prefix: str, place: Place, flow: Flow) -> Flow:
    """Walk through one layer; return what it gives."""
    name = prefix + node.name
    kind, settings = described(name, node.found, walk.version)
    if node.problem and kind in (*MODELS, *_MAKERS):
        raise InputError("", node.problem)
    mask = node.mask and prefix + node.mask
    if mask not in ("", flow.masked) and walk.counts(mask):
        raise InputError("", f"takes the mask {shown(mask)}, which is not run here")
    if kind in MODELS:
        return _along(walk, kind, node.found.get("config"), f"{name}/", place, flow)
    layer = Layer(name, kind, settings, place, walk.arrays, _shaped(flow, node.found))
    if kind == "TimeDistributed" and settings.inner("layer")[0] in MODELS:
        return _each_row(walk, layer, node.found["config"]["layer"])
    return _one(walk, layer, node.found) if walk.counts(name) else flow


def _each_row(walk: _Walk, layer: Layer, found: Mapping[str, Any]) -> Flow:
    """Walk through a model that takes each row."""
    layer.take_sequence()
    layer.settings.check_rest()
    below, place = layer.flow._replace(axes=2), layer.place.inside("layer")
    above = _along(walk, found["class_name"], found["config"], f"{layer.name}/", place, below)
    if above.axes != 2:
        raise InputError("", "TimeDistributed of an embedding is not run here")
    return above._replace(axes=3)


def _one(walk: _Walk, layer: Layer, found: Mapping[str, Any]) -> Flow:
    """Add what a layer is here."""
    specs, above = _make(layer)
    if left := layer.place.left():
        raise InputError("", f"has arrays that are not known here: {listed(left)}")
    stored = walk.arrays.stored([name for spec in specs for name in spec.names])
    walk.parts.append(Part(layer.name, _kind(found), stored, specs, "" if specs else NOTHING))
    for dtype in filter(_COARSE.fullmatch, dict.fromkeys(layer.settings.dtypes)):
        walk.coarse.setdefault(dtype, []).append(layer.name)
    return above


def _make(layer: Layer) -> Made:
    """Return what a layer is here; raise InputError, which says why, where it cannot be run."""
    if layer.kind not in _MAKERS:
        raise InputError("", f"{shown(layer.kind)} is not run here")
    specs, flow = _MAKERS[layer.kind](layer)
    layer.settings.check_rest()
    return specs, flow


def _time_distributed(layer: Layer) -> Made:
    """Return the layer without state that takes each row."""
    layer.take_sequence()
    inner = layer.within("layer", "layer")
    if inner.kind not in rows.MAKERS or inner.kind in ("Embedding", "Masking"):
        raise InputError("", f"TimeDistributed of {shown(inner.kind)} is not run here")
    specs, flow = _make(inner._replace(flow=layer.flow._replace(axes=2)))
    return specs, flow._replace(axes=3)


def _kind(found: Mapping[str, Any]) -> str:
    """Return the class of a layer, and that of the layer in it: ``Bidirectional(LSTM)``."""
    kind, config = shown(str(found.get("class_name"))), found.get("config")
    for key in ("layer", "cell"):
        inner = config.get(key) if isinstance(config, dict) else None
        if isinstance(inner, dict) and inner.get("class_name"):
            return f"{kind}({shown(str(inner['class_name']))})"
    return kind


def _shaped(flow: Flow, found: Mapping[str, Any]) -> Flow:
    """Complete what goes into a layer by what the config says of its shape."""
    shapes = [found.get("build_config"), found.get("config")]
    for about, key in (
        (shapes[0], "input_shape"),
        (shapes[1], "batch_shape"),
        (shapes[1], "batch_input_shape"),
    ):
        shape = about.get(key) if isinstance(about, dict) else None
        if isinstance(shape, list) and len(shape) in (2, 3):
            size = shape[-1]
            axes = flow.axes if flow.recurrent else len(shape)
            return flow._replace(axes=axes, features=size if type(size) is int else 0)
    return flow


# What each class of layers is here.
_MAKERS: dict[str, Maker] = {
    **recurrent.MAKERS,
    **rows.MAKERS,
    "TimeDistributed": _time_distributed,
}
