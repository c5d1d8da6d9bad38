"""Python pickles, read by the standard library without the operations that could run code.

A global is a name, and nothing is imported. It is called only if the caller has a function for it;
any other call makes an inert `Instance`.
"""

import io
import pickle
import re
from collections.abc import Callable, Mapping
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
        return _Unpickler(file, calls, persistent).load(), file.tell()


_PYTHON: Any = pickle._Unpickler


# The implementation in Python, unlike the one in C, has a function for each operation: those that
# hash, call or allocate what a file wants are replaced.
class _Unpickler(_PYTHON):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, calls: Mapping[str, Any], persistent: Any) -> None:
        super().__init__(file, encoding="utf-8", errors="replace")
        self.calls, self.left = calls, MOST_WORK
        if persistent:
            self.persistent_load = persistent

    @property
    def dispatch(self) -> "_Unpickler":
        return self

    def __getitem__(self, opcode: int) -> Callable[[Any], Any]:
        """Return the function of an operation."""
        self.left -= 1
        if self.left < 0 or opcode not in _TABLE:
            raise ValueError(f"opcode {opcode:#x} is not read, or over {MOST_WORK:,} operations")
        return _TABLE[opcode]

    def find_class(self, module: str, name: str) -> Global:
        return Global(f"{module}.{name}")

    def call(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Global or type(args) is not tuple:
            raise ValueError(f"a call of {type(function).__name__} with {type(args).__name__}")
        self.append(self.calls[function](*args) if function in self.calls else Instance(function))

    def set_state(self) -> None:
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


# The operations that are as in the standard library: of protocols 1 to 4, for values in the file.
_STANDARD = re.compile(
    "PROTO|FRAME|MARK|POP|POP_MARK|DUP|NONE|NEWTRUE|NEWFALSE|INT|BININT[12]?|LONG1?|BINFLOAT"
    "|(SHORT_)?BIN(STRING|UNICODE|BYTES)|BIN(UNICODE|BYTES)8|EMPTY_(DICT|LIST|TUPLE)|APPENDS?"
    "|TUPLE[123]?|(LONG_)?BIN(PUT|GET)|MEMOIZE|(STACK_)?GLOBAL|BINPERSID|STOP"
)
_TABLE: dict[int, Callable[[Any], Any]] = {
    **{
        code[0]: _PYTHON.dispatch[code[0]]
        for name, code in vars(pickle).items()
        if _STANDARD.fullmatch(name) and type(code) is bytes
    },
    pickle.REDUCE[0]: _Unpickler.call,
    pickle.NEWOBJ[0]: _Unpickler.call,
    pickle.BUILD[0]: _Unpickler.set_state,
    pickle.SETITEM[0]: lambda reader: reader.set_pairs([reader.stack.pop(-2), reader.stack.pop()]),
    pickle.SETITEMS[0]: lambda reader: reader.set_pairs(reader.pop_mark()),
}
