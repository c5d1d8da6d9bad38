"""Arrays under the names of MLX and Flax, which get those of PyTorch.

Source: https://github.com/ml-explore/mlx (``mlx/nn/layers/recurrent.py``) and
https://github.com/google/flax (``flax/linen/recurrent.py``, ``flax/nnx/nn/recurrent.py``).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnncli.model.contents import Contents
from rnncli.model.errors import listed, verbatim
from rnncli.model.formats.torch.names import Arrays, find_arrays, pick_arrays

# MLX's weights of x and h, the bias, the number of gates, and the bias of a GRU's candidate.
_MLX = (
    ("Wx", "Wh", "bias", 4, ""),
    ("Wx", "Wh", "b", 3, "bhn"),
    ("Wxh", "Whh", "bias", 1, ""),
)
# Flax's modules of a cell: those that take x and those that take h, one for each gate in PyTorch's
# order, or one for all gates.
_FLAX: Sequence[tuple[Sequence[str], Sequence[str]]] = (
    (("ii", "if", "ig", "io"), ("hi", "hf", "hg", "ho")),
    (("ii", "if_", "ig", "io"), ("hi", "hf", "hg", "ho")),
    (("ir", "iz", "in"), ("hr", "hz", "hn")),
    (("i",), ("h",)),
    (("dense_i",), ("dense_h",)),
)
_NOTE = "{} has {}'s names: activations that they do not tell are taken as tanh and sigmoid"


def find_named(arrays: Arrays, path: str, layer: str | None = None) -> Contents:
    """Find the recurrent layers among arrays that are named as in PyTorch, MLX or Flax."""
    arrays, notes = _rename(arrays)
    contents = find_arrays(pick_arrays(arrays, path, layer), path)
    return contents._replace(notes=[*notes, *contents.notes])


def _rename(arrays: Arrays) -> tuple[Arrays, list[str]]:
    """Return arrays under PyTorch's names, and a note for cells with other names."""
    floats = all(array.dtype.kind == "f" for array in arrays.values())
    for framework, read in {"MLX": _read_mlx, "Flax": _read_flax}.items() if floats else ():
        renamed = read(arrays)
        if cells := [n for n in renamed.keys() - arrays.keys() if n.endswith("weight_ih_l0")]:
            stems = sorted(name.removesuffix("weight_ih_l0").rstrip("./") for name in cells)
            names = verbatim(listed(stems)) if any(stems) else "it"
            return renamed, [_NOTE.format(names, framework)]
    return arrays, []


def _read_mlx(arrays: Arrays) -> Arrays:
    """Rename MLX's cells; its other layers have PyTorch's names."""
    renamed: dict[str, Any] = dict(arrays)
    for x, h, bias, gates, candidate in _MLX:
        for name in [name for name in renamed if name.rpartition(".")[2] == x]:
            stem = name.removesuffix(x)
            roles = (x, h, bias, candidate)
            W, R, b, b_n = (renamed.get(f"{stem}{role}") for role in roles)
            rows, H = (*(() if R is None else R.shape), 0, 0)[:2]
            biased = b is not None and (not candidate or b_n is not None)
            # A square matrix alone does not tell what stands in its rows.
            if R is None or rows != gates * H or (gates == 1 and not biased):
                continue
            cell = {"weight_ih": W, "weight_hh": R}
            if biased:
                zeros = np.zeros(rows - (H if candidate else 0), R.dtype)
                cell |= {"bias_ih": b, "bias_hh": zeros if b_n is None else np.append(zeros, b_n)}
            for role in roles if biased else roles[:2]:
                renamed.pop(f"{stem}{role}", None)
            renamed |= {f"{stem}{role}_l0": array for role, array in cell.items()}
    return renamed


def _read_flax(arrays: Arrays) -> Arrays:
    """Rename the arrays of Flax's cells and of its other layers, whose kernels are transposed."""
    dotted = {name.replace("/", "."): array for name, array in arrays.items()}
    renamed = dict(dotted)
    for modules in _FLAX:
        end = f"{modules[0][0]}.kernel"
        for name in [name for name in renamed if f".{name}".endswith(f".{end}")]:
            stem, cell = name.removesuffix(end), {}
            for side, gates in zip(("ih", "hh"), modules, strict=True):
                kernels = [renamed.get(f"{stem}{gate}.kernel", np.empty(0)) for gate in gates]
                shapes = {kernel.shape for kernel in kernels}
                if len(shapes) > 1 or kernels[0].ndim != 2:
                    break
                zeros = np.zeros(kernels[0].shape[1], kernels[0].dtype)
                biases = [renamed.get(f"{stem}{gate}.bias", zeros) for gate in gates]
                cell[f"weight_{side}"] = np.concatenate(kernels, 1).T
                cell[f"bias_{side}"] = np.concatenate(biases)
            if len(cell) < 4:
                continue
            for gate in (*modules[0], *modules[1]):
                for role in ("kernel", "bias"):
                    renamed.pop(f"{stem}{gate}.{role}", None)
            renamed |= {f"{stem}{role}_l0": array for role, array in cell.items()}
    if renamed.keys() == dotted.keys():
        return arrays
    layers = {}
    for name, array in renamed.items():
        stem, dot, role = name.rpartition(".")
        kernel = role == "kernel" and array.ndim == 2
        layers[f"{stem}{dot}weight" if kernel or role == "embedding" else name] = (
            array.T if kernel else array
        )
    return layers
