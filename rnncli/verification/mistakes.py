"""The mistakes of a port: for each a name, and the case as the port has it.

A mistake in a cell is a row of `CELL_MISTAKES`, one in a layer without state of `_change_layer`;
the rest change the rows between two layers, the input or the start. Simple ones go first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from itertools import combinations, pairwise, permutations
from math import floor, log10
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.rows import Groups, group
from rnncli.engine.run import run
from rnncli.engine.runner import LayerRows
from rnncli.model.activations import ACTIVATIONS, Activation, activation
from rnncli.model.arrays import Floats, Integers, reorder
from rnncli.model.cells import GRU, LSTM, WEIGHT_NAMES, Cell, Weights, sum_biases
from rnncli.model.layers import (
    Dense,
    Layer,
    LayerNormalization,
    Normalization,
    Pointwise,
    Recurrent,
)
from rnncli.model.network import Network
from rnncli.verification.case import Between, Case
from rnncli.verification.reference import round_to
from rnncli.verification.steps import concatenates


class Mistake(NamedTuple):
    """A mistake of a port."""

    name: str
    make: Callable[[Case], Case]  # the case as the port has it, of all rows or of some
    whole: bool = False  # whether some rows of a sequence do not show it


# change(cell): a cell as a mistake would make it; the same object where the mistake changes
# nothing.
Change: TypeAlias = Callable[[Any], Cell]
# Activations of heads.
OF_HEADS = ("linear", "softmax", "log_softmax", "sigmoid", "tanh", "relu")
# Most features that are tried in every order; factors by which an input is scaled.
MOST_FEATURES, FACTORS = 4, (2, 10, 100, 255, 1000)
# Rates of dropout that a port may leave on as a factor.
DROPOUTS = (0.1, 0.2, 0.25, 0.3, 0.4, 0.5)
WINDOWS = (8, 10, 12, 16, 20, 24, 25, 30, 32, 48, 50, 60, 64, 100, 128, 256, 512)
EPSILONS = (1e-3, 1e-5, 1e-6, 1e-8, 1e-12, 0.0)
# Fewest values that a line is fitted to; most sequences that are run one after another.
FITTED, MOST_SEQUENCES = 12, 200
# Frameworks that order gates in their own way, by the extensions of their files.
FRAMEWORKS = dict.fromkeys((".pt", ".pth", ".bin", ".ckpt", ".safetensors"), "torch")
FRAMEWORKS[".onnx"] = "onnx"


def make_mistakes(case: Case, ours: Floats, theirs: Floats) -> Iterator[Mistake]:
    """Make every mistake that changes anything; `theirs` tells sizes, such as that of a window."""
    yield from _change_results(case, ours, theirs)
    dtype = PRECISIONS[case.precision].dtype
    for precision, how in PRECISIONS.items():
        if precision != case.precision and how.dtype == dtype:
            yield Mistake(f"`precision` {precision}", replace(precision=precision))
    yield from _change_groups(case, ours, theirs)
    yield from (Mistake(name, replace(network=each)) for name, each in _change_networks(case))
    yield from _change_inputs(case)
    yield from _change_between(case)
    yield from _change_starts(case)


def replace(**fields: Any) -> Callable[[Case], Case]:
    """Replace fields of a case."""
    return lambda case: case._replace(**fields)


def _change_x(change: Callable[[Floats, Groups], Floats]) -> Callable[[Case], Case]:
    """Change the input, below the layers in front if there are some."""

    def make(case: Case) -> Case:
        if case.original is None:
            return case._replace(x=change(case.x, case.groups).astype(case.x.dtype))
        below = case.original
        x = change(below.x, below.groups).astype(below.x.dtype)
        x = below._replace(x=x).above_front().x
        return case._replace(x=x if case.ids is None else x[case.ids])

    return make


# Networks


def _change_networks(case: Case) -> Iterator[tuple[str, Network]]:
    """Change all cells, those of one layer, or another layer."""
    network = case.network
    layers, last = network.layers, network.last
    recurrent = [n for n, layer in enumerate(layers) if layer.cells]
    one_by_one = [[n] for n in recurrent] if len(recurrent) > 1 else []
    for name, change in _name_changes(case).items():
        for numbers in [recurrent, *one_by_one]:
            changed = list(layers)
            for n in numbers:
                changed[n] = _change_cells(layers[n], change)
            if any(new is not old for new, old in zip(changed, layers, strict=True)):
                where = "" if numbers == recurrent else f" in {case.name_layer(numbers[0])} alone"
                yield name + where, Network(*changed, last=last)
    for name, convert in ROUNDINGS.items():
        for every in (True, False):
            yield f"weights rounded to {name}", _round_weights(case, convert, every=every)
    for a, b in combinations(recurrent, 2):
        if exchanged := _exchange(layers, a, b):
            names = f"{case.name_layer(a)} and {case.name_layer(b)}"
            yield f"weights of {names} exchanged", Network(*exchanged, last=last)
    for n, layer in enumerate(layers):
        for name, changed_layer in _change_layer(layer):
            if changed_layer is None:
                changed_layer = Pointwise("linear", layer.output_size)
            changed_layer.sources = layer.sources
            network = Network(*layers[:n], changed_layer, *layers[n + 1 :], last=last)
            yield name.format(case.name_layer(n)), network


def _change_cells(layer: Layer, change: Change) -> Layer:
    """Change the cells of a layer; the same layer where that changes nothing."""
    cells = [*map(change, layer.cells)]
    if all(new is old for new, old in zip(cells, layer.cells, strict=True)):
        return layer
    changed = copy(layer)
    changed.cells = tuple(cells)
    return changed


def _exchange(layers: Sequence[Layer], a: int, b: int) -> list[Layer] | None:
    """Exchange the weights of two layers, or those that have one shape."""
    below, above = layers[a].cells, layers[b].cells
    pairs = [*zip(below, above, strict=False)]
    if len(below) != len(above) or any(type(p) is not type(q) for p, q in pairs):
        return None
    if any(p.weights.W_hh.shape != q.weights.W_hh.shape for p, q in pairs):
        return None
    changed = [copy(layer) for layer in layers]
    for n, second in ((a, above), (b, below)):
        changed[n].cells = tuple(
            cell.replaced(cell.weights._replace(**_fitting(cell.weights, donor.weights)))
            for cell, donor in zip(layers[n].cells, second, strict=True)
        )
    return changed


def _fitting(weights: Weights, second: Weights) -> dict[str, Floats]:
    """Return the arrays of other weights that have the shapes of these."""
    ours = weights.arrays
    pairs = second.arrays.items()
    return {name: W for name, W in pairs if name in ours and W.shape == ours[name].shape}


def _round_weights(case: Case, convert: Callable[[str, Floats], Floats], *, every: bool) -> Network:
    """Round the arrays of all layers but normalizations, or every one.

    Each of two biases is rounded before they are added.
    """
    network = copy(case.network)
    network.layers = tuple(
        layer.converted(lambda name, W: convert(name, W).astype(W.dtype))
        if every or not isinstance(layer, Normalization)
        else layer
        for layer in network.layers
    )
    pairs = iter([cell.biases for layer in case.network.layers for cell in layer.cells])

    def sum_rounded(cell: Any) -> Any:
        if not (both := next(pairs)):
            return cell
        b_x, b_r = (convert("b_h", b).astype(b.dtype) for b in both)
        return cell.replaced(cell.weights._replace(**sum_biases(b_x, b_r, _candidate_size(cell))))

    return network.with_cells(sum_rounded)


def _candidate_size(cell: Any) -> int:
    """Count the values of the bias that a GRU keeps for its candidate."""
    return cell.hidden_size if cell.settings.get("reset") == "after" else 0


def _round_to_int8(_: str, W: Floats, axis: int | None) -> Floats:
    """Round a matrix to 255 whole numbers of one scale, or one for each column."""
    if W.ndim < 2:
        return W
    scale = np.abs(W).max(axis=axis, keepdims=True) / 127
    return np.asarray(np.round(W / np.where(scale == 0, 1, scale)) * scale)


def _round_to_float16(_: str, W: Floats) -> Floats:
    with np.errstate(over="ignore"):
        half = W.astype(np.float16)
    return half if np.isfinite(half).all() else W


ROUNDINGS: dict[str, Callable[[str, Floats], Floats]] = {
    "float16": _round_to_float16,
    "bfloat16": lambda _, W: round_to(W, "bfloat16"),
    "int8, each matrix by its own scale": partial(_round_to_int8, axis=None),
    "int8, each column by its own scale": partial(_round_to_int8, axis=0),
}


def _map_arrays(
    names: Sequence[str], change: Callable[[Floats], Floats], kind: type[Cell] = Cell
) -> Change:
    """Change the arrays of these names, where a cell of this kind has them."""

    def change_arrays(cell: Cell) -> Cell:
        old = cell.weights.arrays
        wanted = [name for name in names if name in old and isinstance(cell, kind)]
        arrays = {name: change(old[name]).astype(old[name].dtype) for name in wanted}
        same = all(np.array_equal(new, old[name]) for name, new in arrays.items())
        return cell if same else cell.replaced(cell.weights._replace(**arrays))

    return change_arrays


def _by_gate(operation: Callable[..., Floats], *numbers: float) -> Callable[[Floats], Floats]:
    """Add a number to each block of gates, or multiply by it."""
    return lambda array: operation(array, np.repeat(numbers, array.shape[-1] // len(numbers)))


def _read_transposed(W: Floats) -> Floats:
    """Read the numbers of (I, H) in their order as those of (H, I)."""
    return np.ascontiguousarray(W.reshape(W.shape[::-1]).T)


def _reshape_transposed(W: Floats) -> Floats:
    """Read the numbers of (H, I), which a file may have, in their order as those of (I, H)."""
    return np.ascontiguousarray(W.T).reshape(W.shape)


def _transpose_by_gate(W: Floats) -> Floats:
    """Transpose the square block of each gate."""
    gates, rest = divmod(W.shape[1], len(W))
    return W if rest else np.hstack([block.T for block in np.hsplit(W, gates)])


def _use_biases(combine: Callable[[Floats, Floats], Any], cell: Any) -> Any:
    """Use two biases of a file in a wrong way; a GRU may keep its candidate's recurrent one."""
    if not cell.biases:
        return cell
    b_x, b_r = combine(*cell.biases)
    return cell.replaced(cell.weights._replace(**sum_biases(b_x, b_r, _candidate_size(cell))))


def _exchange_biases(cell: Any) -> Any:
    """Take each of the two biases for the other, which only a GRU's candidate shows."""
    return _use_biases(lambda x, r: (r, x), cell) if _candidate_size(cell) else cell


def _add_bias_outside(cell: Any) -> Any:
    """Add the candidate's recurrent bias after the product with r."""
    b_n, b_h = cell.weights.b_n, cell.weights.b_h.copy()
    if b_n is None:
        return cell
    b_h[-len(b_n) :] += b_n
    return cell.replaced(cell.weights._replace(b_h=b_h, b_n=None))


def _change_reset(reset: str, cell: Any) -> Any:
    """Reset on the other side of the product; before it the candidate has one bias."""
    if not isinstance(cell, GRU) or cell.reset == reset:
        return cell
    weights = cell.weights if reset == "after" else _add_bias_outside(cell).weights
    return cell.replaced(weights, reset=reset)


def _change_activation(name: str, new: Activation, cell: Cell) -> Cell:
    """Replace an activation, and that of the output if it is the same."""
    before = cell.settings.get(name, new)
    same = [each for each in (name, "output_activation") if cell.settings.get(each) == before]
    settings: dict[str, Any] = dict.fromkeys(same, new)
    return cell if before == new else cell.replaced(**settings)


def _change_one(name: str, new: Activation, cell: Cell) -> Cell:
    """Replace one of the two functions of an LSTM that are alike."""
    if cell.settings.get("output_activation", new) == new or cell.settings["activation"] == new:
        return cell
    # The output function follows that of the candidate unless it is given.
    settings = {"output_activation": cell.settings["output_activation"], name: new}
    return cell.replaced(**settings)


def _name_changes(case: Case) -> dict[str, Change]:
    """Return the changes of cells, with orders of gates named as in the model's file."""
    changes = CELL_MISTAKES.copy()
    for kind in {type(cell) for layer in case.network.layers for cell in layer.cells} & {LSTM, GRU}:
        own = kind.gate_orders.get(FRAMEWORKS.get(case.extension, ""), kind.gate_names)
        for order in permutations(kind.gate_names):
            # The port takes the gate kind.gate_names[k] for order[k].
            port = [order[kind.gate_names.index(gate)] for gate in own]
            indices = [order.index(gate) for gate in kind.gate_names]
            change = _map_arrays(WEIGHT_NAMES, partial(reorder, order=indices), kind)
            changes[f"gates: the port has {' '.join(port)}, the model {' '.join(own)}"] = change
    return changes


# Activations have the parameters that a framework gives them by default: ONNX, then Keras.
_TRIALS = [activation(name) for name, kind in ACTIVATIONS.items() if None not in kind.defaults]
_TRIALS += [activation("hard_sigmoid", 1 / 6, 0.5), activation("leaky_relu", 0.2)]
# Names of activations, where a framework has another one.
_TITLES = {"hard_sigmoid:0.16666666666666666,0.5": "hard_sigmoid of Keras 3 (a / 6 + 0.5)"}
_TITLES |= {"hard_sigmoid:0.2,0.5": "hard_sigmoid of Keras 2 and ONNX (a / 5 + 0.5)"}


def _title(f: Activation) -> str:
    return _TITLES.get(str(f), f.name if f == activation(f.name) else str(f))


CELL_MISTAKES: dict[str, Change] = {
    "no bias": _map_arrays(("b_h", "b_n"), np.zeros_like),
    "input bias only": partial(_use_biases, lambda x, r: (x, 0 * r)),
    "recurrent bias only": partial(_use_biases, lambda x, r: (0 * x, r)),
    "input bias twice, and no recurrent one": partial(_use_biases, lambda x, _: (x, x)),
    "recurrent bias twice, and no input one": partial(_use_biases, lambda _, r: (r, r)),
    "input and recurrent bias exchanged": _exchange_biases,
    "W_hh left out": _map_arrays(("W_hh",), np.zeros_like),
    "W_xh transposed: (I, G H) read as (G H, I)": _map_arrays(("W_xh",), _read_transposed),
    "W_hh transposed: (H, G H) read as (G H, H)": _map_arrays(("W_hh",), _read_transposed),
    "W_hh transposed in each gate": _map_arrays(("W_hh",), _transpose_by_gate),
    "W_xh and W_hh transposed: (I, G H) read as (G H, I)": _map_arrays(
        ("W_xh", "W_hh"), _read_transposed
    ),
    "W_xh reshaped from (G H, I) to (I, G H), not transposed": _map_arrays(
        ("W_xh",), _reshape_transposed
    ),
    "W_hh reshaped from (G H, H) to (H, G H), not transposed": _map_arrays(
        ("W_hh",), _reshape_transposed
    ),
    "W_xh and W_hh reshaped from (G H, I) to (I, G H), not transposed": _map_arrays(
        ("W_xh", "W_hh"), _reshape_transposed
    ),
    "1 added to the forget bias": _map_arrays(("b_h",), _by_gate(np.add, 0, 1, 0, 0), LSTM),
    "1 left out of the forget bias": _map_arrays(("b_h",), _by_gate(np.add, 0, -1, 0, 0), LSTM),
    "`reset` before: (r h_{t-1}) @ W_hh, the model has r (h_{t-1} @ W_hh)": partial(
        _change_reset, "before"
    ),
    "`reset` after: r (h_{t-1} @ W_hh), the model has (r h_{t-1}) @ W_hh": partial(
        _change_reset, "after"
    ),
    "no recurrent bias of the candidate": _map_arrays(("b_n",), np.zeros_like),
    "recurrent bias of the candidate (b_n) added outside the reset gate": _add_bias_outside,
    # The gate of the negative sum is 1 - z.
    "z and 1 - z exchanged: h_t = (1 - z) h_{t-1} + z n, the model has z h_{t-1} + (1 - z) n": (
        _map_arrays(WEIGHT_NAMES, _by_gate(np.multiply, -1, 1, 1), GRU)
    ),
    **{
        f"`{name}` {_title(f)}": partial(_change_activation, name, f)
        for name in ("activation", "recurrent_activation")
        for f in _TRIALS
    },
    **{
        f"function of {what}: {f}": partial(_change_one, name, activation(f))
        for f in ("linear", "sigmoid", "relu", "tanh")
        for name, what in {
            "activation": "the candidate g alone",
            "output_activation": "c in h = o f(c)",
        }.items()
    },
}


def _change_layer(layer: Layer) -> Iterator[tuple[str, Layer | None]]:
    """Change a layer; None leaves it out. Names have {} for its name."""
    match layer:
        case Recurrent() if len(layer.cells) == 2:
            exchanged, forward = copy(layer), copy(layer)
            exchanged.cells = layer.cells[::-1]
            yield "weights of the two directions of {} exchanged", exchanged
            forward.directions = ("forward", "forward")
            yield "the backward direction of {} runs forward", forward
        case Dense(W=W, b=b, activation=f):
            for kind in OF_HEADS:
                if kind != str(f):
                    yield f"activation {kind} in {{}}, the model has {f}", Dense(W, b, kind)
            yield "no bias in {}", Dense(W, None, f) if b.any() else layer
            if 1 not in W.shape:
                yield "W transposed in {}", Dense(_read_transposed(W), b, f)
                yield "W reshaped, not transposed, in {}", Dense(_reshape_transposed(W), b, f)
        case LayerNormalization(factor=factor, shift=shift):
            yield "{} left out", None
            for epsilon in EPSILONS:
                changed = LayerNormalization(factor, shift, epsilon)
                name = f"epsilon {epsilon:g} in {{}}, the model has {layer.epsilon:g}"
                yield name, changed
        case Normalization():
            yield "{} left out", None
            for name, arrays in _change_normalization(layer).items():
                yield name, Normalization(**(layer.arrays | arrays))
        case Pointwise():
            yield "{} left out", None


def _change_normalization(layer: Normalization) -> dict[str, dict[str, Any]]:
    """Return by name arrays that a port may have in place of a normalization's own."""
    scale, size = layer.scale.astype(np.float64), layer.scale
    changes: dict[str, dict[str, Any]] = {
        "the mean of {} left out": {"center": 0 * size},
        "the scale of {} left out, the mean alone": {"scale": np.ones_like(size)},
        "variance for standard deviation in {}": {"scale": (scale**2).astype(size.dtype)},
        "the standard deviation of {} multiplies": {"scale": (1 / scale).astype(size.dtype)},
    }
    for name in ("factor", "shift"):
        if name in layer.arrays:
            changes[f"{name} of {{}} left out"] = {name: None}
    for old, new in permutations(EPSILONS, 2) if layer.factor is not None else ():
        variance = scale**2 - old
        if (variance > 0).all():
            root = np.sqrt(variance + new).astype(size.dtype)
            changes[f"epsilon {new:g} in {{}} in place of {old:g}"] = {"scale": root}
    return changes


# Inputs


def _change_inputs(case: Case) -> Iterator[Mistake]:
    """Shift the input, reverse it, put its columns in every other order, and scale them."""
    case = case.original or case
    if len(case.x) > len(case.groups.present):
        for name, by in (("late", -1), ("early", 1)):
            for fill in (0.0, None):
                change = partial(shift_rows, by=by, fill=fill)
                yield Mistake(f"the input one row {name}", _change_x(change), by > 0)
    turn = _change_x(lambda x, groups: x[groups.turned("backward").order])
    yield Mistake("the input reversed in time", turn, whole=True)
    for name, order in _permute_features(case).items():
        make = _change_x(partial(_order_columns, order))
        yield Mistake(f"features permuted: {name}", make)
    wide = case.x.astype(np.float64)
    if case.network.indices is not None or case.network.masking or len(wide) < 2:
        return
    mean, low, high = wide.mean(axis=0), wide.min(axis=0), wide.max(axis=0)
    scaled = {
        "the input standardised": (mean, wide.std(axis=0)),
        "the input standardised, its variance over n - 1": (mean, wide.std(axis=0, ddof=1)),
        "the input scaled to 0 to 1": (low, high - low),
        **{f"the input divided by {by}": (0.0, by) for by in FACTORS},
        **{f"the input multiplied by {by}": (0.0, 1 / by) for by in FACTORS},
    }
    for name, (center, scale) in scaled.items():
        divisor = np.where(scale == 0, 1, scale)
        make = _change_x(partial(_scale, center, divisor))
        yield Mistake(name, make)


def _order_columns(order: Integers, x: Floats, _: Groups) -> Floats:
    return np.ascontiguousarray(x[:, order])


def _scale(center: Any, divisor: Any, x: Floats, _: Groups) -> Floats:
    return np.asarray((x.astype(np.float64) - center) / divisor)


def _permute_features(case: Case) -> dict[str, Integers]:
    """Return by name other orders of the columns: all of a few, or usual ones of many."""
    count = case.x.shape[1]
    names = [*map(str, case.columns)] if len(case.columns) == count else [*map(str, range(count))]
    if count <= MOST_FEATURES:
        orders = [*permutations(range(count))]
    else:
        orders = [tuple(range(count))[::-1], tuple(sorted(range(count), key=names.__getitem__))]
    same = tuple(range(count))
    return {" ".join(names[k] for k in o): np.array(o) for o in orders if o != same}


def shift_rows(rows: Floats, groups: Groups, by: int, fill: Any = 0.0) -> Floats:
    """Replace each row by its neighbour; the one left over by `fill`, or by itself for None."""
    order, shifted = groups.order, np.empty_like(rows)
    shifted[order] = np.roll(rows[order], -by, axis=0)
    left = groups.last if by > 0 else order[groups.starts]
    shifted[left] = rows[left] if fill is None else fill
    return shifted


# Rows between layers


def _change_between(case: Case) -> Iterator[Mistake]:
    """Change the rows of each layer but the top one, as the layers above take them."""
    network = case.network
    if any(layer.sources for layer in network.layers):
        return
    top = len(network.layers) - network.head
    for number, layer in enumerate(network.layers, start=1):
        name, below_head = case.name_layer(number - 1), network.last and number >= top
        if isinstance(layer, Recurrent):
            if layer.c_size == layer.output_size and number >= top:
                show = partial(_show_c, last=bool(below_head))
                yield Mistake(
                    f"c in place of h of {name}", _put(number, show, whole=bool(below_head))
                )
            if below_head:
                yield from _take_one_row(number, network)
        if number == len(network.layers):
            continue
        for rate in DROPOUTS:
            for by in (1 - rate, 1 / (1 - rate)):
                what = f"outputs of {name} multiplied by {by:.4g}, as for a dropout of {rate:g}"
                yield Mistake(what, _put(number, partial(_multiply, by)))
        if concatenates(layer):
            yield Mistake(f"the two directions of {name} exchanged", _put(number, _swap_halves))
            if not below_head:
                turn = _put(number, _turn_backward)
                yield Mistake(f"backward states of {name} in processing order", turn, whole=True)
        if layer.cells and not below_head:
            late = _put(number, lambda rows, groups: shift_rows(rows.output, groups, -1))
            yield Mistake(f"outputs of {name} one step late: the layer above takes h_{{t-1}}", late)


def _put(
    number: int, change: Callable[[LayerRows, Groups], Floats], *, whole: bool = False
) -> Callable[[Case], Case]:
    """Put a change above the layer of this number."""
    return replace(between=Between(number, change, whole))


def _show_c(rows: LayerRows, groups: Groups, *, last: bool) -> Floats:
    return rows.c[groups.last] if last else rows.c


def _multiply(by: float, rows: LayerRows, _: Groups) -> Floats:
    return np.asarray(rows.output * rows.output.dtype.type(by))


def _swap_halves(rows: LayerRows, _: Groups) -> Floats:
    return np.hstack(np.hsplit(rows.output, 2)[::-1])


def _turn_backward(rows: LayerRows, groups: Groups) -> Floats:
    forward, backward = np.hsplit(rows.output, 2)
    return np.hstack([forward, backward[groups.turned("backward").order]])


def _take_one_row(number: int, network: Network) -> Iterator[Mistake]:
    """Take another row than that of the final states."""
    backward = "backward" in network.layers[number - 1].directions

    def reduce(operation: Any) -> Callable[[LayerRows, Groups], Floats]:
        return lambda rows, groups: operation.reduceat(rows.output, groups.starts)

    takes: Mapping[str, Callable[[LayerRows, Groups], Floats]] = {
        "the mean of all rows": lambda rows, groups: (
            reduce(np.add)(rows, groups) / groups.lengths[:, None]
        ),
        "the first row": lambda rows, groups: rows.output[groups.order[groups.starts]],
        "the largest value of all rows": reduce(np.maximum),
    }
    if backward and network.last == "state":
        name = "the last row, where the backward direction has read one row only"
        takes = {name: lambda rows, groups: rows.output[groups.last], **takes}
    for name, take in takes.items():
        what = f"{name}, in place of the final state"
        yield Mistake(what, _put(number, take, whole=True))


# Results


def _change_results(case: Case, ours: Floats, theirs: Floats) -> Iterator[Mistake]:
    """Change the rows of the top layer: order, scale and signs."""
    number, last = len(case.network.layers), case.network.last

    def put(name: str, change: Callable[[Floats, Groups], Floats], *, whole: bool) -> Mistake:
        make = _put(number, lambda rows, groups: change(rows.output, groups))
        return Mistake(name, make, whole)

    yield put("output negated", lambda y, _: -y, whole=False)
    if line := fit_line(ours, theirs):
        slope, shift = line
        plus = f" {'-' if shift < 0 else '+'} {abs(shift):.6g}" if abs(shift) > 1e-6 else ""
        times = "" if abs(slope - 1) < 1e-4 else f"{slope:.6g} "
        how = "scaled" if times else "shifted"
        name = f"output {how}: expected = {times}{'y' if case.network.head else 'h'}{plus}"
        yield put(name, lambda y, _: slope * y + shift, whole=False)
    if (columns := match_columns(ours, theirs)) is not None:
        name = " ".join(map(str, columns))
        yield put(f"outputs permuted: {name}", lambda y, _: y[:, columns], whole=False)
    if concatenates(case.network.layers[-1]):
        name = f"the two directions of {case.name_layer(number - 1)} exchanged"
        yield Mistake(name, _put(number, _swap_halves))
    if last:
        return
    turn = lambda y, groups: y[groups.turned("backward").order]  # noqa: E731
    yield put("the rows of the output reversed in time", turn, whole=True)
    if concatenates(case.network.layers[-1]):
        yield Mistake("backward states in processing order", _put(number, _turn_backward), True)
    start = case.h0[:, case.network.state_names["h"]][:1]
    fills = [0.0, None, *([start] if start.any() and start.shape[1] == ours.shape[1] else [])]
    letter = "y" if case.network.head else "h"
    for name, by in (
        (f"rows one step late: row t holds {letter}_{{t-1}}", -1),
        (f"rows one step early: row t holds {letter}_{{t+1}}", 1),
    ):
        for fill in fills:
            yield put(name, partial(shift_rows, by=by, fill=fill), whole=by > 0)


def fit_line(ours: Floats, theirs: Floats) -> tuple[float, float] | None:
    """Fit ``theirs = slope ours + shift`` by least squares; None if it changes nothing."""
    x, y = (each.astype(np.float64).ravel() for each in (ours, theirs))
    if len(x) < FITTED or not x.var() > 0:
        return None
    slope = ((x - x.mean()) * (y - y.mean())).mean() / x.var()
    shift = y.mean() - slope * x.mean()
    changes = abs(slope - 1) > 1e-3 or abs(shift) > 1e-3 * x.std()
    # A port has round numbers, which rounding of its results hides.
    sizes = (abs(slope), abs(slope) * x.std())
    slope, shift = map(_snap, (slope, shift), sizes)
    return (slope, shift) if slope and changes else None


def _snap(value: float, size: float) -> float:
    """Round a value to few digits if that moves it by little of its size."""
    rounded = round(value, 3 - floor(log10(size))) if size > 0 else value
    return float(rounded if abs(rounded - value) < 1e-4 * size else value)


def match_columns(ours: Floats, theirs: Floats) -> Integers | None:
    """Find the column of ours that each of theirs is nearest to; None if that is no permutation."""
    rows = slice(0, 200)
    distance = np.abs(theirs[rows, :, None].astype(np.float64) - ours[rows, None]).sum(axis=0)
    nearest = distance.argmin(axis=1)
    order = np.arange(len(nearest))
    changes = (np.sort(nearest) == order).all() and (nearest != order).any()
    return nearest if changes else None


# Starts


def _change_groups(case: Case, ours: Floats, theirs: Floats) -> Iterator[Mistake]:
    """Run each row by itself, or each window of rows."""
    if case.network.last:
        yield Mistake("state never carried: only the last row is run", partial(_cut, 1))
        return
    off = np.abs(ours - theirs.astype(np.float64)).max(axis=1)
    wrong = np.flatnonzero(off > 0.05 * off.max())
    if (case.groups.lengths < 2).all() or not len(wrong):
        return
    yield Mistake("state never carried: each row is a call of its own", partial(_cut, 1))
    first = int(case.steps[wrong].min()) - 1
    # A backward direction shows the end of a window before it.
    sizes = WINDOWS if case.network.needs_whole_sequences else ()
    for size in dict.fromkeys((first, *sizes)):
        if 1 < size < case.groups.lengths.max():
            what = f"state not carried: every {size} rows are a call of their own"
            yield Mistake(what, partial(_cut, size))


def _cut(size: int, case: Case) -> Case:
    """Cut sequences into windows; of a model that gives one row the last window is left."""
    if case.network.last:
        left = np.repeat(case.groups.lengths, case.groups.lengths) - case.steps
        return case.choose(left < size)
    windows = (case.steps - 1) // size
    edges = np.diff(windows, prepend=-1) != 0
    edges[case.groups.starts] = True
    key = np.cumsum(edges) - 1
    return case._replace(groups=group(key, len(key)), h0=case.h0[case.groups.keys[edges]])


def _change_starts(case: Case) -> Iterator[Mistake]:
    """Start from zeros, ones, or the state in which this call, or a sequence before, ended."""
    if case.h0.any():
        yield Mistake("initial states left out", replace(h0=np.zeros_like(case.h0)))
    yield Mistake("initial states of ones", replace(h0=np.ones_like(case.h0)))
    ended = case.final_states()
    if np.isfinite(ended).all():
        name = "state kept from the call before: it starts from h_n of the same input"
        yield Mistake(name, replace(h0=ended))
    if 1 < len(case.groups.present) <= MOST_SEQUENCES:
        h0 = _carry_states(case)
        if h0 is not None:
            yield Mistake("state carried from sequence to sequence", replace(h0=h0))


def _carry_states(case: Case) -> Floats | None:
    """Return initial states that are those in which the sequence before ended."""
    h0, groups = case.h0.copy(), case.groups
    for (key, after), rows in zip(pairwise(groups.present), groups.split(), strict=False):
        h0[after] = run(case.network, case.x[rows], h0[key], precision=case.precision).h_n
        if not np.isfinite(h0[after]).all():
            return None
    return h0
