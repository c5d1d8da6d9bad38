"""What is written about a network beside its numbers."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from rnncli.model.errors import printable
from rnncli.model.layers import Layer, Recurrent, name_of
from rnncli.model.network import Network

# A title names no more columns than these.
_COLUMNS = 8
# What a document calls the vanilla cell.
_VANILLA = "elman"
# The settings of cells that a title tells: the words before a value, and one it leaves out.
_TOLD = {
    "activation": ("", None),
    "recurrent_activation": ("gates", "sigmoid"),
    "output_activation": ("output", None),
    "peepholes": ("peepholes", None),
    "clip": ("clip", None),
    "reset": ("reset", "after"),
}
# What documents tell of the source of the weights, and titles leave out.
_DIGESTS = ("sha256", "beside")
# What a title tells of a model that gives one row a sequence.
_LAST = {"state": "one row a sequence", "step": "the last row of a sequence"}
# The settings of layers without state.
_OF_LAYERS = ("activation", "value", "mask_zero", "epsilon", "operators")


def describe(network: Network, source: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return the ``model`` of a JSON document.

    A setting that differs between layers or cells is a list, the bottom one
    first. The layers are listed where one of them has no state.
    """
    parts = (*network.front, *network.layers)
    layers = [layer for layer in parts if isinstance(layer, Recurrent)]
    cells = [cell for layer in layers for cell in layer.cells]
    merges = [layer.merge for layer in layers if len(layer.cells) > 1]
    hidden = [layer.hidden_size for layer in layers]
    projected = [layer.cells[0].state_sizes[0] for layer in layers]
    every = [
        _layer_of(_kind(each), each.input_size, each.output_size, each.settings) for each in parts
    ]
    return known(
        {
            "cell": [],
            **_cells((name_of(c), c.settings, c.weights.w_ch is not None) for c in cells),
            "direction": _one_or_all([layer.direction for layer in layers]),
            "merge": _one_or_all(merges) if merges else None,
            "input_size": network.input_size,
            "hidden_sizes": hidden,
            "projected_sizes": projected if projected != hidden else None,
            "layers": every if len(layers) < len(every) else None,
            "last": network.last,
            "source": dict(source),
            "version": version,
        }
    )


def describe_layer(layer: Layer) -> dict[str, Any]:
    """Describe a layer for a document."""
    if not isinstance(layer, Recurrent):
        return _layer_of(_kind(layer), layer.input_size, layer.output_size, layer.settings)
    projected = layer.cells[0].state_sizes[0]
    return known(
        {
            "layer": "recurrent",
            **_cells((name_of(c), c.settings, c.weights.w_ch is not None) for c in layer.cells),
            "direction": layer.direction,
            "merge": layer.merge if len(layer.cells) > 1 else None,
            "input_size": layer.input_size,
            "output_size": layer.output_size,
            "hidden_sizes": [layer.hidden_size],
            "projected_sizes": [projected] if projected != layer.hidden_size else None,
        }
    )


def _kind(layer: Layer) -> str:
    """Name a layer for a document; a piece of a graph has no name of its own."""
    if layer.cells:
        return "recurrent"
    return name_of(layer) or ("whole_sequences" if layer.whole else "rows")


def model_line(model: Mapping[str, Any]) -> str:
    """Return the title of a table: the network in one line."""
    layers = model.get("layers", [])
    below = next((n for n, each in enumerate(layers) if each["layer"] == "recurrent"), 0)
    words = [
        f"I = {model['input_size']}{_columns(model.get('columns', ()))}",
        *map(_layer, layers[:below]),
        f"H = {_listed(model['hidden_sizes'])}" if model["hidden_sizes"] else "",
        *_recurrent(model),
        *map(_layer, layers[below:]),
        _LAST.get(model.get("last", ""), ""),
        model.get("precision", ""),
    ]
    for name, value in model["source"].items():
        if name not in _DIGESTS:
            words.append(f"no {name}" if value is False else f"{name} {value}")
    return printable(f"{_kinds(model)}: {', '.join(filter(None, words))}")


def layer_line(layer: Mapping[str, Any]) -> str:
    """Return a layer, as `describe_layer` has it, in words."""
    words = [f"{_kinds(layer)} {layer.get('hidden_sizes', [0])[0]}"]
    return _layer(layer) or ", ".join([*words, *filter(None, _recurrent(layer))])


def known(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what there is nothing to tell of."""
    return {name: value for name, value in entries.items() if value is not None}


def _cells(cells: Iterable[tuple[str, Mapping[str, Any], bool]]) -> dict[str, Any]:
    """Describe cells by their names, their settings and whether they have peepholes."""
    every = []
    for name, settings, peepholes in cells:
        cell = {"cell": _VANILLA if name == "rnn" else name}
        cell |= {setting: _plain(value) for setting, value in settings.items()}
        if cell.get("output_activation") == cell.get("activation"):
            cell.pop("output_activation", None)
        every.append(cell | ({"peepholes": True} if peepholes else {}))
    names = dict.fromkeys(name for cell in every for name in cell)
    return known({name: _one_or_all([cell.get(name) for cell in every]) for name in names})


def _layer_of(
    kind: str, I: int | None, O: int | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Describe a layer but for its cells."""
    told = {name: _plain(settings.get(name)) for name in _OF_LAYERS}
    return known({"layer": kind, "input_size": I, "output_size": O, **told})


def _kinds(model: Mapping[str, Any]) -> str:
    """Name a network by its cells: ``RNN``, ``LSTM``, ..."""
    names = model.get("cell", _VANILLA)
    each = dict.fromkeys([names] if isinstance(names, str) else names)
    return ", ".join("RNN" if name == _VANILLA else name.upper() for name in each) or "Network"


def _recurrent(model: Mapping[str, Any]) -> list[str]:
    """Return recurrent layers in words, but for the kinds and sizes of their cells."""
    projected, direction = model.get("projected_sizes"), model["direction"]
    words = [
        f"P = {_listed(projected)}" if projected else "",
        _listed(direction) if direction != "forward" else "",
        _listed(model.get("merge", "")),
    ]
    for name, (word, usual) in _TOLD.items():
        value = model.get(name)
        if usual and isinstance(value, list):  # null is that of a cell that has none
            value = _one_or_all([each for each in value if each is not None])
        if value not in (None, usual):
            words.append(word if value is True else f"{word} {_listed(value)}".lstrip())
    return words


def _layer(layer: Mapping[str, Any]) -> str:
    """Return a layer without state in words; nothing for a recurrent one."""
    kind = layer["layer"]
    if kind == "recurrent":
        return ""
    size = [layer["output_size"]] if kind in ("dense", "embedding") else []
    told = {name: layer[name] for name in _OF_LAYERS if layer.get(name) not in (None, "linear")}
    words = [name if value is True else value for name, value in told.items()]
    return " ".join(map(str, [kind.replace("_", " ").capitalize(), *size, *words]))


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
    """Return a setting as JSON has it: text, a finite number, true, or None."""
    if isinstance(setting, bool):
        return setting or None
    if isinstance(setting, int | float):
        return setting if isfinite(setting) else None
    return None if setting is None else str(setting)


def _one_or_all(values: Sequence[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else list(values)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
