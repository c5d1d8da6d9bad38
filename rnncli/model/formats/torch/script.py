"""TorchScript: the code of `forward` becomes nodes of a graph.

The code is a small subset of Python, which `ast` parses: assignments, branches on constants, calls
of methods and of PyTorch's functions. These become operators of ONNX, whose graphs `onnx.graph`
reads. Nothing is executed, and a function that the table lacks is refused.
"""

import ast
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnncli.model.arrays import reorder
from rnncli.model.errors import shown
from rnncli.model.formats.contents import Budget, Component, Contents
from rnncli.model.formats.onnx.graph import find_layers
from rnncli.model.formats.onnx.messages import Model
from rnncli.model.formats.torch.files import Module, Objects
from rnncli.model.formats.torch.functions import FUNCTIONS, TRAINED, UNKNOWN, Value
from rnncli.model.graph import Graph, Node, RefusedError
from rnncli.model.graph.operators import MOVERS, UNFIT

# By PyTorch's function, the operator of ONNX and its order of gates.
_RECURRENT = {
    "lstm": ("LSTM", (0, 3, 1, 2)),
    "gru": ("GRU", (1, 0, 2)),
    "rnn_tanh": ("RNN", (0,)),
    "rnn_relu": ("RNN", (0,)),
}
# The most characters of code, and the most statements and expressions; a node counts as several.
_MOST_CODE, _MOST_WORK, _NODE = 300_000, 20_000, 16
_GOES_ON = object()
# Operators whose nodes do not get the name of their module.
_UNNAMED = {*MOVERS, "Shape", "ConstantOfShape", "Cast", "Add", "Sub", "Mul", "Div"}
_UNREAD = "holds code ({}) that is not read"


def find_script(objects: Objects, modules: Mapping[str, Module]) -> Contents:
    """Find the layers in the `forward` of the first module, which contains the others."""
    candidates, functions = [], _parse(objects.code)
    for rank in (3, 2):  # of the input, which the code does not tell
        tracer = _Tracer(objects, modules, functions)
        try:
            outputs = tracer.trace(next(iter(modules.values())), Value("input", rank))
        except (RefusedError, RecursionError) as error:
            candidates.append(Contents([Component("forward", "code", why=str(error), needed=True)]))
            continue
        shape = ("N", "T", tracer.width or 1)[:rank]
        graph = Graph(tracer.nodes, tracer.arrays, {"input": shape}, outputs)
        candidates.append(find_layers(objects.path, Model("", 20, graph, [])))
        looks_up = any("Gather" in each.kind.split() for each in candidates[-1].components)
        if not any(each.needed for each in candidates[-1].components) and (rank == 3 or looks_up):
            return candidates[-1]
    return candidates[0]


def _parse(code: Mapping[str, str]) -> dict[str, ast.FunctionDef]:
    """Parse the functions, and methods of classes, by their full names."""
    functions: dict[str, ast.FunctionDef] = {}
    for module, text in code.items() if sum(map(len, code.values())) < _MOST_CODE else ():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(text)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
        for owner in (tree, *tree.body):
            stem = f"{module}.{owner.name}" if isinstance(owner, ast.ClassDef) else module
            defs = [n for n in getattr(owner, "body", ()) if isinstance(n, ast.FunctionDef)]
            functions |= {f"{stem}.{each.name}": each for each in defs}
    return functions


class _Tracer:
    """Follow code over values of a graph, and add the nodes that compute them."""

    def __init__(
        self, objects: Objects, modules: Mapping[str, Module], functions: Mapping[str, Any]
    ) -> None:
        self._modules, self._functions, arrays = modules, functions, objects.arrays
        self._names = {id(array): name for name, array in arrays.items()}
        floats = [array.dtype for array in arrays.values() if array.dtype.kind == "f"]
        self._float = np.result_type("f4", *floats)
        size = sum(array.nbytes for array in arrays.values())
        self._budget = Budget(objects.path, _MOST_WORK, 2 * size)  # weights may be copied twice
        known = objects.constants if isinstance(objects.constants, list | tuple) else ()
        self._constants = {
            f"CONSTANTS.c{k}": each.item() if getattr(each, "ndim", 1) == 0 else each
            for k, each in enumerate(known)
        }
        self.width = 0  # the number of features that the first weights take
        self._path = ""  # of the module whose code is followed
        self.nodes: list[Node] = []
        self.arrays: dict[str, Any] = {}

    def trace(self, module: Module, x: Value) -> dict[str, None]:
        """Follow the `forward` of a module; return the names of its outputs."""
        outputs: dict[str, None] = {}
        waiting = [self._call(module, "forward", [x], {})]
        while waiting:
            self._budget.spend()
            each = waiting.pop(0)
            if isinstance(each, list):
                waiting = each + waiting
            elif isinstance(each, Value):
                outputs[each.name] = None
        return outputs

    # Nodes.

    def emit(
        self, op: str, *inputs: Any, rank: int | None = None, outputs: int = 1, **attributes: Any
    ) -> Any:
        """Add a node; return its output, or a list of several."""
        self._budget.spend(_NODE)
        values = [self._as_value(each) for each in inputs]
        table = op == "Gather" and values[0].name in self.arrays
        name = self._path if op not in _UNNAMED or table else ""
        names = [f"{self._path or 'forward'}.{op}.{len(self.nodes)}.{k}" for k in range(outputs)]
        self.nodes.append(Node(op, name, "", [each.name for each in values], names, attributes))
        rank = max(each.rank for each in values) if rank is None else rank
        results = [Value(each, rank, all(value.is_integer for value in values)) for each in names]
        return results if outputs > 1 else results[0]

    def _as_value(self, item: Any) -> Value:
        """Return a constant, or a list of numbers, as the input of a node."""
        if isinstance(item, Value) or item is None:
            return item or Value("", 0)
        items = item if isinstance(item, list) else [item]
        if any(isinstance(each, Value) for each in items):
            items = [self.emit("Unsqueeze", each, [0], rank=1) for each in items]
            joint: Value = self.emit("Concat", *items, axis=0)
            return joint
        if not isinstance(item, np.ndarray):
            if not {*map(type, items)} <= {int, float}:
                raise ValueError("something else than numbers")
            item = np.array(item)
            item = item.astype(self._float if item.dtype.kind == "f" else np.int64)
        name = self._names.get(id(item), f"{self._path}: {len(self.arrays)}")
        self.width = self.width or (item.shape[:2][-1] if id(item) in self._names else 0)
        self.arrays[name] = item
        return Value(name, item.ndim, item.dtype.kind == "i")

    def _recur(self, kind: str, x: Any, state: Any, weights: Any, bias: Any, *more: Any) -> Any:
        """Add the nodes of a recurrent module, a node a layer."""
        op, order = _RECURRENT[kind]
        layers, dropout, train, both, batch_first = more
        D, count, finals = 1 + both, 4 if bias else 2, []
        if train and dropout and layers > 1:
            raise RefusedError(TRAINED)
        if len(weights) != layers * D * count:
            raise RefusedError("has a projection, which is not read")
        self._budget.spend(0, sum(array.nbytes for array in weights))
        self.width = self.width or weights[0].shape[1]
        attributes: dict[str, Any] = {"direction": "bidirectional" if both else "forward"}
        attributes |= {"linear_before_reset": 1} if kind == "gru" else {}
        attributes |= {"activations": ["Relu"] * D} if kind == "rnn_relu" else {}
        states = state if isinstance(state, list) else [state]
        x = self.emit("Transpose", x, perm=[1, 0, 2]) if batch_first else x
        path = self._path
        for k in range(layers):
            self._path = path if layers == 1 else f"{path}.l{k}"
            ordered = [reorder(array.T, order).T for array in weights[k * D * count :][: D * count]]
            W, R, *biases = (np.stack(ordered[role::count]) for role in range(count))
            B = np.concatenate(biases, 1) if bias else None
            start = [self.emit("Slice", each, [k * D], [k * D + D], [0]) for each in states]
            y, *ends = self.emit(op, x, W, R, B, None, *start, outputs=1 + len(start), **attributes)
            finals.append(ends)
            y = self.emit("Transpose", y, perm=[0, 2, 1, 3], rank=4)
            x = self.emit("Reshape", y, [0, 0, -1], rank=3)
        self._path = path
        x = self.emit("Transpose", x, perm=[1, 0, 2]) if batch_first else x
        return [x, *(self.emit("Concat", *each, axis=0) for each in zip(*finals, strict=True))]

    # Code.

    def _follow(self, full_name: str, inputs: list[Any], named: Mapping[str, Any]) -> Any:
        """Follow a function, or a method of a class."""
        if full_name not in self._functions:
            raise RefusedError(f"has no code of {shown(full_name)}")
        function = self._functions[full_name]
        names, defaults = [a.arg for a in function.args.args], function.args.defaults
        last = zip(names[::-1], defaults[::-1], strict=False)
        values = {argument: self._evaluate(default, {}) for argument, default in last}
        values |= {**dict(zip(names, inputs, strict=False)), **named}
        if {*names} - values.keys():
            raise RefusedError("takes more than one input, which is not read")
        outer = self._path
        self._path = next((e.name for e in inputs[:1] if isinstance(e, Module)), outer)
        result = self._run(function.body, values)
        self._path = outer
        return result

    def _run(self, body: Sequence[ast.stmt], values: dict[str, Any]) -> Any:
        """Follow statements; return what they return, or `_GOES_ON`."""
        for statement in body:
            self._budget.spend()
            match statement:
                case ast.Return():
                    return self._evaluate(statement.value, values)
                case ast.If():
                    result = self._run(self._choose(statement, values), values)
                    if result is not _GOES_ON:
                        return result
                case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
                    result = self._evaluate(statement.value, values)
                    names = target.elts if isinstance(target, ast.Tuple) else [target]
                    results = result if isinstance(target, ast.Tuple) else [result]
                    fits = isinstance(results, list) and len(results) == len(names)
                    results = results if fits else [UNKNOWN] * len(names)
                    values |= {getattr(n, "id", ""): v for n, v in zip(names, results, strict=True)}
                case ast.Expr():
                    self._evaluate(statement.value, values)
                case ast.Pass():
                    pass
                case _:
                    raise RefusedError(_UNREAD.format(type(statement).__name__))
        return _GOES_ON

    def _choose(self, node: ast.If, values: dict[str, Any]) -> list[ast.stmt]:
        """Return the branch that runs; one that raises an error does not."""
        chosen = self._evaluate(node.test, values)
        match node.body[-1]:
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr="RaiseException"))):
                chosen = chosen is True
        if not isinstance(chosen, bool):
            raise RefusedError("branches, which is not read")
        return node.body if chosen else node.orelse

    def _evaluate(self, node: ast.expr | None, values: dict[str, Any]) -> Any:
        """Follow an expression."""
        self._budget.spend()
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return values.get(node.id, node.id)  # a global is its name
            case ast.UnaryOp(op=ast.USub()):
                value = self._evaluate(node.operand, values)
                return -value if type(value) in (int, float) else UNKNOWN
            case ast.List() | ast.Tuple():
                return [self._evaluate(each, values) for each in node.elts]
            case ast.Subscript():
                value, index = (self._evaluate(each, values) for each in (node.value, node.slice))
                size = len(value) if isinstance(value, list) and type(index) is int else 0
                return value[index] if size and -size <= index < size else UNKNOWN
            case ast.Attribute():
                return self._get(self._evaluate(node.value, values), node.attr)
            case ast.Call():
                func, method = node.func, getattr(node.func, "attr", "")
                inner = func.value if isinstance(func, ast.Attribute) else func
                owner = self._evaluate(inner, values)
                inputs = [self._evaluate(each, values) for each in node.args]
                named = {e.arg or "": self._evaluate(e.value, values) for e in node.keywords}
                return self._call(owner, method, inputs, named)
        raise RefusedError(_UNREAD.format(type(node).__name__))

    def _get(self, owner: Any, name: str) -> Any:
        """Return an attribute of a module, a constant or a global name."""
        if isinstance(owner, str):
            return self._constants.get(f"{owner}.{name}", f"{owner}.{name}")
        if not isinstance(owner, Module) or name == "training":
            return False if name == "training" else UNKNOWN
        inner = f"{owner.name}.{name}" if owner.name else name
        return self._modules.get(inner, owner.settings.get(name, UNKNOWN))

    def _call(self, owner: Any, method: str, inputs: list[Any], named: dict[str, Any]) -> Any:
        """Follow a method of a module, or call a function."""
        if isinstance(owner, Module):
            return self._follow(f"{owner.class_}.{method}", [owner, *inputs], named)
        name = f"{owner}.{method}".rstrip(".")
        if name.startswith("__torch__."):
            return self._follow(name, inputs, named)
        name = name.rpartition(".")[2]
        try:
            if name == "getattr":
                return self._get(*inputs)
            if name in _RECURRENT:
                return self._recur(name, *inputs, **named)
            return FUNCTIONS[name](self, *inputs, **named)
        except UNFIT as error:
            raise RefusedError(f"calls {shown(name)} in a way that is not read") from error
