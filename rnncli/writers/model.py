"""What is written about the network beside its numbers."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from rnncli.model.network import Network
from rnncli.writers.screen import printable

# A title names no more columns than these.
_COLUMNS = 8


def describe(network: Network, source: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Describe a network for the ``model`` of a JSON document.

    What layers or cells differ in is a list, the bottom one first.

    Parameters
    ----------
    network : Network
    source : mapping
        Where its weights are from.
    version : str
        Of the program that writes.
    """
    layers, cells = network.layers, network.cells
    merges = [layer.merge for layer in layers if len(layer.cells) > 1]
    clips = [cell.clip if isfinite(cell.clip) else None for cell in cells]
    return {
        "cell": "elman",
        "activation": _one_or_all([str(cell.activation) for cell in cells]),
        **({} if set(clips) == {None} else {"clip": _one_or_all(clips)}),
        "direction": _one_or_all([layer.direction for layer in layers]),
        **({"merge": _one_or_all(merges)} if merges else {}),
        "input_size": network.input_size,
        "hidden_sizes": [layer.hidden_size for layer in layers],
        "source": dict(source),
        "version": version,
    }


def model_line(model: Mapping[str, Any]) -> str:
    """Say in one line what network it is."""
    parts = [
        f"I = {model['input_size']}{_columns(model.get('columns', ()))}",
        f"H = {_listed(model['hidden_sizes'])}",
        *([] if model["direction"] == "forward" else [_listed(model["direction"])]),
        *([_listed(model["merge"])] if "merge" in model else []),
        _listed(model["activation"]),
        *([f"clip {_listed(model['clip'])}"] if "clip" in model else []),
        *([model["precision"]] if "precision" in model else []),
        *(f"{name} {value}" for name, value in model["source"].items() if name != "sha256"),
    ]
    return printable(f"RNN: {', '.join(parts)}")


def _columns(columns: Sequence[str | int]) -> str:
    """Name the columns that were read, where they are known."""
    if not columns:
        return ""
    names = ", ".join(str(column) for column in columns[:_COLUMNS])
    more = f" and {len(columns) - _COLUMNS} more" if len(columns) > _COLUMNS else ""
    numbered = all(isinstance(column, int) for column in columns)
    label = "" if not numbered else "column " if len(columns) == 1 else "columns "
    return f" ({label}{names}{more})"


def _one_or_all(values: Sequence[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else list(values)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
