"""``rnn verify`` on what the libraries compute with stacks that PyTorch and Keras trained."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import rnncli
from peers.networks import Array
from peers.train import FOLDER, STACKS, load, task
from rnncli.cli import rnn
from rnncli.verify.peers import PEERS, Unsupported, build

X, _ = task(np.random.RandomState(0), 3, 100)


def merge_of(name: str) -> str:
    library, _, kind = name.partition("-")
    return kind if library == "keras" else "concat"


def loaded(name: str) -> rnncli.Network:
    return load(FOLDER / f"{name}.npz", merge_of(name))


def computed(peer: str, network: rnncli.Network) -> Array:
    h0 = np.zeros((len(X), network.state_size), np.float32)
    return build(peer, network)(X, h0, None).h


def verdict(folder: Path, name: str, h: Array) -> tuple[str, list[str]]:
    np.save(folder / "x.npy", X)
    np.save(folder / "e.npy", h)
    options = [str(folder / "x.npy"), "--weights", str(FOLDER / f"{name}.npz")]
    options += ["--expected", str(folder / "e.npy")]
    if merge_of(name) != "concat":
        options += ["--merge", merge_of(name)]
    result = CliRunner().invoke(rnn, ["verify", *options, "--peer", "onnxruntime", "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == (0 if report["equal"] else 1)
    found = [explanation["name"] for explanation in report.get("explanations", [])]
    return report["results"][0]["verdict"], found


def test_some_carry_rounding_on() -> None:
    """Else the tests below show less than they are for."""
    distances = []
    for name in STACKS:
        single, double = (
            rnncli.run(loaded(name), X, precision=precision).h
            for precision in ("float32", "float64")
        )
        distances.append(float(np.abs(single - double).max()))
    assert sorted(distances)[-2] > 2e-6


@pytest.mark.parametrize("name", STACKS)
def test_right_outputs_are_equal(tmp_path: Path, name: str) -> None:
    network = loaded(name)
    for peer in PEERS:
        try:
            h = computed(peer, network)
        except Unsupported:
            assert peer == "torch"
            continue
        assert verdict(tmp_path, name, h) == ("equal", []), peer


def without_bias(network: rnncli.Network) -> rnncli.Network:
    return with_weights(network, lambda w: w._replace(b_h=np.zeros_like(w.b_h)))


def transposed(network: rnncli.Network) -> rnncli.Network:
    return with_weights(
        network,
        lambda w: w._replace(W_xh=np.ascontiguousarray(w.W_xh.reshape(w.W_xh.shape[::-1]).T)),
    )


def perturbed(network: rnncli.Network) -> rnncli.Network:
    by = iter([0.01, *[0.0] * 10])  # the first cell alone

    def change(weights: rnncli.Weights) -> rnncli.Weights:
        W_hh = weights.W_hh.copy()
        W_hh[0, 1] += np.float32(next(by))
        return weights._replace(W_hh=W_hh)

    return with_weights(network, change)


def with_weights(
    network: rnncli.Network, change: Callable[[rnncli.Weights], rnncli.Weights]
) -> rnncli.Network:
    return network.with_cells(lambda cell: cell.replaced(change(cell.weights)))


FAULTS = {
    "no bias": (without_bias, ["no bias"]),
    "a weight": (perturbed, []),
    "W_xh": (transposed, ["W_xh transposed"]),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", STACKS)
def test_wrong_networks_are_different_and_explained(tmp_path: Path, name: str, fault: str) -> None:
    network = loaded(name)
    change, names = FAULTS[fault]
    wrong = computed("onnxruntime", change(network))
    assert verdict(tmp_path, name, wrong) == ("different", names)


@pytest.mark.parametrize("name", STACKS)
def test_wrong_outputs_are_different_and_explained(tmp_path: Path, name: str) -> None:
    network = loaded(name)
    h = computed("onnxruntime", network)
    noise = np.random.RandomState(1).normal(0, h.std(), h.shape).astype(np.float32)
    for wrong in (np.zeros_like(h), noise):
        assert verdict(tmp_path, name, wrong) == ("different", [])
    if name == "torch-bidirectional":
        halves = np.roll(h, h.shape[2] // 2, axis=2)
        names = ["forward and backward halves exchanged"]
        assert verdict(tmp_path, name, halves) == ("different", names)
