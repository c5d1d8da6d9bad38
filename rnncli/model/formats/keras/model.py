"""A Keras model by its config: its layers, each after the layers whose outputs it takes."""

from collections.abc import Sequence
from typing import Any

from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.contents import Component, Contents
from rnncli.model.formats.keras.calls import MODELS, Call, check, read_calls, read_entry, read_names
from rnncli.model.formats.keras.layers import LAYERS, MERGES, WAITING, Flow, Layer, Layers
from rnncli.model.formats.keras.weights import Group, KerasFile
from rnncli.model.graph.node_layers import Operand, RowGraph, SequenceGraph
from rnncli.model.layers import Stateless

# Layers at which a mask ends before Keras 3.
_MASK_ENDS = ("Identity", "Normalization", "Rescaling")
# Layers of a model, and characters before the name of one.
_MOST, _LONGEST = 2000, 500
# Errors that a setting of another type than Keras writes leads to.
_OTHER_TYPES = (TypeError, LookupError, AttributeError, OverflowError)
_NOTHING, _WAITS = "does nothing at inference", "is run with the layers above"


def find(file: KerasFile) -> Contents:
    """Find the layers of a model that the file describes."""
    walk = _Walk(file)
    kind, config = str(file.config.get("class_name")), file.config.get("config")
    try:
        check(kind in MODELS, f"{shown(kind)} is a class of the model's own")
        flow = walk.add_model(kind, config, "", file.group, Flow())
    except (ValueError, RecursionError, *_OTHER_TYPES) as error:
        raise InputError(file.path, str(error)) from error
    if flow.waiting:
        why = "gives another number of steps than the input has, which is not run here"
        walk.components.append(Component("output", "", why=why, needed=True))
    order = "from the last step to the first, here they stand as the input does"
    notes = [f"Keras gives the rows {order}"] * flow.reversed
    last = flow.last if flow.recurrent and flow.axes == 2 else None
    return Contents(walk.components, file.title, last=last, notes=notes)


class _Walk:
    """A walk along the layers of a model, with their components."""

    def __init__(self, file: KerasFile) -> None:
        self._file = file
        self.components: list[Component] = []
        self._number = 0  # of the layer on top
        self._front: dict[SequenceGraph, int] = {}  # numbers of layers that give fewer rows
        self._masking = ""  # the layer that masks rows

    def add_model(self, kind: str, config: Any, prefix: str, group: Group, flow: Flow) -> Flow:
        """Add the layers of a model; return what the last one gives."""
        layers = read_names(config)
        fits = len(self.components) + len(layers) <= _MOST and len(prefix) <= _LONGEST
        check(fits, f"has over {_MOST:,} layers, or models too deep in models")
        classes = {name: str(each.get("class_name")) for name, each in layers.items()}
        groups = dict(zip(layers, group.children(classes), strict=True))
        calls, problem = read_calls(kind, config, layers)
        if problem:  # each layer can still be run by itself
            name, flow = prefix.rstrip("/") or "model", flow._replace(number=self._number)
            self.components.append(Component(name, kind, why=problem, needed=True))
        gives: dict[str, Flow] = {}
        for call in calls:
            flows = [gives.get(name, flow) for name in call.inputs] or [flow]
            name, inner = prefix + call.name, groups[call.name]
            try:
                gives[call.name] = self._add_call(name, call, inner, flows)
            except (ValueError, *_OTHER_TYPES) as error:
                arrays = {path: self._file.arrays[path] for path in inner.paths.values()}
                kind = shown(classes[call.name])
                self.components.append(Component(name, kind, arrays, why=str(error), needed=True))
                gives[call.name] = flows[0]._replace(waiting=None)
        return gives[calls[-1].name] if calls else flow

    def _add_call(self, name: str, call: Call, group: Group, flows: Sequence[Flow]) -> Flow:
        """Add the component of a layer as the model calls it; return the rows that it gives."""
        kind, config = read_entry(call.entry)
        make = LAYERS.get(kind, (None,))[0]
        check(make or kind in MODELS, f"{shown(kind)} is not run here")
        check(not call.problem, call.problem)
        check(len(flows) == 1 or kind in MERGES, f"takes {listed(call.inputs)}, and not one layer")
        mask = call.mask and name.removesuffix(call.name) + call.mask
        check(mask in ("", flows[0].masked), f"takes the mask {shown(mask)}, which is not run here")
        flows = [self._add_front(flow, waits=make in WAITING) for flow in flows]
        why = "takes what lies below a layer that gives fewer rows, which is not run here"
        check(all(flow.number >= max(self._front.values(), default=0) for flow in flows), why)
        if make is None:
            return self.add_model(kind, config, f"{name}/", group, flows[0])
        layer = Layer(name, call.entry, self._file, group, *flows)
        ends = flows[0].masked and kind in _MASK_ENDS and self._file.version < (3,)
        check(not ends, f"the mask of {shown(flows[0].masked)} ends here in Keras 2")
        return self._add_layers(layer, make(layer))

    def _add_front(self, flow: Flow, *, waits: bool) -> Flow:
        """Put a waiting layer below all others, unless the layer that takes its rows waits too."""
        waiting = flow.waiting
        if waiting is None or (waits and waiting not in self._front):
            return flow
        if waiting not in self._front:
            below = (layer for each in self.components for layer in each.layers)
            branches = any(isinstance(layer, RowGraph) for layer in below)
            fits = not (flow.recurrent or branches) and flow.number == self._number
            check(fits, "takes another number of steps than the input has, which is not run here")
            at = max(n for n, each in enumerate(self.components) if each.why == _WAITS)
            self.components[at] = self.components[at]._replace(layers=[waiting], why="")
            waiting.shortens = True
            self._number += 1
            self._front[waiting] = self._number
        return flow._replace(waiting=None, number=self._front[waiting])

    def _add_layers(self, layer: Layer, layers: Layers) -> Flow:
        """Add the layers of a network that one of Keras becomes; return the rows that it gives."""
        below, paths = layer.flows[0], layer.group.paths.values()
        left = {path: self._file.arrays[path] for path in paths if path not in layer.used}
        counters = all(not (a.shape or a.dtype.kind == "f") for a in left.values())
        check(counters, f"has arrays that are not known here: {listed(sorted(left))}")
        self._masking = layer.flow.masked or self._masking
        unmasked = layer.flow.recurrent == layer.name and self._masking and not below.masked
        check(not unmasked, f"takes rows without the mask of {shown(self._masking)}")
        bottom = max(self._front.values(), default=0)
        # The bottom layer takes its input as it is.
        skips = self._number == bottom if layer.kind in MERGES else below.number != self._number
        if layers and skips:
            size = below.waiting.input_size if below.waiting else below.features
            identity = RowGraph({}, {0: size}, Operand(0), size)
            identity.sources = (below.number,)
            self.components.append(Component("", "Identity", layers=[identity]))
            self._number += 1
        if layers and isinstance(layers[0], Stateless):
            layer.give(features=layers[0].output_size)
        why = _WAITS if layer.flow.waiting is not below.waiting else _NOTHING
        component = Component(layer.name, layer.kind, layer.used, layers, reversed=below.reversed)
        self.components.append(component if layers else component._replace(why=why))
        self._number += len(layers)
        return layer.flow._replace(number=self._number) if layers else layer.flow
