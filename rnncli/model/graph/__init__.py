"""A graph: nodes over arrays, and what computes them."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import shown

Array = NDArray[Any]


class RefusedError(Exception):
    """A node that is not run here, and why."""


class UnfitError(RefusedError):
    """A node whose inputs do not fit it."""


class Unknown(NamedTuple):
    """A value, or an attribute, that is not read or not followed."""

    why: str = ""


class Node(NamedTuple):
    """A node; inputs and outputs that are left out are empty names."""

    op: str
    name: str
    domain: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]


class Graph(NamedTuple):
    """Nodes, each after those whose outputs it takes, and arrays by name."""

    nodes: Sequence[Node]
    arrays: Mapping[str, Array | Unknown]
    # Shapes by name: sizes, or names of sizes; None where the file does not tell.
    inputs: Mapping[str, tuple[int | str, ...] | None]
    outputs: Mapping[str, tuple[int | str, ...] | None]


def count_values(node: Node, given: Sequence[Any]) -> float:
    """Count the values that a node makes at most."""
    from rnncli.model.graph.operators import ELEMENTWISE

    op, known, arrays = node.op, node.attributes, [each for each in given if each is not None]
    total = sum(float(each.size) for each in arrays)
    x = arrays[0] if arrays else np.empty(1)
    if op in ELEMENTWISE:
        return float(prod(np.broadcast_shapes(*(each.shape for each in arrays))))
    if op in ("ConstantOfShape", "Expand", "Tile"):
        return float(prod(_magnitudes(arrays[-1])) * (x.size if len(arrays) > 1 else 1))
    if op == "Range":
        begin, end, by = (_magnitudes(each)[0] for each in arrays)
        return float((begin + end) / (by or 1e-9))
    if op in ("Pad", "Conv", "MaxPool", "AveragePool"):
        kernel = _magnitudes(given[1].shape[2:] if op == "Conv" else known.get("kernel_shape", ()))
        pads = _magnitudes(known.get("pads", arrays[1] if op == "Pad" else ()))
        shape, n = np.array(x.shape, float), len(pads) // 2
        shape[len(shape) - n :] += pads[:n] + pads[n:]
        shape[len(shape) - len(kernel) :] += kernel * known.get("dilations", 1)  # for auto_pad
        places = prod(shape) / max(shape[1], 1) / prod(_magnitudes(known.get("strides", 1)))
        # The channels of labels are joined.
        channels = known.get("group", 1) if op == "Conv" and x.dtype.kind == "i" else shape[1]
        made = len(given[1]) if op == "Conv" else 0
        return float(prod(shape) + places * (channels * prod(kernel) + made))
    if op == "Gather":
        return float(x.size / max(x.shape[known.get("axis", 0)], 1) * given[1].size)
    if op in ("MatMul", "Gemm"):
        total -= given[1].size if x.dtype.kind != given[1].dtype.kind else 0  # weights of labels
        return float(total + x.size / max(x.shape[-1:], default=1) * max(given[1].shape))
    return total


def _magnitudes(values: Any) -> NDArray[np.float64]:
    return np.abs(np.ravel(values).astype(np.float64))


def apply(
    node: Node, given: Sequence[Any], opset: int, spend: Callable[[float], None] = lambda _: None
) -> list[Any]:
    """Compute what a node gives; `spend` is called with the number of values before."""
    from rnncli.model.graph.operators import OPERATORS

    operator, attributes = OPERATORS.get(node.op), dict(node.attributes)
    if operator is None or node.domain:
        raise RefusedError(f"operator {f'{node.domain} {node.op}'.strip()} is not read")
    for value in attributes.values():
        if isinstance(value, Unknown):
            raise RefusedError(value.why)
    outputs = len([*filter(None, node.outputs)]) or len(node.outputs)
    attributes |= {"outputs": outputs} if node.op == "Split" else {}
    try:
        older = node.op in ("Softmax", "LogSoftmax") and opset < 13  # of all axes from one on
        if older and attributes.setdefault("axis", 1) not in (-1, given[0].ndim - 1):
            raise RefusedError(f"{node.op} over several axes is not read")
        spend(count_values(node, given))
        with np.errstate(all="ignore"):
            made = operator(*given, **attributes)
    except TypeError as error:
        known = str(error).partition("keyword argument ")[2].strip("'")
        what = f"attribute {shown(known)} is not read" if known else "its inputs do not fit it"
        raise (RefusedError if known else UnfitError)(f"{node.op}: {what}") from error
    except (ValueError, LookupError, ArithmeticError, AttributeError, RuntimeError) as error:
        raise UnfitError(f"{node.op}: its inputs do not fit it") from error
    return made if isinstance(made, list) else [np.asanyarray(made)]


def evaluate(nodes: Sequence[Node], values: dict[str, Any], opset: int) -> dict[str, Any]:
    """Compute nodes, each after those whose outputs it takes; add what they give to the values."""
    for node in nodes:
        given = [values[name] if name else None for name in node.inputs]
        values.update(zip(node.outputs, apply(node, given, opset), strict=False))
    return values
