"""A Keras model by its config: its layers, each behind those whose outputs it takes."""

from collections.abc import Sequence
from typing import Any

from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.found import Found, Part
from rnncli.model.formats.keras.calls import MODELS, Call, name_layers, read_calls
from rnncli.model.formats.keras.layers import (
    LAYERS,
    MERGES,
    WAITING,
    Flow,
    Layer,
    check,
    read_entry,
)
from rnncli.model.formats.keras.weights import Group, Stored
from rnncli.model.graph.piece import Piece, Whole
from rnncli.model.graph.rows import Operand
from rnncli.model.layers import Stateless

# Layers at which a mask ends before Keras 3.
_MASK_ENDS = ("Identity", "Normalization", "Rescaling")
# Layers of a model, and characters before the name of one.
_MOST, _LONGEST = 2000, 500
# What a setting of another type than Keras writes leads to.
_OTHER_TYPES = (TypeError, LookupError, AttributeError, OverflowError)
NOTHING, WAITS = "does nothing at inference", "is run with the layers above"
_DAMAGED = "has settings of other types than Keras writes"


def find(stored: Stored) -> Found:
    """Find the layers of a model that the file describes."""
    walk = _Walk(stored)
    kind, config = str(stored.config.get("class_name")), stored.config.get("config")
    try:
        flow = walk.add_model(kind, config, "", stored.group, Flow())
    except (ValueError, RecursionError) as error:
        raise InputError(stored.path, str(error)) from error
    if flow.waiting:
        why = "gives another number of steps than the input has, which is not run here"
        walk.parts.append(Part("output", "", why=why, needed=True))
    order = "from the last step to the first, here they stand as the input does"
    notes = [f"Keras gives the rows {order}"] * flow.reversed
    last = flow.last if flow.recurrent and flow.axes == 2 else None
    return Found(walk.parts, stored.title, last=last, notes=notes)


class _Walk:
    """A walk along the layers of a model, with the parts that it has found."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self.parts: list[Part] = []
        self._number = 0  # of the layer on top
        self._front = 0  # of the top layer that gives fewer rows than it takes
        self._shortened: Whole | None = None  # that layer
        self._masking = ""  # the layer that masks rows

    def add_model(self, kind: str, config: Any, prefix: str, group: Group, flow: Flow) -> Flow:
        """Add the layers of a model; return what the last one gives."""
        layers = name_layers(config)
        if len(self.parts) + len(layers) > _MOST or len(prefix) > _LONGEST:
            raise ValueError(f"has over {_MOST:,} layers, or models too deep in models")
        classes = {name: str(each.get("class_name")) for name, each in layers.items()}
        groups = dict(zip(layers, group.children(classes), strict=True))
        calls, problem = read_calls(kind, config, layers)
        if problem:  # each layer can still be run by itself
            name, flow = prefix.rstrip("/") or "model", flow._replace(number=self._number)
            self.parts.append(Part(name, kind, why=problem, needed=True))
        gives: dict[str, Flow] = {}
        for call in calls:
            flows = [gives.get(name, flow) for name in call.inputs] or [flow]
            name, own = prefix + call.name, groups[call.name]
            try:
                gives[call.name] = self._add_call(name, call, own, flows)
            except (ValueError, *_OTHER_TYPES) as error:
                why = str(error) if isinstance(error, ValueError) else _DAMAGED
                arrays = {path: self._stored.arrays[path] for path in own.paths.values()}
                kind = shown(classes[call.name])
                self.parts.append(Part(name, kind, arrays, why=why, needed=True))
                gives[call.name] = flows[0]._replace(waiting=None)
        return gives[calls[-1].name] if calls else flow

    def _add_call(self, name: str, call: Call, group: Group, flows: Sequence[Flow]) -> Flow:
        """Add what a layer is, in its place in the model; return what it gives."""
        mask = call.mask and name.removesuffix(call.name) + call.mask
        kind, config = read_entry(name, call.entry)
        check(kind in (*MODELS, *LAYERS), f"{shown(kind)} is not run here")
        check(not call.problem, call.problem)
        one = len(flows) == 1 or kind in MERGES
        check(one, f"takes {listed(call.inputs)}, and not one layer's only output")
        fits = mask in ("", flows[0].masked)
        check(fits, f"takes the mask {shown(mask)}, which is not run here")
        waits = LAYERS.get(kind, (None,))[0] in WAITING
        flows = [self._add_front(flow, waits=waits) for flow in flows]
        why = "takes what lies below a layer that gives fewer rows, which is not run here"
        check(all(flow.number >= self._front for flow in flows), why)
        if kind in MODELS:
            return self.add_model(kind, config, f"{name}/", group, flows[0])
        layer = Layer(name, call.entry, self._stored, group, *flows)
        if kind != "TimeDistributed":
            return self._add_layer(layer, kind)
        layer.check_sequence()
        layer.give(axes=2)
        inner = layer.within("layer", layer.settings.layer)
        above = self._add_layer(inner, f"{kind}({inner.kind})")
        check(above.axes == 2, "TimeDistributed of an embedding is not run here")
        return above._replace(axes=3)

    def _add_front(self, flow: Flow, *, waits: bool) -> Flow:
        """Add what gives fewer rows than it takes, unless it is there or what takes it waits."""
        if flow.waiting and flow.waiting is self._shortened:
            return flow._replace(waiting=None, number=self._front)
        if waits or flow.waiting is None:
            return flow
        below = [layer for part in self.parts for layer in part.layers]
        branches = any(isinstance(layer, Stateless) and layer.sources for layer in below)
        fits = not (flow.recurrent or branches) and flow.number == self._number
        check(fits, "takes another number of steps than the input has, which is not run here")
        at = max(n for n, part in enumerate(self.parts) if part.why == WAITS)
        flow.waiting.shortens = True
        self.parts[at] = self.parts[at]._replace(layers=[flow.waiting], why="")
        self._number = self._front = self._number + 1
        self._shortened = flow.waiting
        return flow._replace(waiting=None, number=self._number)

    def _add_layer(self, layer: Layer, title: str) -> Flow:
        """Add a layer, which may be in another one; return what it gives."""
        below, make = layer.flow, LAYERS[layer.kind][0]
        if make is None:
            raise ValueError(f"{shown(layer.kind)} is not run here")
        ends = below.masked and layer.kind in _MASK_ENDS and self._stored.old
        check(not ends, f"the mask of {shown(below.masked)} ends here in Keras 2")
        layers = make(layer)
        left = {*layer.group.paths.values()} - {*layer.used}
        arrays = {path: self._stored.arrays[path] for path in left}
        counters = all(not (a.shape or a.dtype.kind == "f") for a in arrays.values())
        check(counters, f"has arrays that are not known here: {listed(sorted(left))}")
        self._masking = layer.flow.masked or self._masking
        unmasked = layer.flow.recurrent == layer.name and self._masking and not below.masked
        check(not unmasked, f"takes rows without the mask of {shown(self._masking)}")
        waits = layer.flow.waiting is not below.waiting
        first = layers[0] if layers else None
        # The bottom layer takes its input as it is.
        skips = (
            self._number == self._front if layer.kind in MERGES else below.number != self._number
        )
        if first and skips:
            size = below.waiting.input_size if below.waiting else below.features
            identity = Piece({}, {0: size}, Operand(0), size)
            identity.sources = (below.number,)
            self.parts.append(Part("", "Identity", layers=[identity]))
            self._number += 1
        if isinstance(first, Stateless):
            layer.give(features=first.output_size)
        why = WAITS if waits else NOTHING
        arrays = {path: self._stored.arrays[path] for path in layer.used}
        why, turned = "" if layers else why, below.reversed
        self.parts.append(Part(layer.name, title, arrays, layers, why, turned=turned))
        self._number += len(layers)
        return layer.flow._replace(number=self._number) if layers else layer.flow
