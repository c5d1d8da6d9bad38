"""The layers of a Keras model in their order, each with its inputs, in Keras 2 and 3 alike."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from rnncli.model.errors import listed, shown

# Classes of models: a class of the user's may do anything.
MODELS = ("Sequential", "Functional", "Model")
# Classes of the operations that Keras 3 computes masks by.
_MASK_CLASSES = ("NotEqual", "Any")

Config: TypeAlias = Mapping[str, Any]


class Call(NamedTuple):
    """A layer as the model calls it."""

    name: str
    entry: Config  # what the config says of the layer
    inputs: Sequence[str] = ()  # names of layers
    values: Sequence[Any] = ()  # arguments that are no tensors
    mask: str = ""  # the layer that masks rows, where the config says that of the call
    problem: str = ""  # why the layer cannot be run as it is called


def check(fits: object, why: str) -> None:
    """Refuse a layer that does not fit."""
    if not fits:
        raise ValueError(why)


def read_entry(entry: Any) -> tuple[str, Config]:
    """Return the class of a layer and its settings."""
    kind, config = entry["class_name"], entry["config"]
    library = str(entry.get("module", "keras")).partition(".")[0]
    check(library in ("keras", "tf_keras"), f"{shown(kind)} is a class of the model's own")
    return kind, config


def read_names(config: Any) -> dict[str, Config]:
    """Return the layers of a model by name, which is an item of the layer or of its settings."""
    entries: Any = config.get("layers") if isinstance(config, dict) else config
    fits = isinstance(entries, list) and all(isinstance(each, dict) for each in entries)
    check(fits, "damaged: it has no list of layers")
    layers = {}
    for k, each in enumerate(entries, start=1):
        settings = each.get("config")
        name = each.get("name") or (isinstance(settings, dict) and settings.get("name"))
        layers[name if isinstance(name, str) and name else f"layer {k}"] = each
    check(len(layers) == len(entries), f"damaged: layers have one name ({listed(layers)})")
    return layers


def read_calls(kind: str, config: Any, layers: Mapping[str, Config]) -> tuple[list[Call], str]:
    """Read the calls of a model's layers, and why it has not one input and one output."""
    if kind == "Sequential" or not isinstance(config, dict):
        below = [[], *([name] for name in layers)]
        inputs = dict(zip(layers, below, strict=False))
        return [Call(name, entry, inputs[name]) for name, entry in layers.items()], ""
    all_calls = {name: _read_call(name, entry) for name, entry in layers.items()}
    calls: dict[str, Call] = {}
    for name, call in all_calls.items():  # Keras writes them in an order in which they can be run
        if call.entry.get("class_name") not in _MASK_CLASSES:
            sound = {*call.inputs} <= calls.keys() and bool(call.inputs) == bool(calls)
            why = "" if sound else f"takes {listed(call.inputs)}, and not outputs of layers before"
            mask = _find_mask(all_calls, call.mask)
            calls[name] = call._replace(mask=mask, problem=call.problem or why)
    end: Any = config.get("output_layers")
    end = [*end.values()] if isinstance(end, dict) else end
    last = next(reversed(calls), "")
    fits = end in ([last, 0, 0], [[last, 0, 0]])
    what = f"output_layers: expected the output of {shown(last)}, got {shown(str(end))}"
    return [*calls.values()], "" if fits else what


def _read_call(name: str, entry: Config) -> Call:
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
        tensors, mask = [*map(_find_source, values)], _find_source(keywords.get("mask"))
    except (TypeError, ValueError, LookupError, AttributeError):
        return Call(name, entry, problem="is not called just once, with layers' only outputs")
    constants = [value for value, tensor in zip(values, tensors, strict=True) if not tensor]
    extra = [key for key, value in keywords.items() if value not in (None, False)]
    extra = [*(key for key in extra if key != "mask" or not mask), *map(str, constants)]
    problem = f"is called with {listed(extra)}" if extra else ""
    return Call(name, entry, [*filter(None, tensors)], constants, mask, problem)


def _find_source(value: Any) -> str:
    """Return the layer whose only output a value is; empty for a constant."""
    config = value.get("config") if isinstance(value, dict) else None
    if not isinstance(config, dict) or "keras_history" not in config:
        return ""
    name, _, number = config["keras_history"]
    check(number == 0, "takes one of several outputs")
    return str(name)


def _find_mask(calls: Mapping[str, Call], mask: str) -> str:
    """Return the layer whose mask Keras 3 writes out: ``Any(NotEqual(x, value))``, or no Any."""
    call = calls.get(mask)
    if call and call.entry.get("class_name") == "Any" and call.inputs:
        call = calls.get(call.inputs[0])
    if call and call.entry.get("class_name") == "NotEqual" and call.inputs:
        for each in (each for each in calls.values() if each.inputs == call.inputs):
            config: Any = each.entry.get("config") or {}
            if call.values == [config.get("mask_value", 0 if config.get("mask_zero") else None)]:
                return each.name
    return mask
