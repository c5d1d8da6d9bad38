"""A Keras model by its config: its layers, each behind those whose outputs it takes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.model.formats.found import NOTHING, Found, Part, input_size
from rnncli.model.formats.keras.layer import Flow, Layer
from rnncli.model.formats.keras.layers import MAKERS, MERGES
from rnncli.model.formats.keras.weights import Group, Stored
from rnncli.model.graph.piece import Piece
from rnncli.model.graph.rows import Operand
from rnncli.model.layers import Stateless

# Classes of models: one of its own may do anything.
_MODELS = ("Sequential", "Functional", "Model")
# Classes of the operations that Keras 3 computes masks by.
_MASK_CLASSES = ("NotEqual", "Any")
# Layers at which a mask ends before Keras 3.
_MASK_ENDS = ("Identity", "Normalization", "Rescaling")
# Layers of a model, characters before the name of one, and features that a config may tell of.
_MOST, _LONGEST, _WIDEST = 2000, 500, 2**20

_Config: TypeAlias = Mapping[str, Any]


class Call(NamedTuple):
    """A layer in its place."""

    name: str
    entry: _Config  # what the config says of the layer
    inputs: Sequence[tuple[str, Any]] = ()  # names of layers, and the number of an output of each
    values: Sequence[Any] = ()  # arguments without a name that are no tensors
    mask: str = ""  # the layer that masks rows, where the config says that of the call
    problem: str = ""  # why the layer cannot be run as it is called


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
    notes = [
        f"{verbatim(listed(layers))}: computed in float32, Keras does in {dtype}"
        for dtype, layers in walk.coarse.items()
    ]
    if flow.reversed:
        order = "from the last step to the first, here they stand as the input does"
        notes.append(f"Keras gives the rows {order}")
    last = flow.last if flow.recurrent and flow.axes == 2 else None
    return Found(walk.parts, stored.title, last=last, notes=notes)


class _Walk:
    """A walk along the layers of a model, with the parts that it has found."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self.parts: list[Part] = []
        self.coarse: dict[str, list[str]] = {}  # layers by a type of few digits
        self._number = 0  # of the layer on top
        self._masking = ""  # the layer that masks rows

    def add_model(self, kind: str, config: Any, prefix: str, group: Group, flow: Flow) -> Flow:
        """Add the layers of a model; return what the last one gives."""
        layers = _name_layers(config)
        if len(self.parts) + len(layers) > _MOST or len(prefix) > _LONGEST:
            raise ValueError(f"has over {_MOST:,} layers, or models too deep in models")
        classes = {name: str(each.get("class_name")) for name, each in layers.items()}
        groups = dict(zip(layers, group.children(classes), strict=True))
        alone = False
        try:
            calls = _order(kind, config, layers)
        except ValueError as error:  # each layer can still be run by itself
            name, alone = prefix.rstrip("/") or "model", True
            self.parts.append(Part(name, kind, why=str(error), needed=True))
            calls = [Call(k, v) for k, v in layers.items() if classes[k] not in _MASK_CLASSES]
        gives: dict[str, Flow] = {}
        for call in calls:
            start, within = Flow(number=self._number) if alone else flow, groups[call.name]
            flows = [gives[name] for name, _ in call.inputs] or [start]
            try:
                gives[call.name] = self._add_call(call, prefix, within, flows)
            except ValueError as error:
                arrays = {path: self._stored.arrays[path] for path in within.paths.values()}
                name, kind = prefix + call.name, shown(classes[call.name])
                self.parts.append(Part(name, kind, arrays, why=str(error), needed=True))
                gives[call.name] = flows[0]._replace(waiting=None)
        return gives[calls[-1].name] if calls else flow

    def _add_call(self, call: Call, prefix: str, group: Group, flows: Sequence[Flow]) -> Flow:
        """Add what a layer is, in its place in the model; return what it gives."""
        name, mask = prefix + call.name, call.mask and prefix + call.mask
        layer = Layer(name, call.entry, self._stored, group, *flows)
        if call.problem and layer.kind in (*_MODELS, *MAKERS, "TimeDistributed"):
            raise ValueError(call.problem)
        if len(flows) > 1 and layer.kind not in MERGES:
            inputs = listed(each for each, _ in call.inputs)
            raise ValueError(f"takes {inputs}, and not one layer's only output")
        if mask not in ("", layer.flow.masked):
            raise ValueError(f"takes the mask {shown(mask)}, which is not run here")
        if layer.kind in _MODELS:
            return self.add_model(layer.kind, layer.config, f"{name}/", group, layer.flow)
        layer.flow = _add_shape(layer.flow, layer.config)
        if layer.kind != "TimeDistributed":
            return self._add_layer(layer, layer)
        layer.check_sequence()
        layer.get("layer")
        layer.check_rest()
        layer.give(axes=2)
        inner = layer.within("layer", "layer")
        if inner.kind in _MODELS:
            above = self.add_model(inner.kind, inner.config, f"{name}/", inner.group, inner.flow)
        else:
            above = self._add_layer(inner, layer)
        if above.axes != 2:
            raise ValueError("TimeDistributed of an embedding is not run here")
        return above._replace(axes=3)

    def _add_layer(self, layer: Layer, outer: Layer) -> Flow:
        """Add a layer, which may be in another one; return what it gives."""
        below = layer.flow
        if layer.kind not in MAKERS:
            raise ValueError(f"{shown(layer.kind)} is not run here")
        if below.masked and layer.kind in _MASK_ENDS and self._stored.version < (3,):
            what = f"the mask of {shown(below.masked)} ends here in Keras 2"
            raise ValueError(f"{what}, which is not run here")
        layers = MAKERS[layer.kind](layer)
        layer.check_rest()
        self._check(layer, below, layers)
        for dtype in dict.fromkeys(layer.coarse()):
            self.coarse.setdefault(dtype, []).append(layer.name)
        first = layers[0] if layers else None
        # The bottom layer takes the input as it is.
        skips = not self._number if layer.kind in MERGES else below.number != self._number
        if first and skips:
            size = below.features or input_size(first) or layer.features()
            identity = Piece({}, {0: size}, Operand(0), size)
            identity.sources = (below.number,)
            self.parts.append(Part("", "Identity", layers=[identity]))
            self._number += 1
        if isinstance(first, Stateless):
            layer.give(features=first.output_size)
        waits = layer.flow.waiting is not below.waiting
        why = "is run with what makes one row of its steps" if waits else NOTHING
        arrays = {path: self._stored.arrays[path] for path in layer.used}
        part = Part(layer.name, outer.title, arrays, layers, "" if layers else why)
        self.parts.append(part._replace(turned=below.reversed))
        self._number += len(layers)
        return layer.flow._replace(number=self._number) if layers else layer.flow

    def _check(self, layer: Layer, below: Flow, layers: Sequence[Any]) -> None:
        """Check that a layer leaves no array out, and takes masked rows and steps as others do."""
        left = {*layer.group.paths.values()} - {*layer.used}
        arrays = [self._stored.arrays[path] for path in left]
        if any(array.shape or array.dtype.kind == "f" for array in arrays):  # no counter
            raise ValueError(f"has arrays that are not known here: {listed(sorted(left))}")
        self._masking = layer.flow.masked or self._masking
        if layer.flow.recurrent == layer.name and self._masking and not below.masked:
            what = f"takes rows without the mask of {shown(self._masking)} beside others with it"
            raise ValueError(f"{what}, which is not run here")
        if layers and below.waiting and layer.flow.waiting is below.waiting:
            raise ValueError("takes another number of steps than the input has, not run here")


def _name_layers(config: Any) -> dict[str, _Config]:
    """Return the layers of a model by name, which stands beside the settings or among them."""
    entries = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise ValueError("damaged: it has no list of layers")
    layers = {}
    for k, each in enumerate(entries, start=1):
        own = each.get("config")
        name = each.get("name") or (isinstance(own, dict) and own.get("name"))
        layers[name if isinstance(name, str) and name else f"layer {k}"] = each
    if len(layers) < len(entries):
        raise ValueError(f"damaged: several layers have one name ({listed(layers)})")
    return layers


def _add_shape(flow: Flow, config: _Config) -> Flow:
    """Complete what goes into a layer by the shape that its config has."""
    shape = config.get("batch_shape", config.get("batch_input_shape"))
    if not isinstance(shape, list) or len(shape) not in (2, 3):
        return flow
    known = type(shape[-1]) is int and 0 < shape[-1] < _WIDEST
    axes = flow.axes if flow.recurrent else len(shape)
    return flow._replace(axes=axes, features=shape[-1] if known else 0)


# The calls of layers.


def _order(kind: str, config: Any, layers: Mapping[str, _Config]) -> list[Call]:
    """Put the layers of a model in order; raise ValueError, which says why, where there is none."""
    if kind not in _MODELS:
        raise ValueError(f"{shown(kind)} is a class of the model's own")
    if kind == "Sequential" or not isinstance(config, dict):
        below = ["", *layers]
        return [
            Call(name, entry, [(source, 0)] if source else [])
            for source, (name, entry) in zip(below, layers.items(), strict=False)
        ]
    calls = {name: _read_call(name, entry) for name, entry in layers.items()}
    start, end = (_find_end(config, f"{side}_layers") for side in ("input", "output"))
    ordered, waiting = dict[str, Call](), {end: None}
    while waiting:
        name = next(reversed(waiting))
        if name not in calls:
            raise ValueError(f"damaged: it has no {shown(name)}")
        inputs = [] if name == start else calls[name].inputs
        got = listed(f"{each} ({n})" if n else each for each, n in inputs)
        if (name != start and not inputs) or any(n != 0 for _, n in inputs):
            why = calls[name].problem or f"takes {got}, and not layers' only outputs"
            raise ValueError(f"{shown(name)} {why}")
        below = [each for each, _ in inputs if each not in ordered]
        if below and below[0] in waiting:
            raise ValueError(f"{shown(name)} takes {got}, and so its own output")
        if below:
            waiting[below[0]] = None
        else:
            mask = _find_mask(calls, calls[name])
            ordered[name] = calls[name]._replace(inputs=inputs, mask=mask)
            del waiting[name]
    return list(ordered.values())


def _find_end(config: _Config, side: str) -> str:
    """Return the layer where a model begins or ends."""
    found = config.get(side)
    match list(found.values()) if isinstance(found, dict) else found:
        case [[str(name), _, 0]] | [str(name), _, 0]:
            return name
    raise ValueError(f"{side}: expected one layer's output, got {shown(str(found))}")


def _find_mask(calls: Mapping[str, Call], call: Call) -> str:
    """Return the layer whose mask a call takes, as Keras 3 computes it.

    The mask is ``Any(NotEqual(x, value))``, and of an embedding ``NotEqual(x, 0)``.
    """
    found = calls.get(call.mask)
    any_ = {"name": call.mask, "axis": -1, "keepdims": False}
    if found and found.entry.get("class_name") == "Any" and found.entry.get("config") == any_:
        found = calls.get(found.inputs[0][0]) if found.inputs else None
    if found and found.entry.get("class_name") == "NotEqual" and found.inputs:
        for each in calls.values():
            config = each.entry.get("config")
            if each.inputs == found.inputs and isinstance(config, dict):
                value = config.get("mask_value", 0 if config.get("mask_zero") else None)
                if found.values == [value]:
                    return each.name
    return call.mask


def _read_call(name: str, entry: _Config) -> Call:
    """Read how a layer is called, by its only node."""
    try:
        (node,) = entry.get("inbound_nodes") or [{"args": [[]]}]
        if isinstance(node, dict):  # Keras 3: {"args": [tensor, ...], "kwargs": {...}}
            first, *rest = node["args"]
            values = [*(first if isinstance(first, list) else [first]), *rest]
            given = dict(node.get("kwargs") or {})
        else:  # Keras 2: [[name, node, tensor, {...}], ...], or one of these alone
            rows = [node] if isinstance(node[0], str) else node
            values = [{"config": {"keras_history": row[:3]}} for row in rows]
            given = {key: value for row in rows for key, value in dict(*row[3:]).items()}
            # None is no mask here, and that of the layer below in Keras 3.
            given |= {"mask": True} if "mask" in given else {}
        tensors = [*map(_tensor, values)]
        mask, _ = _tensor(given.get("mask")) or ("", 0)
        if mask:
            del given["mask"]
    except (TypeError, ValueError, LookupError, AttributeError):
        return Call(name, entry, problem="is not called just once")
    constants = [value for value, tensor in zip(values, tensors, strict=True) if not tensor]
    extra = [key for key, value in given.items() if value not in (None, False)]
    problem = (
        f"is called with {listed([*extra, *map(str, constants)])}" if extra or constants else ""
    )
    return Call(name, entry, [*filter(None, tensors)], constants, mask, problem)


def _tensor(found: Any) -> tuple[str, Any] | None:
    """Return the layer that gives a tensor of Keras 3, and the number of the tensor."""
    config = found.get("config") if isinstance(found, dict) else None
    if not isinstance(config, dict) or "keras_history" not in config:
        return None
    name, _, number = config["keras_history"]
    return str(name), number
