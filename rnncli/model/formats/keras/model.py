"""A Keras model by its config: its layers, in their order."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.model.formats.found import NOTHING, Found, Part, input_size
from rnncli.model.formats.keras import pieces
from rnncli.model.formats.keras.calls import MODELS, Call, layers_of, name_of, order_calls
from rnncli.model.formats.keras.layers import MAKERS, Flow, Layer, make
from rnncli.model.formats.keras.pieces import MERGES, merge, pass_on
from rnncli.model.formats.keras.settings import Settings, read_class
from rnncli.model.formats.keras.weights import Group, Stored, root_group

_MAKERS = {**MAKERS, **pieces.MAKERS}
# Types in which a model computes numbers that differ by more than float32 rounds.
_COARSE = re.compile(r".*float(16|8.*)")
# Since this version masked rows are given as they are here.
_MASKED_SINCE = (2, 4)
# Models within models, and layers in all of them.
_DEEPEST = 8
_MOST = 2000
# Features that a config may tell of.
_WIDEST = 2**20


def find(stored: Stored) -> Found:
    """Find the layers of a model that the file describes."""
    walk = _Walk(stored)
    kind, config = str(stored.config.get("class_name")), stored.config.get("config")
    try:
        flow = walk.along(kind, config, "", root_group(stored), Flow())
    except ValueError as error:
        raise InputError(stored.path, str(error)) from error
    if flow.waiting:
        why = "gives another number of steps than the input has, which is not run here"
        walk.parts.append(Part("output", "", why=why, needed=True))
    notes = [
        f"{verbatim(listed(layers))}: computed in float32, Keras does in {shown(dtype)}"
        for dtype, layers in walk.coarse.items()
    ]
    if flow.reversed:
        order = "from the last step to the first, here they stand as the input does"
        notes.append(f"Keras gives the rows {order}")
    if flow.masked and stored.version < _MASKED_SINCE:
        since = ".".join(map(str, _MASKED_SINCE))
        notes.append(
            f"gives at rows that {verbatim(shown(flow.masked))} masks what Keras does since {since}"
        )
    last = flow.last if flow.recurrent and flow.axes == 2 else None
    return Found(walk.parts, f"Keras {stored.written_by}".rstrip(), last=last, notes=notes)


class _Walk:
    """A walk along the layers of a model, with what is found on the way."""

    def __init__(self, stored: Stored) -> None:
        self._version, self._arrays = stored.version, stored.arrays
        self.parts: list[Part] = []
        self._number = 0  # of the layer on top
        self._masking = ""  # the layer that masks rows
        self.coarse: dict[str, list[str]] = {}

    def along(self, kind: str, config: Any, prefix: str, group: Group, flow: Flow) -> Flow:
        """Walk along the layers of a model; return what the last one gives."""
        if prefix.count("/") > _DEEPEST:
            raise ValueError(f"has models within models, over {_DEEPEST} deep")
        layers = layers_of(config)
        if len(self.parts) + len(layers) > _MOST:
            raise ValueError(f"has over {_MOST:,} layers")
        classes = [(name, str(each.get("class_name"))) for name, each in layers.items()]
        groups = dict(zip(layers, group.children(classes), strict=True))
        calls, problem = order_calls(kind, config)
        if problem:
            name = prefix.rstrip("/") or name_of({"config": config}, "model")
            self.parts.append(Part(name, kind, why=problem, needed=True))
        gives: dict[str, Flow] = {}
        for call in calls:
            alone = Flow(number=self._number) if problem else flow
            flows = [gives[name] for name, _ in call.inputs] or [alone]
            within = groups[call.name]
            try:
                gives[call.name] = self._through(call, prefix, within, flows)
            except ValueError as error:
                why = str(error).removeprefix(": ")
                arrays = {path: self._arrays[path] for path in within.paths.values()}
                name, kind = prefix + call.name, _kind(call.entry)
                self.parts.append(Part(name, kind, arrays, why=why, needed=True))
                gives[call.name] = flows[0]._replace(waiting=None)
        return gives[calls[-1].name] if calls else flow

    def _through(self, call: Call, prefix: str, group: Group, flows: Sequence[Flow]) -> Flow:
        """Walk through one layer; return what it gives."""
        name, entry, mask = prefix + call.name, call.entry, call.mask and prefix + call.mask
        kind, settings = read_class(name, entry, self._version)
        if call.problem and kind in (*MODELS, *MERGES, *_MAKERS):
            raise ValueError(call.problem)
        if kind in MERGES:
            return self._merge(name, kind, settings, flows)
        if len(flows) > 1:
            inputs = listed(each for each, _ in call.inputs)
            raise ValueError(f"takes {inputs}, and not one layer's only output")
        if mask not in ("", flows[0].masked):
            raise ValueError(f"takes the mask {shown(mask)}, which is not run here")
        if kind in MODELS:
            return self.along(kind, entry["config"], f"{name}/", group, flows[0])
        layer = Layer(name, kind, settings, group, _add_shape(flows[0], entry), [])
        if kind == "TimeDistributed":
            layer.take_sequence()
            inner = layer.within("layer", "layer")
            if inner.kind in MODELS:
                return self._each_row(layer, inner)
        return self._one(layer, entry)

    def _merge(self, name: str, kind: str, settings: Settings, flows: Sequence[Flow]) -> Flow:
        """Add a layer that merges what others give; return what it gives."""
        layers, above = merge(kind, settings, flows)
        if not self._number:  # the bottom layer takes the input as it is
            self._pass_on(flows[0], None)
        return self._add(Part(name, kind, layers=layers), above)

    def _each_row(self, layer: Layer, inner: Layer) -> Flow:
        """Walk through a model that takes each row."""
        layer.settings.check_rest()
        config, below = layer.settings.get("layer")["config"], layer.flow._replace(axes=2)
        above = self.along(inner.kind, config, f"{layer.name}/", inner.group, below)
        if above.axes != 2:
            raise ValueError("TimeDistributed of an embedding is not run here")
        return above._replace(axes=3)

    def _one(self, layer: Layer, entry: Mapping[str, Any]) -> Flow:
        """Add a layer; return what it gives."""
        layers, above = make(layer, _MAKERS)
        left = {path: self._arrays[path] for path in {*layer.group.paths.values()} - {*layer.used}}
        if any(array.shape or array.dtype.kind == "f" for array in left.values()):  # no counter
            raise ValueError(f"has arrays that are not known here: {listed(sorted(left))}")
        self._masking = above.masked or self._masking
        if above.recurrent == layer.name and self._masking and not layer.flow.masked:
            what = f"takes rows without the mask of {shown(self._masking)} beside others with it"
            raise ValueError(f"{what}, which is not run here")
        for dtype in filter(_COARSE.fullmatch, dict.fromkeys(layer.settings.dtypes)):
            self.coarse.setdefault(dtype, []).append(layer.name)
        if layers and layer.flow.waiting and layer.kind not in pieces.MAKERS:
            raise ValueError("takes another number of steps than the input has, not run here")
        if layers and layer.flow.number != self._number:
            self._pass_on(layer.flow, input_size(layers[0]))
        arrays, why = {path: self._arrays[path] for path in layer.used}, "" if layers else NOTHING
        if above.waiting is not layer.flow.waiting and not layers:
            why = "is run with what makes one row of its steps"
        part = Part(layer.name, _kind(entry), arrays, layers, why, turned=layer.flow.reversed)
        return self._add(part, above)

    def _pass_on(self, flow: Flow, size: int | None) -> None:
        """Add a layer that passes on what goes into the next one."""
        piece = pass_on(flow.number, size or flow.features)
        self._add(Part("", "Identity", layers=[piece]), flow)

    def _add(self, part: Part, flow: Flow) -> Flow:
        """Add a part, which gives such rows."""
        self.parts.append(part)
        self._number += len(part.layers)
        return flow._replace(number=self._number) if part.layers else flow


def _kind(found: Mapping[str, Any]) -> str:
    """Return the class of a layer, and that of the layer in it: ``Bidirectional(LSTM)``."""
    kind, config = shown(str(found.get("class_name"))), found.get("config")
    for key in ("layer", "cell"):
        inner = config.get(key) if isinstance(config, dict) else None
        if isinstance(inner, dict) and inner.get("class_name"):
            return f"{kind}({shown(str(inner['class_name']))})"
    return kind


def _add_shape(flow: Flow, found: Mapping[str, Any]) -> Flow:
    """Complete what goes into a layer by what the config says of its shape."""
    for about, key in (
        (found.get("build_config"), "input_shape"),
        (found.get("config"), "batch_shape"),
        (found.get("config"), "batch_input_shape"),
    ):
        shape = about.get(key) if isinstance(about, dict) else None
        if isinstance(shape, list) and len(shape) in (2, 3):
            axes = flow.axes if flow.recurrent else len(shape)
            known = type(shape[-1]) is int and 0 < shape[-1] < _WIDEST
            return flow._replace(axes=axes, features=shape[-1] if known else 0)
    return flow
