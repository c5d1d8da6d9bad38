"""Nodes that move the axes of rows, take some of them, or bring directions together."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from rnncli.model.formats.onnx.constants import FAR, slices, split_sizes, taken
from rnncli.model.formats.onnx.values import (
    Axis,
    Call,
    Chain,
    RefusedError,
    Rows,
    Size,
    single,
)
from rnncli.model.formats.parts import Part

_ONE = Axis("", 1)
_UNTURNED = ("", "D", "L", "N", "F")
# Directions and layers whose states a graph lays side by side.
_MOST_CHAINS = 64
# What is left of the steps, where the last one stands first.
_OTHER_END = {"step": "first", "first": "step"}


def transposed(call: Call) -> Rows:
    """Read ``Transpose``."""
    rows = call.rows()
    order = call.integers("perm") or list(range(len(rows.axes)))[::-1]
    if sorted(order) != list(range(len(rows.axes))):
        raise RefusedError(f"Transpose: no order of {len(rows.axes)} axes: {order}")
    return rows.with_axes(rows.axes[place] for place in order)


def squeezed(call: Call) -> Rows:
    """Read ``Squeeze``."""
    rows = call.rows()
    axes = call.whole(1, "axes")
    if axes is None:
        if not call.work.inputs.intersection(call.node.outputs):
            return rows  # the numbers are the same, whichever axes go
        if any(isinstance(axis.size, Size) for axis in rows.axes):
            raise RefusedError("drops all axes of size 1, where not all sizes are known")
        axes = [place for place, axis in enumerate(rows.axes) if axis.size == 1]
    dropped = {rows.at(place) for place in axes}
    for place in dropped:
        if rows.axes[place].size != 1 or rows.axes[place].name == "T":
            raise RefusedError(f"drops axis {place}, which is not known to be of size 1")
    return rows.with_axes(axis for k, axis in enumerate(rows.axes) if k not in dropped)


def unsqueezed(call: Call) -> Rows:
    """Read ``Unsqueeze``."""
    rows, axes = call.rows(), call.whole(1, "axes") or []
    count = len(rows.axes) + len(axes)
    places = {place % count for place in axes if -count <= place < count}
    if len(places) < len(axes):
        raise RefusedError(f"adds axes that are not there: {axes}")
    rest = iter(rows.axes)
    return rows.with_axes(_ONE if k in places else next(rest) for k in range(count))


def reshaped(call: Call) -> Rows:
    """Read ``Reshape``: which axes become one, or several again."""
    rows, sizes = call.rows(), call.whole(1, "shape") or []
    if not call.integer("allowzero"):
        sizes = [
            rows.axes[rows.at(place)].size if size == 0 else size
            for place, size in enumerate(sizes)
        ]
    unknown = [place for place, size in enumerate(sizes) if size == -1]
    if unknown:
        rest = prod(size for size in sizes if size != -1)
        if len(unknown) > 1 or rest == 0:
            raise RefusedError("Reshape: no such shape")
        whole = prod(axis.size for axis in rows.axes)
        sizes[unknown[0]] = _ratio(whole, rest)
    try:
        return _grouped(rows, _groups(rows, sizes))
    except RefusedError:
        unfolded = _unfolded(rows)
        if unfolded is rows:
            raise
        return _grouped(unfolded, _groups(unfolded, sizes))


def flattened(call: Call) -> Rows:
    """Read ``Flatten``."""
    rows, place = call.rows(), call.integer("axis", 1)
    place = place if place == len(rows.axes) else rows.at(place)
    return _grouped(rows, [_atoms(rows.axes[:place]), _atoms(rows.axes[place:])])


def gathered(call: Call) -> Rows:
    """Read ``Gather`` of one place of an axis."""
    rows, places = call.rows(), call.constant(1)
    axis = rows.at(call.integer("axis"))
    chosen = single(places)
    if chosen is None or chosen != int(chosen):
        raise RefusedError("takes several places of an axis")
    place = int(chosen)
    size, name = rows.axes[axis].size, rows.axes[axis].name
    if name in ("D", "L"):
        rows = _directions(rows, axis, _picked(rows, size, place))
    elif size == 1 and place in (0, -1) and name != "T":
        pass
    elif place == -1 or size == place + 1:
        rows = _one_step(rows, axis, "step")
    elif place == 0:
        rows = _one_step(rows, axis, "first")
    else:
        raise RefusedError(f"takes place {place} of an axis")
    if places.entry.shape:
        return rows
    return rows.replaced(axis)


def _picked(rows: Rows, size: int, place: int) -> Sequence[Chain]:
    """Return the chains at one place of an axis of directions or layers."""
    count = len(rows.chains) // size
    begin = place % size * count
    return rows.chains[begin : begin + count] if -size <= place < size else ()


def sliced(call: Call) -> Rows:
    """Read ``Slice``: a step, a direction, or the steps from the last to the first."""
    rows = call.rows()
    for place, (begin, end, step) in slices(call).items():
        axis = rows.at(place)
        rows = _along(rows, axis, begin, end, step)
    return rows


def _along(rows: Rows, axis: int, begin: Any, end: Any, step: int) -> Rows:
    size, name = rows.axes[axis].size, rows.axes[axis].name
    which = _selected(size, begin, end, step)
    if which == "all" and (name, size, begin) != ("T", 1, -1):  # one step, of which it is the last
        return rows
    if which == "reversed" and rows.backwards in ("", name) and name not in _UNTURNED:
        return rows._replace(backwards="" if rows.backwards else name)
    if which in ("step", "first", "all") and name == "T":
        return _one_step(rows, axis, "first" if which == "first" else "step")
    if not isinstance(size, Size) and not isinstance(begin, Size) and not isinstance(end, Size):
        return _part(rows, axis, taken(size, begin, end, step))
    raise RefusedError("takes some places of an axis")


def _selected(size: Any, begin: Any, end: Any, step: int) -> str:
    """Return what a slice takes of an axis, if it is one of these; else nothing."""
    if not any(isinstance(each, Size) for each in (size, begin, end)):
        places = taken(size, begin, end, step)
        begin, end, step = places.start, places.stop, places.step
        known = {(size - 1, size, 1): "step", (size - 1, -1, -1): "reversed", (0, size, 1): "all"}
        return known.get((begin, end, step), "first" if places == range(1) else "")
    ends = end == size or (not isinstance(end, Size) and end >= FAR)
    if step == 1 and ends:
        return {0: "all", -1: "step"}.get(begin, "")
    if (begin, step) == (-1, -1) and not isinstance(end, Size) and end <= -FAR:
        return "reversed"
    return "first" if (begin, end, step) == (0, 1, 1) else ""


def _part(rows: Rows, axis: int, places: range) -> Rows:
    """Take some places of an axis of known size: directions, or the features of one of two."""
    name, size = rows.axes[axis].name, rows.axes[axis].size
    if name == "D":
        return _directions(rows, axis, [rows.chains[k] for k in places])
    if name == "L" and len(places) == 1:
        return _directions(rows, axis, _picked(rows, size, places.start))
    halves = _halves(rows) if name == rows.feature else ()
    for half, begin in zip(halves, (0, size // 2), strict=False):
        if places == range(begin, begin + size // 2):
            return rows.replaced(axis, Axis(name, size // 2)).through(half)
    raise RefusedError("takes some places of an axis")


def split(call: Call) -> list[Rows]:
    """Read ``Split`` of directions."""
    rows = call.rows()
    axis = rows.at(call.integer("axis"))
    if isinstance(rows.axes[axis].size, Size):
        raise RefusedError("splits an axis whose size is not known")
    found, begin = [], 0
    for size in split_sizes(call, rows.axes[axis].size):
        found.append(_part(rows, axis, range(begin, begin + size)))
        begin += size
    return found


def joined(call: Call) -> Rows:
    """Read ``Concat``: of two directions, or of final states."""
    first, *others = (call.rows(place) for place in range(len(call.inputs)))
    axis = first.at(call.integer("axis", 1))
    for other in others:
        if other.names != first.names or other.backwards != first.backwards:
            raise RefusedError("joins rows of different axes")
    if not others:
        return first
    if first.axes[axis].name == "D" and {each.last for each in others} == {first.last}:
        chains = [chain for each in (first, *others) for chain in each.chains]
        return _directions(first, axis, chains)
    if first.axes[axis].name == first.feature and len(others) == 1:
        return paired(first, others[0], "concat")
    raise RefusedError("joins what is not the two directions of a layer")


def paired(first: Rows, second: Rows, merge: str) -> Rows:
    """Bring the two directions of a layer together."""
    pair = [first, second]
    if merge != "concat":
        pair.sort(key=_direction, reverse=True)
    if [_direction(rows) for rows in pair] != ["forward", "backward"]:
        raise RefusedError(
            "brings together what is not the two directions of a layer, forward first"
        )
    chains = [rows.chain for rows in pair]
    if first.origin != second.origin or chains[0].below is not chains[1].below:
        raise RefusedError("brings together two paths that do not take the same rows")
    lasts = {rows.last for rows in pair}
    if len(lasts) > 1:
        lasts = {settled(rows) for rows in pair}
    if len(lasts) > 1 or first.backwards != second.backwards:
        raise RefusedError("brings together rows of different steps")
    part = _both(chains[0].top, chains[1].top, merge)
    axes = first.axes
    if merge == "concat":
        axes = tuple(
            Axis(axis.name, 2 * axis.size) if axis.name == first.feature else axis for axis in axes
        )
    (last,) = lasts
    return first._replace(axes=axes, chains=(chains[0].changed(part),), last=last, text="")


def reduced(call: Call, merge: str) -> Rows | None:
    """Read a reduction of the two directions; return None for one of another axis."""
    rows, axes = call.rows(), call.whole(1, "axes")
    if not axes or len(axes) > 1 or rows.axes[rows.at(axes[0])].name != "D":
        return None
    axis = rows.at(axes[0])
    if len(rows.chains) == 2:
        pair = [_directions(rows, axis, [chain]) for chain in rows.chains]
        rows = paired(pair[0], pair[1], merge)
    elif len(rows.chains) > 2:
        raise RefusedError("reduces the states of several layers")
    kept = (_ONE,) if call.integer("keepdims", 1) else ()
    return rows.replaced(axis, *kept)


def settled(rows: Rows) -> str:
    """Return what rows are instead of all steps: the last that a direction takes is its state."""
    ends = {("step", "forward"), ("first", "backward")}
    return "state" if (rows.last, _direction(rows)) in ends else rows.last


def _direction(rows: Rows) -> str:
    """Return the direction of the layer that rows come from; empty if another stands above it."""
    layers = rows.chain.top.layers
    return str(layers[0].settings["direction"]) if layers and layers[0].cells else ""


def _both(forward: Part, backward: Part, merge: str) -> Part:
    cells = (*forward.layers[0].cells, *backward.layers[0].cells)
    spec = forward.layers[0]._replace(
        cells=cells, settings={"direction": "bidirectional", "merge": merge}
    )
    tensors = tuple(dict.fromkeys((*forward.tensors, *backward.tensors)))
    return forward._replace(tensors=tensors, layers=(spec,))


def _halves(rows: Rows) -> tuple[Chain, ...]:
    """Return the chains of both directions of the layer that rows come from."""
    top = rows.chain.top
    if not top.layers or top.layers[0].settings.get("merge") != "concat":
        return ()
    spec = top.layers[0]
    ways = zip(spec.cells, ("forward", "backward"), strict=True)
    return tuple(
        rows.chain.changed(
            top._replace(layers=[spec._replace(cells=(cell,), settings={"direction": way})])
        )
        for cell, way in ways
    )


def _directions(rows: Rows, axis: int, chains: Sequence[Chain]) -> Rows:
    if not 0 < len(chains) <= _MOST_CHAINS:
        raise RefusedError(f"takes {len(chains)} directions")
    if rows.axes[axis].name == "D" and rows.place("L") is not None:
        raise RefusedError("takes directions of several layers")
    left = Axis("D", len(chains)) if rows.axes[axis].name == "D" else _ONE
    return rows.replaced(axis, left)._replace(chains=tuple(chains))


def _one_step(rows: Rows, axis: int, which: str) -> Rows:
    """Take the last or the first step; its axis has size 1 then."""
    if rows.axes[axis].name != "T" or rows.last:
        raise RefusedError("takes one place of an axis that is not that of the steps")
    which = _OTHER_END[which] if rows.backwards else which
    return rows.replaced(axis, _ONE)._replace(last=which, backwards="")


def _ratio(whole: Any, rest: Any) -> Any:
    if isinstance(whole, Size):
        return whole // rest
    if isinstance(rest, Size) or whole % rest:
        raise RefusedError("Reshape: no such shape")
    return whole // rest


def _atoms(axes: Sequence[Axis]) -> list[Axis]:
    return [atom for axis in axes for atom in (axis.parts or (axis,))]


def _groups(rows: Rows, sizes: Sequence[Any]) -> list[list[Axis]]:
    """Return which axes, one after the other, are as large as each of the sizes."""
    left, groups = _atoms(rows.axes), list[list[Axis]]()
    for size in sizes:
        group: list[Axis] = []
        if size == 1 and left and left[0].size == 1:
            group.append(left.pop(0))
        while prod(axis.size for axis in group) != size:
            if not left:
                raise RefusedError("Reshape: does not keep the axes together")
            group.append(left.pop(0))
        groups.append(group)
    if not all(axis.size == 1 for axis in left):
        raise RefusedError("Reshape: does not keep the axes together")
    if left and groups:
        groups[-1] += left
    return groups


def _unfolded(rows: Rows) -> Rows:
    """Return rows with an axis more: of directions whose features are one, or of layers."""
    count = len(rows.chains)
    axes = list(rows.axes)
    if count == 1 and (halves := _halves(rows)) and (place := rows.place(rows.feature)) is not None:
        axes[place : place + 1] = [Axis("D", 2), Axis(rows.feature, axes[place].size // 2)]
        return rows.with_axes(axes)._replace(chains=halves, text="")
    place = rows.place("D")
    if count > 2 and count % 2 == 0 and place is not None and axes[place].size == count:
        axes[place : place + 1] = [Axis("L", count // 2), Axis("D", 2)]
        return rows.with_axes(axes)
    return rows


def _grouped(rows: Rows, groups: Sequence[list[Axis]]) -> Rows:
    """Make one axis of each group."""
    axes = []
    for group in groups:
        names = [axis.name for axis in group]
        if names == ["D", rows.feature] and len(rows.chains) == 2:
            rows = _concatenated(rows, group)
            group = [Axis(rows.feature, 2 * group[1].size)]
        axes.append(_one_axis(rows, group))
    return rows.with_axes(axes)


def _one_axis(rows: Rows, group: Sequence[Axis]) -> Axis:
    """Return the axis that several become; those of size 1 are dropped."""
    left = [axis for axis in group if axis.size != 1 or axis.name == "T"]
    if not left:
        return next((axis for axis in group if axis.name == rows.feature), (*group, _ONE)[0])
    if len(left) == 1:
        return left[0]
    if {"D", "L", rows.feature} & {axis.name for axis in left}:
        raise RefusedError("makes one axis of features and others")
    name = "*".join(axis.name for axis in left)
    return Axis(name, prod(axis.size for axis in left), tuple(left))


def _concatenated(rows: Rows, group: Sequence[Axis]) -> Rows:
    """Bring the two directions together, whose axes are to become one."""
    one = rows._replace(axes=tuple(group))
    pair = [_directions(one, 0, [chain]) for chain in rows.chains]
    merged = paired(pair[0], pair[1], "concat")
    return rows._replace(chains=merged.chains, last=merged.last, text="")


# read(call): what a node gives.
OPERATORS: dict[str, Callable[[Call], Any]] = {
    "Concat": joined,
    "Flatten": flattened,
    "Reshape": reshaped,
    "Slice": sliced,
    "Split": split,
    "Squeeze": squeezed,
    "Transpose": transposed,
    "Unsqueeze": unsqueezed,
}
