"""Load a model file, read its refusal, and list the arrays and settings of a network."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import rnncli
from rnncli.cli import rnn
from rnncli.model.network import Network


def load(path: Path, **options: Any) -> tuple[Network, list[str]]:
    """Load a network; return it with its notes, which are warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network = rnncli.load(path, **options)
    return network, [str(each.message).removeprefix(f"{path}: ") for each in caught]


def refusal(path: Path, **options: Any) -> str:
    """Return the message of a file that is not loaded: one line, behind the path."""
    with pytest.raises(ValueError, match=r"\A.+\Z") as caught:
        rnncli.load(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def inspect(path: Path, *options: str) -> dict[str, Any]:
    """Return the document of ``rnn inspect``."""
    result = CliRunner().invoke(rnn, ["inspect", str(path), "--json", *options])
    document: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (not document["runs"])
    return document


def layers(network: Network) -> str:
    """Name the layers, the bottom one first: ``LSTM 3, Dense 2``."""
    return ", ".join(map(str, network.layers))


def content(network: Network) -> list[Any]:
    """Return all there is to a network, arrays as bytes."""
    return [network.last] + [
        (
            type(layer).__name__,
            layer.settings,
            [(type(cell).__name__, cell.settings) for cell in layer.cells],
            [
                (name, array.dtype, array.shape, array.tobytes())
                for arrays in (layer.arrays, *(cell.weights.arrays for cell in layer.cells))
                for name, array in arrays.items()
            ],
        )
        for layer in network.layers
    ]
