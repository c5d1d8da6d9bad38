"""Write the ``.safetensors`` files in ``tests/data/models``, run as a program.

They are PyTorch's state as the library writes it, and what it gives with it in
float32.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file as save_torch

FOLDER = Path(__file__).parent.parent / "data" / "models"
X = np.random.RandomState(0).normal(size=(3, 5, 2)).astype(np.float32)


def write_torch(name: str, module: Any, head: Any = None, dtype: Any = torch.float32) -> None:
    """Store a recurrent module in a type, and a linear layer above it, as parts of a model."""
    model = torch.nn.ModuleDict({"rnn": module} | ({"fc": head} if head else {}))
    state = {key: value.to(dtype) for key, value in model.state_dict().items()}
    save_torch(state, FOLDER / f"{name}.safetensors")
    model.load_state_dict({key: value.float() for key, value in state.items()})
    with torch.no_grad():
        y, _ = module(torch.from_numpy(X))
        y = head(y) if head else y
    np.savez(FOLDER / f"{name}.npz", x=X, y=y.numpy())


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    nn, two = torch.nn, {"num_layers": 2, "bidirectional": True, "batch_first": True}
    write_torch("names_torch_lstm", nn.LSTM(2, 3, **two))
    write_torch("names_torch_gru_head", nn.GRU(2, 3, batch_first=True), nn.Linear(3, 1))
    write_torch("names_torch_float16", nn.GRU(2, 3, batch_first=True), dtype=torch.float16)
    write_torch("names_torch_bfloat16", nn.LSTM(2, 3, batch_first=True), dtype=torch.bfloat16)


if __name__ == "__main__":
    main()
