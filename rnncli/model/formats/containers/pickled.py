"""Python pickles, read by the standard library without the operations that could run code.

A global is a name, and nothing is imported. It is called only if the caller has a function for it;
any other call makes an inert `Instance`.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from pickle import HIGHEST_PROTOCOL
from pickletools import OpcodeInfo, genops
from typing import Any

from rnncli.model.formats.containers.zips import wrap_damage

# Operations of one pickle, of which none takes over 100 bytes: 250,000 for 10,000 tensors.
MOST_WORK = 600_000
# Bits of a whole number that is a key: larger ones can be made to share a hash.
_KEY_BITS = 60


class Global(str):
    """The name of something to import: ``module.name``."""

    __slots__ = ()


class Instance:
    """An object whose class is only a name: its attributes, and its items as a dictionary."""

    __slots__ = ("items", "kind", "state")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.state: Any = None
        self.items: dict[Any, Any] = {}

    def append(self, _: Any) -> None:
        """Ignore an item of a list."""


def read_pickle(
    where: str,
    content: bytes,
    calls: Mapping[str, Callable[..., Any]],
    persistent: Callable[[Any], Any] | None = None,
    start: int = 0,
) -> tuple[Any, int]:
    """Read a pickle of protocols 1 to 5; return its value, and where it ends.

    Keys of dictionaries that are neither text nor a plain number are left out.
    """
    file = io.BytesIO(content)
    file.seek(start)
    with wrap_damage(where):
        return _Machine(calls, persistent).run(genops(file)), file.tell()


class _Machine:
    """The stack that the operations of a pickle work on, which `pickletools` only lists."""

    def __init__(
        self, calls: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any] | None
    ) -> None:
        self.calls, self.persistent = calls, persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}

    def run(self, operations: Iterable[tuple[OpcodeInfo, Any, Any]]) -> Any:
        """Run operations; return the value on top of the stack after the last."""
        for number, (opcode, value, _) in enumerate(operations):
            if number == MOST_WORK or opcode.name not in _OPERATIONS:
                code = ord(opcode.code)
                raise ValueError(f"opcode {code:#x} is not read, or over {MOST_WORK:,} operations")
            _OPERATIONS[opcode.name](self, value)
        return self.stack.pop()

    def check_protocol(self, protocol: int) -> None:
        """Refuse protocols that are not known."""
        if protocol > HIGHEST_PROTOCOL:
            raise ValueError(f"unsupported pickle protocol: {protocol}")

    def mark(self, _: None) -> None:
        """Begin a stack above this one."""
        self.marked.append(self.stack)
        self.stack = []

    def pop_mark(self, _: None = None) -> list[Any]:
        """End the stack above the last mark; return its items."""
        items, self.stack = self.stack, self.marked.pop()
        return items

    def add_tuple(self, count: int | None) -> None:
        """Replace items by a tuple of them; None takes those above the last mark."""
        items = self.pop_mark() if count is None else [self.stack.pop() for _ in range(count)][::-1]
        self.stack.append(tuple(items))

    def add_items(self, items: list[Any]) -> None:
        """Add items to a list."""
        for item in items:
            self.stack[-1].append(item)

    def store(self, index: int | None) -> None:
        """Store the item on top, to be loaded again."""
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def load(self, index: int) -> None:
        """Load an item that was stored."""
        self.stack.append(self.memo[index])

    def name(self, _: None) -> None:
        """Replace a module and a name in it by a global."""
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise ValueError("the name of a global is no text")
        self.stack.append(Global(f"{module}.{name}"))

    def find(self, _: None) -> None:
        """Replace an identity by what the caller has under it."""
        if self.persistent is None:
            raise ValueError("holds a reference to another file")
        self.stack.append(self.persistent(self.stack.pop()))

    def call(self, _: None) -> None:
        """Call a function that the caller has, or make an inert object."""
        args, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Global or type(args) is not tuple:
            raise ValueError(f"a call of {type(function).__name__} with {type(args).__name__}")
        known = function in self.calls
        self.stack.append(self.calls[function](*args) if known else Instance(function))

    def set_state(self, _: None) -> None:
        """Set the attributes of an inert object."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Instance):
            self.stack[-1].state = state

    def set_pairs(self, items: list[Any]) -> None:
        """Set items of a dictionary, but only under keys whose hash is cheap to compute."""
        holder = self.stack[-1].items if isinstance(self.stack[-1], Instance) else self.stack[-1]
        if type(holder) is not dict or len(items) % 2:
            raise ValueError(f"items of {type(holder).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            small = type(key) is int and key.bit_length() <= _KEY_BITS
            if small or key is None or type(key) in (str, bytes, bool, float):
                holder[key] = value


_PLAIN = "INT BININT BININT1 BININT2 LONG LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8"
_PLAIN += " BINBYTES SHORT_BINBYTES BINBYTES8"
# Operations of protocols 1 to 4 for values in the file, with what each does.
_OPERATIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(("FRAME", "STOP"), lambda *_: None),
    "PROTO": _Machine.check_protocol,
    **dict.fromkeys(_PLAIN.split(), lambda m, value: m.stack.append(value)),
    **dict.fromkeys(
        ("BINSTRING", "SHORT_BINSTRING"),  # of Python 2, read as Latin-1
        lambda m, text: m.stack.append(text.encode("latin-1").decode(errors="replace")),
    ),
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "TUPLE1": lambda m, _: m.add_tuple(1),
    "TUPLE2": lambda m, _: m.add_tuple(2),
    "TUPLE3": lambda m, _: m.add_tuple(3),
    "TUPLE": lambda m, _: m.add_tuple(None),
    "MARK": _Machine.mark,
    "POP": lambda m, _: m.stack.pop() if m.stack else m.pop_mark(),
    "POP_MARK": _Machine.pop_mark,
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "APPEND": lambda m, _: m.add_items([m.stack.pop()]),
    "APPENDS": lambda m, _: m.add_items(m.pop_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.store),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.load),
    "GLOBAL": lambda m, name: m.stack.append(Global(name.replace(" ", ".", 1))),
    "STACK_GLOBAL": _Machine.name,
    "BINPERSID": _Machine.find,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine.call),
    "BUILD": _Machine.set_state,
    "SETITEM": lambda m, _: m.set_pairs([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m, _: m.set_pairs(m.pop_mark()),
}
