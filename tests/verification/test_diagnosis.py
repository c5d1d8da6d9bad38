"""``rnn verify --expected`` names the mistake of a port, and no other.

A port is a run in float64 of the network with one mistake, made here by hand.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file
from saved_stacks import invoke

import rnncli
from rnncli import Dense, Network
from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, LSTM, RNN, Cell, Weights
from rnncli.model.layers import Layer, Recurrent
from rnncli.verification.reference import round_to

I, H = 3, 4
LENGTHS = (12, 10, 4)
RANDOM = np.random.RandomState(5)
X = [RANDOM.normal(size=(T, I)).astype("f") for T in LENGTHS]
EVERY = np.concatenate(X)
MEAN, LOW, HIGH = EVERY.mean(axis=0), EVERY.min(axis=0), EVERY.max(axis=0)
Rows = Callable[[Floats], Floats]
Change = Callable[[Floats], Floats]


def normal(*shape: int) -> Floats:
    return RANDOM.uniform(-0.7, 0.7, shape).astype("f")


def rnn(width: int = I, units: int = H, **settings: Any) -> RNN:
    return RNN(Weights(normal(width, units), normal(units, units), normal(units)), **settings)


def lstm() -> LSTM:
    return LSTM(Weights(normal(I, 4 * H), normal(H, 4 * H), normal(4 * H)))


def gru(**settings: Any) -> GRU:
    """A GRU whose candidate has a recurrent bias of its own, if that is reset after the product."""
    b_n = {} if settings.pop("plain", settings) else {"b_n": normal(H)}
    return GRU(Weights(normal(I, 3 * H), normal(H, 3 * H), normal(3 * H), **b_n), **settings)


def both(*cells: Cell, merge: str = "concat") -> Recurrent:
    return Recurrent(*cells, direction="bidirectional", merge=merge)


ONE, SQUARE = Network(rnn()), Network(rnn(I, I))
TWO = Network(rnn(), rnn(H))
LEAKY = Network(rnn(activation="leaky_relu"))
BOTH = Network(both(rnn(), rnn()))
L = Network(lstm())
G, G_OLD, G_BEFORE = Network(gru()), Network(gru(plain=True)), Network(gru(reset="before"))
HEAD = Dense(normal(H, 2), normal(2), "softmax")
HEADED = Network(lstm(), HEAD, last="state")
PLAIN = Network(lstm(), Dense(normal(H, 2), normal(2)))
BOTH_HEAD = Dense(normal(2 * H, 2), normal(2))
BOTH_HEADED = Network(both(lstm(), lstm()), BOTH_HEAD, last="state")


class Port(NamedTuple):
    """A network, what a port of it gives of each sequence, and options of the command."""

    right: Network
    rows: Rows
    options: Sequence[str] = ()


def output(network: Network, x: Floats, **options: Any) -> Floats:
    """Run in float64: the output of every step, or of a sequence."""
    ran = rnncli.run(network, x, precision="float64", **options)
    if network.last:
        assert ran.y_n is not None
        return ran.y_n[None]
    return ran.h if ran.y is None else ran.y


def wrong(right: Network, mistaken: Network | Recurrent | Cell) -> Port:
    network = mistaken if isinstance(mistaken, Network) else Network(mistaken)
    return Port(right, lambda x: output(network, x))


def changed(network: Network, **changes: Change) -> Port:
    """A port that has other arrays in all cells."""

    def change(cell: Cell) -> Cell:
        arrays = {name: change(cell.weights.arrays[name]) for name, change in changes.items()}
        return cell.replaced(cell.weights._replace(**arrays))

    return wrong(network, network.with_cells(change))


def replace_settings(network: Network, **settings: Any) -> Port:
    """A port whose cells have other settings."""
    return wrong(network, network.with_cells(lambda cell: cell.replaced(**settings)))


def rows(network: Network, change: Change) -> Port:
    """A port that computes the right rows, and does this with them."""
    return Port(network, lambda x: change(output(network, x)))


def fed(network: Network, change: Change) -> Port:
    """A port that does this with its input."""
    return Port(network, lambda x: output(network, change(x)))


def read_gates_as(network: Network, mine: str, order: str) -> Port:
    """A port that reads the columns of gates in another order."""

    def read(array: Floats) -> Floats:
        blocks = np.split(array, len(mine), axis=-1)
        return np.concatenate([blocks[order.index(gate)] for gate in mine], axis=-1)

    return changed(network, W_xh=read, W_hh=read, b_h=read)


def layers(network: Network, *mistaken: Layer) -> Port:
    return wrong(network, Network(*mistaken, last=network.last))


def carried(network: Network) -> Port:
    """A port that starts each sequence where the one before it ended."""
    state: Floats = np.zeros(network.state_size)

    def run(x: Floats) -> Floats:
        nonlocal state
        if len(x) == LENGTHS[0]:
            state = np.zeros(network.state_size)
        ran = rnncli.run(network, x, state, precision="float64")
        state = ran.h_n
        return ran.h

    return Port(network, run)


def started(network: Network) -> Port:
    """A port that starts from zeros in place of an initial state."""
    start, options = np.random.RandomState(3).uniform(-0.9, 0.9, network.state_size), []
    for name, place in network.state_names.items():
        options += [f"--{name}0", json.dumps(start[place].tolist())]
    return Port(network, lambda x: output(network, x), options)


def float16(W: Floats) -> Floats:
    return W.astype(np.float16)


def transposed(W: Floats) -> Floats:
    return W.reshape(W.shape[::-1]).T


def plus(number: float, gate: int) -> Change:
    return lambda b: b + number * (np.arange(len(b)) // H == gate)


def outside(network: Network, **settings: Any) -> Port:
    """A port that adds the candidate's recurrent bias where r does not multiply it."""
    (cell,) = network.layers[0].cells
    W_xh, W_hh, b_h, b_n = cell.weights[:4]
    assert b_n is not None
    b_h = b_h + np.pad(b_n, (2 * H, 0))
    return wrong(network, GRU(Weights(W_xh, W_hh, b_h), **settings))


def no(array: Floats) -> Floats:
    return 0 * array


def bfloat16(array: Floats) -> Floats:
    return round_to(array, "bfloat16")


SIGNS = np.repeat(np.array([-1, 1, 1], "f"), H)
SUM = [cell for layer in BOTH.layers for cell in layer.cells]
MISTAKES: dict[str, Port] = {
    # Rounding
    "--precision tf32": Port(ONE, lambda x: rnncli.run(ONE, x, precision="tf32").h),
    "--precision bfloat16": Port(ONE, lambda x: rnncli.run(ONE, x, precision="bfloat16").h),
    "weights rounded to float16": changed(TWO, W_xh=float16, W_hh=float16, b_h=float16),
    "weights rounded to bfloat16": changed(ONE, W_xh=bfloat16, W_hh=bfloat16, b_h=bfloat16),
    # Arrays
    "no bias": changed(ONE, b_h=no),
    "W_xh transposed": changed(ONE, W_xh=transposed),
    "W_hh transposed": changed(L, W_hh=transposed),
    "W_hh transposed in each gate": changed(
        G, W_hh=lambda W: np.hstack([W[:, k : k + H].T for k in range(0, 3 * H, H)])
    ),
    "W_xh and W_hh transposed": changed(SQUARE, W_xh=transposed, W_hh=transposed),
    "features permuted: b c a": fed(ONE, lambda x: x[:, [1, 2, 0]]),
    # Gates
    "gates: the port has i o f g, the model i f g o": read_gates_as(L, "ifgo", "iofg"),
    "gates: the port has n z r, the model z r n": read_gates_as(G_OLD, "zrn", "nzr"),
    "gates: the port has r z n, the model z r n, with b_n": read_gates_as(G, "zrn", "rzn"),
    "1 added to the forget bias": changed(L, b_h=plus(1, 1)),
    "1 left out of the forget bias": changed(L, b_h=plus(-1, 1)),
    "--reset before": outside(G, reset="before"),
    "--reset after": wrong(G_BEFORE, GRU(G_BEFORE.layers[0].cells[0].weights)),
    "no recurrent bias of the candidate": changed(G, b_n=no),
    "recurrent bias of the candidate (b_n) added outside the reset gate": outside(G),
    "z and 1 - z exchanged": changed(
        G, W_xh=lambda W: W * SIGNS, W_hh=lambda W: W * SIGNS, b_h=lambda b: b * SIGNS
    ),
    # Activations
    "--activation relu": replace_settings(ONE, activation="relu"),
    "--activation leaky_relu:0.2": replace_settings(LEAKY, activation="leaky_relu:0.2"),
    "--recurrent-activation hard_sigmoid of Keras 2 and ONNX (a / 5 + 0.5)": replace_settings(
        L, recurrent_activation="hard_sigmoid"
    ),
    # Scale
    "the input standardised": fed(ONE, lambda x: (x - MEAN) / EVERY.std(axis=0)),
    "the input standardised, its variance over n - 1": fed(
        L, lambda x: (x - MEAN) / EVERY.std(axis=0, ddof=1)
    ),
    "the input scaled to 0 to 1": fed(HEADED, lambda x: (x - LOW) / (HIGH - LOW)),
    "the input divided by 1000": fed(ONE, lambda x: x / 1000),
    "output scaled: expected = 40 h + 50": rows(L, lambda h: 40 * h + 50),
    "output scaled: expected = 40 y - 50": rows(PLAIN, lambda y: 40 * y - 50),
    "output negated": rows(G, np.negative),
    "all values are 0": rows(BOTH, no),
    # Order
    "the input reversed in time": fed(ONE, lambda x: x[::-1]),
    "the rows of the output reversed in time": rows(ONE, lambda h: h[::-1]),
    "rows one step late: row t holds h_{t-1}": rows(ONE, lambda h: np.vstack([0 * h[:1], h[:-1]])),
    "rows one step early: row t holds h_{t+1}": rows(BOTH, lambda h: np.vstack([h[1:], 0 * h[:1]])),
    "backward states in processing order": rows(BOTH, lambda h: np.hstack([h[:, :H], h[::-1, H:]])),
    # States
    "initial states left out": started(L),
    "state carried from sequence to sequence": carried(ONE),
    "the last row, where the backward direction has read one row only": wrong(
        BOTH_HEADED, Network(*BOTH_HEADED.layers, last="step")
    ),
    # Heads
    "no bias in layer_2": layers(HEADED, HEADED.layers[0], Dense(HEAD.W, None, "softmax")),
    "activation linear in layer_2": layers(HEADED, HEADED.layers[0], Dense(HEAD.W, HEAD.b)),
    "W transposed in layer_2": layers(
        HEADED, HEADED.layers[0], Dense(np.ascontiguousarray(transposed(HEAD.W)), HEAD.b, "softmax")
    ),
}


def explained(folder: Path, port: Port) -> list[str]:
    """The names of what reproduces a port."""
    lines = [f"{n},{','.join(map(repr, row))}" for n, x in enumerate(X) for row in x.tolist()]
    (folder / "x.csv").write_text("\n".join(["key,a,b,c", *lines, ""]))
    if not (folder / "w.safetensors").exists():
        rnncli.save(port.right, folder / "w.npz")
    weights = next(folder.glob("w.*"))
    np.save(folder / "e.npy", np.concatenate([port.rows(x) for x in X]).astype("f"))
    options = ["--group-by", "key", "--weights", weights, "--expected", folder / "e.npy"]
    report = invoke("verify", folder / "x.csv", *options, *port.options, "--json", code=1)
    found = json.loads(report.stdout).get("explanations", [])
    return [each["name"] for each in found]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_and_no_other(tmp_path: Path, name: str) -> None:
    (only,) = explained(tmp_path, MISTAKES[name])
    assert only.startswith(name.removesuffix(", with b_n"))


# A GRU as PyTorch keeps it, its gates in the order r z n, and ports that read its arrays wrongly.
TORCH = {
    "weight_ih_l0": normal(3 * H, I),
    "weight_hh_l0": normal(3 * H, H),
    "bias_ih_l0": normal(3 * H),
    "bias_hh_l0": normal(3 * H),
}
ZRN = np.arange(3 * H).reshape(3, H)[[1, 0, 2]].ravel()
BY_TORCH = {
    "input bias only": TORCH | {"bias_hh_l0": no(TORCH["bias_hh_l0"])},
    "recurrent bias only": TORCH | {"bias_ih_l0": no(TORCH["bias_ih_l0"])},
    "gates: the port has z r n, the model r z n": {
        name: array[ZRN] for name, array in TORCH.items()
    },
}


@pytest.mark.filterwarnings("ignore:.*does not name the activation")
@pytest.mark.parametrize(
    ("name", "units"), [*((name, 3 * H) for name in BY_TORCH), ("input bias only", H)]
)
def test_a_mistake_in_reading_the_arrays_of_pytorch(tmp_path: Path, name: str, units: int) -> None:
    for file, tensors in (("port", BY_TORCH[name]), ("w", TORCH)):
        arrays = {key: np.ascontiguousarray(array[:units]) for key, array in tensors.items()}
        save_file(arrays, tmp_path / f"{file}.safetensors")
    port = rnncli.load(tmp_path / "port.safetensors")
    assert explained(tmp_path, wrong(port, port)) == [name]


UNNAMED: dict[str, Port] = {
    "noise": rows(ONE, lambda h: h + 1e-3 * np.random.RandomState(0).normal(size=h.shape)),
    "a unit scaled": rows(ONE, lambda h: h * np.array([1, 1.01, 1, 1])),
    "no bias until the last row": Port(
        ONE, lambda x: np.vstack([changed(ONE, b_h=no).rows(x)[:-1], output(ONE, x)[-1:]])
    ),
    "rows late, and the first one wrong": rows(ONE, lambda h: np.vstack([0 * h[:1] + 0.3, h[:-1]])),
    "other weights": wrong(ONE, rnn()),
    "another merge": wrong(Network(both(*SUM, merge="mul")), both(*SUM, merge="ave")),
}


@pytest.mark.parametrize("name", UNNAMED)
def test_another_fault_has_no_name(tmp_path: Path, name: str) -> None:
    assert explained(tmp_path, UNNAMED[name]) == []


def test_of_all_within_a_tolerance_the_closest_is_named(tmp_path: Path) -> None:
    port = changed(ONE, W_xh=bfloat16, W_hh=bfloat16, b_h=bfloat16)
    port = port._replace(options=["--atol", "0.002"])
    assert explained(tmp_path, port) == ["weights rounded to bfloat16"]


@pytest.mark.parametrize("name", ["no bias", "--precision tf32"])
def test_units_of_unlike_size_have_their_own_bounds(tmp_path: Path, name: str) -> None:
    """A bias of the small units is less than the rounding of the large ones."""
    large, small = np.array([1e6, 1e6, 1, 1], "f"), np.array([0, 0, 0.05, 0.05], "f")
    W = [np.abs(normal(*shape)) for shape in ((I, H), (H, H), (H, H), (H, H))]
    below = Weights(W[0], W[1] / 10, np.zeros(H, "f"))
    above = Weights(W[2] * large, W[3] / 10 * large / large[:, None], small)
    network = Network(RNN(below, "relu"), RNN(above, "relu"))
    port = changed(network, b_h=no)
    if name != "no bias":
        port = Port(network, lambda x: rnncli.run(network, x, precision="tf32").h)
    assert explained(tmp_path, port) == [name]
