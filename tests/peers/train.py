"""Trains the small stacks in ``tests/data/trained``: ``python tests/peers/train.py``.

Each tells at every step whether the ones so far are odd in number. A network
has to remember for that, and so it carries rounding on as well.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli import Network, Recurrent, Weights
from rnncli.model.cells import WEIGHT_NAMES

Array = NDArray[np.float32]

FOLDER = Path(__file__).parents[1] / "data" / "trained"
H, BATCH, STEPS = 12, 32, 24


def task(random: np.random.RandomState, N: int, T: int = STEPS) -> tuple[Array, Array]:
    """Draw bits, shape (N, T, 1), and for each step whether those so far are odd in number."""
    bits = random.randint(0, 2, (N, T, 1))
    return (bits - 0.5).astype(np.float32), (bits.cumsum(axis=1) % 2).astype(np.float32)


def by_torch(
    seed: int, layers: int, *, bidirectional: bool, rounds: int = 400, rate: float = 2e-2
) -> Network:
    """Train ``nn.RNN``."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    random = np.random.RandomState(seed)
    rnn = torch.nn.RNN(1, H, num_layers=layers, bidirectional=bidirectional, batch_first=True)
    head = torch.nn.Linear(H * (1 + bidirectional), 1)
    parameters = [*rnn.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, rate)
    for _ in range(rounds):
        x, y = map(torch.from_numpy, task(random, BATCH))
        optimizer.zero_grad()
        loss = ((head(rnn(x)[0]) - y) ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    arrays = iter([parameter.detach().numpy() for parameter in rnn.parameters()])
    direction = "bidirectional" if bidirectional else "forward"

    def cell() -> Weights:
        W_ih, W_hh, b_ih, b_hh = (next(arrays) for _ in range(4))
        return Weights(W_ih.T, W_hh.T, b_ih + b_hh)

    return Network(
        *(
            Recurrent(*(cell() for _ in range(1 + bidirectional)), direction=direction)
            for _ in range(layers)
        )
    )


def by_keras(seed: int, layers: int, merge: str, rounds: int = 800, rate: float = 5e-3) -> Network:
    """Train ``Bidirectional`` layers around ``SimpleRNN``."""
    import keras

    keras.utils.set_random_seed(seed)

    def layer() -> Any:
        around = keras.layers.SimpleRNN(H, return_sequences=True)
        return keras.layers.Bidirectional(around, merge_mode=merge)

    model = keras.Sequential([*(layer() for _ in range(layers)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), "mse")
    x, y = task(np.random.RandomState(seed), BATCH * rounds)
    model.fit(x, y, batch_size=BATCH, verbose=0)
    arrays = [[variable.numpy() for variable in layer.weights] for layer in model.layers[:-1]]
    return Network(
        *(
            Recurrent(Weights(*a[:3]), Weights(*a[3:]), direction="bidirectional", merge=merge)
            for a in arrays
        )
    )


STACKS: dict[str, Callable[[], Network]] = {
    "torch-bidirectional": lambda: by_torch(1, 2, bidirectional=True),
    "torch-forward": lambda: by_torch(6, 2, bidirectional=False),
    "keras-sum": lambda: by_keras(4, 2, "sum"),
    "keras-ave": lambda: by_keras(5, 3, "ave"),
    "keras-mul": lambda: by_keras(6, 2, "mul"),
}


def save(network: Network, path: Path) -> None:
    """Write the arrays under the names that ``rnn`` has for them."""
    arrays: dict[str, Any] = {
        f"layer_{number}.{direction}.{name}": array
        for number, layer in enumerate(network.layers, start=1)
        for direction, cell in zip(("forward", "backward"), layer.cells, strict=False)
        for name, array in cell.weights.arrays.items()
    }
    np.savez(path, **arrays)


def load(path: Path, merge: str) -> Network:
    """Read what `save` wrote."""
    layers = []
    with np.load(path) as arrays:
        names = list(arrays)
        for number in range(1, 1 + len({name.split(".")[0] for name in names})):
            cells = [
                Weights(*(arrays[f"layer_{number}.{way}.{n}"] for n in WEIGHT_NAMES))
                for way in ("forward", "backward")
                if f"layer_{number}.{way}.W_hh" in names
            ]
            direction = "bidirectional" if len(cells) > 1 else "forward"
            layers.append(Recurrent(*cells, direction=direction, merge=merge))
    return Network(*layers)


def main() -> None:
    """Train them all."""
    FOLDER.mkdir(exist_ok=True)
    for name, trained in STACKS.items():
        save(trained(), FOLDER / f"{name}.npz")


if __name__ == "__main__":
    main()
