"""Ways to damage a model file, each the same for a seed, and what becomes of such a file."""

import io
import json
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from test_fuzz import damaged

from rnncli.model.formats import load_network, opened
from rnncli.model.network import Network
from rnncli.writers.parts import describe_file

# What opening a file may take beside four times its size.
MEMORY = 64 * 2**20
# How many functions it may call beside one for each byte: a model of a few layers takes 20,000.
CALLS = 500_000

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
_VALUES: list[Any] = [0, -1, 2**31, 2**64, 10**9, 1e300, None, True, "LSTM", "tanh", "\x1b", [], {}]


def struck(seed: int, whole: bytes) -> bytes:
    """Flip, cut, double or exchange pieces, or put another number, once or a few times."""
    random = np.random.RandomState(seed)
    content = bytearray(damaged(seed, whole) if random.randint(2) else whole)
    for _ in range(random.randint(1, 4)):
        first, second, size = random.randint(0, len(content) + 1, 3)
        size = size % 64 + 1
        way = random.randint(3)
        if way == 0:  # a length, an offset, a kind
            width = 1 << random.randint(4)
            number = (*_NUMBERS, len(content), second)[random.randint(len(_NUMBERS) + 2)]
            field = (int(number) % 256**width).to_bytes(width, "little")
            content[first : first + width] = field[:: 1 - 2 * random.randint(2)]
        elif way == 1:
            content[first : first + size] = content[second : second + size]
        else:
            one, other = content[first : first + size], content[second : second + size]
            content[first : first + size], content[second : second + size] = other, one
    return bytes(content)


def struck_within(seed: int, whole: bytes) -> bytes:
    """Damage a part that a checksum or a length guards, and put these right again."""
    if whole.startswith(b"PK"):
        return _struck_member(seed, whole)
    size = int.from_bytes(whole[:8], "little")
    if whole[8:9] == b"{" and size < len(whole):  # .safetensors
        header = _struck_text(seed, whole[8 : 8 + size])
        return len(header).to_bytes(8, "little") + header + whole[8 + size :]
    return struck(seed, whole)


def _struck_member(seed: int, whole: bytes) -> bytes:
    random, file = np.random.RandomState(seed), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as sound, zipfile.ZipFile(file, "w") as archive:
        infos = sound.infolist()
        chosen = infos[random.randint(len(infos))]
        for info in infos:
            member = sound.read(info)
            if info is chosen:
                member = (_struck_text if member.startswith(b"{") else struck)(seed, member)
            archive.writestr(info.filename, member, info.compress_type)
    return file.getvalue()


def _struck_text(seed: int, text: bytes) -> bytes:
    """Put something else for a value of a JSON object, or damage the text."""
    random = np.random.RandomState(seed)
    return struck(seed, text) if random.randint(2) else json.dumps(other(seed, text)).encode()


def other(seed: int, text: bytes | str) -> Any:
    """Parse JSON text, and put something else for one of its values."""
    random = np.random.RandomState(seed)
    whole = json.loads(text)
    place: Any = whole
    inner: list[Any] = [whole]
    while inner:  # any object or list in it
        place = inner[random.randint(len(inner))]
        parts = place.values() if isinstance(place, dict) else place
        inner = [each for each in parts if isinstance(each, dict | list) and each]
        inner = inner if random.rand() < 0.8 else []
    key = list(place)[random.randint(len(place))] if isinstance(place, dict) else None
    place[random.randint(len(place)) if key is None else key] = _VALUES[
        random.randint(len(_VALUES))
    ]
    return whole


def outcome(path: Path, layer: str | None = None) -> str:
    """Give the message, or nothing for a network; check how either comes about."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    tracemalloc.start()
    sys.setprofile(count)
    try:
        message = _message(lambda: load_network(path, layer))
    finally:
        sys.setprofile(None)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    size = path.stat().st_size if path.is_file() else 0
    assert peak < MEMORY + 4 * size
    assert calls < CALLS + size
    described = _message(lambda: _describe(path, layer))
    for each in filter(None, (message, described)):
        assert each.startswith(str(path)[: -len(path.suffix)])
        assert each.isprintable()  # so it is one line
        assert len(each) < 1500
    return message.removeprefix(f"{path}: ")


def _message(do: Callable[[], object]) -> str:
    try:
        do()
    except ValueError as error:
        return str(error)
    return ""


def _describe(path: Path, layer: str | None) -> None:
    """List what is in a file, as ``rnn inspect`` does."""
    with opened(str(path), layer) as (model, digest):
        json.dumps(describe_file(model, digest, layer, str, str))


def bits(network: Network) -> list[bytes]:
    """Give the bytes of the weights of all cells."""
    return [
        a.tobytes()
        for layer in network.layers
        for cell in layer.cells
        for a in cell.weights.arrays.values()
    ]


def refused(path: Path, content: bytes) -> str:
    """Give the message of a file with such a content."""
    path.write_bytes(content)
    message = outcome(path)
    assert message
    return message
