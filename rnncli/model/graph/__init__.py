"""A graph: nodes over arrays."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]


class RefusedError(Exception):
    """A node cannot be run here; the message says why."""


class TooShortError(RefusedError):
    """A node takes more values along an axis than there are, such as steps."""


class Unknown(NamedTuple):
    """A value, or an attribute, that is not read or not followed."""

    why: str = ""
    input: str = ""  # the input of the graph whose values nodes have only moved


class Node(NamedTuple):
    """A node; inputs and outputs that are left out are empty names.

    A recurrent node may carry its layer, and a node ``Layer`` carries one without state, which
    computes rows: the attribute ``layer``.
    """

    op: str
    name: str
    domain: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]


class Emitter:
    """Nodes that are added to a graph; `stem` begins the names of their values."""

    def __init__(self, stem: str) -> None:
        self.stem, self.nodes = stem, list[Node]()

    def emit(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str] = (), **attributes: Any
    ) -> str:
        """Add a node; return its first output."""
        names = outputs or [f"{self.stem}/{op}/{len(self.nodes)}"]
        self.nodes.append(Node(op, "", "", inputs, names, attributes))
        return names[0]


class Graph(NamedTuple):
    """Nodes, each after those whose outputs it takes, and arrays by name."""

    nodes: Sequence[Node]
    arrays: Mapping[str, Array | Unknown]
    # Shapes by name: sizes, or names of unknown sizes; None if the number of axes is unknown.
    inputs: Mapping[str, tuple[int | str, ...] | None]
    outputs: Mapping[str, str]  # values by the names of outputs
    opset: int = 20  # the version of the operators
    whole: Collection[str] = ()  # the inputs of whole numbers
    output: str = ""  # the name of the output that is asked for, if one is
