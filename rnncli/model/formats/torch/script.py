"""TorchScript: the code of `forward` becomes nodes of a graph.

The code is a small part of Python, which `ast` parses: assignments, branches on constants, calls
of methods and of PyTorch's functions. These become operators of ONNX, whose graphs are read
elsewhere. Nothing is executed, and what the table of functions lacks is refused.
"""

import ast
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnncli.model.cells.gates import ordered
from rnncli.model.errors import InputError, shown
from rnncli.model.formats.found import Found, Part
from rnncli.model.formats.onnx.graph import find
from rnncli.model.formats.onnx.messages import Model
from rnncli.model.formats.torch.functions import CONSTANTS, FUNCTIONS, UNKNOWN, Value
from rnncli.model.formats.torch.modules import Module
from rnncli.model.graph import Graph, Node
from rnncli.model.graph.operators import MOVERS

# The operator, its order of gates and its attributes, by the function of PyTorch.
_RECURRENT: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    "rnn_tanh": ("RNN", (0,), {}),
    "rnn_relu": ("RNN", (0,), {}),
}
# Statements and expressions; so many characters of code take as much as one, a node as so many.
_MOST_WORK, _CODE, _NODE = 20_000, 16, 15
_GOES_ON = object()
# Operators that no module is named after.
_UNNAMED = {*MOVERS, "Shape", "ConstantOfShape", "Cast", "Add", "Sub", "Mul", "Div"}


class _Function(str):
    """A function, by its full name."""

    __slots__ = ()


def find_script(
    path: str, modules: Mapping[str, Module], code: Mapping[str, Any], top: str, hint: str
) -> Found:
    """Find the layers in the forward of a module; the hint is for one that cannot be run."""
    every = []
    for axes in (3, 2):  # the code does not tell the input's
        tracer = _Tracer(modules, code)
        try:
            outputs = tracer.trace(top, axes)
        except InputError as error:
            every.append(Found([Part("forward", "code", {}, (), error.what, hint, needed=True)]))
            continue
        for width in [*dict.fromkeys((tracer.width or 1, 1))][: axes - 1]:
            shape = ("N", "T", width)[:axes]
            graph = Graph(tracer.nodes, tracer.arrays, {"input": shape}, outputs)
            found = find(path, Model("", {"": 20}, graph, [], []))
            looks_up = any("Gather" in part.kind.split() for part in found.parts)
            if not any(part.needed for part in found.parts) and (axes == 3 or looks_up):
                return found
        parts = [part._replace(hint=hint) if part.needed else part for part in found.parts]
        every.append(found._replace(parts=parts))
    return every[0]


class _Tracer:
    """Follows code over values of a graph, and adds the nodes that compute them."""

    def __init__(self, modules: Mapping[str, Module], code: Mapping[str, Any]) -> None:
        self._modules, self._code, self._work = modules, code, _MOST_WORK
        self._parsed: dict[str, dict[str, Any]] = {}
        named = [(name, array) for each in modules.values() for name, array in each.arrays.items()]
        self._names = {id(array): name for name, array in named}
        self._left = 2 * sum(array.size for _, array in named)  # values that may be copied
        self._float = np.result_type("f4", *(a.dtype for _, a in named if a.dtype.kind == "f"))
        constants = code.get("CONSTANTS")
        constants = constants if isinstance(constants, list | tuple) else ()
        self._constants = {f"CONSTANTS.c{k}": each for k, each in enumerate(constants)}
        self.width = 0  # how many values the first weights take
        self._path = ""  # of the module whose code is followed
        self.nodes: list[Node] = []
        self.arrays: dict[str, Any] = {}

    def trace(self, name: str, rank: int) -> dict[str, None]:
        """Follow the forward of a module; return the names of what it gives."""
        module, outputs = self._modules[name], dict[str, None]()
        try:
            waiting = [self.call(module.class_, "forward", [module, Value("input", rank)], {})]
        except RecursionError as error:
            raise InputError("", "is nested too deep") from error
        while waiting:
            self.spend()
            each = waiting.pop(0)
            outputs |= {each.name: None} if isinstance(each, Value) else {}
            waiting[:0] = each if isinstance(each, list) else ()
        return outputs

    def spend(self, work: int = 1) -> None:
        """Count work."""
        self._work -= work
        if self._work < 0:
            raise InputError("", "is too long")

    # Nodes.

    def emit(self, op: str, *inputs: Any, rank: int | None = None, **attributes: Any) -> Value:
        """Add a node of one output."""
        width, given = self.width, [self.value(each) for each in inputs]
        rank = max(each.rank for each in given) if rank is None else rank
        table = op == "Gather" and given[0].name in self.arrays
        self.width = 1 if table and not width else self.width
        name = self._path if op not in _UNNAMED or table else ""
        (made,) = self._add(op, name, given, 1, attributes)
        return Value(made.name, rank, all(each.whole for each in given))

    def _add(
        self, op: str, name: str, given: Sequence[Value], outputs: int, attributes: Any
    ) -> list[Value]:
        self.spend(1 + _NODE)
        names = [f"{self._path or 'forward'}.{op}.{len(self.nodes)}.{k}" for k in range(outputs)]
        self.nodes.append(Node(op, name, "", [each.name for each in given], names, attributes))
        return [Value(each, 3) for each in names]

    def value(self, found: Any) -> Value:
        """Return a constant, or a list of numbers, as the input of a node."""
        if isinstance(found, Value) or found is None:
            return found or Value("", 0)
        items = found if isinstance(found, list) else [found]
        if any(isinstance(each, Value) for each in items):
            items = [self.emit("Unsqueeze", each, [0], rank=1) for each in items]
            return self.emit("Concat", *items, axis=0)
        if not isinstance(found, np.ndarray):
            if not {*map(type, items)} <= {int, float}:
                raise ValueError("something else than numbers")
            found = np.array(found)
            found = found.astype(self._float if found.dtype.kind == "f" else np.int64)
        name = self._names.get(id(found), f"constant {len(self.arrays)}")
        self.width = self.width or (found.shape[:2][-1] if id(found) in self._names else 0)
        self.arrays[name] = found
        return Value(name, found.ndim, found.dtype.kind == "i")

    def _recur(self, kind: str, x: Any, state: Any, weights: Any, bias: Any, *more: Any) -> Any:
        """Add the nodes of a recurrent module, a node a layer."""
        (op, order, attributes), path = _RECURRENT[kind], self._path
        layers, _, train, both, batch_first = more
        D, count, finals = 1 + both, 4 if bias else 2, []
        if train or len(weights) != layers * D * count:
            raise InputError("", "has a projection, or is in training, which is not read")
        self._left -= sum(array.size for array in weights)
        if self._left < 0:
            raise InputError("", "is too long")
        self.width = self.width or weights[0].shape[1]
        attributes = {**attributes, "direction": "bidirectional" if both else "forward"}
        if kind == "rnn_relu":
            attributes["activations"] = ["Relu"] * D
        x = self.emit("Transpose", x, perm=[1, 0, 2]) if batch_first else x
        for k in range(layers):
            laid = [ordered(array.T, order).T for array in weights[k * D * count :][: D * count]]
            W, R, *biases = (np.stack(laid[role::count]) for role in range(count))
            B = np.concatenate(biases, 1) if bias else None
            states = state if isinstance(state, list) else [state]
            states = [self.emit("Slice", each, [k * D], [k * D + D], [0]) for each in states]
            name = path if layers == 1 else f"{path}.l{k}"
            named = zip("WRB", (W, R, B), strict=True)
            self._names |= {id(array): f"{name}: {role}" for role, array in named}
            given = [self.value(each) for each in (x, W, R, B, None, *states)]
            y, *ends = self._add(op, name, given, 1 + len(states), attributes)
            finals.append(ends)
            y = self.emit("Transpose", y, perm=[0, 2, 1, 3], rank=4)
            x = self.emit("Reshape", y, [0, 0, -1], rank=3)
        x = self.emit("Transpose", x, perm=[1, 0, 2]) if batch_first else x
        return [x, *(self.emit("Concat", *each, axis=0) for each in zip(*finals, strict=True))]

    # Code.

    def call(self, full_name: str, method: str, given: list[Any], named: Mapping[str, Any]) -> Any:
        """Follow a function, or a method of a class."""
        file, _, name = full_name.rpartition(".")
        if file not in self._parsed:
            text = self._code.get(file, "")
            self.spend(len(text) // _CODE)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    body = ast.parse(text).body
            except (SyntaxError, ValueError, MemoryError, RecursionError):
                body = []
            self._parsed[file] = {getattr(each, "name", ""): each for each in body}
        found = self._parsed[file].get(name)
        for function in found.body if isinstance(found, ast.ClassDef) else [found]:
            if isinstance(function, ast.FunctionDef) and function.name in (name, method):
                names, defaults = [a.arg for a in function.args.args], function.args.defaults
                last = zip(names[::-1], defaults[::-1], strict=False)
                values = {argument: self.evaluate(default, {}) for argument, default in last}
                values |= {**dict(zip(names, given, strict=False)), **named}
                if values.keys() < {*names}:
                    raise InputError("", "takes more than one input, which is not read")
                outer = self._path
                self._path = next((e.name for e in given[:1] if isinstance(e, Module)), outer)
                result = self._run(function.body, values)
                self._path = outer
                return result
        raise InputError("", f"has no code of {shown(full_name)} that can be read")

    def _run(self, body: Sequence[ast.stmt], values: dict[str, Any]) -> Any:
        """Follow statements; return what they return, or that they go on."""
        result: Any = _GOES_ON
        for statement in body:
            self.spend()
            match statement:
                case ast.Return():
                    return self.evaluate(statement.value or ast.Constant(None), values)
                case ast.If():
                    result = self._branch(statement, values)
                case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
                    found = self.evaluate(statement.value or ast.Constant(None), values)
                    names = target.elts if isinstance(target, ast.Tuple) else [target]
                    each = found if isinstance(target, ast.Tuple) else [found]
                    if not isinstance(each, list) or len(each) != len(names):
                        each = [UNKNOWN] * len(names)
                    values |= {getattr(n, "id", ""): v for n, v in zip(names, each, strict=True)}
                case ast.Expr() | ast.Pass():
                    self.evaluate(getattr(statement, "value", ast.Constant(None)), values)
                case _:
                    raise _unread(statement)
            if result is not _GOES_ON:
                break
        return result

    def _branch(self, node: ast.If, values: dict[str, Any]) -> Any:
        """Follow the branch that is chosen; one that raises an error is not."""
        chosen = self.evaluate(node.test, values)
        match node.body[-1]:
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr="RaiseException"))):
                chosen = chosen is True
        if not isinstance(chosen, bool):
            raise InputError("", "branches, which is not read")
        return self._run(node.body if chosen else node.orelse, values)

    def evaluate(self, node: ast.expr, values: dict[str, Any]) -> Any:
        """Follow an expression."""
        self.spend()
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return values.get(node.id, _Function(node.id))
            case ast.UnaryOp(op=ast.USub()):
                found = self.evaluate(node.operand, values)
                return -found if type(found) in (int, float) else UNKNOWN
            case ast.List() | ast.Tuple():
                return [self.evaluate(each, values) for each in node.elts]
            case ast.Subscript():
                found, place = (self.evaluate(each, values) for each in (node.value, node.slice))
                inside = isinstance(found, list) and type(place) is int and 0 <= place < len(found)
                return found[place] if inside else UNKNOWN
            case ast.Attribute():
                return self._get(self.evaluate(node.value, values), node.attr)
            case ast.Call():
                return self._call(node, values)
        raise _unread(node)

    def _get(self, owner: Any, name: str) -> Any:
        """Return an attribute of a module, a constant or a function."""
        if isinstance(owner, _Function):
            found = self._constants.get(f"{owner}.{name}", _Function(f"{owner}.{name}"))
            return found.item() if isinstance(found, np.ndarray) and not found.ndim else found
        if not isinstance(owner, Module) or name == "training":
            return False if name == "training" else UNKNOWN
        inner = f"{owner.name}.{name}" if owner.name else name
        return self._modules.get(inner, owner.settings.get(name, UNKNOWN))

    def _call(self, node: ast.Call, values: dict[str, Any]) -> Any:
        given = [self.evaluate(each, values) for each in node.args]
        named = {each.arg or "": self.evaluate(each.value, values) for each in node.keywords}
        func = node.func
        owner = self.evaluate(func.value if isinstance(func, ast.Attribute) else func, values)
        full = f"{owner}.{func.attr}" if isinstance(func, ast.Attribute) else str(owner)
        name = full.rpartition(".")[2]
        try:
            if isinstance(owner, Module):
                return self.call(owner.class_, name, [owner, *given], named)
            if isinstance(owner, _Function) and owner.startswith("__torch__"):
                return self.call(full, "", given, named)
            if name == "getattr":
                return self._get(*given)
            if name in _RECURRENT:
                return self._recur(name, *given, **named)
            if name in CONSTANTS:
                return CONSTANTS[name](*given, **named)
            return FUNCTIONS[name](self, *given, **named)
        except InputError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise InputError("", f"calls {shown(name)} in a way that is not read") from error


def _unread(node: ast.AST) -> InputError:
    return InputError("", f"holds code ({type(node).__name__}) that is not read")
