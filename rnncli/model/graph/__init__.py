"""A graph: nodes over arrays, and what computes them."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import shown

Array = NDArray[Any]


class RefusedError(Exception):
    """A node that is not run here: why, and a way out."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why, self.hint = why, hint


class Unread(NamedTuple):
    """An array or an attribute of a type that is not read."""

    why: str


class Node(NamedTuple):
    """A node; inputs and outputs that are left out are empty names."""

    op: str
    name: str
    domain: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]


class Graph(NamedTuple):
    """Nodes, each after those whose outputs it takes, and arrays by name.

    Inputs and outputs have their shapes by name: sizes, or names of sizes; None where the file
    does not tell.
    """

    nodes: Sequence[Node]
    arrays: Mapping[str, Array | Unread]
    inputs: Mapping[str, tuple[int | str, ...] | None]
    outputs: Mapping[str, tuple[int | str, ...] | None]


def count_values(node: Node, given: Sequence[Any]) -> float:
    """Count the values that a node makes at most."""
    op, arrays = node.op, [each for each in given if each is not None]
    sizes = [each.size for each in arrays] or [1]
    if op in ("ConstantOfShape", "Expand", "Tile"):
        return float(prod(_numbers(arrays[-1])) * (sizes[0] if len(arrays) > 1 else 1))
    if op == "Range":
        begin, end, by = (_numbers(each)[0] for each in arrays)
        return float((begin + end) / (by or 1e-9))
    if op in ("Pad", "Conv", "MaxPool", "AveragePool"):
        given_kernel = given[1].shape[2:] if op == "Conv" else node.attributes.get("kernel_shape")
        kernel, dilations = _numbers(given_kernel or []), node.attributes.get("dilations") or 1
        pads = _numbers(node.attributes.get("pads") or (arrays[1] if op == "Pad" else []))
        shape, n = np.array(given[0].shape, float), len(pads) // 2
        shape[len(shape) - n :] += pads[:n] + pads[n:]
        shape[len(shape) - len(kernel) :] += kernel * dilations  # what auto_pad may add
        made = prod(shape) / max(shape[1], 1) * len(given[1]) if op == "Conv" else 0
        return float(prod(shape) * prod(kernel) + made)
    if op == "Gather" and given[0].ndim:
        axis = node.attributes.get("axis", 0) % given[0].ndim
        return float(sizes[0] / max(given[0].shape[axis], 1) * sizes[1])
    if op == "Concat":
        return float(sum(sizes))
    if op in ("MatMul", "Gemm"):
        wide = sizes[0] / max(given[0].shape[-1:], default=1) * max(given[1].shape)
        return float(sum(sizes) + wide)
    try:
        return float(prod([*np.broadcast_shapes(*(each.shape for each in arrays))]))
    except (ValueError, RuntimeError):  # they do not fit, or have too many axes
        return float(sum(sizes))


def _numbers(values: Any) -> NDArray[np.float64]:
    return np.abs(np.ravel(values).astype(np.float64))


def apply(
    node: Node, given: Sequence[Any], opset: int, spend: Callable[[float], None] = lambda _: None
) -> list[Any]:
    """Compute what a node gives; `spend` is called with the number of values before.

    An attribute that its operator does not know is refused, like a type that it does not take.
    """
    from rnncli.model.graph.operators import OLDER, OPERATORS

    operator = OPERATORS.get(node.op)
    if node.op in OLDER and opset < OLDER[node.op][0]:
        operator = OLDER[node.op][1]
    if operator is None:
        raise RefusedError(f"operator {node.op} is not read")
    unread = next((v for v in node.attributes.values() if isinstance(v, Unread)), None)
    if unread:
        raise RefusedError(unread.why)
    outputs = len([*filter(None, node.outputs)]) or len(node.outputs)
    more = {"outputs": outputs} if node.op == "Split" else {}
    try:
        spend(count_values(node, given))
        with np.errstate(all="ignore"):
            found = operator(*given, **node.attributes, **more)
    except TypeError as error:
        known = str(error).partition("keyword argument ")[2]
        what = f"attribute {shown(known)} is not read" if known else "its inputs do not fit it"
        raise RefusedError(f"{node.op}: {what}") from error
    except (ValueError, LookupError, ArithmeticError, AttributeError, RuntimeError) as error:
        raise RefusedError(f"{node.op}: its inputs do not fit it") from error
    return found if isinstance(found, list) else [found]


def evaluate(nodes: Sequence[Node], values: dict[str, Any], opset: int) -> dict[str, Any]:
    """Compute nodes, each after those whose outputs it takes; add what they give to the values."""
    for node in nodes:
        given = [values[name] if name else None for name in node.inputs]
        values.update(zip(node.outputs, apply(node, given, opset), strict=False))
    return values
