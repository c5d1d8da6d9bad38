"""What is written about the network beside its numbers."""

from collections.abc import Mapping
from typing import Any

from rnncli.network import Network


def describe(network: Network, source: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Describe a network for the ``model`` of a JSON document.

    Parameters
    ----------
    network : Network
    source : mapping
        Where its weights are from.
    version : str
        Of the program that writes.
    """
    return {
        "cell": "elman",
        "activation": "tanh",
        "direction": "forward",
        "input_size": network.input_size,
        "hidden_sizes": [network.hidden_size],
        "source": dict(source),
        "version": version,
    }


def model_line(model: Mapping[str, Any]) -> str:
    """Say in one line what network it is."""
    sizes = ", ".join(map(str, model["hidden_sizes"]))
    precision = [model["precision"]] if "precision" in model else []
    source = [f"{name} {value}" for name, value in model["source"].items()]
    parts = [f"I = {model['input_size']}", f"H = {sizes}", model["activation"], *precision, *source]
    return f"RNN: {', '.join(parts)}"
