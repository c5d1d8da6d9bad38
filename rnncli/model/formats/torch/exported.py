"""``.pt2`` files, as ``torch.export.save`` writes them: calls of PyTorch's functions, as JSON.

Each call adds nodes to a graph. Nothing is executed.

Source: torch/_export/serde/schema.py, https://github.com/pytorch/pytorch.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rnncli.model.arrays import make_unread, widen_bfloat16
from rnncli.model.contents import Contents
from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.builder import Builder, Value, refuse
from rnncli.model.formats.containers.budget import Budget
from rnncli.model.formats.containers.zips import (
    most_unpacked,
    open_zip,
    read_member,
    wrap_damage,
)
from rnncli.model.formats.torch.files import MOST_WORK, read_saved, view_storage
from rnncli.model.formats.torch.functions import RECURRENT, UNKNOWN, call
from rnncli.model.formats.torch.names import find_modules, read_mode
from rnncli.model.graph import RefusedError

# By the schema's number of an element type, NumPy's type and the number in calls of functions.
_TYPES = {1: ("u1", 0), 2: ("i1", 1), 3: ("<i2", 2), 4: ("<i4", 3), 5: ("<i8", 4), 6: ("<f2", 5)}
_TYPES |= {7: ("<f4", 6), 8: ("<f8", 7), 12: ("?", 11), 13: ("<u2", 15)}
_WHOLE, _BFLOAT16 = range(1, 6), 13
# Parsed, JSON can take twenty times as much.
_TEXT_MOST = 4 * 2**20
# The member with the calls, by the archive's folder and the name of the model; before PyTorch 2.8
# there was one name.
_MODEL, _OLD = re.compile(r"([^/]+/)models/(.+)\.json"), "serialized_exported_program.json"
# Arguments by name, where the file does not tell which are.
_NAMED = {"alpha", "approximate", "correction", "device", "dtype", "generator", "layout"}
_NAMED |= {"memory_format", "pin_memory", "rounding_mode"}
# What holds the name of an array, by the kind of an input.
_STORED = {"parameter": "parameter_name", "buffer": "buffer_name"}
_STORED |= {"tensor_constant": "tensor_constant_name"}
# Overloads that take other arguments.
_OTHERS = {"data", "out", "padding"}
_UNROLLED = "is written step by step: export the model again with PyTorch 2.6 or later"

_Load: TypeAlias = Callable[[str], bytes]


class _Program(NamedTuple):
    """An exported program: its calls, its inputs and outputs, and its arrays by name."""

    graph: Any
    signature: Any
    arrays: Mapping[str, Any]


def read(data: bytes, path: str, layer: str | None, output: str) -> Contents:
    """Read a ``.pt2`` file."""
    with open_zip(path, data) as archive:
        names = archive.namelist()

        def load(name: str) -> bytes:
            return read_member(path, archive, name)

        program = _read_program(
            path, names, load, Budget(path, MOST_WORK, most_unpacked(len(data)))
        )
    with wrap_damage(path):
        modes = {name: mode for name, _, mode in map(_name_call, program.graph["nodes"]) if mode}
    settings = {name: read_mode(mode) for name, mode in modes.items()}
    recurrent = find_modules(path, program.arrays, settings)
    builder, why = Builder(path, program.arrays), ""
    with wrap_damage(path):
        try:
            if recurrent and not modes:
                raise RefusedError(_UNROLLED)
            inputs, values = _read_inputs(program)
            _follow(builder, program.graph, values)
            outputs = _find_outputs(builder, program.signature, values)
        except RefusedError as error:
            why = str(error)
    if why:
        contents = refuse(why, recurrent)
    else:
        whole = [name for name in inputs if values[name].is_integer]
        contents = builder.find_layers(inputs, outputs, output, whole=whole)
    return contents._replace(title="PyTorch, torch.export").pick(path, layer)


def _read_program(path: str, names: list[str], load: _Load, budget: Budget) -> _Program:
    """Read the calls and the arrays of the only program of an archive."""
    models = [match for match in map(_MODEL.fullmatch, names) if match]
    if _OLD in names:
        program, arrays = _parse(path, _OLD, load), dict[str, Any]()
        for name in ("serialized_state_dict.pt", "serialized_constants.pt"):
            arrays |= _read_pickle(f"{path}: {name}", load(name), budget)
    elif len(models) == 1:
        top, model = models[0].groups()
        program, arrays = _parse(path, models[0][0], load), {}
        for kind in ("weights", "constants"):
            folder = f"{top}data/{kind}/"
            if f"{folder}{model}.pt" in names:  # before PyTorch 2.9
                name = f"{folder}{model}.pt"
                arrays |= _read_pickle(f"{path}: {name}", load(name), budget)
                continue
            about = _parse(path, f"{folder}{model}_{kind}_config.json", load)
            with wrap_damage(path):
                for name, entry in about["config"].items():
                    arrays[name] = _read_array(budget, folder, entry, load)
    elif models:
        raise InputError(path, f"holds several programs: {listed(each[2] for each in models)}")
    else:
        what = f"expected what torch.export.save wrote, got an archive of {listed(names)}"
        raise InputError(path, what)
    with wrap_damage(path):
        module = program["graph_module"]
        return _Program(module["graph"], module["signature"], arrays)


def _parse(path: str, name: str, load: _Load) -> Any:
    """Parse JSON."""
    text = load(name)
    if len(text) > _TEXT_MOST:
        what = f"expected at most {_TEXT_MOST:,} characters, got {len(text):,}"
        raise InputError(f"{path}: {shown(name)}", what)
    with wrap_damage(f"{path}: {shown(name)}"):
        return json.loads(text)


def _read_pickle(where: str, data: bytes, budget: Budget) -> dict[str, Any]:
    """Read the arrays of a dictionary that ``torch.save`` wrote."""
    saved = read_saved(data, where, budget)
    items = saved.items() if isinstance(saved, dict) else ()
    return {str(name): array for name, array in items if isinstance(array, np.ndarray)}


def _read_array(budget: Budget, folder: str, entry: Any, load: _Load) -> Any:
    """Read an array by its sizes, strides and offset in the bytes of a member."""
    meta = entry.get("tensor_meta") or {"sizes": [], "dtype": 0}
    shape = [each["as_int"] for each in meta["sizes"]]
    if entry.get("use_pickle") or meta["dtype"] not in _TYPES:
        return make_unread(shape, f"type {meta['dtype']}")
    values = np.frombuffer(load(folder + entry["path_name"]), _TYPES[meta["dtype"]][0])
    strides = [each["as_int"] for each in meta["strides"]]
    array = view_storage(budget, values, meta["storage_offset"]["as_int"], shape, strides)
    return widen_bfloat16(array) if meta["dtype"] == _BFLOAT16 else array


def _name_call(node: Any) -> tuple[str, str, str]:
    """Return the module of a call, its function, and the mode of a recurrent one."""
    *_, stack = str(node["metadata"].get("nn_module_stack", "")).split(";")
    module = (*stack.split(","), "")[1]
    target = str(node["target"])
    match = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.(\w+)|_operator\.(\w+)", target)
    name = (match[1] or match[3]) if match else target
    known = match and match[2] not in _OTHERS
    return module, name if known else target, name if name in RECURRENT else ""


def _read_inputs(program: _Program) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the shapes of the inputs, and the values of all arguments by name."""
    shapes, values = dict[str, Any](), dict[str, Any]()
    for each in program.signature["input_specs"]:
        ((kind, spec),) = each.items()
        argument = spec.get("arg") or {}
        name = (argument.get("as_tensor") or argument).get("name", spec.get("name", ""))
        if kind in _STORED:
            stored = spec[_STORED[kind]]
            if stored not in program.arrays:
                raise RefusedError(f"takes {shown(stored)}, which is not read")
            values[name] = program.arrays[stored]
        elif kind == "user_input" and "as_tensor" in argument:
            values[name] = _describe(program.graph["tensor_values"], Value(name, 0))
            sizes = program.graph["tensor_values"][name]["sizes"]
            shapes[name] = tuple(s["as_int"] if "as_int" in s else _name_size(s) for s in sizes)
        elif kind == "constant_input":
            values[name] = next(iter(spec["value"].values()), None)
        else:
            values[name] = UNKNOWN
    return shapes, values


def _name_size(size: Any) -> str:
    return str(size["as_expr"]["expr_str"])


def _describe(known: Any, value: Any) -> Any:
    """Return a value with the number of axes and the kind of numbers that the file has for it."""
    about = known.get(value.name) if isinstance(value, Value) else None
    if about is None:
        return value
    return value._replace(rank=len(about["sizes"]), is_integer=about["dtype"] in _WHOLE)


def _follow(builder: Builder, graph: Any, values: dict[str, Any]) -> None:
    """Add the nodes of all calls, and their values."""
    known = graph["tensor_values"]
    for node in graph["nodes"]:
        builder.module, function, _ = _name_call(node)
        inputs, named = [], {}
        for each in node["inputs"]:
            value = _read_argument(each["arg"], values)
            if each.get("kind") == 2 or (not each.get("kind") and each["name"] in _NAMED):
                named[each["name"]] = value
            else:
                inputs.append(value)
        result = call(builder, function, inputs, named)
        results = result if isinstance(result, list) else [result]
        names = [name for each in node["outputs"] for name in _list_names(each)]
        if names and len(names) != len(results):
            raise RefusedError(f"calls {shown(function)} in a way that is not read")
        for name, value in zip(names, results, strict=False):
            about = known.get(name)
            if about is not None and isinstance(value, Value):
                value = value._replace(rank=len(about["sizes"]))
            values[name] = value


def _list_names(argument: Any) -> list[str]:
    """Return the names of values that a call gives."""
    ((kind, value),) = argument.items()
    if kind == "as_tensors":
        return [each["name"] for each in value]
    return [value.get("name") or value.get("as_name") or "" if isinstance(value, dict) else ""]


def _read_argument(argument: Any, values: Mapping[str, Any]) -> Any:
    """Return a value, a constant or a list of them."""
    ((kind, value),) = argument.items()
    match kind:
        case "as_tensor" | "as_sym_int" | "as_sym_float":
            name = value.get("name") or value.get("as_name")
            return values[name] if name else next(iter(value.values()))
        case "as_tensors":
            return [values[each["name"]] for each in value]
        case "as_sym_ints":
            return [_read_argument({"as_sym_int": each}, values) for each in value]
        case "as_optional_tensor" | "as_optional_tensors" if isinstance(value, dict):
            return None if "as_none" in value else _read_argument(value, values)
        case "as_scalar_type":
            return _TYPES.get(value, ("", -1))[1]
        case "as_none":
            return None
        case "as_int" | "as_ints" | "as_float" | "as_floats" | "as_bool" | "as_bools" | "as_string":
            return value
    return UNKNOWN


def _find_outputs(builder: Builder, signature: Any, values: Mapping[str, Any]) -> dict[str, Value]:
    """Return the outputs of a program that changes nothing else, by name."""
    outputs = dict[str, Value]()
    for each in signature["output_specs"]:
        ((kind, spec),) = each.items()
        if kind not in ("user_output", "token"):
            changed = shown(str(spec.get("buffer_name") or spec.get("user_input_name") or kind))
            raise RefusedError(f"changes {changed} at each call, which is not run")
        if "as_tensor" in spec["arg"]:
            name = spec["arg"]["as_tensor"]["name"]
            outputs[name] = builder.as_value(values[name])
    if not outputs:
        raise RefusedError("gives no rows")
    return outputs
