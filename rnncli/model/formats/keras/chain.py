"""The order of the layers of a Keras model, as its config has it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from rnncli.model.errors import InputError, listed, shown

# What a model is, by its class: one of its own may do anything.
MODELS = ("Sequential", "Functional", "Model")
# Classes of the operations that Keras 3 computes masks by, and the settings of one.
_MASK_CLASSES = ("NotEqual", "Any")
_ANY = {"axis": -1, "keepdims": False}


class Node(NamedTuple):
    """A layer in its place.

    Parameters
    ----------
    name : str
    found : mapping
        What the config says of it.
    mask : str
        The layer that masks rows, where the config says that of the call.
    problem : str
        Why it cannot be run as it is called.
    """

    name: str
    found: Mapping[str, Any]
    mask: str = ""
    problem: str = ""


class Chain(NamedTuple):
    """The layers of a model.

    Parameters
    ----------
    layers : sequence of pairs of str
        The name and the class of each, in the order of the config.
    nodes : sequence of Node
        Each takes what the one before gives, but where there is a problem.
    problem : str
        Why they do not.
    """

    layers: Sequence[tuple[str, str]]
    nodes: Sequence[Node]
    problem: str = ""


def chain_of(kind: str, settings: Any) -> Chain:
    """Put the layers of a model of such a class in order."""
    found = settings if isinstance(settings, dict) else {"layers": settings}
    layers = found.get("layers")
    if not isinstance(layers, list) or not all(isinstance(each, dict) for each in layers):
        raise InputError("", "damaged: it has no list of layers")
    nodes = {name_of(each, f"layer {k}"): each for k, each in enumerate(layers, start=1)}
    if len(nodes) < len(layers):
        raise InputError("", f"damaged: several layers have one name ({listed(nodes)})")
    classes = [(name, str(each.get("class_name"))) for name, each in nodes.items()]
    loose = [Node(name, nodes[name]) for name, class_ in classes if class_ not in _MASK_CLASSES]
    if kind not in MODELS:
        return Chain(classes, loose, f"{shown(kind)} is a class of the model's own")
    if kind == "Sequential":
        return Chain(classes, loose)
    calls = {name: _call(each) for name, each in nodes.items()}
    try:
        (start,), (end,) = (
            _ends(found, *each) for each in (("input", "takes"), ("output", "gives"))
        )
        return Chain(classes, _ordered(nodes, calls, start, end))
    except InputError as error:
        return Chain(classes, loose, error.what)


class _Call(NamedTuple):
    """How a layer is called: with which tensors, by layer and number, and what else."""

    tensors: Sequence[tuple[str, Any]] = ()
    mask: str = ""
    problem: str = ""
    others: Sequence[Any] = ()


def name_of(found: Mapping[str, Any], default: str) -> str:
    """Return the name of a layer, which stands beside its settings or among them."""
    config = found.get("config")
    names = [about.get("name") for about in (found, config) if isinstance(about, dict)]
    return next((name for name in names if isinstance(name, str) and name), default)


def _call(found: Mapping[str, Any]) -> _Call:
    nodes = found.get("inbound_nodes") or []
    if not isinstance(nodes, list):
        return _Call(problem="damaged: its inbound_nodes are no list")
    if len(nodes) > 1:
        return _Call(problem=f"is used {len(nodes)} times")
    if not nodes:
        return _Call()
    return _call_of_keras_3(nodes[0]) if isinstance(nodes[0], dict) else _call_of_keras_2(nodes[0])


def _call_of_keras_2(node: Any) -> _Call:
    """Read ``[[name, node, tensor, {...}], ...]``, or one of these alone."""
    calls = node if isinstance(node, list) else []
    calls = [calls] if calls and isinstance(calls[0], str) else calls
    tensors: list[tuple[str, Any]] = []
    given: dict[str, Any] = {}
    for each in calls:
        if not isinstance(each, list) or len(each) < 3 or not isinstance(each[0], str):
            return _Call(problem="damaged: its inbound_nodes are no calls")
        tensors.append((each[0], each[2]))
        given |= each[3] if len(each) > 3 and isinstance(each[3], dict) else {}
    # None is no mask here, and that of the layer below in Keras 3.
    masked = {"mask": True} if "mask" in given else {}
    return _Call(tensors, "", _given(given | masked))


def _call_of_keras_3(node: Mapping[str, Any]) -> _Call:
    """Read ``{"args": [{"class_name": "__keras_tensor__", ...}], "kwargs": {...}}``."""
    args, given = node.get("args"), node.get("kwargs") or {}
    if not isinstance(args, list) or not args or not isinstance(given, dict):
        return _Call(problem="damaged: its inbound_nodes are no calls")
    first = args[0] if isinstance(args[0], list) else [args[0]]
    tensors = [tensor for tensor in map(_tensor, first) if tensor]
    mask = _tensor(given.get("mask"))
    rest = {name: value for name, value in given.items() if name != "mask" or not mask}
    rest |= {f"argument {n}": value for n, value in enumerate(args[1:], start=2)}
    return _Call(tensors, mask[0] if mask else "", _given(rest), args[1:])


def _given(arguments: Mapping[str, Any]) -> str:
    """Return why a layer cannot be run so, if it is given more than its input that is not off."""
    names = [name for name, value in arguments.items() if value not in (None, False)]
    return f"is called with {listed(names)}" if names else ""


def _tensor(found: Any) -> tuple[str, Any] | None:
    """Return the layer that gives a tensor of Keras 3, and which of its tensors it is."""
    config = found.get("config") if isinstance(found, dict) else None
    history = config.get("keras_history") if isinstance(config, dict) else None
    if not isinstance(history, list) or len(history) != 3 or not isinstance(history[0], str):
        return None
    return history[0], history[2]


def _ends(settings: Mapping[str, Any], side: str, verb: str) -> list[str]:
    """Return the layer where a model begins or ends."""
    found = settings.get(f"{side}_layers")
    found = list(found.values()) if isinstance(found, dict) else found
    found = found if isinstance(found, list) else []
    found = [found] if found and isinstance(found[0], str) else found
    tensors = [each for each in found if isinstance(each, list) and each]
    ends = [str(each[0]) for each in tensors]
    if len(ends) != 1:
        raise InputError("", f"{verb} {len(ends)} {side}s ({listed(ends)}), and not one")
    if tensors[0][2:] not in ([], [0]):
        raise InputError("", f"{verb} a state of {shown(ends[0])}, and not its output")
    return ends


def _ordered(
    nodes: Mapping[str, Mapping[str, Any]], calls: Mapping[str, _Call], start: str, end: str
) -> list[Node]:
    """Go from the end to the start."""
    names = {end: None}
    name = end
    while name != start:
        call = calls.get(name, _Call())
        tensors = call.tensors
        if len(tensors) != 1 or tensors[0][0] in names or tensors[0][1] != 0:
            got = listed(f"{each} ({n})" if n else each for each, n in tensors)
            problem = call.problem or f"takes {got}, and not one layer's only output"
            raise InputError("", f"{shown(name)} {problem}")
        name = tensors[0][0]
        names[name] = None
    if start not in nodes:
        raise InputError("", f"damaged: it has no {shown(start)}")
    masking = _masking(nodes, calls)
    ordered = []
    for each in reversed(names):
        mask = _source(nodes, calls, calls[each].mask)
        ordered.append(
            Node(each, nodes[each], masking.get(mask, calls[each].mask), calls[each].problem)
        )
    return ordered


# What a mask is computed from: a layer's output, by the layer, and a value.
_Compared: TypeAlias = tuple[str, Any]


def _masking(
    nodes: Mapping[str, Mapping[str, Any]], calls: Mapping[str, _Call]
) -> dict[_Compared | None, str]:
    """Return the layers that mask rows, by what they take and the value that they look for."""
    found: dict[_Compared | None, str] = {}
    for name, node in nodes.items():
        config = node.get("config")
        settings = config if isinstance(config, dict) else {}
        value = settings.get("mask_value", 0 if settings.get("mask_zero") else None)
        if isinstance(value, int | float) and len(calls[name].tensors) == 1:
            found[calls[name].tensors[0][0], value] = name
    return found


def _source(
    nodes: Mapping[str, Mapping[str, Any]], calls: Mapping[str, _Call], mask: str
) -> _Compared | None:
    """Return what a mask is computed from, for which Keras 3 has layers of its own.

    It is ``Any(NotEqual(x, value))``, and of an embedding ``NotEqual(x, 0)``; None for any other.
    """
    found = nodes.get(mask, {})
    if found.get("class_name") == "Any":
        tensors = calls[mask].tensors
        if found.get("config") != {**_ANY, "name": mask} or not tensors:
            return None
        mask = tensors[0][0]
    if nodes.get(mask, {}).get("class_name") != "NotEqual":
        return None
    (tensor, *_), others = calls[mask].tensors or [("", 0)], calls[mask].others
    value = others[0] if len(others) == 1 else None
    return (tensor[0], value) if isinstance(value, int | float) else None
