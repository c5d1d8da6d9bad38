"""A Keras model by its config: its layers, each after the layers whose outputs it takes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.model.formats.contents import Component, Contents
from rnncli.model.formats.keras.layers import (
    LAYERS,
    MERGES,
    WAITING,
    Config,
    Flow,
    Layer,
    Layers,
    check,
    read_entry,
)
from rnncli.model.formats.keras.weights import Group, KerasFile
from rnncli.model.graph.node_layers import Operand, RowGraph, SequenceGraph
from rnncli.model.layers import Stateless

# Classes of models. A class of the user's own may compute anything.
_MODELS = ("Sequential", "Functional", "Model")
# Classes of the operations by which Keras 3 writes a mask out: ``Any(NotEqual(x, value))``, or
# NotEqual alone.
_MASK_CLASSES = ("NotEqual", "Any")
# Layers at which a mask ends before Keras 3.
_MASK_ENDS = ("Identity", "Normalization", "Rescaling")
# Layers of a model, and characters before the name of one.
_MOST, _LONGEST = 2000, 500
# Errors that a setting of another type than Keras writes leads to.
_OTHER_TYPES = (TypeError, LookupError, AttributeError, OverflowError)
_NOTHING, _WAITS = "does nothing at inference", "is run with the layers above"


class _Call(NamedTuple):
    """How the model calls a layer."""

    inputs: Sequence[str]  # names of layers
    extra: Sequence[Any] = ()  # constants, and names of other arguments
    mask: str = ""  # the layer that masks rows, where the config names one


def find(file: KerasFile) -> Contents:
    """Find the layers of a model that the file describes."""
    walk = _Walk(file)
    kind, config = str(file.config.get("class_name")), file.config.get("config")
    try:
        check(kind in _MODELS, f"{shown(kind)} is a class of the model's own")
        flow = walk.add_model(kind, config, "", file.group, Flow())
    except (ValueError, RecursionError, *_OTHER_TYPES) as error:
        raise InputError(file.path, str(error)) from error
    if flow.waiting:
        why = "gives another number of steps than the input has, which is not run here"
        walk.components.append(Component("output", "", why=why, needed=True))
    order = "from the last step to the first, here they stand as the input does"
    notes = [*walk.notes, *[f"Keras gives the rows {order}"] * flow.reversed]
    last = flow.last if flow.recurrent and flow.axes == 2 else None
    return Contents(walk.components, file.title, last=last, notes=notes, unused=walk.unused)


class _Model(NamedTuple):
    """A model, with what its layers give and how they are called, by name."""

    prefix: str  # of the names of its layers
    is_chain: bool  # whether each layer takes the output of the one before
    layers: Mapping[str, Config]
    groups: Mapping[str, Group]
    flow: Flow  # what it takes
    gives: dict[str, Flow]
    calls: dict[str, _Call]
    masks: dict[str, _Call]  # operations that write a mask out

    def writes_mask(self, name: str) -> bool:
        """Return whether a layer is an operation that writes a mask out."""
        return not self.is_chain and str(self.layers[name].get("class_name")) in _MASK_CLASSES


class _Walk:
    """A walk along the layers of a model, with their components."""

    def __init__(self, file: KerasFile) -> None:
        self._file = file
        self.components: list[Component] = []
        self.unused: list[Component] = []  # not on the way to the output
        self.notes: list[str] = []
        self._number = 0  # of the layer on top
        self._front: dict[SequenceGraph, int] = {}  # numbers of layers that give fewer rows
        self._masking = ""  # the layer that masks rows

    def add_model(self, kind: str, config: Any, prefix: str, group: Group, flow: Flow) -> Flow:
        """Add the layers of a model; return what the one that has its output gives."""
        layers = _read_layers(config)
        fits = len(self.components) + len(layers) <= _MOST and len(prefix) <= _LONGEST
        check(fits, f"has over {_MOST:,} layers, or models too deep in models")
        classes = {name: str(each.get("class_name")) for name, each in layers.items()}
        groups = dict(zip(layers, group.children(classes), strict=True))
        is_chain = kind == "Sequential" or not isinstance(config, dict)
        if is_chain and not flow.features:
            flow = flow._replace(features=self._find_width(groups))
        model = _Model(prefix, is_chain, layers, groups, flow, {}, {}, {})
        output = "" if is_chain else self._find_output(model, kind, config.get("output_layers"))
        needed = _find_ancestors(layers, output) if output else {*layers}
        needed |= {*filter(model.writes_mask, layers)}
        for name in layers:
            if name in needed:
                self._add_layer(model, name)
        state = self.components[:], self._number, {**self._front}, self._masking
        for name in layers:
            if name not in needed:
                self._add_layer(model, name)
        why = "is not on the way to the output"
        unused = self.components[len(state[0]) :]
        self.unused += [each._replace(why=why) for each in unused if each.name and each.layers]
        self.components, self._number, self._front, self._masking = state
        return model.gives.get(output, [flow, *model.gives.values()][-1])

    def _find_width(self, groups: Mapping[str, Group]) -> int:
        """Return the number of features that the lowest layer with arrays takes."""
        paths = [path for group in groups.values() for path in group.paths.values()]
        shape = self._file.arrays[paths[0]].shape if paths else ()
        return shape[-2] if len(shape) > 1 else sum(shape)

    def _find_output(self, model: _Model, kind: str, ends: Any) -> str:
        """Return the layer whose output is the first of the model; empty if there is none."""
        named = isinstance(ends, dict)
        ends = [ends[name] for name in sorted(ends)] if named else ends  # as Keras orders them
        ends = ends if ends and isinstance(ends[0], list) else [ends]
        known = {name for name in model.layers if not model.writes_mask(name)}
        whole = [each for each in ends if each and each[1:] == [0, 0] and each[0] in known]
        if not whole or (model.prefix and ends[0] != whole[0]):
            what = f"expected the output of a layer, got {shown(str(ends))}"
            name, why = model.prefix.rstrip("/") or "model", f"output_layers: {what}"
            self.components.append(Component(name, kind, why=why, needed=True))
            return ""
        output, rest = str(whole[0][0]), [str(each[0]) for each in ends if each != whole[0]]
        if rest and not model.prefix:
            names = dict.fromkeys(f"states of {name}" if name == output else name for name in rest)
            self.notes.append(verbatim(f"gives {shown(output)}, and passes over {listed(names)}"))
        return output

    def _add_layer(self, model: _Model, name: str) -> None:
        """Add the component of a layer, also of one that is not run here."""
        prefix, _, layers, groups, flow, gives, calls, masks = model
        flows, entry = [flow], layers[name]
        try:
            call = _Call([*gives][-1:]) if model.is_chain else _read_call(entry)
            if model.writes_mask(name):
                masks[name] = masks[call.inputs[0]] if entry["class_name"] == "Any" else call
                return
            sound = {*call.inputs} <= gives.keys() and bool(call.inputs) == bool(gives)
            check(sound, f"takes {listed(call.inputs)}, and not outputs of layers before")
            flows = [gives[each] for each in call.inputs] or flows
            calls[name] = call
            if call.mask:
                mask = _find_mask(masks.get(call.mask), calls, layers) or call.mask
                call = call._replace(mask=prefix + mask)
            gives[name] = self._add_call(prefix + name, call, entry, groups[name], flows)
        except (ValueError, *_OTHER_TYPES) as error:
            arrays = {path: self._file.arrays[path] for path in groups[name].paths.values()}
            why = str(error).removeprefix(f"{self._file.path}: ")
            kind = shown(str(entry.get("class_name")))
            unread = Component(prefix + name, kind, arrays, why=why, needed=True)
            self.components.append(unread)
            gives[name] = flows[0]._replace(waiting=None, more=0)

    def _add_call(
        self, name: str, call: _Call, entry: Config, group: Group, flows: Sequence[Flow]
    ) -> Flow:
        """Add the component of a layer; return the rows that it gives."""
        kind, config = read_entry(entry)
        make = LAYERS.get(kind, (None,))[0]
        check(make or kind in _MODELS, f"{shown(kind)} is not run here")
        check(not call.extra, f"is called with {listed(map(str, call.extra))}")
        check(len(flows) == 1 or kind in MERGES, f"takes {listed(call.inputs)}, and not one layer")
        fits = call.mask in ("", flows[0].masked)
        check(fits, f"takes the mask {shown(call.mask)}, which is not run here")
        flows = [self._add_front(flow, waits=make in WAITING) for flow in flows]
        why = "takes what lies below a layer that gives fewer rows, which is not run here"
        check(all(flow.number >= max(self._front.values(), default=0) for flow in flows), why)
        if make is None:
            return self.add_model(kind, config, f"{name}/", group, flows[0])
        layer = Layer(name, entry, self._file, group, *flows)
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
            check(flow.more < 0, "takes more steps than the input has, which is not run here")
            at = max(n for n, each in enumerate(self.components) if each.why == _WAITS)
            self.components[at] = self.components[at]._replace(layers=[waiting], why="")
            waiting.shortens = True
            self._number += 1
            self._front[waiting] = self._number
        return flow._replace(waiting=None, more=0, number=self._front[waiting])

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


def _read_layers(config: Any) -> dict[str, Config]:
    """Return the layers of a model by name, which is an item of the layer or of its settings."""
    entries: Any = config.get("layers") if isinstance(config, dict) else config
    fits = isinstance(entries, list) and all(isinstance(each, dict) for each in entries)
    check(fits, "damaged: it has no list of layers")
    layers = {str(each.get("name") or each["config"].get("name")): each for each in entries}
    check(len(layers) == len(entries), f"damaged: layers have one name ({listed(layers)})")
    return layers


def _read_call(entry: Config) -> _Call:
    """Read how a layer is called, by its only node."""
    try:
        (node,) = entry.get("inbound_nodes") or [{"args": []}]
        if isinstance(node, dict):  # Keras 3: {"args": [tensor, ...], "kwargs": {...}}
            lists = [each if isinstance(each, list) else [each] for each in node["args"]]
            values = [value for each in lists for value in each]
            keywords = dict(node.get("kwargs") or {})
        else:  # Keras 2: [[name, node, tensor, {...}], ...], or one of these alone
            rows = [node] if isinstance(node[0], str) else node
            values = [{"config": {"keras_history": row[:3]}} for row in rows]
            keywords = {key: value for row in rows for key, value in dict(*row[3:]).items()}
            # None is no mask here, and that of the layer below in Keras 3.
            keywords |= {"mask": True} if "mask" in keywords else {}
        sources, mask = [*map(_find_source, values)], _find_source(keywords.get("mask"))
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise ValueError("is not called just once, with layers' only outputs") from error
    extra = [value for value, source in zip(values, sources, strict=True) if not source]
    if mask:
        del keywords["mask"]
    extra += [key for key, value in keywords.items() if value not in (None, False)]
    return _Call([*filter(None, sources)], extra, mask)


def _find_ancestors(layers: Mapping[str, Config], output: str) -> set[str]:
    """Return the layers on the way to an output; all where one tells not what it takes."""
    needed = {output}
    for name in reversed([*layers]):
        if name in needed:
            try:
                needed.update(_read_call(layers[name]).inputs)
            except ValueError:
                return {*layers}
    return needed


def _find_source(value: Any) -> str:
    """Return the layer whose only output a value is; empty for a constant."""
    match value:
        case {"config": {"keras_history": [name, _, 0]}}:
            return str(name)
        case {"config": {"keras_history": _}}:
            raise ValueError("takes one of several outputs")
    return ""


def _find_mask(
    written: _Call | None, calls: Mapping[str, _Call], layers: Mapping[str, Config]
) -> str:
    """Return the layer that masks the rows x where ``NotEqual(x, value)`` does."""
    for name, call in calls.items():
        config: Any = layers[name].get("config") or {}
        value = config.get("mask_value", 0 if config.get("mask_zero") else None)
        if written and (call.inputs, [value]) == (written.inputs, written.extra):
            return name
    return ""
