"""TorchScript: the code of `forward` becomes nodes of a graph.

The code is a small subset of Python, which `ast` parses: assignments, branches on constants, calls
of methods and of PyTorch's functions, each of which adds nodes. Nothing is executed, and a function
that the table lacks is refused.
"""

import ast
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from rnncli.model.contents import Contents
from rnncli.model.errors import shown
from rnncli.model.formats.builder import Builder, Value, refuse
from rnncli.model.formats.containers.budget import Budget
from rnncli.model.formats.torch.functions import UNKNOWN, call
from rnncli.model.formats.torch.names import Module
from rnncli.model.graph import RefusedError

# The most characters of code, and the most statements and expressions.
_MOST_CODE, _MOST_WORK = 300_000, 20_000
_GOES_ON = object()
_UNREAD = "holds code ({}) that is not read"


def find_script(
    path: str, arrays: Mapping[str, Any], modules: Mapping[str, Module], code: Mapping[str, str],
    constants: Any, output: str,
) -> Contents:  # fmt: skip
    """Find the layers in the `forward` of the first module, which contains the others."""
    candidates, functions = list[Contents](), _parse(code)
    for rank in (3, 2):  # of the input, which the code does not tell
        tracer = _Tracer(path, arrays, modules, functions, constants)
        try:
            outputs = tracer.trace(next(iter(modules.values())), Value("input", rank))
        except (RefusedError, RecursionError) as error:
            candidates.append(refuse(str(error)))
            continue
        shape = ("N", "T", tracer.width or 1)[:rank]
        named = {f"output_{k}": each for k, each in enumerate(outputs)}
        candidates.append(tracer.find_layers({"input": shape}, named, output))
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


class _Tracer(Builder):
    """Follow code over values of a graph, and add the nodes that compute them."""

    def __init__(
        self, path: str, arrays: Mapping[str, Any], modules: Mapping[str, Module],
        functions: Mapping[str, Any], constants: Any,
    ) -> None:  # fmt: skip
        super().__init__(path, arrays)
        self._modules, self._functions = modules, functions
        self._work = Budget(path, _MOST_WORK, 0)
        known = constants if isinstance(constants, list | tuple) else ()
        self._constants = {
            f"CONSTANTS.c{k}": each.item() if getattr(each, "ndim", 1) == 0 else each
            for k, each in enumerate(known)
        }

    def trace(self, module: Module, x: Value) -> list[Value]:
        """Follow the `forward` of a module; return its outputs."""
        outputs, waiting = list[Value](), [self._call(module, "forward", [x], {})]
        while waiting:
            self._work.spend()
            each = waiting.pop(0)
            if isinstance(each, list):
                waiting = each + waiting
            elif isinstance(each, Value):
                outputs.append(each)
        return outputs

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
        outer = self.module
        self.module = next((e.name for e in inputs[:1] if isinstance(e, Module)), outer)
        result = self._run(function.body, values)
        self.module = outer
        return result

    def _run(self, body: Sequence[ast.stmt], values: dict[str, Any]) -> Any:
        """Follow statements; return what they return, or `_GOES_ON`."""
        for statement in body:
            self._work.spend()
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
        self._work.spend()
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
        if name == "getattr":
            return self._get(*inputs) if len(inputs) == 2 else UNKNOWN
        return call(self, name, inputs, named)
