"""Python pickles, read by an interpreter of their opcodes that imports nothing.

A global is a name. What it stands for is called only if the caller has a
function of his own for that name; any other call makes an inert `Instance`.
So a pickle runs nothing, and objects can be looked at whose class is not
there.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from rnncli.model.errors import InputError, one_line, shown

# What one pickle may take: an operation each, and one for each item that a call copies. Every one
# takes at most 100 bytes; those of a model with 10,000 tensors are 250,000.
MOST_WORK = 600_000
_LINE_MOST = 1_000
_PROTOCOLS = 5
# Whole numbers of dictionaries' keys: larger ones can be made to share a hash.
_KEY_BITS = 60

# What makes an object of a class in protocol 1.
_NEW = ("copyreg._reconstructor", "copy_reg._reconstructor")

# call(*args): what becomes of a call of some global.
Calls: TypeAlias = Mapping[str, Callable[..., Any]]


class Global:
    """A name of something to import: ``module.name``."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Instance:
    """An object of a class that is but a name.

    Attributes
    ----------
    kind : str
        Name of what was called; empty where that was an object itself.
    args : tuple
        What it was called with.
    state : object
        Its attributes, mostly a dictionary.
    items : dict
        What it holds as a dictionary.
    """

    __slots__ = ("args", "items", "kind", "state")

    def __init__(self, kind: str, args: tuple[Any, ...]) -> None:
        self.kind, self.args = kind, args
        self.state: Any = None
        self.items: dict[Any, Any] | None = None


class _Mark:
    """Where the items of the next list, tuple or dictionary begin on the stack."""


_MARK = _Mark()


class _Machine:
    """The stack and the memo of a pickle that is read."""

    def __init__(
        self, content: bytes, at: int, calls: Calls, persistent: Callable[[Any], Any] | None
    ) -> None:
        self.content, self.at, self.calls, self.persistent = content, at, calls, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.work = MOST_WORK

    def run(self) -> Any:
        while True:
            self.spend(1)
            opcode = self.take(1)
            if opcode == b".":
                return self.pop()
            if opcode not in _OPERATIONS:
                name = _UNREAD.get(opcode)
                raise ValueError(f"opcode {name or opcode.hex()}, which is not read")
            _OPERATIONS[opcode](self)

    def spend(self, work: int) -> None:
        self.work -= work
        if self.work < 0:
            raise ValueError(f"takes over {MOST_WORK:,} operations")

    def take(self, size: int) -> bytes:
        taken = self.content[self.at : self.at + size]
        if len(taken) < size:
            raise ValueError("ends too soon")
        self.at += size
        return taken

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def line(self) -> str:
        stop = self.content.find(b"\n", self.at, self.at + _LINE_MOST)
        if stop < 0:
            raise ValueError("a line does not end")
        return self.take(stop + 1 - self.at)[:-1].decode()

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("expected a value, got a mark")
        return value

    def popped(self, count: int) -> tuple[Any, ...]:
        return tuple(self.pop() for _ in range(count))[::-1]

    def marked(self) -> list[Any]:
        """Take off what lies above the last mark, and the mark."""
        start = next(at for at in range(len(self.stack) - 1, -1, -1) if self.stack[at] is _MARK)
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def top(self) -> Any:
        self.push(self.pop())
        return self.stack[-1]

    def call(self, args: Any, function: Any) -> None:
        if not isinstance(function, Global | Instance) or not isinstance(args, tuple):
            raise ValueError(f"a call of {type(function).__name__} with {type(args).__name__}")
        name = function.name if isinstance(function, Global) else ""
        if name == "collections.OrderedDict":
            items = args[0] if args else []
            self.spend(len(items))
            self.push({})
            self.set([each for pair in items for each in pair[:2]])
        elif name in _NEW and type(args[0]) is Global:
            self.push(Instance(args[0].name, ()))
        elif name in self.calls:
            self.push(self.calls[name](*args))
        else:
            self.push(Instance(name, args))

    def set(self, items: list[Any]) -> None:
        """Set items of a dictionary; keys that are neither text nor a number name nothing here."""
        holder = self.top()
        if isinstance(holder, Instance):
            holder.items = holder.items or {}
            holder = holder.items
        if type(holder) is not dict or len(items) % 2:
            raise ValueError(f"items of {type(holder).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if _is_key(key):
                holder[key] = value

    def extend(self, items: list[Any]) -> None:
        holder = self.top()
        if type(holder) is list:
            holder.extend(items)
        elif not isinstance(holder, Instance):
            raise ValueError(f"items of {type(holder).__name__}")

    def build(self) -> None:
        state = self.pop()
        holder = self.top()
        if isinstance(holder, Instance):
            holder.state = state

    def refer(self) -> None:
        if self.persistent is None:
            raise ValueError("refers to something outside")
        self.push(self.persistent(self.pop()))


def _is_key(key: Any) -> bool:
    """Return whether a key is hashed in no time, and shares its hash with few others."""
    if type(key) is int:
        return key.bit_length() <= _KEY_BITS
    return key is None or type(key) in (str, bytes, bool, float)


def read_pickle(
    place: str,
    content: bytes,
    calls: Calls,
    persistent: Callable[[Any], Any] | None = None,
    start: int = 0,
) -> tuple[Any, int]:
    """Read a pickle of protocols 1 to 5.

    Sets and frozen sets become lists and tuples.
    """
    machine = _Machine(content, start, calls, persistent)
    try:
        return machine.run(), machine.at
    except InputError:
        raise
    except (
        LookupError,
        TypeError,
        ValueError,
        OverflowError,
        AttributeError,
        StopIteration,
        struct.error,
    ) as error:
        what = f"damaged pickle, at byte {machine.at}: {one_line(error)}"
        raise InputError(place, what) from error


def _protocol(machine: _Machine) -> None:
    number = machine.number("B")
    if number > _PROTOCOLS:
        raise ValueError(f"protocol {number}, expected at most {_PROTOCOLS}")


def _frame(machine: _Machine) -> None:
    machine.take(8)  # how long it is


def _drop(machine: _Machine) -> None:
    machine.pop()


def _drop_marked(machine: _Machine) -> None:
    machine.marked()


def _global(machine: _Machine) -> None:
    machine.push(Global(f"{machine.line()}.{machine.line()}"))


def _stack_global(machine: _Machine) -> None:
    module, name = machine.popped(2)
    if type(module) is not str or type(name) is not str:
        raise ValueError("a global that is not named by text")
    if len(module) + len(name) > _LINE_MOST:
        raise ValueError(f"a global named {shown(name)}")
    machine.push(Global(f"{module}.{name}"))


def _int(machine: _Machine) -> None:
    text = machine.line()
    machine.push({"00": False, "01": True}[text] if text in ("00", "01") else int(text))


def _get(code: str) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(machine.memo[machine.number(code)])


def _put(code: str) -> Callable[[_Machine], None]:
    def put(machine: _Machine) -> None:
        machine.memo[machine.number(code)] = machine.top()

    return put


def _memoize(machine: _Machine) -> None:
    machine.memo[len(machine.memo)] = machine.top()


def _constant(value: Any) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(value)


def _new(make: Callable[[], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(make())


def _number(code: str) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(machine.number(code))


def _text(code: str) -> Callable[[_Machine], None]:
    def text(machine: _Machine) -> None:
        machine.push(machine.take(machine.number(code)).decode("utf-8", "replace"))

    return text


def _bytes(code: str) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(machine.take(machine.number(code)))


def _tuple(count: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(machine.popped(count))


def _new_with_names(machine: _Machine) -> None:
    function, args, _ = machine.popped(3)
    machine.call(args, function)


_OPERATIONS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _protocol,
    b"\x95": _frame,
    b"(": _constant(_MARK),
    b"0": _drop,
    b"1": _drop_marked,
    b"2": lambda machine: machine.push(machine.top()),
    b"N": _constant(None),
    b"\x88": _constant(True),
    b"\x89": _constant(False),
    b"I": _int,
    b"J": _number("<i"),
    b"K": _number("B"),
    b"M": _number("<H"),
    b"L": lambda machine: machine.push(int(machine.line().removesuffix("L"))),
    b"\x8a": lambda machine: machine.push(
        int.from_bytes(machine.take(machine.number("B")), "little", signed=True)
    ),
    b"G": _number(">d"),
    b"T": _text("<I"),
    b"U": _text("B"),
    b"X": _text("<I"),
    b"\x8c": _text("B"),
    b"\x8d": _text("<Q"),
    b"B": _bytes("<I"),
    b"C": _bytes("B"),
    b"\x8e": _bytes("<Q"),
    b"\x96": _bytes("<Q"),
    b"]": _new(list),
    b"a": lambda machine: machine.extend([machine.pop()]),
    b"e": lambda machine: machine.extend(machine.marked()),
    b")": _constant(()),
    b"t": lambda machine: machine.push(tuple(machine.marked())),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"}": _new(dict),
    b"s": lambda machine: machine.set(list(machine.popped(2))),
    b"u": lambda machine: machine.set(machine.marked()),
    b"\x8f": _new(list),
    b"\x90": lambda machine: machine.extend(machine.marked()),
    b"\x91": lambda machine: machine.push(tuple(machine.marked())),
    b"q": _put("B"),
    b"r": _put("<I"),
    b"\x94": _memoize,
    b"h": _get("B"),
    b"j": _get("<I"),
    b"c": _global,
    b"\x93": _stack_global,
    b"R": lambda machine: machine.call(machine.pop(), machine.pop()),
    b"\x81": lambda machine: machine.call(machine.pop(), machine.pop()),
    b"\x92": _new_with_names,
    b"b": lambda machine: machine.build(),
    b"Q": lambda machine: machine.refer(),
}
# Those of protocol 0, those of classes of Python 2, and those for what is outside the file.
_UNREAD = {
    b"F": "FLOAT",
    b"S": "STRING",
    b"V": "UNICODE",
    b"g": "GET",
    b"p": "PUT",
    b"l": "LIST",
    b"d": "DICT",
    b"i": "INST",
    b"o": "OBJ",
    b"P": "PERSID",
    b"\x82": "EXT1",
    b"\x83": "EXT2",
    b"\x84": "EXT4",
    b"\x8b": "LONG4",
    b"\x97": "NEXT_BUFFER",
    b"\x98": "READONLY_BUFFER",
}
