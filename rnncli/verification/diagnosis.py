"""The diagnosis of a result that differs: the usual mistakes of a port are made and judged.

A mistake in a cell is an entry in `CELL_MISTAKES`; `_change_layers`, `_change_inputs` and
`_change_starts` make others, `_undo_moves` and `_undo_scaling` correct rows. Simple ones go first.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, pairwise, permutations
from typing import Any, TypeAlias

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.run import run
from rnncli.model.activations import ACTIVATIONS, Activation, activation
from rnncli.model.arrays import Floats, reorder
from rnncli.model.cells import GRU, LSTM, WEIGHT_NAMES, Cell, Weights, sum_biases
from rnncli.model.layers import Dense
from rnncli.model.network import Network
from rnncli.verification.case import Case
from rnncli.verification.comparison import Comparison, Tolerance, distances, most_spread
from rnncli.verification.reference import round_to
from rnncli.verification.steps import can_judge_steps, case_step_errors, concatenates

# Most digits after the point of a rounded result; float32 itself has no more.
MOST_DIGITS = 6
# A mistake is judged if it reproduces this share of the first rows of a few sequences, or of all
# their rows where a row depends on later ones.
SCREENED, SEQUENCES, ROWS = 0.5, 4, 32
# Mistakes that come this close, in units of the last place, explain a result equally well.
UNITS = 32
# change(cell, biases): a cell as a mistake would make it; the same object where the mistake
# changes nothing. `biases` are the input bias and the recurrent one, where a file has two.
Change: TypeAlias = Callable[[Any, Sequence[Floats]], Cell]
# Activations of heads.
OF_HEADS = ("linear", "softmax", "log_softmax", "sigmoid", "tanh", "relu")
# Most features that are tried in every order; factors by which an input is scaled.
MOST_FEATURES, FACTORS = 4, (2, 10, 100, 255, 1000)
# Fewest values that a line is fitted to.
FITTED = 6


def find_causes(comparison: Comparison, theirs: Floats) -> dict[str, float]:
    """Find the mistake that reproduces a result best, and the distance that it leaves."""
    if not theirs.any():  # zeros explain nothing
        return {"all values are 0": 0.0}
    causes: dict[str, float] = {}
    with np.errstate(over="ignore", invalid="ignore"):  # an exponential, say
        for name, case, result in make_mistakes(comparison.case, theirs):
            if name not in causes and _is_near(case, result, comparison.tolerance):
                left = _measure_distance(comparison, case, result, theirs)
                if left is not None:
                    causes[name] = left
    causes |= _find_digits(comparison.ours, theirs)
    smallest = UNITS * np.finfo(theirs.dtype).eps * max(1.0, float(np.abs(theirs).max()))
    closest = max(min(causes.values(), default=0), smallest)
    return next(({name: left} for name, left in causes.items() if left <= 1.1 * closest), {})


def _is_near(case: Case, result: Floats, tolerance: Tolerance | None) -> bool:
    """Check the first rows of a few sequences, before all are run."""
    network = case.network
    steps = tolerance is None and can_judge_steps(network)
    needs_all = not steps and (network.needs_whole_sequences or network.last)
    few = case.groups.present[:SEQUENCES]
    result_rows, rows = (np.isin(g.keys, few) for g in (case.result_groups, case.groups))
    if not needs_all:
        result_rows = rows = rows & (case.steps <= ROWS)
    result, cut = result[result_rows], case.choose(rows)
    errors = case_step_errors(cut, [result]) if steps else None
    if errors is not None:
        near = errors <= 1
    else:
        ours = cut.outputs()[-1]
        bound = tolerance.bound(result) if tolerance else most_spread(ours, case.precision)
        near = distances(ours, result) <= bound
    return bool(near.mean() >= SCREENED)


def _measure_distance(
    comparison: Comparison, case: Case, result: Floats, theirs: Floats
) -> float | None:
    """Compute the distance to a result that a case explains; None if it does not explain it."""
    tried = Comparison(case, case.outputs()[-1:], comparison.tolerance)
    judgement = tried.judge("", result)
    if judgement["verdict"] != "equal" or not tried.ours.any():
        return None
    if comparison.tolerance is None and not can_judge_steps(case.network):
        bound, judged = tried.bounds  # wide where operands are rounded: most of it must go
        before = (distances(comparison.ours, theirs) / bound)[judged].max()
        if (distances(tried.ours, result) / bound)[judged].max() > before / 4:
            return None
    return float(judgement["difference"])


def _find_digits(ours: Floats, theirs: Floats) -> dict[str, float]:
    """Find the number of digits that a result was rounded to."""
    difference = float(distances(ours, theirs).max())
    last_bit = np.finfo(ours.dtype).eps * max(1.0, np.abs(theirs).max())
    for digits in range(1, MOST_DIGITS + 1):
        rounded = np.round(theirs.astype(np.float64), digits).astype(theirs.dtype)
        if difference <= 0.5 * 10.0**-digits + last_bit and (rounded == theirs).all():
            return {f"rounding to {digits} digits after the point": difference}
    return {}


def make_mistakes(case: Case, theirs: Floats) -> Iterator[tuple[str, Case, Floats]]:
    """Yield for each mistake its name, a case, and a result that equals the run of the case."""
    dtype = PRECISIONS[case.precision].dtype
    for precision, how in PRECISIONS.items():
        if precision != case.precision and how.dtype == dtype:
            yield f"`precision` {precision}", case._replace(precision=precision), theirs
    for name, network in chain(_change_cells(case), _change_layers(case)):
        yield name, case._replace(network=network), theirs
    for name, x in _change_inputs(case):
        yield name, case._replace(x=x), theirs
    for name, h0 in _change_starts(case):
        yield name, case._replace(h0=h0), theirs
    ours = case.outputs()[-1]
    for name, result in _undo_moves(case, ours, theirs) if not case.network.last else ():
        yield name, case, result
    for name, result in _undo_scaling(case, ours, theirs):
        yield name, case, result


def _change_cells(case: Case) -> Iterator[tuple[str, Network]]:
    """Change all cells, where that changes anything."""
    cells = [cell for layer in case.network.layers for cell in layer.cells]
    for name, change in CELL_MISTAKES.items():
        changed = [*map(change, cells, case.biases or [()] * len(cells))]
        if any(new is not old for new, old in zip(changed, cells, strict=True)):
            yield name, case.network.with_cells(partial(next, iter(changed)))


def _map_arrays(
    names: Sequence[str], change: Callable[[Floats], Floats], kind: type[Cell] = Cell
) -> Change:
    """Change the arrays of these names, where a cell of this kind has them."""

    def change_arrays(cell: Cell, _: Sequence[Floats]) -> Cell:
        old = cell.weights.arrays
        wanted = [name for name in names if name in old and isinstance(cell, kind)]
        arrays = {name: change(old[name]).astype(old[name].dtype) for name in wanted}
        same = all(np.array_equal(new, old[name]) for name, new in arrays.items())
        finite = all(np.isfinite(new).all() for new in arrays.values())  # float16 may not hold them
        return cell.replaced(cell.weights._replace(**arrays)) if finite and not same else cell

    return change_arrays


def _by_gate(operation: Callable[..., Floats], *numbers: float) -> Callable[[Floats], Floats]:
    """Add a number to each block of gates, or multiply by it."""
    return lambda array: operation(array, np.repeat(numbers, array.shape[-1] // len(numbers)))


def _transpose(W: Floats) -> Floats:
    """Read the numbers of (I, H) in their order as those of (H, I)."""
    return np.ascontiguousarray(W.reshape(W.shape[::-1]).T)


def _transpose_by_gate(W: Floats) -> Floats:
    """Transpose the square block of each gate."""
    gates, rest = divmod(W.shape[1], len(W))
    return W if rest else np.hstack([block.T for block in np.hsplit(W, gates)])


def _reorder_gates(kind: type[Cell], order: Sequence[str]) -> Change:
    """Read the weights of a cell as if its gates stood in another order."""
    indices = [order.index(gate) for gate in kind.gate_names]
    return _map_arrays(WEIGHT_NAMES, lambda array: reorder(array, indices), kind)


def _use_one_bias(number: int, cell: Any, biases: Sequence[Floats]) -> Any:
    """Leave one of two biases out; a GRU that resets after the product keeps its candidate's."""
    if len(biases) != 2:
        return cell
    size = cell.hidden_size if cell.settings.get("reset") == "after" else 0
    b_x, b_r = (bias * (n == number) for n, bias in enumerate(biases))
    return cell.replaced(cell.weights._replace(**sum_biases(b_x, b_r, size)))


def _add_bias_outside(cell: Any, _: Sequence[Floats]) -> Any:
    """Add the candidate's recurrent bias after the product with r."""
    b_n, b_h = cell.weights.b_n, cell.weights.b_h.copy()
    if b_n is None:
        return cell
    b_h[-len(b_n) :] += b_n
    return cell.replaced(cell.weights._replace(b_h=b_h, b_n=None))


def _change_reset(reset: str, cell: Any, biases: Sequence[Floats]) -> Any:
    """Reset on the other side of the product; before it the candidate has one bias."""
    if not isinstance(cell, GRU) or cell.reset == reset:
        return cell
    weights = cell.weights if reset == "after" else _add_bias_outside(cell, biases).weights
    return cell.replaced(weights, reset=reset)


def _change_activation(name: str, new: Activation, cell: Cell, _: Sequence[Floats]) -> Cell:
    """Replace an activation, and that of the output if it is the same."""
    before = cell.settings.get(name, new)
    same = [each for each in (name, "output_activation") if cell.settings.get(each) == before]
    settings: dict[str, Any] = dict.fromkeys(same, new)
    return cell if before == new else cell.replaced(**settings)


# Activations have the parameters that a framework gives them by default: ONNX, then Keras.
_TRIALS = [activation(name) for name, kind in ACTIVATIONS.items() if None not in kind.defaults]
_TRIALS += [activation("hard_sigmoid", 1 / 6, 0.5), activation("leaky_relu", 0.2)]
CELL_MISTAKES: dict[str, Change] = {
    "no bias": _map_arrays(("b_h", "b_n"), np.zeros_like),
    "input bias only": partial(_use_one_bias, 0),
    "recurrent bias only": partial(_use_one_bias, 1),
    "W_xh transposed": _map_arrays(("W_xh",), _transpose),
    "W_hh transposed": _map_arrays(("W_hh",), _transpose),
    "W_hh transposed in each gate": _map_arrays(("W_hh",), _transpose_by_gate),
    "W_xh and W_hh transposed": _map_arrays(("W_xh", "W_hh"), _transpose),
    **{
        f"gates in the order {' '.join(order)}, not {' '.join(kind.gate_names)}": _reorder_gates(
            kind, order
        )
        for kind in (LSTM, GRU)
        for order in permutations(kind.gate_names)
    },
    "1 added to the forget bias": _map_arrays(("b_h",), _by_gate(np.add, 0, 1, 0, 0), LSTM),
    "1 left out of the forget bias": _map_arrays(("b_h",), _by_gate(np.add, 0, -1, 0, 0), LSTM),
    "`reset` before": partial(_change_reset, "before"),
    "`reset` after": partial(_change_reset, "after"),
    "no recurrent bias of the candidate": _map_arrays(("b_n",), np.zeros_like),
    "recurrent bias of the candidate outside r": _add_bias_outside,
    # The gate of the negative sum is 1 - z.
    "z and 1 - z exchanged": _map_arrays(WEIGHT_NAMES, _by_gate(np.multiply, -1, 1, 1), GRU),
    **{
        f"`{name}` {f.name if f == activation(f.name) else f}": partial(_change_activation, name, f)
        for name in ("activation", "recurrent_activation")
        for f in _TRIALS
    },
    "weights rounded to float16": _map_arrays(Weights._fields, lambda W: W.astype(np.float16)),
    "weights rounded to bfloat16": _map_arrays(Weights._fields, lambda W: round_to(W, "bfloat16")),
}


def _change_layers(case: Case) -> Iterator[tuple[str, Network]]:
    """Take another row of a backward direction; make a mistake in one Dense."""
    layers, last = case.network.layers, case.network.last
    if last == "state" and any("backward" in layer.directions for layer in layers):
        name = "the last output alone, where a backward direction has but begun"
        yield name, Network(*layers, last="step")
    for n, layer in enumerate(layers):
        if not isinstance(layer, Dense):
            continue
        W, b, f = layer.W, layer.b, layer.activation
        heads = {f"activation {kind}": Dense(W, b, kind) for kind in OF_HEADS}
        heads |= {"no bias": Dense(W, None, f)}
        heads |= {"W transposed": Dense(_transpose(W), b, f)} if 1 not in W.shape else {}
        for name, head in heads.items():
            changed = Network(*layers[:n], head, *layers[n + 1 :], last=last)
            yield f"{name} in layer {n + 1}", changed


def _change_inputs(case: Case) -> Iterator[tuple[str, Floats]]:
    """Reverse the input, put its columns in every other order, and scale them."""
    yield "the input reversed in time", case.x[case.groups.turned("backward").order]
    features = range(case.x.shape[1])
    for order in permutations(features) if len(features) <= MOST_FEATURES else ():
        if order != tuple(features):
            x = np.ascontiguousarray(case.x[:, order])
            yield f"features permuted: {' '.join(map(str, order))}", x
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
        with np.errstate(over="ignore"):
            moved = ((wide - center) / np.where(scale == 0, 1, scale)).astype(case.x.dtype)
        if np.isfinite(moved).all():
            yield name, moved


def _change_starts(case: Case) -> Iterator[tuple[str, Floats]]:
    """Start from zeros, or from the state in which the sequence before ended."""
    if case.h0.any():
        yield "start states left out", np.zeros_like(case.h0)
    h0 = case.h0.copy()
    edges = np.searchsorted(case.groups.keys, np.arange(len(h0)))
    for key, (start, stop) in enumerate(pairwise(edges)):
        h0[key + 1] = run(case.network, case.x[start:stop], h0[key], precision=case.precision).h_n
        if not np.isfinite(h0[key + 1]).all():
            return
    if len(h0) > 1:
        yield "state carried from sequence to sequence", h0


def _undo_moves(case: Case, ours: Floats, theirs: Floats) -> Iterator[tuple[str, Floats]]:
    """Undo what a port does to its rows: it reverses or shifts them."""
    groups = case.groups
    reverse = groups.turned("backward").order
    yield "the rows of the output reversed in time", theirs[reverse]
    if concatenates(case.network.layers[-1]):
        forward, backward = np.hsplit(theirs, 2)
        yield "backward states in processing order", np.hstack([forward, backward[reverse]])
    first, last = groups.order[groups.starts], groups.last
    # Where rows are late or early, the one left over holds zeros or the initial state.
    for name, by, left, missing in (
        ("rows one step late: row t holds h_{t-1}", -1, first, last),
        ("rows one step early: row t holds h_{t+1}", 1, last, first),
    ):
        rest = theirs[left]
        begins = not rest.any() or np.array_equal(rest, case.h0[groups.present])
        if (groups.lengths > 1).all() and begins:
            shifted = np.roll(theirs, by, axis=0)
            shifted[missing] = ours[missing]
            yield name, shifted


def _undo_scaling(case: Case, ours: Floats, theirs: Floats) -> Iterator[tuple[str, Floats]]:
    """Undo a factor and an offset of the result, fitted by least squares."""
    x, y = (each.astype(np.float64).ravel() for each in (ours, theirs))
    if len(x) < FITTED or not x.var() > 0:
        return
    slope = ((x - x.mean()) * y).mean() / x.var()
    shift = (y - slope * x).mean()
    if slope and (abs(slope - 1) > 1e-3 or abs(shift) > 1e-3 * x.std()):
        plus = f" {'-' if shift < 0 else '+'} {abs(shift):.6g}" if abs(shift) > 1e-6 else ""
        name = f"the output scaled: expected = {slope:.6g} {'y' if case.network.head else 'h'}"
        yield name + plus, ((theirs.astype(np.float64) - shift) / slope).astype(theirs.dtype)
