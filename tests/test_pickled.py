"""Pickles: plain values as Python reads them, and whatever else without running anything."""

import builtins
import os
import pickle
import subprocess
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch_bytes import EMPTY, NONE, START, STOP, called, mapping, name, number, row, text

from rnncli.model.errors import InputError
from rnncli.model.formats.containers.pickled import MOST_WORK, Instance, read_pickle

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
)
KEYS = st.text() | st.integers(-(2**59), 2**59) | st.booleans() | st.none()


def plain(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner)
            | st.lists(inner).map(tuple)
            | st.dictionaries(KEYS, inner)
            | st.dictionaries(KEYS, inner).map(OrderedDict)
        ),
        max_leaves=20,
    )


def read(content: bytes, calls: dict[str, Callable[..., Any]] | None = None) -> Any:
    return read_pickle("x", content, calls or {})[0]


@pytest.mark.slow
@given(value=plain(SCALARS), protocol=st.integers(1, 5))
def test_plain_values_are_as_python_reads_them(value: Any, protocol: int) -> None:
    content = pickle.dumps(value, protocol)
    found, stop = read_pickle("x", b"..." + content + b"...", {}, start=3)
    assert found == value
    assert stop == 3 + len(content)


@pytest.mark.parametrize("size", [0, 255, 256, 70_000])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_bytes_and_long_text(size: int, protocol: int) -> None:
    for value in (bytes(size), "ü" * size, bytearray(size) if protocol > 4 else b""):
        assert read(pickle.dumps(value, protocol)) == value


def test_objects_keep_what_they_were_made_of() -> None:
    made = name("my.Net") + EMPTY + b"\x81" + mapping({"a": number(1)}) + b"b."
    found = read(START + made)
    assert isinstance(found, Instance)
    assert (found.kind, found.args, found.state) == ("my.Net", (), {"a": 1})
    dictionary = read(START + called("my.Dict") + b"(" + text("a") + number(1) + b"u.")
    assert dictionary.items == {"a": 1}
    assert read(START + called("my.List") + number(1) + b"a.").kind == "my.List"


@pytest.mark.parametrize("made", ["copyreg._reconstructor", "copy_reg._reconstructor"])
def test_objects_of_protocol_1(made: str) -> None:
    found = read(called(made, name("my.Net"), name("builtins.object"), NONE) + b"}b.")
    assert (found.kind, found.state) == ("my.Net", {})


def test_calls_are_those_of_the_caller() -> None:
    content = START + called("my.sum", number(2), number(3)) + STOP
    assert read(content, {"my.sum": lambda a, b: a + b}) == 5


class Command:
    """What runs a command when Python reads its pickle."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> Any:
        return self.made


def tricks(file: Path) -> dict[str, bytes]:
    """Pickles that make a file or a folder, if anything in them is run."""
    touch = f"__import__('pathlib').Path({str(file)!r}).touch()"
    by_python = {
        "os.system": Command(os.system, f"touch {file}"),
        "os.mkdir": Command(os.mkdir, str(file)),
        "eval": Command(eval, touch),
        "exec": Command(exec, touch),
        "Popen": Command(subprocess.Popen, ["touch", str(file)]),
    }
    pickles = {
        f"{which}, protocol {protocol}": pickle.dumps(each, protocol)
        for which, each in by_python.items()
        for protocol in range(1, 6)
    }
    system, run = name("os.system"), row(text(touch))
    getattr_ = called("builtins.getattr", name("os.path"), text("os"))
    return pickles | {
        "NEWOBJ": START + system + run + b"\x81.",
        "NEWOBJ_EX": START + system + run + b"}\x92.",
        "by state": START
        + called("my.Net")
        + mapping({"__setstate__": system})
        + b"b"
        + run
        + b"b.",
        "of a result": START + getattr_ + EMPTY + b"R" + run + b"R.",
        "nested": START + called("builtins.map", system, run) + EMPTY + b"R.",
        "STACK_GLOBAL": b"\x80\x04" + text("os") + text("system") + b"\x93" + run + b"R.",
        "dotted": b"\x80\x04" + text("os") + text("path.os.system") + b"\x93" + run + b"R.",
        "memo": START + system + b"q\x010h\x01" + run + b"R.",
        "in a key": START + b"}" + system + run + b"RNs.",
    }


@pytest.mark.parametrize("which", [*tricks(Path("x"))])
def test_nothing_is_imported_or_run(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "made"
    content = tricks(file)[which]

    def refuse(*arguments: Any, **_: Any) -> Any:
        raise AssertionError(f"imports {arguments[0]}")

    with monkeypatch.context() as patched:
        patched.setattr(builtins, "__import__", refuse)
        read(content)
    assert not file.exists()


@pytest.mark.parametrize("which", ["os.system", "os.mkdir", "eval", "exec", "Popen"])
def test_the_tricks_work(which: str, tmp_path: Path) -> None:
    """Python itself does run them."""
    found = pickle.loads(tricks(tmp_path / "made")[f"{which}, protocol 2"])
    if isinstance(found, subprocess.Popen):
        found.wait()
    assert (tmp_path / "made").exists()


UNREAD = {
    "INST": b"(ios\nsystem\n.",
    "OBJ": b"(cos\nsystem\no.",
    "EXT1": b"\x82\x01.",
    "EXT2": b"\x83\x01\x00.",
    "EXT4": b"\x84\x01\x00\x00\x00.",
    "PERSID": b"Pa\n.",
    "PUT": b"Np0\n.",
    "LONG4": b"\x8b\x01\x00\x00\x00\x01.",
    "NEXT_BUFFER": b"\x97.",
    "ff": b"\xff.",
}


@pytest.mark.parametrize("opcode", UNREAD)
def test_other_opcodes_are_named(opcode: str) -> None:
    with pytest.raises(InputError, match=f"opcode {opcode}, which is not read"):
        read(UNREAD[opcode])


DAMAGED = [
    ("at byte 0: ends too soon", b""),
    ("ends too soon", b"X\xff\xff\xff\x7fabc"),
    ("protocol 6, expected at most 5", b"\x80\x06N."),
    ("pop from empty list", b"."),
    ("expected a value, got a mark", b"(."),
    ("damaged pickle, at byte 2: 7", b"h\x07."),
    ("a line does not end", b"cos"),
    ("items of int", b"K\x01NNs."),
    ("a call of str with tuple", text("a") + b")R."),
    ("refers to something outside", b"NQ."),
    ("a global named bc", text("a" * 999) + text("bc") + b"\x93."),
    ("invalid literal for int", b"Ix\n."),
]


@pytest.mark.parametrize(("message", "content"), DAMAGED)
def test_damage(message: str, content: bytes) -> None:
    with pytest.raises(InputError) as caught:
        read(content)
    assert str(caught.value).startswith("x: damaged pickle, at byte ")
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_keys_that_are_slow_to_hash_name_nothing() -> None:
    """Rows in rows, and numbers that share a hash."""
    deep = EMPTY + b"\x85" * 20_000
    same = [number(k * (2**61 - 1)) + NONE for k in range(1, 2_000)]
    keys = [deep + NONE, b"]N", b"}N", name("a.b") + NONE, *same, text("a") + number(1)]
    assert read(START + b"}(" + b"".join(keys) + b"u.") == {"a": 1}


def test_objects_in_themselves() -> None:
    found = read(START + b"]q\x00h\x00a.")
    assert found[0] is found
    found = read(START + called("a.b") + b"q\x00" + mapping({"me": b"h\x00"}) + b"b.")
    assert found.state["me"] is found


COPIED = b"](" + row(NONE, NONE) + b"2" * 1000 + b"eq\x00"
LONG = {
    "operations": b"N0" * MOST_WORK,
    "copies": COPIED + (name("collections.OrderedDict") + b"h\x00\x85R0") * 700,
}


@pytest.mark.slow
@pytest.mark.parametrize("content", LONG.values(), ids=LONG)
def test_work_is_bounded(content: bytes) -> None:
    with pytest.raises(InputError, match="takes over 600,000 operations"):
        read(START + content + b"N.")
