"""Protocol buffers on the wire: the examples of their documentation, and bytes that are none.

The examples are those of https://protobuf.dev/programming-guides/encoding.
"""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnncli.model.errors import InputError
from rnncli.model.formats.containers import protobuf
from rnncli.model.formats.containers.protobuf import Message, Source, message

MINUS_TWO = bytes.fromhex("feffffffffffffffff01")  # of 64 bits: ten bytes


def read(text: str | bytes) -> Message:
    data = bytes.fromhex(text) if isinstance(text, str) else text
    return Message(Source("w.onnx"), memoryview(data))


def test_a_whole_number() -> None:
    """``message Test1 { optional int32 a = 1; }`` with 150."""
    assert read("089601").integer(1) == 150
    assert message((1, 150)) == bytes.fromhex("089601")


def test_a_negative_number() -> None:
    assert read(b"\x08" + MINUS_TWO).integer(1) == -2
    assert message((1, -2)) == b"\x08" + MINUS_TWO


@pytest.mark.parametrize("value", [0, 1, 127, 128, 2**31 - 1, 2**63 - 1, -1, -(2**63)])
def test_whole_numbers_both_ways(value: int) -> None:
    data = message((1, value))
    assert read(data).integer(1) == value
    run = message((1, data[1:] * 3))
    assert read(run).integers(1) == [value] * 3


def test_numbers_in_a_run_and_apart() -> None:
    """``message Test5 { repeated int32 f = 6; }`` with 3, 270 and 86942."""
    run, apart = "3206038e029ea705", "3003308e02309ea705"
    for text in (run, apart, run + apart):
        assert read(text).integers(6) == [3, 270, 86942] * (len(text) // 16)
        assert np.concatenate([*read(text).varints(6)]).tolist() == read(text).integers(6)


def test_numbers_of_fixed_width() -> None:
    apart = b"".join(b"\x25" + struct.pack("<f", value) for value in (0.5, -1e-3))
    run = b"\x22\x08" + struct.pack("<2f", 0.5, -1e-3)
    for data in (apart, run):
        assert read(data).fixed(4, "<f4").tolist() == [0.5, np.float32(-1e-3)]
        assert read(data).floats(4) == [0.5, -0.001]
    wide = b"\x52\x10" + struct.pack("<2d", 0.1, 1e300)
    assert read(wide).fixed(10, "<f8").tolist() == [0.1, 1e300]
    assert read(b"\x15" + struct.pack("<f", 0.1)).float32(2) == 0.1


def test_a_long_run_is_read_in_pieces() -> None:
    values = np.random.default_rng(0).integers(-(2**63), 2**63, 20_000)
    run = message((1, b"".join(message((1, int(value)))[1:] for value in values)))
    assert len(run) > 2 * protobuf._PIECE
    pieces = [*read(run).varints(1)]
    assert len(pieces) > 2
    assert np.array_equal(np.concatenate(pieces), values)


def test_what_is_not_there() -> None:
    nothing = read("")
    assert nothing.integer(1) == nothing.float32(1) == 0
    assert nothing.text(1) == ""
    assert bytes(nothing.bytes(1)) == b""
    assert nothing.integers(1) == nothing.floats(1) == []
    assert nothing.texts(1) == []
    assert [*nothing.messages(1)] == []
    assert nothing.message(1).message(1).text(1) == ""
    assert 1 not in nothing
    assert 1 in read("0800")


# What stands there, how it is read, and the message.
DAMAGED: list[tuple[str, str, Callable[[Message], Any]]] = [
    ("a whole number is cut short", "0896", lambda m: m),
    ("field 2: takes 7 bytes, there are 1", "120774", lambda m: m),
    (
        "field 2: takes 18,446,744,073,709,551,615 bytes, there are 0",
        "12ffffffffffffffffff01",
        lambda m: m,
    ),
    ("field 4: takes 4 bytes, there are 3", "25000000", lambda m: m),
    ("field 1: wire type 3", "0b0c", lambda m: m),
    ("field 2: wire type 0", "1005", lambda m: m.text(2)),
    ("field 1: wire type 2", "0a0131", lambda m: m.integer(1)),
    ("field 4: wire type 1", "21" + "00" * 8, lambda m: m.floats(4)),
    ("field 1: expected one, got 2", "08010802", lambda m: m.integer(1)),
    ("field 2: no UTF-8", "1201ff", lambda m: m.text(2)),
    ("field 4: a number is cut short", "2203000000", lambda m: m.floats(4)),
    ("field 1: no whole number", "0a0c" + "80" * 11 + "01", lambda m: m.integers(1)),
]


@pytest.mark.parametrize(("what", "text", "take"), DAMAGED)
def test_damage(what: str, text: str, take: Callable[[Message], Any]) -> None:
    with pytest.raises(InputError) as caught:
        take(read(text))
    assert str(caught.value) == f"w.onnx: damaged: {what}"


# A file may hold so many fields in all, and so many numbers in lists.
MOST: dict[str, Callable[[], Any]] = {
    "fields": lambda: read("0800" * 11),
    "in messages": lambda: [[*read("0a020800" * 6).messages(1)]],
    "numbers": lambda: read("0a0b" + "01" * 11).integers(1),
    "floats": lambda: read("0a2c" + "00" * 44).floats(1),
}


@pytest.mark.parametrize("take", MOST.values(), ids=MOST)
def test_too_many_fields(monkeypatch: pytest.MonkeyPatch, take: Callable[[], Any]) -> None:
    monkeypatch.setattr(protobuf, "MOST_FIELDS", 10)
    with pytest.raises(InputError) as caught:
        take()
    assert str(caught.value) == "w.onnx: expected at most 10 fields, got more"
