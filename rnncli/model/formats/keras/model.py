"""A Keras model by its config: its layers, each after the layers whose outputs it takes."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from rnncli.model.contents import Component, Contents
from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.model.formats.builder import Builder, Value
from rnncli.model.formats.keras.layers import (
    LAYERS,
    MODELS,
    SEVERAL,
    Config,
    Layer,
    Rows,
    check,
    read_entry,
)
from rnncli.model.formats.keras.weights import Group, KerasFile
from rnncli.model.graph import Unknown
from rnncli.model.graph.operators import MOVERS
from rnncli.model.graph.search import PASSES_OVER
from rnncli.model.graph.walk import Guess

# Classes of the operations by which Keras 3 writes a mask out: ``Any(NotEqual(x, value))``, or
# NotEqual alone.
_MASK_CLASSES = ("NotEqual", "Any")
# Layers at which a mask ends before Keras 3.
_MASK_ENDS = ("Identity", "Normalization", "Rescaling")
# Layers of a model, and characters before the name of one.
_MOST, _LONGEST = 2000, 500
_MOST_AXES = 5  # of an input
_MOST_OUTPUTS = 5  # of a layer: two directions of an LSTM give their states
_ARRAYS = "a step is an array of {} values, which are columns side by side, the last axis first"
_MOST_PASSES = 500  # over the calls of layers, whose order is that of the layers
# Arguments by name that are outputs of layers, in the order in which layers take them.
_ARGUMENTS = ("query", "value", "key", "initial_state")
# Errors that a setting of another type than Keras writes leads to.
_OTHER_TYPES = (TypeError, LookupError, AttributeError, ArithmeticError)
_NOTHING, _WITHIN = "does nothing at inference", "is run with the layers above"
_END = 2**63 - 1


class _Source(NamedTuple):
    """An output of a call of a layer."""

    layer: str
    call: int = 0
    output: int = 0

    def __str__(self) -> str:
        return self.layer if self[1:] == (0, 0) else f"{self.layer}:{self.call or self.output}"


class _Call(NamedTuple):
    """How the model calls a layer."""

    inputs: Sequence[_Source]
    extra: Sequence[Any] = ()  # constants, and names of other arguments
    mask: str = ""  # the layer that masks rows, where the config names one

    @property
    def sources(self) -> str:
        """The names of the layers whose outputs it takes."""
        return listed(dict.fromkeys(each.layer for each in self.inputs))


def find(file: KerasFile, output: str) -> Contents:
    """Find the layers of a model that the file describes, up to an output, the first for ""."""
    kind, config = str(file.config.get("class_name")), file.config.get("config")
    try:
        check(kind in MODELS, f"{shown(kind)} is a class of the model's own")
        inputs = _Inputs.find(config, output)
    except (ValueError, RecursionError, *_OTHER_TYPES) as error:
        raise InputError(file.path, str(error)) from error
    tries = list[Contents]()
    for axis in _find_steps(inputs.shape):
        size = inputs.shape[axis]
        for steps in ("T", size)[: 1 + isinstance(size, int)]:  # weights may count steps
            contents = _build(file, kind, config, inputs, output, axis, steps)
            if not any(each.needed for each in contents.components):
                return contents
            tries.append(contents)
    return tries[0]


def _find_steps(shape: Sequence[int | str]) -> list[int]:
    """Return which axes may have the steps: the second one, or of images the third one too."""
    axes = [1, 2] if len(shape) > 3 else [1]
    return [axis for axis in axes if shape[axis] == ""] or axes


def _build(
    file: KerasFile,
    kind: str,
    config: Any,
    inputs: "_Inputs",
    output: str,
    axis: int,
    steps: int | str,
) -> Contents:
    """Add the nodes of the layers, and find the layers of the network that they become."""
    walk, shape = _Walk(file, output, inputs.refused), [*inputs.shape]
    try:
        rows = walk.add_model(kind, config, "", file.group, walk.add_inputs(inputs))
    except (ValueError, RecursionError, *_OTHER_TYPES) as error:
        raise InputError(file.path, str(error)) from error
    value = rows.value
    if turned := rows.reversed and value.rank == 3:
        value = walk.emit("Slice", value, [-1], [-_END], [1], [-1])
    words = len(shape) == 2 and walk.looks_up
    axes = (axis, 0) if words or len(shape) > 2 else (None, 0)
    sizes = ("N", steps, walk.width or 1)[: len(shape)] if axes[0] else ("N", walk.width or 1)
    rest = [size for k, size in enumerate(shape) if k not in (0, axis)]
    if len(shape) > 3:
        sizes = ("N", *shape[1:axis], steps, *shape[axis + 1 :])
        walk.notes.append(_ARRAYS.format(" x ".join(map(str, rest))))
    guess = Guess("input", axes, sure=True)
    contents = walk.find_layers({"input": sizes}, {"output": value}, known=guess)
    order = "from the last step to the first, here they stand as the input does"
    notes = [*contents.notes, *walk.notes, *[f"Keras gives the rows {order}"] * turned]
    components = [*walk.list_components(contents.components), *walk.refused]
    last = contents.last if any(each.recurrent for each in components) else None
    alone = [each._replace(name=walk.name_layer(each.name)) for each in contents.alone]
    contents = Contents(components, file.title, last=last, notes=notes, unused=walk.unused)
    return contents._replace(alone=alone, outputs=[*walk.outputs], inputs=inputs.widths)


def _find_shape(config: Any) -> tuple[int | str, ...]:
    """Find the shape of the input, which the first layer has, or its first one."""
    for entry in _read_layers(config).values():
        kind, settings = str(entry.get("class_name")), entry["config"]
        if kind in MODELS:
            return _find_shape(settings)
        if shape := _read_shape(settings):
            return shape
        if kind not in ("InputLayer", "Dropout"):
            return ("", "") if kind == "Embedding" else ("", "", "")
    return ("", "", "")


def _read_shape(settings: Config) -> tuple[int | str, ...]:
    """Read the shape of an input; empty where there is none of such axes."""
    shape = settings.get("batch_shape", settings.get("batch_input_shape"))
    if not isinstance(shape, list) or not 2 <= len(shape) <= _MOST_AXES:
        return ()
    if len(shape) > 3 and (None in shape[3:] or shape[1:].count(None) > 1):
        return ()  # a step is an array of unknown size
    return tuple(n if type(n) is int and 0 < n < 2**20 else "" for n in shape)


class _Inputs(NamedTuple):
    """The inputs of a model: the shape of the rows, and the width of each of several inputs."""

    shape: tuple[int | str, ...]
    names: Sequence[str] = ("",)  # of those that are rows; one alone may have none
    widths: Mapping[str, int] = {}
    indices: Collection[str] = ()  # those without an axis of features
    refused: Mapping[str, str] = {}  # why others are no rows

    @classmethod
    def find(cls, config: Any, output: str) -> "_Inputs":
        """Find the inputs that an output, or else the first one, needs."""
        names = _list_ends(config.get("input_layers")) if isinstance(config, dict) else []
        layers, takers = _read_layers(config), dict[str, set[str]]()
        for entry in layers.values():
            with suppress(ValueError):
                for call in _read_calls(entry):
                    for source in call.inputs:
                        takers.setdefault(source.layer, set()).add(str(entry.get("class_name")))
        ends = _list_ends(config.get("output_layers")) if len(names) > 1 else []
        needed = _find_ancestors(layers, output if output in ends else [*ends, ""][0])
        shapes, refused = dict[str, tuple[int | str, ...]](), dict[str, str]()
        for name in names if len(names) > 1 else ():
            shape = _read_shape(layers[name]["config"])
            fits = len(shape) == 3 and isinstance(shape[2], int)
            fits |= len(shape) == 2 and takers.get(name, {""}) <= {"Embedding", "NotEqual"}
            if name not in needed:
                continue
            if not fits:
                refused[name] = "is an input of something else than numbers for each step"
            elif shape[1] != [shape, *shapes.values()][-1][1]:
                refused[name] = f"is an input of other steps than {shown(next(iter(shapes)))}"
            else:
                shapes[name] = shape
        if not shapes:
            return cls(_find_shape(config), refused=refused)
        first = next(iter(shapes.values()))
        if len(shapes) == 1:
            return cls(first, [*shapes], refused=refused)
        widths: Any = {name: (*shape, 1)[2] for name, shape in shapes.items()}
        flat = [name for name, shape in shapes.items() if len(shape) == 2]
        return cls((*first[:2], sum(widths.values())), [*shapes], widths, flat, refused)


def _list_ends(ends: Any) -> list[str]:
    """List the layers of the inputs or the outputs, as Keras orders them."""
    ends = [ends[name] for name in sorted(ends)] if isinstance(ends, dict) else ends
    ends = ends if ends and isinstance(ends[0], list) else [ends]
    return [str(each[0]) for each in ends if each]


class _Model(NamedTuple):
    """A model, with what its layers give and how they are called, by name."""

    prefix: str  # of the names of its layers
    is_chain: bool  # whether each layer takes the output of the one before
    layers: Mapping[str, Config]
    groups: Mapping[str, Group]
    starts: Mapping[str, Rows]  # what it takes, by layers; one alone may have no name
    gives: dict[_Source, Rows]
    calls: dict[str, Sequence[_Call] | str]  # or why they are not read
    masks: dict[str, _Call]  # operations that write a mask out

    def writes_mask(self, name: str) -> bool:
        """Return whether a layer is an operation that writes a mask out."""
        return not self.is_chain and str(self.layers[name].get("class_name")) in _MASK_CLASSES


class _Made(NamedTuple):
    """A layer whose nodes are added."""

    kind: str
    arrays: Mapping[str, Any]
    reversed: bool  # whether it takes rows from the last step to the first
    why: str  # why it may be no layer of the network


class _Walk(Builder):
    """A walk along the layers of a model, which adds their nodes."""

    most_nodes = 20_000

    def __init__(self, file: KerasFile, output: str, unfit: Mapping[str, str]) -> None:
        super().__init__(file.path, file.arrays)
        self._file, self._output, self._unfit = file, output, unfit
        self.outputs: dict[str, _Source] = {}  # by name
        self.refused: list[Component] = []  # models whose output is not known
        self.unused: list[Component] = []  # layers that are not on the way to the output
        self.notes: list[str] = []
        self.looks_up = False  # whether the input has indices
        self._made: dict[str, _Made] = {}
        self._owners: dict[str, str] = {}  # layers by the names of nodes
        self._masking = ""  # the layer that masks rows

    def name_node(self, op: str, *, table: bool) -> str:  # noqa: ARG002
        """Return a name for a node: that of the layer for its first one that moves no values."""
        return "" if self.module in self._owners or op in MOVERS else self.module

    def emit(self, op: str, *inputs: Any, **attributes: Any) -> Any:
        """Add a node of the layer that is being added."""
        result = super().emit(op, *inputs, **attributes)
        node = self.nodes[-1]
        self._owners[node.name or node.outputs[0]] = self.module
        return result

    def name_layer(self, node: str) -> str:
        """Return the name of the layer that has added a node."""
        return self._owners.get(node, node)

    def list_components(self, components: Sequence[Component]) -> list[Component]:
        """List components under the names of layers, with the layers between them."""
        listed_: list[Component] = []
        owners = {self.name_layer(each.name) for each in components}
        names = [*self._made]
        waiting = {name: made for name, made in self._made.items() if name not in owners}
        for each in components:
            owner = self.name_layer(each.name)
            made = self._made.get(owner)
            if made is None:
                listed_.append(each)
                continue
            for name in names[: names.index(owner)]:
                if name in waiting:
                    listed_.append(self._list_without_layers(name, waiting.pop(name)))
            component = each._replace(
                name=owner, kind=made.kind, arrays=made.arrays, reversed=made.reversed
            )
            if each.layers and listed_ and listed_[-1].name == owner and listed_[-1].layers:
                component = component._replace(layers=[*listed_.pop().layers, *each.layers])
            listed_.append(component)
        return listed_ + [self._list_without_layers(*each) for each in waiting.items()]

    def _list_without_layers(self, name: str, made: _Made) -> Component:
        return Component(name, made.kind, made.arrays, why=made.why)

    def _list_unused(self, masking: str, nodes: int, made: int) -> None:
        """List the layers that are not on the way to the output, and drop their nodes."""
        for node in self.nodes[nodes:]:
            name, layer = self._owners[node.name or node.outputs[0]], node.attributes.get("layer")
            about = self._made.get(name)
            if about and layer:
                why = "is not on the way to the output"
                self.unused.append(Component(name, about.kind, about.arrays, [layer], why))
        del self.nodes[nodes:]
        self._masking, self._made = masking, dict(islice(self._made.items(), made))

    def add_inputs(self, inputs: _Inputs) -> dict[str, Rows]:
        """Return the rows that the model takes; several inputs are columns side by side."""
        x, size = Value("input", len(inputs.shape)), inputs.shape[-1]
        if not inputs.widths:
            return {inputs.names[0]: Rows(x, size if isinstance(size, int) else 0)}
        widths, starts = [*inputs.widths.values()], dict[str, Rows]()
        self.width = sum(widths)
        values = self.emit("Split", x, axis=2, split=widths, outputs=len(widths))
        for value, (name, width) in zip(values, inputs.widths.items(), strict=True):
            if name in inputs.indices:
                value = self.emit("Whole", value, name=name)
                value = self.emit("Squeeze", value, axes=[2], rank=2)
            starts[name] = Rows(value, width)
        return starts

    def add_model(
        self, kind: str, config: Any, prefix: str, group: Group, starts: Mapping[str, Rows]
    ) -> Rows:
        """Add the layers of a model; return what the one that has its output gives."""
        layers = _read_layers(config)
        fits = len(self._made) + len(layers) <= _MOST and len(prefix) <= _LONGEST
        check(fits, f"has over {_MOST:,} layers, or models too deep in models")
        classes = {name: str(each.get("class_name")) for name, each in layers.items()}
        groups = dict(zip(layers, group.children(classes), strict=True))
        is_chain = kind == "Sequential" or not isinstance(config, dict)
        name, first = next(iter(starts.items()))
        if not first.features:
            first = first._replace(features=self._find_width(groups))
            starts = {**starts, name: first}
        self.width = self.width or first.features
        ends = None if is_chain else _list_sources(config.get("output_layers"))
        calls, ends = _list_calls(layers, ends)
        model = _Model(prefix, is_chain, layers, groups, starts, {}, calls, {})
        if is_chain:
            output = _Source([*layers, ""][len(layers) - 1])
        else:
            output = self._find_output(model, kind, ends or [])
        needed = _find_ancestors(layers, output.layer) if output.layer else {*layers}
        needed |= {*layers} if is_chain else {*filter(model.writes_mask, layers)}
        self._add_layers(model, [name for name in layers if name in needed])
        state = self._masking, len(self.nodes), len(self._made)
        self._add_layers(model, [name for name in layers if name not in needed])
        if output.layer and output not in model.gives:
            self._refuse_output(model, kind, str(output))
        else:
            self._list_unused(*state)
        if not model.prefix:
            known = {name: each for name, each in self.outputs.items() if each in model.gives}
            self.outputs = known
        return model.gives.get(output, [*starts.values(), *model.gives.values()][-1])

    def _refuse_output(self, model: _Model, kind: str, output: str) -> None:
        """Refuse an output of the model that no layer gives."""
        why = f"output_layers: expected the output of a layer, got {shown(output)}"
        name = model.prefix.rstrip("/") or "model"
        self.refused.append(Component(name, kind, why=why, needed=True))

    def _add_layers(self, model: _Model, names: Sequence[str]) -> None:
        """Add the calls of layers, each after those whose outputs it takes."""
        waiting = [(name, k) for name in names for k in range(len(model.calls[name]) or 1)]
        for _ in range(_MOST_PASSES):
            later = []
            for name, k in waiting:
                calls = model.calls[name]
                inputs = () if isinstance(calls, str) else {*calls[k].inputs}
                if model.gives.keys() >= {*inputs} or model.writes_mask(name):
                    self._add_layer(model, name, k)
                else:
                    later.append((name, k))
            if len(later) == len(waiting):
                break
            waiting = later
        for name, k in waiting:  # which are refused
            self._add_layer(model, name, k)

    def _find_width(self, groups: Mapping[str, Group]) -> int:
        """Return the number of features that the lowest layer with arrays takes."""
        paths = [path for group in groups.values() for path in group.paths.values()]
        shape = self._file.arrays[paths[0]].shape if paths else ()
        return shape[-2] if len(shape) > 1 else sum(shape)

    def _find_output(self, model: _Model, kind: str, ends: Sequence[_Source]) -> _Source:
        """Return the first output of the model; one of no layer if there is none."""
        known = {name for name in model.layers if not model.writes_mask(name)}
        whole = [each for each in ends if each.layer in known]
        if not whole or (model.prefix and ends[0] != whole[0]):
            self._refuse_output(model, kind, listed(map(str, ends)))
            return _Source("")
        if not model.prefix:
            self.outputs = {str(each): each for each in whole}
            if self._output in self.outputs:
                return self.outputs[self._output]
        plain = [each for each in whole if not each.output or model.prefix]
        output = [*plain, *whole][0]
        rest = [each for each in whole if each != output]
        if rest and not model.prefix:
            first = output.layer
            names = (f"states of {first}" if each.layer == first else str(each) for each in rest)
            text = verbatim(listed(dict.fromkeys(names)))
            self.notes.append(PASSES_OVER.format(verbatim(shown(str(output))), text))
        return output

    def _add_layer(self, model: _Model, name: str, k: int) -> None:
        """Add the nodes of a call; one that is not run here has a node that is refused."""
        prefix, _, layers, groups, starts, gives, calls, masks = model
        start = starts.get(name, starts.get(""))
        rows, entry, count = [*starts.values()][:1], layers[name], len(self.nodes)
        module = prefix + (f"{name} ({k + 1})" if k else name)
        try:
            each_call = calls[name]
            check(not isinstance(each_call, str), str(each_call))
            call: _Call = each_call[k]  # type: ignore[assignment]
            if model.writes_mask(name):
                is_any = entry["class_name"] == "Any"
                masks[name] = masks[call.inputs[0].layer] if is_any else call
                return
            check(prefix or name not in self._unfit, self._unfit.get(name, ""))
            begins = start and (name in starts or not gives)
            sound = {*call.inputs} <= gives.keys() if call.inputs else begins
            check(sound, f"takes {call.sources}, and not outputs of layers before")
            rows = [gives[each] for each in call.inputs] or [start or rows[0]]
            if call.mask:
                mask = _find_mask(masks.get(call.mask), calls, layers) or call.mask
                call = call._replace(mask=prefix + mask)
            outputs = self._add_call(module, call, entry, groups[name], rows)
            gives.update((_Source(name, k, n), each) for n, each in enumerate(outputs))
        except (ValueError, *_OTHER_TYPES) as error:
            arrays = {path: self._file.arrays[path] for path in groups[name].paths.values()}
            why = str(error).removeprefix(f"{self._file.path}: ")
            del self.nodes[count:]
            self.module = module
            kind = shown(str(entry.get("class_name")))
            self._made[self.module] = _Made(kind, arrays, reversed=False, why=why)
            # Recurrent layers above can be picked, which take three axes.
            rank = 3 if entry.get("class_name") == "Embedding" else min(rows[0].value.rank, 3)
            values = [each.value for each in rows]
            value = self.emit("Identity", *values, rank=rank, why=Unknown(why))
            unknown = rows[0]._replace(value=value)
            gives.update((_Source(name, k, n), unknown) for n in range(_MOST_OUTPUTS))

    def _add_call(
        self, name: str, call: _Call, entry: Config, group: Group, rows: Sequence[Rows]
    ) -> list[Rows]:
        """Add the nodes of a layer; return the rows that it gives, and its states if it does."""
        kind, config = read_entry(entry)
        add = LAYERS.get(kind, (None,))[0]
        check(add or kind in MODELS, f"{shown(kind)} is not run here")
        check(not call.extra, f"is called with {listed(map(str, call.extra))}")
        check(
            len(rows) == 1 or kind in {*SEVERAL, *MODELS},
            f"takes {call.sources}, and not one layer",
        )
        fits = call.mask in ("", rows[0].masked)
        check(fits, f"takes the mask {shown(call.mask)}, which is not run here")
        if add is None:
            names = [""] if len(rows) == 1 else _list_ends(config["input_layers"])
            starts = dict(zip(names, rows, strict=True))
            return [self.add_model(kind, config, f"{name}/", group, starts)]
        self.module = name
        layer = Layer(name, entry, self._file, group, self, *rows)
        below = layer.rows
        ends = below.masked and kind in _MASK_ENDS and self._file.version < (3,)
        check(not ends, f"the mask of {shown(below.masked)} ends here in Keras 2")
        outputs = add(layer)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        above = outputs[0]
        paths = group.paths.values()
        left = {path: self._file.arrays[path] for path in paths if path not in layer.used}
        counters = all(not (a.shape or a.dtype.kind == "f") for a in left.values())
        check(counters, f"has arrays that are not known here: {listed(sorted(left))}")
        self._masking = above.masked or self._masking
        self.looks_up |= kind == "Embedding" and not below.recurrent
        unmasked = above.recurrent == name and self._masking and not below.masked
        check(not unmasked, f"takes rows without the mask of {shown(self._masking)}")
        why = _WITHIN if above.value is not below.value else _NOTHING
        self._made[name] = _Made(kind, layer.used, below.reversed, why)
        return outputs


def _read_layers(config: Any) -> dict[str, Config]:
    """Return the layers of a model by name, which is an item of the layer or of its settings."""
    entries: Any = config.get("layers") if isinstance(config, dict) else config
    fits = isinstance(entries, list) and all(isinstance(each, dict) for each in entries)
    check(fits, "damaged: it has no list of layers")
    layers = {str(each.get("name") or each["config"].get("name")): each for each in entries}
    check(len(layers) == len(entries), f"damaged: layers have one name ({listed(layers)})")
    return layers


def _list_sources(ends: Any) -> list[_Source]:
    """List the outputs of a model, as Keras orders them."""
    ends = [ends[name] for name in sorted(ends)] if isinstance(ends, dict) else ends
    ends = ends if ends and isinstance(ends[0], list) else [ends]
    return [*filter(None, map(_find_source, ends))]


def _list_calls(
    layers: Mapping[str, Config], ends: Sequence[_Source] | None
) -> tuple[dict[str, Sequence[_Call] | str], list[_Source]]:
    """List the calls of each layer, and the outputs of the model; none for a chain.

    Files number calls in order, with gaps, and leave out those that no output needs.
    """
    if ends is None:
        pairs = zip(layers, [[], *([_Source(name)] for name in layers)], strict=False)
        return {name: [_Call(below)] for name, below in pairs}, []
    calls = dict[str, Sequence[_Call] | str]()
    for name, entry in layers.items():
        try:
            calls[name] = _read_calls(entry)
        except ValueError as error:
            calls[name] = str(error)
    count = sum(len(each) for each in calls.values() if not isinstance(each, str))
    check(count <= _MOST, f"has over {_MOST:,} calls of layers")
    known = {name: each for name, each in calls.items() if not isinstance(each, str)}
    numbers: dict[str, set[int]] = {}
    for source in (
        *ends,
        *(each for some in known.values() for call in some for each in call.inputs),
    ):
        numbers.setdefault(source.layer, set()).add(source.call)

    def renumber(source: _Source) -> _Source:
        return source._replace(call=sorted(numbers[source.layer]).index(source.call))

    for name, each in known.items():
        if 1 < len(each) != len(numbers.get(name, ())):
            calls[name] = "is called in a way that is not read"
        else:
            calls[name] = [call._replace(inputs=[*map(renumber, call.inputs)]) for call in each]
    return calls, [*map(renumber, ends)]


def _read_calls(entry: Config) -> list[_Call]:
    """Read how a layer is called, by its nodes."""
    return [*map(_read_call, entry.get("inbound_nodes") or [{"args": []}])]


def _read_call(node: Any) -> _Call:
    """Read a call of a layer."""
    try:
        if isinstance(node, dict):  # Keras 3: {"args": [tensor, ...], "kwargs": {...}}
            lists = [each if isinstance(each, list) else [each] for each in node["args"]]
            values = [value for each in lists for value in each]
            keywords = dict(node.get("kwargs") or {})
        else:  # Keras 2: [[name, node, tensor, {...}], ...], or one of these alone
            rows = [node] if isinstance(node[0], str) else node
            values = [row[:3] for row in rows]
            keywords = {key: value for row in rows for key, value in dict(*row[3:]).items()}
            # None is no mask here, and that of the layer below in Keras 3.
            keywords |= {"mask": True} if "mask" in keywords else {}
        mask = _find_source(keywords.get("mask"))
        for name in _ARGUMENTS:
            value = keywords.get(name)
            if value is not None:
                values += value if isinstance(value, list) and not _find_source(value) else [value]
                del keywords[name]
        sources = [*map(_find_source, values)]
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise ValueError("is called in a way that is not read") from error
    extra = [value for value, source in zip(values, sources, strict=True) if not source]
    if mask:
        del keywords["mask"]
    extra += [key for key, value in keywords.items() if value not in (None, False, [None, None])]
    return _Call([*filter(None, sources)], extra, mask.layer if mask else "")


def _find_ancestors(layers: Mapping[str, Config], output: str) -> set[str]:
    """Return the layers on the way to an output; all where one tells not what it takes."""
    needed = {output}
    for name in reversed([*layers]):
        if name in needed:
            try:
                calls = _read_calls(layers[name])
            except ValueError:
                return {*layers}
            needed.update(source.layer for call in calls for source in call.inputs)
    return needed


def _find_source(value: Any) -> _Source | None:
    """Return the output of a layer that a value is; None for a constant."""
    match value:
        case {"config": {"keras_history": [str(name), int(call), int(output)]}}:
            return _Source(name, call, output)
        case [str(name), int(call), int(output)]:
            return _Source(name, call, output)
    return None


def _find_mask(
    written: _Call | None, calls: Mapping[str, Sequence[_Call] | str], layers: Mapping[str, Config]
) -> str:
    """Return the layer that masks the rows x where ``NotEqual(x, value)`` does."""
    for name, each in calls.items():
        if isinstance(each, str) or not each:
            continue
        call = each[0]
        config: Any = layers[name].get("config") or {}
        value = config.get("mask_value", 0 if config.get("mask_zero") else None)
        if written and (call.inputs, [value]) == (written.inputs, written.extra):
            return name
    return ""
