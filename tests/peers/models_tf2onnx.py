"""Write what Keras exports to ONNX in ``tests/data/models``, run as a program.

It needs the library tf2onnx, which writes loops of most recurrent layers. Beside each file is what
the model gives.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from keras import layers

FOLDER = Path(__file__).parent.parent / "data" / "models"
RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(3, 5, 2)).astype(np.float32)
GAPS = np.where(RANDOM.uniform(size=(3, 5, 1)) < 0.4, np.float32(-1), X)
# Indices into an embedding; 0 is no word.
WORDS = RANDOM.randint(0, 7, size=(3, 5))
vars(np)["object"] = object  # a name of old NumPy's, which tf2onnx takes


def write(name: str, x: Any, *above: Any, steps: int | None = None) -> None:
    """Draw the weights of a model, and export it."""
    dtype = "int32" if x.ndim == 2 else "float32"
    model = keras.Sequential([keras.Input((steps, *x.shape[2:]), dtype=dtype), *above])
    for weight in model.weights:
        weight.assign(RANDOM.normal(0, 0.5, weight.shape))
    y = model(x).numpy()
    path = FOLDER / f"tf2onnx_{name}.onnx"
    model.export(str(path), format="onnx", verbose=False)
    exported = onnx.load(str(path))
    exported.ClearField("metadata_props")
    onnx.save(exported, str(path))
    np.savez(path.with_suffix(".npz"), x=x.reshape(*x.shape[:2], -1).astype(np.float32), y=y)


if __name__ == "__main__":
    write(
        "stacked",
        X,
        layers.Bidirectional(layers.GRU(3, return_sequences=True)),
        layers.GRU(2, reset_after=False, return_sequences=True),
        layers.SimpleRNN(3, activation="relu"),
        layers.Dense(2),
    )
    write("fixed", X, layers.GRU(3, return_sequences=True), steps=5)
    write("gaps", GAPS, layers.Masking(-1.0), layers.Dense(3), layers.LSTM(3), layers.Dense(2))
    write(
        "words",
        WORDS,
        layers.Embedding(7, 3, mask_zero=True),
        layers.Bidirectional(layers.LSTM(2, return_sequences=True)),
        layers.GRU(3, return_sequences=True),
    )
