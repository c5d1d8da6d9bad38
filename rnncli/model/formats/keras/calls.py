"""The layers of a Keras model in their order, each with what it takes, in Keras 2 and 3 alike."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from rnncli.model.errors import listed, shown

# Classes of models: one of its own may do anything.
MODELS = ("Sequential", "Functional", "Model")
# Classes of the operations that Keras 3 computes masks by.
MASK_CLASSES = ("NotEqual", "Any")

Config: TypeAlias = Mapping[str, Any]


class Call(NamedTuple):
    """A layer in its place."""

    name: str
    entry: Config  # what the config says of the layer
    inputs: Sequence[str] = ()  # names of layers
    values: Sequence[Any] = ()  # arguments that are no tensors
    mask: str = ""  # the layer that masks rows, where the config says that of the call
    problem: str = ""  # why the layer cannot be run as it is called


def name_layers(config: Any) -> dict[str, Config]:
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


def read_calls(kind: str, config: Any, layers: Mapping[str, Config]) -> tuple[list[Call], str]:
    """Read the calls of a model's layers, and why it has not one input and one output."""
    if kind not in MODELS or kind == "Sequential" or not isinstance(config, dict):
        own = "" if kind in MODELS else f"{shown(kind)} is a class of the model's own"
        below = zip([[], *([name] for name in layers)], layers.items(), strict=False)
        return [Call(*each, [] if own else source) for source, each in below], own
    found = {name: _read_call(name, entry) for name, entry in layers.items()}
    calls: dict[str, Call] = {}
    for name, call in found.items():  # Keras writes them in an order in which they can be run
        if call.entry.get("class_name") not in MASK_CLASSES:
            sound = {*call.inputs} <= calls.keys() and bool(call.inputs) == bool(calls)
            why = "" if sound else f"takes {listed(call.inputs)}, and not outputs of layers before"
            mask = _find_mask(found, call.mask)
            calls[name] = call._replace(mask=mask, problem=call.problem or why)
    names = [*calls] or [""]
    for side, name in (("input_layers", names[0]), ("output_layers", names[-1])):
        end: Any = config.get(side)
        end = [*end.values()] if isinstance(end, dict) else end
        if end not in ([name, 0, 0], [[name, 0, 0]]):
            what = f"{side}: expected the output of {shown(name)}, got {shown(str(end))}"
            return [*calls.values()], what
    return [*calls.values()], ""


def _read_call(name: str, entry: Config) -> Call:
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
        tensors, mask = [*map(_tensor, values)], _tensor(given.get("mask")) or ""
    except (TypeError, ValueError, LookupError, AttributeError):
        return Call(name, entry, problem="is not called just once, with layers' only outputs")
    if mask:
        del given["mask"]
    constants = [value for value, tensor in zip(values, tensors, strict=True) if not tensor]
    extra = [key for key, value in given.items() if value not in (None, False)]
    extra += map(str, constants)
    problem = f"is called with {listed(extra)}" if extra else ""
    return Call(name, entry, [*filter(None, tensors)], constants, mask, problem)


def _tensor(found: Any) -> str:
    """Return the layer whose only output a value is; empty for a constant."""
    config = found.get("config") if isinstance(found, dict) else None
    if not isinstance(config, dict) or "keras_history" not in config:
        return ""
    name, _, number = config["keras_history"]
    if number != 0:
        raise ValueError("takes one of several outputs")
    return str(name)


def _find_mask(calls: Mapping[str, Call], mask: str) -> str:
    """Return the layer whose mask Keras 3 writes out.

    The mask is ``Any(NotEqual(x, value))``, and of an embedding ``NotEqual(x, 0)``.
    """
    found, any_ = calls.get(mask), {"name": mask, "axis": -1, "keepdims": False}
    if found and found.entry.get("class_name") == "Any" and found.entry.get("config") == any_:
        found = calls.get(found.inputs[0]) if found.inputs else None
    if found and found.entry.get("class_name") == "NotEqual" and found.inputs:
        for each in (each for each in calls.values() if each.inputs == found.inputs):
            own: Any = each.entry.get("config") or {}
            if found.values == [own.get("mask_value", 0 if own.get("mask_zero") else None)]:
                return each.name
    return mask
