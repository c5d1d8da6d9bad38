"""Pickles, and the archives that PyTorch puts them in, opcode by opcode."""

import io
import os
import pickle
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np

# The values of the one storage of an archive.
VALUES = np.random.RandomState(0).uniform(0.1, 0.9, size=100).astype("<f4")
STORED = {"0": VALUES.tobytes()}
START, STOP = b"\x80\x02", b"."
NONE, EMPTY = b"N", b")"


def name(full: str) -> bytes:
    """A global."""
    module, _, leaf = full.rpartition(".")
    return b"c" + module.encode() + b"\n" + leaf.encode() + b"\n"


def text(value: str) -> bytes:
    return b"X" + pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def row(*items: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(items) + b"t"


def mapping(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def called(full: str, *arguments: bytes) -> bytes:
    return name(full) + row(*arguments) + b"R"


def storage(key: str, values: int, kind: str = "Float") -> bytes:
    found = (text("storage"), name(f"torch.{kind}Storage"), text(key), text("cpu"), number(values))
    return row(*found) + b"Q"


def tensor(
    key: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *,
    offset: int = 0,
    values: int = 100,
    kind: str = "Float",
    more: tuple[bytes, ...] = (),
) -> bytes:
    """A tensor in a storage of so many values."""
    sizes = (row(*map(number, each)) for each in (shape, strides))
    return called(
        "torch._utils._rebuild_tensor_v2",
        storage(key, values, kind),
        number(offset),
        *sizes,
        b"\x89",
        called("collections.OrderedDict"),
        *more,
    )


def matrix(rows: int, width: int, **more: Any) -> bytes:
    return tensor("0", (rows, width), (width, 1), **more)


def vector(size: int) -> bytes:
    return tensor("0", (size,), (1,))


def real(value: float) -> bytes:
    return b"G" + pack(">d", value)


def module(kind: str, tensors: Any = None, modules: Any = None, **settings: bytes) -> bytes:
    """A whole module, with tensors and others in it, and plain attributes."""
    held = {"_parameters": tensors or {}, "_buffers": {}, "_modules": modules or {}}
    state = {key: mapping(value) for key, value in held.items()}
    return name(kind) + b")\x81" + mapping(state | settings) + b"b"


def script(kind: str, held: Mapping[str, bytes]) -> bytes:
    """A module of TorchScript, with tensors or others in it."""
    state = {**held, "training": b"\x89"}
    return name(f"__torch__.{kind}") + b")\x81" + mapping(state) + b"b"


def archive(pickled: bytes, storages: Mapping[str, bytes] | None = None, **members: bytes) -> bytes:
    """Bytes as ``torch.save`` writes them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("net/data.pkl", START + pickled + STOP)
        for key, content in (storages or STORED).items():
            zipped.writestr(f"net/data/{key}", content)
        for member, content in members.items():
            zipped.writestr(f"net/{member}", content)
    return file.getvalue()


class Command:
    """An object that runs a command when Python reads its pickle."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> Any:
        return self.made


def tricks(file: Path) -> dict[str, bytes]:
    """Pickles that make a file, if anything in them is run."""
    touch = f"__import__('pathlib').Path({str(file)!r}).touch()"
    by_python = {
        "os.system": Command(os.system, f"touch {file}"),
        "eval": Command(eval, touch),
        "Popen": Command(subprocess.Popen, ["touch", str(file)]),
    }
    pickles = {
        f"{which}, protocol {protocol}": pickle.dumps(each, protocol)
        for which, each in by_python.items()
        for protocol in range(1, 6)
    }
    system, run = name("os.system"), row(text(touch))
    attribute = called("builtins.getattr", name("os.path"), text("os"))
    state = mapping({"__setstate__": system})
    return pickles | {
        "NEWOBJ": START + system + run + b"\x81.",
        "NEWOBJ_EX": START + system + run + b"}\x92.",
        "by state": START + called("my.Net") + state + b"b" + run + b"b.",
        "of a result": START + attribute + EMPTY + b"R" + run + b"R.",
        "nested": START + called("builtins.map", system, run) + EMPTY + b"R.",
        "STACK_GLOBAL": b"\x80\x04" + text("os") + text("system") + b"\x93" + run + b"R.",
        "dotted": b"\x80\x04" + text("os") + text("path.os.system") + b"\x93" + run + b"R.",
        "memo": START + system + b"q\x010h\x01" + run + b"R.",
        "in a key": START + b"}" + system + run + b"RNs.",
    }
