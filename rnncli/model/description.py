"""Descriptions of networks: the ``model`` of a JSON document, and titles."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from rnncli.model.errors import listed, printable
from rnncli.model.layers import Layer, Recurrent, name_of
from rnncli.model.network import Network

# The name of the vanilla cell in a document.
_VANILLA = "elman"
# Settings of cells in a title: the word before a value, and the usual value, which is left out.
_SETTINGS = {
    "activation": ("", None),
    "recurrent_activation": ("gates", "sigmoid"),
    "output_activation": ("output", None),
    "peepholes": ("peepholes", None),
    "clip": ("clip", None),
    "reset": ("reset", "after"),
}
# A model that gives one row a sequence, in a title.
_LAST = {"state": "one row a sequence", "step": "the last row of a sequence"}
# The settings of layers without state.
_OF_LAYERS = ("activation", "value", "mask_zero", "epsilon", "operators")


def describe(network: Network, source: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return the ``model`` of a JSON document; settings that differ between cells are lists."""
    layers = (*network.front, *network.layers)
    recurrent = [layer for layer in layers if isinstance(layer, Recurrent)]
    stateless = len(recurrent) < len(layers)
    return {"cell": []} | known(
        **_describe_recurrent(recurrent, input_size=network.input_size),
        layers=[describe_layer(each, cells=False) for each in layers] if stateless else None,
        last=network.last,
        source=dict(source),
        version=version,
    )


def describe_layer(layer: Layer, *, cells: bool = True) -> dict[str, Any]:
    """Describe a layer for a document; nodes of a graph may have no name."""
    sizes = {"input_size": layer.input_size, "output_size": layer.output_size}
    if isinstance(layer, Recurrent):
        entries = _describe_recurrent([layer], **sizes) if cells else sizes
        return {"layer": "recurrent", **entries}
    kind = name_of(layer) or ("whole_sequences" if layer.takes_sequences else "rows")
    settings = {name: _as_json(layer.settings.get(name)) for name in _OF_LAYERS}
    return known(layer=kind, **sizes, **settings)


def model_line(model: Mapping[str, Any]) -> str:
    """Return the title of a table: the network in one line."""
    layers, columns = model.get("layers", []), model.get("columns", ())
    below = next((n for n, each in enumerate(layers) if each["layer"] == "recurrent"), 0)
    names = listed(map(str, columns)) if columns else ""
    if columns and all(isinstance(column, int) for column in columns):
        names = f"column{'s' * (len(columns) > 1)} {names}"
    words = [
        f"I = {model['input_size']}" + (f" ({names})" if names else ""),
        *map(_name_stateless, layers[:below]),
        f"H = {_listed(model['hidden_sizes'])}" if model["hidden_sizes"] else "",
        *_name_settings(model),
        *map(_name_stateless, layers[below:]),
        _LAST.get(model.get("last", ""), ""),
        model.get("precision", ""),
        f"{model['ahead']} steps ahead" if "ahead" in model else "",
    ]
    for name, value in model["source"].items():
        if name not in ("sha256", "beside"):
            words.append(f"no {name}" if value is False else f"{name} {value}")
    return printable(f"{_name_cells(model)}: {', '.join(filter(None, words))}")


def layer_line(layer: Mapping[str, Any]) -> str:
    """Put the result of `describe_layer` into words."""
    if layer["layer"] != "recurrent":
        return _name_stateless(layer)
    words = [f"{_name_cells(layer)} {layer['hidden_sizes'][0]}", *_name_settings(layer)]
    return ", ".join(filter(None, words))


def known(**entries: Any) -> dict[str, Any]:
    """Leave out entries that are None."""
    return {name: value for name, value in entries.items() if value is not None}


def _describe_recurrent(layers: Sequence[Recurrent], **sizes: int | None) -> dict[str, Any]:
    """Describe recurrent layers; `sizes` come before the sizes of their states."""
    cells = []
    for cell in (cell for layer in layers for cell in layer.cells):
        name = name_of(cell)
        entries = {"cell": _VANILLA if name == "rnn" else name}
        entries |= {setting: _as_json(value) for setting, value in cell.settings.items()}
        if entries.get("output_activation") == entries.get("activation"):
            entries.pop("output_activation", None)
        cells.append(entries | ({"peepholes": True} if cell.weights.w_ch is not None else {}))
    names = dict.fromkeys(name for cell in cells for name in cell)
    merges = [layer.merge for layer in layers if len(layer.cells) > 1]
    hidden = [layer.hidden_size for layer in layers]
    projected = [layer.cells[0].state_sizes[0] for layer in layers]
    return known(
        **{name: _one_or_all([cell.get(name) for cell in cells]) for name in names},
        direction=_one_or_all([layer.direction for layer in layers]),
        merge=_one_or_all(merges) if merges else None,
        **sizes,
        hidden_sizes=hidden,
        projected_sizes=projected if projected != hidden else None,
    )


def _name_cells(model: Mapping[str, Any]) -> str:
    """Name a network by its cells: ``RNN``, ``LSTM``, ..."""
    names = model.get("cell", _VANILLA)
    each = dict.fromkeys([names] if isinstance(names, str) else names)
    return ", ".join("RNN" if name == _VANILLA else name.upper() for name in each) or "Network"


def _name_settings(model: Mapping[str, Any]) -> list[str]:
    """Put the settings of recurrent layers into words."""
    projected, direction = model.get("projected_sizes"), model["direction"]
    words = [
        f"P = {_listed(projected)}" if projected else "",
        _listed(direction) if direction != "forward" else "",
        _listed(model.get("merge", "")),
    ]
    for name, (word, usual) in _SETTINGS.items():
        value = model.get(name)
        if usual and isinstance(value, list):  # a cell without this setting has null
            value = _one_or_all([each for each in value if each is not None])
        if value not in (None, usual):
            words.append(word if value is True else f"{word} {_listed(value)}".lstrip())
    return words


def _name_stateless(layer: Mapping[str, Any]) -> str:
    """Put a layer without state into words; return no text for a recurrent one."""
    kind = layer["layer"]
    if kind == "recurrent":
        return ""
    size = [layer["output_size"]] if kind in ("dense", "embedding") else []
    values = {name: layer[name] for name in _OF_LAYERS if layer.get(name) not in (None, "linear")}
    words = [name if value is True else value for name, value in values.items()]
    return " ".join(map(str, [kind.replace("_", " ").capitalize(), *size, *words]))


def _as_json(setting: Any) -> Any:
    """Return a setting as JSON: text, a finite number, true, or None."""
    if isinstance(setting, int | float):
        return setting if setting is not False and isfinite(setting) else None
    return None if setting is None else str(setting)


def _one_or_all(values: Sequence[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else list(values)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
