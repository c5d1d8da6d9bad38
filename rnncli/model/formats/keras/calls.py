"""The order of the layers of a Keras model, as its config has it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from rnncli.model.errors import listed, shown

# What a model is, by its class: one of its own may do anything.
MODELS = ("Sequential", "Functional", "Model")
# Classes of the operations that Keras 3 computes masks by.
_MASK_CLASSES = ("NotEqual", "Any")

_Config: TypeAlias = Mapping[str, Any]


class Call(NamedTuple):
    """A layer in its place."""

    name: str
    entry: _Config  # what the config says of the layer
    inputs: Sequence[tuple[str, Any]] = ()  # names of layers, and the number of an output of each
    others: Sequence[Any] = ()  # values of other arguments without a name
    mask: str = ""  # the layer that masks rows, where the config says that of the call
    problem: str = ""  # why the layer cannot be run as it is called


def name_of(found: _Config, default: str) -> str:
    """Return the name of a layer, which stands beside its settings or among them."""
    config = found.get("config")
    names = [about.get("name") for about in (found, config) if isinstance(about, dict)]
    return next((name for name in names if isinstance(name, str) and name), default)


def layers_of(config: Any) -> dict[str, _Config]:
    """Return the configs of the layers of a model, by name."""
    layers = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(layers, list) or not all(isinstance(each, dict) for each in layers):
        raise ValueError("damaged: it has no list of layers")
    found = {name_of(each, f"layer {k}"): each for k, each in enumerate(layers, start=1)}
    if len(found) < len(layers):
        raise ValueError(f"damaged: several layers have one name ({listed(found)})")
    return found


def order_calls(kind: str, config: Any) -> tuple[list[Call], str]:
    """Put the layers of a model in order, each behind those whose outputs it takes.

    Return why that cannot be, too; then no layer takes another one's output.
    """
    layers = layers_of(config)
    known = {k: each for k, each in layers.items() if each.get("class_name") not in _MASK_CLASSES}
    loose = [Call(name, entry) for name, entry in known.items()]
    if kind not in MODELS:
        return loose, f"{shown(kind)} is a class of the model's own"
    if kind == "Sequential" or not isinstance(config, dict):
        for k, call in enumerate(loose[1:], start=1):
            loose[k] = call._replace(inputs=[(loose[k - 1].name, 0)])
        return loose, ""
    calls = {name: _call(name, entry) for name, entry in layers.items()}
    try:
        return _ordered(calls, _end(config, "input", "takes"), _end(config, "output", "gives")), ""
    except ValueError as error:
        return loose, str(error)


def _end(config: _Config, side: str, verb: str) -> str:
    """Return the layer where a model begins or ends."""
    found = config.get(f"{side}_layers")
    found = list(found.values()) if isinstance(found, dict) else found
    found = found if isinstance(found, list) else []
    found = [found] if found and isinstance(found[0], str) else found
    tensors = [each for each in found if isinstance(each, list) and each]
    ends = [str(each[0]) for each in tensors]
    if len(ends) != 1:
        raise ValueError(f"{verb} {len(ends)} {side}s ({listed(ends)}), and not one")
    if tensors[0][2:] not in ([], [0]):
        raise ValueError(f"{verb} a state of {shown(ends[0])}, and not its output")
    return ends[0]


def _ordered(calls: Mapping[str, Call], start: str, end: str) -> list[Call]:
    """Put the layers between the start and the end in order."""
    ordered: dict[str, Call] = {}
    masks, waiting = _masks(calls), {end: None}
    while waiting:
        name = next(reversed(waiting))
        call = calls.get(name, Call(name, {}))
        inputs = [] if name == start else call.inputs
        got = listed(f"{each} ({n})" if n else each for each, n in inputs)
        if (name != start and not inputs) or any(n != 0 for _, n in inputs):
            why = call.problem or f"takes {got}, and not layers' only outputs"
            raise ValueError(f"{shown(name)} {why}")
        below = [each for each, _ in inputs if each not in ordered]
        if not below:
            mask = masks.get(call.mask, call.mask)
            ordered[name] = call._replace(inputs=inputs, mask=mask)
            del waiting[name]
        elif below[0] in waiting:
            raise ValueError(f"{shown(name)} takes {got}, and so its own output")
        else:
            waiting[below[0]] = None
    if start not in calls:
        raise ValueError(f"damaged: it has no {shown(start)}")
    return list(ordered.values())


def _masks(calls: Mapping[str, Call]) -> dict[str, str]:
    """Return the layers that mask rows, by the operations that compute their masks.

    The mask is ``Any(NotEqual(x, value))``, and of an embedding ``NotEqual(x, 0)``.
    """
    masking: dict[tuple[Any, Any], str] = {}
    for name, call in calls.items():
        config = call.entry.get("config")
        settings = config if isinstance(config, dict) else {}
        value = settings.get("mask_value", 0 if settings.get("mask_zero") else None)
        if isinstance(value, int | float) and len(call.inputs) == 1:
            masking[call.inputs[0][0], value] = name
    found = {}
    for name, call in calls.items():
        compared, any_ = call, {"name": name, "axis": -1, "keepdims": False}
        if call.entry.get("class_name") == "Any" and call.entry.get("config") == any_:
            compared = calls.get(call.inputs[0][0], call) if call.inputs else call
        value = compared.others[0] if len(compared.others) == 1 else None
        if compared.entry.get("class_name") == "NotEqual" and isinstance(value, int | float):
            found[name] = masking.get((compared.inputs[0][0] if compared.inputs else "", value), "")
    return {name: mask for name, mask in found.items() if mask}


def _call(name: str, found: _Config) -> Call:
    """Read how a layer is called."""
    nodes = found.get("inbound_nodes") or []
    try:
        if not isinstance(nodes, list) or len(nodes) > 1:
            problem = f"is used {len(nodes)} times"
            return Call(name, found, problem=problem)
        if not nodes:
            return Call(name, found)
        read = _call_of_keras_3 if isinstance(nodes[0], dict) else _call_of_keras_2
        inputs, others, mask, given = read(nodes[0])
    except (TypeError, ValueError, LookupError, AttributeError):
        return Call(name, found, problem="damaged: its inbound_nodes are no calls")
    names = [each for each, value in given.items() if value is not None and value is not False]
    problem = f"is called with {listed(names)}" if names else ""
    return Call(name, found, inputs, others, mask, problem)


# The inputs of a call, other arguments, the mask, and arguments by name.
_Arguments: TypeAlias = tuple[list[tuple[str, Any]], Sequence[Any], str, dict[str, Any]]


def _call_of_keras_2(node: Any) -> _Arguments:
    """Read ``[[name, node, tensor, {...}], ...]``, or one of these alone."""
    inputs: list[tuple[str, Any]] = []
    given: dict[str, Any] = {}
    for name, _, number, *more in [node] if isinstance(node[0], str) else node:
        inputs.append((str(name), number))
        given |= more[0] if more else {}
    # None is no mask here, and that of the layer below in Keras 3.
    return inputs, (), "", given | ({"mask": True} if "mask" in given else {})


def _call_of_keras_3(node: _Config) -> _Arguments:
    """Read ``{"args": [{"class_name": "__keras_tensor__", ...}], "kwargs": {...}}``."""
    given = dict(node.get("kwargs") or {})
    mask = _tensor(given.get("mask"))
    if mask:
        del given["mask"]
    inputs, others = [], []
    for n, argument in enumerate(node["args"], start=1):
        for value in argument if n == 1 and isinstance(argument, list) else [argument]:
            if tensor := _tensor(value):
                inputs.append(tensor)
            else:
                others.append(value)
                given[f"argument {n}"] = value
    return inputs, others, mask[0] if mask else "", given


def _tensor(found: Any) -> tuple[str, Any] | None:
    """Return the layer that gives a tensor of Keras 3, and the number of the tensor."""
    config = found.get("config") if isinstance(found, dict) else None
    if not isinstance(config, dict) or "keras_history" not in config:
        return None
    name, _, number = config["keras_history"]
    return str(name), number
