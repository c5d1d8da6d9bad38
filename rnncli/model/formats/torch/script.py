"""The code of TorchScript: which modules `forward` calls, one after the other.

The code is a small part of Python. It is parsed, and followed over names of
modules instead of numbers; nothing of it is executed. What is no chain of
modules is refused by the name of the operation.
"""

import ast
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from rnncli.model.errors import InputError, shown
from rnncli.model.formats.torch.modules import Chain, Module

_MODULES = "torch.nn.modules."
_RECURRENT = f"{_MODULES}rnn."
# Functions that leave rows as they are, and those that ask what they are like.
_NOTHING = (
    *("contiguous", "detach", "clone", "alias", "float"),
    *("dropout", "dropout1d", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"),
)
_ASKING = ("size", "dim", "len", "device", "dtype", "layout")
_ZERO = ("zeros", "zeros_like", "new_zeros")
_TESTS = ("__is__", "__isnot__")
_LOOPS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
# The codes of int64, float32 and float64.
_LONG, _FLOATS = 4, (6, 7)
# From where to where, by which steps, a slice has all rows.
_WHOLE = tuple(product((0, None), (2**63 - 1, None), (1, None)))
# Modules in each other, statements and calls, characters of a class.
_DEPTH, _MOST_WORK, _MOST_CODE = 64, 20_000, 2**16


class _Rows(NamedTuple):
    """The output of modules called one after the other on the input."""

    names: tuple[str, ...] = ()
    form: str = "rows"  # or: input, column (its only feature), last (step)
    time: int | None = None  # the axis of steps, if it is known

    def __str__(self) -> str:
        return f"what {shown(self.names[-1])} gives" if self.names else "the input"


class _State(NamedTuple):
    """A final state of a recurrent module: h whose last layer is its last rows, or another."""

    rows: _Rows
    layers: float = 0

    def __str__(self) -> str:
        return f"the final state of {shown(self.rows.names[-1])}"


class _Held(NamedTuple):
    """A module, or a tensor of one."""

    name: str


class _Named(NamedTuple):
    """A function."""

    name: str


_ZEROS, _UNKNOWN = object(), object()


def read_forward(
    classes: Mapping[str, str],
    code: Mapping[str, str],
    modules: Sequence[Module],
    name: str,
) -> Chain:
    """Return the modules that the forward of a module calls, if they are a chain."""
    found = _Reader(classes, code, modules)
    try:
        result = found.call(_Held(name), "forward", [_Rows(form="input")], {})
    except RecursionError as error:
        raise InputError("", "is nested too deep") from error
    rows, *others = result if isinstance(result, list) else [result]
    if not isinstance(rows, _Rows) or isinstance(_of_rows(others), _Rows):
        raise InputError("", "returns something else than rows of one module")
    return Chain(rows.names, "step" if rows.form == "last" else None)


class _Reader:
    def __init__(
        self,
        classes: Mapping[str, str],
        code: Mapping[str, str],
        modules: Sequence[Module],
    ) -> None:
        self._classes, self._code = classes, code
        self._modules = {module.name: module for module in modules}
        self._bodies: dict[str, dict[str, ast.FunctionDef]] = {}
        self._work, self._depth = _MOST_WORK, 0

    def call(self, held: _Held, method: str, given: list[Any], named: Mapping[str, Any]) -> Any:
        """Call a method of a module: follow its code, or take a module of PyTorch as what it is."""
        module = self._modules.get(held.name)
        kind = self._classes[held.name].removeprefix("__torch__.")
        settings = module.settings if module else {}
        if kind.startswith(_RECURRENT) and "mode" in settings and method.startswith("forward"):
            rows, state = [*given, *named.values(), None, None][:2]
            return self._recurrent(held.name, settings, rows, state)
        followed = not kind.startswith("torch.") or kind.startswith(
            (f"{_MODULES}container.", f"{_MODULES}dropout.", _RECURRENT)
        )
        if followed:
            return self._follow(held, method, given, named)
        rows = given[0] if given else None
        title = f"{shown(held.name)} ({kind.rpartition('.')[2]})"
        if not isinstance(rows, _Rows) or not method.startswith("forward"):
            raise InputError("", f"calls {title} on something else than rows")
        if kind.endswith(".Identity"):
            return rows
        embeds = kind.endswith(".Embedding")
        if rows.form == "column" and not embeds:
            raise InputError("", f"calls {title} on a column of the input")
        flat = rows.form == "last"
        if ".batchnorm." in kind and not flat:
            raise InputError("", f"calls {title} on sequences, whose axis 1 is no feature")
        if "oftmax" in kind and settings.get("dim") not in (-1, 1 if flat else 2):
            raise InputError("", f"calls {title} over another axis than the last")
        form = "last" if flat else "rows"
        return rows._replace(names=(*rows.names, held.name), form=form)

    def _recurrent(
        self, name: str, settings: Mapping[str, Any], rows: Any, state: Any
    ) -> list[Any]:
        """Return the rows and the final states of a recurrent module."""
        if not isinstance(rows, _Rows) or rows.form not in ("input", "rows"):
            raise InputError("", f"calls {shown(name)} on something else than sequences")
        states = state if isinstance(state, list) else [state]
        if any(each is not None and each is not _ZEROS for each in states):
            raise InputError("", f"starts {shown(name)} from a state that may be other than zeros")
        time = 1 if settings.get("batch_first") else 0
        given = _Rows((*rows.names, name), "rows", time)
        layers = settings.get("num_layers")
        if not isinstance(layers, int | float) or settings.get("bidirectional"):
            layers = 0
        h = _State(given, layers)
        return [given, [h, _State(given)] if settings["mode"] == "LSTM" else h]

    def _follow(self, held: _Held, method: str, given: list[Any], named: Mapping[str, Any]) -> Any:
        functions = self._functions(self._classes[held.name])
        if method not in functions:
            raise InputError("", f"calls {shown(method)}, whose code is not in the file")
        arguments = functions[method].args
        names = [each.arg for each in arguments.args]
        values: dict[str, Any] = dict.fromkeys(names, _UNKNOWN)
        for name, default in zip(names[::-1], arguments.defaults[::-1], strict=False):
            values[name] = self._value(default, {}, held)
        values |= {**dict(zip(names, [held, *given], strict=False)), **named}
        self._depth += 1
        if self._depth > _DEPTH:
            raise InputError("", "is nested too deep")
        _, result = self._run(functions[method].body, values, held)
        self._depth -= 1
        return result

    def _functions(self, class_: str) -> dict[str, ast.FunctionDef]:
        if class_ not in self._bodies:
            module, _, name = class_.rpartition(".")
            head = f"class {name}(Module):\n"
            _, found, text = self._code.get(module, "").partition(head)
            body = text.partition("\nclass ")[0]
            if not found or len(body) > _MOST_CODE:
                raise InputError("", f"has no code of {shown(class_)} that can be read")
            try:
                (tree,) = ast.parse(head + body.partition("\ndef ")[0]).body
            except (SyntaxError, ValueError, MemoryError) as error:
                raise InputError("", f"has no code of {shown(class_)} that can be read") from error
            self._bodies[class_] = {
                each.name: each
                for each in getattr(tree, "body", [])
                if isinstance(each, ast.FunctionDef)
            }
        return self._bodies[class_]

    def _run(
        self, body: Sequence[ast.stmt], values: dict[str, Any], held: _Held
    ) -> tuple[bool, Any]:
        """Follow statements; return whether they return, and what."""
        for statement in body:
            self._spend()
            match statement:
                case ast.Return(value=ast.expr() as value):
                    return True, self._value(value, values, held)
                case ast.Assign(targets=[target], value=value):
                    self._assign(target, self._value(value, values, held), values)
                case ast.Expr(value=value):
                    self._value(value, values, held)
                case ast.If():
                    returned, result = self._run(
                        self._chosen(statement, values, held), values, held
                    )
                    if returned:
                        return True, result
                case ast.Pass():
                    pass
                case _:
                    what = "loops" if isinstance(statement, ast.For | ast.While) else "holds more"
                    raise InputError("", f"{what}, which is not read")
        return False, None

    def _chosen(
        self, statement: ast.If, values: Mapping[str, Any], held: _Held
    ) -> Sequence[ast.stmt]:
        """Return the branch that is run; that of an error is not."""
        found = self._value(statement.test, values, held)
        if found is _UNKNOWN and "RaiseException" not in ast.dump(statement.body[-1]):
            raise InputError("", "branches, which is not read")
        return statement.body if found and found is not _UNKNOWN else statement.orelse

    def _assign(self, target: ast.expr, found: Any, values: dict[str, Any]) -> None:
        if isinstance(target, ast.Name):
            values[target.id] = found
        elif isinstance(target, ast.Tuple):
            if not isinstance(found, list) or len(found) != len(target.elts):
                if _of_rows(found):
                    raise InputError("", f"takes {_of_rows(found)} apart")
                found = [_UNKNOWN] * len(target.elts)
            for each, value in zip(target.elts, found, strict=True):
                self._assign(each, value, values)

    def _value(self, node: ast.expr, values: Mapping[str, Any], held: _Held) -> Any:
        self._spend()
        match node:
            case ast.Constant():
                return node.value
            case ast.Name(id=name):
                return values[name] if name in values else _Named(name)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.List(elts=each) | ast.Tuple(elts=each):
                return [self._value(one, values, held) for one in each]
            case ast.Attribute(value=inner, attr=name):
                return self._attribute(self._value(inner, values, held), name)
            case ast.Subscript(value=inner, slice=ast.Constant(value=int() as place)):
                return self._item(self._value(inner, values, held), place)
            case ast.Call():
                return self._call(node, values, held)
        raise InputError("", "holds an expression that is not read")

    def _item(self, found: Any, place: int) -> Any:
        if isinstance(found, list) and place < len(found):
            return found[place]
        return self._operation("indexing", [found])

    def _call(self, node: ast.Call, values: Mapping[str, Any], held: _Held) -> Any:
        given = [self._value(each, values, held) for each in node.args]
        named = {each.arg or "": self._value(each.value, values, held) for each in node.keywords}
        if isinstance(node.func, ast.Attribute):
            owner = self._value(node.func.value, values, held)
            if isinstance(owner, _Held):
                return self.call(owner, node.func.attr, given, named)
        called = self._value(node.func, values, held)
        name = called.name if isinstance(called, _Named) else "something"
        if name == "getattr" and len(given) == 2:
            return self._attribute(given[0], str(given[1]))
        if name in ("annotate", "unchecked_cast") and len(given) == 2:
            return given[1]
        leaf = name.rpartition(".")[2]
        known = _constant(leaf, given)
        if known is not _UNKNOWN or not _of_rows([*given, *named.values()]):
            return known
        return self._function(leaf, given, named, held)

    def _attribute(self, owner: Any, name: str) -> Any:
        if isinstance(owner, _Named):
            return _Named(f"{owner.name}.{name}")
        if not isinstance(owner, _Held):
            return _UNKNOWN
        if name == "training":
            return False
        inner = f"{owner.name}.{name}" if owner.name else name
        return _Held(inner) if inner in self._classes else _UNKNOWN

    def _function(self, leaf: str, given: list[Any], named: Mapping[str, Any], held: _Held) -> Any:
        """Apply a function to rows, if the result is still a chain of modules."""
        first, *others = given or [None]
        if leaf in _ASKING:
            return _UNKNOWN
        if leaf in _NOTHING and not any(each is True for each in others):
            return first
        inside = self._classes[held.name].removeprefix("__torch__.").startswith(_RECURRENT)
        if inside and leaf in _LOOPS and len(given) == 9:
            _, state, _, _, layers, _, _, both, batch_first = given
            mode = "LSTM" if leaf == "lstm" else leaf
            settings = {"mode": mode, "num_layers": layers, "bidirectional": both}
            settings["batch_first"] = batch_first
            rows, states = self._recurrent(held.name, settings, first, state)
            return [rows, *(states if isinstance(states, list) else [states])]
        if isinstance(first, _Rows) and not _of_rows(others):
            changed = self._rows(leaf, first, others, named, inside=inside)
            if changed:
                return changed
        if isinstance(first, _State) and _is_top(leaf, first, others):
            return first.rows._replace(form="last", time=None)
        return self._operation(leaf, [*given, *named.values()])

    def _rows(
        self, leaf: str, rows: _Rows, others: list[Any], named: Mapping[str, Any], *, inside: bool
    ) -> _Rows | None:
        """Return rows after an operation that leaves them as they are, or takes the last."""
        if leaf == "to":
            types = (*_FLOATS, _LONG) if rows.form in ("input", "column") else _FLOATS
            numbers = [each for each in [named.get("dtype"), *others] if type(each) is int]
            return rows if set(numbers[:1]) <= set(types) else None
        if leaf == "slice" and (*others[1:], None, None, None)[:3] in _WHOLE:
            return rows
        if rows.form == "input" and (leaf, others) in (
            ("select", [-1, 0]),
            ("select", [2, 0]),
            ("squeeze", [-1]),
            ("squeeze", [2]),
        ):
            return rows._replace(form="column")
        if leaf == "select" and rows.form == "rows" and others == [rows.time, -1]:
            return rows._replace(form="last", time=None)
        # Within a module that was traced with one sequence that has no axis of a batch.
        if inside and leaf in ("unsqueeze", "squeeze"):
            return rows._replace(time=None)
        return None

    def _operation(self, name: str, given: Sequence[Any]) -> Any:
        found = _of_rows(given)
        raise InputError("", f"calls {shown(name)} on {found or 'constants'}, which is not read")

    def _spend(self) -> None:
        self._work -= 1
        if self._work < 0:
            raise InputError("", "is too long")


def _of_rows(found: Any) -> _Rows | _State | None:
    """Find a value computed from the input, also within lists."""
    seen: set[int] = set()
    left = [found]
    while left:
        each = left.pop()
        if isinstance(each, _Rows | _State):
            return each
        if isinstance(each, list) and id(each) not in seen:
            seen.add(id(each))
            left += each[::-1]
    return None


def _is_top(leaf: str, state: _State, others: list[Any]) -> bool:
    """Return whether the top layer is taken, whose state are its last rows."""
    if leaf == "select":
        return bool(state.layers) and others in ([0, -1], [0, state.layers - 1])
    return leaf == "squeeze" and others == [0] and state.layers == 1


def _constant(leaf: str, given: list[Any]) -> Any:
    """Apply a function to constants, as far as the chain depends on it."""
    first, *others = given or [None]
    if leaf in _TESTS and others == [None] and first is not _UNKNOWN:
        return (first is None) == (leaf == "__is__")
    if leaf == "__not__" and isinstance(first, bool):
        return not first
    if leaf in _ZERO or (first is _ZEROS and leaf in ("to", *_NOTHING)):
        return _ZEROS
    return _UNKNOWN
