"""Chains of layers that the caller tells, of files of weights alone."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import load, refusal

import rnncli
from rnncli import LSTM, Dense, Embedding, Network, Normalization, Pointwise, Recurrent, Weights
from rnncli.model.errors import InputError

RANDOM = np.random.default_rng(4)
# By PyTorch's names: a table of 6 rows, an LSTM of 3 to 2 units, and layers above.
SHAPES: dict[str, tuple[int, ...]] = {
    "net.chars.weight": (6, 3),
    "net.rnn.weight_ih_l0": (8, 3),
    "net.rnn.weight_hh_l0": (8, 2),
    "net.rnn.bias_ih_l0": (8,),
    "net.rnn.bias_hh_l0": (8,),
    "net.norm.weight": (2,),
    "net.norm.bias": (2,),
    "net.norm.running_mean": (2,),
    "net.norm.running_var": (2,),
    "net.fc.weight": (4, 2),
    "net.fc.bias": (4,),
    "crf.transitions": (4, 4),
}
ARRAYS: dict[str, Any] = {n: np.abs(RANDOM.normal(size=shape)) for n, shape in SHAPES.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "w.npz"
    np.savez(path, **ARRAYS)
    return path


def array(name: str) -> Any:
    return ARRAYS[f"net.{name}"]


def test_a_chain_runs_as_its_layers_do(path: Path) -> None:
    chain = "chars,rnn,norm,net.fc:softmax"
    network, notes = load(path, chain=chain)
    assert notes == [
        "net.chars is read as an embedding",
        "net.norm is read as batch normalization, epsilon 1e-05",
        "leaves out crf, as `chain` tells",
    ]
    bias = array("rnn.bias_ih_l0") + array("rnn.bias_hh_l0")
    cell = LSTM(Weights(array("rnn.weight_ih_l0").T, array("rnn.weight_hh_l0").T, bias))
    scale = np.sqrt(array("norm.running_var") + 1e-5)
    norm = array("norm.running_mean"), scale, array("norm.bias"), array("norm.weight")
    expected = Network(
        Embedding(array("chars.weight")),
        Recurrent(cell),
        Normalization(*norm),
        Dense(array("fc.weight").T, array("fc.bias")),
        Pointwise("softmax", 4),
    )
    x = [[0], [5], [2]]
    y, right = (rnncli.run(each, x, precision="float64").y for each in (network, expected))
    np.testing.assert_array_equal(y, right)


def test_a_chain_runs_by_the_command(path: Path, run_rnn: Any) -> None:
    given = "--seq", "0,5,2", "-w", str(path)
    result = run_rnn("run", *given, "--chain", "chars,rnn,fc:relu", "-f", "csv")
    assert result.stdout.startswith("t,y_0,y_1,y_2,y_3\n")
    assert "--chain" in run_rnn("run", *given).stderr
    assert "give one" in run_rnn("run", *given, "--chain", "rnn", "--layer", "rnn").stderr
    assert (
        "is for --weights" in run_rnn("run", "--seq", "1", "--hidden", "2", "--chain", "a").stderr
    )


# By the names of components, the order in which each takes what the one before gives.
ORDERS = {
    "top fc rnn embed": "embed,rnn,fc,top",
    "top fc rnn chars": "",  # chars may be a linear layer on top
    "fc norm rnn": "rnn,norm,fc",
    "0 fc rnn embed": "embed,rnn,fc,mlp.0",
    "fc square norm rnn": "",  # the norm may stand below and above
    "wide fc rnn": "",
    "crf fc rnn": "",
}
MORE = {
    "net.embed.weight": (6, 3),
    "net.top.weight": (3, 4),
    "net.mlp.0.weight": (3, 4),
    "net.square.weight": (2, 2),
    "net.wide.weight": (3, 5),
}


@pytest.mark.parametrize(("names", "chain"), ORDERS.items())
def test_the_one_order_that_fits_is_printed(tmp_path: Path, names: str, chain: str) -> None:
    every = (SHAPES | MORE).items()
    shapes = {n: shape for name in names.split() for n, shape in every if name in n.split(".")}
    path = tmp_path / "w.npz"
    arrays: dict[str, Any] = {name: np.ones(shape) for name, shape in shapes.items()}
    np.savez(path, **arrays)
    assert find_chain(path) == chain
    if chain:
        load(path, chain=chain)


def find_chain(path: Path) -> str:
    """Return the chain that the message of a file prints."""
    printed = re.search("`chain` (.*) joins all", refusal(path))
    return printed[1] if printed else ""


def test_a_name_that_a_count_has_too(path: Path) -> None:
    arrays = {name: a for name, a in ARRAYS.items() if not name.startswith(("crf", "net.chars"))}
    arrays["other.fc.count"] = np.array(3)
    np.savez(path, **arrays)
    assert find_chain(path) == "net.rnn,net.norm,net.fc"
    load(path, chain=find_chain(path))


@pytest.mark.parametrize(
    ("chain", "why"),
    [
        ("chars,gru", "has no layer gru; it has net.rnn, net.chars, net.norm, net.fc, crf"),
        ("chars,fc", "a chain has a recurrent layer"),
        ("rnn,crf", "crf: a chain has recurrent layers, embeddings, linear layers and normal"),
        ("rnn,fc:swooosh", "net.fc: activation: expected one of"),
        ("fc,rnn", "layer 2: takes 3 values, 4 come from below"),
    ],
)
def test_chains_that_are_refused(path: Path, chain: str, why: str) -> None:
    with pytest.raises(InputError) as error:
        rnncli.load(path, chain=chain)
    assert why in str(error.value)
