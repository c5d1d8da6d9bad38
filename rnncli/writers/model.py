"""What is written about a network beside its numbers."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from rnncli.model.errors import printable
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network

# A title names no more columns than these.
_COLUMNS = 8


def describe(network: Network, source: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return the ``model`` of a JSON document.

    A setting that differs between layers or cells is a list, the bottom one
    first. Only recurrent layers are described.

    Parameters
    ----------
    network : Network
    source : mapping
        Where the weights are from.
    version : str
        Version of the program.
    """
    layers = [layer for layer in network.layers if isinstance(layer, Recurrent)]
    cells = [cell.settings for layer in layers for cell in layer.cells]
    merges = [layer.merge for layer in layers if len(layer.cells) > 1]
    settings = {
        name: _one_or_all([_plain(settings.get(name)) for settings in cells])
        for name in dict.fromkeys(name for settings in cells for name in settings)
    }
    return {
        "cell": "elman",
        **{name: value for name, value in settings.items() if value is not None},
        "direction": _one_or_all([layer.direction for layer in layers]),
        **({"merge": _one_or_all(merges)} if merges else {}),
        "input_size": network.input_size,
        "hidden_sizes": [layer.hidden_size for layer in layers],
        "source": dict(source),
        "version": version,
    }


def model_line(model: Mapping[str, Any]) -> str:
    """Return the title of a table: the network in one line."""
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
    """Return the names of the columns that were read, if they are known."""
    if not columns:
        return ""
    names = ", ".join(str(column) for column in columns[:_COLUMNS])
    more = f" and {len(columns) - _COLUMNS} more" if len(columns) > _COLUMNS else ""
    numbered = all(isinstance(column, int) for column in columns)
    label = "" if not numbered else "column " if len(columns) == 1 else "columns "
    return f" ({label}{names}{more})"


def _plain(setting: Any) -> Any:
    """Return a setting as JSON has it: text, a finite number, or None."""
    if isinstance(setting, int | float):
        return setting if isfinite(setting) else None
    return None if setting is None else str(setting)


def _one_or_all(values: Sequence[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else list(values)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
