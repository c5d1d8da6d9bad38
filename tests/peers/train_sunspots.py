"""Trains the model in ``sample_data``: ``python tests/peers/train_sunspots.py``.

A GRU and a dense layer say next year's number of sunspots from those so far.
They learn from the years to 1949. The same weights are written by Keras, by
PyTorch and by its ONNX exporter.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES = Path(__file__).parents[2] / "sample_data"
FIRST, END = 1700, 1950  # of the years that it learns from
H, ROUNDS, RATE, DECAY = 8, 200, 1e-2, 1e-4
# Steps at the start of the series that do not count: the state knows too little.
WARM_UP = 20


def trained() -> Any:
    """Train a network on standardized numbers, and return one that takes and gives plain ones."""
    import torch

    class Sunspots(torch.nn.Module):  # type: ignore[misc] # a class that mypy does not see
        def __init__(self) -> None:
            super().__init__()
            self.gru = torch.nn.GRU(1, H, batch_first=True)
            self.head = torch.nn.Linear(H, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.head(self.gru(x)[0])
            return y

    torch.manual_seed(0)
    torch.set_num_threads(1)
    path = SAMPLES / "sunspots.csv"
    numbers = np.loadtxt(path, np.float32, delimiter=",", skiprows=1, usecols=1)
    learned = torch.from_numpy(numbers[: END - FIRST])
    mean, std = learned.mean(), learned.std()
    z = (learned - mean) / std
    model = Sunspots()
    optimizer = torch.optim.Adam(model.parameters(), RATE, weight_decay=DECAY)
    for _ in range(ROUNDS):
        optimizer.zero_grad()
        y = model(z[None, :-1, None])[0, :, 0]
        loss = ((y - z[1:])[WARM_UP:] ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        gru, head = model.gru, model.head
        gru.weight_ih_l0 /= std
        gru.bias_ih_l0 -= gru.weight_ih_l0[:, 0] * mean
        head.weight *= std
        head.bias *= std
        head.bias += mean
    return model.eval()


def in_keras(model: Any) -> Any:
    """Return the same network as a Keras model, whose gates stand as z r n, not r z n."""
    import keras

    arrays = {name: value.numpy() for name, value in model.state_dict().items()}

    def gates(name: str) -> NDArray[np.float32]:
        r, z, n = np.split(arrays[name], 3)
        return np.concatenate([z, r, n])

    layers = [keras.layers.GRU(H, return_sequences=True), keras.layers.Dense(1)]
    again = keras.Sequential([keras.Input((None, 1)), *layers], name="sunspots")
    biases = np.stack([gates("gru.bias_ih_l0"), gates("gru.bias_hh_l0")])
    kernels = [gates("gru.weight_ih_l0").T, gates("gru.weight_hh_l0").T]
    again.layers[0].set_weights([*kernels, biases])
    again.layers[1].set_weights([arrays["head.weight"].T, arrays["head.bias"]])
    return again


def write() -> None:
    """Write the three files."""
    import torch

    model = trained()
    torch.save(model.state_dict(), SAMPLES / "sunspots.pt")
    in_keras(model).save(SAMPLES / "sunspots.keras")
    names: dict[str, Any] = {"input_names": ["numbers"], "output_names": ["next"]}
    axes = {name: {0: "series", 1: "years"} for name in ("numbers", "next")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter tells of its successor
        torch.onnx.export(
            model,
            (torch.zeros(1, 2, 1),),
            str(SAMPLES / "sunspots.onnx"),
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
            **names,
        )


if __name__ == "__main__":
    write()
