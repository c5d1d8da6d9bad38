"""What is written about a network beside its numbers."""

from collections.abc import Mapping, Sequence
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
    every = (*network.front, *network.layers)
    layers = [layer for layer in every if isinstance(layer, Recurrent)]
    cells = [cell for layer in layers for cell in layer.cells]
    settings = _of_all(
        [_settings(cell.settings, peepholes=cell.weights.w_ch is not None) for cell in cells]
    )
    merges = [layer.merge for layer in layers if len(layer.cells) > 1]
    hidden = [layer.hidden_size for layer in layers]
    projected = [layer.cells[0].state_sizes[0] for layer in layers]
    return {
        "cell": _one_or_all([_VANILLA if name == "rnn" else name for name in map(name_of, cells)]),
        **settings,
        "direction": _one_or_all([layer.direction for layer in layers]),
        **({"merge": _one_or_all(merges)} if merges else {}),
        "input_size": network.input_size,
        "hidden_sizes": hidden,
        **({} if projected == hidden else {"projected_sizes": projected}),
        **({} if len(layers) == len(every) else {"layers": _layers(every)}),
        **({"last": network.last} if network.last else {}),
        "source": dict(source),
        "version": version,
    }


def _of_all(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of several cells: one value, or a list of them where they differ."""
    settings = {
        name: _one_or_all([settings.get(name) for settings in told])
        for name in dict.fromkeys(name for settings in told for name in settings)
    }
    return {name: value for name, value in settings.items() if value is not None}


def model_line(model: Mapping[str, Any]) -> str:
    """Return the title of a table: the network in one line."""
    layers = model.get("layers", [])
    below = next((n for n, each in enumerate(layers) if each["layer"] == "recurrent"), 0)
    parts = [
        f"I = {model['input_size']}{_columns(model.get('columns', ()))}",
        *filter(None, map(_layer, layers[:below])),
        *([f"H = {_listed(model['hidden_sizes'])}"] if model["hidden_sizes"] else []),
        *_recurrent(model),
        *filter(None, map(_layer, layers[below:])),
        *([_LAST[model["last"]]] if "last" in model else []),
        *([model["precision"]] if "precision" in model else []),
        *(_source(*item) for item in model["source"].items() if item[0] not in _DIGESTS),
    ]
    return printable(f"{network_kind(model)}: {', '.join(parts)}")


def describe_layer(layer: Layer) -> dict[str, Any]:
    """Return what a document says of a layer."""
    taken = {"input_size": layer.input_size, "output_size": layer.output_size}
    if not isinstance(layer, Recurrent):
        settings = {name: _plain(layer.settings.get(name)) for name in _OF_LAYERS}
        told = taken | settings
        return {"layer": _kind(layer)} | {n: v for n, v in told.items() if v is not None}
    names = ("direction", "merge") if len(layer.cells) > 1 else ("direction",)
    projected = layer.cells[0].state_sizes[0]
    kinds = [name_of(cell) for cell in layer.cells]
    return {
        "layer": "recurrent",
        "cell": _one_or_all([_VANILLA if kind == "rnn" else kind for kind in kinds]),
        **_of_all(
            [_settings(c.settings, peepholes=c.weights.w_ch is not None) for c in layer.cells]
        ),
        **{name: layer.settings[name] for name in names},
        **taken,
        "hidden_sizes": [layer.hidden_size],
        **({} if projected == layer.hidden_size else {"projected_sizes": [projected]}),
    }


def _kind(layer: Layer) -> str:
    """Return what a document calls a layer without state; a piece of a graph has no name."""
    return name_of(layer) or ("whole_sequences" if layer.whole else "rows")


def layer_line(layer: Mapping[str, Any]) -> str:
    """Return a layer, as `describe_layer` has it, in words."""
    if layer["layer"] != "recurrent":
        return _layer(layer)
    return ", ".join([f"{network_kind(layer)} {layer['hidden_sizes'][0]}", *_recurrent(layer)])


def network_kind(model: Mapping[str, Any]) -> str:
    """Return what a network is called by its cells: ``RNN``, ``LSTM``, ..."""
    names = model.get("cell", _VANILLA)
    each = dict.fromkeys([names] if isinstance(names, str) else names)
    return ", ".join("RNN" if name == _VANILLA else name.upper() for name in each) or "Network"


def _settings(settings: Mapping[str, Any], *, peepholes: bool) -> dict[str, Any]:
    """Return the settings of a cell as JSON has them: None where there is nothing to tell."""
    told = {name: _plain(value) for name, value in settings.items()}
    if told.get("output_activation") == told.get("activation"):
        told.pop("output_activation", None)
    return told | ({"peepholes": True} if peepholes else {})


def _layers(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """Return what a document says of each layer, the bottom one first."""
    return [
        {
            "layer": "recurrent" if layer.cells else _kind(layer),
            "input_size": layer.input_size,
            "output_size": layer.output_size,
            **{
                name: value
                for name in _OF_LAYERS
                if (value := _plain(layer.settings.get(name))) is not None
            },
        }
        for layer in layers
    ]


def _recurrent(model: Mapping[str, Any]) -> list[str]:
    """Return recurrent layers in words, but for the kinds and sizes of their cells."""
    projected = model.get("projected_sizes")
    settings = (_setting(name, model[name]) for name in _TOLD if name in model)
    return [
        *([f"P = {_listed(projected)}"] if projected else []),
        *([] if model["direction"] in ("forward", []) else [_listed(model["direction"])]),
        *([_listed(model["merge"])] if "merge" in model else []),
        *filter(None, settings),
    ]


def _layer(layer: Mapping[str, Any]) -> str:
    """Return a layer without state in words; nothing for a recurrent one."""
    kind = layer["layer"]
    if kind == "recurrent":
        return ""
    size = [layer["output_size"]] if kind in ("dense", "embedding") else []
    told = {name: layer[name] for name in _OF_LAYERS if layer.get(name) not in (None, "linear")}
    words = [name if value is True else value for name, value in told.items()]
    return " ".join(map(str, [kind.replace("_", " ").capitalize(), *size, *words]))


def _setting(name: str, value: Any) -> str:
    """Return a setting of the cells in words, empty if there is nothing to tell."""
    word, usual = _TOLD[name]
    if usual is not None and isinstance(value, list):  # null is that of a cell that has none
        value = _one_or_all([each for each in value if each is not None])
    if value == usual:
        return ""
    return word if value is True else f"{word} {_listed(value)}".lstrip()


def _source(name: str, value: Any) -> str:
    return f"no {name}" if value is False else f"{name} {value}"


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
