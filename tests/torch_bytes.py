"""Pickles, and the archives that PyTorch puts them in, opcode by opcode."""

import io
import zipfile
from collections.abc import Mapping
from struct import pack
from typing import Any

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
    """What ``torch.save`` writes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("net/data.pkl", START + pickled + STOP)
        for key, content in (storages or {"0": bytes(400)}).items():
            zipped.writestr(f"net/data/{key}", content)
        for member, content in members.items():
            zipped.writestr(f"net/{member}", content)
    return file.getvalue()
