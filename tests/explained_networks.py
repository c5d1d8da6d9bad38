"""Networks of every kind, and what `rnn explain` says of their steps."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from conftest import Rnn
from random_networks import gated_cell

import rnncli
from rnncli import Dense, LayerNormalization, Masking, Network, Normalization, Pointwise

# A key that would end a script, begin a tag, clear a screen and turn writing round.
HOSTILE = "</script><img src=x onerror=hacked=1>\x1b[2J\u202eab"


class Case(NamedTuple):
    """A network, and options beside it."""

    network: Network
    options: tuple[str, ...] = ()


def seeded(**options: Any) -> Network:
    return rnncli.seeded(**{"input_size": 1, "seed": 3, "init": "keras", **options})


def stack_with_head() -> Network:
    """A bidirectional stack of GRUs below a dense layer."""
    layers = seeded(hidden_size=[3, 4], cell="gru", direction="bidirectional").layers
    W = np.random.default_rng(0).normal(size=(8, 2))
    return Network(*layers, Dense(W, [0.5, -1.0], "sigmoid"))


def between_layers_without_state() -> Network:
    below = Normalization([0.5], [2.0], [0.25], [1.5])
    (layer,) = seeded(hidden_size=3).layers
    return Network(
        below, layer, LayerNormalization([1.0, 2.0, 3.0], [0.5, 0.0, -0.5]), Pointwise("softmax", 3)
    )


CASES = {
    "vanilla": Case(seeded(hidden_size=4, init="tensorflow")),
    "lstm": Case(seeded(hidden_size=4, cell="lstm")),
    "lstm, float64": Case(seeded(hidden_size=3, cell="lstm"), ("--precision", "float64")),
    "gru, both directions, head": Case(stack_with_head()),
    "one row a sequence": Case(Network(*stack_with_head().layers, last="state")),
    "gru, reset before": Case(Network(gated_cell("gru before", 1, 3))),
    "lstm, projected": Case(  # its h has other units than its gates
        Network(gated_cell("lstm peepholes projection", 1, 4)), ("--precision", "float64")
    ),
    "rounded operands": Case(seeded(hidden_size=3), ("--precision", "bfloat16")),
    "thirty units": Case(seeded(hidden_size=30)),
    "layers without state": Case(between_layers_without_state()),
    "masked row": Case(Network(Masking(-3.0, 1), *seeded(hidden_size=2).layers)),
}


def command_of(case: Case, folder: Path) -> list[str]:
    """The command line of a case, its network saved in the folder."""
    path = folder / "network.npz"
    rnncli.save(case.network, path)
    return ["explain", "--seq", "1,2,-3,0.25,5,6", "--weights", str(path), *case.options]


def written(run: Rnn, command: list[str], folder: Path) -> tuple[Path, dict[str, Any]]:
    """The page of all steps, and the document of them."""
    page, document = folder / "page.html", folder / "page.json"
    for path in (page, document):
        result = run(*command, "--steps", "1:", "-o", str(path))
        assert result.exit_code == 0, result.output
    return page, json.loads(document.read_text())


def dtype_of(document: dict[str, Any]) -> type[np.floating[Any]]:
    return np.float64 if document["model"]["precision"] == "float64" else np.float32
