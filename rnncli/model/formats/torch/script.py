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
from rnncli.model.formats.torch.modules import Module, find_code

_RECURRENT = "torch.nn.modules.rnn."
# Modules whose code is followed, as that of the file's own classes is.
_FOLLOWED = (_RECURRENT, "torch.nn.modules.container.", "torch.nn.modules.dropout.")
# Functions that leave rows as they are, and those that ask what they are like.
_NOTHING = (
    *("contiguous", "detach", "clone", "alias", "float"),
    *("dropout", "dropout1d", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"),
)
_ASKING = ("size", "dim", "len", "device", "dtype", "layout")
_ZERO = ("zeros", "zeros_like", "new_zeros")
_LOOPS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
# What takes the only feature of the input.
_COLUMN = (("select", [-1, 0]), ("select", [2, 0]), ("squeeze", [-1]), ("squeeze", [2]))
# The codes of int64, float32 and float64.
_LONG, _FLOATS = 4, (6, 7)
# From where to where, by which steps, a slice has all rows.
_WHOLE = tuple(product((0, None), (2**63 - 1, None), (1, None)))
# Statements and expressions; so many characters of code take as much as one.
_MOST_WORK, _CODE = 20_000, 16


class _Rows(NamedTuple):
    """The output of modules called one after the other on the input, or some rows of it."""

    names: tuple[str, ...] = ()
    form: str = "rows"  # or input, column (its only feature), last (step), state (final)
    time: int | None = None  # the axis of steps, if it is known
    layers: float = 0  # of a state: whose last are the last rows, if that is so

    def __str__(self) -> str:
        of = "the final state of " if self.form == "state" else "what "
        end = "" if self.form == "state" else " gives"
        return f"{of}{shown(self.names[-1])}{end}" if self.names else "the input"


class _Submodule(str):
    """A module, by its name."""

    __slots__ = ()


class _Function(str):
    """A function, by its name."""

    __slots__ = ()


_ZEROS, _UNKNOWN, _GOES_ON = object(), object(), object()


def read_forward(
    classes: Mapping[str, str], code: Mapping[str, str], modules: Sequence[Module], name: str
) -> tuple[Sequence[str], str | None]:
    """List the modules that the forward of a module calls, and name the row that it returns alone.

    Raise InputError where they are no chain.
    """
    reader = _Reader(classes, code, modules)
    try:
        result = reader.call(_Submodule(name), "forward", [_Rows((), "input")], {})
    except RecursionError as error:
        raise InputError("", "is nested too deep") from error
    rows, *others = result if isinstance(result, list) else [result]
    beside = reader.find_rows(others)
    if not isinstance(rows, _Rows) or rows.form == "state" or (beside and beside.form != "state"):
        raise InputError("", "returns something else than rows of one module")
    return rows.names, "step" if rows.form == "last" else None


class _Reader:
    def __init__(
        self, classes: Mapping[str, str], code: Mapping[str, str], modules: Sequence[Module]
    ) -> None:
        self._kinds = {name: kind.removeprefix("__torch__.") for name, kind in classes.items()}
        self._classes, self._code = classes, code
        self._settings = {module.name: module.settings for module in modules}
        self._bodies: dict[str, dict[str, ast.FunctionDef]] = {}
        self._work = _MOST_WORK

    def call(
        self, module: _Submodule, method: str, given: list[Any], named: Mapping[str, Any]
    ) -> Any:
        """Call a method of a module: follow its code, or take a module of PyTorch as what it is."""
        kind, settings = self._kinds[module], self._settings.get(module, {})
        if kind.startswith(_RECURRENT) and "mode" in settings and method.startswith("forward"):
            rows, state = [*given, *named.values(), None, None][:2]
            return self._call_recurrent(module, settings, rows, state)
        if not kind.startswith("torch.") or kind.startswith(_FOLLOWED):
            return self._follow(module, method, given, named)
        rows = given[0] if given and isinstance(given[0], _Rows) else _Rows(form="state")
        last = rows.form == "last"
        fits = (
            method.startswith("forward")
            and rows.form != "state"
            and (rows.form != "column" or kind.endswith((".Embedding", ".Identity")))
            # Axis 1 of sequences is no feature, and their last axis is 2.
            and (last or ".batchnorm." not in kind)
            and ("oftmax" not in kind or settings.get("dim") in (-1, 1 if last else 2))
        )
        if not fits:
            raise self._unread(f"{shown(module)} ({kind.rpartition('.')[2]})", given)
        if kind.endswith(".Identity"):
            return rows
        return rows._replace(names=(*rows.names, module), form="last" if last else "rows")

    def _call_recurrent(self, name: str, settings: Mapping[str, Any], rows: Any, state: Any) -> Any:
        """Return the rows and the final states of a recurrent module."""
        if not isinstance(rows, _Rows) or rows.form not in ("input", "rows"):
            raise InputError("", f"calls {shown(name)} on something else than sequences")
        states = state if isinstance(state, list) else [state]
        if any(each is not None and each is not _ZEROS for each in states):
            raise InputError("", f"starts {shown(name)} from a state that may be other than zeros")
        made = _Rows((*rows.names, name), "rows", 1 if settings.get("batch_first") else 0)
        layers, c = settings.get("num_layers"), made._replace(form="state")
        if isinstance(layers, int | float) and not settings.get("bidirectional"):
            h = c._replace(layers=layers)
        else:
            h = c
        return [made, [h, c] if settings["mode"] == "LSTM" else h]

    def _follow(
        self, module: _Submodule, method: str, given: list[Any], named: Mapping[str, Any]
    ) -> Any:
        class_ = self._classes[module]
        if class_ not in self._bodies:
            text = find_code(class_, self._code)
            self._spend(len(text) // _CODE)
            self._bodies[class_] = _parse(class_, text)
        if method not in self._bodies[class_]:
            raise InputError("", f"calls {shown(method)}, whose code is not in the file")
        function = self._bodies[class_][method]
        names = [each.arg for each in function.args.args]
        values: dict[str, Any] = dict.fromkeys(names, _UNKNOWN)
        for name, default in zip(names[::-1], function.args.defaults[::-1], strict=False):
            values[name] = self._evaluate(default, {})
        values |= {**dict(zip(names, [module, *given], strict=False)), **named}
        return self._run(function.body, values)

    def _run(self, body: Sequence[ast.stmt], values: dict[str, Any]) -> Any:
        """Follow statements; return what they do, or that they go on."""
        for statement in body:
            match statement:
                case ast.Return(value=ast.expr() as value):
                    return self._evaluate(value, values)
                case ast.Assign(targets=[target], value=value):
                    self._assign(target, self._evaluate(value, values), values)
                case ast.Expr(value=value):
                    self._evaluate(value, values)
                case ast.If():
                    result = self._run(self._choose(statement, values), values)
                    if result is not _GOES_ON:
                        return result
                case ast.Pass():
                    self._spend()
                case _:
                    what = "loops" if isinstance(statement, ast.For | ast.While) else "holds more"
                    raise InputError("", f"{what}, which is not read")
        return _GOES_ON

    def _choose(self, statement: ast.If, values: Mapping[str, Any]) -> Sequence[ast.stmt]:
        """Choose a branch; one that raises an error is not run."""
        found = self._evaluate(statement.test, values)
        if found is _UNKNOWN and "RaiseException" not in ast.dump(statement.body[-1]):
            raise InputError("", "branches, which is not read")
        return statement.body if found and found is not _UNKNOWN else statement.orelse

    def _assign(self, target: ast.expr, found: Any, values: dict[str, Any]) -> None:
        if isinstance(target, ast.Name):
            values[target.id] = found
        elif isinstance(target, ast.Tuple):
            if not isinstance(found, list) or len(found) != len(target.elts):
                if self.find_rows(found):
                    raise self._unread("unpacking", [found])
                found = [_UNKNOWN] * len(target.elts)
            for each, value in zip(target.elts, found, strict=True):
                self._assign(each, value, values)

    def _evaluate(self, node: ast.expr, values: Mapping[str, Any]) -> Any:
        self._spend()
        match node:
            case ast.Constant():
                return node.value
            case ast.Name(id=name):
                return values.get(name, _Function(name))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.List(elts=each) | ast.Tuple(elts=each):
                return [self._evaluate(one, values) for one in each]
            case ast.Attribute(value=inner, attr=name):
                return self._get_attribute(self._evaluate(inner, values), name)
            case ast.Subscript(value=inner, slice=ast.Constant(value=int() as place)):
                return self._index(self._evaluate(inner, values), place)
            case ast.Call():
                return self._call(node, values)
        raise InputError("", "holds an expression that is not read")

    def _index(self, found: Any, place: int) -> Any:
        if isinstance(found, list) and place < len(found):
            return found[place]
        raise self._unread("indexing", [found])

    def _get_attribute(self, owner: Any, name: str) -> Any:
        if isinstance(owner, _Function):
            return _Function(f"{owner}.{name}")
        if not isinstance(owner, _Submodule):
            return _UNKNOWN
        if name == "training":
            return False
        inner = f"{owner}.{name}" if owner else name
        return _Submodule(inner) if inner in self._classes else _UNKNOWN

    def _call(self, node: ast.Call, values: Mapping[str, Any]) -> Any:
        given = [self._evaluate(each, values) for each in node.args]
        named = {each.arg or "": self._evaluate(each.value, values) for each in node.keywords}
        if isinstance(node.func, ast.Attribute):
            owner = self._evaluate(node.func.value, values)
            if isinstance(owner, _Submodule):
                return self.call(owner, node.func.attr, given, named)
        called = self._evaluate(node.func, values)
        name = called.rpartition(".")[2] if isinstance(called, _Function) else "something"
        if name == "getattr" and len(given) == 2:
            return self._get_attribute(given[0], str(given[1]))
        if name in ("annotate", "unchecked_cast") and len(given) == 2:
            return given[1]
        known = _apply_constant(name, given)
        if known is not _UNKNOWN or not self.find_rows([*given, *named.values()]):
            return known
        return _UNKNOWN if name in _ASKING else self._apply(name, given, named, values)

    def _apply(
        self, name: str, given: list[Any], named: Mapping[str, Any], values: Mapping[str, Any]
    ) -> Any:
        """Apply a function to rows, if the result is still a chain of modules."""
        first, *others = given or [None]
        if name in _NOTHING and not any(each is True for each in others):
            return first
        module = str(values.get("self"))
        inside = self._kinds.get(module, "").startswith(_RECURRENT)
        if inside and name in _LOOPS and len(given) == 9:
            _, state, _, _, layers, _, _, both, batch_first = given
            settings = {"mode": name.upper(), "num_layers": layers, "bidirectional": both}
            settings["batch_first"] = batch_first
            rows, states = self._call_recurrent(module, settings, first, state)
            return [rows, *(states if isinstance(states, list) else [states])]
        if isinstance(first, _Rows) and not self.find_rows(others):
            changed = _take_rows(name, first, others, named, inside=inside)
            if changed:
                return changed
        raise self._unread(shown(name), [*given, *named.values()])

    def find_rows(self, found: Any) -> _Rows | None:
        """Find a value computed from the input, also within lists."""
        self._spend()
        if isinstance(found, list):
            return next(filter(None, map(self.find_rows, found)), None)
        return found if isinstance(found, _Rows) else None

    def _unread(self, name: str, given: Sequence[Any]) -> InputError:
        found = self.find_rows(list(given))
        return InputError("", f"calls {name} on {found or 'constants'}, which is not read")

    def _spend(self, work: int = 1) -> None:
        self._work -= work
        if self._work < 0:
            raise InputError("", "is too long")


def _parse(class_: str, text: str) -> dict[str, ast.FunctionDef]:
    """Parse the functions of a class."""
    try:
        nodes = [each for tree in ast.parse(text).body for each in ast.iter_child_nodes(tree)]
        if not nodes:
            raise ValueError("none")
    except (SyntaxError, ValueError, MemoryError) as error:
        raise InputError("", f"has no code of {shown(class_)} that can be read") from error
    return {each.name: each for each in nodes if isinstance(each, ast.FunctionDef)}


def _take_rows(
    name: str, rows: _Rows, others: list[Any], named: Mapping[str, Any], *, inside: bool
) -> _Rows | None:
    """Return rows after an operation that leaves them as they are, or takes the last."""
    last = rows._replace(form="last", time=None)
    if rows.form == "state":  # of which the top layer is taken
        top = [[0, -1], [0, rows.layers - 1]] if name == "select" else [[0]] * (rows.layers == 1)
        return last if rows.layers and name in ("select", "squeeze") and others in top else None
    if name == "to":
        types = (*_FLOATS, _LONG) if rows.form in ("input", "column") else _FLOATS
        numbers = [each for each in [named.get("dtype"), *others] if type(each) is int]
        return rows if set(numbers[:1]) <= set(types) else None
    if name == "slice" and (*others[1:], None, None, None)[:3] in _WHOLE:
        return rows
    if rows.form == "input" and (name, others) in _COLUMN:
        return rows._replace(form="column")
    if name == "select" and rows.form == "rows" and others == [rows.time, -1]:
        return last
    # Within a module that was traced with one sequence that has no axis of a batch.
    return rows._replace(time=None) if inside and name in ("unsqueeze", "squeeze") else None


def _apply_constant(name: str, given: list[Any]) -> Any:
    """Apply a function to constants, as far as the chain depends on it."""
    first, *others = given or [None]
    if name in ("__is__", "__isnot__") and others == [None] and first is not _UNKNOWN:
        return (first is None) == (name == "__is__")
    if name == "__not__" and isinstance(first, bool):
        return not first
    if name in _ZERO or (first is _ZEROS and name in ("to", *_NOTHING)):
        return _ZEROS
    return _UNKNOWN
