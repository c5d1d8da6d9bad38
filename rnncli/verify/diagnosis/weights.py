"""Other weights, products or functions: what a network is computed with."""

from collections.abc import Iterator, Sequence

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.activations import ACTIVATIONS, Activation, activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN
from rnncli.model.layers import MERGES, Recurrent
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.diagnosis.attempt import Attempt


def products_rounded(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Round the operands of the products, or do not."""
    for precision, how in PRECISIONS.items():
        mine = PRECISIONS[case.precision]
        if precision != case.precision and how.dtype == mine.dtype:
            yield Attempt(f"--precision {precision}", case._replace(precision=precision), theirs)


def weights_transposed(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Read the numbers of the weight matrices as those of their transposes.

    PyTorch and ONNX lay them out as (H, I) and (H, H). Numbers that lie so may
    have been reshaped to (I, H), or the other way round: the same only where
    they are square.
    """
    for names in (("W_xh",), ("W_hh",), ("W_xh", "W_hh")):
        tried: list[bytes] = []
        for how, read in (
            ("", _read_as_transposed),
            (": (H, I) reshaped to (I, H)", _transposed_as_read),
        ):
            cells = [
                _with_arrays(cell, **{name: read(getattr(cell.weights, name)) for name in names})
                for cell in case.network.cells
            ]
            numbers = _numbers(cells, names)
            before = _numbers(case.network.cells, names)
            joined = b"".join(numbers)
            if joined in tried or any(map(bytes.__eq__, numbers, before)):
                continue
            tried.append(joined)
            yield _attempt(f"{' and '.join(names)} transposed{how}", case, theirs, cells)


def another_activation(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Take another activation, with the parameters that it has by default."""
    given = {cell.activation for cell in case.network.cells}
    usual = [activation(name) for name, kind in ACTIVATIONS.items() if None not in kind.defaults]
    for other in [*usual, activation("hard_sigmoid", 1 / 6, 0.5)]:
        if given != {other}:
            cells = [cell._replace(activation=other) for cell in case.network.cells]
            yield _attempt(f"--activation {_short(other)}", case, theirs, cells)


def another_merge(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Merge directions in another way that gives as many values."""
    layers = case.network.layers
    merges = {layer.merge for layer in layers if len(layer.cells) > 1 and layer.merge != "concat"}
    for merge in MERGES:
        if merges and merge != "concat" and merges != {merge}:
            network = Network(
                *(
                    Recurrent(*layer.cells, direction=layer.direction, merge=merge)
                    if layer.merge in merges
                    else layer
                    for layer in layers
                )
            )
            yield Attempt(f"--merge {merge}", case._replace(network=network), theirs)


def no_bias(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Leave the bias out."""
    cells = case.network.cells
    if any(cell.weights.b_h.any() for cell in cells):
        without = [_with_arrays(cell, b_h=np.zeros_like(cell.weights.b_h)) for cell in cells]
        yield _attempt("no bias", case, theirs, without)


def one_bias(case: Case, theirs: Floats) -> Iterator[Attempt]:
    """Leave out one of the two biases of PyTorch or ONNX."""
    if not case.biases or any(len(each) != 2 for each in case.biases):
        return
    for number, kind in enumerate(("input", "recurrent")):
        pairs = zip(case.network.cells, case.biases, strict=True)
        cells = [_with_arrays(cell, b_h=both[number]) for cell, both in pairs]
        yield _attempt(f"{kind} bias only", case, theirs, cells)


def _attempt(name: str, case: Case, theirs: Floats, cells: Sequence[RNN]) -> Attempt:
    """Try other cells in the same places."""
    each = iter(cells)
    return Attempt(
        name, case._replace(network=case.network.with_cells(lambda _: next(each))), theirs
    )


def _with_arrays(cell: RNN, **arrays: Floats) -> RNN:
    return cell._replace(weights=cell.weights._replace(**arrays))


def _short(f: Activation) -> str:
    """Text of an activation, without the parameters that are its defaults."""
    return f.name if f == activation(f.name) else str(f)


def _numbers(cells: Sequence[RNN], names: Sequence[str]) -> list[bytes]:
    """Give the numbers of each array, of all cells together."""
    return [b"".join(getattr(cell.weights, name).tobytes() for cell in cells) for name in names]


def _read_as_transposed(W: Floats) -> Floats:
    """Take the numbers of (I, H) as they lie for those of (H, I)."""
    return np.ascontiguousarray(W.reshape(W.shape[::-1]).T)


def _transposed_as_read(W: Floats) -> Floats:
    """Take the numbers of (H, I) as they lie for those of (I, H)."""
    return np.ascontiguousarray(W.T).reshape(W.shape)
